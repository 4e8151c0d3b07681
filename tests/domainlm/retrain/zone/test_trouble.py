"""Permissions, links, strange names and files, a zone that is gone or seems empty, a book that does not answer."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_zones import SETTLE_S, feed

from domainlm.errors import BookUnavailable
from domainlm.retrain.batches import LANDED, WITHDRAWN
from domainlm.retrain.zone import ZoneUnreachable, places
from domainlm.retrain.zone.changes import batch_id
from domainlm.retrain.zone.names import Names, fault_of, shown

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything; so for a while we are not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_path(tmp_path: Path) -> None:
    """Let others enter the test's folders; load what they may not load, where the interpreter is root's own."""
    batch_id("news", ["0"])
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777)


def look(one) -> object:
    for file in one.root.parent.glob("book.sqlite*"):
        file.chmod(0o666)
    with as_nobody():
        return one.settle()


def test_a_file_that_may_not_be_read_is_said_once_and_holds_up_no_other(desk, open_path) -> None:
    one = desk()
    closed = one.write("news/closed.csv", "closed")
    one.write("news/open.csv", "open")
    closed.chmod(0)
    scan = look(one)
    assert [batch.name for batch in scan.landed] == ["news/open.csv"]
    assert scan.unreadable == [("news/closed.csv", "cannot be opened (Permission denied)")]
    scan = look(one)
    assert (scan.unreadable, scan.counts["unreadable"]) == ([], 1)
    closed.chmod(0o644)  # which changes neither size nor time
    scan = look(one)
    assert [batch.name for batch in scan.landed] == ["news/closed.csv"] and scan.counts["unreadable"] == 0


def test_what_lies_in_a_folder_that_may_not_be_listed_is_not_taken_for_removed(desk, open_path) -> None:
    one = desk()
    one.write("news/in/a.csv", "a")
    one.write("news/b.csv", "b")
    one.settle()
    (one.root / "news/in").chmod(0)
    scan = look(one)
    assert scan.unreadable == [("news/in/", "cannot be opened (Permission denied)")]
    assert scan.removed == [] and set(one.states().values()) == {LANDED}
    assert look(one).unreadable == []
    (one.root / "news/in").chmod(0o755)
    assert look(one).lines() == []
    (one.root / "news/in").chmod(0)
    assert len(look(one).unreadable) == 1, "a state that comes back is said again"


def test_permission_taken_away_from_a_landed_file_keeps_its_batch(desk, open_path) -> None:
    one = desk(redigest_h=0)
    path = one.write("news/a.csv", "a")
    one.write("news/b.csv", "b")
    one.settle()
    path.chmod(0)
    assert look(one).unreadable == [("news/a.csv", "cannot be opened (Permission denied)")]
    assert set(one.states().values()) == {LANDED}
    path.chmod(0o644)
    assert look(one).lines() == [] and len(one.book.batches()) == 2


def test_a_zone_that_may_not_be_listed_is_unreachable(desk, open_path) -> None:
    one = desk()
    one.write("news/a.csv")
    one.settle()
    one.root.chmod(0)
    with pytest.raises(ZoneUnreachable, match="Permission denied"):
        look(one)
    one.root.chmod(0o755)
    assert look(one).lines() == []


def test_no_symbolic_link_is_followed(desk, tmp_path: Path) -> None:
    one = desk()
    secret = tmp_path / "secret.csv"
    secret.write_text("not ours")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.csv").write_text("nor this")
    one.write("news/a.csv")
    (one.root / "news/link.csv").symlink_to(secret)
    (one.root / "news/folder").symlink_to(tmp_path / "elsewhere")
    (one.root / "news/inside.csv").symlink_to(one.root / "news/a.csv")
    (one.root / "news/broken.csv").symlink_to("nowhere")
    scan = one.settle()
    assert [batch.name for batch in scan.landed] == ["news/a.csv"]
    said = dict(scan.unreadable)
    assert sorted(said) == ["news/broken.csv", "news/folder", "news/inside.csv", "news/link.csv"]
    assert all("symbolic link" in reason for reason in said.values())
    assert one.settle().unreadable == []


def test_a_file_that_becomes_a_link_to_elsewhere_is_not_read(desk, tmp_path: Path) -> None:
    one = desk()
    path = one.write("news/a.csv", "ours")
    one.write("news/b.csv", "b")
    one.settle()
    secret = tmp_path / "secret.csv"
    secret.write_text("not ours")
    path.unlink()
    path.symlink_to(secret)
    scan = one.settle()
    assert scan.landed == [] and scan.digested_bytes == 0
    assert one.states()["news/a.csv"] == WITHDRAWN


def test_a_folder_that_becomes_a_link_while_it_is_listed_is_not_entered(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "zone", tmp_path / "elsewhere"
    (root / "in").mkdir(parents=True), elsewhere.mkdir()
    (elsewhere / "x.csv").write_text("not ours")
    (root / "in").rmdir()
    (root / "in").symlink_to(elsewhere)
    place = places.Local(str(root))
    real = os.scandir

    class Folder:
        """Says of every entry that it is a folder, as it was when the listing began."""

        def __init__(self, entry: os.DirEntry) -> None:
            self.name = entry.name

        def is_dir(self, follow_symlinks: bool = True) -> bool:
            return True

    class Lying:
        def __init__(self, folder: int) -> None:
            self.entries = real(folder)

        def __enter__(self) -> Iterator[Folder]:
            return (Folder(entry) for entry in self.entries)

        def __exit__(self, *_: object) -> None:
            self.entries.close()

    os.scandir = Lying
    try:
        found = list(place.files(lambda name: False))
    finally:
        os.scandir = real
    assert [(type(one).__name__, one.path) for one in found] == [("Trouble", "in/")]


def test_pipes_sockets_and_folders_with_a_files_name_are_no_files(desk) -> None:
    one = desk()
    one.write("news/a.csv")
    os.mkfifo(one.root / "news/pipe.csv")
    (one.root / "news/folder.csv").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(one.root / "news")  # a socket's path may have 107 bytes
        try:
            server.bind("socket.csv")
        finally:
            os.chdir(here)
        scan = one.settle()
    assert [batch.name for batch in scan.landed] == ["news/a.csv"]
    assert sorted(name for name, _ in scan.unreadable) == ["news/pipe.csv", "news/socket.csv"]


STRANGE = [b"new\nline.csv", b"tab\t.csv", b"bad\xff.csv", b"esc\x1b[2J.csv", "txt.vsc\u202egnp.csv".encode(),
           b"file::memory.csv", "line\u2028.csv".encode()]  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_names_that_lie_or_cannot_be_told_are_refused_and_told_escaped(desk, name: bytes) -> None:
    one = desk()
    one.write("news/good.csv", "good")
    with open(os.path.join(os.fsencode(one.root), b"news", name), "wb") as stream:
        stream.write(b"data")
    scan = one.settle()
    assert [batch.name for batch in scan.landed] == ["news/good.csv"]
    ((told, reason),) = scan.unreadable
    assert told.isprintable() and told.encode() and "\n" not in reason and reason
    assert one.settle().unreadable == []


@pytest.mark.parametrize(
    "name",
    ["é.csv", "e\u0301.csv", "한국어 뉴스.csv", "A.csv", "a b.csv", "a'b;--.csv", 'a"b.csv', "%s.csv", "[x].csv",
     "*.csv", "?.csv", "{}.csv", "a#b.csv", "a\\b.csv", "~.csv.csv", "x" * 240 + ".csv", "$(id).csv", "-rf.csv"],
)  # fmt: skip
def test_unusual_names_land_and_can_be_found_again(desk, name: str) -> None:
    from domainlm.reading import locate

    one = desk()
    one.write(f"news/{name}", "data")
    one.write("news/other.csv", "other")
    batch = next(batch for batch in one.settle().landed if batch.files[0].path == f"news/{name}")
    assert locate(batch.files[0].uri) == [f"{one.root}/news/{name}"]
    assert one.settle().lines() == []
    (one.root / f"news/{name}").unlink()
    assert len(one.scan().withdrawn) == 1


def test_case_and_unicode_forms_are_different_files_and_a_pattern_fits_both_forms(desk) -> None:
    one = desk(feed(uri="caf\u00e9/*.csv"))
    for number, folder in enumerate(("caf\u00e9", "cafe\u0301")):
        one.write(f"{folder}/a.csv", str(number))
        one.write(f"{folder}/A.csv", f"upper {number}")
    assert len(one.settle().landed) == 4


def test_a_path_too_long_or_too_deep_is_said(desk) -> None:
    one = desk()
    deep = "/".join(["d" * 100] * 11)
    one.write(f"news/{deep}/a.csv")
    one.write("news/" + "/".join("d" * 60) + "/b.csv")
    scan = one.settle()
    assert scan.landed == [] and len(scan.unreadable) == 2
    assert all(len(name) <= 200 for name, _ in scan.unreadable)


@pytest.mark.parametrize(
    "path", ["../a.csv", "a/../b.csv", "/etc/a.csv", "a//b.csv", "./a.csv", "a/./b.csv", "s3://x/a.csv", "a::b.csv"]
)
def test_paths_that_an_object_store_may_hold_and_a_disk_cannot_are_refused(path: str) -> None:
    assert fault_of(path)


def test_names_are_shown_on_one_line_and_cut() -> None:
    assert shown("a\nb\x1b\udcff") == "a\\u000ab\\u001b\\udcff"
    assert shown("뉴스/a.csv") == "뉴스/a.csv"
    assert len(shown("x" * 5000)) == 200


def test_a_star_stays_in_its_folder_and_two_do_not(desk) -> None:
    names = Names(desk(feed("flat", "n/*.csv"), feed("deep", "m/**/*.csv")).settings)
    asked = ["n/a.csv", "n/x/a.csv", "m/a.csv", "m/x/y/a.csv", "a.csv", "n/a.csv.gz", "n/aXcsv"]
    found = [names.feed_of(path) for path in asked]
    assert [one and one.name for one in found] == ["flat", None, "deep", "deep", None, None, None]


def test_a_zone_that_is_not_there_is_unreachable_and_nothing_is_removed(desk) -> None:
    one = desk()
    one.write("news/a.csv")
    one.settle()
    one.root.rename(one.root.parent / "unmounted")
    for _ in range(3):
        with pytest.raises(ZoneUnreachable, match="cannot be listed"):
            one.scan()
        one.pass_time(3600)
    (one.root.parent / "unmounted").rename(one.root)
    assert one.scan().lines() == [] and one.states() == {"news/a.csv": LANDED}


def test_a_zone_that_is_suddenly_empty_is_held_until_it_is_confirmed(desk) -> None:
    one = desk()
    one.write("news/a.csv", "a"), one.write("news/b.csv", "b")
    one.settle()
    (one.root / "news").rename(one.root.parent / "away")  # an unmounted disk leaves an empty folder
    scan = one.scan()
    assert scan.removed == [] and "all its files are gone (2)" in scan.held[0]
    one.pass_time(30)
    assert one.another().scan().held, "another process knows since when"
    (one.root.parent / "away").rename(one.root / "news")
    assert one.scan().lines() == [] and set(one.states().values()) == {LANDED}
    (one.root / "news").rename(one.root.parent / "away")
    one.scan()
    one.pass_time(61)
    scan = one.scan()
    assert scan.removed == ["news/a.csv", "news/b.csv"] and len(scan.withdrawn) == 2
    (one.root.parent / "away").rename(one.root / "news")
    assert len(one.settle().landed) == 2 and set(one.states().values()) == {LANDED}


def test_a_clock_that_is_set_back_does_not_confirm_a_disappearance(desk) -> None:
    one = desk()
    one.write("news/a.csv", "a")
    one.settle()
    (one.root / "news/a.csv").unlink()
    one.scan()
    one.wall -= 100_000
    assert one.scan().held
    one.pass_time(30)
    assert one.scan().held
    one.pass_time(31)
    assert one.scan().removed == ["news/a.csv"]


def test_a_listing_that_fails_in_the_middle_changes_nothing(desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk()
    one.write("news/a.csv", "a"), one.write("news/b.csv", "b")
    one.settle()
    (one.root / "news/a.csv").unlink()
    real = places.Local.files

    def broken(self: places.Local, ignored: object) -> Iterator[object]:
        yield from list(real(self, ignored))[:0]
        raise ZoneUnreachable("the zone cannot be listed (Stale file handle)", "zone")

    with monkeypatch.context() as patched, pytest.raises(ZoneUnreachable):
        patched.setattr(places.Local, "files", broken)
        one.scan()
    assert set(one.states().values()) == {LANDED}
    assert one.scan().removed == ["news/a.csv"]


def test_files_that_vanish_between_listing_and_reading_are_left_for_the_next_scan(
    desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = desk()
    for number in range(20):
        one.write(f"news/{number:02}.csv", str(number))
    one.scan()
    one.pass_time(SETTLE_S)
    real = places.Local.read

    def read(self: places.Local, found: object, algorithms: tuple = ()) -> object:
        number = int(found.path[5:7])
        if number % 3 == 0:
            (one.root / found.path).unlink(missing_ok=True)
        return real(self, found, algorithms)

    with monkeypatch.context() as patched:
        patched.setattr(places.Local, "read", read)
        assert len(one.scan().landed) == 13
    assert one.settle().lines() == [] and len(one.book.batches()) == 13


def test_a_disk_that_fails_while_it_is_read_is_said_and_the_others_go_on(desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk()
    one.write("news/bad.csv", "bad"), one.write("news/good.csv", "good")
    one.scan()
    one.pass_time(SETTLE_S)
    real = places._read

    def failing(stream: object, algorithms: object) -> object:
        if os.readlink(f"/proc/self/fd/{stream.fileno()}").endswith("bad.csv"):
            raise OSError(5, "Input/output error")
        return real(stream, algorithms)

    with monkeypatch.context() as patched:
        patched.setattr(places, "_read", failing)
        scan = one.scan()
    assert [batch.name for batch in scan.landed] == ["news/good.csv"]
    assert scan.unreadable == [("news/bad.csv", "cannot be read (Input/output error)")]
    assert [batch.name for batch in one.settle().landed] == ["news/bad.csv"], "tried again in every scan"


def test_a_book_that_does_not_answer_stops_the_scan_and_the_next_one_finds_the_same(
    desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = desk()
    one.write("news/a.csv")
    one.scan()
    one.pass_time(SETTLE_S)

    def down(batches: object) -> None:
        raise BookUnavailable("the batch book refuses", "book")

    with monkeypatch.context() as patched, pytest.raises(BookUnavailable):
        patched.setattr(one.book, "land_all", down)
        one.scan()
    assert len(one.settle().landed) == 1


def test_more_new_files_than_one_scan_takes_in_land_with_the_next_ones(desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domainlm.retrain.zone.changes.MOST", 7)
    one = desk(settle_s=0)
    for number in range(20):
        one.write(f"news/{number:02}.csv", str(number), mtime=1_700_000_000)
    for number in range(10):
        one.write(f"news/0-empty{number}.csv", "")
    first = one.scan()
    assert (len(first.landed), first.more, one.zone.next_settle_s) == (7, True, 0.0)
    assert len(one.zone.settled(0).landed) == 13
    assert [batch.number for batch in one.book.batches()] == list(range(1, 21))
    assert [batch.name for batch in one.book.batches()] == [f"news/{number:02}.csv" for number in range(20)]


def test_no_message_holds_a_value_of_the_data(desk) -> None:
    one = desk()
    one.write("news/a.csv", "text,label\nKIM MINSU 900101-1234567,up\n")
    one.write("news/b.csv", "KIM MINSU 900101-1234567")
    one.write("news/b.csv.sha256", "KIM MINSU 900101-1234567")
    scan = one.settle()
    rows = [*one.book.known("news"), *one.book.known("")]
    assert "MINSU" not in repr(scan) + repr(rows) + repr(one.book.batches()) and scan.unreadable


def test_an_unknown_store_is_refused_with_a_remedy(desk) -> None:
    with pytest.raises(ZoneUnreachable, match="no client"):
        desk(zone="nosuchstore://bucket/landing")
