"""What a manifest repeats of the stages' reports: sources, verdicts, the model; and a gate that failed says so."""

from __future__ import annotations

import math

from domainlm.digests import digest_json
from domainlm.evaluate.contest_report import ContestReport, ContestRow
from domainlm.evaluate.report import Estimate
from domainlm.ledger.run.manifest import FAILED, StepEntry
from domainlm.ledger.trust.gate import identity
from domainlm.licences import LicenceVerdict
from domainlm.register import Registration
from domainlm.reports import Report
from domainlm.sources import SourceEntry, SourceFile, SourceManifest
from domainlm.validate import ContractVerdict
from steps.run_facts import metrics_of, model_of, sources_of, verdicts_of


def source(name: str, steward: str = "") -> SourceEntry:
    return SourceEntry(
        name=name, uri=f"{name}.csv", form="qa_text", task="definition", licence="MIT", consent="public",
        purpose="model-training", jurisdiction="kr", language="ko", steward=steward, rows=3, header=("QA_text",),
        files=(SourceFile(uri=f"{name}.csv", sha256="a" * 64, size_bytes=9),),
    )  # fmt: skip


def contract(success: bool) -> ContractVerdict:
    return ContractVerdict(
        suite="records", suite_digest="b" * 64, great_expectations="1", rows=3, success=success, results=(),
        test_rows={},
    )  # fmt: skip


class Trained(Report):
    """As much of a training's report as the manifest asks for."""

    licence: LicenceVerdict | None = None


def test_sources_of_the_base_and_of_the_fine_tuning_are_told_apart() -> None:
    found = sources_of(
        {
            "base_source_manifest": SourceManifest(sources=(source("corpus"),), split_salt=""),
            "source_manifest": SourceManifest(sources=(source("letters", "Olga@bank.example"),), split_salt=""),
        }
    )
    assert [(one.stage, one.name, one.files) for one in found] == [
        ("base_ingest", "corpus", {"corpus.csv": "a" * 64}), ("ingest", "letters", {"letters.csv": "a" * 64}),
    ]  # fmt: skip
    assert [one.steward for one in found] == ["", identity("olga@bank.example")]


def test_a_source_without_a_steward_has_the_digest_of_before_there_were_any() -> None:
    assert "steward" not in SourceManifest(sources=(source("letters"),), split_salt="").model_dump_json()


def test_a_source_says_whether_it_is_trusted() -> None:
    entries = (source("letters"), source("news").model_copy(update={"trusted": False}))
    found = sources_of({"source_manifest": SourceManifest(sources=entries, split_salt="")})
    assert [one.trusted for one in found] == [True, False]


class Contest(Report):
    """As much of a contest's report as the manifest asks for."""

    verdict: str
    champion: str
    figures: dict[str, float]


def test_a_contest_says_how_it_ended_and_against_whom() -> None:
    report = Contest(verdict="worse", champion="a" * 64, figures={"old": 0.1})
    assert verdicts_of({"contest_report": report}, []) == {"contest": {"verdict": "worse", "champion": "a" * 64}}
    failed = [StepEntry(name="contest", status=FAILED)]
    assert verdicts_of({}, failed) == {"contest": {"verdict": FAILED}}


def test_each_gate_says_its_verdict() -> None:
    licence = LicenceVerdict(
        purpose="model-training", base=["MIT"], data=["CC-BY-4.0"], allowed=True, duties=["name the author"],
        refusals=[], table_version=1, table_checked="2026-11",
    )  # fmt: skip
    reports = {"contract_verdict": contract(True), "base_contract_verdict": contract(False)}
    found = verdicts_of({**reports, "training_report": Trained(licence=licence)}, [])
    assert (found["validation"]["verdict"], found["base_validation"]["verdict"]) == ("kept", "broken")
    assert found["licence"]["verdict"] == "allowed with duties" and found["licence"]["duties"] == "name the author"
    for told in found.values():
        assert all(isinstance(value, str | int | float | bool) for value in told.values()), "not flat"


def test_a_gate_whose_step_failed_says_so() -> None:
    steps = [StepEntry(name=name, status=FAILED) for name in ("base_redact", "validate", "train")]
    assert verdicts_of({}, steps) == {"base_redaction": {"verdict": FAILED}, "validation": {"verdict": FAILED}}


def test_the_contests_figures_stand_beside_the_evaluations_and_only_finite_ones_count() -> None:
    def found(value: float) -> Estimate:
        return Estimate(value=value, low=value - 0.1, high=value + 0.1, method="BCa")

    row = ContestRow(
        task="sentiment", version=1, part="old", metric="accuracy", items=50, groups=20, champion=found(0.6),
        challenger=found(0.7), gain=found(0.1), verdict="equal", reason="",
    )  # fmt: skip
    broken = row.model_copy(update={"part": "new", "gain": found(math.nan)})
    report = ContestReport(
        verdict="equal", reason="", champion="a" * 64, tolerance=0.05, confidence=0.95, resamples=1000,
        rows=[row, broken], overall={}, digests={},
    )  # fmt: skip
    metrics, intervals = metrics_of({"contest_report": report})
    assert metrics["contest/old/sentiment/gain"] == 0.1 and metrics["contest/old/sentiment/gain_low"] == 0.0
    assert intervals["contest/old/sentiment/challenger"] == [0.7 - 0.1, 0.7 + 0.1]
    assert set(metrics) == set(report.metrics()) - {"contest/new/sentiment/gain", "contest/new/sentiment/gain_low"}
    assert set(intervals) == set(report.estimates()) - {"contest/new/sentiment/gain"}


def test_a_run_that_did_not_come_so_far_has_no_model_and_no_metrics() -> None:
    assert model_of({}) is None and metrics_of({}) == ({}, {}) and sources_of({}) == []


def test_the_model_is_named_by_the_digest_over_all_that_it_came_from() -> None:
    digests = {part: part[0] * 64 for part in ("adapter", "base", "data")}
    registration = Registration(
        name="domainlm-finance", version="3", run_id="r", model_uri="models:/domainlm-finance/3", existing=False,
        verdict="shown", digests=digests, licences=["MIT"], handling="internal", aliases=["candidate"],
    )  # fmt: skip
    found = model_of({"registration": registration})
    assert found is not None and found.identity == digest_json(digests)
    assert (found.version, found.handling, found.verdict) == ("3", "internal", "shown")
    assert found.tier is None and "tier" not in registration.model_dump(mode="json"), "of before there were tiers"
    tiered = model_of({"registration": registration.model_copy(update={"tier": 2})})
    assert tiered is not None and tiered.tier == 2 and tiered.identity == found.identity
    assert found.trusted is None and "trusted" not in found.model_dump() and "trusted" not in registration.model_dump()
    told = model_of({"registration": registration.model_copy(update={"trusted": False})})
    assert told is not None and told.model_dump()["trusted"] is False
