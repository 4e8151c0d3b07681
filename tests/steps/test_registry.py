"""The real registries: MLflow over SQLite and ZenML's own store, each in a folder of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from registering_bank import Bank
from small_ledgers import ORIGIN

from domainlm.audit.decisions.promotion import alias_findings, stored_findings
from domainlm.audit.proof.verification import examine
from domainlm.errors import ApprovalRefused, RegistrationError
from domainlm.ledger import entries

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bank(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bank:
    monkeypatch.setenv("DOMAINLM_HOME", str(stores))
    return Bank(tmp_path, request.node.name[:40].replace("[", "-").replace("]", ""))


def zenml_stages(name: str) -> dict[str, str]:
    """ZenML's version number -> stage."""
    from zenml.client import Client

    found = Client().list_model_versions(model=f"zenml-{name}", hydrate=True).items
    return {str(version.number): str(version.stage) for version in found}


def test_a_version_becomes_the_champion_in_both_and_both_are_read_back(bank: Bank) -> None:
    import mlflow

    from steps.registry import StackRegistries, tracking_uri

    first, second = bank.register(1), bank.register(2)
    registries = StackRegistries()
    assert bank.champions(registries) == {}
    client = mlflow.MlflowClient(tracking_uri(), tracking_uri())
    assert set(client.get_registered_model(bank.name).aliases) == {"candidate"}  # registering crowns nobody
    bank.promote(first.version, registries)
    assert str(client.get_model_version_by_alias(bank.name, "champion").version) == first.version == "1"
    assert zenml_stages(bank.name) == {"1": "production", "2": "None"}
    assert bank.champions(registries) == {"MLflow": ("1", first.identity), "ZenML": ("1", first.identity)}
    bank.promote(second.version, registries)
    assert zenml_stages(bank.name) == {"1": "archived", "2": "production"}
    assert bank.champions(registries) == {"MLflow": ("2", second.identity), "ZenML": ("2", second.identity)}
    assert bank.promote(second.version, registries).already
    evidence = bank.made.evidence()
    mine = [champion for champion in registries.champions() if champion.name == bank.name]
    assert alias_findings(evidence, mine, registries.names) == []
    assert stored_findings(evidence, registries, bank.name) == []


def test_what_somebody_edited_in_a_registry_is_named_and_promotes_nothing(bank: Bank) -> None:
    import mlflow
    from zenml.client import Client

    from steps.registry import StackRegistries, tracking_uri

    first, second = bank.register(1), bank.register(2, approved=False)
    registries = StackRegistries()
    client = mlflow.MlflowClient(tracking_uri(), tracking_uri())
    bank.promote("1", registries)

    client.set_registered_model_alias(bank.name, "champion", "2")
    mine = [champion for champion in registries.champions() if champion.name == bank.name]
    lines = [found.line() for found in alias_findings(bank.made.evidence(), mine, registries.names)]
    assert lines == [f"broken: alias-edited: MLflow {bank.name}: shows {bank.name}/2 as the champion;"
                     f" the ledger promoted {bank.name}/1"]  # fmt: skip
    assert bank.champions(registries) == {"MLflow": ("2", second.identity), "ZenML": ("1", first.identity)}

    # tag and alias together: version 2 says that it is version 1's model
    for tag, value in {"domainlm.identity": first.identity}.items():
        client.set_model_version_tag(bank.name, "2", tag, value)
    with pytest.raises(ApprovalRefused, match="no completed run"):
        bank.promote("2", registries)
    assert bank.promote("1", registries).finished  # sets the alias right

    version = Client().get_model_version(f"zenml-{bank.name}", 1)
    Client().update_model_version(version.model.id, version.id, stage="archived", force=True)
    mine = [champion for champion in registries.champions() if champion.name == bank.name]
    assert [found.where for found in alias_findings(bank.made.evidence(), mine, registries.names)] == [
        f"ZenML {bank.name}"
    ]


def test_files_that_somebody_replaced_in_the_registry_are_found(bank: Bank) -> None:
    from steps.registry import StackRegistries

    bank.register(1)
    registries = StackRegistries()
    (weights,) = (bank.folder / "artifacts").rglob("data/adapter/weights.json")
    honest = weights.read_text()
    weights.write_text('{"version": 2}')
    with pytest.raises(ApprovalRefused, match="another adapter than was registered"):
        bank.promote("1", registries)
    weights.write_text(honest)
    bank.promote("1", registries)
    weights.unlink()
    assert "another adapter" in stored_findings(bank.made.evidence(), registries, bank.name)[0].what


def test_a_verification_of_the_stores_names_what_was_replaced_in_the_registry(bank: Bank) -> None:
    from cli.audit.verify import _with_stores
    from steps.registry import StackRegistries

    bank.register(1)
    bank.register(2, approved=False)
    bank.promote("1", StackRegistries())

    def replaced() -> list[tuple[str, str]]:
        ledger = bank.made.ledger
        found, evidence = examine(ledger.raw(), ledger.checkpoints(), (), ORIGIN, bank.made.root_keyids)
        findings = _with_stores(found, evidence).findings
        return [(found.where, found.what) for found in findings if found.code == "replaced-artifact"]

    assert replaced() == []
    for weights in (bank.folder / "artifacts").rglob("data/adapter/weights.json"):
        weights.write_text('{"version": 3}')
    swapped = "the registry holds another adapter than was registered"
    assert replaced() == [(f"{bank.name}/1", swapped), (f"{bank.name}/2", swapped)]


def test_a_promotion_killed_between_the_registries_is_finished(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    import steps.registry

    class Killed(BaseException):
        """Stands for a SIGKILL."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    bank.register(1)
    registries = steps.registry.StackRegistries()
    with monkeypatch.context() as patch:
        patch.setattr(steps.registry.Client, "update_model_version", killed)
        with pytest.raises(Killed):
            bank.promote("1", registries)
    assert [found.registry for found in registries.champions() if found.name == bank.name] == ["MLflow"]
    assert bank.promote("1", registries).finished
    assert zenml_stages(bank.name) == {"1": "production"}
    assert len(list(bank.made.evidence().of_kind(entries.PROMOTION))) == 1


def test_a_version_without_its_files_or_without_a_zenml_version_is_refused(bank: Bank) -> None:
    import shutil

    from steps.registry import StackRegistries

    model = bank.register(1)
    registries = StackRegistries()
    with pytest.raises(RegistrationError, match="no version in ZenML"):
        registries.version(bank.name, "1", ["00000000-0000-4000-8000-000000000000"])
    shutil.rmtree(bank.folder / "artifacts")
    with pytest.raises(RegistrationError, match="with all its files"):
        bank.promote(model.version, registries)
    assert registries.identity(bank.name, "7") == ""


def test_the_command_says_what_is_missing_promotes_and_checks(
    bank: Bank, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a person types it: the signer is a process of its own, the registries are those of the stack."""
    from mlflow import MlflowClient

    from steps.registry import tracking_uri

    bank.register(1), bank.register(2, approved=False)
    (stores / "activate").touch()
    environment = os.environ | bank.made.as_files()

    def do(*arguments: str, code: int) -> str:
        command = [sys.executable, "-m", "cli.main", "promote", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    printed = do("2", "--name", bank.name, code=1)
    assert "the approval of an officer is missing: anna, olga could give it" in printed
    assert "the approval of a validator is missing: olga, victor could give it" in printed
    assert f"promoted: {bank.name}/1, by anna, victor; entry" in do(f"{bank.name}/1", code=0)
    assert zenml_stages(bank.name) == {"1": "production", "2": "None"}
    client = MlflowClient(tracking_uri(), tracking_uri())
    client.set_registered_model_alias(bank.name, "champion", "2")
    assert f"alias-edited: MLflow {bank.name}: shows {bank.name}/2 as the champion" in do("--check", code=1)
