"""What the parts of retraining hand each other: batches, plans, decisions, claims. No value of the data is in any."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from domainlm.reports import Report
from domainlm.sources import SourceSettings

# States of a batch. Every change is a transition in the book.
LANDED = "landed"  # complete in the zone, not looked into yet
ACCEPTED = "accepted"  # keeps the contract of its feed; waits to be trained on
QUARANTINED = "quarantined"  # does not; a person decides
TRAINED = "trained"  # one accepted result learnt from it
PROMOTED = "promoted"  # and that result's model became the champion
WITHDRAWN = "withdrawn"  # its files were removed from the zone, or a person took it back, before it was trained on
State = Literal["landed", "accepted", "quarantined", "trained", "promoted", "withdrawn"]


RETRAIN, NO_RETRAINING = "retrain", "no retraining"  # answers of a decision


class LandedFile(Report):
    """One file of a batch, as it was when its digest was taken.

    Fields:
        path: relative to the zone.
        uri: as `domainlm.reading.locate` takes it.
        sha256: of its bytes.
        rows: of the file by the strict reader, 0 until the batch was accepted.
        removed: it is no longer in the zone.
    """

    path: str
    uri: str
    sha256: str
    size_bytes: int
    rows: int = 0
    removed: bool = False


class SeenFile(NamedTuple):
    """A file of a feed as the zone saw it last; a light row, since there may be 100,000 of them.

    Fields:
        path: relative to the zone.
        mtime_ns: of its last change, as its store says; 0 where the store says nothing.
        etag: what else the store says of its content (ETag, version); empty on a local disk.
        sha256: of its bytes; empty where they could not be read.
        digested_at: seconds since 1970 when that digest was taken.
        batch: id of the batch that its content belongs to; empty where none does.
        state: present, removed (from the zone) or unreadable.
        note: why it is unreadable; names no value of the data.
    """

    feed: str
    path: str
    size_bytes: int
    mtime_ns: int
    etag: str
    sha256: str
    digested_at: float
    batch: str
    state: Literal["present", "removed", "unreadable"] = "present"
    note: str = ""


class Batch(Report):
    """Files of one feed that landed together.

    Fields:
        id: digest over the feed's name and the files' digests: equal content under two names is one batch.
        number: order of landing, from 1; decides the order of rows in a training.
        name: folder or file in the zone, for people.
        landed: when it was complete, ISO 8601 UTC.
        first_day, last_day: of its rows' timestamps, ISO 8601 dates; empty where rows have none.
        reason: why it is quarantined or withdrawn; names places, never values.
    """

    id: str
    number: int
    feed: str
    name: str
    files: tuple[LandedFile, ...]
    landed: str
    state: State = LANDED
    rows: int = 0
    first_day: str = ""
    last_day: str = ""
    trusted: bool = True
    reason: str = ""


class BriefBatch(NamedTuple):
    """What a decision needs of a batch; light, since thousands may wait. Fields as in `Batch`."""

    id: str
    number: int
    feed: str
    name: str
    rows: int


class Claim(Report):
    """The right of one runner to train on some batches, for as long as it renews it.

    Fields:
        token: fencing token, larger than that of every claim before it (Kleppmann 2016): an older one is refused.
        lane: the registered name that the result competes for; of an exclusive lane one claim is alive at a time.
        batches: ids of the claimed batches, in order of landing; empty where something else asked for a training.
        lease_s: seconds for which it holds without being renewed.
        starts: how many claims on the same batches there were before, so that a duplicate start is seen.
    """

    token: int
    lane: str
    owner: str
    batches: tuple[str, ...]
    lease_s: float
    starts: int = 0


Code = Literal[
    "new-rows", "age", "label-drift", "vocabulary-drift", "term-drift", "score-decay", "erasure", "base", "policy",
    "asked", "first", "cool-down", "budget", "busy",
]  # fmt: skip


class Reason(Report):
    """One ground for or against a training, with what was measured and from which value on it counts."""

    code: Code
    holds: bool
    measured: float | None = None
    threshold: float | None = None
    told: str


class Decision(Report):
    """Whether to train again. A "no" is recorded like a "yes".

    Fields:
        id: digest over everything else but the time.
        decided: ISO 8601 UTC.
        reasons: every ground that was looked at, those that do not hold too.
        barred: codes of those that stand against it (cool-down, budget, busy) where it would have been yes.
        policy: digest of the settings that decided.
    """

    id: str
    decided: str
    retrain: bool
    reasons: tuple[Reason, ...]
    barred: tuple[Code, ...] = ()
    policy: str = ""

    def lines(self) -> list[str]:
        """For people: the answer, and every reason on a line."""
        answer = RETRAIN if self.retrain else NO_RETRAINING
        return [answer, *(f"{'+' if one.holds else '-'} {one.code}: {one.told}" for one in self.reasons)]


Rounds = dict[str, tuple[tuple[int, int], ...]]  # by feed


class RetrainingPlan(Report):
    """What a retraining works on: made by `decide`, read by every later step.

    Fields:
        claim: the right to it.
        decision: why.
        sources: one entry a feed: `uri` is the zone, `parts` its files in order of landing, oldest first.
        digests: uri -> SHA-256 of every file, as it was accepted; `ingest` refuses another content.
        new_after: feed -> the row number (from 1, over all its parts) after which rows are of the claimed batches.
        rounds: feed -> (number of a last row, the accepted result that first learnt up to it, from 1), over its old
            rows in their order; so that preparing them again takes them in the order in which they came.
        trusted: no batch in it came from a feed that is marked untrusted.
        start: what the training goes on from.
        replay_ratio: rows of old data in training, for each new one; None keeps all.
        as_run: run id whose configuration is used again; empty for the present one.
    """

    claim: Claim
    decision: Decision
    sources: tuple[SourceSettings, ...]
    digests: dict[str, str]
    new_after: dict[str, int]
    rounds: Rounds = Field(default_factory=dict)
    trusted: bool
    start: Literal["base", "champion"] = "base"
    replay_ratio: float | None = None
    as_run: str = ""

    def landed(self) -> LandedData:
        """What the later steps learn from it."""
        return LandedData(
            lane=self.claim.lane, sources=self.sources, digests=self.digests, new_after=self.new_after,
            rounds=self.rounds, start=self.start, replay_ratio=self.replay_ratio,
        )  # fmt: skip


class LandedData(Report):
    """The part of a plan that decides what comes of it: without claim and decision, whose token and time would make
    every step after it run again where nothing else has changed. Fields as in `RetrainingPlan`; `lane` is its claim's.
    """

    lane: str
    sources: tuple[SourceSettings, ...]
    digests: dict[str, str]
    new_after: dict[str, int]
    rounds: Rounds = Field(default_factory=dict)
    start: Literal["base", "champion"] = "base"
    replay_ratio: float | None = None


class Detection(Report):
    """What the zone held, and what became of it.

    Fields:
        files: that were looked at.
        landed, accepted: names of batches that were complete, and that keep the contract of their feed.
        quarantined: name -> why, of those that do not.
        removed: files that are gone from the zone.
        settling: files that may not be complete yet.
        unreadable: files that could not be read now.
        unknown: files that no feed is for.
    """

    files: int
    landed: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    quarantined: dict[str, str] = Field(default_factory=dict)
    removed: int = 0
    settling: int = 0
    unreadable: int = 0
    unknown: int = 0

    def summary(self) -> dict[str, int]:
        """Counts."""
        return {name: value if isinstance(value, int) else len(value) for name, value in self}


class Result(Report):
    """What came of a claim, as it is accepted once.

    Fields:
        identity: of the registered model (`domainlm.register`), 64 digits; of a trivial payload any digest.
        version: NAME/VERSION.
        base, policy: digests that a later decision compares with the present ones.
    """

    run_id: str
    identity: str
    version: str = ""
    base: str = ""
    policy: str = ""
    figures: dict[str, float] = Field(default_factory=dict)


class Settlement(Report):
    """That a run's result was accepted.

    Fields:
        token: of its claim; it was the newest.
        batches: ids of those that are trained now.
    """

    token: int
    lane: str
    batches: tuple[str, ...]
    result: Result

    def summary(self) -> dict[str, Any]:
        """The claim, and what it was for."""
        return {
            "token": self.token, "batches": len(self.batches), "version": self.result.version,
            "identity": self.result.identity,
        }  # fmt: skip
