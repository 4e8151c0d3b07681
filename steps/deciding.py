"""What the steps of a retraining do with book, zone and ledger; `domainlm watch` does the same without ZenML."""

from __future__ import annotations

import math
import socket
from datetime import UTC, datetime

from domainlm.digests import digest_json
from domainlm.errors import ConfigurationError
from domainlm.evaluate.contest_report import ContestReport
from domainlm.names import DETECT, REGISTER
from domainlm.register import Registration
from domainlm.retrain.batches import Claim, Decision, Result
from domainlm.retrain.book import Book
from domainlm.retrain.deciding import as_run
from domainlm.retrain.deciding.decision import decide
from domainlm.retrain.deciding.plan import selected
from domainlm.retrain.deciding.signals import of_feed, profiles_of, signals_of
from domainlm.retrain.deciding.standing import Standing
from domainlm.retrain.settings import DecideSettings
from steps.compiled import Compiled
from steps.ledger_view import ledger_view, standing_on


def decided(
    book: Book, settings: DecideSettings, run: Compiled, lease_s: float, now: datetime | None = None
) -> tuple[Decision, Claim | None]:
    """The decision, and the claim that a "yes" took; none where the answer is "no", or another runner was faster.

    Raises:
        ConfigurationError: an earlier run shall be repeated, and this one is configured otherwise.
    """
    if settings.as_run:
        _require_as_run(settings.as_run, run)
    lane = run.settings(REGISTER).name
    waiting = selected(book, settings, run.settings(DETECT).feeds)
    signals = signals_of(book, lane, now or datetime.now(UTC), ledger_view(lane, _standing(run)))
    decision = decide(settings, waiting, profiles_of(book, waiting, signals), signals)
    if not decision.retrain:
        return decision, None
    owner = f"{socket.gethostname()}, run {run.run_id[:8]}"
    claim = book.claim(lane, owner, lease_s, batches=[batch.id for batch in waiting], allow_empty=True)
    if claim is None:  # since the signals were read
        busy = {"retrain": False, "barred": ("busy",)}
        decision = decision.model_copy(update=busy | {"id": digest_json([decision.id, busy])})
    return decision, claim


def result_of(registration: Registration, contest: ContestReport, run: Compiled) -> Result:
    """What a run has to show for its claim."""
    stands = _standing(run)
    return Result(
        run_id=run.run_id, identity=digest_json(registration.digests),
        version=f"{registration.name}/{registration.version}", base=stands.base, policy=stands.policy,
        figures={name: value for name, value in contest.metrics().items() if math.isfinite(value)},
    )  # fmt: skip


def note_scores(book: Book, identity: str, contest: ContestReport) -> None:
    """What decay is measured from: the scores at registration, of each task and of each feed in it."""
    for place, tasks in {"": contest.registration_scores(), **contest.feed_scores()}.items():
        for task, (score, items) in tasks.items():
            book.score(identity, of_feed(place) if place else "", task, score.value, score.low, score.high, items)


def _standing(run: Compiled) -> Standing:
    return standing_on(run.pipeline.base, run.pipeline.pack, run.steps)


def _require_as_run(earlier: str, run: Compiled) -> None:
    found = as_run.manifest_of(earlier)
    if other := as_run.differences(found, run.all_settings()):
        what = f"is configured otherwise than run {earlier[:12]}: {', '.join(other[:5])}"
        raise ConfigurationError(
            what, "steps.decide.parameters.as_run",
            "start it by `domainlm retrain --as-run`, which takes the old run's configuration",
        )  # fmt: skip
