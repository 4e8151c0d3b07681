"""What the terminal says of a run's entry, and that nothing of it can change how the command ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from small_ledgers import small_run

from cli.launch import Launch, entered, launched
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError
from domainlm.keys import create_development_key
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.asked import Asked
from domainlm.ledger.run.manifest import RunManifest
from domainlm.ledger.trust import bootstrap

ROOT = Path(__file__).resolve().parents[2]


def run() -> RunManifest:
    found = small_run(1, started=manifests.now(), ended=manifests.now())
    manifests.write(found)
    return found


def test_a_project_without_a_ledger_says_so(home: Path) -> None:
    assert entered(run().run_id) == "none: the project has no ledger (domainlm audit init)"


def test_a_run_is_entered_with_all_that_waits_and_its_own_line_is_told(home: Path) -> None:
    create_development_key()
    bootstrap.bootstrap()
    manifests.write(small_run(2))
    assert entered(run().run_id).startswith("entry 1, checkpoint of 3 entries, ")
    assert entered(small_run(2).run_id).startswith("entry 2, "), "told again without a second entry"


def test_a_manifest_that_was_changed_waits(home: Path) -> None:
    create_development_key()
    bootstrap.bootstrap()
    path = manifests.manifest_folder() / f"{run().run_id}.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    assert entered(path.stem) == "not in the ledger yet, the next run tries again: its manifest cannot be read"


def test_a_configuration_that_nobody_can_use_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_development_key()
    bootstrap.bootstrap()
    broken = home / "audit.yaml"
    broken.write_text("singer: x\n")
    monkeypatch.setenv("DOMAINLM_AUDIT", str(broken))
    assert "not in the ledger yet" in entered(run().run_id)


def test_a_cluster_wants_a_configuration_that_says_how_its_pods_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ZENML_API_KEY_FILE", "S3_CREDENTIALS_FILE", "MLFLOW_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"DOMAINLM_{name}", str(tmp_path / name))
    for name, value in {"ZENML_URL": "https://zenml", "S3_PATH": "s3://bank/a", "MLFLOW_URI": "https://mlflow"}.items():
        monkeypatch.setenv(f"DOMAINLM_{name}", value)
    monkeypatch.setenv("DOMAINLM_REGISTRY_URI", "registry.example")
    configuration = RunConfiguration.load(ROOT / "zenml_config.yaml")
    launch = Launch(configuration, Asked(str(configuration.path)), str(ROOT / "infra/stacks/kubernetes.yaml"))
    with pytest.raises(ConfigurationError, match=r"(?s)says nothing of pods.*-c configs/kubernetes\.yaml") as refused:
        launched(lambda stated: pytest.fail("nothing may start"), launch, Console(), tmp_path / "log")
    assert "domainlm-kubernetes" in refused.value.what
