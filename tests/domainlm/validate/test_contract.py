"""The contract: each fault is caught by its expectation, named by row ids, and never quoted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domainlm.errors import ConfigurationError, ContractViolation
from domainlm.validate import ContractVerdict, read_suite
from domainlm.validate import validate as check
from domainlm.validate.settings import ValidateSettings

RECORDS, CORPUS = "domains/finance/contracts/records.json", "domains/finance/contracts/corpus.json"


def validate(records: Any, suite: str | Path = RECORDS, **settings: Any) -> ContractVerdict:
    return check(records, read_suite(suite), ValidateSettings(**settings))


LABELS = ("positive", "neutral", "negative")
SECRET = "Maria Planted"


@pytest.fixture
def good(record) -> list[dict[str, Any]]:
    """Records that keep the contract: headlines, definitions and a document."""
    splits = ["train", "train", "train", "test"]
    rows = [
        record(f"Shares of company {n} moved today", label=LABELS[n % 3], split=splits[n % 4], row=n + 1)
        for n in range(40)
    ]
    rows += [record(f"What is term {n}?", f"It is thing {n}.", split=splits[n % 4], row=n + 1) for n in range(40)]
    rows += [record(f"A longer document about topic {n}, with a second clause.", split="train") for n in range(10)]
    return [dict(row) for row in rows]


def spoil(
    rows: list[dict], change: Callable[[dict], Any], where: Callable[[dict], bool] = lambda _: True, count: int = 1
) -> list[str]:
    """Change the first rows that fit; returns their ids (as they were)."""
    chosen = [row for row in rows if where(row)][:count]
    assert len(chosen) == count
    ids = [row["id"] for row in chosen]
    for row in chosen:
        change(row)
    return ids


def labelled(row: dict) -> bool:
    return bool(row["label"])


def answered(row: dict) -> bool:
    return len(row["messages"]) == 2


def test_good_records_pass_and_every_expectation_was_checked(dataset, good) -> None:
    verdict = validate(dataset(*good))
    in_file = json.loads(_suite_file().read_text())
    assert verdict.success and len(verdict.results) == len(in_file["expectations"])
    assert verdict.test_rows == {"definition": 10, "sentiment": 10}
    assert verdict.rows == 90
    assert validate(dataset(*good)).digest == verdict.digest


def _suite_file() -> Path:
    from domainlm.project import resolve

    return resolve(RECORDS)


FAULTS: dict[str, tuple[Callable[[dict], Any], Callable[[dict], bool], str]] = {
    "a plain hash as id": (lambda row: row.update(id="f" * 64), labelled, "match_regex of id"),
    "a name as subject": (lambda row: row.update(subjects=[SECRET]), labelled, "of unkeyed_subjects"),
    "a name as group": (lambda row: row.update(group=SECRET), labelled, "of group"),
    "an uncleared licence": (lambda row: row.update(licence="CC-BY-NC-4.0"), labelled, "of licence"),
    "another purpose": (lambda row: row.update(purpose="marketing"), labelled, "of purpose"),
    "no consent": (lambda row: row.update(consent=""), labelled, "of consent"),
    "a foreign jurisdiction": (lambda row: row.update(jurisdiction="xx"), labelled, "of jurisdiction"),
    "a language nobody checked": (lambda row: row.update(language="de"), labelled, "of language"),
    "a timestamp of another kind": (lambda row: row.update(timestamp=f"born {SECRET}"), labelled, "of timestamp"),
    "no split": (lambda row: row.update(split=""), labelled, "of split"),
    "an unknown label": (lambda row: row.update(label=SECRET), labelled, "of label"),
    "a label on a definition": (lambda row: row.update(label="positive"), answered, "of label"),
    "an empty answer": (lambda row: row["messages"][1].update(content=" "), answered, "of answer_characters"),
    "an empty question": (lambda row: row["messages"][0].update(content=""), answered, "of question_characters"),
    "no turn": (lambda row: row.update(messages=[]), answered, "of turns"),
    "a turn of the system": (lambda row: row["messages"][0].update(role="system"), answered, "of turns"),
    "an endless answer": (lambda row: row["messages"][1].update(content="x" * 5000), answered, "of answer_characters"),
    "nothing but placeholders": (
        lambda row: row["messages"][0].update(content="[PERSON_1] [EMAIL_ADDRESS_2]!"), labelled,
        "of words_beside",
    ),
    "damaged text": (
        lambda row: row["messages"][0].update(content=f"{SECRET} \ufffd\x07 up"), labelled, "of damaged_characters"
    ),
    "row zero": (lambda row: row.update(row=0), labelled, "of row"),
    "a bucket out of range": (lambda row: row.update(split_bucket=10_000), labelled, "of split_bucket"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_caught_and_named_by_its_id(dataset, good, fault: str) -> None:
    change, where, named = FAULTS[fault]
    spoil(good, change, where)
    spoiled = next(row["id"] for row in good if where(row) or not row["messages"] or row["id"] == "f" * 64)
    with pytest.raises(ContractViolation) as caught:
        validate(dataset(*good))
    message = str(caught.value)
    assert named in message and SECRET not in message and "[PERSON_1]" not in message
    line = next(line for line in message.splitlines() if named in line)
    assert re.search(r"1 of \d+ rows, ids [0-9a-f]{32}", line)
    assert spoiled in line


def test_equal_ids_are_caught(dataset, good) -> None:
    good[1]["id"] = good[0]["id"]
    with pytest.raises(ContractViolation, match=f"unique of id: 2 of 90 rows, ids {good[0]['id']}"):
        validate(dataset(*good))


def test_a_group_in_two_splits_is_caught(dataset, good) -> None:
    first, other = (next(row for row in good if row["split"] == split) for split in ("train", "test"))
    other["group"] = first["group"]
    with pytest.raises(ContractViolation, match="group_splits: 2 of 90 rows") as caught:
        validate(dataset(*good))
    assert first["id"] in str(caught.value) and other["id"] in str(caught.value)


def test_one_class_that_swallows_the_others_is_caught(dataset, good) -> None:
    spoil(good, lambda row: row.update(label="positive"), labelled, 38)
    with pytest.raises(ContractViolation, match=r"label_share where task == \"sentiment\": 3\d of 40 rows"):
        validate(dataset(*good))


def test_swapped_classes_between_two_sources_are_caught(dataset, good, record) -> None:
    swapped = {"positive": "neutral", "neutral": "positive", "negative": "negative"}
    texts = [(row, row["messages"][0]["content"]) for row in good if row["label"]]
    others = [
        record(text, label=swapped[row["label"]], source="other", split=row["split"], group=row["group"])
        for row, text in texts
    ]
    with pytest.raises(ContractViolation, match="text_labels"):
        validate(dataset(*good, *others))
    same = [
        record(text, label=row["label"], source="other", split=row["split"], group=row["group"]) for row, text in texts
    ]
    assert validate(dataset(*good, *same)).success


def test_more_ids_than_shown_are_counted_and_cut(dataset, good) -> None:
    spoil(good, lambda row: row.update(licence="CC-BY-NC-4.0"), count=25)
    with pytest.raises(ContractViolation) as caught:
        validate(dataset(*good))
    line = next(line for line in str(caught.value).splitlines() if "of licence" in line)
    assert "25 of 90 rows" in line and ", ..." in line
    assert len(re.findall(r"[0-9a-f]{32}", line)) == 10


def test_every_broken_expectation_is_named_at_once(dataset, good) -> None:
    spoil(good, lambda row: row.update(licence="?"))
    spoil(good, lambda row: row.update(language="fr"), answered)
    with pytest.raises(ContractViolation, match="2 of") as caught:
        validate(dataset(*good))
    assert "of licence" in str(caught.value) and "of language" in str(caught.value)


def test_a_task_without_test_rows_is_caught_unless_it_is_for_training_only(dataset, good) -> None:
    rows = [row for row in good if not (row["label"] and row["split"] == "test")]
    with pytest.raises(ContractViolation, match="task sentiment: 0 test rows, at least 1 wanted"):
        validate(dataset(*rows))
    assert validate(dataset(*rows), train_only_tasks=("sentiment",)).success
    with pytest.raises(ContractViolation, match="task definition: 10 test rows, at least 11"):
        validate(dataset(*good), min_test_rows=11)


def test_a_foreign_schema_is_caught(dataset, good) -> None:
    with pytest.raises(ContractViolation, match=r"columns differ.*: label"):
        validate(dataset(*good).remove_columns("label"))


def test_plain_documents_have_a_contract_of_their_own(dataset, good, record) -> None:
    documents = [
        record(f"Document {n} says that markets moved and that they will move.", split="train") for n in range(30)
    ]
    assert validate(dataset(*documents), CORPUS).success
    with pytest.raises(ContractViolation, match="of turns"):
        validate(dataset(*good), CORPUS)


def test_no_value_leaves_even_when_a_whole_column_is_wrong(dataset, good, caplog, capfd) -> None:
    for row in good:
        row.update(licence=SECRET, timestamp=SECRET)
        row["messages"][0]["content"] += f" {SECRET} \ufffd"
    with pytest.raises(ContractViolation) as caught:
        validate(dataset(*good))
    printed = capfd.readouterr()
    for text in (str(caught.value), repr(caught.value), caplog.text, printed.out, printed.err):
        assert SECRET not in text


# ---- the suite itself


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., Path]:
    def write(*expectations: Any, name: str = "own") -> Path:
        path = tmp_path / "own.json"
        path.write_text(json.dumps({"name": name, "expectations": expectations}))
        return path

    return write


ID_IS_UNIQUE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}


def test_a_misspelled_expectation_is_refused_and_not_dropped(dataset, good, suite) -> None:
    wrong = {"type": "expect_column_values_to_be_uniqe", "kwargs": {"column": "id"}}
    with pytest.raises(ConfigurationError, match=r"contract own, expectation 2: unknown expectation.*uniqe") as caught:
        validate(dataset(*good), suite(ID_IS_UNIQUE, wrong))
    assert "did you mean 'expect_column_values_to_be_unique'" in str(caught.value)


def test_a_misspelled_column_or_argument_is_refused(dataset, good, suite) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown column 'licences'.*\n.*'licence'"):
        validate(dataset(*good), suite({"type": ID_IS_UNIQUE["type"], "kwargs": {"column": "licences"}}))
    with pytest.raises(ConfigurationError, match="value_sett"):
        wrong = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "id", "value_sett": []}}
        validate(dataset(*good), suite(wrong))


def test_an_expectation_that_cannot_be_computed_counts_as_broken(dataset, good, suite) -> None:
    wrong = {
        "type": ID_IS_UNIQUE["type"],
        "kwargs": {"column": "id", "row_condition": "tsk == 'x'", "condition_parser": "pandas"},
    }
    with pytest.raises(ContractViolation, match="could not be computed"):
        validate(dataset(*good), suite(wrong))


def test_a_warning_is_reported_and_stops_nothing(dataset, good, suite) -> None:
    spoil(good, lambda row: row.update(licence="MIT"))
    mild = {
        "type": "expect_column_values_to_be_in_set",
        "severity": "warning",
        "kwargs": {"column": "licence", "value_set": ["CC0-1.0"]},
    }
    verdict = validate(dataset(*good), suite(mild))
    assert verdict.success and [result.success for result in verdict.results] == [False]
    assert (verdict.summary()["warnings"], verdict.summary()["expectations_broken"]) == (1, 0)
    assert verdict.results[0].ids == (good[0]["id"],)


def test_a_suite_that_is_missing_empty_or_no_json_is_refused(dataset, good, suite, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"does not exist.*\n.*records\.json"):
        validate(dataset(*good), "domains/finance/contracts/record.json")
    with pytest.raises(ConfigurationError, match="not a suite"):
        validate(dataset(*good), suite())
    (tmp_path / "own.json").write_text("{")
    with pytest.raises(ConfigurationError, match="not JSON"):
        validate(dataset(*good), tmp_path / "own.json")


def test_the_swapped_classes_of_a_published_set_are_caught(dataset, record, request: pytest.FixtureRequest) -> None:
    """`finlora/tfns_test.jsonl` labels the tweets of `fingpt_tfns` with positive and neutral swapped."""
    import csv

    folder = Path(request.config.getoption("--shared-data") or "nowhere")
    if not (folder / "finlora").is_dir() or not (folder / "fingpt_tfns").is_dir():
        pytest.skip("needs the public data sets finlora and fingpt_tfns: give their parent folder with --shared-data")
    names = {"0": "negative", "1": "positive", "2": "neutral"}
    with open(folder / "fingpt_tfns" / "sent_valid.csv", encoding="utf-8", newline="") as stream:
        first = [(row["text"], names[row["label"]]) for row in csv.DictReader(stream)]
    second = []
    for line in (folder / "finlora" / "tfns_test.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        text = re.search(r"(?s)Input: (.*)\nAnswer:", entry["context"])
        assert text
        second.append((text[1], entry["target"]))
    rows = [
        record(
            text, label=label, source=source, row=row, split="test" if row % 4 == 0 else "train", group=f"{row:032x}"
        )
        for source, entries in (("fingpt", first), ("finlora", second))
        for row, (text, label) in enumerate(entries, start=1)
    ]
    with pytest.raises(ContractViolation, match=r"text_labels: \d{4} of 4776 rows"):
        validate(dataset(*rows))


def test_a_suite_that_was_read_before_is_the_one_that_counts(dataset, good, suite) -> None:
    content = read_suite(suite(ID_IS_UNIQUE, name="read-before"))
    verdict = check(dataset(*good), content, ValidateSettings())
    assert (verdict.suite, len(verdict.results)) == ("read-before", 1)
    with pytest.raises(ConfigurationError, match="not a suite"):
        check(dataset(*good), {"name": "passes anything", "expectations": []}, ValidateSettings())
