"""A run whose manifest has everything that a run of the default pipeline states, and the ledger around it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run

from domainlm.audit.decisions.approvals import Decision, decide
from domainlm.audit.proof.verification import Verification, verify_entries
from domainlm.audit.regulation import read_checklist
from domainlm.audit.report import Document, build
from domainlm.digests import digest_json
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Condition, ConditionMet, Promotion
from domainlm.ledger.anchors import Published
from domainlm.ledger.run.manifest import COMPLETED, ModelRecord, RowSet, RunManifest, Source, StepEntry
from domainlm.ledger.trust.gate import Rules

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = NOON.date() + timedelta(days=1)
ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\u202egpj.exe\x00</style>'{{7*7}}"
# step -> (what it consumes, what it makes, whether the cache served it)
STEPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {
    "base_ingest": ((), ("base_sources",), False),
    "ingest": ((), ("sources",), False),
    "base_redact": (("base_sources",), ("base_redacted",), True),
    "redact": (("sources",), ("redacted",), True),
    "base_prepare": (("base_redacted",), ("base_prepared",), True),
    "base_validate": (("base_prepared",), ("base_verdict",), True),
    "pretrain": (("base_prepared", "base_verdict"), ("base",), True),
    "prepare": (("redacted", "base"), ("prepared",), False),
    "validate": (("prepared",), ("verdict",), False),
    "vocabulary": (("prepared", "verdict", "base"), ("tokenizer",), False),
    "train": (("prepared", "verdict", "tokenizer", "base"), ("adapter", "training_report"), False),
    "control_from_scratch": (("prepared", "tokenizer", "training_report"), ("scratch",), False),
    "control_shuffled_labels": (("prepared", "tokenizer", "training_report"), ("shuffled",), False),
    "evaluate": (("prepared", "adapter", "shuffled", "scratch"), ("evaluation",), False),
    "register": (("sources", "prepared", "adapter", "evaluation"), ("registration",), False),
}


def full_steps(number: int) -> list[StepEntry]:
    """The steps of the default pipeline with digests that fit each other."""

    def digest(name: str) -> str:
        return digest_json([name, number])

    found = []
    for name, (consumed, made, cached) in STEPS.items():
        found.append(
            StepEntry(
                name=name, status=COMPLETED, cached=cached, inputs={one: digest(one) for one in consumed},
                outputs={one: digest(one) for one in made},
                parameters={"settings": {"seed": 1, "epochs": 3.0, "method": "qlora", "learning_rate": 0.0002}}
                if name == "train" else {},
                measured={"seconds": 184.2, "tokens_per_second": 1450.0, "energy_kwh": 0.0081, "cost": 0.12,
                          "currency": "USD"} if name == "train" else {},
            )
        )  # fmt: skip
    return found


def full_sources() -> list[Source]:
    """Sources of the tuning and of the base, each with its terms."""
    terms = {
        "headlines": ("CC-BY-4.0", "publication", "model-training", "us", "public", 4_840),
        "customer-messages": ("proprietary", "contract clause 7", "customer-service", "kr", "confidential", 1_200),
        "glossary": ("CC-BY-SA-4.0", "publication", "model-training", "eu", "public", 312),
    }
    found = [
        Source(
            name=name, uri=f"file:///data/{name}.csv", files={f"{name}.csv": digest_json([name])}, rows=rows,
            licence=licence, consent=consent, purpose=purpose, jurisdiction=law, language="en", handling=handling,
            trusted=True,
        )
        for name, (licence, consent, purpose, law, handling, rows) in terms.items()
    ]  # fmt: skip
    base = found[0].model_copy(update={"name": "filings", "stage": "base_ingest", "rows": 9_120})
    return [*found, base]


def full_run(number: int = 1, **changes: Any) -> RunManifest:
    """`small_run` with everything else that a run states."""
    small = small_run(number)
    assert small.model is not None
    redaction = {
        "verdict": "passed", "records_in": 6_352, "records_out": 6_340, "records_changed": 1_288,
        "records_quarantined": 12, "subjects": 841, "canaries": 96, "labelled_texts_leaking": 0.021,
        "name_canaries_en": 0.94, "name_canaries_ko": 0.91, "entities_person": 1_502, "entities_email_address": 211,
        "entities_kr_rrn": 9, "handling_class": "confidential", "key_id": "k1",
    }  # fmt: skip
    scores = {
        "tuned": (0.712, 0.681, 0.741), "base": (0.331, 0.300, 0.362), "shuffled-labels": (0.348, 0.318, 0.380),
        "majority": (0.402, 0.370, 0.434), "few-shot-base": (0.418, 0.386, 0.450), "from-scratch": (0.455, 0.42, 0.49),
    }  # fmt: skip
    metrics, intervals = {}, {}
    for row, shift in (("headlines/headlines/accuracy", number / 100), ("numeric/numeric/exact-match", -0.3)):
        for system, (value, low, high) in scores.items():
            metrics[f"{row}/{system}"] = round(value + shift, 3)
            intervals[f"{row}/{system}"] = [round(low + shift, 3), round(high + shift, 3)]
    evaluation = {
        "verdict": "shown", "headline": "shown", "items": 1_024, "claim, sentiment of headlines": "shown",
        "claim, numeric answers": "not shown", "headlines / headlines, accuracy, tuned": 0.72,
        "numeric / numeric, exact match, tuned": 0.41,
    }  # fmt: skip
    values: dict[str, Any] = {
        "key_id": "k1",
        "steps": full_steps(number),
        "sources": full_sources(),
        "code": {"commit": "b9491778" * 5, "dirty": False, "lock": digest_json("lock"), "files": {"a.py": "0" * 64}},
        "configuration": {"parameters": {}, "stack": "default", "model": "domainlm-finance",
                          "file": "zenml_config.yaml", "digest": digest_json("configuration"), "overrides": False},
        "environment": {"python": "3.11.11", "platform": "Linux", "processor": "Xeon", "packages": {"torch": "2.8.0"}},
        "hardware": {"processor": "Intel Xeon", "cores": 4, "memory_bytes": 16 << 30, "gpus": ["NVIDIA H100"]},
        "base": {"name": "domainlm-base", "digest": small.model.digests["base"], "licence": "CC-BY-4.0"},
        "verdicts": {
            "redaction": redaction,
            "base_redaction": redaction | {"records_in": 9_120, "records_out": 9_118, "records_quarantined": 2},
            "validation": {"verdict": "kept", "suite": "finance", "rows": 6_340, "success": True, "expectations": 41,
                           "expectations_broken": 0, "warnings": 1, "test_rows": 1_024},
            "base_validation": {"verdict": "kept", "suite": "finance_base", "rows": 9_118, "success": True,
                                "expectations": 17, "expectations_broken": 0, "warnings": 0, "test_rows": 0},
            "evaluation": evaluation,
            "licence": {"verdict": "allowed with duties", "allowed": True, "purpose": "internal-use",
                        "base": "CC-BY-4.0", "data": "CC-BY-4.0, proprietary",
                        "duties": "CC-BY-4.0: name the authors | proprietary: keep the contract behind the consent",
                        "table_version": 1, "table_checked": "2026-11"},
        },
        "metrics": metrics,
        "intervals": intervals,
        "model": ModelRecord(**small.model.model_dump() | {"handling": "confidential", "tier": 1, "trusted": True,
                                                           "licences": ["CC-BY-4.0", "proprietary"]}),
        "rows": [
            RowSet(data=digest_json(["prepared", number]), use=use, rows=rows, root=digest_json([use, number]))
            for use, rows in (("training", 4_700), ("development", 616), ("test", 1_024))
        ] + [RowSet(data=digest_json(["base_prepared", 1]), use="pretraining", rows=9_118, root=digest_json("base"))],
    }  # fmt: skip
    return small_run(number, **(values | changes))


@dataclass
class Reported:
    """A ledger with one approved model, and what a report is made from."""

    made: SmallLedger
    identity: str

    @property
    def note(self) -> str:
        return self.made.ledger.checkpoints()[-1]

    def published(self) -> list[Published]:
        return [Published("volume", self.note)]

    def verification(self, published: list[Published] | None = None) -> Verification:
        found = self.published() if published is None else published
        ledger = self.made.ledger
        return verify_entries(ledger.raw(), ledger.checkpoints(), found, ORIGIN, self.made.root_keyids)

    def decision(self) -> Decision:
        return decide(self.made.evidence(), self.identity, TODAY)


def reported(folder: Path, approved: bool = True, rules: Rules | None = None, **changes: Any) -> Reported:
    """A champion (version 1) and a candidate (version 2) that the report is about; victor and anna approve it.

    Args:
        changes: other fields of the candidate's manifest.
    """
    made = small_ledger(folder, rules or Rules(production=True), NOON)
    first, second = full_run(1), full_run(2, **changes)
    assert first.model is not None and second.model is not None
    moments = (NOON + timedelta(minutes=minute) for minute in range(1, 60))

    def approve(who: str, manifest: RunManifest, run: str, *conditions: Condition) -> str:
        assert manifest.model is not None
        act = Approval(
            model=f"{manifest.model.name}/{manifest.model.version}", identity=manifest.model.identity, run=run,
            decision="approve", reason="scores and controls seen", conditions=list(conditions),
        )  # fmt: skip
        return made.state(who, entries.APPROVAL, act, time=next(moments)).entry

    before = made.enter_run(first, next(moments)).entry
    rests = [approve(who, first, before) for who in ("victor", "anna")]
    promotion = Promotion(model="domainlm-finance/1", identity=first.model.identity, approvals=rests)
    made.state("recorder", entries.PROMOTION, promotion, time=next(moments))
    run = made.enter_run(second, next(moments)).entry
    if approved:
        card = Condition(id="card", text="add the model card to the inventory", due="2026-12-31")
        entry = approve("victor", second, run, card)
        met = ConditionMet(approval=entry, condition="card", evidence="inventory number 17")
        made.state("victor", entries.CONDITION_MET, met, time=next(moments))
        approve("anna", second, run)
    return Reported(made, second.model.identity)


def hostile(folder: Path) -> Reported:
    """The same with names that try to be markup, to break out of a style sheet, and to turn the direction of text."""
    source = Source(
        name=HOSTILE, uri=HOSTILE, rows=1, licence=HOSTILE, consent=HOSTILE * 40, purpose=HOSTILE, jurisdiction="kr",
        handling=HOSTILE,
    )  # fmt: skip
    whole = full_run(2)
    steps = [whole.steps[0].model_copy(update={"name": HOSTILE, "outputs": {HOSTILE: HOSTILE}}), *whole.steps[1:]]
    model = whole.model.model_copy(update={"name": f"a{HOSTILE}", "licences": [HOSTILE], "handling": HOSTILE})
    verdicts = whole.verdicts | {
        "licence": {"purpose": HOSTILE, "duties": HOSTILE, "verdict": HOSTILE},
        "redaction": {f"entities_{HOSTILE}": 3, "verdict": HOSTILE, "records_in": HOSTILE,
                      f"name_canaries_{HOSTILE}": 1.0},
        "evaluation": {f"claim, {HOSTILE}": HOSTILE},
    }  # fmt: skip
    return reported(
        folder, sources=[*full_sources(), source], steps=steps, model=model, verdicts=verdicts, run_name=HOSTILE,
        metrics={f"{HOSTILE}/x/y/tuned": 0.5}, hardware={"processor": HOSTILE, "gpus": [HOSTILE]},
        code={"commit": HOSTILE, "dirty": False}, configuration={"file": HOSTILE, "overrides": True},
        base={"name": HOSTILE},
    )  # fmt: skip


def document(
    ledger: Reported, language: str = "en", verification: Verification | None = None, decision: Decision | None = None,
    checkpoint: str | None = None,
) -> Document:  # fmt: skip
    """The report's document, with the pack's checklist and the ledger's latest checkpoint unless told otherwise."""
    return build(
        ledger.made.evidence(), ledger.identity, verification or ledger.verification(), decision or ledger.decision(),
        language, checkpoint=ledger.note if checkpoint is None else checkpoint,
        checklist=read_checklist(ROOT / "domains" / "finance"),
    )  # fmt: skip
