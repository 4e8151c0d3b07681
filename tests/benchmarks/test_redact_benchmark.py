"""The judge of redaction, judged: what counts as found, that labels lie where the values are, that halves are apart."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from domainlm.errors import ConfigurationError
from domainlm.redact.engine import AnalysisFailed, Finding
from domainlm.redact.quality import UNJUDGED, LabelledText, Score, Span, measure, misses, read
from domainlm.redact.settings import ENTITIES, STRUCTURED

ROOT = Path(__file__).resolve().parent.parent.parent
PACK_SET = ROOT / "domains" / "finance" / "labelled" / "texts.jsonl"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/redact.py, which is a program and no package."""
    pytest.importorskip("faker")
    found = importlib.util.spec_from_file_location("redact_benchmark", ROOT / "benchmarks" / "redact.py")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up by name
    found.loader.exec_module(module)
    return module


def finding(text: str, value: str, entity: str) -> Finding:
    start = text.index(value)
    return Finding(start, start + len(value), entity, value, 1.0)


def labelled(text: str, **values: str) -> LabelledText:
    spans = [Span(text.index(value), text.index(value) + len(value), entity) for entity, value in values.items()]
    return LabelledText(text, "en", spans=tuple(sorted(spans, key=lambda span: span.start)))


def scored(text: LabelledText, *findings: Finding) -> Score:
    score = Score()
    score.add(text, findings)
    return score


CARD = "Card 4111 1111 1111 1111, holder Ann Lee."


def test_a_value_is_found_when_all_its_letters_and_digits_are_covered() -> None:
    text = labelled(CARD, CREDIT_CARD="4111 1111 1111 1111", PERSON="Ann Lee")
    whole = scored(text, finding(CARD, "4111 1111 1111 1111,", "CREDIT_CARD"), finding(CARD, "Ann Lee", "PERSON"))
    assert whole.total().found == 2 and whole.leaking == 0 and whole.covered == whole.characters == 22
    assert whole.entity("CREDIT_CARD").exact == 0 and whole.entity("PERSON").exact == 1
    pieces = scored(text, *(finding(CARD, part, "PERSON") for part in ("Ann", "Lee")))
    assert pieces.entity("PERSON").found == 1 and pieces.entity("PERSON").right == 2
    part = scored(text, finding(CARD, "4111 1111 1111 111", "CREDIT_CARD"))
    assert part.entity("CREDIT_CARD").found == 0 and part.leaking == 1 and part.covered == 15


def test_a_value_under_another_name_is_a_miss_but_no_leak() -> None:
    text = labelled(CARD, CREDIT_CARD="4111 1111 1111 1111")
    score = scored(text, finding(CARD, "4111 1111 1111 1111", "US_BANK_NUMBER"))
    assert score.entity("CREDIT_CARD").found == 0
    assert (score.entity("US_BANK_NUMBER").findings, score.entity("US_BANK_NUMBER").right) == (1, 0)
    assert score.leaking == 0 and score.covered == 16 and score.entity("CREDIT_CARD").hidden == 1
    assert misses(text, [finding(CARD, "4111 1111 1111 1111", "US_BANK_NUMBER")]) == Counter(CREDIT_CARD=1)


def test_what_is_not_judged_is_neither_right_nor_wrong() -> None:
    text = "Jerome Powell spoke; Ann Lee listened."
    public = labelled(text, **{UNJUDGED: "Jerome Powell", "PERSON": "Ann Lee"})
    score = scored(public, finding(text, "Jerome Powell", "PERSON"))
    assert (score.entity("PERSON").spans, score.entity("PERSON").findings, score.leaking) == (1, 0, 1)
    assert score.flagged == 0, "nor does it count against the character precision"
    harmless = scored(labelled(text, **{UNJUDGED: "Jerome Powell"}), finding(text, "Jerome Powell", "PERSON"))
    assert (harmless.clean, harmless.alarmed) == (1, 0)


def test_a_finding_in_a_harmless_text_is_a_false_alarm() -> None:
    text = "Order 20240315 was filled."
    score = scored(LabelledText(text, "en"), finding(text, "20240315", "US_BANK_NUMBER"))
    assert (score.clean, score.alarmed, score.documents) == (1, 1, 0)
    assert score.total().precision.rate == 0


def test_f2_weighs_recall_four_times() -> None:
    score = Score()
    text = "a1 b2 c3 d4"
    score.add(labelled(text, PERSON="a1"), [finding(text, "a1", "PERSON"), finding(text, "b2", "PERSON")])
    score.add(labelled(text, PERSON="c3"), [finding(text, "c3", "PERSON")])
    assert score.entity("PERSON").f2 == pytest.approx(5 * (2 / 3) / (4 * 2 / 3 + 1), abs=1e-5)


# -- shapes and values


def test_the_halves_are_disjoint_and_large_enough(benchmark: ModuleType) -> None:
    halves = {half: benchmark.read_shapes(half) for half in "ab"}
    skeletons = {
        half: {re.sub(r"\W+|\{[^}]*\}", " ", shape.text) for shape in shapes} for half, shapes in halves.items()
    }
    assert not skeletons["a"] & skeletons["b"]
    counts = Counter(shape.language for shapes in halves.values() for shape in shapes)
    assert counts["en"] >= 240 and counts["ko"] >= 160
    for half, shapes in halves.items():
        assert sum(not shape.entities for shape in shapes) >= 0.25 * len(shapes), half
        for entity in ENTITIES:
            holders = sum(bool(shape.entities[entity]) for shape in shapes)
            assert holders >= 5, f"{entity} stands in {holders} shapes of half {half}"


def test_labels_lie_where_the_values_are(benchmark: ModuleType) -> None:
    texts = benchmark.draw(benchmark.read_shapes("a"), 300, 0, seed=7)
    assert texts == benchmark.draw(benchmark.read_shapes("a"), 300, 0, seed=7)
    assert texts != benchmark.draw(benchmark.read_shapes("a"), 300, 0, seed=8)
    for text in texts:
        assert not re.search(r"\{[A-Z_]{3,}[}:]|\((은|이|을|와|으|아|이랑)\)", text.text), text.shape
        for span in text.spans:
            value = text.text[span.start : span.end]
            assert value == value.strip() and any(sign.isalnum() for sign in value)
            if span.entity == "EMAIL_ADDRESS":
                assert value.count("@") == 1
            if span.entity in ("KR_RRN", "CREDIT_CARD", "US_SSN"):
                assert {"KR_RRN": 13, "US_SSN": 9}.get(span.entity, 12) <= sum(sign.isdigit() for sign in value)


def test_every_structured_entity_gets_its_number_of_values(benchmark: ModuleType) -> None:
    texts = benchmark.draw(benchmark.read_shapes("b"), 10, 40, seed=3)
    counts = Counter(span.entity for text in texts for span in text.spans)
    assert all(counts[entity] >= 40 for entity in STRUCTURED)


def test_check_digits_are_right() -> None:
    pytest.importorskip("faker")
    from domains.makers.identities import Identities, luhn_digit

    assert luhn_digit("7992739871") == "3", "the example of ISO/IEC 7812-1's annex"
    values = Identities(11, disturb=0)
    for _ in range(50):
        card = re.sub(r"\D", "", values.draw("CREDIT_CARD", "en"))
        assert luhn_digit(card[:-1]) == card[-1]
        iban = re.sub(r"\W", "", values.draw("IBAN_CODE", "en")).upper()
        assert int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1
        routing = values.draw("ABA_ROUTING_NUMBER", "en")
        assert sum(int(digit) * weight for digit, weight in zip(routing, (3, 7, 1) * 3, strict=True)) % 10 == 0
        nhs = re.sub(r"\D", "", values.draw("UK_NHS", "en"))
        assert sum(int(digit) * weight for digit, weight in zip(nhs, range(10, 0, -1), strict=True)) % 11 == 0


# -- other people's labelled files


def test_a_labelled_file_gets_fresh_identities_by_seed(benchmark: ModuleType, tmp_path: Path) -> None:
    text = "Ann Lee of Acme moved to Oslo; card 4111111111111111. Ann Lee is 44 and likes jazz."
    values = [("Ann Lee", "PERSON"), ("Acme", "ORGANIZATION"), ("Oslo", "GPE"), ("4111111111111111", "CREDIT_CARD")]
    spans = [
        {"entity_type": kind, "start_position": text.index(value), "end_position": text.index(value) + len(value)}
        for value, kind in [*values, ("jazz", "MUSIC")]
    ]
    last = text.rindex("Ann Lee")
    spans.append({"entity_type": "PERSON", "start_position": last, "end_position": last + 7})
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps([{"full_text": text, "spans": spans}]))
    (one,), unknown = benchmark.relexicalised(path, seed=1)
    assert (
        unknown == Counter(MUSIC=1) and "jazz" in one.text and "Ann Lee" not in one.text and "4111111" not in one.text
    )
    first, place, card, again, music = one.spans
    assert one.text[first.start : first.end] == one.text[again.start : again.end], "one person stays one person"
    assert (place.entity, place.row, card.entity) == ("LOCATION", "LOCATION (GPE)", "CREDIT_CARD")
    assert music.entity == UNJUDGED and "Acme" not in one.text, "organisations are fresh too, and no targets"
    (other,), _ = benchmark.relexicalised(path, seed=2)
    assert other.text != one.text and len(benchmark.relexicalised(path, seed=1, texts=5)[0]) == 5


@pytest.mark.parametrize(
    "content", ["{}", "[{}]", "no JSON", "[]", '[{"full_text": "a", "spans": [{"entity_type": "X"}]}]']
)
def test_a_file_of_another_form_ends_the_program(benchmark: ModuleType, tmp_path: Path, content: str) -> None:
    path = tmp_path / "foreign.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match=re.escape(str(path))):
        benchmark.relexicalised(path, seed=1)


def test_a_place_counts_once_in_the_total(benchmark: ModuleType) -> None:
    text = LabelledText("to Oslo", "en", spans=(Span(3, 7, "LOCATION", "LOCATION (GPE)"),))
    counts = benchmark.score([text], 1, lambda *_: [finding("to Oslo", "Oslo", "LOCATION")])
    assert counts.even.total().spans == 1 and counts.entity("LOCATION (GPE)").found == 1
    row = next(row for row in benchmark.rows(counts) if row["entity"] == "LOCATION (GPE)")
    assert row["precision"] is None and row["recall"][0] == 1


def test_texts_drawn_for_rare_entities_count_for_their_rows_alone(benchmark: ModuleType) -> None:
    text = labelled("Ann Lee 900-12-3456", PERSON="Ann Lee", US_SSN="900-12-3456")
    counts = benchmark.score([text] * 5, 2, lambda *_: [])
    assert (counts.entity("PERSON").spans, counts.entity("US_SSN").spans, counts.even.total().spans) == (2, 5, 4)
    assert benchmark.headline(counts)["structured_spans_min"] == 5 and benchmark.headline(counts)["leak_rate"] == 1


# -- the pack's own set


def test_the_pack_has_enough_of_each_entity() -> None:
    texts = list(read(PACK_SET))
    counts = Counter(span.entity for text in texts for span in text.spans)
    assert all(counts[entity] >= 30 for entity in ENTITIES)
    languages = Counter(text.language for text in texts)
    assert languages["en"] >= 400 and languages["ko"] >= 250
    assert all(text.jurisdiction for text in texts) and all(text.shape[3] == "a" for text in texts)


def test_the_pack_is_what_its_maker_writes() -> None:
    faker = pytest.importorskip("faker")
    if faker.VERSION not in (PACK_SET.parent / "README.md").read_text(encoding="utf-8"):
        pytest.skip("made with another version of Faker")
    from domains.makers.labelled import pack_texts

    assert "".join(text.to_json() + "\n" for text in pack_texts()) == PACK_SET.read_text(encoding="utf-8")


def test_measuring_a_finder_that_knows_the_answers_gives_one_and_a_blind_one_nought() -> None:
    answers = {text.text: text for text in read(PACK_SET)}

    def knows(text: str, language: str, jurisdiction: str) -> list[Finding]:
        return [Finding(span.start, span.end, span.entity, "", 1.0) for span in answers[text].spans]

    best = measure(knows, PACK_SET)
    assert all(row.recall.rate == row.precision.rate == 1 for row in best.rows if row.spans) and best.leaking.hits == 0
    worst = measure(lambda *_: [], PACK_SET)
    assert all(row.recall.hits == 0 for row in worst.rows) and worst.leaking.rate == 1
    assert best.sha256 == worst.sha256 and best.texts >= len(answers), "two texts may be equal"


def test_a_text_that_cannot_be_scanned_counts_as_one_in_which_nothing_was_found() -> None:
    def fails(*_: str) -> list[Finding]:
        raise AnalysisFailed("time-out")

    assert measure(fails, PACK_SET) == measure(lambda *_: [], PACK_SET)


def test_a_broken_labelled_set_names_the_line_but_not_what_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "secret", "language": "en", "jurisdiction": "", "spans": [[0, 99, "PERSON"]]}\n')
    with pytest.raises(ConfigurationError, match="line 1") as caught:
        measure(lambda *_: [], path)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="no labelled set"):
        measure(lambda *_: [], tmp_path / "absent.jsonl")


# -- the program


def test_the_program_ends_with_one_line_of_json() -> None:
    pytest.importorskip("faker")
    command = "benchmarks/redact.py --half a --texts 220 --least-spans 0 --no-speed --shared-data /nowhere"
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    report = json.loads(done.stdout.splitlines()[-1])
    wanted = "structured_recall_min structured_precision_min person_f2 all_f2 leak_rate character_recall texts rows"
    assert all(report[key] is not None for key in wanted.split())
    assert report["false_alarms_per_1000_all"] is None and report["identical_findings"] is None
    assert report["texts"] == 220 and 0.3 < report["all_f2"] <= 1
    assert report["stock"]["all_f2"] < report["all_f2"], "stock Presidio stands beside, on the same texts"


def test_filings_are_read_as_sentences_and_rows(benchmark: ModuleType, request: pytest.FixtureRequest) -> None:
    assert benchmark.filings("") is None and benchmark.filings("/nowhere") is None
    assert benchmark.false_alarms(None, lambda *_: [])["false_alarms_per_1000_all"] is None
    shared = request.config.getoption("--shared-data")
    texts = benchmark.filings(shared)
    if texts is None:
        pytest.skip("needs --shared-data with tatqa_dev")
    assert len(texts) > 3000 and all(text.strip() for text in texts)
