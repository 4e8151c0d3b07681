"""What the book tells, beside `domainlm.retrain.batches`: no value of the data is in any."""

from __future__ import annotations

from domainlm.reports import Report
from domainlm.retrain.batches import Decision


class Transition(Report):
    """One change of a batch's state, as it was recorded with it.

    Fields:
        before: the state until then; empty at its landing.
        who: the machine and process, or the person, that changed it.
        token: of the claim whose result changed it.
        why: places, never values.
    """

    batch: str
    before: str
    after: str
    time: str
    who: str
    token: int | None = None
    why: str = ""


class AcceptedResult(Report):
    """A result that the book accepted, with the batches that it was the first and only one to be accepted for."""

    token: int
    lane: str
    run_id: str
    identity: str
    version: str
    base: str
    policy: str
    figures: dict[str, float]
    batches: tuple[str, ...]
    accepted_at: str
    promoted_at: str = ""


class Start(Report):
    """A claim and what became of it.

    Fields:
        state: held, accepted, given up, or lost (taken over by a later one, or a person withdrew a batch of it).
        alive: it is held and its lease runs.
    """

    token: int
    lane: str
    owner: str
    batches: int
    starts: int
    state: str
    alive: bool
    run_id: str
    began: str
    seen: str
    why: str = ""


class RecordedDecision(Report):
    """A decision, the run that it started, and how often it was repeated with nothing changed until `last`."""

    decision: Decision
    run_id: str
    times: int
    last: str


class Score(Report):
    """A model's score on a batch's fresh labelled rows."""

    identity: str
    batch: str
    task: str
    value: float
    low: float | None = None
    high: float | None = None
    items: int = 0
    time: str = ""
