"""What a profile keeps of rows, and that no text can be read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.errors import ConfigurationError
from domainlm.keys import KeyRing
from domainlm.retrain.accepting.profile import BUCKETS, FIGURE, USE, Pack, Profile, Profiler, added
from domainlm.sources import RawRow, SourceSettings
from domainlm.tasks import Task

ONE, TWO = KeyRing("one", b"1" * 32), KeyRing("two", b"2" * 32)
SENTIMENT = Task(
    name="sentiment", version=1, kind="classification", claim="classification", labels=("positive", "negative")
)
PACK = Pack({"sentiment": SENTIMENT}, {("bond",): "Bond", ("green", "bond"): "Green bond", ("value", "up"): "value-up"})

LABELS = SourceSettings(
    name="news", uri="*.csv", form="labelled", task="sentiment", licence="CC0-1.0", consent="public",
    purpose="model-training", jurisdiction="us", language="en",
)  # fmt: skip
ASKED = LABELS.model_copy(update={"form": "pairs"})


def row(text: str, label: str = "positive", day: str = "2024-03-01", language: str = "en", context: str = "") -> RawRow:
    return RawRow(
        file="f", row=1, line=1, question=text, context=context, answer=label, group="", subject="", timestamp=day,
        id="", language=language, jurisdiction="kr",
    )  # fmt: skip


def profiled(*rows: RawRow, keys: KeyRing = ONE, labelled: bool = True) -> Profile:
    profiler = Profiler(LABELS if labelled else ASKED, PACK, keys)
    for one in rows:
        profiler.add(one)
    return profiler.profile(("text", "label"))


def test_rows_are_counted_by_what_occurs_in_them() -> None:
    found = profiled(
        row("Value-up plan of Kim Minsu beats value-up plan", day="2024-03-05T09:00:00+09:00"),
        row("Green bond, then bond", "negative", "2024-02-01"),
        row("bond 3.5% at 12,000 won", "negative", "", "??"),
    )
    assert (found.rows, found.labels) == (3, {"negative": 2, "positive": 1})
    assert found.terms == {"Bond": 2, "Green bond": 1, "value-up": 1}  # a longer term is not also the shorter one
    assert (found.first_day, found.last_day) == ("2024-02-01", "2024-03-05")
    assert found.languages == {"?": 1, "en": 2} and found.columns == ("text", "label")
    assert found.buckets[ONE.bucket(USE, "plan", BUCKETS)] == 1  # twice in one row
    assert found.buckets[ONE.bucket(USE, "bond", BUCKETS)] == 2
    assert found.buckets[ONE.bucket(USE, FIGURE, BUCKETS)] == 1
    assert found.words == sum(length * rows for length, rows in found.lengths.items()) == 19


def test_nothing_of_a_text_stands_in_it() -> None:
    text = profiled(row("Kim Minsu sells 7 Haneul shares", "Kim Minsu", language="kim")).model_dump_json().lower()
    assert not [word for word in ("kim", "minsu", "haneul", "shares") if word in text]
    assert '"labels":{"?":1}' in text


def test_the_answer_counts_where_it_is_no_label() -> None:
    asked, labelled = (profiled(row("What is it?", "a bond"), labelled=flag) for flag in (False, True))
    assert asked.terms == {"Bond": 1} and not asked.labels and not labelled.terms


def test_buckets_of_two_institutions_cannot_be_compared_and_those_of_a_rotated_key_can() -> None:
    text = row("Profit of the bank rises on higher demand for loans")
    first, other, rotated = (profiled(text, keys=keys) for keys in (ONE, TWO, ONE.succeeded_by(TWO)))
    assert first == rotated and first.key != other.key and first.buckets != other.buckets


def test_profiles_add_up_as_their_rows_do() -> None:
    rows = [row("profit rises", day="2024-01-02"), row("bond falls", "negative", "2023-12-01"), row("bond " * 300)]
    parts = [profiled(one) for one in rows]
    assert added(parts) == [profiled(*rows)] and added([]) == []
    assert [one.key for one in added([*parts, profiled(rows[0], keys=TWO)])] == sorted((ONE.origin, TWO.origin))
    other = parts[0].model_copy(update={"source": "wire"})
    assert [(one.source, one.rows) for one in added([*parts, other])] == [("news", 3), ("wire", 1)]
    assert [(one.source, one.rows) for one in added([*parts, other], by_source=False)] == [("", 4)]


def test_a_profile_survives_the_json_of_the_book() -> None:
    found = profiled(row("bond falls"), row("value-up plan"))
    assert Profile.model_validate(found.model_dump(mode="json")) == found
    assert Profile.model_validate_json(found.model_dump_json()) == found


def test_lengths_are_told_by_their_quantiles_and_stay_few() -> None:
    found = profiled(*(row("word " * length) for length in range(1, 101)))
    assert found.length_quantiles() == {0.05: 5, 0.25: 25, 0.5: 50, 0.75: 64, 0.95: 80}
    many = profiled(*(row("word " * length) for length in (1000, 1023, 1024, 5000)))
    assert many.lengths == {896: 2, 1024: 1, 4096: 1} and Profile(key="", task="").length_quantiles() == {}


def test_the_terms_of_a_pack_are_those_of_its_glossary_and_its_watched_ones(tmp_path: Path) -> None:
    pack = Pack.read(str(Path(__file__).resolve().parents[4] / "domains/finance"))
    assert {"Corporate Value-up Programme", "value-up", "metaverse", "Credit rating"} <= set(pack.terms.values())
    assert pack.found_in(["the", "corporate", "value", "up", "programme"]) == {"Corporate Value-up Programme"}
    assert pack.labels_of("sentiment") and pack.labels_of("definition") == () == pack.labels_of("none")


def test_a_file_of_terms_without_their_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "t.yaml").write_text("{name: t, version: 1, kind: number, claim: c}", encoding="utf-8")
    assert Pack.read(str(tmp_path)).terms == {}
    (tmp_path / "watched_terms.csv").write_text("word\nbond\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no column 'term'"):
        Pack.read(str(tmp_path))
