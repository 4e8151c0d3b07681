"""Two runs at once never work in one place, and nobody removes a place in which another works."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from domainlm import locks
from domainlm.errors import PlaceTaken
from steps import workspace as module
from steps.workspace import KEPT_PER_STEP, workspace


@pytest.fixture
def step(monkeypatch, tmp_path):
    """The step that runs, by its cache key."""
    monkeypatch.setattr(module, "home", lambda: tmp_path)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)

    def running(key: str, number: int = 0) -> None:
        run = SimpleNamespace(name="train", cache_key=key, id=f"run-{number}")
        monkeypatch.setattr(module, "get_step_context", lambda: SimpleNamespace(step_run=run))

    return running


def test_the_same_work_at_the_same_time_is_refused_by_name(step) -> None:
    step("a")
    with (
        workspace() as place,
        pytest.raises(PlaceTaken, match="another run is at exactly this step"),
        workspace(),
    ):
        pass
    with workspace() as again:
        assert again.work == place.work


def test_whoever_finishes_in_time_is_waited_for(step, monkeypatch) -> None:
    step("a")
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    with workspace() as place:
        pass
    program = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print(1, flush=True);"
        " sys.stdin.read()"
    )
    lock = place.work.parent / locks.LOCK
    other = subprocess.Popen([sys.executable, "-c", program, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"1\n"
        waited = []
        monkeypatch.setattr(locks.time, "sleep", lambda seconds: (waited.append(seconds), other.stdin.close()))
        with workspace():
            assert waited
    finally:
        other.kill()
        other.wait(30)
        other.stdout.close()


def test_what_a_step_hands_on_outlives_the_next_run_at_the_same_work(step) -> None:
    step("a", 1)
    with workspace() as first:
        (first.folder / "adapter").touch()
    step("a", 2)
    with workspace() as second:
        assert not list(second.folder.iterdir()) and (first.folder / "adapter").is_file()
    os.utime(first.folder, (0, 0))
    with workspace():
        assert not first.folder.exists()


def test_old_places_go_but_not_those_where_a_run_is_at_work(step, tmp_path) -> None:
    places = []
    for number in range(KEPT_PER_STEP + 2):
        place = tmp_path / "work" / "train" / f"old{number}"
        place.mkdir(parents=True)
        os.utime(place, (number + 1, number + 1))
        places.append(place)
    step("new")
    with locks.alone(places[0]) as free:
        assert free
        os.utime(places[0], (1, 1))
        with workspace():
            pass
    kept = {place.name for place in (tmp_path / "work" / "train").iterdir()}
    assert kept == {"old0", "old3", "old4", "new"}
