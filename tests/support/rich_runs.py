"""Runs with everything that a page shows: a full lineage, sources, verdicts; and runs whose every name is hostile."""

from __future__ import annotations

from typing import Any

from small_ledgers import small_run

from domainlm.digests import digest_json
from domainlm.ledger.run.manifest import COMPLETED, FAILED, Failure, ModelRecord, RowSet, RunManifest, Source, StepEntry

HOSTILE = (
    "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(2)>",
    "</title></textarea></svg><svg onload=alert(3)>",
    "javascript:alert(4)//",
    "{{ 7*7 }}{% raise %}${7*7}",
    "\u202egnp.exe\u202c\u2066\u200b\u0000\u001b[31m",
    "x" * 3000,
    "가" * 400 + "\n\r\nSet-Cookie: a=b",
    "../../etc/passwd\\..\\%2e%2e/?a=b&c=d#e",
)  # fmt: skip
STAGES = ("ingest", "redact", "prepare", "validate", "vocabulary", "train", "evaluate", "register")


def digest(*parts: Any) -> str:
    return digest_json(list(parts))


def rich_run(number: int, **changes: Any) -> RunManifest:
    """A completed run with eight steps, three sources and all verdicts."""
    plain = small_run(number)
    model = plain.model
    made = {stage: digest(stage, number) for stage in STAGES}
    made["train"] = model.digests["adapter"]
    made["prepare"] = model.digests["data"]
    steps = [
        StepEntry(
            name="ingest", status=COMPLETED, cached=True, inputs={}, outputs={"source_manifest": made["ingest"]},
            parameters={"rows": 12_400},
        ),
        StepEntry(
            name="redact", status=COMPLETED, inputs={"sources": made["ingest"]},
            outputs={"redacted_records": made["redact"], "redaction_report": digest("report", number)},
            parameters={"jurisdictions": ["kr", "us"], "risk": 0.2},
        ),
        StepEntry(
            name="prepare", status=COMPLETED, inputs={"records": made["redact"]},
            outputs={"dataset": made["prepare"], "tokenizer": model.digests["tokenizer"]},
        ),
        StepEntry(
            name="validate", status=COMPLETED, inputs={"dataset": made["prepare"]},
            outputs={"validation_report": made["validate"]},
        ),
        StepEntry(
            name="train", status=COMPLETED,
            inputs={"dataset": made["prepare"], "tokenizer": model.digests["tokenizer"], "base": model.digests["base"]},
            outputs={"adapter": made["train"]}, parameters={"seed": number, "learning_rate": 1e-4 * number},
        ),
        StepEntry(
            name="evaluate", status=COMPLETED, inputs={"adapter": made["train"], "dataset": made["prepare"]},
            outputs={"evaluation": model.digests["evaluation"]},
        ),
        StepEntry(
            name="register", status=COMPLETED,
            inputs={"adapter": made["train"], "evaluation": model.digests["evaluation"],
                    "validation": made["validate"]},
            outputs={"registration": made["register"]},
        ),
    ]  # fmt: skip
    values: dict[str, Any] = {
        "steps": steps,
        "sources": [
            Source(name="headlines", uri="domains/finance/headlines.csv", rows=9_120, licence="CC-BY-4.0",
                   consent="not needed: public", purpose="finetuning", jurisdiction="us", language="en",
                   handling="public", trusted=True),
            Source(name="콜센터 상담", uri="s3://bank-kr/calls/2026-10/", rows=3_180, licence="internal",
                   consent="contract, clause 7", purpose="finetuning", jurisdiction="kr", language="ko",
                   handling="confidential", trusted=True),
            Source(name="filings", uri="domains/finance/corpus", rows=100, licence="public domain", 
                   purpose="evaluation", jurisdiction="us", language="en", handling="public", trusted=True),
        ],
        "rows": [RowSet(data=made["prepare"], use=use, rows=rows, root=digest(use, number))
                 for use, rows in (("training", 9_800), ("development", 1_200), ("test", 1_400))],
        "verdicts": {
            "redaction": {"verdict": "passed", "records_in": 12_400, "records_out": 12_391, "records_quarantined": 9,
                          "entities_person": 2_310, "entities_kr_rrn": 97, "name_canaries_ko": 0.8958,
                          "handling_class": "confidential"},
            "validation": {"verdict": "kept", "suite": "finance", "rows": 12_391, "expectations": 14,
                           "expectations_broken": 0, "warnings": 1},
            "evaluation": {"verdict": "shown", "headline": "shown", "items": 1_400},
            "licence": {"verdict": "allowed", "allowed": True, "purpose": "internal"},
        },
        "metrics": {"headline_accuracy": 0.5 + number / 100, "headline_macro_f1": 0.47 + number / 90,
                    "extraction_exact": 0.61, "general_loss": 2.31 - number / 50},
        "intervals": {"headline_accuracy": [0.48 + number / 100, 0.52 + number / 100]},
        "base": {"name": "domainlm-base-small", "digest": model.digests["base"], "licence": "Apache-2.0"},
        "hardware": {"processor": "8 cores", "memory_bytes": 34_359_738_368, "gpus": "none"},
        "code": {"commit": "5ea1ab1e" * 5, "dirty": number % 2 == 0, "lock": digest("lock")},
        "model": model.model_copy(update={"handling": "confidential", "licences": ["Apache-2.0", "CC-BY-4.0"]}),
    }  # fmt: skip
    return plain.model_copy(update=values | changes)


def failed_run(number: int) -> RunManifest:
    """A run that stopped in its third step."""
    rich = rich_run(number)
    steps = [*rich.steps[:2], rich.steps[2].model_copy(update={"status": FAILED, "outputs": {}})]
    return rich.model_copy(
        update={
            "status": FAILED, "model": None, "steps": steps, "metrics": {}, "verdicts": {}, "rows": [],
            "failure": Failure(step="prepare", error="ContractViolation", message="2 labels are exchanged"),
        }
    )  # fmt: skip


def hostile_run(number: int, name: str) -> RunManifest:
    """A run in which everything that a name can be is this name."""
    rich = rich_run(number)
    model = rich.model
    steps = [
        step.model_copy(
            update={
                "name": f"{step.name}{name}", "status": name, "parameters": {name: name, "deep": {name: [name]}},
                "inputs": {f"{key}{name}": value for key, value in step.inputs.items()},
                "outputs": {f"{key}{name}": value for key, value in step.outputs.items()},
            }
        )
        for step in rich.steps
    ]  # fmt: skip
    return rich.model_copy(
        update={
            "run_id": f"{rich.run_id}{name}", "run_name": name, "pipeline": name, "started": name, "steps": steps,
            "sources": [
                Source(name=name, uri=name, licence=name, consent=name, purpose=name, jurisdiction=name, language=name,
                       handling=name, rows=3)
            ],
            "verdicts": {gate: {name: name, "nested": {name: name}} for gate in rich.verdicts},
            "metrics": {name: 0.5}, "base": {name: name}, "hardware": {name: name}, "configuration": {name: name},
            "rows": [RowSet(data=model.digests["data"], use=name, rows=1, root=name)],
            "model": ModelRecord(
                name=f"hostile{name}", version=name, identity=digest("hostile", number), digests={name: name},
                verdict=name, handling=name, licences=[name],
            ),
        }
    )  # fmt: skip
