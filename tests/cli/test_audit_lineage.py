"""`domainlm audit lineage` and `audit subject`, and that a look at a person is logged without saying at whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset
from small_ledgers import small_run
from typer.testing import CliRunner

from cli.main import app
from domainlm.audit.evidence import Evidence
from domainlm.audit.lineage.index import FILE, TRAINING, Lineage
from domainlm.errors import ConfigurationError, DomainLMError
from domainlm.keys import KeyRing, create_development_key
from domainlm.ledger import client, entries
from domainlm.ledger.acts import Read
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.entering import enter
from domainlm.ledger.settings import evidence_folder
from domainlm.ledger.trust import bootstrap
from domainlm.records import features
from steps.erased import erasure_register

DATA = "a" * 64
ROW = {
    "task": "definition", "messages": [], "context": "", "label": "", "source": "letters", "licence": "proprietary",
    "consent": "contract", "purpose": "model-training", "jurisdiction": "kr", "handling": "internal", "language": "ko",
    "timestamp": "", "group": "g", "split_bucket": 1, "split": "train",
}  # fmt: skip


@pytest.fixture
def subject(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project with a ledger, a model, and one person in its training rows; gives the person's id."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(home / "zenml"))
    create_development_key()
    bootstrap.bootstrap()
    keys = KeyRing.load()
    person = keys.keyed_id("subject", "SUBJECT", "anna")
    rows = [
        ROW | {"id": keys.keyed_id("record", str(number)), "row": number + 1, "subjects": [person] if number else []}
        for number in range(3)
    ]
    index = Lineage(evidence_folder() / FILE)
    index.enter(DATA, "prepared_records", Dataset.from_list(rows, features=features()))
    used = [index.use(DATA, TRAINING, "train")]
    run = small_run(1, rows=used, started=manifests.now(), ended=manifests.now())
    assert run.model is not None
    index.link(run.run_id, run.model.identity, "domainlm-finance/1", used)
    enter(manifests.read(manifests.write(run)))
    return person


def call(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["audit", *arguments], catch_exceptions=False)
    return found.exit_code, found.stdout


def test_a_model_leads_to_its_rows(subject: str) -> None:
    code, told = call("lineage", "domainlm-finance/1")
    assert code == 0 and "training: 3 rows of prepared_records" in told and "proven" in told
    code, told = call("lineage", "domainlm-finance/1", "--json", "--rows")
    trace, *rows = [json.loads(line) for line in told.splitlines()]
    assert trace["sets"][0]["counts"]["consent"] == {"contract": 3}
    assert [row["row"] for row in rows] == [1, 2, 3] and len({row["record"] for row in rows}) == 3


def test_what_cannot_be_proven_is_an_exit_code(subject: str) -> None:
    for path in evidence_folder().glob(f"{FILE}*"):
        path.unlink()
    assert call("lineage", "domainlm-finance/1")[0] == 1
    with pytest.raises(DomainLMError):
        call("lineage", "domainlm-finance/9")


def test_a_person_leads_to_the_model_and_the_look_is_logged_without_the_id(subject: str) -> None:
    code, told = call("subject", subject, "--json")
    assert code == 0
    (found,) = json.loads(told)
    assert found["rows"] == 2 and list(found["models"].values()) == ["domainlm-finance/1"]
    looks = [one for one in Evidence(client.evidence_entries(), client.new_gate()).of_kind(entries.READ)]
    assert len(looks) == 1 and isinstance(looks[0].act, Read) and looks[0].act.page == "audit subject"
    for _, raw in client.open_ledger().raw():
        assert subject.encode() not in raw
    assert all(subject not in json.dumps(envelope.statement) for _, envelope in client.evidence_entries())


def test_a_person_who_was_erased_is_said_to_be_and_forgotten_rows_are_told(subject: str) -> None:
    keys = KeyRing.load()
    erasure_register(keys).enter(subject, "e" * 64)
    Lineage(evidence_folder() / FILE).forget(subject)
    code, told = call("subject", subject)
    assert code == 0 and told.startswith("erased on the record") and "no data version" not in told
    _, told = call("lineage", "domainlm-finance/1")
    assert "2 of these rows were forgotten after an erasure" in told and "forgotten: (none)" not in told
    assert "no data version" in call("subject", keys.keyed_id("subject", "PERSON", "nobody"))[1]


def test_two_looks_at_one_person_cannot_be_linked(subject: str) -> None:
    call("subject", subject)
    call("subject", subject)
    read = Evidence(client.evidence_entries(), client.new_gate())
    first, second = (entries.subjects(one.envelope) for one in read.of_kind(entries.READ))
    assert first != second


def test_where_a_look_cannot_be_logged_nothing_is_shown(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_SIGNER_KEYS", "/nonexistent")
    with pytest.raises(DomainLMError):
        call("subject", subject)


@pytest.mark.parametrize("text", ["anna", "0" * 32, "한국"])
def test_what_is_no_id_of_ours_is_refused_before_anything_is_logged(subject: str, text: str) -> None:
    with pytest.raises(ConfigurationError):
        call("subject", text)
    assert not list(Evidence(client.evidence_entries(), client.new_gate()).of_kind(entries.READ))


def test_a_rotation_carries_the_index(subject: str) -> None:
    found = CliRunner().invoke(app, ["keys", "rotate"], catch_exceptions=False)
    assert found.exit_code == 0, found.stdout
    index = Lineage(evidence_folder() / FILE)
    assert index.data_of(subject) == []
    assert index.data_of(KeyRing.load().carried("subject", subject)) == [DATA]
    assert json.loads(call("subject", subject, "--json")[1])[0]["rows"] == 2, "an old id still leads there"
