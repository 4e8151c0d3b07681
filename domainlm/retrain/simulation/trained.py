"""What a simulation asks of whoever trains, so that this stage imports no other."""

from __future__ import annotations

from typing import Protocol

from domainlm.reports import Report
from domainlm.retrain.batches import RetrainingPlan


class Trained(Report):
    """A model that somebody trained, and what it says to every headline.

    Fields:
        identity, base, policy: as in `domainlm.retrain.batches.Result`.
        seconds: what it took, on whatever machine it was.
        rows: training rows.
        learnt: shapes of market headlines that stand in its training rows.
        answers: its label for each headline, in order.
        score, items: accuracy on its held-out rows when it was made, and how many those were.
    """

    identity: str
    base: str
    policy: str
    seconds: float
    rows: int
    learnt: tuple[str, ...]
    answers: tuple[str, ...]
    score: float
    items: int


class Trainer(Protocol):
    """Trains the model of a plan."""

    def __call__(self, plan: RetrainingPlan, seed: int) -> Trained: ...
