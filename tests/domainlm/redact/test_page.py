"""The report page: what an officer must find on it, in a real browser, whatever the sources call themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from domainlm.redact.page import PASSED, REFUSED, RESERVED, page, verdict
from domainlm.redact.report import (
    EntityQuality,
    LabelledQuality,
    NameCanaries,
    ProfileUse,
    QuarantinedRecord,
    Rate,
    RedactionReport,
)

HOSTILE = "\"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>'"
EMPTY = dict(
    records_in=0, records_out=0, records_changed=0, records_quarantined=0, quarantine_reasons={}, quarantined=[],
    entities={}, entities_by_source={}, entities_by_language={}, entities_by_jurisdiction={}, operators={}, handling={},
    handling_class="", profiles=[], subjects=0, most_changed={}, texts=0, texts_analyzed=0, characters=0, canaries=0,
    name_canaries=[], quality=None, key_id="bank-2026", versions={}, digests={}, residual_risk=[],
)  # fmt: skip


def rich(**changes):
    entities = {"CREDIT_CARD": 812, "PERSON": 2310, "EMAIL_ADDRESS": 1204, "KR_RRN": 97, "KR_BANK_ACCOUNT": 431}
    content = dict(
        records_in=12_400, records_out=12_391, records_changed=4_031, records_quarantined=9,
        quarantine_reasons={"time-out": 2, "invalid-text": 7},
        quarantined=[
            QuarantinedRecord(file=f"{number:032x}.sealed", reason="invalid-text", source="콜센터 상담", row=number + 7)
            for number in range(9)
        ],
        entities=entities,
        entities_by_source={
            "letters": {"CREDIT_CARD": 812, "PERSON": 310},
            "콜센터 상담": {"PERSON": 2000, "EMAIL_ADDRESS": 1204, "KR_RRN": 97, "KR_BANK_ACCOUNT": 431},
        },
        entities_by_language={"en": {"CREDIT_CARD": 812, "PERSON": 310}, "ko": {"PERSON": 2000, "KR_RRN": 97}},
        entities_by_jurisdiction={"us": {"CREDIT_CARD": 812}, "kr,us": {"PERSON": 2310}, "": {"KR_RRN": 97}},
        operators={"placeholder": 4757, "remove": 97},
        handling={"public": 4_000, "confidential": 8_391}, handling_class="confidential",
        profiles=[
            ProfileUse(
                jurisdictions="kr,us", profiles=["kr", "us"], sha256="a" * 64, records=9_000,
                laws=["개인정보 보호법 (Personal Information Protection Act), Art. 24-2, 2023-09-15",
                      "Gramm-Leach-Bliley Act, 15 U.S.C. 6801, 1999-11-12"],
            )
        ],
        subjects=3_101, most_changed={"0123456789abcdef" * 2: 41, "fedcba9876543210" * 2: 17}, texts=30_000,
        texts_analyzed=11_200, characters=41_000_000, canaries=156,
        name_canaries=[NameCanaries(language="ko", found=Rate.count(86, 96), threshold=0.8),
                       NameCanaries(language="en", found=Rate.count(90, 96), threshold=0.8)],
        quality=LabelledQuality(
            sha256="b" * 64, texts=3_000, leaking=Rate.count(61, 2_100),
            rows=[
                EntityQuality(entity=entity, language=language, spans=spans,
                              recall=Rate.count(int(spans * share), spans),
                              precision=Rate.count(int(spans * 0.97), spans))
                for entity, language, spans, share in [("PERSON", "en", 900, 0.84), ("PERSON", "ko", 700, 0.88),
                    ("CREDIT_CARD", "en", 820, 0.995), ("KR_RRN", "ko", 40, 1.0), ("LOCATION", "en", 0, 0)]
            ],
        ),
        key_id="bank-2026", versions={"presidio-analyzer": "2.2.362", "spacy": "3.8.7"},
        digests={"recognizers": "c" * 64, "settings": "d" * 64},
        residual_risk=["About one name in eight is not announced by anything and stays in the text.",
                       "A value in an image is not seen."],
    )  # fmt: skip
    return RedactionReport(**(content | changes))


class Reader(HTMLParser):
    """The tags and the visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.attributes = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_data(self, data):
        self.text += data


PARTS = (
    "Redaction report", RESERVED, "What may still stand in the text", "What was found", "payment card numbers",
    "By jurisdiction", "By language", "By source", "콜센터 상담", "What became of the values", "vault",
    "How well this configuration finds", "Planted names", "reached", "156 made-up identifiers", "Quarantine",
    f"{3:032x}.sealed", "ran out of time", "Rules that held", "개인정보 보호법", "Gramm-Leach-Bliley", "1999-11-12",
    "Handling class", "confidential", "Evidence", "c" * 64, "2.2.362", "bank-2026", "4,854", "0123456789abcdef",
    "A value in an image is not seen",
)  # fmt: skip


def test_every_part_of_a_rich_report_is_on_the_page():
    report = rich(operators={"vault": 4757, "remove": 97})
    text = Reader(page(report)).text
    for part in (*PARTS, report.digest):
        assert part in text, part


def test_a_nearly_empty_report_says_that_nothing_is_shown():
    report = RedactionReport(**EMPTY)
    text = Reader(page(report)).text
    assert verdict(report)[0] == REFUSED
    for part in (REFUSED, "No record was read", "No planted identifier", "Not measured", "No value was replaced"):
        assert part in text, part


@pytest.mark.parametrize(
    ("changes", "level", "word"),
    [
        (dict(records_quarantined=0, quarantined=[], quarantine_reasons={}), PASSED, ""),
        (dict(), RESERVED, "9 of 12,400"),
        (dict(quality=None), RESERVED, "not measured"),
        (dict(profiles=[]), RESERVED, "settings alone"),
        (dict(key_id="development-12ab"), RESERVED, "development key"),
        (dict(name_canaries=[]), RESERVED, "unknown for this run"),
        (dict(canaries=0), REFUSED, "No planted identifier"),
        (
            dict(name_canaries=[NameCanaries(language="ko", found=Rate.count(30, 96), threshold=0.8)]),
            REFUSED,
            "fewer than the 80.0 %",
        ),
    ],
)
def test_the_verdict_is_only_as_good_as_its_evidence(changes, level, word):
    found, reasons = verdict(rich(**changes))
    assert found == level
    assert word in " ".join(reasons)


def test_whatever_a_source_calls_itself_stays_text():
    report = rich(
        entities_by_source={HOSTILE: {"PERSON": 1}}, entities={HOSTILE: 1}, operators={HOSTILE: 1},
        handling={HOSTILE: 1},
        entities_by_language={HOSTILE: {HOSTILE: 1}}, entities_by_jurisdiction={HOSTILE: {HOSTILE: 1}}, key_id=HOSTILE,
        quarantined=[QuarantinedRecord(file=HOSTILE, reason=HOSTILE, source=HOSTILE, row=1)], handling_class=HOSTILE,
        quarantine_reasons={HOSTILE: 1}, most_changed={HOSTILE: 1}, versions={HOSTILE: HOSTILE},
        digests={HOSTILE: HOSTILE}, residual_risk=[HOSTILE],
        profiles=[ProfileUse(jurisdictions=HOSTILE, profiles=[HOSTILE], sha256=HOSTILE, records=1, laws=[HOSTILE])],
        name_canaries=[NameCanaries(language=HOSTILE, found=Rate.count(1, 2), threshold=0.2)],
        quality=LabelledQuality(sha256=HOSTILE, texts=1, leaking=Rate.count(0, 1), rows=[
            EntityQuality(entity=HOSTILE, language=HOSTILE, spans=1, recall=Rate.count(1, 1),
                          precision=Rate.count(1, 1))]),
    )  # fmt: skip
    many = {f"{HOSTILE}{number}": {HOSTILE: 1} for number in range(20)}
    for text in (page(report), page(report.model_copy(update={"entities_by_source": many}))):
        read = Reader(text)
        assert {"script", "img"}.isdisjoint(read.tags)
        assert not any(name.startswith("on") or name in ("src", "href") for name in read.attributes)
        assert read.text.count("<script>") >= 15


def test_the_page_loads_nothing_and_says_so():
    text = page(rich())
    read = Reader(text)
    assert {"script", "link", "img", "iframe", "object", "form"}.isdisjoint(read.tags)
    assert "default-src 'none'" in text and not re.search(r"url\(|@import|https?:", text)
    assert read.tags.count("h1") == 1 and "en" in read.attributes["lang"]
    assert set(read.attributes["scope"]) == {"row", "col"}
    assert text.count("<table>") == text.count("<thead>") >= 10


def test_many_sources_become_a_list_and_a_long_quarantine_is_cut_with_a_word():
    sealed = [QuarantinedRecord(file=f"{n:032x}.sealed", reason="time-out", source="s", row=n) for n in range(700)]
    report = rich(
        entities_by_source={f"source {number}": {"PERSON": number} for number in range(40)},
        quarantined=sealed, records_quarantined=700, quarantine_reasons={"time-out": 700},
    )  # fmt: skip
    text = Reader(page(report)).text
    assert "source 39" in text and "PERSON 39" in text
    assert f"{499:032x}" in text and f"{500:032x}" not in text and "200 more stand in the report's JSON" in text


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_of_text_is_legible_in_light_and_dark():
    """At least 4.5 to 1, level AA of WCAG 2.2, criterion 1.4.3."""
    themes = re.findall(r":root\{([^}]*)\}", page(rich()))
    assert len(themes) == 3  # light, dark, print
    for theme in themes:
        colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", theme))
        colours = {name: value if len(value) == 7 else "#" + "".join(sign * 2 for sign in value[1:])
                   for name, value in colours.items()}  # fmt: skip
        for name in ("ink", "soft", "good", "warn", "bad"):
            for ground in ("paper", "tint"):
                if name in colours:
                    bright, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
                    assert (bright + 0.05) / (dark + 0.05) >= 4.5, (name, ground, theme)


def chromium(tmp_path, *arguments):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: the page was not rendered")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--no-first-run", "--disable-extensions", "--hide-scrollbars"]  # fmt: skip
    return subprocess.run([program, *options, *arguments], capture_output=True, check=True, timeout=120)


@pytest.mark.parametrize(("name", "report"), [("rich", rich()), ("empty", RedactionReport(**EMPTY))])
def test_a_browser_renders_the_page(name, report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page(report), encoding="utf-8")
    seen = chromium(tmp_path, "--dump-dom", path.as_uri()).stdout.decode()
    read = Reader(seen)
    for part in PARTS[:-1] if name == "rich" else (REFUSED, "Not measured"):
        assert part in read.text or part == "vault", part
    image = tmp_path / "report.png"
    chromium(tmp_path, f"--screenshot={image}", "--window-size=1100,3600", path.as_uri())
    from PIL import Image

    with Image.open(image) as picture:
        assert picture.width == 1100
        assert len(set(picture.convert("L").resize((110, 360)).getdata())) > 20, "the picture is nearly empty"


def test_the_page_prints_to_paper(tmp_path):
    path, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(page(rich()), encoding="utf-8")
    chromium(tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer", path.as_uri())
    assert paper.read_bytes().startswith(b"%PDF-") and paper.stat().st_size > 20_000
