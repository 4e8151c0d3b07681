"""Registration at an MLflow server that asks for a name and a password, as a pod of a cluster does it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from cluster_services import Services

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.digests import digest_json
from domainlm.register import Provenance, register
from domainlm.register.champion import sign_in, stored_version
from domainlm.register.settings import RegisterSettings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with Services(tmp_path_factory.mktemp("mlflow"), ("mlflow",)) as services:
        yield services


@pytest.fixture
def signed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)


def configuration(server: Services, **changes: str) -> SimpleNamespace:
    """Of an experiment tracker, as ZenML hands it out with its secrets filled in."""
    known = {"tracking_username": server.mlflow_user, "tracking_password": server.mlflow_password}
    return SimpleNamespace(**known | changes)


METRICS = {f"task-{number}/accuracy/tuned": number / 100 for number in range(50)}


def registered(server: Services, folder: Path, experiment: str = "domainlm"):
    base, tokenizer = BaseCheckpoint(folder / "base"), TokenizerFolder(folder / "tokenizer")
    adapter = AdapterFolder(folder / "adapter")
    for part in (base, tokenizer, adapter):
        part.path.mkdir(parents=True, exist_ok=True)
    base.write_card(name="toy", external=True, location="/nowhere", digest=digest_json("base"))
    (tokenizer.path / "tokenizer.json").write_text("{}")
    tokenizer.write_card(new_tokens={}, base_digest=base.card["digest"])
    (adapter.path / "weights.json").write_text("{}")
    adapter.write_card(method="lora", base_digest=base.card["digest"], tokenizer_digest=tokenizer.digest)
    provenance = Provenance(
        data="d" * 64, configuration="c" * 64, evaluation=digest_json(experiment), commit="abc", dirty=False,
        licences=["CC0-1.0"],
        handling="public",
    )  # fmt: skip
    return register(
        base, tokenizer, adapter, provenance, METRICS, "shown",
        RegisterSettings(experiment=experiment), server.mlflow_url, folder / "artifacts",
    )  # fmt: skip


def test_a_version_is_kept_by_the_server_and_nothing_of_it_on_this_machine(
    server: Services, signed_out: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    sign_in(configuration(server))
    found = registered(server, tmp_path)
    assert not (tmp_path / "artifacts").exists(), "the server decides where files lie"
    stored = stored_version(server.mlflow_url, found.name, found.version)
    assert stored.verified and stored.files["adapter"] == AdapterFolder(tmp_path / "adapter").digest
    assert list((server.folder / "mlflow" / "artifacts").rglob("weights.json"))
    run = server.mlflow("GET", f"/api/2.0/mlflow/runs/get?run_id={found.run_id}")["run"]
    assert {one["key"]: one["value"] for one in run["data"]["metrics"]} == METRICS
    model = server.mlflow("GET", f"/api/2.0/mlflow/logged-models/{run['outputs']['model_outputs'][0]['model_id']}")
    assert {one["key"] for one in model["model"]["data"]["metrics"]} == set(METRICS)
    said = caplog.text + "".join(capfd.readouterr()) + (server.folder / "mlflow" / "log").read_text()
    assert server.mlflow_password not in said


def test_many_metrics_do_not_cost_a_request_each(
    server: Services, signed_out: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.rest_store import RestStore

    asked = []
    monkeypatch.setattr(RestStore, "get_metric_history", lambda *_, **__: asked.append(1) or [])
    sign_in(configuration(server))
    assert not registered(server, tmp_path, "many-metrics").existing
    assert not asked


def test_without_a_password_or_with_a_wrong_one_nothing_is_registered(
    server: Services, signed_out: None, tmp_path: Path
) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException):
        registered(server, tmp_path)
    sign_in(configuration(server, tracking_password="not-the-password"))
    with pytest.raises(MlflowException) as caught:
        registered(server, tmp_path, "another")
    assert "not-the-password" not in str(caught.value)


def test_what_is_mounted_wins_over_the_stacks_secret(
    server: Services, signed_out: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", server.mlflow_user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.mlflow_password)
    sign_in(configuration(server, tracking_username="old", tracking_password="old-password"))
    assert not registered(server, tmp_path, "mounted").existing
    sign_in(SimpleNamespace())  # a tracker of a database has neither
