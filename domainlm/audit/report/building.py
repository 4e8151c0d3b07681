"""The report of one model, put together: the verdict first, then what it rests on, last how to check it."""

from __future__ import annotations

from domainlm.audit.decisions.approvals import Decision
from domainlm.audit.evidence import Evidence
from domainlm.audit.proof.verification import Verification
from domainlm.audit.regulation import Checklist
from domainlm.audit.report.document import Block, Code, Document, Listing, Notice, Section, Table, Tone, plain
from domainlm.audit.report.making import SHORT_DIGEST, contract, data, privacy, training, use
from domainlm.audit.report.people import approvals
from domainlm.audit.report.picture import lineage
from domainlm.audit.report.proof import law, limits, proof
from domainlm.audit.report.scores import SHOWN, evaluation
from domainlm.audit.report.subject import Subject
from domainlm.audit.report.words import Words
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.findings import BROKEN, UNANCHORED
from domainlm.ledger.run.manifest import COMPLETED

MOST_FINDINGS = 20
SECTIONS = (use, data, privacy, contract, training, evaluation, approvals, lineage, limits, law, proof)


def build(
    evidence: Evidence,
    identity: str,
    verification: Verification,
    decision: Decision,
    language: str = "en",
    *,
    checkpoint: str = "",
    checklist: Checklist | None = None,
) -> Document:
    """The report of a model, from evidence alone: no clock, no file, no network, so that it can be made again.

    Args:
        identity: of the model, 64 hexadecimal digits.
        verification: of the same evidence.
        decision: whether it may be promoted, as the policy stands.
        language: `en` or `ko`.
        checkpoint: a signed note of the ledger, to be printed.
        checklist: of the domain pack.

    Raises:
        EvidenceRefused: `missing-manifest`: no run registered such a model; or the checkpoint is not this ledger's.
        ConfigurationError: there is no such language.
    """
    words = Words(language)
    run = evidence.models().get(identity)
    if run is None:
        raise EvidenceRefused(
            "is registered by no run of this ledger", identity[:64], "see `domainlm audit serve` for what is there",
            "missing-manifest",
        )  # fmt: skip
    subject = Subject(evidence, run, verification, decision, words, checkpoint, checklist)
    time = subject.created
    name, origin = plain(subject.name), plain(verification.origin)
    tone, headline = _headline(subject)
    return Document(
        language=language,
        title=words("title", model=name),
        subtitle=words("subtitle", identity=identity[:SHORT_DIGEST], origin=origin, time=time),
        tone=tone,
        headline=headline,
        notices=_notices(subject),
        created=time,
        footer=words(
            "footer", model=name, identity=identity[:SHORT_DIGEST], origin=origin, size=verification.size
        ),
        sections=(*_standing(subject), *(section(subject) for section in SECTIONS)),
        labels={label: words(label) for label in ("contents",)},
    )  # fmt: skip


def _headline(subject: Subject) -> tuple[Tone, str]:
    words, verification, decision = subject.words, subject.verification, subject.decision
    if verification.verdict == BROKEN:
        return "bad", words("headline.broken")
    if subject.erased:
        return "bad", words("headline.erased")
    if subject.manifest.status != COMPLETED:
        return "bad", words("headline.failed")
    if not decision.allowed:
        return "bad", words("headline.missing", count=len(decision.missing))
    if verification.verdict == UNANCHORED:
        return "caution", words("headline.unanchored")
    reserved = (
        not subject.is_covered
        or _of_gates(subject)
        or subject.model.verdict != SHOWN
        or subject.manifest.code.get("dirty", True)
        or not subject.policy.rules.production
        or any(finding.severity == "warning" for finding in verification.findings)
    )
    return ("caution", words("headline.partly")) if reserved else ("good", words("headline.good"))


def _notices(subject: Subject) -> tuple[Notice, ...]:
    """The verdicts behind the headline: evidence, approval, what was shown, where it stands."""
    told = [_of_approval(subject), *_of_gates(subject), _of_claim(subject), _of_place(subject)]
    if subject.verification.verdict == BROKEN:  # what broken evidence says is told, and never in green
        told = [("plain", text) for _, text in told]
    return tuple(Notice(tone, subject.words(f"tone.{tone}"), text) for tone, text in (*_of_evidence(subject), *told))


def _of_evidence(subject: Subject) -> list[tuple[Tone, str]]:
    words, verification = subject.words, subject.verification
    if verification.verdict == BROKEN:
        count = sum(finding.severity == "broken" for finding in verification.findings)
        return [("bad", words("evidence.broken", count=count))]
    size, anchored = f"{verification.size:,}", f"{verification.anchored:,}"
    if verification.verdict == UNANCHORED:
        unanchored = words("evidence.unanchored", size=size)
        if said := next(reversed(list(subject.evidence.of_kind(entries.ANCHOR))), None):
            unanchored += " " + words("evidence.published", number=said.number, size=f"{said.act.size:,}")
        return [("caution", unanchored)]
    told: list[tuple[Tone, str]] = [("good", words("evidence.good", size=size, anchored=anchored))]
    if not subject.is_covered:
        told.append(("caution", words("evidence.later", number=subject.run.number, anchored=anchored)))
    return told


def _of_approval(subject: Subject) -> tuple[Tone, str]:
    words, decision = subject.words, subject.decision
    if not decision.allowed:
        return "bad", words("approved.no")
    if decision.standing:
        return "good", words("approved.standing")
    return "good", words("approved.yes", count=len(decision.approvals))


def _of_gates(subject: Subject) -> list[tuple[Tone, str]]:
    """The gates of the pipeline that did not open, or of which nothing is recorded; nothing where all did."""
    words, verdicts = subject.words, subject.manifest.verdicts
    told: list[tuple[Tone, str]] = []
    for gate, section, good in (("redaction", "privacy", "passed"), ("validation", "contract", "kept")):
        said = [verdicts[part].get("verdict") for part in (gate, f"base_{gate}") if verdicts.get(part)]
        if not verdicts.get(gate):
            told.append(("bad", words(f"{section}.unknown")))
        elif set(said) != {good}:
            told.append(("bad", words("privacy.failed" if section == "privacy" else "contract.broken")))
    if verdicts.get("licence", {}).get("allowed") is not True:
        told.append(("bad", words("gate.closed")))
    return told


def _of_claim(subject: Subject) -> tuple[Tone, str]:
    verdict = subject.model.verdict
    if not verdict:
        return "caution", subject.words("claim.unknown")
    shown = verdict == SHOWN
    return ("good" if shown else "caution"), subject.words("claim.shown" if shown else "claim.not-shown")


def _of_place(subject: Subject) -> tuple[Tone, str]:
    words, champion, name = subject.words, subject.champion, plain(subject.model.name)
    if champion is None:
        return "plain", words("champion.none", name=name)
    if subject.is_champion:
        return "plain", words("champion.this", name=name, number=champion.number)
    other = champion.act
    return "plain", words(
        "champion.other", name=name, model=plain(other.model), identity=plain(other.identity[:SHORT_DIGEST])
    )


def _standing(subject: Subject) -> list[Section]:
    """What stands against the model, and what the verification found: only where there is something."""
    words, findings = subject.words, subject.verification.findings
    found = []
    if subject.decision.missing:
        told = tuple(plain(sentence) for sentence in subject.decision.missing)
        found.append(Section("missing", words("approved.missing"), (Listing("", told),)))
    if findings:
        worst = sorted(findings, key=lambda finding: ("broken", "warning", "note").index(finding.severity))
        lines = [
            (words.name("severity", one.severity), Code(plain(one.code)), plain(one.where, 60), plain(one.what))
            for one in worst[:MOST_FINDINGS]
        ]
        head = tuple(words(f"finding.{column}") for column in ("severity", "code", "where", "what"))
        blocks: list[Block] = [Table(words("findings.worst"), head, tuple(lines))]
        found.append(Section("findings", words("findings"), tuple(blocks)))
    return found
