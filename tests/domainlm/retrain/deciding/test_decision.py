"""The decision: each ground at its threshold, what stands against it, and what must hold for any decision."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from domainlm.retrain.accepting.profile import Profile
from domainlm.retrain.batches import ACCEPTED, Batch, Decision, Reason
from domainlm.retrain.deciding.decision import BARS, GROUNDS, URGENT, decide
from domainlm.retrain.deciding.signals import FreshScore, KnownModel, Profiles, Signals
from domainlm.retrain.settings import DecideSettings

NOW = "2026-11-21T12:00:00+00:00"
CHAMPION = KnownModel(identity="c" * 64, version="m/1", since="2026-11-01T00:00:00+00:00", base="b" * 64, policy="p")
CANDIDATE = CHAMPION.model_copy(update={"identity": "d" * 64, "version": "m/2", "since": "2026-11-20T12:00:00+00:00"})
OFF = {
    "new_rows": None, "max_age_days": None, "label_drift": None, "vocabulary_drift": None, "term_drift": None,
    "score_decay": None, "on_erasure": False, "on_base": False, "on_policy": False,
}  # fmt: skip


def batch(rows: int, number: int = 1) -> Batch:
    return Batch(
        id=f"{number:064x}", number=number, feed="f", name=f"b{number}", files=(), landed=NOW, state=ACCEPTED, rows=rows
    )


def signals(**given: Any) -> Signals:
    return Signals(**({"now": NOW, "champion": CHAMPION} | given))


def labelled(positive: int, negative: int, task: str = "sentiment", key: str = "k", source: str = "news") -> Profile:
    counts = {"positive": positive, "negative": negative}
    return Profile(key=key, task=task, source=source, rows=positive + negative, labels=counts)


def decided(
    given: Signals | None = None, rows: int = 10, profiles: Profiles | None = None, **settings: Any
) -> Decision:
    waiting = [batch(rows)] if rows else []
    return decide(DecideSettings(**(OFF | settings)), waiting, profiles or Profiles(), given or signals())


def reason(decision: Decision, code: str) -> Reason:
    return next(reason for reason in decision.reasons if reason.code == code)


def test_every_ground_and_every_bar_is_told_also_for_a_no() -> None:
    found = decided()
    assert tuple(reason.code for reason in found.reasons) == GROUNDS + BARS
    assert not found.retrain and not found.barred and found.lines()[0] == "no retraining"
    assert len(found.lines()) == 1 + len(GROUNDS + BARS)


@pytest.mark.parametrize(("rows", "yes"), [(199, False), (200, True), (201, True)])
def test_new_rows_count_from_their_threshold_on(rows: int, yes: bool) -> None:
    found = decided(rows=rows, new_rows=200)
    assert found.retrain is yes is reason(found, "new-rows").holds
    assert (reason(found, "new-rows").measured, reason(found, "new-rows").threshold) == (rows, 200)


def test_the_first_model_needs_rows_and_nothing_else() -> None:
    assert decided(signals(champion=None)).retrain
    assert not decided(signals(champion=None), rows=0).retrain
    # a first candidate waits for a person: the same is not trained again
    assert not decided(signals(champion=None, candidate=CANDIDATE)).retrain


@pytest.mark.parametrize(("days", "rows", "yes"), [(19, 1, False), (20, 1, True), (20, 0, False)])
def test_an_old_champion_is_trained_again_where_something_is_new(days: int, rows: int, yes: bool) -> None:
    found = decided(signals(now=f"2026-11-{days + 1:02}T00:00:00+00:00"), rows=rows, max_age_days=20)
    assert found.retrain is yes and reason(found, "age").measured == days


def test_a_candidate_that_waits_answers_for_the_age_of_the_champion() -> None:
    assert not decided(signals(candidate=CANDIDATE), max_age_days=20).retrain


def test_labels_that_drifted_alarm_from_enough_rows_on() -> None:
    known = (labelled(500, 500),)
    for new, yes in ((labelled(90, 10), True), (labelled(50, 50), False), (labelled(89, 10), False)):
        found = decided(profiles=Profiles(new=(new,), known=known), label_drift=0.1, min_drift_rows=100)
        assert found.retrain is yes, new
    told = reason(decided(profiles=Profiles(new=(labelled(90, 10),), known=known), label_drift=0.1), "label-drift").told
    assert "positive 50% to 90%" in told


def test_a_drift_that_chance_shows_too_does_not_alarm_however_large() -> None:
    few = Profiles(new=(labelled(8, 2),), known=(labelled(500, 500),))
    found = reason(decided(profiles=few, label_drift=0.05, min_drift_rows=10), "label-drift")
    assert not found.holds and (found.measured or 0) > 0.05 and "no more than chance shows" in found.told


def test_the_feed_that_drifted_most_is_told_and_profiles_of_another_key_are_not_compared() -> None:
    known = (labelled(500, 500), labelled(500, 500, "intent", source="desk"))
    new = (labelled(100, 100), labelled(190, 10, "intent", source="desk"))
    found = reason(decided(profiles=Profiles(new=new, known=known), label_drift=0.1), "label-drift")
    assert found.holds and found.told.startswith("desk: ")
    foreign = Profiles(new=(labelled(190, 10, key="other"),), known=known)
    found = reason(decided(profiles=foreign, label_drift=0.1), "label-drift")
    assert not found.holds and "nothing known to compare with" in found.told


def test_a_feed_is_compared_with_its_own_past_where_that_is_long_enough() -> None:
    new, static = labelled(150, 50), labelled(2000, 2000, source="static")
    for own, holds, told in (
        (labelled(75, 25), False, "positive 75% to 75%"),  # like its own past, though not like the rest
        (labelled(25, 75), True, "positive 25% to 75%"),
        (labelled(60, 20), True, "positive 50% to 75%"),  # too short a past: all that is known
    ):
        found = reason(decided(profiles=Profiles(new=(new,), known=(own, static)), label_drift=0.1), "label-drift")
        assert found.holds is holds and told in found.told, found


@pytest.mark.parametrize(
    ("score", "yes"),
    [
        (FreshScore(task="t", registered=0.8, fresh=0.75, items=500), True),
        (FreshScore(task="t", registered=0.8, fresh=0.76, items=500), False),
        (FreshScore(task="t", registered=0.8, fresh=0.7, registered_sd=0.02, fresh_sd=0.05, items=50), False),
        (FreshScore(task="t", registered=0.8, fresh=0.7, registered_sd=0.01, fresh_sd=0.02, items=500), True),
        (FreshScore(task="t", registered=0.7, fresh=0.9, items=500), False),
    ],
)
def test_a_score_decays_beyond_threshold_and_chance(score: FreshScore, yes: bool) -> None:
    assert decided(signals(scores=(score,)), score_decay=0.05).retrain is yes


def test_a_drop_beyond_chance_is_told_before_a_larger_one_that_is_not() -> None:
    sure = FreshScore(feed="sure", task="t", registered=0.8, fresh=0.74, registered_sd=0.005, fresh_sd=0.01, items=900)
    noisy = FreshScore(feed="noisy", task="t", registered=0.8, fresh=0.6, registered_sd=0.1, fresh_sd=0.1, items=20)
    found = decided(signals(scores=(noisy, sure)), score_decay=0.05)
    assert found.retrain and reason(found, "score-decay").told.startswith("sure")


def test_an_erasure_passes_cool_down_and_budget_but_not_a_training_that_runs() -> None:
    erased = CHAMPION.model_copy(update={"erased": "2026-11-20T00:00:00+00:00"})
    against = {"last_start": "2026-11-21T11:00:00+00:00", "hours_used": 500.0}
    assert decided(signals(champion=erased, **against), rows=0, on_erasure=True).retrain
    found = decided(signals(champion=erased, busy=True, **against), rows=0, on_erasure=True)
    assert not found.retrain and found.barred == ("busy",)
    assert not decided(signals(champion=erased), on_erasure=False).retrain
    # a candidate that was trained without the erased data waits for a person; one with them does not help
    assert not decided(signals(champion=erased, candidate=CANDIDATE), on_erasure=True).retrain
    stained = CANDIDATE.model_copy(update={"erased": erased.erased})
    assert decided(signals(champion=erased, candidate=stained), on_erasure=True).retrain


@pytest.mark.parametrize("what", ["base", "policy"])
def test_a_changed_base_or_policy_is_a_ground_where_both_are_known(what: str) -> None:
    on = {f"on_{what}": True}
    for now, yes in (("another", True), (getattr(CHAMPION, what), False), ("", False)):
        assert decided(signals(**{f"{what}_now": now}), **on).retrain is yes
    unknown = CHAMPION.model_copy(update={what: ""})
    assert not decided(signals(champion=unknown, **{f"{what}_now": "another"}), **on).retrain
    assert not decided(signals(**{f"{what}_now": "another"})).retrain  # switched off
    answered = CANDIDATE.model_copy(update={what: "another"})
    assert not decided(signals(candidate=answered, **{f"{what}_now": "another"}), **on).retrain


@pytest.mark.parametrize(
    ("given", "barred"),
    [
        ({"last_start": "2026-11-21T06:00:01+00:00"}, ("cool-down",)),
        ({"last_start": "2026-11-21T06:00:00+00:00"}, ()),
        ({"hours_used": 100.0}, ("budget",)),
        ({"hours_used": 99.9}, ()),
        ({"busy": True}, ("busy",)),
        ({"busy": True, "hours_used": 100.0, "last_start": NOW}, ("cool-down", "budget", "busy")),
        # the clock was set back by an hour: still kept apart; by a year: not held up for a year
        ({"last_start": "2026-11-21T13:00:00+00:00"}, ("cool-down",)),
        ({"last_start": "2027-11-21T12:00:00+00:00"}, ()),
    ],
)
def test_what_stands_against_a_training_wins_over_new_rows(given: dict, barred: tuple) -> None:
    found = decided(signals(**given), new_rows=1, cool_down_h=6, budget_hours=100)
    assert found.retrain is not bool(barred) and found.barred == barred
    quiet = decided(signals(**given), cool_down_h=6, budget_hours=100)
    assert not quiet.retrain and not quiet.barred  # nothing to stand against


def test_a_cool_down_of_nothing_holds_nobody_up() -> None:
    assert decided(signals(last_start="2026-11-21T12:00:00.900+00:00"), new_rows=1, cool_down_h=0).retrain


def test_a_persons_word_passes_cool_down_and_budget() -> None:
    against = signals(last_start=NOW, hours_used=500.0)
    assert decided(against, rows=0, asked=True).retrain and decided(against, rows=0, as_run="r1").retrain


def test_what_it_says_decides_its_id_and_not_the_second() -> None:
    one, same, later = (
        decided(signals(now=f"2026-11-21T12:00:{s}+00:00"), max_age_days=90) for s in ("00", "00", "59")
    )
    assert one.id == same.id == later.id and one.decided != later.decided and len(one.id) == 64
    others = (decided(rows=11, max_age_days=90), decided(max_age_days=91), decided(signals(busy=True), max_age_days=90))
    assert len({one.id, *(other.id for other in others)}) == 4


THRESHOLDS = st.fixed_dictionaries(
    {
        "new_rows": st.none() | st.integers(1, 300), "max_age_days": st.none() | st.floats(0.1, 100),
        "label_drift": st.none() | st.floats(0, 1), "score_decay": st.none() | st.floats(0, 1),
        "on_erasure": st.booleans(), "on_base": st.booleans(), "on_policy": st.booleans(), "asked": st.booleans(),
        "cool_down_h": st.floats(0, 48), "budget_hours": st.none() | st.floats(0.1, 200),
    }
)  # fmt: skip
MODELS = st.builds(
    KnownModel, identity=st.just("c" * 64), since=st.sampled_from(["", "2026-08-01T00:00:00+00:00", NOW]),
    base=st.sampled_from(["", "x", "y"]), policy=st.sampled_from(["", "x", "y"]), erased=st.sampled_from(["", NOW]),
)  # fmt: skip
SHARES = st.floats(0, 1)
SIGNALS = st.builds(
    Signals, now=st.just(NOW), champion=st.none() | MODELS, candidate=st.none() | MODELS,
    base_now=st.sampled_from(["", "x"]), policy_now=st.sampled_from(["", "x"]), busy=st.booleans(),
    scores=st.lists(
        st.builds(FreshScore, task=st.just("t"), registered=SHARES, fresh=SHARES, registered_sd=SHARES, fresh_sd=SHARES,
                  items=st.integers(1, 500)),
        max_size=2,
    ),
    last_start=st.sampled_from(["", "2026-11-20T12:00:00+00:00", NOW]), hours_used=st.floats(0, 300),
)  # fmt: skip
PROFILES = st.builds(
    lambda new, known: Profiles(new=(labelled(*new),), known=(labelled(*known),)),
    st.tuples(st.integers(1, 300), st.integers(0, 300)),
    st.tuples(st.integers(1, 300), st.integers(0, 300)),
)


@given(THRESHOLDS, SIGNALS, PROFILES, st.integers(0, 300), st.integers(0, 300))
@examples(max_examples=150, deadline=None)
def test_more_new_rows_never_turn_a_yes_into_a_no(
    settings: dict, given: Signals, profiles: Profiles, rows: int, more: int
) -> None:
    chosen = DecideSettings(**(OFF | settings))
    fewer = decide(chosen, [batch(rows)], profiles, given)
    larger = decide(chosen, [batch(rows), batch(more, 2)], profiles, given)
    assert larger.retrain or not fewer.retrain


@given(THRESHOLDS, SIGNALS, PROFILES, st.integers(0, 300))
@examples(max_examples=150, deadline=None)
def test_a_decision_follows_from_its_reasons(settings: dict, given: Signals, profiles: Profiles, rows: int) -> None:
    chosen = DecideSettings(**(OFF | settings))
    found = decide(chosen, [batch(rows)], profiles, given)
    holding = {reason.code for reason in found.reasons if reason.holds}
    grounds, against = holding & set(GROUNDS), holding & set(BARS)
    if grounds & URGENT:
        against &= {"busy"}
    assert found.retrain is (bool(grounds) and not against)
    assert set(found.barred) == (against if grounds else set())
    named = {"new_rows": "new-rows", "max_age_days": "age", "label_drift": "label-drift", "score_decay": "score-decay"}
    for field, code in named.items():
        assert getattr(chosen, field) is not None or code not in holding, field
    assert found == decide(chosen, [batch(rows)], profiles, given)


def test_a_process_that_decides_stays_light() -> None:
    code = """
import sys
from domainlm.retrain.batches import Batch
from domainlm.retrain.deciding.decision import decide
from domainlm.retrain.deciding.plan import make_plan
from domainlm.retrain.accepting.profile import Profile
from domainlm.retrain.settings import DecideSettings
from domainlm.retrain.deciding.signals import Profiles, Signals, signals_of
one = Profile(key="k", task="t", rows=500, buckets={number: number % 7 + 1 for number in range(900)})
decide(DecideSettings(), [], Profiles(new=(one,), known=(one,)), Signals(now="2026-11-21T12:00:00+00:00"))
heavy = {"torch", "datasets", "pandas", "pyarrow", "zenml", "mlflow", "transformers", "scipy", "sklearn"}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr
