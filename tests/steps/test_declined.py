"""A run that decided that nothing should be trained: stopped for ZenML, declined in its manifest, nobody's fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import DECLINED, FAILED


@pytest.fixture
def project(stores: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from zenml.client import Client

    from domainlm.keys import KeyRing
    from pipelines import hooks

    monkeypatch.setenv("DOMAINLM_PROJECT", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setattr(hooks, "load_keys", lambda *_: KeyRing("test", b"k" * 32))
    monkeypatch.setattr(hooks, "started", [])
    Client().activate_root(stores)
    return stores


def test_a_no_ends_the_run_as_stopped_and_its_manifest_says_why(project: Path, capfd, caplog) -> None:
    from tests.support.declining_pipelines import NO, declining

    with caplog.at_level("INFO", logger="pipelines.ending"):
        run = declining()
    assert [record.getMessage() for record in caplog.records if record.name == "pipelines.ending"] == NO.lines()
    assert run.status.value == "stopped" and "300 new rows" in run.get_body().status_reason
    assert {name: step.status.value for name, step in run.steps.items()} == {"decide": "stopped"}
    manifest = manifests.read(manifests.manifest_folder() / f"{run.id}.json")
    assert (manifest.status, manifest.failure, manifest.model) == (DECLINED, None, None)
    said = manifest.verdicts["decision"]
    assert said["verdict"] == "no retraining" and said["barred"] == "cool-down" and said["id"] == NO.id
    assert said["reasons"].split(" | ")[2] == "- age: the champion is 3 days old, 90 asked for"
    assert manifest.ended
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_failure_in_the_same_place_is_one(project: Path) -> None:
    from domainlm.errors import StageFailed
    from tests.support.declining_pipelines import failing

    with pytest.raises(StageFailed):
        failing()
    (manifest,) = [
        found
        for path in manifests.manifest_folder().glob("*.json")
        if (found := manifests.read(path)).pipeline == "failing"
    ]
    assert manifest.status == FAILED and manifest.failure.step == "decide" and "decision" not in manifest.verdicts


def test_the_card_shows_the_reasons_and_a_no_is_no_error(project: Path) -> None:
    from rich.console import Console

    from cli.card import print_card
    from domainlm.ledger.run.manifest import RunManifest
    from steps.declined import told
    from tests.support.declining_pipelines import NO

    console = Console(record=True, width=150, file=open("/dev/null", "w"))
    manifest = RunManifest(run_id="1", run_name="r", pipeline="p", status=DECLINED, verdicts={"decision": told(NO)})
    assert print_card(console, manifest, {}, 1.0, Path("m.json"), "entered")
    shown = console.export_text()
    assert "no retraining" in shown and "+ cool-down: 1 h since the last start" in shown
    assert not print_card(console, manifest.model_copy(update={"status": FAILED}), {}, 1.0, Path("m.json"), "entered")
