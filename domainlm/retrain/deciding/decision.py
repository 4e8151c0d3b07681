"""Whether to train again: every ground with what was measured and from which value on it counts.

A pure function, so that a recorded decision can be made again from what it saw. One ground is enough. Cool-down, budget
and a training that runs stand against it; an erasure and a person's word pass the first two (docs/retrain-decision.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from math import floor

from domainlm.digests import digest_json
from domainlm.retrain.accepting.profile import Profile, added
from domainlm.retrain.batches import BriefBatch, Code, Decision, Reason
from domainlm.retrain.deciding.drift import Drift, label_drift, term_drift, told_labels, told_terms, vocabulary_drift
from domainlm.retrain.deciding.signals import FreshScore, KnownModel, Profiles, Signals
from domainlm.retrain.settings import DecideSettings

GROUNDS: tuple[Code, ...] = (
    "asked", "first", "new-rows", "age", "label-drift", "vocabulary-drift", "term-drift", "score-decay", "erasure",
    "base", "policy",
)  # fmt: skip
BARS: tuple[Code, ...] = ("cool-down", "budget", "busy")
URGENT: frozenset[Code] = frozenset({"erasure", "asked"})  # pass cool-down and budget, not a training that runs
_OFF = "; switched off"
DECAY_SD = 2.33  # of the difference: a drop this large comes by chance once in a hundred times


def decide(settings: DecideSettings, waiting: Sequence[BriefBatch], profiles: Profiles, signals: Signals) -> Decision:
    """Look at every ground, and at what stands against a training.

    Args:
        settings: thresholds; None switches a ground off.
        waiting: accepted batches that no training saw yet.
        profiles: of them, and of what is known.
        signals: models, scores, time and costs.
    """
    grounds = [
        _asked(settings), _first(waiting, signals), _new_rows(settings, waiting), _age(settings, waiting, signals),
        *_drifts(settings, profiles), _decay(settings, signals), _erasure(settings, signals),
        _changed("base", settings.on_base, signals.base_now, signals.newest, signals.newest and signals.newest.base),
        _changed(
            "policy", settings.on_policy, signals.policy_now, signals.newest, signals.newest and signals.newest.policy
        ),
    ]  # fmt: skip
    against = [_cool_down(settings, signals), _budget(settings, signals), _busy(signals)]
    holding = {reason.code for reason in grounds if reason.holds}
    passes = ("cool-down", "budget") if holding & URGENT else ()
    barred = tuple(reason.code for reason in against if holding and reason.holds and reason.code not in passes)
    content = {
        "retrain": bool(holding) and not barred,
        "reasons": tuple(grounds + against),
        "barred": barred,
        "policy": digest_json(settings.model_dump(mode="json")),
    }
    bare = Decision(id="", decided="", **content)
    return Decision(id=digest_json(bare.model_dump(mode="json")), decided=signals.now, **content)


def _asked(settings: DecideSettings) -> Reason:
    asked = settings.asked or bool(settings.as_run)
    told = f"run {settings.as_run} once more" if settings.as_run else "somebody asks for it" if asked else "nobody asks"
    return Reason(code="asked", holds=asked, told=told)


def _first(waiting: Sequence[BriefBatch], signals: Signals) -> Reason:
    if signals.newest:
        kind = "champion" if signals.newest is signals.champion else "candidate"
        return Reason(code="first", holds=False, told=f"the {kind} is {signals.newest.label}")
    rows = sum(batch.rows for batch in waiting)
    return Reason(
        code="first", holds=rows > 0, measured=rows,
        told=f"no model yet, and {rows} rows wait" if rows else "no model yet, and no row waits",
    )  # fmt: skip


def _new_rows(settings: DecideSettings, waiting: Sequence[BriefBatch]) -> Reason:
    rows = sum(batch.rows for batch in waiting)
    holds = settings.new_rows is not None and rows >= settings.new_rows
    return Reason(
        code="new-rows", holds=holds, measured=rows, threshold=settings.new_rows,
        told=f"{rows} rows of {len(waiting)} batches wait" + _wanted(settings.new_rows, "rows"),
    )  # fmt: skip


def _age(settings: DecideSettings, waiting: Sequence[BriefBatch], signals: Signals) -> Reason:
    model, threshold = signals.newest, settings.max_age_days
    if model is None or not model.since:
        return Reason(code="age", holds=False, threshold=threshold, told="no model of known age")
    days = max(0, floor(_hours(model.since, signals.now) / 24))  # whole days: a decision that says the same is the same
    rows = sum(batch.rows for batch in waiting)
    holds = threshold is not None and days >= threshold and rows > 0
    told = f"{model.label} is {days} days old{_wanted(threshold, 'days')}" + ("" if rows else "; nothing new waits")
    return Reason(code="age", holds=holds, measured=days, threshold=threshold, told=told)


def _drifts(settings: DecideSettings, profiles: Profiles) -> Iterator[Reason]:
    yield _drift("label-drift", settings.label_drift, settings, profiles, label_drift, told_labels)
    yield _drift("vocabulary-drift", settings.vocabulary_drift, settings, profiles, vocabulary_drift, _told_words)
    yield _drift("term-drift", settings.term_drift, settings, profiles, term_drift, told_terms)


def _drift(
    code: Code,
    threshold: float | None,
    settings: DecideSettings,
    profiles: Profiles,
    measure: Callable[[Profile, Profile], Drift | None],
    tell: Callable[[Profile, Profile], str],
) -> Reason:
    """The drift of the feed that drifted most, of those beyond chance where there is one.

    A feed is compared with its own past where that is long enough: it differs from other sources for good. Else it is
    compared with all that is known of its task.
    """
    if threshold is None:
        return Reason(code=code, holds=False, told="not looked at")
    own = {(one.key, one.task, one.source): one for one in profiles.known if one.rows >= settings.min_drift_rows}
    everything = {(one.key, one.task): one for one in added(profiles.known, by_source=False)}
    found, few, unknown = [], [], []
    for new in profiles.new:
        before = own.get((new.key, new.task, new.source)) or everything.get((new.key, new.task))
        if before is None:
            unknown.append(new.source)
        elif new.rows < settings.min_drift_rows:
            few.append(f"{new.rows} rows of {new.source}")
        elif (drift := measure(new, before)) is not None:
            found.append((drift.beyond_chance, drift.adjusted, new.source, drift, new, before))
    if not found:
        told = "nothing new waits"
        if few:
            told = f"too little to tell: {', '.join(few)}, {settings.min_drift_rows} are wanted"
        elif profiles.new:
            told = f"nothing known to compare with: {', '.join(unknown)}" if unknown else "nothing that could drift"
        return Reason(code=code, holds=False, threshold=threshold, told=told)
    beyond, adjusted, source, drift, new, before = max(found, key=lambda one: one[:3])
    holds = beyond and adjusted >= threshold
    chance = "" if beyond else ", no more than chance shows"
    told = f"{source}: {tell(new, before)}; {adjusted:.2f} beyond chance ({drift.distance:.2f} as it is){chance}"
    return Reason(code=code, holds=holds, measured=round(adjusted, 4), threshold=threshold, told=told)


def _told_words(new: Profile, known: Profile) -> str:
    return f"words of {new.rows} new rows against {known.rows} known ones"


def _decay(settings: DecideSettings, signals: Signals) -> Reason:
    threshold = settings.score_decay
    if threshold is None:
        return Reason(code="score-decay", holds=False, told="not looked at")
    if not signals.scores:
        return Reason(code="score-decay", holds=False, threshold=threshold, told="no score on fresh labelled rows")

    def drop(score: FreshScore) -> tuple[bool, float]:
        noise = (score.registered_sd**2 + score.fresh_sd**2) ** 0.5
        by = score.registered - score.fresh
        return by >= DECAY_SD * noise and by > 0, by

    worst = max(signals.scores, key=drop)
    beyond, by = drop(worst)
    scores = f"{worst.registered:.3f} at registration, {worst.fresh:.3f} on {worst.items} fresh rows"
    told = f"{worst.feed}, {worst.task}: {scores}"
    return Reason(
        code="score-decay", holds=beyond and by >= threshold, measured=round(by, 4), threshold=threshold,
        told=told + ("" if beyond or by < threshold else ", no more than chance shows"),
    )  # fmt: skip


def _erasure(settings: DecideSettings, signals: Signals) -> Reason:
    model = signals.newest
    if model and model.erased:
        day = model.erased[:10]
        told = f"{model.label} learnt from data that were erased on {day}" + ("" if settings.on_erasure else _OFF)
        return Reason(code="erasure", holds=settings.on_erasure, told=told)
    if signals.champion and signals.champion.erased and model:
        told = f"answered by {model.label}, which waits for a person"
        return Reason(code="erasure", holds=False, told=told)
    return Reason(code="erasure", holds=False, told="no model learnt from erased data")


def _changed(code: Code, on: bool, now: str, model: KnownModel | None, before: str | None) -> Reason:
    if not (now and model and before):
        return Reason(code=code, holds=False, told="not known of both")
    changed = now != before
    told = f"another than that of {model.label}: {now[:12]}, before {before[:12]}" if changed else "as before"
    return Reason(code=code, holds=on and changed, told=told + (_OFF if changed and not on else ""))


def _cool_down(settings: DecideSettings, signals: Signals) -> Reason:
    wanted = settings.cool_down_h
    if not signals.last_start:
        return Reason(code="cool-down", holds=False, threshold=wanted, told="nothing was trained yet")
    hours = _hours(signals.last_start, signals.now)
    if hours < -max(wanted, 1.0):  # the clock was wrong then or is now: it must not hold training up for that long
        told = f"the last training began {-floor(hours)} h from now: the clock was set back"
        return Reason(code="cool-down", holds=False, measured=floor(hours), threshold=wanted, told=told)
    hours = max(0.0, hours)  # two clocks, or one that was set back a little
    return Reason(
        code="cool-down", holds=hours < wanted, measured=floor(hours), threshold=wanted,
        told=f"the last training began {floor(hours)} h ago, {wanted:g} h are kept between two",
    )  # fmt: skip


def _budget(settings: DecideSettings, signals: Signals) -> Reason:
    used, limit = round(signals.hours_used, 1), settings.budget_hours
    holds = limit is not None and signals.hours_used >= limit
    told = f"{used:g} h were used in {signals.now[:7]}" + ("" if limit is None else f" of {limit:g} h")
    return Reason(code="budget", holds=holds, measured=used, threshold=limit, told=told)


def _busy(signals: Signals) -> Reason:
    return Reason(code="busy", holds=signals.busy, told="a training runs" if signals.busy else "no training runs")


def _wanted(threshold: float | None, unit: str) -> str:
    return "; not looked at" if threshold is None else f", {threshold:g} {unit} count"


def _hours(since: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds() / 3600
