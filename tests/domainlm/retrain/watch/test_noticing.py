"""The kernel tells of changes where it can; where it cannot, that is said and somebody polls."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import watchfiles

from domainlm.retrain.watch.noticing import Changes, file_system_of


class Woken:
    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self) -> None:
        self.event.set()

    def soon(self, seconds: float = 10.0) -> bool:
        return self.event.wait(seconds)


@pytest.fixture
def watching(tmp_path: Path):
    """A watch that stands, with nothing told yet."""
    zone, wake, polls = tmp_path / "zone", Woken(), Woken()
    (zone / "deep" / "deeper").mkdir(parents=True)
    changes = Changes(zone, ("*.tmp", ".*"), wake, polls).start()
    assert wake.soon()  # once at the start
    for _ in range(100):  # until the kernel really watches
        wake.event.clear()
        (zone / "probe").write_text("x")
        if wake.soon(0.6):
            break
    while wake.soon(0.6):
        wake.event.clear()
    yield zone, changes, wake, polls
    changes.stop()


def test_a_new_file_is_told_of_at_any_depth(watching) -> None:
    zone, changes, wake, _ = watching
    assert changes.told
    (zone / "deep" / "deeper" / "news.csv").write_text("a")
    assert wake.soon()


def test_a_file_in_a_folder_made_later_and_a_renamed_one_are_told_of(watching) -> None:
    zone, _, wake, _ = watching
    (zone / "later").mkdir()
    assert wake.soon()
    while wake.soon(0.6):
        wake.event.clear()
    (zone / "later" / "x.tmp").write_text("a")
    assert not wake.soon(0.6)  # no data
    (zone / "later" / "x.tmp").rename(zone / "later" / "x.csv")
    assert wake.soon()


def test_a_folder_that_was_replaced_is_polled(watching) -> None:
    zone, changes, _, polls = watching
    zone.rename(zone.with_name("old"))
    zone.mkdir()
    assert polls.soon(20)
    assert not changes.told and "cannot be watched" in changes.why


def test_the_kernels_limit_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **named: object):
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(watchfiles, "watch", full)
    polls = Woken()
    changes = Changes(tmp_path, (), lambda: None, polls).start()
    assert polls.soon()
    assert "fs.inotify.max_user_watches" in changes.why
    changes.stop()


def test_no_folder_and_a_folder_that_is_not_there_are_polled(tmp_path: Path) -> None:
    assert not Changes(None, (), lambda: None).start().told
    polls = Woken()
    changes = Changes(tmp_path / "not there", (), lambda: None, polls).start()
    assert not changes.told and polls.event.is_set()  # known at once: nobody is told of a watch that does not stand


def test_a_file_system_that_other_machines_write_to_is_polled(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "40 22 0:44 / /mnt/land\\040ing rw - nfs4 server:/x rw\n"
        "41 22 0:45 / /mnt/landing rw shared:2 master:1 - tmpfs tmpfs rw\n"
    )
    assert file_system_of(Path("/mnt/land ing/news"), mounts) == "nfs4"
    assert file_system_of(Path("/mnt/landing"), mounts) == "tmpfs"
    assert file_system_of(Path("/mnt/landing2"), mounts) == "ext4"
    assert file_system_of(Path("/home"), tmp_path / "none") == ""
