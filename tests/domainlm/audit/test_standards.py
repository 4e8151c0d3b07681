"""A run in other tools' formats: valid by their own schemas, the same each time, and without what nobody may see."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.serde import Serde
from small_ledgers import SmallLedger, small_ledger, small_run

from domainlm.audit.standards import bom, openlineage, provenance_graph
from domainlm.errors import ArtifactError, ConfigurationError
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval
from domainlm.ledger.run.manifest import COMPLETED, FAILED, Failure, RunManifest, Source, StepEntry
from domainlm.project import SOURCE_ROOT

ROWS, RECORDS, ADAPTER = "1" * 64, "2" * 64, "3" * 64


def run(**changes: Any) -> RunManifest:
    step = {"started": "2026-11-20T10:00:00.000+00:00", "ended": "2026-11-20T10:01:00.000+00:00", "status": COMPLETED}
    return small_run(
        steps=[
            StepEntry(name="ingest", outputs={"source_manifest": ROWS}, **step),
            StepEntry(
                name="redact", inputs={"sources": ROWS}, outputs={"redacted_records": RECORDS}, cached=True, **step
            ),
            StepEntry(name="train", inputs={"records": RECORDS}, outputs={"adapter": ADAPTER}, **step),
        ],
        sources=[
            Source(
                name="filings", uri="data/filings.csv", files={"filings.csv": "4" * 64}, rows=10, licence="CC-BY-4.0",
                consent="public", purpose="model-training", jurisdiction="us", language="en", handling="public",
            )
        ],
        base={"name": "embedded", "digest": "5" * 64, "licence": "proprietary", "architecture": "falcon"},
        code={"commit": "6" * 40, "dirty": False, "lock": "7" * 64},
        **changes,
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> SmallLedger:
    return small_ledger(tmp_path)


def as_json(manifest: RunManifest) -> list[dict[str, Any]]:
    return [json.loads(Serde.to_json(event)) for event in openlineage.events(manifest)]


def test_every_step_has_a_start_and_an_end_and_its_inputs_are_the_outputs_of_the_step_before() -> None:
    events = as_json(run())
    assert [event["eventType"] for event in events] == ["START"] + ["START", "COMPLETE"] * 3 + ["COMPLETE"]
    ends = {event["job"]["name"].rpartition(".")[2]: event for event in events if event["eventType"] == "COMPLETE"}
    made, read = ends["redact"]["outputs"][0], ends["train"]["inputs"][0]
    assert (made["namespace"], made["name"]) == (read["namespace"], read["name"])
    assert made["facets"]["version"]["datasetVersion"] == read["facets"]["version"]["datasetVersion"] == RECORDS
    assert ends["redact"]["job"]["facets"]["jobType"]["jobType"] == "CACHED_STEP"
    assert ends["train"]["run"]["facets"]["parent"]["run"]["runId"] == run().run_id
    source = ends["finetuning_pipeline"]["inputs"][0]
    assert (
        source["name"] == "source/filings/filings.csv"
        and "CC-BY-4.0" in source["facets"]["documentation"]["description"]
    )


def test_the_same_run_has_the_same_events() -> None:
    assert as_json(run()) == as_json(run())


def test_a_failed_run_says_so_with_the_error_and_without_its_message() -> None:
    failure = Failure(step="train", error="TrainingError", message="somewhere/secret-place: diverged")
    steps = [step.model_copy(update={"status": FAILED} if step.name == "train" else {}) for step in run().steps]
    events = as_json(run().model_copy(update={"status": FAILED, "failure": failure, "steps": steps, "model": None}))
    assert [event["eventType"] for event in events][-3:] == ["START", "FAIL", "FAIL"]
    assert events[-1]["run"]["facets"]["errorMessage"]["message"] == "TrainingError in step train"
    assert "secret-place" not in json.dumps(events)


def test_events_go_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert openlineage.emit(run(), path.as_uri()) == 8
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["eventType"] for line in lines] == [event["eventType"] for event in as_json(run())]


class Server(BaseHTTPRequestHandler):
    got: list[dict[str, Any]]
    answer = 200

    def do_POST(self) -> None:
        self.got.append({"path": self.path} | json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("answer", [200, 404])
def test_events_go_to_a_server_and_a_refusal_is_said(answer: int) -> None:
    handler = type("Handler", (Server,), {"got": [], "answer": answer})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        if answer == 200:
            assert openlineage.emit(run(), url) == 8
            assert {found["path"] for found in handler.got} == {"/api/v1/lineage"}
            assert len(handler.got) == 8
        else:
            with pytest.raises(openlineage.LineageUnsent, match="0 of 8"):
                openlineage.emit(run(), url)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="neither"):
        openlineage.emit(run(), "ftp://x")


def valid(bill: dict[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None


def test_the_bill_of_a_model_is_valid_and_has_a_card_of_what_was_measured() -> None:
    bill = bom.model_bom(run(metrics={"headline_accuracy": 0.62}))
    valid(bill)
    model = bill["metadata"]["component"]
    assert model["type"] == "machine-learning-model" and model["version"] == "1"
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics == [{"type": "headline_accuracy", "value": "0.62", "slice": "test split"}]
    refs = {component["bom-ref"]: component for component in bill["components"]}
    assert [item["ref"] for item in model["modelCard"]["modelParameters"]["datasets"]] == ["data:filings/filings.csv"]
    assert refs["data:filings/filings.csv"]["hashes"] == [{"alg": "SHA-256", "content": "4" * 64}]
    assert [item["license"]["id"] for item in refs["data:filings/filings.csv"]["licenses"]] == ["CC-BY-4.0"]
    assert bill == bom.model_bom(run(metrics={"headline_accuracy": 0.62}))


def test_the_schema_sees_a_wrong_card() -> None:
    bill = bom.model_bom(run())
    bill["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] = [{"value": 1}]
    with pytest.raises(AssertionError):
        valid(bill)


def test_a_run_without_a_model_has_no_bill() -> None:
    with pytest.raises(ArtifactError, match="registered no model"):
        bom.model_bom(run(model=None))


def test_the_bill_of_the_software_lists_every_pin_of_the_lock() -> None:
    lock = SOURCE_ROOT / "constraints.txt"
    bill = bom.software_bom(lock, datetime(2026, 11, 21, tzinfo=UTC))
    valid(bill)
    pinned = {
        line.partition("==")[0].partition("[")[0]
        for line in lock.read_text().splitlines()
        if "==" in line.partition("#")[0]
    }
    assert {component["name"] for component in bill["components"]} == pinned
    one = next(component for component in bill["components"] if component["name"] == "pymerkle")
    assert (
        one["purl"].startswith("pkg:pypi/pymerkle@7") and one["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256"
    )
    named = {component["name"] for component in bill["components"] if component.get("licenses")}
    assert {"torch", "pymerkle", "weasyprint", "presidio-analyzer"} <= named and len(named) > len(pinned) / 2


def test_a_lock_without_pins_is_refused(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("# nothing\n")
    with pytest.raises(ArtifactError, match="pins no package"):
        bom.software_bom(tmp_path / "constraints.txt", datetime(2026, 11, 21, tzinfo=UTC))


def test_a_prov_document_reads_back_and_names_data_steps_and_deciders(ledger: SmallLedger) -> None:
    from prov.model import ProvActivity, ProvDerivation, ProvDocument, ProvGeneration

    manifest = run()
    receipt = ledger.enter_run(manifest)
    assert manifest.model
    approval = Approval(
        model="domainlm-finance/1", identity=manifest.model.identity, run=receipt.entry, decision="approve"
    )
    ledger.state("anna", entries.APPROVAL, approval)
    evidence = ledger.evidence()
    stated = evidence.model("domainlm-finance/1")
    assert stated
    document = provenance_graph.document(stated, evidence)
    back = ProvDocument.deserialize(content=document.serialize())
    assert back == document
    text = document.get_provn()
    assert f"sha256:{'4' * 64}" in text and "domainlm:member/anna" in text
    made = [str(record.args[0]) for record in document.get_records(ProvGeneration)]
    assert f"sha256:{ADAPTER}" in made and f"sha256:{RECORDS}" not in made, "the cache made what the cache served"
    assert any(str(record.args[0]) == f"sha256:{ADAPTER}" for record in document.get_records(ProvDerivation))
    assert len(list(document.get_records(ProvActivity))) == 4
