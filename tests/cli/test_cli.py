"""The command line answers without heavy imports, from any folder of a project, and says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOMAINLM_", "ZENML_"))}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments], cwd=cwd, env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from cli.main import app\n"
        "output = CliRunner().invoke(app, ['--help']).output\n"
        "assert 'run' in output and 'setup' in output, output\n"
        "print(sorted({'torch', 'zenml', 'pandas', 'transformers', 'datasets', 'mlflow'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_configuration_is_checked_from_a_folder_inside_the_project() -> None:
    done = call("run", "--check", cwd=ROOT / "docs")
    assert done.returncode == 0, done.stderr
    assert "the configuration is valid" in done.stdout


def test_a_configuration_file_counts_from_where_the_user_stands() -> None:
    assert call("run", "--check", "-c", "falcon-7b-paper.yaml", cwd=ROOT / "configs").returncode == 0


def test_outside_of_a_project_the_message_says_so(tmp_path: Path) -> None:
    done = call("run", "--check", cwd=tmp_path)
    assert done.returncode == 1
    assert "no zenml_config.yaml here" in done.stderr and "Traceback" not in done.stderr


def test_a_project_that_was_not_set_up_is_named(tmp_path: Path) -> None:
    (tmp_path / "zenml_config.yaml").write_text((ROOT / "zenml_config.yaml").read_text())
    done = call("run", cwd=tmp_path)
    assert done.returncode == 1
    assert "has not been set up" in done.stderr and "make setup" in done.stderr


def test_a_missing_configuration_file_ends_with_code_1() -> None:
    done = call("run", "--check", "-c", "none.yaml")
    assert done.returncode == 1 and "no such configuration file" in done.stderr
