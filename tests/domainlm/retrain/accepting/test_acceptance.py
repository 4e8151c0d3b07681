"""A landed batch against its contract: what is accepted, what a person reads, and what only changed meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm import reading
from domainlm.agreement import label_agreement, require_agreement
from domainlm.errors import ConfigurationError, ContractViolation, SourceError
from domainlm.keys import KeyRing
from domainlm.retrain.accepting import acceptance, past
from domainlm.retrain.accepting.acceptance import Rules, accept, profile_sources
from domainlm.retrain.accepting.profile import Pack, Profile
from domainlm.retrain.batches import ACCEPTED, LANDED, QUARANTINED, WITHDRAWN, Batch, LandedFile, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.deciding.signals import BASELINE, Signals, profiles_of
from domainlm.retrain.settings import FeedSettings
from domainlm.sources import RowStream, SourceSettings
from domainlm.tasks import Task

KEYS = KeyRing("one", b"1" * 32)
SENTIMENT = Task(
    name="sentiment", version=1, kind="classification", claim="classification",
    labels=("positive", "neutral", "negative"),
)  # fmt: skip
DEFINITION = Task(name="definition", version=1, kind="generation", claim="format")
RULES = Rules(Pack({"sentiment": SENTIMENT, "definition": DEFINITION}, {("bond",): "Bond"}), KEYS)
TERMS = {
    "licence": "CC0-1.0", "consent": "public", "purpose": "model-training", "jurisdiction": "kr", "language": "en",
}  # fmt: skip
NAME = "Kim Minsu 900101-1234567"  # what no message may repeat
GOOD = "text,label,timestamp\nProfit rises,positive,2024-03-05\nBond falls,negative,2024-03-01\n"


def feed(**given: Any) -> FeedSettings:
    return FeedSettings(**({"name": "news", "uri": "*.csv", "form": "labelled", "task": "sentiment"} | TERMS | given))


CSV, JSONL = feed(), feed(uri="*.jsonl")
ASKED = feed(uri="*.csv", form="pairs", task="definition")


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return open_book(f"sqlite:///{tmp_path}/book.sqlite")


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    (tmp_path / "zone").mkdir()
    return tmp_path / "zone"


def land(book: Book, zone: Path, name: str, *contents: str | bytes, suffix: str = "csv", of: str = "news") -> Batch:
    """A batch of files with these contents, entered as the zone does it."""
    files = []
    for number, content in enumerate(contents):
        raw = content.encode() if isinstance(content, str) else content
        path = f"{name}-{number}.{suffix}"
        (zone / path).write_bytes(raw)
        sha256 = hashlib.sha256(raw).hexdigest()
        files.append(LandedFile(path=path, uri=f"{zone}/{path}", sha256=sha256, size_bytes=len(raw)))
    id = hashlib.sha256(json.dumps([of, *(file.sha256 for file in files)]).encode()).hexdigest()
    return book.land(Batch(id=id, number=0, feed=of, name=name, files=tuple(files), landed="2024-04-01T00:00:00+00:00"))


def lines(*rows: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def test_a_good_batch_is_accepted_with_its_rows_days_and_profile(book: Book, zone: Path) -> None:
    more = "text,label,timestamp\nBond steady,neutral,2024-03-31T23:00:00+09:00\n"
    found = accept(book, land(book, zone, "march", GOOD, more), CSV, RULES)
    assert (found.state, found.rows, [file.rows for file in found.files]) == (ACCEPTED, 3, [2, 1])
    assert (found.first_day, found.last_day) == ("2024-03-01", "2024-03-31")
    profile = Profile.model_validate(book.profile(found.id))
    assert profile.labels == {"negative": 1, "neutral": 1, "positive": 1} and profile.terms == {"Bond": 2}
    assert profile.columns == ("text", "label", "timestamp") and profile.key == KEYS.origin
    assert accept(book, found, CSV, RULES) == found  # asked again, nothing is read


def test_skipped_rows_count_for_the_file_and_not_for_the_batch(book: Book, zone: Path) -> None:
    skipping = feed(patterns={"text": "^news: (.+)$"}, unmatched="skip")
    found = accept(
        book, land(book, zone, "a", "text,label\nnews: up,positive\nad,neutral\nx,neutral\n"), skipping, RULES
    )
    assert (found.rows, found.files[0].rows) == (1, 3)
    found = accept(book, land(book, zone, "b", "text,label\nad,neutral\n"), skipping, RULES)
    assert found.state == QUARANTINED and "none of its rows matches the patterns" in found.reason


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f"text,label\nup,positive\n{NAME},{NAME}\n", r"bad-0\.csv, row 2 \(line 3\): column 'label' holds a label"),
        (f"text,label,timestamp\n{NAME},neutral,{NAME}\n", r"row 1 \(line 2\): has a timestamp that is not ISO 8601"),
        (f"text,label\n{NAME},\n", r"row 1 \(line 2\): has no label in column 'label'"),
        (f"text,label\n,{NAME}\n", r"row 1 \(line 2\): column 'text' holds no text"),
        (f"text,label\n{NAME},neutral,more\n", r"row 1 \(line 2\): has 3 cells where the header has 2"),
        (f'text,label\n"{NAME},neutral\n', "a quote is not closed"),
        (f"text,label\n{NAME}".encode() + b"\xe9,neutral\n", r"line 2: is not UTF-8"),
        ("text,label\nup,positive\n".encode("utf-16"), "is UTF-16"),
        ("text,label\n", "is empty: it holds no row"),
        (b"", "is empty: it holds no row"),
        (f"{NAME},positive\nup,positive\n", r"bad-0\.csv: has no column 'text' \(for text\)"),
        (f"{NAME},{NAME}\nup,positive\n", r"the header names column \(no known name\) twice"),
        ("headline,label\nup,positive\n", r"has no column 'text' \(for text\)"),
    ],
)  # fmt: skip
def test_a_fault_is_told_by_file_row_and_column_and_never_by_its_value(
    book: Book, zone: Path, content: str | bytes, told: str
) -> None:
    found = accept(book, land(book, zone, "bad", content), CSV, RULES)
    assert found.state == QUARANTINED and re.search(told, found.reason), found.reason
    history = f"{found} {book.transitions(found.id)}"
    assert not [part for part in NAME.split() if part in history] and "; " in found.reason


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lines({"text": "up", "label": "neutral"}, {"text": NAME, NAME: "neutral"}), "row 2 (line 2): has no 'label'"),
        (f'{{"text": "{NAME}", "{NAME}": 1, "{NAME}": 2}}\n', "has the key (no known name) twice"),
        (f'["{NAME}"]\n', "is not a JSON object"),
        (f'{{"text": "{NAME}"\n', "is not JSON"),
    ],
)
def test_faults_of_json_lines_are_told_the_same_way(book: Book, zone: Path, content: str, told: str) -> None:
    found = accept(book, land(book, zone, "bad", content, suffix="jsonl"), JSONL, RULES)
    assert found.state == QUARANTINED and told in found.reason, found.reason
    assert not [part for part in NAME.split() if part in found.reason]


PIECES = st.sampled_from(
    ["Minsu", "Minsu's", "'Minsu'", '"', "'", ",", "\n", "{", "}", ":", '"text"', '"label"', "text", "label", "neutral",
     "2024-03-01", "timestamp", "\\", "known: ", " ", "\r\n", "\x00", "\u2028", '"Minsu": "Minsu"'],
)  # fmt: skip


@given(st.lists(PIECES, max_size=25), st.booleans(), st.booleans())
@settings(max_examples=120, deadline=None)
def test_no_mangled_file_makes_a_message_repeat_it(pieces: list[str], lines_of_json: bool, before: bool) -> None:
    suffix, of = ("jsonl", JSONL) if lines_of_json else ("csv", CSV)
    with TemporaryDirectory() as folder:
        book, zone = open_book(f"sqlite:///{folder}/book.sqlite"), Path(folder)
        if before:
            good = lines({"text": "up", "label": "neutral"}) if lines_of_json else GOOD
            accept(book, land(book, zone, "good", good, suffix=suffix), of, RULES)
        start = '{"text": "' if lines_of_json else "text,label\n"
        for content in ("".join(pieces), start + "".join(pieces)):
            found = accept(book, land(book, zone, "bad", content, suffix=suffix), of, RULES)
            known = found.reason.replace("new Minsu", "")  # beside columns that are known, one that is not is named
            assert "Minsu" not in known and found.state in (ACCEPTED, QUARANTINED), found.reason
        book.close()


def test_labels_may_be_mapped_and_an_unmapped_one_stops(book: Book, zone: Path) -> None:
    mapped = feed(label_map={"up": "positive", "down": "negative"})
    assert accept(book, land(book, zone, "a", "text,label\nx,up\ny,down\n"), mapped, RULES).state == ACCEPTED
    found = accept(book, land(book, zone, "b", f"text,label\nx,{NAME}\n"), mapped, RULES)
    assert found.state == QUARANTINED and "label_map does not know; known labels: down, up" in found.reason
    foreign = feed(name="other", label_map={"up": "bullish"})
    found = accept(book, land(book, zone, "c", "text,label\nz,up\n", of="other"), foreign, RULES)
    assert found.state == QUARANTINED and "known labels: negative, neutral, positive" in found.reason


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text,label,timestamp,author\nx,neutral,,a\n", "new author"),
        ("text,label\nx,neutral\n", "missing timestamp"),
        ("text,label,day\nx,neutral,\n", "missing timestamp; new day"),
        ("label,text,timestamp\nneutral,x,\n", "in another order"),
        ("text,label,timestamp,\x1b[2J\nx,neutral,,\n", "new '\\x1b[2J'"),
        (f"text,label,{NAME},another,third\nx,neutral,,,\n", "missing timestamp; 3 that are not known"),
    ],
)
def test_other_columns_than_before_stop_with_the_difference_of_their_names(
    book: Book, zone: Path, content: str, told: str
) -> None:
    accept(book, land(book, zone, "first", GOOD), CSV, RULES)
    found = accept(book, land(book, zone, "second", content), CSV, RULES)
    assert found.state == QUARANTINED and told in found.reason and "Kim" not in found.reason
    assert "second-0.csv" in found.reason and "give it a feed of its own beside 'news'" in found.reason
    # a person's word does not help a CSV: it is read as one source with the others
    assert accept(book, book.release(found.id, "anna"), CSV, RULES).state == QUARANTINED
    other = feed(name="wider")
    again = land(book, zone, "second", content, of="wider")
    assert accept(book, again, other, RULES).state == ACCEPTED


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_needed_column_that_was_renamed_is_told_with_its_new_name(book: Book, zone: Path, suffix: str) -> None:
    def looked(name: str, label: str) -> Batch:
        rows = lines({"text": name, label: "neutral", "desk": "1"}) if suffix == "jsonl" else ""
        content = rows or f"text,{label},desk\n{name},neutral,1\n"
        return accept(book, land(book, zone, name, content, suffix=suffix), feed(uri=f"*.{suffix}"), RULES)

    assert looked("a", "label").state == ACCEPTED
    found = looked("b", "tone")
    assert found.state == QUARANTINED and "missing label; new tone" in found.reason, found.reason


def test_two_files_of_a_batch_with_other_columns_stop(book: Book, zone: Path) -> None:
    found = accept(book, land(book, zone, "a", GOOD, "label,text,timestamp\nneutral,x,\n"), CSV, RULES)
    assert found.state == QUARANTINED and "a-1.csv" in found.reason


def test_json_lines_may_leave_out_what_some_left_out_and_a_person_may_allow_more(book: Book, zone: Path) -> None:
    def looked(name: str, *rows: dict[str, Any]) -> Batch:
        return accept(book, land(book, zone, name, lines(*rows), suffix="jsonl"), JSONL, RULES)

    row = {"text": "up", "label": "neutral"}
    assert looked("a", row | {"desk": "1", "note": "x"}, row | {"desk": "1"}).state == ACCEPTED
    found = looked("b", row | {"desk": "2"})  # without note, which every batch had
    assert (
        found.state == QUARANTINED
        and "b: its columns are not those of the files before it: missing note" in found.reason
    )
    assert accept(book, book.release(found.id, "anna"), JSONL, RULES).state == ACCEPTED
    assert looked("c", row | {"desk": "3"}).state == ACCEPTED  # now it is known to be left out at times
    assert looked("d", row | {"desk": "4", "note": "x"}).state == ACCEPTED
    found = looked("e", row | {"desk": "5", "author": NAME})
    assert found.state == QUARANTINED and "new author" in found.reason and "Kim" not in found.reason


def test_content_that_was_replaced_or_removed_is_not_accepted_and_lands_anew(book: Book, zone: Path) -> None:
    batch = land(book, zone, "a", GOOD)
    other = GOOD.replace("rises", "falls")
    (zone / "a-0.csv").write_text(other)
    found = accept(book, batch, CSV, RULES)
    assert (
        found.state == WITHDRAWN and found.reason == "a-0.csv: its content was replaced after it landed; it lands anew"
    )
    assert accept(book, land(book, zone, "a", other), CSV, RULES).state == ACCEPTED
    (zone / "a-0.csv").write_text(GOOD)  # restored: what was withdrawn lands again
    assert accept(book, land(book, zone, "a", GOOD), CSV, RULES).state == ACCEPTED

    # malformed, but not what landed: not that batch's fault
    batch = land(book, zone, "b", GOOD.replace("Profit", "Loss"))
    (zone / "b-0.csv").write_text("text,label\n")
    assert accept(book, batch, CSV, RULES).state == WITHDRAWN
    batch = land(book, zone, "c", GOOD.replace("Profit", "Margin"))
    (zone / "c-0.csv").unlink()
    found = accept(book, batch, CSV, RULES)
    assert found.state == WITHDRAWN and "no longer in the zone" in found.reason


def test_a_file_that_cannot_be_read_now_leaves_the_batch_as_it_is(
    book: Book, zone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, opened = land(book, zone, "a", GOOD), reading.opened

    def refused(*given: Any, **named: Any) -> Any:
        raise PermissionError("s3://key:SECRET@zone")

    monkeypatch.setattr(reading, "opened", refused)
    with pytest.raises(SourceError, match=r"a-0\.csv: cannot be read now \(PermissionError\)") as raised:
        accept(book, batch, CSV, RULES)
    assert "SECRET" not in f"{raised.value!r}" and book.batch(batch.id).state == LANDED
    monkeypatch.setattr(reading, "opened", opened)
    assert accept(book, batch, CSV, RULES).state == ACCEPTED


@pytest.mark.parametrize("stranger", ["pipe", "/dev/zero", "folder", "larger", "other"])
def test_what_took_the_place_of_a_file_neither_hangs_nor_is_read_to_its_end(
    book: Book, zone: Path, stranger: str
) -> None:
    batch = land(book, zone, "a", GOOD)
    path = zone / "a-0.csv"
    path.unlink()
    if stranger == "pipe":
        os.mkfifo(path)  # nobody writes into it
    elif stranger == "folder":
        path.mkdir()
    elif stranger.startswith("/dev"):
        path.symlink_to(stranger)
    else:
        path.write_text(GOOD)
        os.truncate(path, (1 << 40) if stranger == "larger" else len(GOOD) - 1)  # a terabyte without blocks
    found = accept(book, batch, CSV, RULES)
    assert found.state == WITHDRAWN and found.reason.startswith("a-0.csv: ")


@pytest.mark.parametrize(
    ("content", "suffix", "feed"),
    [
        (b"text,label\n" + b"\0" * (20 << 20), "csv", CSV),
        (b'{"label":"positive","text":"' + b"a b " * (5 << 20) + b'"}\n', "jsonl", JSONL),
    ],
)
def test_a_line_without_end_is_told_and_not_held(
    book: Book, zone: Path, content: bytes, suffix: str, feed: FeedSettings
) -> None:
    batch = land(book, zone, "a", content, suffix=suffix)
    tracemalloc.start()
    try:
        found = accept(book, batch, feed, RULES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.state == QUARANTINED and "holds a line of more than 8 MiB" in found.reason
    assert peak < 3 * reading.LONGEST_LINE_BYTES, "the line was held whole"


def test_brackets_in_brackets_are_no_row(book: Book, zone: Path) -> None:
    found = accept(book, land(book, zone, "a", '{"text": ' + "[" * 200_000 + "\n", suffix="jsonl"), JSONL, RULES)
    assert found.state == QUARANTINED and "is not JSON" in found.reason


def test_a_document_without_end_is_told(book: Book, zone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_DOCUMENT_CHARACTERS", 1 << 20)
    texts = feed(uri="*.txt", form="documents")
    shorter, longer = ("".join(f"line {number}\n" for number in range(rows)) for rows in (50_000, 120_000))
    assert accept(book, land(book, zone, "a", f"{shorter}\n{shorter}x\n", suffix="txt"), texts, RULES).state == ACCEPTED
    found = accept(book, land(book, zone, "b", f"a\n\n{longer}", suffix="txt"), texts, RULES)
    assert found.state == QUARANTINED and "document from line 3 on: is longer than 1 million" in found.reason


def test_a_fault_of_our_own_is_no_fault_of_the_store(book: Book, zone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(acceptance.Profiler, "add", broken)
    with pytest.raises(KeyError):
        accept(book, land(book, zone, "a", GOOD), CSV, RULES)


def test_a_name_with_the_signs_of_a_pattern_is_that_very_file(book: Book, zone: Path) -> None:
    land(book, zone, "m1", GOOD.replace("Profit", "Loss"))
    found = accept(book, land(book, zone, "m[1]*", GOOD), CSV, RULES)
    assert found.state == ACCEPTED and found.rows == 2


def test_another_answer_than_in_an_earlier_batch_stops_before_a_training_would(book: Book, zone: Path) -> None:
    first = accept(book, land(book, zone, "a", "instruction,response\nWhat is FX?,Trade in money\n"), ASKED, RULES)
    assert first.state == ACCEPTED
    again = "instruction,response\nWhat is a bond?,A loan\nwhat is fx,trade in money\n"
    assert accept(book, land(book, zone, "b", again), ASKED, RULES).state == ACCEPTED
    other = f"instruction,response\nWhat is FX?,{NAME}\n"
    found = accept(book, land(book, zone, "c", other), ASKED, RULES)
    assert found.state == QUARANTINED and "has another answer than row 1" in found.reason
    assert "a-0.csv" in found.reason and "Kim" not in found.reason
    allowed = Rules(RULES.pack, KEYS, allow_conflicting_answers=True)
    assert accept(book, book.release(found.id, "anna", check_again=True), ASKED, allowed).state == ACCEPTED


def test_an_id_that_an_earlier_batch_has_stops(book: Book, zone: Path) -> None:
    numbered = feed(columns={"id": "id"})
    assert accept(book, land(book, zone, "a", "id,text,label\n1,x,neutral\n"), numbered, RULES).state == ACCEPTED
    found = accept(book, land(book, zone, "b", "id,text,label\n2,y,neutral\n1,z,neutral\n"), numbered, RULES)
    assert found.state == QUARANTINED and "row 2 (line 3): has the same id as row 1 of" in found.reason


SWAP = {"positive": "negative", "negative": "positive", "neutral": "neutral"}


def headlines(count: int, differing: int = 0) -> str:
    labels = [("positive", "negative", "neutral")[number % 3] for number in range(count)]
    labels = [SWAP[label] if number < differing else label for number, label in enumerate(labels)]
    return "text,label\n" + "".join(f"Headline {number},{label}\n" for number, label in enumerate(labels))


def test_swapped_labels_of_texts_that_were_there_before_stop(book: Book, zone: Path) -> None:
    assert accept(book, land(book, zone, "a", headlines(46)), CSV, RULES).state == ACCEPTED
    found = accept(book, land(book, zone, "b", headlines(46, differing=46)), CSV, RULES)
    assert (
        found.state == QUARANTINED and "b: 31 of 46 texts that were there before bear another label now" in found.reason
    )
    assert "at most 10% may; most often positive -> negative (16)" in found.reason
    # it was a correction: beside what it corrects it would stop every training
    found = accept(book, book.release(found.id, "anna"), CSV, RULES)
    told = "with it 31 of 46 texts of its feed bear two labels (0 of 46 without it), at most 10% may"
    assert found.state == QUARANTINED and told in found.reason
    book.withdraw(book.batches()[0].id, "corrected", "anna")
    assert accept(book, book.release(found.id, "anna"), CSV, RULES).state == ACCEPTED


def test_a_few_other_labels_or_few_common_texts_do_not_stop(book: Book, zone: Path) -> None:
    accept(book, land(book, zone, "a", headlines(46)), CSV, RULES)
    assert accept(book, land(book, zone, "b", headlines(47, differing=6)), CSV, RULES).state == ACCEPTED  # 4 of 46
    few = book.land(batch := land(book, zone, "c", headlines(19, differing=19), of="few"))
    few_feed = feed(name="few")
    assert accept(book, land(book, zone, "d", headlines(19), of="few"), few_feed, RULES).state == ACCEPTED
    assert accept(book, few, few_feed, RULES).state == ACCEPTED and batch.id == few.id  # `prepare` asks from 20 on


def test_labels_that_differ_a_little_in_each_batch_are_summed(book: Book, zone: Path) -> None:
    """Each drip is below the share that one batch may have; together they would stop every training."""
    whole = headlines(46).splitlines(keepends=True)
    assert accept(book, land(book, zone, "a", "".join(whole)), CSV, RULES).state == ACCEPTED
    states = []
    for number in range(4):
        rows = [f"Headline {row},{'neutral' if row % 3 < 2 else 'positive'}\n" for row in (2 * number, 2 * number + 1)]
        drip = land(book, zone, f"drip{number}", "text,label\n" + "".join(rows) + "".join(whole[20:45]))
        found = accept(book, drip, CSV, RULES)
        states.append(found.state)
    assert states == [ACCEPTED, ACCEPTED, QUARANTINED, QUARANTINED]  # 2, 4, 6 of 46
    assert "with it 6 of 46 texts of its feed bear two labels (4 of 46 without it)" in found.reason


def test_another_feed_of_the_same_task_counts_too(book: Book, zone: Path) -> None:
    desk = feed(name="desk", uri="desk/*.csv")
    rules = Rules(RULES.pack, KEYS, feeds=(CSV, desk, ASKED))
    assert accept(book, land(book, zone, "a", headlines(30)), CSV, rules).state == ACCEPTED
    found = accept(book, land(book, zone, "b", headlines(30, differing=6), of="desk"), desk, rules)
    told = "with it 4 of 30 texts that 'news' has too bear another label there (0 of 0 without it)"
    assert found.state == QUARANTINED and told in found.reason
    assert accept(book, land(book, zone, "c", headlines(30, differing=3), of="desk"), desk, rules).state == ACCEPTED


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_is_accepted_stops_prepare(book: Book, zone: Path, seed: int) -> None:
    """Against the sum that `prepare` itself makes, over batches with some labels at random."""
    chance = random.Random(seed)
    (zone / "static.csv").write_text(headlines(40))
    static = SourceSettings(name="static", uri=f"{zone}/static.csv", form="labelled", task="sentiment", **TERMS)
    feeds = (CSV, feed(name="desk", uri="desk/*.csv"))
    rules = Rules(RULES.pack, KEYS, sources=(static,), feeds=feeds)

    def rows_of(source: SourceSettings) -> list[tuple[str, str, str, str]]:
        return [("sentiment", source.name, row.question.lower(), row.answer) for row in RowStream(source)]

    kept, states = rows_of(static), Counter()
    for number in range(40):
        one = chance.choice(feeds)
        rows = [
            (row, ("positive", "negative", "neutral")[(row + (chance.random() < 0.06)) % 3])
            for row in chance.sample(range(60), 25)
        ]
        content = "text,label\n" + "".join(f"Headline {row},{label}\n" for row, label in rows)
        found = accept(book, land(book, zone, f"b{number}", content, of=one.name), one, rules)
        states[found.state] += 1
        if found.state == ACCEPTED:
            kept += rows_of(past.alone(one, found.files[0]))
            require_agreement(label_agreement(kept), rules.max_label_disagreement)
        elif "with it" in found.reason:  # else the batch alone says too much
            with pytest.raises(ContractViolation):
                require_agreement(label_agreement(kept + rows_of(past.alone(one, found.files[0]))), 0.1)
    assert states[ACCEPTED] > 2 and states[QUARANTINED] > 2, "nothing was tried"


def test_labels_of_a_file_that_was_taken_away_do_not_count(book: Book, zone: Path) -> None:
    first = accept(book, land(book, zone, "a", headlines(30)), CSV, RULES)
    book.mark_removed(first.id, ["a-0.csv"])
    rules = Rules(RULES.pack, KEYS)
    assert accept(book, land(book, zone, "b", headlines(31, differing=31)), CSV, rules).state == ACCEPTED


def test_labels_of_static_sources_count_too(book: Book, zone: Path) -> None:
    (zone / "static.csv").write_text(headlines(30))
    static = SourceSettings(name="static", uri=f"{zone}/static.csv", form="labelled", task="sentiment", **TERMS)
    rules = Rules(RULES.pack, KEYS, sources=(static, static.model_copy(update={"uri": f"{zone}/gone.csv"})))
    found = accept(book, land(book, zone, "a", headlines(30, differing=30)), CSV, rules)
    assert found.state == QUARANTINED and "20 of 30 texts" in found.reason
    assert accept(book, land(book, zone, "b", headlines(31)), CSV, rules).state == ACCEPTED


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read from here on, as they are."""
    found: list[str] = []
    stream = RowStream

    def noted(source: SourceSettings) -> RowStream:
        found.extend(source.parts)
        return stream(source)

    monkeypatch.setattr(past, "RowStream", noted)
    return found


@pytest.mark.parametrize("of", [CSV, ASKED])
def test_earlier_batches_are_read_once_in_a_process(
    book: Book, zone: Path, monkeypatch: pytest.MonkeyPatch, of: FeedSettings
) -> None:
    def content(name: str) -> str:
        return f"text,label\n{name},neutral\n" if of is CSV else f"instruction,response\n{name}?,{name}\n"

    first = [accept(book, land(book, zone, name, content(name)), of, RULES) for name in "ab"]
    found, rules = reads(monkeypatch), Rules(RULES.pack, KEYS)
    for name in "cde":
        assert accept(book, land(book, zone, name, content(name)), of, rules).state == ACCEPTED
    assert found == ["a-0.csv", "b-0.csv"] and all(batch.state == ACCEPTED for batch in first)
    # one that is taken back meanwhile is forgotten
    book.withdraw(first[0].id, "asked by its owner", "anna")
    accept(book, land(book, zone, "f", content("f")), of, rules)
    assert found[2:] == ["b-0.csv", "c-0.csv", "d-0.csv", "e-0.csv"]


def test_nothing_of_a_refused_batch_is_held_against_the_next(book: Book, zone: Path) -> None:
    rules = Rules(RULES.pack, KEYS)
    assert (
        accept(book, land(book, zone, "a", "instruction,response\nWhat is FX?,money\n"), ASKED, rules).state == ACCEPTED
    )
    bad = "instruction,response\nWhat is a bond?,wrong\nWhat is FX?,other\n"
    assert accept(book, land(book, zone, "b", bad), ASKED, rules).state == QUARANTINED
    good = "instruction,response\nWhat is a bond?,a loan\n"
    assert accept(book, land(book, zone, "c", good), ASKED, rules).state == ACCEPTED


def test_a_feed_with_a_limit_or_an_unknown_task_is_a_fault_of_the_configuration(book: Book, zone: Path) -> None:
    batch = land(book, zone, "a", GOOD)
    with pytest.raises(ConfigurationError, match="a feed has no limit"):
        accept(book, batch, feed(limit=5), RULES)
    with pytest.raises(ConfigurationError, match="unknown task 'sentimnt'"):
        accept(book, batch, feed(task="sentimnt"), RULES)
    assert book.batch(batch.id).state == LANDED


def test_documents_are_accepted_without_labels(book: Book, zone: Path) -> None:
    texts = feed(name="reports", uri="*.md", form="documents", task="")
    found = accept(
        book, land(book, zone, "a", "# One\n\ntext\n\n# Two\n\nbond\n", suffix="md", of="reports"), texts, RULES
    )
    assert (found.state, found.rows) == (ACCEPTED, 2)


def test_rows_stream_by(book: Book, zone: Path) -> None:
    def peak(rows: int) -> int:
        rest = "".join(f"Profit of firm {number % 50} rises,positive,2024-03-05\n" for number in range(rows))
        batch = land(book, zone, f"of{rows}", f"text,label,timestamp\n{rest}")
        tracemalloc.start()
        assert accept(book, batch, CSV, RULES).rows == rows
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(100)  # imports
    assert peak(20_000) < peak(2_000) + 300_000  # bytes; the larger file has 800 kB


def test_static_sources_are_profiled_once_for_their_content(
    book: Book, zone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    stream = acceptance.RowStream
    monkeypatch.setattr(acceptance, "RowStream", lambda source: read.append(source.name) or stream(source))
    (zone / "a.csv").write_text(GOOD)
    (zone / "b.csv").write_text(GOOD.replace("Bond", "Share"))
    sources = [
        SourceSettings(name=name, uri=f"{zone}/{name}.csv", form="labelled", task="sentiment", split=split, **TERMS)
        for name, split in (("a", ""), ("b", ""), ("held", "test"), ("gone", ""))
    ]
    (zone / "held.csv").write_text(GOOD)
    for _ in range(2):
        profile_sources(book, sources, RULES)
    assert read == ["a", "b"]  # nobody trains on test rows; what is not there is passed over
    known = profiles_of(book, [], Signals(now="2024-04-01T00:00:00+00:00")).known
    assert [(one.source, one.rows, one.terms) for one in known] == [("a", 2, {"Bond": 1}), ("b", 2, {})]
    (zone / "b.csv").write_text(GOOD)
    profile_sources(book, sources, RULES)
    assert read == ["a", "b", "b"] and len(book.value(BASELINE).split()) == 2
    known = profiles_of(book, [], Signals(now="2024-04-01T00:00:00+00:00")).known
    assert [one.terms for one in known] == [{"Bond": 1}, {"Bond": 1}]
    profile_sources(book, [], RULES)
    assert not profiles_of(book, [], Signals(now="2024-04-01T00:00:00+00:00")).known


def test_an_accepted_batch_stays_accepted_after_it_was_claimed(book: Book, zone: Path) -> None:
    batch = accept(book, land(book, zone, "a", GOOD), CSV, RULES)
    claim = book.claim("lane", "tina", 60)
    assert claim and accept(book, batch, CSV, RULES).state == ACCEPTED
    book.accept_result(claim, Result(run_id="r", identity="1" * 64))
    assert accept(book, book.batch(batch.id), CSV, RULES).state == "trained"
