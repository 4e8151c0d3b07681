"""The rules that keep the house in order (see README, rooms), checked on the source itself."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = (
    "ingest",
    "redact",
    "prepare",
    "validate",
    "vocabulary",
    "pretrain",
    "train",
    "evaluate",
    "register",
    "compare",
    "retrain",
)
FOLDERS = (*STAGES, "audit", "cluster")  # no steps: one reads what all of them leave, one says where they run
LAYERS = ("cli", "pipelines", "steps", "materializers", "domainlm")  # an arrow may only run to the right


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def test_domainlm_imports_no_zenml_and_nothing_above_it() -> None:
    for path in sources("domainlm"):
        above = {
            name
            for name in imports_of(path)
            if name.split(".")[0] in ("zenml", "steps", "pipelines", "cli", "materializers")
        }
        assert not above, f"{path} imports {above}"


@pytest.mark.parametrize("room", LAYERS)
def test_arrows_between_rooms_run_one_way(room: str) -> None:
    above = LAYERS[: LAYERS.index(room)]
    if room == "materializers":
        above += ("steps",)
    for path in sources(room):
        wrong = {name for name in imports_of(path) if name.split(".")[0] in above}
        assert not wrong, f"{path} imports {wrong}"


@pytest.mark.parametrize("stage", FOLDERS)
def test_stage_folders_do_not_import_each_other(stage: str) -> None:
    others = [f"domainlm.{other}" for other in FOLDERS if other != stage]
    for path in sources(f"domainlm/{stage}"):
        wrong = [name for name in imports_of(path) for other in others if name == other or name.startswith(other + ".")]
        assert not wrong, f"{path} imports {wrong}"


def test_no_ground_floor_file_imports_a_stage() -> None:
    stages = tuple(f"domainlm.{stage}" for stage in FOLDERS)
    ground = [*(ROOT / "domainlm").glob("*.py"), *sources("domainlm/models"), *sources("domainlm/ledger")]
    for path in ground:
        wrong = [name for name in imports_of(path) if name.startswith(stages)]
        if path.name == "config.py":  # a run configuration says how its pods run, and that is checked with the rest
            wrong = [name for name in wrong if not name.startswith("domainlm.cluster")]
        assert not wrong, f"{path} imports {wrong}"  # config.py finds settings by name, at run time


@pytest.mark.parametrize(("room", "lines"), [("pipelines", 80), ("steps", 80)])
def test_wiring_stays_thin(room: str, lines: int) -> None:
    for path in sources(room):
        # the operators are no steps: what ZenML loads for one that runs in pods of its own
        if path.name not in ("run_view.py", "stage.py", "hooks.py", "operator.py", "operator_many.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) < lines, (
                f"{path} has become too long: move thinking to domainlm/"
            )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_same_rooms_everywhere(stage: str) -> None:
    for room in (f"steps/{stage}.py", f"domainlm/{stage}/settings.py", f"tests/domainlm/{stage}", f"docs/{stage}.md"):
        assert (ROOT / room).exists(), f"{room} is missing"


def test_a_domain_pack_holds_data_and_no_code() -> None:
    assert not list((ROOT / "domains" / "finance").rglob("*.py"))


def test_what_runs_make_is_not_committed() -> None:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False
    ).stdout.split("\n")
    assert not [name for name in tracked if name.startswith((".domainlm/", ".zen/", ".venv/"))]
