"""What people and services state in the ledger besides policies and runs: the predicates of these entries.

Each is the content of one kind of `domainlm.ledger.entries`. A model is always named by its identity (the digest over
adapter, base, tokenizer, data, configuration and evaluation), so that an act is about exactly one model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_serializer

from domainlm.digests import digest_bytes
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.reports import Report
from domainlm.risk import LEAST_CONFIDENCE, LEAST_GROUPS, MOST_TOLERANCE, Tier

MAX_NOTE_BYTES = 64 << 10  # of a signed checkpoint
MAX_WORDS = 2000  # characters
Words = Annotated[str, Field(max_length=MAX_WORDS)]  # free text, for people; it stands in the ledger for ever


class Condition(Report):
    """Something that must be done by a day, else the approval ends.

    Fields:
        id: short name that `condition-met` refers to.
        text: what, for people.
        due: last day, ISO 8601.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    text: Words
    due: Words


class Approval(Report):
    """A person's decision on one model; or `reject` or `revoke` of a standing approval, named by its entry's digest.

    Fields:
        model: name and version, for people: "domainlm-finance/3"; of a standing approval the name alone.
        identity: of the model; or digest of the standing approval's entry.
        run: the entry (its digest) of the run that registered it; or again the standing approval's.
        decision: `revoke` takes the same person's approval back.
        reason: why; needed for `reject` and `revoke`.
        until: last day on which it counts, ISO 8601; empty for the policy's number of days.
    """

    model: Words
    identity: str
    run: str
    decision: Literal["approve", "reject", "revoke"]
    reason: Words = ""
    until: Words = ""
    conditions: list[Condition] = Field(default_factory=list)


class ConditionMet(Report):
    """A condition of an approval (by that entry's digest) is fulfilled; `evidence` says by what, for people."""

    approval: str
    condition: Words
    evidence: Words


class Bound(Report):
    """A metric must be within; None leaves a side open. `over_champion` bounds the gain over the champion."""

    low: float | None = None
    high: float | None = None
    over_champion: float | None = None


class ContestBound(Report):
    """By which rule a contest with the champion must have been judged, so that whoever configures it cannot ease it.

    Fields:
        tolerance: the most loss of a task's metric that it may bear.
        min_groups: the fewest independent groups on which it may rest a verdict.
        confidence: the least of its intervals; at a smaller one, less is excluded.
        tasks: those that suffice; empty: all that the champion was scored on.
    """

    tolerance: float = Field(MOST_TOLERANCE, ge=0, lt=1)
    min_groups: int = Field(LEAST_GROUPS, ge=1)
    confidence: float = Field(LEAST_CONFIDENCE, gt=0, lt=1)
    tasks: list[str] = Field(default_factory=list)


class StandingApproval(Report):
    """An officer's approval in advance, for promotions that nobody looks at one by one.

    Fields:
        model: registered name that it is for.
        base: digest of the base that the model must have.
        sources: names of the only sources that it may have learnt from.
        metrics: bounds by metric; all must hold.
        until: last day, ISO 8601.
        uses: how many promotions it may serve.
        tier: the highest risk that it covers (`domainlm.risk`); None, and left out, in those from before there were
            tiers, which serve no model of today.
        contest: how its contest must have been judged; None, and left out, for the bounds of `ContestBound`.
    """

    model: Words
    base: str
    sources: list[str]
    metrics: dict[str, Bound]
    until: Words
    uses: int = Field(ge=1, le=1000)
    reason: Words
    tier: Tier | None = None
    contest: ContestBound | None = None

    @model_serializer(mode="wrap")
    def _without_what_was_not_stated(self, write: Any) -> dict[str, Any]:
        late = ("tier", "contest")
        return {name: value for name, value in write(self).items() if value is not None or name not in late}


class Promotion(Report):
    """A version became the champion.

    Fields:
        identity: of the model.
        previous: identity of the champion before; empty for the first.
        approvals: digests of the approval entries that it rests on.
        standing: digest of the standing approval used; empty where people approved.
        follows: how many entries it was decided upon; the signer adds it directly after them or not at all, so that of
            two promotions at once one is refused.
    """

    model: Words
    identity: str
    previous: str = ""
    approvals: list[str]
    standing: str = ""
    follows: int | None = None


class Erasure(Report):
    """A subject's data were deleted. Names it by a salted commitment that nobody can link once the salt is gone.

    Fields:
        commitment: HMAC-SHA-256 of the subject's id under a random salt, 64 digits; the salt is destroyed afterwards.
        data: digests of the artifact versions that were deleted, and of data versions that held the subject.
        models: identities of models that learnt from it and must be retrained.
        counts: what was deleted where, by kind of place.
        by: the system user who did it.
    """

    commitment: str
    data: list[str]
    models: list[str]
    counts: dict[str, int]
    by: Words
    reason: Words


class Hold(Report):
    """A legal hold: nothing of the subject (by commitment) or of a data version (by digest) may be erased."""

    commitment: str = ""
    data: str = ""
    case: Words
    reason: Words


class HoldRelease(Report):
    """A legal hold (by the digest of its entry) ended."""

    hold: str
    reason: Words


class Retention(Report):
    """Data deleted because their time was over: digest -> artifact name."""

    deleted: dict[str, str]
    rule: Words


class Backup(Report):
    """A backup was written: SHA-256 of its file and of its list of content."""

    file: str
    content: str
    size_bytes: int
    checkpoint: str


class Restore(Report):
    """A backup was restored; `erasures` of later days were carried out again on it."""

    file: str
    erasures: int


class Read(Report):
    """Somebody looked at evidence on the officer's page: which page, of which model or entry."""

    person: Words
    page: Words
    subject: Words = ""


class Anchored(Report):
    """A checkpoint was published at a place outside."""

    place: Words
    size: int
    note: str = Field(max_length=MAX_NOTE_BYTES)


MODELS: dict[str, type[Report]] = {
    entries.APPROVAL: Approval,
    entries.CONDITION_MET: ConditionMet,
    entries.STANDING: StandingApproval,
    entries.PROMOTION: Promotion,
    entries.ERASURE: Erasure,
    entries.HOLD: Hold,
    entries.HOLD_RELEASE: HoldRelease,
    entries.RETENTION: Retention,
    entries.BACKUP: Backup,
    entries.RESTORE: Restore,
    entries.READ: Read,
    entries.ANCHOR: Anchored,
}


def read_act(envelope: Envelope, kind: str, where: str) -> Any:
    """The typed content of an entry of one of these kinds.

    Raises:
        EvidenceRefused: `malformed`: it lacks a field, has one too many or too long, or its subjects are others.
    """
    try:
        act = MODELS[kind](**entries.content(envelope))
    except (ValidationError, TypeError):
        raise EvidenceRefused(f"is no {kind} of this format", where, "restore it from a copy", "malformed") from None
    about = spoken_of(act)
    if about is not None and about != set(entries.subjects(envelope).values()):
        raise EvidenceRefused(f"is a {kind} about other digests than its subjects", where, "", "malformed")
    return act


def spoken_of(act: Report) -> frozenset[str] | None:
    """The digests that an act is about: the subjects of its entry are these, whatever their names are.

    Returns:
        None where they stand in the subjects alone: what somebody looked at, and which deletion it was.
    """
    match act:
        case Approval() | Promotion():
            found = {act.identity}
        case ConditionMet():
            found = {act.approval}
        case StandingApproval():
            found = {act.base}
        case Erasure():
            found = {act.commitment}
        case Hold():
            found = {act.commitment, act.data} - {""}
        case HoldRelease():
            found = {act.hold}
        case Backup() | Restore():
            found = {act.file}
        case Anchored():
            found = {digest_bytes(act.note.encode())}
        case _:
            return None
    return frozenset(found)
