"""An archive has one spelling, other tools read it, and nothing in it is taken for a path."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.audit.proof import tarball
from domainlm.errors import EvidenceRefused

FILES = {"bundle.json": b"{}", "a/b.txt": b"x" * 513, "empty": b"", "full": b"y" * 512}


def written(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    tarball.write(target, [(name, io.BytesIO(data)) for name, data in files.items()])
    return target.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    stream = io.BytesIO(data)
    found = tarball.read(stream, "bundle")
    return {name: io.BufferedReader(tarball.Part(stream, member)).read() for name, member in found.items()}


def refused(data: bytes) -> str:
    with pytest.raises(EvidenceRefused) as raised:
        read(data)
    return raised.value.code


def test_what_is_written_is_read_back_here_and_by_tar() -> None:
    data = written(FILES)
    assert read(data) == FILES and len(data) % tarball.RECORD == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == sorted(FILES)
        assert {name: archive.extractfile(name).read() for name in FILES} == FILES
        member = archive.getmember("full")
        assert (member.mode, member.mtime, member.uid, member.uname) == (0o600, 0, 0, "")


@pytest.mark.parametrize(("name", "size"), [("bundle.json", 0), ("a/b", 8**11 - 1), ("x" * 100, 512)])
def test_the_header_is_the_standard_library_s(name: str, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    theirs = bytearray(member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
    parsed = tarfile.TarInfo.frombuf(tarball.header(name, size), "ascii", "strict")
    assert (parsed.name, parsed.size, parsed.type, parsed.chksum) == (name, size, b"0", parsed.chksum)
    assert tarball.header(name, size)[:148] == bytes(theirs[:148])


def test_the_order_of_writing_does_not_count() -> None:
    assert written(FILES) == written(dict(reversed(FILES.items())))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_flipped_bit_outside_of_the_files_is_refused_and_one_inside_changes_that_file_alone(
    data: st.DataObject,
) -> None:
    archive = bytearray(written(FILES))
    place = data.draw(st.integers(0, len(archive) - 1))
    archive[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read(bytes(archive))
    except EvidenceRefused:
        return
    assert found.keys() == FILES.keys()
    assert sum(found[name] != FILES[name] for name in FILES) == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_with_a_name(raw: bytes) -> None:
    for data in (raw, written(FILES)[:-512] + raw, raw + written(FILES)):
        try:
            found = read(data)
        except EvidenceRefused as error:
            assert error.code in {"malformed", "path-trick", "too-large"}
        else:
            assert found in (FILES, {})


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../out", "a/../../b", "a//b", "a/", ".", "..", "", "A", "a\\b", "c:/x", "a b", "a\nb", "ä",
     "x" * 101, "./a", "a/.", "-a", "~a", "con:"],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(EvidenceRefused) as raised:
        written({name: b""})
    assert raised.value.code == "path-trick"
    member = tarfile.TarInfo(name)
    try:
        block = member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError:
        return
    assert refused(block + bytes(tarball.RECORD - 512)) in {"path-trick", "malformed"}


@pytest.mark.parametrize("kind", [*"1234567SLKxgV", "\0", "a"])
def test_links_devices_and_extensions_are_refused(kind: str) -> None:
    member = tarfile.TarInfo("bundle.json")
    member.type, member.linkname = kind.encode(), "/etc/passwd" if kind in "12" else ""
    data = member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict") + bytes(tarball.RECORD - 512)
    assert refused(data) in {"path-trick", "malformed"}
    if kind in "123456SLKxg":
        assert refused(data) == "path-trick"


def test_the_same_name_twice_or_out_of_order_is_refused() -> None:
    one, two = tarball.header("a", 0), tarball.header("b", 0)
    end = bytes(tarball.RECORD - 1024)
    assert refused(one + one + end) == "path-trick"
    assert refused(two + one + end) == "path-trick"
    assert read(one + two + end) == {"a": b"", "b": b""}


def test_a_size_beyond_the_file_and_one_beyond_the_format_are_refused() -> None:
    assert refused(tarball.header("a", 10**9) + bytes(tarball.RECORD - 512)) == "malformed"
    with pytest.raises(EvidenceRefused) as raised:
        tarball.header("a", 8**11)
    assert raised.value.code == "too-large"
    huge = bytearray(tarball.header("a", 0))
    huge[124:136] = b"\x80" + (1 << 60).to_bytes(11, "big")  # base 256, as GNU tar writes more than 8 GiB
    assert refused(bytes(huge) + bytes(tarball.RECORD - 512)) == "malformed"


def test_trailing_bytes_a_missing_end_and_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(FILES)
    for other in (data + b"x", data + bytes(512), data + data, data[:-1], data[:-1024], data[:-1] + b"x", b""):
        assert refused(other) == "malformed"
    monkeypatch.setattr(tarball, "MAX_FILES", 3)
    assert refused(data) == "too-large"


def test_a_compressed_archive_is_no_archive() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("bundle.json"))
    assert refused(target.getvalue()) == "malformed"
