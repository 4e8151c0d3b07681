"""The whole stage on really trained toys: every system, the verdicts, and what must fail."""

from __future__ import annotations

import math
import shutil

import pytest

from domainlm.artifacts import AdapterFolder
from domainlm.errors import ConfigurationError, EvaluationError
from domainlm.evaluate import EvaluationReport, evaluate
from domainlm.evaluate.settings import SYSTEMS, EvaluateSettings
from domainlm.records import answer

SETTINGS = {"apart_sources": ("disjoint",), "resamples": 1000, "threads": 1, "min_groups": 5}


def run(toy, controls=None, records=None, adapter=None, **settings) -> EvaluationReport:
    given = EvaluateSettings(**(SETTINGS | settings))
    return evaluate(
        toy.records if records is None else records,
        toy.base,
        toy.tokenizer,
        adapter or toy.adapter,
        given,
        toy.tasks,
        toy.controls if controls is None else controls,
    )


@pytest.fixture(scope="module")
def report(toy) -> EvaluationReport:
    return run(toy)


def row(report: EvaluationReport, name: str):
    return next(row for row in report.rows if row.name == name)


def test_every_system_is_scored_on_every_source_and_a_source_apart_has_a_row_of_its_own(report):
    assert [row.name for row in report.rows] == ["metal / metals", "sentiment / disjoint", "sentiment / headlines"]
    for found in report.rows:
        assert list(found.scores) == list(SYSTEMS)
        for system, scores in found.scores.items():
            for metric, estimate in scores.items():
                assert estimate.low <= estimate.value <= estimate.high, (found.name, system, metric)
    assert report.items == sum(row.items for row in report.rows) == 60 + 20 + 90
    assert row(report, "sentiment / disjoint").apart and not row(report, "sentiment / headlines").apart


def test_the_tuned_toy_learned_and_training_on_shuffled_labels_stays_at_chance(report):
    found = row(report, "sentiment / headlines")
    assert found.scores["tuned"]["accuracy"].value > 0.9
    assert 0.15 < found.scores["shuffled labels"]["accuracy"].value < 0.55  # chance is a third
    assert found.verdict == "shown"
    assert found.differences["base"].low > 0 and found.differences["shuffled labels"].low > 0
    assert report.headline == "shown"
    assert {claim.name: claim.verdict for claim in report.claims}["classification"] == "shown"


def test_the_baselines_are_what_they_say(report, toy):
    found = row(report, "sentiment / headlines")
    assert found.scores["TF-IDF"]["accuracy"].value > 0.9  # the toy's cue words are linear
    assert found.scores["majority"]["accuracy"].value == pytest.approx(1 / 3, abs=1e-5)
    assert max(found.predicted["majority"].values()) == 1
    assert row(report, "metal / metals").scores["TF-IDF"]["exact_match"].value == 1  # retrieves the same question
    assert "bits_per_character" not in found.scores["majority"]


def test_stopping_is_learned_and_the_answers_stand_side_by_side(report):
    found = row(report, "metal / metals")
    assert found.scores["tuned"]["stop_rate"].value == 1
    assert found.scores["base"]["stop_rate"].value < 1
    fixed = next(item for item in report.side_by_side if "Name gold." in item.prompt)
    assert fixed.reference == "gold" and fixed.in_training
    assert {"base", "tuned"} <= set(fixed.answers) and fixed.answers["base"] != fixed.answers["tuned"]


def test_prompts_that_stand_in_training_are_counted(report):
    assert row(report, "metal / metals").in_training == 60  # the toy asks the same questions again
    assert row(report, "sentiment / headlines").in_training == 0


def test_pure_format_never_carries_the_headline(toy):
    report = run(toy, tasks=("metal",))
    assert row(report, "metal / metals").verdict == "shown"
    assert [claim.verdict for claim in report.claims] == ["shown"]
    assert report.headline == "not shown"


def test_a_source_kept_apart_carries_no_claim(toy):
    report = run(toy, tasks=("sentiment",), apart_sources=("headlines", "disjoint"))
    assert row(report, "sentiment / headlines").verdict == "shown"
    assert [claim.verdict for claim in report.claims] == ["not shown"]


def test_without_the_shuffled_control_nothing_is_shown(toy):
    report = run(toy, controls={}, tasks=("sentiment",))
    found = row(report, "sentiment / headlines")
    assert found.verdict == "not shown" and "shuffled labels" in found.reason
    assert found.differences["base"].low > 0


def test_a_model_that_only_learned_the_most_frequent_label_shows_nothing():
    """It beats a base that leans to a rare label, and may beat a control that does, too."""
    from domainlm.evaluate.evaluation import _verdict
    from domainlm.evaluate.report import Estimate

    def gain(low: float, high: float) -> Estimate:
        return Estimate(value=(low + high) / 2, low=low, high=high, method="BCa")

    gains = {"majority": gain(-0.1, 0.1), "base": gain(0.1, 0.3), "shuffled labels": gain(0.05, 0.2)}
    verdict, reason = _verdict(gains, 40, EvaluateSettings())
    assert verdict == "not shown" and "over majority" in reason
    assert _verdict(gains | {"majority": gain(0.01, 0.1)}, 40, EvaluateSettings())[0] == "shown"
    assert (
        _verdict(gains | {"majority": gain(0.01, 0.1), "few-shot base": gain(-0.1, 0.2)}, 40, EvaluateSettings())[0]
        == "not shown"
    )
    assert (
        _verdict(gains | {"majority": gain(0.0, 0.1)}, 40, EvaluateSettings())[0] == "not shown"
    )  # zero is not above zero


def test_too_few_groups_give_no_verdict(toy):
    found = row(run(toy, tasks=("sentiment",), min_groups=11), "sentiment / headlines")
    assert found.verdict == "not shown" and "10 independent groups" in found.reason


def test_scored_against_itself_a_model_shows_nothing(toy):
    report = run(toy, controls={"shuffled labels": toy.adapter}, tasks=("sentiment",))
    found = row(report, "sentiment / headlines")
    assert found.differences["shuffled labels"].value == 0
    assert found.verdict == "not shown" and "shuffled labels" in found.reason


def test_the_report_is_the_same_again_and_holds_scores_of_items_but_not_their_texts(report, toy):
    again = run(toy)
    assert again.digest == report.digest
    items = report.item_scores["sentiment / headlines"]
    right = [
        record for record in toy.records.to_list() if record["split"] == "test" and record["source"] == "headlines"
    ]
    assert items.records == [record["id"] for record in right]
    assert len(set(items.prompts)) == len(right)
    mean = sum(items.scores["tuned"]["accuracy"]) / len(right)
    assert mean == pytest.approx(row(report, "sentiment / headlines").scores["tuned"]["accuracy"].value, abs=1e-6)
    assert "Norland" not in report.model_dump_json(exclude={"side_by_side"})


def test_a_limit_takes_the_same_items_whatever_the_institutions_key(toy):
    from datasets import Dataset

    rekeyed = Dataset.from_list(
        [dict(record, id=record["id"][::-1], group=f"k{record['group']}") for record in toy.records.to_list()],
        features=toy.records.features,
    )
    cheap = {"tasks": ("sentiment",), "systems": ("majority", "TF-IDF"), "max_items": 12}
    plain, other = run(toy, **cheap), run(toy, records=rekeyed, **cheap)
    assert row(plain, "sentiment / headlines").items == 12
    taken = [name[::-1] for name in other.item_scores["sentiment / headlines"].records]
    assert taken == plain.item_scores["sentiment / headlines"].records
    assert [row.scores for row in plain.rows] == [row.scores for row in other.rows]


def test_the_development_split_can_be_scored_for_choosing(toy):
    from datasets import Dataset

    moved = [
        dict(record, split="dev" if record["split"] == "test" else record["split"]) for record in toy.records.to_list()
    ]
    records = Dataset.from_list(moved, features=toy.records.features)
    cheap = {"tasks": ("sentiment",), "systems": ("majority",)}
    assert run(toy, records=records, split="dev", **cheap).split == "dev"
    with pytest.raises(EvaluationError, match="test part holds no row of task 'sentiment'"):
        run(toy, records=records, **cheap)


def test_a_task_without_rows_an_unknown_task_and_a_missing_label_are_errors(toy):
    from datasets import Dataset

    only = toy.records.filter(lambda record: record["task"] == "sentiment")
    with pytest.raises(EvaluationError, match="no row of task 'metal'"):
        run(toy, records=only)
    with pytest.raises(EvaluationError, match="did you mean 'sentiment'"):
        run(toy, tasks=("sentimemt",))
    rows = only.to_list()
    spoilt = next(record for record in rows if record["split"] == "test")
    spoilt["label"] = ""
    with pytest.raises(EvaluationError, match=f"record {spoilt['id']}"):
        run(toy, records=Dataset.from_list(rows, features=only.features), tasks=("sentiment",))


def test_a_model_that_gives_no_number_is_an_error_that_names_system_and_task(toy, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = AdapterFolder(tmp_path / "broken")
    shutil.copytree(toy.adapter.path, folder.path)
    weights = load_file(folder.path / "model.safetensors")
    weights["transformer.ln_f.weight"] = torch.full_like(weights["transformer.ln_f.weight"], math.nan)
    save_file(weights, folder.path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match="system 'tuned', task 'sentiment'"):
        run(toy, adapter=folder, tasks=("sentiment",), systems=("tuned",))


def test_an_unknown_metric_is_named_with_the_nearest(toy):
    tasks = {"sentiment": toy.tasks["sentiment"].model_copy(update={"metrics": ("accuracy", "macro_f")})}
    given = EvaluateSettings(systems=("majority",), **SETTINGS)
    with pytest.raises(EvaluationError, match="macro_f1"):
        evaluate(toy.records, toy.base, toy.tokenizer, toy.adapter, given, tasks, {})


def test_bits_are_those_of_a_plain_scorer(toy):
    """Parity with twenty lines that share nothing with the package but the tokenization."""
    import torch

    from domainlm.evaluate.systems import Speaker
    from domainlm.models import encode, load_adapter

    model, tokenizer = load_adapter(toy.base, toy.tokenizer, toy.adapter)
    task = toy.tasks["sentiment"]
    records = [
        record for record in toy.records.to_list() if record["source"] == "headlines" and record["split"] == "test"
    ][:12]
    prompts = [task.render(record)[0] for record in records]
    shown = "".join("".join(task.render(record)) + "\n\n" for record in records[:2])  # a shared start that is read once

    for texts in (prompts, [shown + prompt for prompt in prompts]):
        found = Speaker(model, tokenizer, batch=5).outcomes(task, texts, list(map(answer, records)))
        for text, record, outcome in zip(texts, records, found, strict=True):
            costs = {}
            for label in task.labels:
                ((head, tail),) = encode(tokenizer, [text], [f" {label}"])
                with torch.no_grad():
                    logits = model(torch.tensor([head + tail])).logits[0].double()
                picked = torch.log_softmax(logits, -1)[range(len(head) - 1, len(head) + len(tail) - 1), tail]
                costs[label] = -picked.sum().item() / math.log(2)
            assert outcome.bits == pytest.approx(costs[answer(record)], abs=1e-3)
            assert outcome.prediction == min(costs, key=costs.get)


def test_few_shot_examples_are_of_different_groups_balanced_and_fit_the_context(toy):
    from domainlm.evaluate.systems import Part, Speaker, worked_examples
    from domainlm.models import load_base

    train = [record for record in toy.records.to_list() if record["split"] == "train" and record["task"] == "sentiment"]
    test = [record for record in toy.records.to_list() if record["split"] == "test" and record["source"] == "headlines"]
    task = toy.tasks["sentiment"].model_copy(update={"few_shot": 9})
    examples = worked_examples(task, train, seed=1)
    assert len({record["group"] for record in examples}) == len(examples) == 9
    assert sorted(map(answer, examples)) == sorted(task.labels * 3)
    speaker = Speaker(*load_base(toy.base, None, "none"), 8)
    prompts, count = speaker.few_shot_prompts(Part(task, "headlines", test), examples)
    assert 0 < count < 9  # the toy's context holds 128 tokens
    assert prompts[0].count("##Answer:") == count + 1 and prompts[0].endswith("##Answer:")


def test_an_answer_that_the_tasks_own_end_mark_would_cut_is_an_error(toy):
    from domainlm.evaluate.systems import Part

    record = next(record for record in toy.records.to_list() if record["task"] == "metal")
    record["messages"][1]["content"] = "gold\nand more"
    with pytest.raises(EvaluationError, match="until"):
        Part(toy.tasks["metal"], "metals", [record])


def test_a_base_that_talks_on_is_judged_by_what_it_said_first(toy):
    assert toy.tasks["metal"].cut(" gold\n##Question: Name iron.") == "gold"


def test_the_pages_name_every_system_and_load_nothing(report):
    from domainlm.evaluate.render import render, table

    page, text = report.html(), render(report)
    columns, lines = table(report)
    assert columns[3:] == list(SYSTEMS) and len(lines) == 3 and all(len(line) == len(columns) for line in lines)
    for system in SYSTEMS:
        assert system in page and system in text
    for forbidden in ("http://", "https://", "<script", "src="):
        assert forbidden not in page
    hostile = report.model_copy(deep=True)
    hostile.side_by_side[0].answers["tuned"] = "<script>alert(1)</script>"
    assert "<script" not in hostile.html()


def test_the_finance_tasks_load_and_their_metrics_exist():
    from domainlm.evaluate.metrics import METRICS
    from domainlm.project import SOURCE_ROOT
    from domainlm.tasks import load_tasks

    tasks = load_tasks(SOURCE_ROOT / "domains/finance/tasks")
    for task in tasks.values():
        assert task.metrics and set(task.metrics) <= set(METRICS)
    cloze = tasks["definition"].cloze_prompt(
        {"messages": [{"role": "user", "content": "What is an Index?"}], "context": ""}
    )
    assert cloze == "Index is"
    assert not tasks["sentiment"].pure_format and not tasks["extraction"].pure_format


def test_a_misspelled_field_of_a_task_is_named(tmp_path):
    from domainlm.tasks import load_tasks

    (tmp_path / "a.yaml").write_text("name: a\nversion: 1\nkind: generation\nclaim: c\nuntill: ['x']\n")
    with pytest.raises(ConfigurationError, match="untill"):
        load_tasks(tmp_path)
