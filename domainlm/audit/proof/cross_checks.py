"""What the entries say, held against each other and against the world: promotions, erasures, runs, artifacts.

`verification` shows that nobody altered the ledger; this shows whether what stands in it was allowed,
and whether runs, registries and stores still agree with it. What lies outside of the ledger is handed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple

from domainlm.audit.decisions.approvals import check_promotion, decide
from domainlm.audit.evidence import Evidence, Stated
from domainlm.audit.proof.collected import Findings
from domainlm.digests import canonical_json
from domainlm.ledger import entries
from domainlm.ledger.findings import Finding
from domainlm.ledger.run.manifest import RUNNING
from domainlm.ledger.run.provenance import MANIFEST


class Artifact(NamedTuple):
    """A stored artifact beside what the ledger says of it.

    Args:
        name: for messages: RUN/STEP/OUTPUT.
        expected: content digest in the run's manifest.
        actual: content digest of what is stored; "" where its content does not fit the digest stored with it; None
            where nothing is there.
    """

    name: str
    expected: str
    actual: str | None


def within(evidence: Evidence, model: str = "", today: date | None = None) -> list[Finding]:
    """Checks that need the ledger alone: were promotions allowed, do they still hold, what must be trained anew.

    Args:
        model: only promotions of this identity: a bundle of one model has what these rest on, and not what others do.
        today: for dates of approvals; the present day by default.
    """
    findings = Findings()
    champions = {stated.act.model.rpartition("/")[0]: stated for stated in evidence.of_kind(entries.PROMOTION)}
    for stated in evidence.of_kind(entries.PROMOTION):
        if model in ("", stated.act.identity) and (finding := check_promotion(evidence, stated)) is not None:
            findings.add(finding.code, finding.where, finding.what, finding.severity)
    for name, champion in champions.items():
        if model in ("", champion.act.identity):
            _still_allowed(evidence, name, champion, today, findings)
    crowned = {champion.act.identity for champion in champions.values()}
    labels = {identity: _label(stated) for identity, stated in evidence.models().items()}
    for stated in evidence.of_kind(entries.ERASURE):
        for identity in stated.act.models:
            findings.add(
                "must-retrain", labels.get(identity, identity[:16]),
                f"learnt from data that entry {stated.number} erased", "warning" if identity in crowned else "note",
            )  # fmt: skip
    for stated in evidence.of_kind(entries.RUN):
        if stated.act.code.get("dirty"):
            findings.add(
                "dirty-code", f"entry {stated.number}",
                f"the run {stated.act.run_name} came from a work tree with uncommitted changes", "note",
            )  # fmt: skip
    return findings.all()


def _still_allowed(evidence: Evidence, name: str, champion: Stated, today: date | None, findings: Findings) -> None:
    if any(champion.act.identity in stated.act.models for stated in evidence.of_kind(entries.ERASURE)):
        return  # said as `must-retrain`: it is barred by that, whatever became of its approvals
    decision = decide(evidence, champion.act.identity, today, name)
    if decision.allowed or champion.act.standing:  # a standing approval serves the promotion, not what follows
        return
    withdrawn = any(
        stated.number > champion.number and stated.act.decision != "approve"
        for stated in evidence.about(champion.act.identity, entries.APPROVAL)
    )
    findings.add(
        "unapproved" if withdrawn else "expired-approval", champion.act.model,
        f"is the champion and would not be promoted today: {decision.missing[0]}", "warning",
    )  # fmt: skip


def manifest_files(evidence: Evidence, files: Iterable[Path]) -> list[Finding]:
    """Hold `runs/*.json` against the entries of the same runs, byte by byte.

    A run that is still at work has no entry yet.
    """
    findings = Findings()
    entered = {stated.act.run_id: stated.envelope.statement["predicate"][MANIFEST]
               for stated in evidence.of_kind(entries.RUN)}  # fmt: skip
    for path in files:
        where = f"runs/{path.name}"
        try:
            raw = path.read_bytes()
        except OSError as error:
            findings.add("missing-artifact", where, f"cannot be read ({error.strerror})")
            continue
        if path.stem in entered:
            if not is_entered(raw, entered[path.stem]):
                findings.add("replaced-artifact", where, "is not what the run's entry holds")
        elif not _at_work(raw):
            findings.add("missing-manifest", where, "ended, and the ledger has no entry of it that holds")
    return findings.all()


def is_entered(raw: bytes, manifest: Mapping[str, object]) -> bool:
    """Whether a file holds the manifest of an entry, in the spelling of `domainlm.ledger.run.manifest.write`.

    The order of keys does not count: a file keeps the one that they were made in, an entry sorts them.
    """
    try:
        found = json.loads(raw)
        spelled = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
        return spelled.encode() == raw and canonical_json(found) == canonical_json(manifest)
    except (ValueError, RecursionError):
        return False


def _at_work(raw: bytes) -> bool:
    try:
        return json.loads(raw)["status"] == RUNNING
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def known_runs(evidence: Evidence, runs: Iterable[tuple[str, str]]) -> list[Finding]:
    """Runs (id, name) that ended, as an orchestrator knows them, and that have no entry."""
    findings = Findings()
    entered = {stated.act.run_id for stated in evidence.of_kind(entries.RUN)}
    for run_id, name in runs:
        if run_id not in entered:
            findings.add("missing-manifest", f"run {name}", "ended, and the ledger has no entry of it that holds")
    return findings.all()


def stored_artifacts(evidence: Evidence, artifacts: Iterable[Artifact]) -> tuple[list[Finding], int]:
    """Hold stored artifacts against the digests in the manifests.

    Returns:
        What differs, and how many were compared.
    """
    findings, count = Findings(), 0
    erased = dict(_erased(evidence))
    for artifact in artifacts:
        count += 1
        if artifact.actual is None and artifact.expected in erased:
            findings.add("erased-artifact", artifact.name, erased[artifact.expected], "note")
        elif artifact.actual is None:
            findings.add("missing-artifact", artifact.name, "is named in the run's manifest and is not there")
        elif artifact.actual != artifact.expected:
            findings.add("replaced-artifact", artifact.name, "differs from its digest in the run's manifest")
    return findings.all(), count


def _erased(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for stated in evidence.of_kind(entries.ERASURE):
        yield from ((digest, f"was deleted by the erasure of entry {stated.number}") for digest in stated.act.data)
    for stated in evidence.of_kind(entries.RETENTION):
        yield from ((digest, f"was deleted by retention, entry {stated.number}") for digest in stated.act.deleted)


def _label(stated: Stated) -> str:
    return f"{stated.act.model.name}/{stated.act.model.version}"
