"""The short cuts change no finding, whatever the text; and whatever the text, a scan ends in time."""

import csv
import json
import random
import signal
import time
from pathlib import Path

import pytest
import regex

from domainlm.redact.engine import AnalysisFailed, Scanner
from domainlm.redact.prefilter import HyperscanPrefilter, SearchPrefilter, Unweakened, has_hyperscan, supersets
from domainlm.redact.recognizers import recognizers
from domainlm.redact.recognizers.contact import PhoneRecognizer
from domainlm.redact.settings import ENTITIES, PERSON, RedactSettings

PACK = Path(__file__).parents[3] / "domains" / "finance"
SEED = 20261121
MUTATED = 10_000
MOST_CHARACTERS = 260
needs_hyperscan = pytest.mark.skipif(not has_hyperscan(), reason="no Hyperscan on this machine")


@pytest.fixture(scope="module")
def plain():
    """Presidio's own engine and loop."""
    return Scanner(RedactSettings(), plain=True)


@pytest.fixture(scope="module")
def fast():
    """The fast path with both of its passes."""
    scanner = Scanner(RedactSettings())
    scanner.prepare()
    return scanner


@pytest.fixture(scope="module")
def searching():
    """The fast path as it is where there is no Hyperscan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domainlm.redact.prefilter.has_hyperscan", lambda: False)
        scanner = Scanner(RedactSettings())
    assert isinstance(scanner._analyzer._short_cuts["en"]._gates, SearchPrefilter)
    return scanner


@pytest.fixture(scope="module")
def mutated():
    """Texts of the pack, cut, spliced and disfigured: each with a language of chance."""
    chance = random.Random(SEED)
    messages, prose = _pack()
    pool = messages * 6 + chance.sample(prose, min(len(prose), 2 * len(messages)))
    return [(_mutated(chance.choice(pool), pool, chance), chance.choice(("en", "ko"))) for _ in range(MUTATED)]


def _pack():
    with open(PACK / "messages.jsonl", encoding="utf-8") as lines:
        messages = [json.loads(line)["text"] for line in lines]
    prose = []
    for name in ("headlines.csv", "glossary.csv"):
        with open(PACK / name, encoding="utf-8", newline="") as file:
            prose += [" ".join(row) for row in csv.reader(file)]
    for name, field in (("extraction.jsonl", "context"), ("numeric.jsonl", "question")):
        with open(PACK / name, encoding="utf-8") as lines:
            prose += [str(json.loads(line).get(field, "")) for line in lines]
    for path in sorted(PACK.glob("corpus/*.md")):
        prose += path.read_text(encoding="utf-8").split("\n\n")
    return messages, [text[:MOST_CHARACTERS] for text in prose if text]


_GLUE = (
    "", " ", "\n", "\t", ": ", ", ", " - ", "님 ", "씨 ", "@", "-", "Mr ", "Dear ", "계좌 ", "account number ", "은 ",
    "에서 ", " card ", "SSN ", "(", ") ", "[", "０", "\u200b", "\u202e", "&nbsp;", "&#45;", "K", "ſ", "ı", "é", "ß",
    "😀", "1️⃣", "\x00", "\x1c", "\x85", "my account ", "routing ", "DOB ", "born on ", "passport ",
    "password=", "\u3000",
)  # fmt: skip
_DIGITS = regex.compile(r"\d")


def _mutated(text, pool, chance):
    """One to four of the things that happen to text, or that somebody does to it to hide a value."""
    for _ in range(chance.randint(1, 4)):
        kind = chance.randrange(13)
        at = chance.randrange(len(text) + 1)
        if kind == 0:
            text = text[:at]
        elif kind == 1:
            other = chance.choice(pool)
            text = text[:at] + chance.choice(_GLUE) + other[chance.randrange(len(other) + 1) :]
        elif kind == 2:
            text = _DIGITS.sub(lambda found: chance.choice("0123456789") if chance.random() < 0.3 else found[0], text)
        elif kind == 3:
            text = "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)
        elif kind == 4:
            hidden = chance.choice("\u200b\u200d\u00ad\u2060\ufe0f\u0301")
            text = "".join(one + hidden if chance.random() < 0.2 else one for one in text)
        elif kind == 5:
            mark = chance.choice("\u202e\u200f\u202d\u061c")
            text = text[:at] + mark + text[at:] + mark
        elif kind == 6:
            text = _DIGITS.sub(lambda found: found[0] + "\ufe0f\u20e3" if chance.random() < 0.3 else found[0], text)
        elif kind == 7:
            entity = chance.choice(("&nbsp;", "&#64;", "&amp;", "&#x2d;", "&lt;", "<br>"))
            text = text.replace(chance.choice(" @-."), entity)
        elif kind == 8:
            particle = chance.choice(("은", "는", "으로", "에서", "님", "씨", "입니다", "'s", "s", "th"))
            text = regex.sub(r"(?<=[\d가-힣])(?=[^\w]|$)", particle, text, count=3)
        elif kind == 9:
            text = text.replace(
                chance.choice("- .,:"), chance.choice(("-", " ", ".", "", "‑", "–", "\u00a0", "_", "/"))
            )
        elif kind == 10:
            text = chance.choice((str.upper, str.lower, str.title, str.swapcase))(text)
        elif kind == 11:
            text = text[:at] + chance.choice(_GLUE) + text[at:]
        else:
            text = text[at:] + chance.choice(_GLUE) + text[:at]
        text = text[: 2 * MOST_CHARACTERS]
    return text


def _findings(scanner, text, language, least=None):
    """Every finding with span, entity, value and score; or why there are none."""
    try:
        return scanner.find(text, language, least)[1]
    except AnalysisFailed as failure:
        return str(failure)


def test_ten_thousand_mutated_texts_give_the_same_findings_fast_and_plain(fast, searching, plain, mutated):
    expected = [_findings(plain, text, language) for text, language in mutated]
    different = [
        text
        for (text, language), findings in zip(mutated, expected, strict=True)
        if _findings(fast, text, language) != findings
    ]
    assert len(mutated) >= 10_000
    assert not different, f"{len(different)} differ, such as {different[:2]}"
    some = slice(None, None, 3)  # this one reads every text as often as there are gates
    assert all(
        _findings(searching, text, language) == findings
        for (text, language), findings in zip(mutated[some], expected[some], strict=True)
    )
    # The test would prove little if there were little to find, or little to leave out.
    held = [findings for findings in expected if findings]
    assert 0.2 * len(mutated) < len(held) < 0.9 * len(mutated)
    assert not any(isinstance(findings, str) for findings in held)
    assert len({finding.entity for findings in held for finding in findings}) >= 12


def test_most_public_text_ends_after_the_first_pass():
    scanner = Scanner(RedactSettings(name_engine="none"))
    prose = random.Random(SEED).sample(_pack()[1], 500)
    for text in prose:
        scanner.find(text, "en")
    assert scanner.analyzed < 0.7 * len(prose)


def test_findings_are_the_same_for_every_choice_of_entities_and_least_scores(fast, plain, mutated):
    chance = random.Random(SEED)
    counts = {"lower": 0, "fewer": 0}
    for text, language in mutated[:600]:
        entities = chance.sample(ENTITIES, chance.randint(1, len(ENTITIES)))
        least = {entity: chance.choice((0.04, 0.15, 0.4, 0.7)) for entity in entities}
        findings = _findings(fast, text, language, least)
        assert findings == _findings(plain, text, language, least), text
        assert all(item.entity in least and item.score >= least[item.entity] for item in findings)
        usual = _findings(fast, text, language)
        counts["lower"] += any(item.score < 0.4 for item in findings)
        counts["fewer"] += len(findings) < len(usual)
    assert counts["lower"] > 50 and counts["fewer"] > 50


def test_nothing_is_found_where_nothing_is_looked_for(fast, plain):
    for scanner in (fast, plain):
        assert scanner.find("my account number is 98765432", "en", {})[1] == []
        assert scanner.find("my account number is 98765432", "en")[1]


def test_a_wrong_gate_is_noticed(monkeypatch, plain, mutated):
    monkeypatch.setattr(PhoneRecognizer, "GATE", r"\d{12}")
    wrong = Scanner(RedactSettings())
    assert any(_findings(wrong, *text) != _findings(plain, *text) for text in mutated[:400])


@needs_hyperscan
def test_a_wrong_second_pass_is_noticed(monkeypatch, plain, mutated):
    wrong = Scanner(RedactSettings())
    wrong.prepare()
    for short_cuts in wrong._analyzer._short_cuts.values():
        for patterns in short_cuts._patterns.values():
            hits = patterns.hits
            monkeypatch.setattr(patterns, "hits", lambda *args, hits=hits: [one for one in hits(*args) if one % 3])
    assert any(_findings(wrong, *text) != _findings(plain, *text) for text in mutated[:400])


def test_a_context_word_of_a_profile_is_a_cue_fast_and_plain():
    text, korean = "Kontonr wie besprochen 98765432, danke", "해지환급금을 98765432로"
    context = {"US_BANK_NUMBER": ("kontonr", "해지환급금")}
    for scanner in (Scanner(RedactSettings(), context), Scanner(RedactSettings(), context, plain=True)):
        assert [item.value for item in scanner.find(text, "en")[1]] == ["98765432"]
        assert [item.value for item in scanner.find(korean, "ko")[1]] == ["98765432"]
        assert scanner.find("Kontonrx wie besprochen 98765432, danke", "en")[1] == []
    assert Scanner(RedactSettings()).find(text, "en")[1] == []
    named = "Das sagte Ruth Ellery, die Kontobevollmaechtigte."
    with_names = Scanner(RedactSettings(name_engine="none"), {PERSON: ("kontobevollmaechtigte",)})
    plainly = Scanner(RedactSettings(name_engine="none"), {PERSON: ("kontobevollmaechtigte",)}, plain=True)
    assert with_names.find(named, "en")[1] == plainly.find(named, "en")[1]


@needs_hyperscan
def test_a_weakened_expression_matches_wherever_the_original_does(mutated):
    everyone = recognizers("en", RedactSettings())
    expressions = [(one.gate, regex.ASCII) for one in everyone]
    expressions += [(compiled.pattern, compiled.flags) for one in everyone for _, compiled in one.compiled]
    assert len(expressions) > 100
    weakened = HyperscanPrefilter(expressions, search=False)
    compiled = [regex.compile(expression, flags) for expression, flags in expressions]
    matched = 0
    for text, _ in mutated[:700]:
        hits = set(weakened.hits(text, 1.0))
        for number, one in enumerate(compiled):
            if number not in hits:
                assert not one.search(text), f"{one.pattern[:80]} matches {text!r}"
            else:
                matched += 1
    assert matched < 0.5 * 700 * len(compiled)  # it rules out something


@pytest.mark.parametrize(
    ("expression", "flags", "text"),
    [
        (r"(?<=a)b(?=c)", 0, "xabc"),
        (r"a(?=b)(?=bc)", 0, "abc"),
        (r"a(?=b)b?", 0, "ab"),
        (r"(?:a(?=b)|c)\b.", 0, "ab c!"),
        (r"([ .-])\d\1\d", 0, "x-1-2"),
        (r"[^\s]x", regex.ASCII, "\x1cx"),
        (r"\w+\b", 0, "é"),
        (r"a\b", regex.ASCII, "a가"),
        (r"kiss", regex.IGNORECASE, "\u212a\u0131\u017fs".replace("\u0131", "i")),
        (r"[^\W\d_]x", 0, "가x"),
        (r"[à-ö]+x", regex.IGNORECASE, "ÀX"),
        (r"(?m:^)a$", 0, "b\na"),
        (r"^a", regex.MULTILINE, "b\na"),
        (r"a$", 0, "a\n"),
        (r"(?i:a)b", 0, "Ab"),
        (r"x(?:ab|c){40,}y", 0, "x" + "abc" * 20 + "y"),
        (r"(?:^|[.!])[ ]?A", 0, "x. A"),
        (r"(?>a+)b", 0, "aab"),
        (r"a*", 0, ""),
        (r"\.b", regex.DOTALL, ".b"),
        (r"a.b", regex.DOTALL, "a\nb"),
        (r"[^a]b", regex.IGNORECASE, "Cb"),
        ("[\ud800-\udfff]a", 0, "\ud83da"),
    ],
)
@needs_hyperscan
def test_each_construct_is_weakened_and_never_strengthened(expression, flags, text):
    assert regex.search(expression, text, flags)
    assert list(HyperscanPrefilter([(expression, flags)], search=False).hits(text, 1.0)) == [0]


@needs_hyperscan
def test_random_expressions_are_weakened_and_never_strengthened():
    chance = random.Random(SEED)
    alphabet = "ab1 -\n가é.KſA_\x1c"
    atoms = (
        "a", "b", "1", "-", "가", "é", r"\.", "k", "[ab]", "[^a]", "[^가b]", "[a-c1]", r"\d", r"\w", r"\s", r"\S",
        r"\W", r"[\w-]", r"[^\s.]", r"[^\W\d]", r"\b", "^", "$", ".", "(?=a)", "(?!1)", "(?<=b)", "(?<!é)",
        "(?<=[a가])", r"(?=\w1)",
    )  # fmt: skip

    def expression(depth):
        parts = []
        for _ in range(chance.randint(1, 3)):
            part = chance.choice(atoms)
            if depth and chance.random() < 0.5:
                inside = "|".join(expression(depth - 1) for _ in range(chance.randint(1, 3)))
                part = f"({chance.choice(('?:', '?i:', '?>', ''))}{inside})"
            if part[-1] not in "b^$" or part == "b":
                part += (
                    chance.choice(("", "", "", "?", "*", "+", "{2}", "{1,3}", "{0,9}"))
                    if "(?" not in part[:2] or (part.startswith(("(?:", "(?i:", "(?>")))
                    else ""
                )
            parts.append(part)
        return "".join(parts)

    matched = ruled_out = 0
    for _ in range(700):
        flags = chance.choice((0, regex.ASCII, regex.IGNORECASE, regex.ASCII | regex.IGNORECASE, regex.MULTILINE))
        written = expression(2)
        compiled = regex.compile(written, flags)
        try:
            supersets(written, flags)
        except Unweakened:
            continue
        weakened = HyperscanPrefilter([(written, flags)], search=False)
        for _ in range(12):
            text = "".join(chance.choices(alphabet, k=chance.randint(0, 9)))
            hit = bool(weakened.hits(text, 1.0))
            if compiled.search(text):
                matched += 1
                assert hit, f"{written!r} with {flags} matches {text!r}"
            else:
                ruled_out += not hit
    assert matched > 1000 and ruled_out > 500


LIMIT_S = 2.0
# The text's own limit, what cannot be stopped half-way, and room for a machine that does other things as well.
OUTER_S = 20.0


@pytest.fixture
def alarm():
    """Ends a test that hangs."""

    def ring(*_):
        raise AssertionError("the scan hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", params=["fast", "searching"])
def hurried(request):
    """A scanner with little time for a text of any length."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "searching":
            patch.setattr("domainlm.redact.prefilter.has_hyperscan", lambda: False)
        return Scanner(RedactSettings(text_timeout_s=LIMIT_S, regex_timeout_s=1.0, max_characters=10**9))


@pytest.mark.parametrize(
    "unit",
    ["1", "1 ", "1-", "9 9", " ", "A", "A b ", "Mr Ann Lee ", "@", "a@", "a.b@", "-", "([{", "010-1234-5678 ", "김님",
     "고객 김", "강남구 ", "DE89 ", "12 Aa ", "1:", "\u200b", "1\u200b", "１", "a\u0301", "password=", "born on ",
     "4539 1488 0343 6467 ", "Ruth Ellery, 212-555-0147 ", "ABCDUSAA ", "xxxx1", "https://a:b@"],
    ids=ascii,
)  # fmt: skip
def test_a_scan_ends_in_time_whatever_is_repeated(hurried, alarm, unit):
    text = (unit * 100_000)[:100_000] + " account number 98765432"
    started = time.process_time()
    try:
        hurried.find(text, "ko")
    except AnalysisFailed as failure:
        assert str(failure) in ("time-out", "too-many-findings")
    assert time.process_time() - started < OUTER_S


def test_comparing_thousands_of_names_with_thousands_of_numbers_ends_in_time(alarm):
    scanner = Scanner(RedactSettings(text_timeout_s=0.5, name_engine="none"))
    text = "Zorb Quillon stood there, my card\n" * 1800 + "mail ab@cd.com now it was;\n" * 1900
    started = time.process_time()
    with pytest.raises(AnalysisFailed, match="time-out"):
        scanner.find(text, "en")
    assert time.process_time() - started < 3  # without a look at the clock it takes six


@pytest.mark.parametrize("unit", ["1", "a ", "가", "1\u200b", "DE89 "], ids=ascii)
def test_a_line_of_fifty_megabytes_ends_in_time(hurried, alarm, unit):
    text = unit * (50_000_000 // len(unit.encode()))
    started = time.process_time()
    try:
        hurried.find(text, "en")
    except AnalysisFailed as failure:
        assert str(failure) in ("time-out", "too-many-findings")
    assert time.process_time() - started < OUTER_S


def test_a_text_above_the_limit_of_characters_is_refused_before_it_is_read():
    scanner = Scanner(RedactSettings(max_characters=100))
    with pytest.raises(AnalysisFailed, match="too-long"):
        scanner.find("a" * 101, "en")
    assert scanner.find("a" * 100, "en")[1] == []


def test_the_time_of_a_text_is_shared_by_all_that_read_it(monkeypatch):
    """Each candidate takes little, all of them take longer than the text may."""
    ticks = iter(range(10**9))
    monkeypatch.setattr("domainlm.redact.recognizers.base.time.monotonic", lambda: next(ticks) * 0.01)
    scanner = Scanner(RedactSettings(text_timeout_s=5.0))
    assert scanner.find("my account number is 98765432", "en")[1]
    with pytest.raises(AnalysisFailed, match="time-out"):
        scanner.find("lot 1234-5678-90 " * 2000, "en")
