"""Hostile and broken text, as records and as files: never a crash, never a silent pass, never longer than allowed."""

from __future__ import annotations

import base64
import html
import json
import time
import urllib.parse
from collections import Counter

import pytest

from domainlm.keys import KeyRing
from domainlm.redact import Redactor
from domainlm.redact.redactor import RecordRedactor
from domainlm.redact.scanfile import FileScanner, exit_code
from domainlm.redact.settings import ENTITIES, RedactSettings

CARD, EMAIL, PHONE = "4539 1488 0343 6467", "tom.becker@example.com", "010-1234-5678"
SETTINGS = RedactSettings(entities=ENTITIES, max_quarantined_share=0.9)
KEYCAPS = "".join(f"{digit}\ufe0f\u20e3" for digit in CARD.replace(" ", ""))

# The card, as a person would still read it.
SPELLINGS = {
    "right-to-left marks": "\u200f".join(CARD),
    "right-to-left override": f"\u202d{CARD}\u202c",
    "isolates": f"\u2066{CARD}\u2069",
    "soft hyphens": "\u00ad".join(CARD),
    "zero-width spaces": "\u200b".join(CARD),
    "byte order marks": "\ufeff".join(CARD),
    "full width": "".join(chr(ord(sign) + 0xFEE0) if sign != " " else sign for sign in CARD),
    "keycap emoji": KEYCAPS,
    "mathematical digits": "".join(chr(0x1D7CE + int(sign)) if sign.isdigit() else sign for sign in CARD),
    "Arabic digits": "".join(chr(0x660 + int(sign)) if sign.isdigit() else sign for sign in CARD),
    "combining marks": "".join(f"{sign}\u0301" for sign in CARD),
    "HTML entities": "".join(f"&#{ord(sign)};" for sign in CARD),
    "named HTML entities": CARD.replace(" ", "&nbsp;"),
    "emoji behind it": f"{CARD}😀👨‍👩‍👧",
    "emoji before it": f"💳{CARD}",
    "emoji between the groups": CARD.replace(" ", "😀"),
    "percent escapes": urllib.parse.quote(CARD),
    "base64": base64.b64encode(f"my card number is {CARD}, thank you".encode()).decode(),
    "JSON in text": json.dumps(json.dumps({"card": CARD})),
}
# Texts that make backtracking expressions or quadratic loops slow; each is as long as a record may be at most.
LONG = 200_000
BOMBS = {
    "one letter": "a" * LONG,
    "one digit": "1" * LONG,
    "ones and hyphens": "1-" * (LONG // 2),
    "ones and dots": "1." * (LONG // 2),
    "ones and spaces": "1 " * (LONG // 2),
    "at signs": "@" * LONG,
    "words and at signs": "a@" * (LONG // 2),
    "dots behind an at sign": "a@" + "a." * (LONG // 2),
    "local part without end": "a." * (LONG // 2) + "@",
    "brackets": "(" * LONG,
    "brackets with digits": "(1" * (LONG // 2),
    "plus signs": "+" * LONG,
    "colons": "1:" * (LONG // 2),
    "hexadecimal groups": "ab:" * (LONG // 3),
    "stars": "4*" * (LONG // 2),
    "blanks": " " * LONG,
    "line breaks": "\n" * LONG,
    "capitals": "A" * LONG,
    "capitalised words": "Ab " * (LONG // 3),
    "titles": "Mr. " * (LONG // 4),
    "Hangul": "김" * LONG,
    "Hangul names": "김철수님 " * (LONG // 5),
    "labels without value": "account number: " * (LONG // 16),
    "zero-width": "1\u200b" * (LONG // 2),
    "combining marks": "e" + "\u0301" * LONG,
    "jamo": "\u1100\u1161" * (LONG // 2),
    "country codes": "DE89" * (LONG // 4),
    "ampersands": "&#" * (LONG // 2),
    "entities": "&amp;" * (LONG // 5),
    "percent signs": "%25" * (LONG // 3),
    "base64 without end": "QUJD" * (LONG // 4),
    "backslashes": "\\" * LONG,
    "quotes": "\"'" * (LONG // 2),
    "JSON brackets": '{"a":[' * (LONG // 6),
    "connection strings": "postgres://a:" * (LONG // 13),
    "placeholders": "[PERSON_1]" * (LONG // 10),
    "emoji families": "👨‍👩‍👧" * (LONG // 5),
}


@pytest.fixture(scope="module")
def one():
    return RecordRedactor(SETTINGS, KeyRing("test-key", bytes(range(32))))


@pytest.fixture(scope="module")
def files():
    return FileScanner(SETTINGS)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_disguised_card_is_replaced_or_its_record_refused(spelling, one, record):
    text = f"My card number is {SPELLINGS[spelling]} as stated."
    outcome = one.redact(record(text))
    if outcome.record is None:
        assert outcome.reason
        return
    content = outcome.record["messages"][0]["content"]
    assert SPELLINGS[spelling] not in content and outcome.entities.total() >= 1, outcome.entities


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_disguised_card_in_a_file_is_found(spelling, files, tmp_path):
    path, copy = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text(f"My card number is {SPELLINGS[spelling]} as stated.\n", encoding="utf-8")
    result = files.scan(str(path), copy=copy)
    assert exit_code([result]) in (1, 2)
    assert not copy.exists() or SPELLINGS[spelling] not in copy.read_text(encoding="utf-8")


UNREADABLE = {
    "NUL": (f"{EMAIL} and \x00", "invalid-text"),
    "lone surrogate": (f"{EMAIL} and \ud800", "invalid-text"),
    "a byte that was no UTF-8": (f"{EMAIL} caf\udce9", "invalid-text"),  # as surrogateescape reads it
    "too long": (f"{EMAIL} " + "x" * 200_001, "too-long"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_text_that_is_no_text_goes_to_quarantine(case, one, record):
    text, reason = UNREADABLE[case]
    made = [record(text), record("fine", "fine", context=text), record("fine", text)]
    if reason == "invalid-text":  # labels and names have no length of their own
        made += [record("fine", label=text), record("fine", source=text), record("fine", subjects=[text])]
    for bad in made:
        outcome = one.redact(bad)
        assert (outcome.record, outcome.reason) == (None, reason)


def test_a_line_of_50_megabytes_is_refused_at_once_as_a_record(one, record):
    started = time.process_time()
    outcome = one.redact(record("word " * 10_000_000))
    assert (outcome.record, outcome.reason) == (None, "too-long")
    assert time.process_time() - started < 5


def test_a_line_of_50_megabytes_is_scanned_as_a_file(files, tmp_path):
    path = tmp_path / "a.txt"
    line = "the closing price of the index rose a little " * 1_000
    with open(path, "w") as stream:
        for _ in range(1_200):
            stream.write(line)
        stream.write(f" write to {EMAIL}")
    assert path.stat().st_size > 50_000_000
    result = files.scan(str(path))
    assert not result.failures and result.found == Counter(EMAIL_ADDRESS=1)
    assert (result.hits[0].line, result.hits[0].column) == (1, path.stat().st_size - len(EMAIL) + 1)


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_text_takes_longer_than_it_may_and_none_hides_what_stands_behind_it(bomb, one, record):
    """`text_timeout_s` bounds a scan; a record is scanned at most twice, and what runs out of time is quarantined."""
    tail = f" write to {EMAIL}"
    text = BOMBS[bomb][: LONG - len(tail)] + tail
    started = time.process_time()
    outcome = one.redact(record(text))
    spent = time.process_time() - started
    assert spent < 2 * SETTINGS.text_timeout_s + 5, f"{spent:.1f} s"
    if outcome.record is None:
        assert outcome.reason in ("time-out", "too-many-findings", "identifier-survives"), outcome.reason
    else:
        assert EMAIL not in outcome.record["messages"][0]["content"]


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_file_takes_longer_than_it_may_and_none_hides_what_stands_behind_it(bomb, files, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(BOMBS[bomb] + f" write to {EMAIL}\n", encoding="utf-8")
    started = time.process_time()
    result = files.scan(str(path))
    spent = time.process_time() - started
    pieces = 1 + path.stat().st_size // 24_000
    assert spent < pieces * SETTINGS.text_timeout_s
    assert result.failures or result.found["EMAIL_ADDRESS"]


FILES = {
    "latin-1": ("a.txt", b"caf\xe9 \xa3 of Tom", "is not UTF-8"),
    "cp949": ("a.txt", "홍길동 고객".encode("cp949"), "is not UTF-8"),
    "cut in a character": ("a.txt", "가".encode()[:2], "is not UTF-8"),
    "over-long form": ("a.txt", b"x \xc0\xaf y", "is not UTF-8"),
    "surrogate in UTF-8": ("a.txt", b"x \xed\xa0\x80 y", "is not UTF-8"),
    "UTF-16": ("a.txt", f"mail {EMAIL}".encode("utf-16"), "UTF-16"),
    "UTF-16 without mark": ("a.txt", f"mail {EMAIL}".encode("utf-16-le"), "invalid-text"),
    "NUL": ("a.txt", f"mail {EMAIL}\x00".encode(), "invalid-text"),
    "late NUL": ("a.txt", b"x " * 20_000 + b"\x00", "invalid-text"),
    "late wrong byte": ("a.txt", b"x " * 20_000 + b"\xff", "is not UTF-8"),
    "NUL in a table": ("a.csv", f"a,b\n{EMAIL}\x00,x\n".encode(), "invalid-text"),
    "open quote": ("a.csv", f'a,b\n"{EMAIL},x\n'.encode(), "quote is not closed"),
    "latin-1 table": ("a.csv", b"a,b\ncaf\xe9,x\n", "is not UTF-8"),
    "lone surrogate": ("a.json", b'{"a": "\\ud800 x"}', "invalid-text"),
    "escaped NUL": ("a.jsonl", b'{"a": "x\\u0000"}\n', "invalid-text"),
    "half a document": ("a.json", f'{{"a": "{EMAIL}"'.encode(), "not JSON"),
    "bad line": ("a.jsonl", f'{{"a": 1}}\n{{"a": {EMAIL}}}\n'.encode(), "not JSON"),
    "no Parquet": ("a.parquet", f"PAR1 {EMAIL} PAR1".encode(), "not a Parquet file"),
    "empty Parquet": ("a.parquet", b"", "not a Parquet file"),
    "picture": ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(99), "binary"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_broken_file_is_named_and_quoted_nowhere_and_leaves_no_copy(case, files, tmp_path):
    name, content, reason = FILES[case]
    path, copy = tmp_path / name, tmp_path / "out" / name
    path.write_bytes(content)
    for target in (None, copy):
        result = files.scan(str(path), copy=target)
        assert exit_code([result]) == 2
        assert any(reason in failure.reason for failure in result.failures), result.failures
        assert all(failure.remedy for failure in result.failures)
        assert "becker" not in json.dumps(result.as_json(), ensure_ascii=False).lower()
    assert not copy.parent.exists() or list(copy.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.jsonl"])
def test_an_empty_file_is_clean(name, files, tmp_path):
    for content in (b"", b"\n", b"\xef\xbb\xbf"):
        (tmp_path / name).write_bytes(content)
        result = files.scan(str(tmp_path / name))
        assert exit_code([result]) == 0, (content, result.failures)


def test_what_runs_out_of_time_is_a_failure_of_its_place_and_the_rest_is_scanned(tmp_path, monkeypatch):
    from domainlm.redact.engine import AnalysisFailed

    scanner = FileScanner(SETTINGS)
    find = scanner._scanner.find

    def slow(text, *arguments):
        if "bomb" in text:
            raise AnalysisFailed("time-out")
        return find(text, *arguments)

    monkeypatch.setattr(scanner._scanner, "find", slow)
    (tmp_path / "a.csv").write_text(f"a,b\n{EMAIL},x\nbomb {PHONE},y\n{PHONE},z\n")
    result = scanner.scan(str(tmp_path / "a.csv"))
    assert [(failure.row, failure.line, failure.reason) for failure in result.failures] == [(2, 3, "time-out")]
    assert result.found == Counter(EMAIL_ADDRESS=1, PHONE_NUMBER=1) and exit_code([result]) == 2


def test_bad_records_among_good_ones_are_counted_and_nothing_is_lost(one, record, keys, tmp_path, monkeypatch):
    monkeypatch.setattr("domainlm.redact.redactor.RecordRedactor", lambda *_, **__: one)
    texts = ["fine", "\x00", html.escape(f"<{EMAIL}>"), "\ud800", "x" * 200_001, f"\u202e{EMAIL}", ""]
    redactor = Redactor(RedactSettings(max_quarantined_share=0.9), keys, tmp_path / "q", tmp_path / "w")
    rows, report = redactor.redact([record(text) for text in texts])
    assert report.records_in == len(texts) == report.records_out + report.records_quarantined
    assert report.quarantine_reasons == {"invalid-text": 2, "too-long": 1}
    assert len(rows) == 4 and EMAIL not in str(list(rows))
