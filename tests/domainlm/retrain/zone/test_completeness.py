"""Half-written uploads: settle time, markers, checksum files, temporary names, files replaced while they are read."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_zones import SETTLE_S, feed

from domainlm.retrain.batches import WITHDRAWN
from domainlm.retrain.settings import FeedSettings
from domainlm.retrain.zone.places import Found, Local, Unstable

TEXT = b"text,label\nRates rise,up\n"
HEX, MD5 = hashlib.sha256(TEXT).hexdigest(), hashlib.md5(TEXT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def folders(**values: object) -> FeedSettings:
    return feed("drops", "drops/*/*.csv", batch="folder", **values)


def test_a_file_lands_when_it_kept_its_size_for_the_settle_time_and_not_before(desk) -> None:
    one = desk()
    one.write("news/a.csv")
    scan = one.scan()
    assert scan.settling == ["news/a.csv"] and one.zone.next_settle_s == SETTLE_S
    one.pass_time(SETTLE_S - 1)
    assert one.scan().landed == [] and one.zone.next_settle_s == 1
    one.pass_time(1)
    assert len(one.scan().landed) == 1 and one.zone.next_settle_s is None


def test_a_file_that_grows_slowly_does_not_land_until_it_has_stopped(desk) -> None:
    one = desk()
    path = one.write("news/a.csv", "text,label\n")
    for number in range(10):
        one.pass_time(SETTLE_S - 0.5)
        with open(path, "a") as stream:
            stream.write(f"row {number},up\n")
        assert one.scan().landed == []
    one.pass_time(SETTLE_S)
    (batch,) = one.scan().landed
    assert batch.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_change_of_time_alone_begins_the_settling_anew(desk) -> None:
    one = desk()
    path = one.write("news/a.csv")
    one.scan()
    one.pass_time(SETTLE_S - 1)
    os.utime(path, (1_900_000_000, 1_900_000_000))
    one.scan()
    one.pass_time(1)
    assert one.scan().landed == []
    one.pass_time(SETTLE_S)
    assert len(one.scan().landed) == 1


@pytest.mark.parametrize("jump_s", [-10_000_000, 10_000_000])
def test_a_jump_of_the_clock_neither_lands_a_file_early_nor_holds_it_up(desk, jump_s: float) -> None:
    one = desk()
    one.write("news/a.csv")
    one.scan()
    one.wall += jump_s
    one.pass_time(SETTLE_S - 1)
    assert one.scan().landed == []
    one.pass_time(1)
    assert len(one.scan().landed) == 1


@pytest.mark.parametrize("mtime", [0.5, 4_000_000_000, 1_999_999_999])
def test_files_with_times_far_off_land_once_and_are_not_read_again_and_again(desk, mtime: float) -> None:
    one = desk()
    one.write("news/a.csv", mtime=mtime)
    assert len(one.settle().landed) == 1
    one.pass_time(60)
    one.scan()
    one.pass_time(60)
    scan = one.scan()
    assert scan.lines() == [] and scan.digested_bytes == 0


def test_a_watcher_whose_clock_was_set_back_reads_again_what_it_read_in_the_future(desk) -> None:
    one = desk()
    one.write("news/a.csv")
    one.settle()
    one.wall -= 3600
    assert one.scan().digested_bytes == len(TEXT)
    assert one.scan().digested_bytes == 0


def test_temporary_names_are_no_data_until_they_are_renamed(desk) -> None:
    one = desk(feed(uri="**/*", format="csv"))
    for name in ("a.csv.tmp", "b.part", "c.crdownload", ".hidden.csv", "d.csv~", ".folder/e.csv", "x.tmp/f.csv"):
        one.write(f"news/{name}")
    scan = one.settle()
    assert (scan.landed, scan.files, scan.unknown) == ([], 0, [])
    (one.root / "news/a.csv.tmp").rename(one.root / "news/a.csv")
    assert [batch.name for batch in one.settle().landed] == ["news/a.csv"]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".sha256", HEX),
        (".sha256", HEX.upper() + "\n"),
        (".sha256", f"{HEX}  a.csv\n"),
        (".sha256", f"{HEX} *a.csv\n"),
        (".sha256", f"{OTHER}  other.csv\n{HEX}  ./drop/a.csv\n"),
        (".md5", f"{MD5}  a.csv\n"),
        (".md5", MD5),
    ],
)
def test_a_file_whose_checksum_fits_lands_at_once(desk, suffix: str, content: str) -> None:
    one = desk()
    one.write("news/a.csv", TEXT)
    one.write(f"news/a.csv{suffix}", content)
    scan = one.scan()
    assert [batch.name for batch in scan.landed] == ["news/a.csv"]
    assert (scan.unknown, scan.files) == ([], 1), "a checksum file is no data"


def test_half_a_file_beside_its_checksum_waits_until_it_fits(desk) -> None:
    one = desk()
    one.write("news/a.csv.sha256", HEX)
    for size in (5, 10, 20):
        one.write("news/a.csv", TEXT[:size])
        one.pass_time(1)
        scan = one.scan()
        assert (scan.landed, scan.unreadable, scan.settling) == ([], [], ["news/a.csv"])
    one.write("news/a.csv", TEXT)
    assert len(one.scan().landed) == 1


@pytest.mark.parametrize("stated", [OTHER, "no digest at all", "", f"{HEX}  another-file.csv", HEX[:31]])
def test_a_wrong_checksum_is_said_once_after_settling_and_tried_again_when_it_changes(desk, stated: str) -> None:
    one = desk()
    one.write("news/a.csv", TEXT)
    one.write("news/a.csv.sha256", stated)
    assert one.scan().unreadable == [], "the upload may be under way"
    one.pass_time(SETTLE_S)
    scan = one.scan()
    assert scan.landed == [] and scan.unreadable == [("news/a.csv", "does not fit its checksum file")]
    one.pass_time(SETTLE_S)
    again = one.scan()
    assert (again.unreadable, again.counts["unreadable"], again.digested_bytes) == ([], 1, 0)
    assert one.zone.next_settle_s is None
    assert one.another().settled(60, sleep=one.pass_time).unreadable == [], "another process does not repeat it"
    one.write("news/a.csv.sha256", HEX + "\n")
    assert len(one.scan().landed) == 1


def test_both_checksums_must_fit(desk) -> None:
    one = desk()
    one.write("news/a.csv", TEXT)
    one.write("news/a.csv.sha256", HEX)
    one.write("news/a.csv.md5", "0" * 32)
    assert one.settle().landed == []


def test_a_feed_that_asks_for_checksums_waits_for_them(desk) -> None:
    one = desk(feed(checksum=True))
    one.write("news/a.csv", TEXT)
    assert one.settle().settling == ["news/a.csv"]
    one.pass_time(10_000)
    assert one.settle().landed == [] and one.zone.next_settle_s is None
    one.write("news/a.csv.sha256", HEX)
    assert len(one.scan().landed) == 1


def test_a_folder_waits_for_its_marker_and_then_lands_at_once(desk) -> None:
    one = desk(folders())
    one.write("drops/1/a.csv", "a")
    one.write("drops/1/b.csv", "b")
    one.pass_time(10_000)
    scan = one.settle()
    assert scan.settling == ["drops/1"] and scan.landed == [] and one.zone.next_settle_s is None
    one.write("drops/1/_SUCCESS", "")
    (batch,) = one.scan().landed
    assert [file.path for file in batch.files] == ["drops/1/a.csv", "drops/1/b.csv"]


def test_files_younger_than_the_marker_settle_first(desk) -> None:
    """`cp -r` copies in order of name or of the directory: the marker may come before the data."""
    one = desk(folders())
    one.write("drops/1/_SUCCESS", "", mtime=1_700_000_000)
    one.write("drops/1/a.csv", "half", mtime=1_700_000_001)
    assert one.scan().landed == []
    one.pass_time(SETTLE_S - 1)
    one.write("drops/1/a.csv", "the whole", mtime=1_700_000_002)
    assert one.scan().landed == []
    one.pass_time(SETTLE_S)
    assert [batch.files[0].size_bytes for batch in one.scan().landed] == [9]


def test_a_marker_covers_single_files_too_that_are_not_younger(desk) -> None:
    one = desk()
    one.write("news/old.csv", "old", mtime=1_700_000_000)
    one.write("news/_SUCCESS", "", mtime=1_700_000_000)
    one.write("news/young.csv", "young", mtime=1_700_000_001)
    scan = one.scan()
    assert [batch.name for batch in scan.landed] == ["news/old.csv"] and scan.settling == ["news/young.csv"]


def test_one_file_that_does_not_fit_holds_its_folder_back(desk) -> None:
    one = desk(folders())
    one.write("drops/1/a.csv", TEXT)
    one.write("drops/1/a.csv.sha256", HEX)
    one.write("drops/1/b.csv", "b")
    one.write("drops/1/b.csv.sha256", OTHER)
    one.write("drops/1/_SUCCESS", "")
    scan = one.settle()
    assert scan.landed == [] and scan.unreadable == [("drops/1/b.csv", "does not fit its checksum file")]
    one.write("drops/1/b.csv.sha256", hashlib.sha256(b"b").hexdigest())
    assert len(one.scan().landed) == 1


def test_an_empty_part_of_a_folder_is_left_out_and_said(desk) -> None:
    one = desk(folders())
    one.write("drops/1/part-0.csv", "x")
    one.write("drops/1/part-1.csv", "")
    one.write("drops/1/_SUCCESS", "")
    scan = one.scan()
    assert [file.path for file in scan.landed[0].files] == ["drops/1/part-0.csv"]
    assert scan.unreadable == [("drops/1/part-1.csv", "is empty")]
    assert one.settle().lines() == []


def test_an_empty_file_is_said_once_and_lands_when_something_is_in_it(desk) -> None:
    one = desk()
    one.write("news/a.csv", "")
    assert one.scan().unreadable == [], "it may just have been opened for writing"
    one.pass_time(SETTLE_S)
    assert one.scan().unreadable == [("news/a.csv", "is empty")]
    again = one.settle()
    assert (again.unreadable, again.counts["unreadable"]) == ([], 1)
    one.write("news/a.csv", TEXT)
    assert len(one.settle().landed) == 1


def test_a_file_that_becomes_empty_takes_its_batch_back(desk) -> None:
    one = desk()
    one.write("news/a.csv", TEXT)
    (batch,) = one.settle().landed
    one.write("news/a.csv", "")
    scan = one.settle()
    assert scan.unreadable == [("news/a.csv", "is empty")] and one.book.batch(batch.id).state == WITHDRAWN
    one.write("news/a.csv", TEXT)
    assert [again.id for again in one.settle().landed] == [batch.id]


def listed(path: Path) -> Found:
    state = path.stat()
    return Found(path.name, state.st_size, state.st_mtime_ns, "", (state.st_dev, state.st_ino))


def test_a_file_that_was_replaced_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT)
    found = listed(path)
    other = tmp_path / "b.csv"
    other.write_bytes(TEXT)
    os.utime(other, ns=(found.mtime_ns, found.mtime_ns))
    other.replace(path)  # same size, same time, another inode
    with pytest.raises(Unstable):
        Local(str(tmp_path)).read(found)


@pytest.mark.parametrize("how", ["renamed over", "written to", "cut", "deleted"])
def test_a_file_that_is_replaced_while_it_is_read_does_not_land_in_this_scan(
    desk, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one = desk()
    path = one.write("news/a.csv", b"a" * 3_000_000)
    one.scan()
    one.pass_time(SETTLE_S)
    from domainlm.retrain.zone import places

    def meddled(stream: object, algorithms: object) -> object:
        stream.read(1000)
        if how == "renamed over":
            one.write("news/new", b"b" * 3_000_000).replace(path)
        elif how == "written to":
            with open(path, "r+b") as other:
                other.seek(2_000_000)
                other.write(b"b")
        elif how == "cut":
            os.truncate(path, 10)
        else:
            path.unlink()
        stream.seek(0)
        return original(stream, algorithms)

    original = places._read
    with monkeypatch.context() as patched:
        patched.setattr(places, "_read", meddled)
        scan = one.scan()
    assert (scan.landed, scan.unreadable) == ([], []) and len(scan.settling) == 1
    assert one.book.batches() == []
    scan = one.settle()
    if how == "deleted":
        assert scan.landed == [] and scan.settling == []
    else:
        assert [batch.files[0].sha256 for batch in scan.landed] == [hashlib.sha256(path.read_bytes()).hexdigest()]


def test_a_real_writer_is_never_caught_half_way(desk, tmp_path: Path) -> None:
    """A process writes in pieces with pauses shorter than the settle time; what lands is the whole file, once."""
    one = desk(settle_s=0.5)
    (one.root / "news").mkdir()
    program = (
        "import sys, time\n"
        "with open(sys.argv[1], 'wb', buffering=0) as stream:\n"
        "    for number in range(12):\n"
        "        stream.write(b'x' * 100_000); time.sleep(0.1)\n"
    )
    one.zone = type(one.zone)(one.settings, one.book)  # real clocks
    writer = subprocess.Popen([sys.executable, "-c", program, str(one.root / "news/a.csv")])
    landed = []
    try:
        end = time.monotonic() + 60
        while not landed and time.monotonic() < end:
            landed += one.zone.scan().landed
            time.sleep(0.02)
    finally:
        writer.wait(60)
    assert [batch.files[0].size_bytes for batch in landed] == [1_200_000]
    assert len(one.book.batches()) == 1
