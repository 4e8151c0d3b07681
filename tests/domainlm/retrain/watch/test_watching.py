"""The watcher as a real process: what it notices, what it starts, and what it outlives."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from postgresql_cluster import Cluster, binaries, postgresql
from small_watcher import FEED, SmallWatcher

from domainlm.retrain.batches import Batch, LandedFile, Result
from domainlm.retrain.watch.health import read_heartbeat

HEAVY = ("torch", "datasets", "pandas", "pyarrow", "zenml", "mlflow", "transformers", "numpy")


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[SmallWatcher]:
    small = SmallWatcher(tmp_path / "w")
    yield small
    if small.process is not None:
        small.stop()


def alive_in(group: int) -> list[str]:
    """Processes of a group, without those that are over and that nobody has asked about."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(") ")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append(stat.parent.name)
    return found


def trained(small: SmallWatcher, count: int) -> None:
    small.until(lambda: small.states().count("trained") == count)


def test_what_lands_is_looked_into_and_trained_on_and_the_process_stays_light(watcher: SmallWatcher) -> None:
    watcher.start("modules")
    watcher.until_said("the kernel tells of changes")
    watcher.drop("one.csv", "a", "b")
    trained(watcher, 1)
    watcher.drop("two.csv", "c")
    trained(watcher, 2)
    watcher.until_said("is accepted: 2 rows")
    watcher.until_said("the training's command ended well")
    watcher.until_said(": a result of run ")
    maps = Path(f"/proc/{watcher.process.pid}/maps").read_text()
    assert not any(f"/{name}/" in maps for name in HEAVY)
    assert watcher.stop() == 0
    [modules] = [line.split()[1:] for line in watcher.said().splitlines() if line.startswith("modules ")]
    assert not set(HEAVY) & set(modules)
    assert watcher.book().starts() | {"duplicate_starts": 0} == {
        "batches": 2, "trained_once": 2, "duplicate_starts": 0, "lost": 0,
    }  # fmt: skip


def test_where_nothing_tells_of_changes_it_looks_again_and_again(watcher: SmallWatcher) -> None:
    watcher.start("polls")
    watcher.until_said("looks every 0.3 s: the zone is no local folder")
    watcher.drop("one.csv")
    trained(watcher, 1)


def test_it_goes_on_noticing_while_a_training_runs_and_asks_it_to_stop_when_it_ends(watcher: SmallWatcher) -> None:
    watcher.configure(retrain="slow")
    watcher.start()
    watcher.drop("one.csv")
    watcher.until_said("a training begins")
    watcher.drop("two.csv")
    watcher.until(lambda: watcher.states() == ["accepted", "accepted"])
    began = time.monotonic()
    assert watcher.stop() == 0
    assert time.monotonic() - began < 30
    assert "was asked to stop and was ended by SIGTERM" in watcher.said()
    assert watcher.starts("retrain") == 1


def test_a_no_is_recorded_once_and_again_only_for_other_grounds(watcher: SmallWatcher) -> None:
    watcher.configure(decide={"new_rows": 3})
    first = watcher.drop("zero.csv", "z")
    watcher.start()
    watcher.until(lambda: watcher.states() in (["accepted"], ["trained"]))
    trained(watcher, 1)  # the first model
    watcher.drop("one.csv", "a")
    watcher.until(lambda: watcher.states() == ["trained", "accepted"])
    watcher.until_said("no retraining")
    for _ in range(3):
        watcher.send(signal.SIGHUP)  # each time decided anew
        time.sleep(0.4)
    watcher.until(lambda: watcher.said().count("in force") >= 3)
    # before anything landed, and after the first training: a yes stood between
    assert [one.decision.retrain for one in watcher.book().decisions(None)] == [False, False]
    assert sum(one.times for one in watcher.book().decisions(None)) <= 2
    watcher.drop("two.csv", "b", "c")
    trained(watcher, 3)
    assert first.exists()


def test_a_no_is_believed_when_the_champion_was_asked_about_what_landed_since(watcher: SmallWatcher) -> None:
    """Once for each set of batches, and only where there are rows enough; its score of .9 at registration decayed."""
    champion = "c" * 64
    decide = {"new_rows": 1000, "min_drift_rows": 4, "score_decay": 0.1, "label_drift": None, "vocabulary_drift": None}
    watcher.configure(decide=decide | {"term_drift": None}, champion=champion)
    book = watcher.book_made()
    claim = book.claim("small", "tina", 60, allow_empty=True)
    book.accept_result(claim, Result(run_id="r", identity=champion))
    book.promoted(champion)
    book.score(champion, "", "sentiment", 0.9, 0.85, 0.95, 400)
    watcher.start()
    watcher.drop("one.csv", "a", "b")
    watcher.until(lambda: watcher.states() == ["accepted"])
    time.sleep(1.0)
    assert watcher.starts("probe") == 0  # two rows show nothing
    watcher.drop("two.csv", "c", "d")
    watcher.until(lambda: watcher.starts("probe") == 1)
    watcher.until_said("retrain; score-decay")
    trained(watcher, 2)
    assert watcher.starts("probe") == 1


def test_a_training_that_fails_again_and_again_is_left_alone_and_told_of(watcher: SmallWatcher) -> None:
    watcher.configure(retrain="killed")
    watcher.start()
    watcher.drop("one.csv")
    watcher.until_said("was ended by SIGKILL, 1 times by now; next try in 30 s")
    time.sleep(2.0)
    assert watcher.starts("retrain") == 1
    assert [one["kind"] for one in watcher.told()] == ["child-failing"]
    watcher.stop()
    watcher.start()  # a restart remembers
    watcher.until_said("retrain")
    time.sleep(2.0)
    assert watcher.starts("retrain") == 1


def test_a_training_that_fails_is_not_tried_for_each_new_batch(watcher: SmallWatcher) -> None:
    watcher.configure(retrain="fails")
    watcher.start()
    watcher.drop("one.csv")
    watcher.until_said("ended with code 1, 1 times by now; next try in 30 s")
    for number in range(2, 5):
        watcher.drop(f"{number}.csv")
        watcher.until(lambda number=number: watcher.states() == ["accepted"] * number)
    time.sleep(1.0)
    assert watcher.starts("retrain") == 1


def test_an_erasure_that_no_training_answers_is_left_alone_whatever_lands(watcher: SmallWatcher) -> None:
    """It passes the cool-down, so nothing else stands against a training after each other."""
    watcher.configure(erased="2026-11-01T00:00:00+00:00", decide={"cool_down_h": 6})
    watcher.start()
    watcher.drop("one.csv")
    watcher.until_said("retrain went well, and the same is asked for again; next try in 30 s")
    runs = watcher.starts("retrain")
    for number in range(2, 5):
        watcher.drop(f"{number}.csv")
        watcher.until(lambda number=number: len(watcher.states()) == number and "landed" not in watcher.states())
    time.sleep(1.0)
    assert watcher.starts("retrain") <= runs + 1  # once for the new rows beside it


def test_a_feed_that_never_rests_holds_up_no_decision(watcher: SmallWatcher) -> None:
    watcher.configure(constants={"DECIDE_S": 1.0})
    watcher.drop("a.csv", "fine")
    watcher.drop("b.csv", "hangs")
    watcher.start()
    trained(watcher, 1)  # while the child is at work on the second
    assert watcher.states() == ["trained", "landed"] and watcher.starts("accept") == 1


def test_a_child_that_hangs_is_ended_with_all_that_it_started(watcher: SmallWatcher) -> None:
    watcher.configure(constants={"LIMITS_S": {"accept": 3.0}}, decide={"new_rows": 1000})
    watcher.drop("b.csv", "hangs")
    watcher.start()
    watcher.until_said("accept took longer than 3 s and is ended: process ")
    group = int(watcher.said().split("is ended: process ")[1].split(",")[0])
    watcher.until_said("took longer than it may, and was ended, 1 times by now; next try in 30 s")
    watcher.until(lambda: not alive_in(group))
    assert [one["kind"] for one in watcher.told()] == ["child-failing"]
    watcher.drop("c.csv", "fine")
    watcher.until(lambda: "landed" in watcher.states() and len(set(watcher.states())) == 2)


def test_a_feed_that_was_taken_out_is_told_once_and_holds_up_no_other(watcher: SmallWatcher) -> None:
    book = watcher.book_made()
    for number, state in enumerate(("landed", "accepted")):
        file = LandedFile(path=f"{state}.csv", uri=f"/z/{state}.csv", sha256=str(number) * 64, size_bytes=1)
        book.land(Batch(id=str(number) * 64, number=0, feed="wire", name=state, files=(file,), landed="2026-11-01"))
    book.accept("1" * 64, 5)
    watcher.drop("one.csv")
    watcher.start()
    watcher.until_said("a training begins")
    watcher.until_said("the training's command ended well")
    watcher.send(signal.SIGHUP)  # decided anew
    watcher.until_said("in force")
    time.sleep(0.5)
    assert watcher.said().count("2 batches of feed 'wire' wait, which the configuration does not name any more") == 1
    assert watcher.starts("accept") == 1


def test_it_waits_while_a_training_runs(watcher: SmallWatcher) -> None:
    watcher.configure(retrain="slow", constants={"DECIDE_S": 0.2})
    watcher.drop("one.csv")
    watcher.start()
    watcher.until_said("a training begins")
    time.sleep(0.5)  # longer than from one decision to the next
    before = watcher.passes()
    time.sleep(2.0)
    assert watcher.passes() - before < 100


def test_a_run_that_decides_otherwise_is_not_started_again_and_again(watcher: SmallWatcher) -> None:
    watcher.configure(retrain="declines")
    watcher.start()
    watcher.drop("one.csv")
    watcher.until_said(": no new result; log ")
    watcher.until_said("retrain went well, and the same is asked for again; next try in 30 s")
    time.sleep(1.5)
    assert watcher.starts("retrain") == 1 and watcher.told() == []


def test_one_batch_that_ends_its_child_holds_up_no_other(watcher: SmallWatcher) -> None:
    watcher.configure(decide={"new_rows": None, "asked": False})
    watcher.drop("a.csv", "poison")
    watcher.start()
    watcher.until_said("the look into batch")
    watcher.drop("b.csv", "fine")
    watcher.drop("c.csv", "bad")
    watcher.until(lambda: {"accepted", "quarantined"} <= set(watcher.states()) or "trained" in watcher.states())
    watcher.until_said("is quarantined: its contract is broken")
    time.sleep(1.0)
    assert watcher.states()[0] == "landed" and watcher.starts("accept") <= 4


def test_a_lane_that_is_busy_is_no_failure(watcher: SmallWatcher) -> None:
    watcher.configure(retrain="busy")
    watcher.start()
    watcher.drop("one.csv")
    watcher.until_said("retrain has to wait")
    time.sleep(1.5)
    assert watcher.starts("retrain") == 1 and watcher.told() == []


def test_a_changed_configuration_is_taken_and_an_invalid_one_refused(watcher: SmallWatcher) -> None:
    watcher.configure(decide={"new_rows": 100}, detect={"settle_s": 0.2})
    watcher.drop("zero.csv", "z")
    watcher.start()
    trained(watcher, 1)
    watcher.drop("one.csv", "a")
    watcher.until(lambda: watcher.states() == ["trained", "accepted"])
    (watcher.folder / "setup.yaml").write_text("decide: {new_rows: [")
    watcher.until_said("the changed configuration is refused")
    watcher.drop("two.csv", "b")  # the old one holds
    watcher.until(lambda: watcher.states() == ["trained", "accepted", "accepted"])
    assert [one["kind"] for one in watcher.told()] == ["configuration-refused"]
    watcher.configure(decide={"new_rows": "many"})
    watcher.until(lambda: watcher.said().count("is refused") == 2)
    watcher.configure(decide={"new_rows": 2})
    watcher.until_said("is in force")
    trained(watcher, 3)


def test_a_zone_that_is_away_is_waited_for(watcher: SmallWatcher) -> None:
    watcher.start()
    watcher.drop("one.csv")
    trained(watcher, 1)
    away = watcher.zone.with_name("away")
    watcher.zone.rename(away)
    watcher.until_said("the zone cannot be reached; try 3")
    [told] = watcher.told()
    assert told["kind"] == "zone-unreachable" and told["key"].removeprefix("zone-unreachable/")[:3] == "202"
    assert told["cause"] == "the zone cannot be reached: the zone cannot be listed (No such file or directory)"
    assert told["next_action"].startswith("mount or make the folder")
    assert len(told["key"]) == len("zone-unreachable/2026-11-21")
    tries = watcher.said().count("cannot be reached")
    time.sleep(1.5)
    assert watcher.said().count("cannot be reached") - tries <= 3  # it does not hurry
    away.rename(watcher.zone)
    watcher.until_said("it goes on after")
    watcher.drop("two.csv")
    trained(watcher, 2)


def test_a_short_outage_is_told_to_nobody(watcher: SmallWatcher) -> None:
    watcher.configure(told_after_s=60.0)
    watcher.start()
    watcher.drop("one.csv")
    trained(watcher, 1)
    away = watcher.zone.with_name("away")
    watcher.zone.rename(away)
    watcher.until_said("the zone cannot be reached; try 3")
    away.rename(watcher.zone)
    watcher.until_said("it goes on after")
    assert watcher.told() == []


def test_feeds_that_cannot_be_asked_and_files_that_cannot_be_used_are_told(watcher: SmallWatcher) -> None:
    query = FEED | {"name": "prices", "uri": "sql:prices.jsonl", "query": "SELECT headline, label FROM news",
                    "database": "DATABASE_NOT_SET"}  # fmt: skip
    watcher.configure(detect={"feeds": [FEED, query]})
    watcher.drop("good.csv", "a")
    (watcher.zone / "Hong Gildong.csv").write_bytes(b"")
    watcher.start("polls")
    watcher.until(lambda: len(watcher.told()) == 2)
    unreadable, failing = watcher.told()
    assert unreadable["kind"] == "unreadable" and "Hong" not in str(unreadable)
    assert failing["kind"] == "feed-failing" and failing["cause"] == "feed prices: DATABASE_NOT_SET: is not set"
    time.sleep(1.5)
    assert len(watcher.told()) == 2
    trained(watcher, 1)


def test_a_signal_without_a_change_says_so(watcher: SmallWatcher) -> None:
    watcher.start()
    watcher.until_said("the kernel tells")
    watcher.send(signal.SIGHUP)
    watcher.until_said("was read again and is in force; its file is the same")
    (watcher.folder / "setup.yaml").write_text("decide: {new_rows: [")
    watcher.until_said("is refused")
    watcher.send(signal.SIGHUP)
    watcher.until(lambda: watcher.said().count("is refused") == 2)
    assert [one["kind"] for one in watcher.told()] == ["configuration-refused"]


def test_two_watchers_of_one_zone_train_once(watcher: SmallWatcher) -> None:
    watcher.start()
    second = SmallWatcher.__new__(SmallWatcher)
    second.__dict__.update(watcher.__dict__)
    second.start()
    try:
        for number in range(4):
            watcher.drop(f"{number}.csv")
            time.sleep(0.3)
        trained(watcher, 4)
        assert watcher.book().starts()["trained_once"] == 4 and watcher.book().starts()["lost"] == 0
    finally:
        second.stop()


def test_a_kill_loses_nothing(watcher: SmallWatcher) -> None:
    watcher.start()
    for number in range(3):
        watcher.drop(f"{number}.csv")
        time.sleep(0.2 * number)
        watcher.send(signal.SIGKILL)
        watcher.process.wait(timeout=10)
        watcher.start()
    trained(watcher, 3)
    assert watcher.book().starts()["lost"] == 0


def test_the_heartbeat_goes_on_through_it_all(watcher: SmallWatcher) -> None:
    watcher.start()
    file = watcher.folder / "home" / "retrain" / "watch.json"
    watcher.until(lambda: read_heartbeat(file).get("state") == "watching")
    watcher.zone.rename(watcher.zone.with_name("away"))
    watcher.until(lambda: read_heartbeat(file).get("state") == "trouble")
    assert watcher.stop() == 0 and not file.exists()


def test_a_clock_that_jumps_holds_nothing_up(watcher: SmallWatcher) -> None:
    watcher.start()
    watcher.drop("one.csv")
    trained(watcher, 1)
    for count, off in ((2, 86400.0 * 400), (3, -86400.0 * 400)):
        (watcher.folder / "clock").write_text(str(off))
        watcher.drop(f"{count}.csv")
        trained(watcher, count)
    assert watcher.starts("retrain") == 3


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EMFILE, errno.EROFS])
def test_a_machine_that_is_short_of_something_is_waited_for(watcher: SmallWatcher, fault: int) -> None:
    (watcher.folder / "fault").write_text(str(fault))
    watcher.start()
    watcher.drop("one.csv")
    watcher.until_said("the machine is short of something; try 3, the next in ")
    assert os.strerror(fault) in watcher.said()
    assert [one["kind"] for one in watcher.told()] == ["machine"]
    (watcher.folder / "fault").unlink()
    trained(watcher, 1)


def test_another_error_of_the_system_is_a_fault_of_ours_and_ends_it(watcher: SmallWatcher) -> None:
    (watcher.folder / "fault").write_text(str(errno.EINVAL))
    watcher.start()
    assert watcher.process is not None and watcher.process.wait(timeout=60) != 0


def test_it_ends_at_once_where_a_look_hangs(watcher: SmallWatcher) -> None:
    (watcher.folder / "fault").write_text("hangs")
    watcher.start()
    watcher.until_said("a look hangs")
    assert watcher.stop(seconds=20) == 0


def test_a_disk_that_is_really_full_is_waited_for(tmp_path: Path) -> None:
    """The book lies on a file system of 1 MB, which somebody fills."""
    small = SmallWatcher(tmp_path / "w")
    home = small.folder / "home"
    home.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(home)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may mount nothing")
    try:
        small.start()
        small.drop("one.csv")
        trained(small, 1)
        filler = home / "filler"
        with open(filler, "wb", buffering=0) as out, suppress(OSError):
            while out.write(b"x" * 4096):
                pass
        small.drop("two.csv")
        small.until_said("try 2")
        filler.unlink()
        small.until(lambda: len(small.states()) == 2)
        small.until(lambda: small.states().count("trained") == 2, 120)
        small.stop()
    finally:
        if small.process is not None and small.process.poll() is None:
            small.stop()
        subprocess.run(["umount", "-l", str(home)], check=False)


@pytest.mark.skipif(binaries() is None, reason="there is no PostgreSQL here")
def test_a_book_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with postgresql() as server:
        small = SmallWatcher(tmp_path / "w", url=server.url).start()
        try:
            small.drop("one.csv")
            trained(small, 1)
            _stopped_for_a_while(small, server)
            trained(small, 2)
            assert small.book().starts()["lost"] == 0
        finally:
            small.stop()


def _stopped_for_a_while(small: SmallWatcher, server: Cluster) -> None:
    server.stop("immediate")
    small.drop("while-away.csv", "x")
    small.until_said("the book cannot be reached; try 3")
    assert "book-unavailable" in [one["kind"] for one in small.told()]
    server.start()
    small.until_said("it goes on after")
