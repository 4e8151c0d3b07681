"""The champion as artifacts, in real ZenML runs: out of a real MLflow, as a real ledger has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from registering_bank import Bank
from zenml import pipeline, step
from zenml.enums import ExecutionMode

from domainlm.artifacts import AdapterFolder, BaseCheckpoint
from domainlm.digests import digest_json
from domainlm.errors import EvidenceRefused, RegistrationError
from domainlm.ledger import entries
from domainlm.ledger.acts import Erasure
from domainlm.register.incumbent import IncumbentReport
from domainlm.retrain.batches import LandedData, Result
from domainlm.sources import SourceSettings
from steps.incumbent import incumbent, start

FEED = SourceSettings(
    name="news", uri="landing/news.csv", form="labelled", task="sentiment", licence="CC0-1.0", consent="public",
    purpose="model-training", jurisdiction="us", language="en",
)  # fmt: skip


Planned = tuple[Annotated[LandedData, "landed_data"], Annotated[BaseCheckpoint, "base"]]


@step(enable_cache=False)
def plan(lane: str, start_from: str, base_path: str, base: str) -> Planned:
    """What the steps before hand on: the plan's part, and this run's base."""
    landed = LandedData(lane=lane, sources=(FEED,), digests={}, new_after={"news": 10}, start=start_from)
    made = BaseCheckpoint(Path(base_path))
    made.path.mkdir(exist_ok=True)
    made.write_card(name="toy", external=True, location="/nowhere", digest=base)
    return landed, made


@pipeline(enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST)
def holding(name: str, champion: str, start_from: str, base_path: str, base: str) -> None:
    """Stands for the middle of a retraining."""
    landed, made = plan(name, start_from, base_path, base)
    adapter, tokenizer, _, report = incumbent(landed, champion)
    start(landed, report, adapter, tokenizer, made)


@pytest.fixture
def bank(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bank:
    monkeypatch.setenv("DOMAINLM_HOME", str(stores))
    made = Bank(tmp_path, request.node.name[5:45].replace("[", "-").replace("]", ""))
    for name, value in made.made.as_files().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def hold(bank: Bank, tmp_path: Path) -> Callable:
    """Runs the pipeline; gives every output by its name."""

    def run(champion: str = "", start_from: str = "champion", base: str = digest_json("base")) -> dict:
        made = holding(bank.name, champion, start_from, str(tmp_path / "this-base"), base)
        outputs = {}
        for name in ("incumbent", "start"):
            found = made.steps[name].get_hydrated_version().outputs
            outputs |= {output: versions[0].load() for output, versions in found.items()}
        return outputs

    return run


def test_the_champion_comes_as_it_was_registered(bank: Bank, hold: Callable) -> None:
    from steps.registry import StackRegistries

    first = bank.register(1)
    bank.register(2)
    bank.promote("1", StackRegistries())
    found = hold()
    report: IncumbentReport = found["incumbent_report"]
    assert (report.has, report.label, report.identity) == (True, f"{bank.name}/1", first.identity)
    assert report.known_by == "ledger" and not report.erased
    assert not report.trusted, "its run did not say so, whatever a tag of the registry says"
    assert found["incumbent_adapter"].digest == first.digests["adapter"] == report.adapter_digest
    assert found["incumbent_tokenizer"].digest == first.digests["tokenizer"]
    assert found["incumbent_base"].card["digest"] == first.digests["base"]
    assert found["start_adapter"].digest == first.digests["adapter"]
    assert found["start_tokenizer"].digest == first.digests["tokenizer"]
    bank.promote("2", StackRegistries())
    assert hold()["incumbent_report"].label == f"{bank.name}/2"


def test_where_there_is_none_the_artifacts_are_there_and_say_so(bank: Bank, hold: Callable) -> None:
    bank.register(1)  # a candidate is no champion
    found = hold()
    assert found["incumbent_report"] == IncumbentReport(has=False)
    for name in ("incumbent_adapter", "incumbent_tokenizer", "incumbent_base", "start_adapter", "start_tokenizer"):
        assert found[name].absent == "there is no champion"
    assert isinstance(found["start_adapter"], AdapterFolder)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"start_from": "base"}, "the plan starts at the base"),
        ({"base": "f" * 64}, "the champion stands on another base"),
    ],
)
def test_a_training_starts_at_the_base_where_the_champion_does_not_serve(
    bank: Bank, hold: Callable, given: dict, why: str
) -> None:
    from steps.registry import StackRegistries

    bank.register(1)
    bank.promote("1", StackRegistries())
    found = hold(**given)
    assert found["start_adapter"].absent == found["start_tokenizer"].absent == why
    assert found["incumbent_report"].has and not found["incumbent_adapter"].absent


def test_nothing_goes_on_from_a_champion_that_learnt_from_erased_data(bank: Bank, hold: Callable) -> None:
    from steps.registry import StackRegistries

    model = bank.register(1)
    bank.promote("1", StackRegistries())
    act = Erasure(
        commitment="5" * 64, data=[], models=[model.identity], counts={"rows": 1}, by="anna", reason="Art. 17 GDPR"
    )
    bank.made.state("recorder", entries.ERASURE, act)
    found = hold()
    assert found["incumbent_report"].erased
    assert found["start_adapter"].absent == "the champion learnt from data that were erased since"


def test_an_alias_that_somebody_moved_stops_the_run(bank: Bank, hold: Callable) -> None:
    from domainlm.register.champion import set_champion
    from steps.registry import StackRegistries, tracking_uri

    bank.register(1)
    bank.register(2)
    bank.promote("1", StackRegistries())
    set_champion(tracking_uri(), bank.name, "2")
    with pytest.raises(EvidenceRefused, match="as the champion; the ledger promoted") as refused:
        hold()
    assert refused.value.code == "alias-edited"


def test_files_that_somebody_replaced_stop_the_run(bank: Bank, hold: Callable) -> None:
    from steps.registry import StackRegistries

    bank.register(1)
    bank.promote("1", StackRegistries())
    (weights,) = (bank.folder / "artifacts").rglob("data/adapter/weights.json")
    weights.write_text('{"version": 2}')
    with pytest.raises(RegistrationError, match="another adapter than was registered"):
        hold()
    shutil.rmtree(bank.folder / "artifacts")
    with pytest.raises(RegistrationError, match="with all its files"):
        hold()


@pytest.fixture
def no_ledger(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """A machine that has the registry, and no ledger: a pod."""
    monkeypatch.setattr("steps.champion.has_ledger", lambda: False)
    return bank


def test_without_a_ledger_the_alias_serves_in_development_only(
    no_ledger: Bank, hold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domainlm.register.champion import set_champion
    from steps.registry import tracking_uri

    model = no_ledger.register(1)
    assert not hold()["incumbent_report"].has
    set_champion(tracking_uri(), no_ledger.name, "1")
    assert hold()["incumbent_report"].known_by == "alias"
    report = hold(champion=model.identity)["incumbent_report"]
    assert (report.known_by, report.identity, report.handling) == ("stated", model.identity, "public")
    with pytest.raises(RegistrationError, match="neither batch book nor submission knows it"):
        hold(champion="e" * 64)
    monkeypatch.setenv("DOMAINLM_MODE", "production")
    with pytest.raises(RegistrationError, match="in a pod or in production that does not do"):
        hold()
    assert hold(champion=model.identity)["incumbent_report"].has


def test_a_pod_believes_the_alias_only_where_the_batch_book_knows_the_promotion(
    no_ledger: Bank, hold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domainlm.register.champion import set_champion
    from domainlm.retrain.book import open_book
    from steps.registry import tracking_uri

    monkeypatch.setattr("steps.incumbent.in_pod", lambda: True)
    model = no_ledger.register(1)
    no_ledger.register(2)
    assert not hold()["incumbent_report"].has
    set_champion(tracking_uri(), no_ledger.name, "1")
    with pytest.raises(RegistrationError, match="in a pod or in production that does not do"):
        hold()
    book = open_book()
    claim = book.claim(no_ledger.name, "test", 60, allow_empty=True)
    book.accept_result(claim, Result(run_id="r" * 8, identity=model.identity, version=f"{no_ledger.name}/1"))
    with pytest.raises(RegistrationError, match="in a pod or in production that does not do"):
        hold()
    book.promoted(model.identity)
    report = hold()["incumbent_report"]
    assert (report.known_by, report.identity) == ("stated", model.identity)
    set_champion(tracking_uri(), no_ledger.name, "2")
    with pytest.raises(RegistrationError, match="neither batch book nor submission knows it"):
        hold()


def test_without_a_ledger_files_and_tags_must_still_make_one_identity(no_ledger: Bank, hold: Callable) -> None:
    from mlflow import MlflowClient

    from domainlm.register.champion import set_champion
    from steps.registry import tracking_uri

    no_ledger.register(1)
    set_champion(tracking_uri(), no_ledger.name, "1")
    client = MlflowClient(tracking_uri(), tracking_uri())
    client.set_model_version_tag(no_ledger.name, "1", "domainlm.evaluation", "0" * 64)
    with pytest.raises(RegistrationError, match="another identity"):
        hold()
