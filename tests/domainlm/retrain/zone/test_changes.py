"""New, changed, removed, renamed, duplicated and restored content, in files and in folders."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from small_zones import Desk, feed

from domainlm.retrain.batches import LANDED, TRAINED, WITHDRAWN
from domainlm.retrain.settings import FeedSettings
from domainlm.retrain.zone import Scan
from domainlm.retrain.zone.changes import batch_id


def nothing_new(scan: Scan) -> bool:
    return scan.lines() == []


def test_a_new_file_lands_once_and_with_its_content(desk) -> None:
    one = desk()
    one.write("news/a.csv", "text,label\nRates rise,up\n")
    (batch,) = one.settle().landed
    digest = hashlib.sha256(b"text,label\nRates rise,up\n").hexdigest()
    (file,) = batch.files
    assert (batch.feed, batch.name, batch.state, batch.number, batch.trusted) == ("news", "news/a.csv", LANDED, 1, True)
    assert (file.path, file.sha256, file.size_bytes) == ("news/a.csv", digest, 25)
    assert file.uri == f"{one.root}/news/a.csv"
    canonical = json.dumps({"feed": "news", "files": [digest]}, separators=(",", ":"))  # keys sorted: RFC 8785
    assert batch.id == hashlib.sha256(canonical.encode()).hexdigest()
    one.pass_time(100)
    again = one.settle()
    assert nothing_new(again) and again.files == 1 and again.digested_bytes == 0
    assert nothing_new(one.another().settled(60, sleep=one.pass_time)), "another process finds nothing new either"


def test_the_untrusted_stay_untrusted(desk) -> None:
    one = desk(feed("web", "web/*.csv", trusted=False))
    one.write("web/a.csv")
    assert [batch.trusted for batch in one.settle().landed] == [False]


def folders(**values: object) -> FeedSettings:
    return feed("drops", "drops/*/*.csv", batch="folder", **values)


def test_batches_land_in_order_of_name_within_a_scan_and_then_in_order_of_arrival(desk) -> None:
    one = desk()
    for month in ("2024-03", "2024-01"):
        one.write(f"news/{month}.csv", f"text,label\n{month},up\n")
    assert [batch.name for batch in one.settle().landed] == ["news/2024-01.csv", "news/2024-03.csv"]
    one.write("news/2024-02.csv", "text,label\nlate,up\n")  # late data land when they come
    assert [batch.number for batch in one.settle().landed] == [3]


def test_changed_content_is_a_new_batch_and_the_old_one_is_withdrawn_with_a_reason(desk) -> None:
    one = desk()
    one.write("news/a.csv", "text,label\nfirst,up\n")
    (old,) = one.settle().landed
    one.write("news/a.csv", "text,label\nsecond,up\n")
    scan = one.settle()
    (new,) = scan.landed
    assert scan.changed == ["news/a.csv"] and new.id != old.id
    assert [id for id, _ in scan.withdrawn] == [old.id]
    withdrawn = one.book.batch(old.id)
    assert withdrawn.state == WITHDRAWN and "news/a.csv" in withdrawn.reason
    assert nothing_new(one.settle())


def test_changed_content_of_a_trained_batch_leaves_that_batch_trained(desk) -> None:
    one = desk()
    one.write("news/a.csv", "text,label\nfirst,up\n")
    (old,) = one.settle().landed
    one.train(old)
    one.write("news/a.csv", "text,label\nsecond,up\n")
    scan = one.settle()
    assert len(scan.landed) == 1 and scan.withdrawn == []
    assert one.book.batch(old.id).state == TRAINED
    assert [file.removed for file in one.book.batch(old.id).files] == [True]


def test_a_touched_file_changes_nothing(desk) -> None:
    one = desk()
    path = one.write("news/a.csv")
    one.settle()
    os.utime(path, (1_900_000_000, 1_900_000_000))
    scan = one.settle()
    assert nothing_new(scan) and scan.digested_bytes == 25
    assert one.settle().digested_bytes == 0


def test_a_removed_file_withdraws_its_batch_and_comes_back_as_the_same_one(desk) -> None:
    one = desk()
    one.write("news/keep.csv", "text,label\nkeep,up\n")
    path = one.write("news/a.csv")
    (_, batch) = sorted(one.settle().landed, key=lambda batch: batch.name == "news/a.csv")
    path.unlink()
    scan = one.scan()
    assert scan.removed == ["news/a.csv"] and [id for id, _ in scan.withdrawn] == [batch.id]
    assert one.book.batch(batch.id).state == WITHDRAWN
    one.write("news/elsewhere.csv")  # the same content under another name
    scan = one.settle()
    assert [again.id for again in scan.landed] == [batch.id]
    again = one.book.batch(batch.id)
    assert (again.state, again.number) == (LANDED, batch.number)
    assert [(file.path, file.removed) for file in again.files] == [("news/elsewhere.csv", False)]
    assert len(one.book.batches()) == 2


def test_what_a_person_withdrew_does_not_land_again(desk) -> None:
    one = desk()
    path = one.write("news/a.csv")
    one.write("news/b.csv", "other")
    (batch, _) = one.settle().landed
    one.book.withdraw(batch.id, "wrong month", by="olga")
    os.utime(path, (1_900_000_000, 1_900_000_000))
    assert one.settle().landed == []
    path.unlink()
    one.scan()
    one.write("news/a.csv")
    assert one.settle().landed == []
    assert one.book.batch(batch.id).state == WITHDRAWN


def test_a_removed_file_of_a_trained_batch_is_marked(desk) -> None:
    one = desk()
    one.write("news/keep.csv", "text,label\nkeep,up\n")
    path = one.write("news/a.csv")
    batch = next(batch for batch in one.settle().landed if batch.name == "news/a.csv")
    one.train(batch)
    path.unlink()
    scan = one.scan()
    assert scan.removed == ["news/a.csv"] and scan.withdrawn == []
    assert [file.removed for file in one.book.batch(batch.id).files] == [True]
    one.write("news/a.csv")
    assert nothing_new(one.settle()), "a restored file is no new batch"
    assert [file.removed for file in one.book.batch(batch.id).files] == [False]


@pytest.mark.parametrize("trained", [False, True])
def test_a_renamed_file_is_the_same_batch_at_another_path(desk, trained: bool) -> None:
    one = desk()
    path = one.write("news/a.csv")
    (batch,) = one.settle().landed
    if trained:
        one.train(batch)
    path.rename(one.root / "news" / "b.csv")
    scan = one.settle()
    assert scan.renamed == ["news/a.csv -> news/b.csv"]
    assert (scan.landed, scan.removed, scan.withdrawn, scan.held) == ([], [], [], [])
    (now,) = one.book.batches()
    assert [(file.path, file.uri, file.removed) for file in now.files] == [
        ("news/b.csv", f"{one.root}/news/b.csv", False)
    ]
    assert now.state == (TRAINED if trained else LANDED)
    assert [change.after for change in one.book.transitions(batch.id)].count(WITHDRAWN) == 0
    assert nothing_new(one.settle())


def test_two_files_that_swap_their_names_stay_two_batches(desk) -> None:
    one = desk()
    a, b = one.write("news/a.csv", "aaaa"), one.write("news/b.csv", "bbbb")
    first = {batch.files[0].sha256: batch.id for batch in one.settle().landed}
    a.rename(one.root / "c"), b.rename(a), (one.root / "c").rename(b)
    os.utime(a, (1_900_000_000, 1_900_000_000)), os.utime(b, (1_900_000_001, 1_900_000_001))
    one.settle()
    now = {batch.files[0].sha256: batch for batch in one.book.batches()}
    assert {digest: batch.id for digest, batch in now.items()} == first
    assert now[hashlib.sha256(b"aaaa").hexdigest()].files[0].path == "news/b.csv"
    assert now[hashlib.sha256(b"bbbb").hexdigest()].files[0].path == "news/a.csv"
    assert {batch.state for batch in now.values()} == {LANDED}


def test_equal_content_under_two_names_is_one_batch_until_the_last_of_them_is_gone(desk) -> None:
    one = desk()
    one.write("news/other.csv", "other")
    first, second = one.write("news/a.csv"), one.write("news/b.csv")
    scan = one.settle()
    assert len(scan.landed) == 2 and scan.duplicates == ["news/b.csv"]
    assert nothing_new(one.settle()), "a duplicate is said once"
    first.unlink()
    one.settle()
    batch = next(batch for batch in one.book.batches() if batch.name == "news/a.csv")
    assert (batch.state, batch.files[0].path) == (LANDED, "news/b.csv")
    second.unlink()
    assert [id for id, _ in one.scan().withdrawn] == [batch.id]


def test_a_folder_lands_as_one_batch_and_an_equal_folder_is_a_duplicate(desk) -> None:
    one = desk(folders(), marker="")
    for folder in ("drops/1", "drops/2"):
        one.write(f"{folder}/x.csv", "x")
        one.write(f"{folder}/y.csv", "y")
    scan = one.settle()
    (batch,) = scan.landed
    assert batch.name == "drops/1" and scan.duplicates == ["drops/2"]
    assert [file.path for file in batch.files] == ["drops/1/x.csv", "drops/1/y.csv"]
    assert nothing_new(one.settle())


def test_a_renamed_folder_is_the_same_batch(desk) -> None:
    one = desk(folders(), marker="")
    one.write("drops/1/x.csv", "x")
    one.write("drops/1/y.csv", "y")
    (batch,) = one.settle().landed
    (one.root / "drops/1").rename(one.root / "drops/2")
    scan = one.settle()
    assert scan.renamed == ["drops/1/x.csv -> drops/2/x.csv", "drops/1/y.csv -> drops/2/y.csv"]
    assert [file.path for file in one.book.batch(batch.id).files] == ["drops/2/x.csv", "drops/2/y.csv"]
    assert (scan.landed, scan.withdrawn, len(one.book.batches())) == ([], [], 1)


def test_a_folder_that_changes_before_it_is_trained_on_lands_anew_as_a_whole(desk) -> None:
    one = desk(folders(), marker="")
    one.write("drops/1/x.csv", "x")
    (old,) = one.settle().landed
    one.write("drops/1/y.csv", "y")
    scan = one.settle()
    (new,) = scan.landed
    assert [file.path for file in new.files] == ["drops/1/x.csv", "drops/1/y.csv"]
    assert one.book.batch(old.id).state == WITHDRAWN
    assert nothing_new(one.settle())


def test_of_a_folder_that_was_trained_on_only_what_is_new_lands(desk) -> None:
    one = desk(folders(), marker="")
    one.write("drops/1/x.csv", "x")
    (old,) = one.settle().landed
    one.train(old)
    one.write("drops/1/y.csv", "y")
    (new,) = one.settle().landed
    assert [file.path for file in new.files] == ["drops/1/y.csv"]
    assert one.book.batch(old.id).state == TRAINED
    assert nothing_new(one.settle())
    (one.root / "drops/1/y.csv").unlink()
    scan = one.settle()
    assert [id for id, _ in scan.withdrawn] == [new.id] and scan.landed == []
    assert one.book.batch(old.id).state == TRAINED and not one.book.batch(old.id).files[0].removed


def test_a_folder_that_is_deleted_file_by_file_lands_no_rest(desk) -> None:
    one = desk(folders())
    for name in "abcd":
        one.write(f"drops/1/{name}.csv", name)
    one.write("drops/1/_SUCCESS", "")
    one.write("drops/2/z.csv", "z")
    one.write("drops/2/_SUCCESS", "")
    batch = one.scan().landed[0]
    for name in "abcd":
        (one.root / f"drops/1/{name}.csv").unlink()
        one.pass_time(1)
        scan = one.scan()
        assert scan.landed == []
    assert one.book.batch(batch.id).state == WITHDRAWN and len(one.book.batches()) == 2


def test_what_is_left_of_a_folder_lands_when_it_has_stayed_so(desk) -> None:
    one = desk(folders())
    for name in "ab":
        one.write(f"drops/1/{name}.csv", name)
    one.write("drops/1/_SUCCESS", "")
    (old,) = one.scan().landed
    (one.root / "drops/1/a.csv").unlink()
    scan = one.settle()
    assert [id for id, _ in scan.withdrawn] == [old.id]
    assert [[file.path for file in batch.files] for batch in scan.landed] == [["drops/1/b.csv"]]


def die_after_landing(one: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that ends between the landing of its batches and the note that their files have landed."""
    real = one.book.land_all

    def landed(batches: list) -> None:
        real(batches)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(one.book, "land_all", landed)
        one.settle()
    one.zone = one.another()


def test_a_crash_between_landing_and_noting_lands_nothing_twice(desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk()
    one.write("news/a.csv")
    die_after_landing(one, monkeypatch)
    assert len(one.book.batches()) == 1
    one.settle()
    (batch,) = one.book.batches()
    assert [change.after for change in one.book.transitions(batch.id)] == [LANDED]
    assert nothing_new(one.settle())


@pytest.mark.parametrize("then", ["deleted", "changed", "emptied"])
def test_a_file_that_goes_away_in_a_crash_leaves_no_batch_behind(
    desk, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    one = desk()
    one.write("news/other.csv", "other")
    one.settle()
    path = one.write("news/a.csv", "first")
    die_after_landing(one, monkeypatch)
    batch = one.book.batches()[1]
    path.unlink() if then == "deleted" else one.write("news/a.csv", "second" if then == "changed" else "")
    scan = one.settle()
    assert [id for id, _ in scan.withdrawn] == [batch.id]
    assert [batch.files[0].size_bytes for batch in scan.landed] == ([6] if then == "changed" else [])
    assert nothing_new(one.settle())


def test_a_file_replaced_with_equal_size_and_time_is_found_by_the_full_comparison(desk) -> None:
    one = desk(redigest_h=24)
    path = one.write("news/a.csv", "text,label\nfirst,up\n", mtime=1_700_000_000)
    (old,) = one.settle().landed
    path.write_text("text,label\nother,up\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    one.pass_time(11 * 3600)  # before half the interval nothing is due
    assert one.scan().digested_bytes == 0
    one.pass_time(13 * 3600)
    scan = one.scan()
    assert scan.changed == ["news/a.csv"] and len(scan.landed) == 1
    assert one.book.batch(old.id).state == WITHDRAWN


def test_redigest_0_reads_everything_in_every_scan(desk) -> None:
    one = desk(redigest_h=0)
    one.write("news/a.csv", mtime=1_700_000_000)
    one.settle()
    assert one.scan().digested_bytes == 25 and one.scan().digested_bytes == 25


def test_files_that_landed_together_do_not_come_due_together(desk) -> None:
    one = desk(redigest_h=24, settle_s=0)
    for number in range(200):
        one.write(f"news/{number}.csv", f"{number:04}", mtime=1_700_000_000)
    one.scan()
    read = []
    for _ in range(12):
        one.pass_time(3600 * 2)
        read.append(one.scan().digested_bytes // 4)
    assert read[:5] == [0] * 5, "nothing before half the interval"
    assert sum(read) >= 200, "everything within the interval"
    assert max(read) < 70, f"no scan reads nearly all: {read}"


def test_a_file_that_changes_within_one_tick_of_the_disks_clock_is_looked_at_again(desk) -> None:
    one = desk(settle_s=0)
    one.wall = 1_700_000_000.5
    path = one.write("news/a.csv", "first", mtime=1_700_000_000)
    (old,) = one.scan().landed
    path.write_text("other")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert one.scan().changed == [] and one.zone.next_settle_s == 2.0
    one.pass_time(3)
    assert one.scan().changed == ["news/a.csv"]
    assert one.book.batch(old.id).state == WITHDRAWN
    assert one.scan().digested_bytes == 0, "once is enough"


def test_a_feed_gets_what_an_earlier_one_does_not_take(desk) -> None:
    one = desk(feed("special", "news/special*.csv"), feed("news", "news/*.csv"))
    one.write("news/special.csv", "s"), one.write("news/plain.csv", "p"), one.write("readme.md", "r")
    scan = one.settle()
    assert {batch.name: batch.feed for batch in scan.landed} == {
        "news/special.csv": "special", "news/plain.csv": "news",
    }  # fmt: skip
    assert scan.unknown == ["readme.md"] and scan.counts["unknown"] == 1


def test_ids_do_not_depend_on_names_or_order_but_on_feed_and_content() -> None:
    assert batch_id("a", ["2", "1"]) == batch_id("a", ["1", "2"]) != batch_id("b", ["1", "2"])
    assert batch_id("a", ["1", "1"]) != batch_id("a", ["1"])


def test_a_file_that_is_too_large_is_not_read_but_told(desk) -> None:
    one = desk(feed(max_file_bytes=100))
    path = one.write("news/a.csv")
    (batch,) = one.settle().landed
    os.truncate(path, 10 << 30)  # 10 GiB without blocks
    scan = one.settle()
    assert scan.unreadable == [("news/a.csv", "is larger than its feed's max_file_bytes")]
    assert (scan.landed, scan.digested_bytes) == ([], 0)
    assert one.book.batch(batch.id).state == WITHDRAWN  # what landed lies there no longer
    assert one.scan().unreadable == [], "told once"
    one.write("news/a.csv")
    assert [again.id for again in one.settle().landed] == [batch.id]
