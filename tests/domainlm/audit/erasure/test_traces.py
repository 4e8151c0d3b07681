"""An id is found wherever it stands in a stream, and nothing that only looks like one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from domainlm.audit.erasure import traces
from domainlm.audit.erasure.traces import files_naming, finder, rows_naming
from domainlm.keys import KeyRing

KEYS = KeyRing.new("bank-key")
IDS = [KEYS.keyed_id("record", str(number)) for number in range(20)]


@pytest.mark.parametrize("size", [32, 33, 50, 64, 1000])
def test_an_id_on_the_border_of_two_reads_is_found(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(traces, "READ_BYTES", size)
    for before in range(0, 120):
        assert finder(IDS[:2])(io.BytesIO(b"x" * before + IDS[0].encode() + b"yyy")) == {IDS[0]}


def test_ids_that_follow_each_other_directly_are_all_found() -> None:
    assert finder(IDS[5:15])(io.BytesIO("".join(IDS).encode())) == set(IDS[5:15])
    assert finder(IDS)(io.BytesIO((IDS[0][:8] + "".join(IDS)).encode())) == set(IDS)  # a mark that begins no id


def test_a_cut_id_and_one_that_was_not_asked_for_are_not_found() -> None:
    assert finder(IDS[:1])(io.BytesIO(IDS[0][:-1].encode())) == set()
    assert finder(IDS[:1])(io.BytesIO(IDS[1].encode())) == set()
    assert finder([])(io.BytesIO(IDS[1].encode())) == set()


def test_a_file_is_found_by_its_name_and_a_link_is_not_followed(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    for folder in (home / "a" / "b", home / "kept", outside):
        folder.mkdir(parents=True)
    (home / "a" / "b" / f"{IDS[0]}.html").write_text("")
    (home / "a" / "weights.safetensors").write_text(IDS[0])  # tensors hold no ids
    (home / "kept" / "list").write_text(IDS[0])
    (outside / "copy").write_text(IDS[0])
    (home / "link").symlink_to(outside)
    found = dict(files_naming(home, IDS, [home / "kept"]))
    assert found == {home / "a" / "b" / f"{IDS[0]}.html": {IDS[0]}}


@pytest.mark.parametrize("raw", [b"", b"not arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"x" * 40])
def test_what_is_no_stream_of_records_gives_nothing(raw: bytes) -> None:
    assert rows_naming(io.BytesIO(raw), frozenset(IDS), KEYS) == set()
