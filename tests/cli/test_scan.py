"""`domainlm scan`: finds in every format, shows no value, copies faithfully, never passes what it could not read."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm.errors import SourceError
from domainlm.redact import files, scanfile
from domainlm.redact.files import Cell, Unit, is_binary, kind_of, units
from domainlm.redact.settings import ENTITIES, RedactSettings

ROOT = Path(__file__).resolve().parents[2]
CARD, PHONE, EMAIL, RRN = "4539 1488 0343 6467", "010-1234-5678", "tom.becker@example.com", "900101-1234568"
VALUES = (CARD, PHONE, EMAIL, RRN, "4539148803436467", "Becker")


@pytest.fixture(scope="module")
def scanner():
    return scanfile.FileScanner(RedactSettings(entities=ENTITIES))


def scan(*arguments, cwd, stdin=b"", **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOMAINLM_", "ZENML_"))}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "scan", *map(str, arguments)], cwd=cwd, input=stdin, capture_output=True,
        env=kept | {"PYTHONPATH": str(ROOT)} | environment, check=False, timeout=120,
    )  # fmt: skip


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def places(result):
    return [(hit.entity, hit.line, hit.column, hit.row, hit.field) for hit in result.hits]


def legible(result):
    told = json.dumps(result.as_json(), ensure_ascii=False)
    return [value for value in VALUES if value in told]


# --- where things are ---------------------------------------------------------------------------------------------


def test_text_has_lines_and_columns(scanner, tmp_path):
    path = written(tmp_path / "a.md", f"# Head\n\nsay {EMAIL} or\n카드 {CARD}입니다\n")
    result = scanner.scan(path)
    assert places(result) == [("EMAIL_ADDRESS", 3, 5, 0, ""), ("CREDIT_CARD", 4, 4, 0, "")]
    assert [hit.shape for hit in result.hits] == ["22 characters with @", "16 digits"]
    assert all(hit.recognizer and 0 < hit.score <= 1 for hit in result.hits) and not legible(result)


def test_tables_have_rows_and_columns_and_their_names_count_as_cues(scanner, tmp_path):
    table = f'id,account number,note\n1,98765432,fine\n2,,"two\nlines {EMAIL}"\n3,"5,000",98765433\n'
    result = scanner.scan(written(tmp_path / "a.csv", table))
    assert places(result)[:2] == [
        ("US_BANK_NUMBER", 2, 3, 1, "account number"),
        ("EMAIL_ADDRESS", 3, 4, 2, "note"),
    ]
    assert not [place for place in places(result) if place[4] == "id"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen(scanner, tmp_path, delimiter):
    table = f"a{delimiter}b{delimiter}c\nx{delimiter}{PHONE}{delimiter}y\n"
    assert places(scanner.scan(written(tmp_path / "a.csv", table))) == [("PHONE_NUMBER", 2, 3, 1, "b")]


def test_a_table_without_header_hides_nothing_and_shows_no_value_as_a_name(scanner, tmp_path):
    result = scanner.scan(written(tmp_path / "a.csv", f"{PHONE},{EMAIL}\n{CARD},x\n"))
    assert [place[0] for place in places(result)] == ["PHONE_NUMBER", "EMAIL_ADDRESS", "CREDIT_CARD"]
    assert [place[3:] for place in places(result)] == [(1, "column 1"), (1, "column 2"), (2, "column 1")]
    assert not legible(result)


def test_json_has_paths_and_sees_through_escapes(scanner, tmp_path):
    content = json.dumps({"list": [{"mail": EMAIL}, 1.50], "card": int(CARD.replace(" ", "")), EMAIL: "x"}, indent=1)
    content = content.replace("@", "\\u0040")
    result = scanner.scan(written(tmp_path / "a.json", content))
    assert [(place[0], place[4]) for place in places(result)] == [
        ("EMAIL_ADDRESS", "$.list[0].mail"), ("CREDIT_CARD", "$.card"), ("EMAIL_ADDRESS", "$.(key)"),
    ]  # fmt: skip
    assert places(result)[0][1] == 4 and not legible(result)


def test_json_lines_have_rows(scanner, tmp_path):
    lines = f'{{"a": "x"}}\n\n{{"a": ["{PHONE}"]}}\n'
    assert places(scanner.scan(written(tmp_path / "a.jsonl", lines))) == [("PHONE_NUMBER", 3, 8, 2, "$.a[0]")]


def test_parquet_has_rows_columns_and_nested_values(scanner, tmp_path):
    table = pyarrow.table(
        {
            "n": [1, int(CARD.replace(" ", ""))],
            "turns": [[{"text": f"call {PHONE}"}], []],
            "raw": [None, EMAIL.encode()],
        }
    ).replace_schema_metadata({"made by": f"mail {EMAIL}"})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    result = scanner.scan(str(tmp_path / "a.parquet"))
    assert [(place[0], place[3], place[4]) for place in places(result)] == [
        ("EMAIL_ADDRESS", 0, "metadata"), ("PHONE_NUMBER", 1, "turns[0].text"), ("CREDIT_CARD", 2, "n"),
        ("EMAIL_ADDRESS", 2, "raw"),
    ]  # fmt: skip


def test_a_value_is_found_wherever_a_long_text_is_cut(scanner, tmp_path):
    for at in range(files.PIECE_CHARACTERS - 24, files.PIECE_CHARACTERS + 6, 3):
        text = "x" * (at - 1) + " " + CARD + " " + "y" * 3000
        result = scanner.scan(written(tmp_path / "a.txt", text))
        assert places(result) == [("CREDIT_CARD", 1, at + 1, 0, "")], at


def test_a_list_of_numbers_is_not_too_much(scanner, tmp_path):
    text = "\n".join(f"{number:04d}@a.kr" for number in range(6000))
    result = scanner.scan(written(tmp_path / "a.txt", text))
    assert result.found == {"EMAIL_ADDRESS": 6000} and not result.failures


# --- units --------------------------------------------------------------------------------------------------------

SAMPLES = {
    "text": "one\r\ntwo 가나다\n\nthree",
    "csv": '\ufeffa,"b ""c""",\r\n1,"x\ny",3\r\n\r\n,,\n5',
    "tsv": "a\tb\n1\t\n",
    "json": ' \ufeff{"a": [1, -2.50e3, true, null, "\\ud83d\\ude00"], "b c": {}, "d": []} \n'.lstrip(" "),
    "jsonl": '{"a": 1}\n\n[1, "x"]\n"y"',
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_units_of_a_file_are_the_file_byte_by_byte(kind):
    raw = SAMPLES[kind].encode()
    found = list(units(io.BytesIO(raw), kind))
    assert "".join(unit.raw for unit in found).encode() == raw
    assert "".join(unit.spelled([cell.text for cell in unit.cells]) for unit in found).encode() == raw


@pytest.mark.parametrize(("kind", "part"), [("text", "line 가 of text. "), ("json", '{"a": "가나다", "b": [1, 2]},')])
def test_long_files_are_cut_into_bounded_units(kind, part):
    raw = (part * 20_000 if kind == "text" else "[" + part * 20_000 + "0]").encode()
    found = list(units(io.BytesIO(raw), kind))
    assert "".join(unit.raw for unit in found).encode() == raw
    assert len(found) > 10 and max(len(unit.raw) for unit in found) <= files.PIECE_CHARACTERS


def test_multi_byte_characters_on_the_border_of_blocks_stay_whole():
    for shift in range(4):
        text = "a" * shift + "가😀" * 20_000
        assert "".join(unit.raw for unit in units(io.BytesIO(text.encode()), "text")) == text


@pytest.mark.parametrize(
    "text",
    ['{"a": }', '{"a" 1}', "[1,]", "[1 2]", '{"a": 1,}', '{"a": 1', '"a" "b"', "01", '"\\x"', '{1: 2}', "[}", "nul",
     '{"a": "\n"}', "]", '{"a": [1}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):
        json.loads(text)
    with pytest.raises(SourceError, match="not JSON"):
        list(units(io.BytesIO(text.encode()), "json"))


def test_json_may_be_nested_as_deep_as_it_likes():
    text = "[" * 50_000 + '"x"' + "]" * 50_000
    assert [cell.text for unit in units(io.BytesIO(text.encode()), "json") for cell in unit.cells] == ["x"]


@pytest.mark.parametrize("content", ['a,b\n1,"x\n', 'a,b\n1,x"y"\n', 'a,b\n1,"x"y,"z"\n'])
def test_broken_quotes_are_refused_or_read_and_never_lost(content):
    try:
        cells = [cell.text for unit in units(io.BytesIO(content.encode()), "csv") for cell in unit.cells]
    except SourceError as error:
        assert "row" in error.where and "--as text" in error.remedy and "x" not in error.what
    else:
        assert any("x" in cell for cell in cells)


def test_tables_are_read_as_the_csv_module_reads_them():
    rows = [["a", "b, c", 'd "e"'], ["1", "", "x\r\ny"], ["가", "'", " lead"]]
    sink = io.StringIO()
    csv.writer(sink).writerows(rows)
    found = list(units(io.BytesIO(sink.getvalue().encode()), "csv"))
    assert [[cell.text for cell in unit.cells] for unit in found] == rows


def test_kinds_are_told_by_their_suffix():
    named = {
        "A.CSV": "csv",
        "x.tsv": "tsv",
        "x.json": "json",
        "x.ndjson": "jsonl",
        "x.parquet": "parquet",
        "x.py": "text",
    }
    assert {name: kind_of(name) for name in [*named, "README", ".env"]} == named | {"README": "text", ".env": "text"}


def test_what_is_binary_is_told_from_text_with_a_fault():
    assert is_binary(b"\x89PNG\r\n") and is_binary(bytes(range(256))) and is_binary(b"PK\x03\x04")
    for text in (
        "가나다".encode("cp949"),
        b"a\x00b of text",
        "\ufeffabc".encode("utf-16"),
        "a b c d e".encode("utf-16-le"),
    ):
        assert not is_binary(text), text


def test_places_count_lines_and_columns_inside_a_unit():
    unit = Unit("ab\ncd ef\n", [Cell("ab\ncd ef\n", 0, 9, verbatim=True)], line=7, column=3)
    assert [unit.place(unit.cells[0], offset) for offset in (0, 3, 6)] == [(7, 3), (8, 1), (8, 4)]


def test_names_of_columns_and_shapes_tell_nothing():
    for name in ("note", "$.list[0].mail", "column 3", "turns[0].text"):
        assert scanfile._shown(name) == name
    for name in (EMAIL, "4539148803436467", "홍길동", "x\x1b[31m"):
        assert scanfile._shown(name) == "(column)"
    for value in VALUES:
        assert not any(part in scanfile.shape(value) for part in value.split())
    assert "\x1b" not in scanfile.printable("a\x1b[2Jb\udcff")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def leaves(value):
    """Every string and number, and every key that is more than a plain name, in the order of the document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not files._PLAIN_KEY.fullmatch(key):
                yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


@given(JSON_VALUES, st.sampled_from([None, 1]), st.booleans())
def test_every_text_of_a_json_document_is_seen_and_can_be_replaced(value, indent, escaped):
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    found = list(units(io.BytesIO(text.encode()), "json"))
    assert "".join(unit.raw for unit in found) == text
    assert [cell.text for unit in found for cell in unit.cells] == list(leaves(value))
    for unit in found:
        for cell in unit.cells:
            spelling = unit.raw[cell.start : cell.end]
            assert str(json.loads(spelling)) == cell.text and json.loads(cell.spell('new "x"\n')) == 'new "x"\n'


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=4), min_size=1, max_size=6), st.sampled_from(["\r\n", "\n"]))
def test_every_cell_of_a_table_is_seen_and_can_be_replaced(rows, ending):
    sink = io.StringIO()
    csv.writer(sink, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows(rows)
    text = sink.getvalue()
    found = list(units(io.BytesIO(text.encode()), "csv"))
    assert "".join(unit.raw for unit in found) == text
    assert [[cell.text for cell in unit.cells] for unit in found] == rows
    changed = "".join(unit.spelled(['a "b",\n' + cell.text for cell in unit.cells]) for unit in found)
    assert list(csv.reader(io.StringIO(changed, newline=""))) == [['a "b",\n' + cell for cell in row] for row in rows]


@given(st.text(st.sampled_from("ab\n\r 가😀\ufeff.\x0b"), max_size=300), st.integers(3, 40))
def test_every_character_of_a_text_is_seen_in_its_place(text, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PIECE_CHARACTERS", piece)
        patch.setattr(files, "MARGIN_CHARACTERS", 2)
        found = list(units(io.BytesIO(text.encode()), "text"))
    assert "".join(unit.raw for unit in found) == text
    at = 0
    for unit in found:
        before = text[:at]
        assert (unit.line, unit.column) == (before.count("\n") + 1, at - before.rfind("\n"))
        at += len(unit.raw)
        assert before.endswith(unit.before) and text[at:].startswith(unit.after) and len(unit.raw) <= piece


# --- copies -------------------------------------------------------------------------------------------------------


def test_a_copy_differs_in_the_values_alone(scanner, tmp_path):
    cases = {
        "a.txt": (f"[PERSON_3] wrote to {EMAIL}.\r\nCard {CARD}, again {CARD.replace(' ', '-')}\n",
                  "[PERSON_3] wrote to [EMAIL_ADDRESS_1].\r\nCard [CREDIT_CARD_1], again [CREDIT_CARD_1]\n"),
        "b.csv": (f'\ufeffa,"b"\r\n"say ""hi"" {EMAIL}","1,300.50"\r\n"x",{PHONE}\r\n',
                  '\ufeffa,"b"\r\n"say ""hi"" [EMAIL_ADDRESS_1]","1,300.50"\r\n"x",[PHONE_NUMBER_1]\r\n'),
        "c.json": (f'{{"n":  1.50, "m": "\\uac00 {EMAIL}",\n "card": 4539148803436467 }}',
                   '{"n":  1.50, "m": "\\uac00 [EMAIL_ADDRESS_1]",\n "card": "[CREDIT_CARD_1]" }'),
        "d.jsonl": (f'{{"a": "{PHONE}"}}\n\n{{"a": "{EMAIL}"}}\n',
                    '{"a": "[PHONE_NUMBER_1]"}\n\n{"a": "[EMAIL_ADDRESS_1]"}\n'),
        "e.py": ("# nothing to see: 1,234.56 USD at 5.25%\nx = 2300.45\n", None),
    }  # fmt: skip
    for name, (content, expected) in cases.items():
        path = written(tmp_path / name, content)
        os.chmod(path, 0o640)
        copy = tmp_path / "out" / name
        result = scanner.scan(path, copy=copy)
        assert not result.failures and result.redacted == str(copy)
        assert copy.read_bytes().decode() == (content if expected is None else expected), name
        assert stat.S_IMODE(copy.stat().st_mode) == 0o640
        assert Path(path).read_bytes().decode() == content
    assert len(list((tmp_path / "out").iterdir())) == len(cases), "a draft was left behind"


def test_numbers_of_placeholders_go_on_through_a_long_text_and_start_anew_with_each_row(scanner, tmp_path):
    text = f"{EMAIL}\n" + "word " * 9000 + f"\nother@example.com then {EMAIL}\n"
    copy = tmp_path / "copy.txt"
    scanner.scan(written(tmp_path / "a.txt", text), copy=copy)
    kept = [word for word in copy.read_text().split() if word not in ("word", "then")]
    assert kept == ["[EMAIL_ADDRESS_1]", "[EMAIL_ADDRESS_2]", "[EMAIL_ADDRESS_1]"]
    scanner.scan(
        written(tmp_path / "a.jsonl", f'{{"a": "{EMAIL}"}}\n{{"a": "o@b.kr"}}\n'), copy=tmp_path / "copy.jsonl"
    )
    assert (tmp_path / "copy.jsonl").read_text().count("[EMAIL_ADDRESS_1]") == 2


def test_a_parquet_copy_keeps_its_schema(scanner, tmp_path):
    schema = pyarrow.schema(
        [("id", pyarrow.int64()), ("text", pyarrow.large_string()),
         ("turns", pyarrow.list_(pyarrow.struct([("text", pyarrow.string()), ("n", pyarrow.int32())])))],
    )  # fmt: skip
    rows = [
        {"id": n, "text": f"mail {EMAIL}" if n == 300 else None, "turns": [{"text": PHONE, "n": n}]} for n in range(600)
    ]
    rows[7]["id"] = int(CARD.replace(" ", ""))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), tmp_path / "a.parquet")
    result = scanner.scan(str(tmp_path / "a.parquet"), copy=tmp_path / "b.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "b.parquet")
    assert not result.failures and table.schema == schema
    found = table.to_pylist()
    assert found[300] == {
        "id": 300,
        "text": "mail [EMAIL_ADDRESS_1]",
        "turns": [{"text": "[PHONE_NUMBER_1]", "n": 300}],
    }
    assert found[7]["id"] is None and found[8]["id"] == 8


def test_a_copy_in_which_something_survives_is_not_written(scanner, tmp_path, monkeypatch):
    monkeypatch.setattr(scanfile._Numbers, "replaced", lambda self, unit, found: [cell.text for cell in unit.cells])
    for name, content in {"a.txt": f"card {CARD}", "b.csv": f"a,b\n{PHONE},x\n"}.items():
        result = scanner.scan(written(tmp_path / name, content), copy=tmp_path / "out" / name)
        assert [failure.reason.split(":")[0] for failure in result.failures] == ["identifier-survives"]
        assert scanfile.exit_code([result]) == 2 and not result.redacted
    assert list((tmp_path / "out").iterdir()) == []


def test_a_copy_never_overwrites_its_input(scanner, tmp_path):
    path = written(tmp_path / "a.txt", EMAIL)
    os.link(path, tmp_path / "hard")
    os.symlink(path, tmp_path / "soft")
    for copy in (Path(path), tmp_path / "hard", tmp_path / "soft"):
        result = scanner.scan(path, copy=copy)
        assert "overwrite" in result.failures[0].reason and not result.redacted
    assert Path(path).read_text() == EMAIL


# --- the command --------------------------------------------------------------------------------------------------


def test_exit_codes_say_clean_found_and_not_scanned(tmp_path):
    clean, dirty, broken = tmp_path / "clean.txt", tmp_path / "dirty.txt", tmp_path / "broken.txt"
    written(clean, "KOSPI stood at 2,300.45 on 2024-03-15.\n")
    written(dirty, f"mail {EMAIL}\n")
    written(broken, b"caf\xe9 of latin-1\n")
    done = scan(clean, cwd=tmp_path)
    assert (done.returncode, b"clean: 1 files, 0 findings" in done.stdout) == (0, True), done
    done = scan(clean, dirty, cwd=tmp_path)
    assert done.returncode == 1 and b"EMAIL_ADDRESS" in done.stdout and EMAIL.encode() not in done.stdout
    done = scan(clean, dirty, broken, cwd=tmp_path)
    assert done.returncode == 2 and b"is not UTF-8: wrong byte at offset 3" in done.stdout
    assert scan(tmp_path / "none.txt", cwd=tmp_path).returncode == 2
    written(tmp_path / "half.json", f'{{"a": "{EMAIL}"')
    assert scan("half.json", cwd=tmp_path).returncode == 2
    assert scan("half.json", "--as", "text", cwd=tmp_path).returncode == 1
    for wrong in (["--show", "all"], ["--as", "xml"], ["--no-such"], []):
        assert scan(*([clean] if wrong else []), *wrong, cwd=tmp_path).returncode == 2, wrong


def test_folders_are_read_through_and_binaries_skipped_with_a_word(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / ".git").mkdir()
    written(tmp_path / "in" / "deep" / "b.txt", f"call {PHONE}\n")
    written(tmp_path / "in" / "a.png", b"\x89PNG\r\n\x1a\n" + bytes(64))
    written(tmp_path / "in" / ".git" / "config", EMAIL)
    os.symlink(tmp_path / "in", tmp_path / "in" / "loop")
    os.mkfifo(tmp_path / "in" / "pipe")
    done = scan("in", "--redact", "out", cwd=tmp_path)
    assert done.returncode == 1, done
    told = done.stdout.decode()
    assert "in/a.png: binary" in told and "in/pipe: no regular file" in told and "PHONE_NUMBER 1" in told
    assert (tmp_path / "out" / "deep" / "b.txt").read_text() == "call [PHONE_NUMBER_1]\n"
    assert scan("in/a.png", cwd=tmp_path).returncode == 2


def test_standard_input_and_output(tmp_path):
    done = scan("-", "--redact", "-", cwd=tmp_path, stdin=f"mail {EMAIL}".encode())
    assert (done.returncode, done.stdout) == (1, b"mail [EMAIL_ADDRESS_1]")
    assert b"EMAIL_ADDRESS" in done.stderr and EMAIL.encode() not in done.stderr
    done = scan("-", "--as", "csv", "--json", cwd=tmp_path, stdin=f"a,b\nx,{PHONE}\n".encode())
    assert json.loads(done.stdout)["files"][0]["findings"][0]["field"] == "b"


def test_the_json_has_its_shape_and_equal_files_give_equal_bytes(tmp_path):
    written(tmp_path / "a.txt", f"mail {EMAIL}\nNUL \0\n")
    first, second = (scan("a.txt", "--json", cwd=tmp_path, PYTHONHASHSEED=seed) for seed in "12")
    assert first.stdout == second.stdout and first.returncode == 2
    document = json.loads(first.stdout)
    assert set(document) == {"domainlm_scan", "exit_code", "files", "summary"}
    assert document["exit_code"] == 2 and document["domainlm_scan"] == 1
    assert set(document["summary"]) == {"files", "clean", "skipped", "failed", "findings", "entities", "rules"}
    (file,) = document["files"]
    assert set(file) == {
        "path",
        "format",
        "found",
        "findings",
        "findings_left_out",
        "failures",
        "failures_left_out",
        "skipped",
        "redacted",
    }
    assert file["failures"] == [
        {"line": 1, "row": 0, "reason": "invalid-text", "remedy": "remove NUL characters and lone surrogates"}
    ]
    written(tmp_path / "a.txt", f"mail {EMAIL}\n")
    (finding,) = json.loads(scan("a.txt", "--json", cwd=tmp_path).stdout)["files"][0]["findings"]
    assert finding == {
        "column": 6, "entity": "EMAIL_ADDRESS", "field": "", "line": 1, "recognizer": finding["recognizer"], "row": 0,
        "score": finding["score"], "shape": "22 characters with @",
    }  # fmt: skip
    assert "Email" in finding["recognizer"]
    hidden = json.loads(scan("a.txt", "--json", "--show", "none", cwd=tmp_path).stdout)
    assert hidden["files"][0]["findings"][0]["shape"] == ""


def test_copies_that_would_collide_or_overwrite_are_refused_before_anything_is_read(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "a.txt", EMAIL)
    for arguments in (("x/a.txt", "y/a.txt", "--redact", "out"), ("x", "--redact", "x"), ("x", "--redact", "y/a.txt")):
        done = scan(*arguments, cwd=tmp_path)
        assert done.returncode == 2 and b"->" in done.stderr, done
    assert not (tmp_path / "out").exists() and (tmp_path / "x" / "a.txt").read_text() == EMAIL


def test_jurisdictions_choose_the_rules(tmp_path):
    written(tmp_path / "a.txt", f"주민등록번호 {RRN}\n")
    done = scan("a.txt", "--jurisdiction", "us,kr", cwd=tmp_path)
    assert done.returncode == 1 and b"KR_RRN" in done.stdout and b"rules: us,kr" in done.stdout, done
    scan("a.txt", "--jurisdiction", "us,kr", "--redact", "b.txt", cwd=tmp_path)
    assert RRN not in (tmp_path / "b.txt").read_text() and "주민등록번호" in (tmp_path / "b.txt").read_text()
    done = scan("a.txt", "--jurisdiction", "U-S", cwd=tmp_path)
    assert done.returncode == 2 and b"->" in done.stderr


def test_it_works_without_torch_transformers_or_zenml_and_its_help_without_presidio(tmp_path):
    written(tmp_path / "a.txt", EMAIL)
    code = (
        "import sys\n"
        "from cli.main import app\n"
        "try: app()\n"
        "except SystemExit as done: print(done.code)\n"
        "heavy = {'torch', 'zenml', 'transformers', 'pandas', 'datasets', 'mlflow', 'presidio_analyzer'}\n"
        "print(sorted(name for name in heavy if sys.modules.get(name)))\n"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code, "scan", argument], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ).stdout.splitlines()[-2:]
        for argument in ("--help", "a.txt")
    ]  # fmt: skip
    assert told[0] == ["0", "[]"]
    assert told[1][0] == "1" and "torch" not in told[1][1] and "transformers" not in told[1][1], told
    assert "zenml" not in told[1][1]


def test_the_help_tells_exit_codes_and_pre_commit(tmp_path):
    told = " ".join(scan("--help", cwd=tmp_path, COLUMNS="200").stdout.decode().split())
    for word in ("pre-commit", "Exit code", "domainlm-scan", "findings_left_out", "--redact", "types: [text]}]}"):
        assert word in told, word


def test_a_large_table_is_read_in_bounded_memory(tmp_path):
    """The peak of 40 MB must not lie far above that of 2 MB; the margin is what the allocator does not hand back."""
    line = "7,KOSPI closed higher,2300.45,2024-03-15\n"
    code = (
        "import re, sys\n"
        "from domainlm.redact.files import units\n"
        "with open(sys.argv[1], 'rb') as stream:\n"
        "    rows = sum(1 for _ in units(stream, 'csv'))\n"
        "peak = re.search('VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"  # of this process alone
        "print(rows, peak)\n"
    )
    peaks = []
    for rows in (50_000, 1_000_000):
        path = tmp_path / f"{rows}.csv"
        path.write_text("id,text,value,date\n" + line * rows)
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        counted, peak = map(int, done.stdout.split())
        assert counted == rows + 1
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 8 * 1024, peaks  # KiB


def test_a_scan_starts_quickly(tmp_path):
    written(tmp_path / "a.txt", "nothing here")
    before = os.times()
    started = time.monotonic()
    scan("a.txt", cwd=tmp_path)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 8, f"{spent:.1f} CPU seconds, {time.monotonic() - started:.1f} s"
