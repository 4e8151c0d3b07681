"""Two years of landings with trouble through the real zone, book, acceptance and decision, with a stand-in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from domainlm.config import RunConfiguration
from domainlm.digests import digest_json
from domainlm.errors import TrainingError
from domainlm.keys import KeyRing
from domainlm.retrain.accepting.acceptance import Rules
from domainlm.retrain.batches import PROMOTED, QUARANTINED, TRAINED, Batch, RetrainingPlan
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.settings import DecideSettings
from domainlm.retrain.simulation.market import Headline, read_market
from domainlm.retrain.simulation.outcome import Outcome, outcome_of
from domainlm.retrain.simulation.playing import LANE, Clock, Played, Player
from domainlm.retrain.simulation.trained import Trained
from domainlm.retrain.simulation.trouble import MARKET, scored, start_of, timeline

ROOT = Path(__file__).parents[4]
CONFIGURATION = ROOT / "configs" / "simulation.yaml"
MONTHS = read_market(ROOT / "domains" / "finance" / "market")


@dataclass
class Rote:
    """Learns every headline of its plan by heart, and says neutral to all others."""

    headlines: Sequence[Headline]
    zone: Path
    plans: list[RetrainingPlan] = field(default_factory=list)
    fails: int = 0

    def __call__(self, plan: RetrainingPlan, seed: int) -> Trained:
        self.plans.append(plan)
        if len(self.plans) <= self.fails:
            raise TrainingError("the loss is not finite", "step 3")
        parts = {part for source in plan.sources for part in source.parts}
        months = {Path(part).parent.name[:7] for part in parts if part.startswith(MARKET)}
        known = {one.text: one.label for month in MONTHS if month.name in months for one in month.headlines}
        return Trained(
            identity=digest_json([sorted(parts), seed]), base="b" * 64, policy="p" * 64, seconds=60.0, rows=len(known),
            learnt=tuple(sorted({one.shape for one in self.headlines if one.text in known})),
            answers=tuple(known.get(one.text, "neutral") for one in self.headlines), score=0.4, items=100,
        )  # fmt: skip


@dataclass
class Stage:
    played: Played
    book: Book
    rote: Rote
    outcome: Outcome

    def batch(self, name: str) -> Batch:
        return next(batch for batch in self.book.batches() if batch.name == name)

    def told(self, word: str) -> list[str]:
        return [line for _, line in self.played.log if word in line]


def play(folder: Path, months: int, trouble: bool, fails: int = 0, **wanted: object) -> Stage:
    configuration = RunConfiguration.load(CONFIGURATION)
    chosen, clock = MONTHS[:months], Clock()
    headlines = scored(chosen)
    detect = configuration.step("detect").model_copy(
        update={"zone": str(folder / "landing"), "spool": str(folder / "spool")}
    )
    book = open_book(f"sqlite:///{folder}/book.sqlite", now=clock)
    rote = Rote(headlines, folder / "landing", fails=fails)
    settings = DecideSettings(**(configuration.step("decide").model_dump() | wanted))
    rules = Rules.read(str(ROOT / "domains" / "finance"), KeyRing.new())
    player = Player(detect, settings, rules, book, headlines, rote, clock)
    played = player.play(timeline(chosen, trouble))
    return Stage(played, book, rote, outcome_of(chosen, played, [], trouble))


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return play(tmp_path_factory.mktemp("troubled"), 24, trouble=True)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return play(tmp_path_factory.mktemp("calm"), 24, trouble=False)


def test_without_trouble_every_month_is_one_batch_that_one_training_learnt(calm: Stage) -> None:
    batches = calm.book.batches()
    assert [batch.name for batch in batches] == [f"{MARKET}/{month.name}" for month in MONTHS]
    learnt = Counter(id for result in calm.book.results(LANE) for id in result.batches)
    assert set(learnt.values()) == {1}
    waiting = [batch.name for batch in batches if batch.id not in learnt]
    assert waiting == [f"{MARKET}/{month.name}" for month in MONTHS[len(MONTHS) - len(waiting) :]]
    assert len(calm.played.retrainings) >= 4


def test_no_model_is_scored_on_a_month_that_it_learnt(calm: Stage, troubled: Stage) -> None:
    for stage in (calm, troubled):
        assert len(stage.outcome.months) >= 20
        for month in stage.outcome.months:
            plan = stage.played.retrainings[month.champion - 1].plan
            parts = [part for source in plan.sources for part in source.parts]
            assert not [part for part in parts if month.name in part]


def test_a_model_learns_all_that_was_accepted_before_it_and_nothing_else(calm: Stage) -> None:
    for one in calm.played.retrainings:
        parts = [part for source in one.plan.sources for part in source.parts]
        landed = [f"{MARKET}/{month.name}/news.jsonl" for month in MONTHS if start_of(month.name, 1) <= one.time]
        assert parts == landed


def test_half_an_upload_does_not_land(troubled: Stage) -> None:
    assert troubled.told(f"not complete yet: {MARKET}/2023-02")
    assert troubled.batch(f"{MARKET}/2023-02").rows == len(MONTHS[1].headlines)


def test_a_late_month_lands_behind_those_after_it_and_is_learnt(troubled: Stage) -> None:
    late, after = (troubled.batch(f"{MARKET}/{name}") for name in ("2023-05", "2023-06"))
    assert late.number > after.number
    assert late.first_day < after.first_day
    assert late.state in (TRAINED, PROMOTED)


def test_the_same_bytes_under_another_name_are_one_batch(troubled: Stage) -> None:
    assert troubled.told("2023-08-again")
    assert len([batch for batch in troubled.book.batches() if "2023-08" in batch.name]) == 1


def test_an_empty_file_trains_nothing_and_the_right_one_takes_its_place(troubled: Stage) -> None:
    found = [batch for batch in troubled.book.batches() if batch.name == f"{MARKET}/2023-10"]
    learnt = {id for result in troubled.book.results(LANE) for id in result.batches}
    assert [batch.rows for batch in found if batch.id in learnt] == [len(MONTHS[9].headlines)]


def test_changed_columns_stop_at_the_contract_with_the_column_and_without_a_value(troubled: Stage) -> None:
    refused = troubled.batch(f"{MARKET}/2023-12")
    assert refused.state == QUARANTINED
    assert "headline" in refused.reason
    assert not [headline for headline in MONTHS[11].headlines if headline.text in refused.reason]
    assert troubled.batch(f"{MARKET}/2023-12-mended").rows == len(MONTHS[11].headlines)


def test_a_correction_that_swaps_labels_is_stopped_and_starts_no_training(troubled: Stage) -> None:
    refused = troubled.batch(f"{MARKET}/2024-02-correction")
    assert refused.state == QUARANTINED
    assert "label" in refused.reason
    assert not [headline for headline in MONTHS[13].headlines if headline.text in refused.reason]


def test_what_is_removed_before_it_was_learnt_is_withdrawn_and_lands_again(troubled: Stage) -> None:
    back = troubled.batch(f"{MARKET}/2024-05")
    states = [transition.after for transition in troubled.book.transitions(back.id)]
    gone = states.index("withdrawn")
    assert {"landed", "accepted"} & set(states[gone:])
    assert back.rows == len(MONTHS[16].headlines)


def test_what_learnt_from_an_untrusted_source_waits_for_a_person(troubled: Stage, calm: Stage) -> None:
    assert all(one.plan.trusted and one.promoted - one.time < 3600 for one in calm.played.retrainings)
    untrusted = [one for one in troubled.played.retrainings if not one.plan.trusted]
    assert untrusted
    assert all(one.promoted - one.time > 29 * 86400 for one in untrusted)


def test_every_batch_is_trained_at_most_once_and_none_is_lost(troubled: Stage) -> None:
    starts = troubled.book.starts()
    assert starts["lost"] == 0
    learnt = [id for result in troubled.book.results(LANE) for id in result.batches]
    assert len(learnt) == len(set(learnt)) == starts["trained_once"]


def test_a_training_that_fails_leaves_its_batches_to_the_next_one(tmp_path: Path) -> None:
    stage = play(tmp_path, 5, trouble=False, fails=1, cool_down_h=0)
    assert [why for _, why in stage.played.failures] == ["TrainingError: the loss is not finite"]
    first = stage.rote.plans[1].claim
    assert len(first.batches) == 2
    assert first.starts >= 1


def test_the_cool_down_counts_simulated_hours(tmp_path: Path) -> None:
    often = play(tmp_path / "often", 6, trouble=False, new_rows=1)
    seldom = play(tmp_path / "seldom", 6, trouble=False, new_rows=1, cool_down_h=80 * 24)
    assert len(often.played.retrainings) == 6
    assert len(seldom.played.retrainings) == 2
    assert ["cool-down"] in [list(decision.barred) for _, decision in seldom.played.decisions]


def test_learning_by_heart_gains_on_shapes_that_it_met_and_nothing_on_new_ones(calm: Stage) -> None:
    """Headlines differ in their figures, so nothing is known by heart beforehand: no leak, no gain."""
    gains = {one.rows_of: one for one in calm.outcome.comparisons if one.metric == "accuracy"}
    texts = Counter(headline.text for month in MONTHS for headline in month.headlines)
    again = sum(count - 1 for count in texts.values())
    assert abs(gains["all months"].gain.value) <= again / gains["all months"].rows
    assert gains["shapes that no month before had"].gain.value == 0
