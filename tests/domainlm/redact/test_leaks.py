"""The detector finds what is planted in every container; and the real redaction, with caches and logs, holds none."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import logging
import lzma
import os
import pickle
import sqlite3
import subprocess
import sys
import tarfile
import unicodedata
import urllib.parse
import zipfile
import zlib
from pathlib import Path

import leaks
import pyarrow
import pyarrow.parquet
import pytest
from leaks import find_leaks

from domainlm.keys import KeyRing
from domainlm.redact import Redactor
from domainlm.redact.profiles import Profiles
from domainlm.redact.redactor import RecordRedactor
from domainlm.redact.settings import ENTITIES, RedactSettings

ROOT = Path(__file__).resolve().parents[3]

CARD, NAME, EMAIL = "4539 1488 0343 6467", "홍길동", "tom.becker@example.com"
VALUES = [CARD, NAME, EMAIL]
TEXT = f"카드 {CARD}, 예금주 {NAME}, {EMAIL}."


def numbers(found):
    return {leak.number for leak in found}


def sqlite_bytes(*cells):
    database = sqlite3.connect(":memory:")
    database.execute("create table t (a, b)")
    database.executemany("insert into t values (?, ?)", [(cell, 1) for cell in cells])
    database.commit()
    return database.serialize()


def arrow(kind, table):
    sink = io.BytesIO()
    if kind == "parquet":
        pyarrow.parquet.write_table(table, sink, compression="zstd")
    else:
        maker = pyarrow.ipc.new_stream if kind == "stream" else pyarrow.ipc.new_file
        with maker(sink, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    return sink.getvalue()


def zipped(content):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", content)
    return sink.getvalue()


def tarred(content):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        entry = tarfile.TarInfo("inner.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return sink.getvalue()


def nested_table():
    rows = [{"id": 1, "messages": [{"role": "user", "content": TEXT}], "raw": gzip.compress(TEXT.encode())}]
    return pyarrow.Table.from_pylist(rows)


RAW = TEXT.encode()
WRAPPED = base64.encodebytes(RAW * 3)
CONTAINERS = {
    "plain": RAW,
    "utf-16": TEXT.encode("utf-16"),
    "utf-16 inside bytes": b"\x00\x01head" + TEXT.encode("utf-16-le") + b"tail",
    "cp949": TEXT.encode("cp949"),
    "json escapes": json.dumps({"a": TEXT}).encode(),
    "json in json": json.dumps(json.dumps({"a": TEXT})).encode(),
    "percent": urllib.parse.quote(TEXT).encode(),
    "html": "".join(f"&#{ord(sign)};" for sign in TEXT).encode(),
    "base64": b"x=" + base64.b64encode(RAW),
    "base64 for URLs": base64.urlsafe_b64encode(RAW),
    "base64 behind letters": b"ab" + base64.b64encode(RAW),
    "base64 in lines": WRAPPED,
    "base64 in lines in JSON": json.dumps({"a": WRAPPED.decode()}).encode(),
    "hexadecimal": b"id a" + RAW.hex().encode(),
    "gzip": gzip.compress(RAW),
    "gzip inside bytes": b"head" + gzip.compress(RAW) + b"tail",
    "gzip that was cut off": gzip.compress(RAW + os.urandom(4000))[:3000],
    "zlib": zlib.compress(RAW),
    "bzip2": bz2.compress(RAW),
    "xz": lzma.compress(RAW),
    "zstd": pyarrow.Codec("zstd").compress(RAW, asbytes=True),
    "zip": zipped(RAW),
    "tar in gzip": gzip.compress(tarred(RAW)),
    "parquet": arrow("parquet", nested_table()),
    "arrow stream": arrow("stream", nested_table()),
    "arrow file": arrow("file", nested_table()),
    "sqlite text": sqlite_bytes(TEXT),
    "sqlite blob": sqlite_bytes(zlib.compress(RAW)),
    "pickle": pickle.dumps({"a": [TEXT]}),
    "pickle of compressed bytes": pickle.dumps([zlib.compress(RAW)]),
    "old pickle": pickle.dumps({"a": TEXT}, protocol=0),
    "base64 in JSON in gzip in SQLite": sqlite_bytes(
        gzip.compress(json.dumps({"deep": base64.b64encode(RAW).decode()}).encode())
    ),
    "parquet in zip in base64 in JSON": json.dumps(
        {"x": base64.b64encode(zipped(arrow("parquet", nested_table()))).decode()}
    ).encode(),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_value_is_found_in_every_container(container, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.dat").write_bytes(CONTAINERS[container])
    found = find_leaks(tmp_path, VALUES)
    assert numbers(found) == {0, 1, 2}
    assert all(leak.place.endswith("file.dat") for leak in found)
    assert not any(value in repr(found) for value in VALUES), "the detector itself must not quote"


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_containers_without_a_value_are_clean(container):
    assert find_leaks(CONTAINERS[container], ["5500 0055 5555 5559", "김철수", "nobody@nowhere.example"]) == []


def test_other_spellings_of_a_value_count_as_it():
    full_width = "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in CARD)
    for spelling in ("4539148803436467", "4539-1488-0343-6467", full_width, "\u200b".join(CARD)):
        assert numbers(find_leaks(f"x{spelling}y".encode(), VALUES)) == {0}
    assert numbers(find_leaks(unicodedata.normalize("NFD", NAME).encode(), VALUES)) == {1}
    assert numbers(find_leaks(b"Tom.Becker@Example.COM", VALUES)) == {2}
    assert find_leaks(b"4539 1488 0343 6468", VALUES) == []


def test_file_names_and_write_ahead_logs_are_searched(tmp_path):
    (tmp_path / f"{EMAIL}.txt").write_bytes(b"")
    assert numbers(find_leaks(tmp_path, VALUES)) == {2}
    writer = sqlite3.connect(tmp_path / "store.db")
    writer.execute("pragma journal_mode = wal")
    writer.execute("pragma wal_autocheckpoint = 0")
    writer.execute("create table t (a)")
    writer.execute("insert into t values (?)", (zlib.compress(CARD.encode()),))
    writer.commit()
    assert (tmp_path / "store.db-wal").stat().st_size > 0
    assert numbers(find_leaks(tmp_path, VALUES)) == {0, 2}
    writer.close()


def test_a_pickle_is_read_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"), 0o700, CARD)

    assert numbers(find_leaks(pickle.dumps(Trap()), VALUES)) == {0}
    assert not (tmp_path / "sprung").exists()


def test_depth_is_bounded_and_a_bomb_is_an_error_rather_than_a_pass(monkeypatch):
    data = RAW
    for _ in range(5):
        data = bz2.compress(data)
    assert numbers(find_leaks(data, VALUES, depth=6)) == {0, 1, 2}
    assert find_leaks(data, VALUES, depth=3) == []
    monkeypatch.setattr(leaks, "MOST_BYTES", 10_000)
    with pytest.raises(leaks.SearchIncomplete):
        find_leaks(gzip.compress(bytes(20_000_000)), VALUES)


def test_a_missing_place_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        find_leaks(tmp_path / "none", VALUES)


# --- the real redaction -------------------------------------------------------------------------------------------

SENTENCES = {
    "PERSON": ("Dear Mr. Tobias Falkenrath, thank you.", "Tobias Falkenrath"),
    "EMAIL_ADDRESS": ("Write to t.falkenrath@mail.example today.", "t.falkenrath@mail.example"),
    "PHONE_NUMBER": ("Call 010-7654-3219 after six.", "010-7654-3219"),
    "IP_ADDRESS": ("The login came from 198.51.100.213 at night.", "198.51.100.213"),
    "CREDIT_CARD": (f"My card number is {CARD}.", CARD),
    "IBAN_CODE": ("Pay to IBAN DE89 3704 0044 0532 0130 00 please.", "DE89 3704 0044 0532 0130 00"),
    "SWIFT_BIC": ("SWIFT code DEUTDEFF500 of the bank.", "DEUTDEFF500"),
    "US_BANK_NUMBER": ("My account number is 987650012345.", "987650012345"),
    "ABA_ROUTING_NUMBER": ("routing number 021000021 for the wire", "021000021"),
    "KR_BANK_ACCOUNT": ("국민은행 계좌번호 110-432-987651 입니다.", "110-432-987651"),
    "US_SSN": ("SSN 219-09-9987 is on file.", "219-09-9987"),
    "KR_RRN": ("주민등록번호 900101-1234568 확인", "900101-1234568"),
    "UK_NHS": ("NHS number 943 476 5919 of the patient", "943 476 5919"),
    "UK_NINO": ("National Insurance number AB 12 34 56 C", "AB 12 34 56 C"),
    "DATE_OF_BIRTH": ("date of birth 1987-11-23 as stated", "1987-11-23"),
    "LOCATION": ("He lives at 1742 Evergreen Terrace Road.", "1742 Evergreen Terrace Road"),
    "BROKERAGE_ACCOUNT": ("brokerage account number 8231-99410 was closed", "8231-99410"),
    "PASSPORT": ("passport number M70689098 expires soon", "M70689098"),
    "DRIVER_LICENSE": ("driver's license number D1234562 of California", "D1234562"),
    "SECRET": ("postgresql://app:Xk9vQ2pLm4Zt@db.internal/ledger", "Xk9vQ2pLm4Zt"),
}


def known():
    """The entities for which there is a recognizer; each of them must be exercised here."""
    from domainlm.redact.recognizers import recognizers

    return {recognizer.ENTITY for recognizer in recognizers("en", RedactSettings(entities=ENTITIES))} & set(SENTENCES)


def test_every_entity_has_a_sentence():
    assert set(SENTENCES) == set(ENTITIES)


@pytest.fixture(scope="module")
def one():
    return RecordRedactor(RedactSettings(max_quarantined_share=0.9), KeyRing("test-key", bytes(range(32))))


def test_no_planted_value_is_anywhere_after_a_redaction(one, keys, record, tmp_path, home, monkeypatch, caplog, capfd):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("domainlm.redact.redactor.RecordRedactor", lambda *_, **__: one)
    entities = sorted(known())
    assert len(entities) >= 16
    values = [SENTENCES[name][1] for name in entities]
    texts = [SENTENCES[name][0] for name in entities]
    assert numbers(find_leaks("\n".join(texts).encode(), values)) == set(range(len(values))), "the plants are legible"

    # Each by itself, all at once, and in records that have to be quarantined.
    records = [record(text) for text in texts]
    records += [
        record(" ".join(texts), context="\n".join(texts)),
        record(texts[0] + "\x00"),
        record("clean", label=CARD),
    ]
    redactor = Redactor(RedactSettings(max_quarantined_share=0.9), keys, tmp_path / "quarantine", tmp_path / "work")
    with caplog.at_level(logging.DEBUG):
        rows, report = redactor.redact(records)
        cached = rows.map(lambda row: {"length": len(row["context"])}, cache_file_name=str(tmp_path / "mapped.arrow"))
    assert len(cached) == report.records_out > 0 and report.records_quarantined >= 2

    (tmp_path / "report.json").write_text(report.model_dump_json())
    (tmp_path / "log").write_text(caplog.text + "".join(capfd.readouterr()), errors="backslashreplace")
    (tmp_path / "report.html").write_text(report.html())
    found = find_leaks([tmp_path, home], values)
    assert found == [], [(leak.place, leak.trail, entities[leak.number]) for leak in found]
    assert list(temporary.iterdir()) == []


def test_under_every_profile_neither_vault_nor_quarantine_nor_report_is_legible(keys, record, tmp_path, home):
    profiles = Profiles.load(ROOT / "domains" / "finance" / "jurisdictions")
    entities = sorted(known())
    texts, values = ([SENTENCES[name][part] for name in entities] for part in (0, 1))
    records = [
        record(text, jurisdiction=jurisdiction, id=f"{at:032x}")
        for jurisdiction in ("us", "kr", "eu,uk", "us,kr", "zz", "")
        for at, text in enumerate(texts)
    ]
    records += [record(" ".join(texts), jurisdiction="kr"), record(texts[0] + "\x00", jurisdiction="us")]
    redactor = Redactor(
        RedactSettings(max_quarantined_share=1.0), keys, tmp_path / "quarantine", tmp_path / "work", profiles,
        vault=tmp_path / "vault",
    )  # fmt: skip
    rows, report = redactor.redact(records)
    assert len(rows) > len(texts) and report.profiles
    (tmp_path / "report.json").write_text(report.model_dump_json())
    (tmp_path / "report.html").write_text(report.html())
    found = find_leaks([tmp_path, home], values)
    assert found == [], {(Path(leak.place).name, leak.trail, entities[leak.number]) for leak in found}


def test_an_exception_of_the_redaction_holds_no_value(one, keys, record, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("domainlm.redact.redactor.RecordRedactor", lambda *_, **__: one)
    value = SENTENCES["EMAIL_ADDRESS"][1]

    def broken(*_, **__):
        raise ValueError(f"cannot parse {value}")

    monkeypatch.setattr(one.scanner, "find", broken)
    redactor = Redactor(RedactSettings(max_quarantined_share=0.1), keys, tmp_path / "quarantine", tmp_path / "work")
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as failure:
        redactor.redact([record(SENTENCES["EMAIL_ADDRESS"][0])])
    chain, error = [], failure.value
    while error is not None:
        chain.append(repr(error) + str(error))
        error = error.__cause__ or error.__context__
    assert find_leaks("\n".join([*chain, caplog.text]).encode(), [value]) == []
    assert find_leaks(tmp_path, [value]) == []


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "json", "parquet"])
def test_scan_leaves_no_planted_value_in_copy_table_json_or_temporary_folder(kind, tmp_path):
    entities = sorted(known())
    texts, values = ([SENTENCES[name][part] for name in entities] for part in (0, 1))
    source, out, temporary = tmp_path / f"in.{kind}", tmp_path / "out", tmp_path / "tmp"
    out.mkdir()
    temporary.mkdir()
    if kind == "txt":
        source.write_text("\n".join(texts), encoding="utf-8")
    elif kind == "csv":
        source.write_text("note,amount\n" + "".join(f'"{text}",1300.50\n' for text in texts), encoding="utf-8")
    elif kind == "jsonl":
        source.write_text("".join(json.dumps({"note": text}) + "\n" for text in texts), encoding="utf-8")
    elif kind == "json":
        source.write_text(json.dumps([{"note": text, "n": 1.50} for text in texts]), encoding="utf-8")
    else:
        pyarrow.parquet.write_table(pyarrow.table({"note": texts, "n": range(len(texts))}), source)
    assert numbers(find_leaks(source, values)) == set(range(len(values)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    for option in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "scan", str(source), "--redact", str(out), *option],
            capture_output=True, env=environment, cwd=tmp_path, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        (out / f"terminal{len(option)}").write_bytes(done.stdout + done.stderr)
    found = find_leaks([out, temporary], values)
    assert found == [], [(leak.place, leak.trail, entities[leak.number]) for leak in found]
    assert (out / source.name).stat().st_size > 0 and list(temporary.iterdir()) == []
