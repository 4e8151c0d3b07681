"""What the reports of a run's stages say that its manifest repeats: sources, verdicts, metrics, the model."""

from __future__ import annotations

import math
from typing import Any

from domainlm.digests import digest_json
from domainlm.ledger.run.manifest import FAILED, ModelRecord, Source, StepEntry
from domainlm.ledger.trust.gate import identity
from domainlm.names import CONTEST
from domainlm.reports import Report

GATES = {"redact": "redaction", "validate": "validation", "evaluate": "evaluation", CONTEST: CONTEST}  # by step
TERMS = "name uri rows licence consent purpose jurisdiction language handling jurisdictions languages trusted".split()
_OF_BASE = "base_"


def sources_of(reports: dict[str, Report]) -> list[Source]:
    """Every source of text, of the embedded base too."""
    found = []
    for name, stage in (("base_source_manifest", "base_ingest"), ("source_manifest", "ingest")):
        for entry in getattr(reports.get(name), "sources", ()):
            files = {file.uri: file.sha256 for file in entry.files}
            steward = identity(entry.steward) if entry.steward else ""
            terms = {term: getattr(entry, term) for term in TERMS}
            found.append(Source(stage=stage, files=files, steward=steward, **terms))
    return found


def verdicts_of(reports: dict[str, Report], steps: list[StepEntry]) -> dict[str, dict[str, Any]]:
    """What each gate said, as a flat mapping with a `verdict`; a gate whose step failed says so."""
    found: dict[str, dict[str, Any]] = {}
    for base in (_OF_BASE, ""):
        if redaction := reports.get(f"{base}redaction_report"):
            found[f"{base}redaction"] = {"verdict": "passed", **redaction.summary()}
        if contract := reports.get(f"{base}contract_verdict"):
            kept = "kept" if getattr(contract, "success", False) else "broken"
            found[f"{base}validation"] = {"verdict": kept, **contract.summary()}
    if evaluation := reports.get("evaluation_report"):
        found["evaluation"] = {"verdict": getattr(evaluation, "headline", ""), **evaluation.summary()}
    if contest := reports.get("contest_report"):
        found[CONTEST] = {"verdict": getattr(contest, "verdict", ""), **contest.summary()}
    if comparison := reports.get("comparison_report"):
        found["comparison"] = {"verdict": "reported", **comparison.summary()}
    if (licence := getattr(reports.get("training_report"), "licence", None)) is not None:
        found["licence"] = {
            "verdict": licence.word, "allowed": licence.allowed, "purpose": licence.purpose,
            "base": ", ".join(licence.base), "data": ", ".join(licence.data), "duties": " | ".join(licence.duties),
            "table_version": licence.table_version, "table_checked": licence.table_checked,
        }  # fmt: skip
    for step in steps:
        base = _OF_BASE if step.name.startswith(_OF_BASE) else ""
        gate = GATES.get(step.name.removeprefix(_OF_BASE))
        if gate and step.status == FAILED:
            found[base + gate] = {"verdict": FAILED}
    return found


def metrics_of(reports: dict[str, Report]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The scores by name, and the interval of each; what is no finite number has no place in canonical JSON."""
    scored: list[Any] = [reports[name] for name in ("evaluation_report", "contest_report") if name in reports]
    estimates = {name: one for report in scored for name, one in report.estimates().items()}
    found = {name: one for name, one in estimates.items() if all(map(math.isfinite, (one.value, one.low, one.high)))}
    metrics = {name: value for report in scored for name, value in report.metrics().items() if math.isfinite(value)}
    kept = {name: value for name, value in metrics.items() if name in found or name not in estimates}  # ends of gains
    return kept, {name: [one.low, one.high] for name, one in found.items()}


def model_of(reports: dict[str, Report]) -> ModelRecord | None:
    """The registered version; its identity is the digest over all that it came from."""
    found: Any = reports.get("registration")
    if found is None:
        return None
    return ModelRecord(
        name=found.name, version=found.version, identity=digest_json(found.digests), digests=found.digests,
        verdict=found.verdict, handling=found.handling, licences=found.licences, tier=found.tier,
        trusted=found.trusted,
    )  # fmt: skip
