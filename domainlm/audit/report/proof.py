"""What the report cannot say, what the law's checklist finds, and how anybody checks it all without trust."""

from __future__ import annotations

from collections import Counter

from domainlm.audit.regulation import MISSING, LawSource, answer
from domainlm.audit.report.document import (
    Block,
    Code,
    Facts,
    Listing,
    Notice,
    Paragraph,
    Section,
    Table,
    Verbatim,
    plain,
)
from domainlm.audit.report.subject import Subject
from domainlm.ledger import entries
from domainlm.ledger.findings import UNANCHORED
from domainlm.ledger.run.manifest import COMPLETED

CHECKPOINT = "checkpoint"  # id of the element that holds the printed checkpoint
MOST_MISSING = 12
STATES = ("answered", "in part", "missing here", "not covered")
COMMANDS = (
    "domainlm audit checkpoint REPORT > checkpoint.txt\n"
    "domainlm audit verify --bundle BUNDLE --root root.pem --anchor checkpoint.txt"
)


def limits(subject: Subject) -> Section:
    """Everything that speaks against relying on this report, one sentence each; what is always so comes last."""
    words, manifest = subject.words, subject.manifest
    found = []
    if manifest.status != COMPLETED:
        found.append(words("limit.failed"))
    if erased := subject.erased:
        found.append(words("limit.erased", number=erased.number, time=erased.header.time[:10]))
    if not subject.policy.rules.production:
        found.append(words("limit.development"))
    if subject.verification.verdict == UNANCHORED:
        found.append(words("limit.unanchored"))
    if manifest.code.get("dirty", True):
        found.append(words("limit.dirty-files" if manifest.code.get("files") else "limit.dirty"))
    if manifest.code.get("changed"):
        found.append(words("limit.changed"))
    if manifest.configuration.get("overrides"):
        found.append(words("limit.overrides"))
    if holds := _holds(subject):
        found.append(words("limit.hold", count=holds))
    if any(step.cached for step in manifest.steps):
        found.append(words("limit.cached"))
    found += [words(f"limit.{name}") for name in ("memory", "groups", "use", "rewrite")]
    return Section("limits", words("limits"), (Listing("", tuple(found)),))


def _holds(subject: Subject) -> int:
    over = {stated.act.hold for stated in subject.evidence.of_kind(entries.HOLD_RELEASE)}
    return sum(stated.digest not in over for stated in subject.evidence.of_kind(entries.HOLD))


def law(subject: Subject) -> Section:
    """The checklist in short: counts by source, and what is missing for this model."""
    words, checklist = subject.words, subject.checklist
    if checklist is None:
        return Section("law", words("law"), (Notice("caution", words("tone.caution"), words("law.none")),))
    answers = answer(checklist, subject.manifest, subject.evidence)
    lines = []
    for key, source in checklist.sources.items():
        counts = Counter(found.state for found in answers if found.item.source == key)
        title = _title(source, words.language)
        mark = "" if source.verified else "\N{NO-BREAK SPACE}*"
        lines.append((plain(title) + mark, source.version, *(str(counts[state]) for state in STATES)))
    head = (words("law.source"), words("law.version"), *(words(f"law.{state}") for state in STATES))
    blocks: list[Block] = [
        Table(words("law.intro", consulted=checklist.consulted), head, tuple(lines), numeric=(1, 2, 3, 4, 5)),
        Paragraph(words("law.unread")),
    ]
    missing = [found for found in answers if found.state == MISSING]
    if missing:
        told = [
            f"{plain(_title(checklist.sources[found.item.source], words.language, True))}, {plain(found.item.at)}: "
            f"{plain(found.item.asks_in(words.language))} ({', '.join(map(plain, found.lacking))})"
            for found in missing[:MOST_MISSING]
        ]
        if len(missing) > MOST_MISSING:
            told.append(words("and-more", count=len(missing) - MOST_MISSING))
        blocks.append(Listing(words("law.missing", count=len(missing)), tuple(told)))
    else:
        blocks.append(Paragraph(words("law.nothing-missing")))
    return Section("law", words("law"), tuple(blocks))


def _title(source: LawSource, language: str, short: bool = False) -> str:
    title = source.title_ko if language == "ko" else source.title
    return title.partition(" (")[0] if short else title


def proof(subject: Subject) -> Section:
    """Signature, place in the ledger, the printed checkpoint, and the commands that check it."""
    words, run, verification = subject.words, subject.run, subject.verification
    where = words(
        "proof.entry-value", number=run.number, size=verification.size, time=run.header.time, by=plain(run.header.by)
    )  # fmt: skip
    policy = words("proof.policy-value", version=subject.policy.version, members=len(subject.policy.members))
    rows: list[tuple[str, str | tuple[str, ...]]] = [
        (words("proof.entry"), where),
        (words("proof.digest"), Code(run.digest)),
        (words("proof.manifest"), Code(subject.manifest.digest)),
        (words("proof.signed"), tuple(Code(signature.hex()) for _, signature in run.envelope.signatures)),
        (words("proof.key"), tuple(Code(keyid) for keyid, _ in run.envelope.signatures)),
        (words("proof.origin"), plain(verification.origin)),
        (words("proof.root"), Code(plain(verification.root))),
        (words("proof.policy"), policy),
        (words("proof.root-keys"), tuple(Code(keyid) for keyid in sorted(subject.evidence.gate.root_keyids))),
    ]
    blocks: list[Block] = [Facts(tuple(rows))]
    if subject.checked_checkpoint() is not None:
        blocks.append(Verbatim(words("proof.checkpoint"), subject.checkpoint, CHECKPOINT))
    else:
        blocks.append(Notice("caution", words("tone.caution"), words("proof.no-checkpoint")))
    blocks += [Verbatim(words("proof.how"), COMMANDS), Paragraph(words("proof.not-entered"))]
    return Section("proof", words("proof"), tuple(blocks))
