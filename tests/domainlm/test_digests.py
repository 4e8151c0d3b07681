"""A digest changes with the content and with nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from domainlm.digests import (
    canonical_json,
    code_files,
    digest_code,
    digest_dataset,
    digest_folder,
    digest_json,
    digest_tensors,
    parse_canonical,
)
from domainlm.errors import ArtifactError


def test_json_digests_ignore_the_order_of_keys_and_see_every_value() -> None:
    assert digest_json({"a": 1, "b": [1, 2]}) == digest_json({"b": [1, 2], "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": 2})


def test_tensor_digests_ignore_order_and_metadata_and_see_one_bit(tmp_path: Path) -> None:
    a, b = torch.arange(6.0).reshape(2, 3), torch.ones(4)
    save_file({"a": a, "b": b}, tmp_path / "1.safetensors")
    save_file({"b": b, "a": a}, tmp_path / "2.safetensors", metadata={"written": "later"})
    changed = a.clone()
    changed[0, 0] = torch.nextafter(a[0, 0], torch.tensor(1.0))
    save_file({"a": changed, "b": b}, tmp_path / "3.safetensors")
    save_file({"a": a.reshape(3, 2), "b": b}, tmp_path / "4.safetensors")
    digests = [digest_tensors(tmp_path / f"{n}.safetensors") for n in (1, 2, 3, 4)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_truncated_tensor_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"a\.safetensors.*ends too early"):
        digest_tensors(path)


def test_a_dataset_digest_ignores_chunks_and_sees_order_and_values() -> None:
    rows = [{"id": str(n), "value": [n, n + 1]} for n in range(25)]
    whole = Dataset.from_list(rows)
    picked = Dataset.from_list([*rows, {"id": "x", "value": []}]).select(range(25))
    assert digest_dataset(whole) == digest_dataset(picked) == digest_dataset(whole, batch_rows=3)
    assert digest_dataset(whole) != digest_dataset(whole.select([1, 0, *range(2, 25)]))
    assert digest_dataset(whole) != digest_dataset(Dataset.from_list([*rows[:-1], {"id": "24", "value": [24, 26]}]))


def test_a_folder_digest_sees_names_and_content_but_not_the_spelling_of_json(tmp_path: Path) -> None:
    for name, text in (("a", '{"x": 1, "y": 2}'), ("b", '{"y":2,\n"x":1}'), ("c", '{"x": 1, "y": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(text)
    first, respelled, changed = (digest_folder(tmp_path / name) for name in "abc")
    assert first == respelled != changed
    (tmp_path / "a" / "card.json").rename(tmp_path / "a" / "other.json")
    assert digest_folder(tmp_path / "a") != first


def test_a_code_digest_follows_the_files_and_leaves_caches_out(tmp_path: Path) -> None:
    stage = tmp_path / "domainlm" / "redact"
    (stage / "__pycache__").mkdir(parents=True)
    (stage / "engine.py").write_text("x = 1\n")
    before = digest_code(tmp_path, ["domainlm/redact"])
    (stage / "__pycache__" / "engine.cpython-311.pyc").write_bytes(b"\0")
    assert digest_code(tmp_path, ["domainlm/redact"]) == before
    (stage / "engine.py").write_text("x = 2\n")
    assert digest_code(tmp_path, ["domainlm/redact"]) != before
    assert [path.name for path in code_files(tmp_path, ["domainlm/redact"])] == ["engine.py"]


def test_canonical_json_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(Exception, match=r"(?i)nan|float|domain"):
        digest_json({"loss": float("nan")})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def by_comparison(raw: bytes) -> bool:
    """The plain definition: bytes are canonical if the value they hold is written so; from 2**53 on, a float."""

    def number(text: str) -> int | float:
        return int(text) if len(text) < 17 and abs(int(text)) < 2**53 else float(text)

    try:
        return canonical_json(json.loads(raw, parse_int=number)) == raw
    except (ValueError, RecursionError):
        return False


def parses(raw: bytes) -> bool:
    try:
        parse_canonical(raw)
    except ValueError:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(JSON, st.data())
def test_canonical_bytes_are_parsed_and_any_other_spelling_is_refused(value: Any, data: st.DataObject) -> None:
    raw = canonical_json(value)
    assert parses(raw) == by_comparison(raw)
    for other in (
        json.dumps(value).encode(),
        json.dumps(value, separators=(",", ":")).encode(),
        json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass"),
    ):
        assert parses(other) == by_comparison(other)
    place = data.draw(st.integers(0, len(raw) - 1))
    flipped = raw[:place] + bytes([raw[place] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[place + 1 :]
    assert parses(flipped) == by_comparison(flipped)


@pytest.mark.parametrize(
    "raw",
    [b"NaN", b"[Infinity]", b"1.0", b"-0", b"1e-07", b"1E5", b"9007199254740993", b"1" * 5000,
     b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b'"\\u0041"', b'"\\u000A"', b"\xef\xbb\xbf1", b"[" * 100_000,
     b"", b'"\xff"', b"1e999"],
)  # fmt: skip
def test_other_spellings_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        parse_canonical(raw)
    assert not by_comparison(raw)


@pytest.mark.parametrize(
    "value",
    [
        1e-7,
        1.5,
        9.353866718745587e16,
        -(2.0**53),
        1e20,
        {"\ue000": 1, "\U00010000": 2},
        {"한국": ["어", 0.1]},
        "\x7f\u2028\b\t\x1f",
    ],
)
def test_what_rfc_8785_writes_otherwise_than_python_is_read_back(value: Any) -> None:
    assert parse_canonical(canonical_json(value)) == value
