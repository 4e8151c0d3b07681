"""Whatever is done to a zone in whatever order: what the book holds in the end is what lies there."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_zones import SETTLE_S, Desk, feed

from domainlm.retrain.batches import LANDED, TRAINED, WITHDRAWN
from domainlm.retrain.book import open_book
from domainlm.retrain.settings import DetectSettings
from domainlm.retrain.zone.changes import batch_id

_TIMES = count(1_700_000_000)  # two changes within one tick of the disk's clock have a test of their own
NAMES = st.sampled_from([f"{folder}/{name}.csv" for folder in "pq" for name in "ab"])
CONTENTS = st.sampled_from(["", "one", "two", "six", "three"])  # three of them of one size
ACTS = st.one_of(
    st.tuples(st.just("write"), NAMES, CONTENTS),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("copy"), NAMES, NAMES),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("rename folder"), st.just("p"), st.just("q")),
    st.tuples(st.just("scan"), st.sampled_from([0.0, 1.0, SETTLE_S, 70.0])),
    st.tuples(st.just("settle")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("train"), st.integers(0, 5)),
    st.tuples(st.just("another process")),
    st.tuples(st.just("crash"), st.integers(1, 6), st.booleans()),
)


def act(one: Desk, what: str, *values: object) -> None:
    if what == "scan":
        one.pass_time(values[0])
        one.scan()
    elif what == "crash":
        crash(one, *values)
    elif what == "settle":
        one.settle()
    elif what == "another process":
        one.zone = one.another()
    elif what == "train":
        if landed := one.book.batches(state=LANDED):
            one.train(landed[values[0] % len(landed)])
    elif what == "write":
        one.write(f"drops/{values[0]}", values[1], mtime=next(_TIMES))
    else:
        source, target = one.root / "drops" / values[0], one.root / "drops" / values[-1]
        if not source.exists() or (what != "delete" and source == target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if what == "rename":
            source.replace(target)
        elif what == "copy":
            one.write(f"drops/{values[-1]}", source.read_bytes(), mtime=next(_TIMES))
        elif what == "delete":
            source.unlink()
        elif not target.exists() or not any(target.iterdir()):
            source.replace(target)


class Killed(BaseException):
    """The process ends here."""


def crash(one: Desk, at: int, before: bool) -> None:
    """A scan whose process dies at its `at`-th change of the book, before or after that was made."""
    changes = count(1)

    def dying(method: Callable[..., object]) -> Callable[..., object]:
        def called(*given: object, **named: object) -> object:
            mine = next(changes)
            if mine == at and before:
                raise Killed
            done = method(*given, **named)
            if mine == at:
                raise Killed
            return done

        return called

    with pytest.MonkeyPatch.context() as patched, suppress(Killed):
        for name in ("land_all", "observe", "mark_removed", "withdraw", "set_value"):
            patched.setattr(one.book, name, dying(getattr(one.book, name)))
        one.settle()
    one.zone = one.another()


def come_to_rest(one: Desk) -> None:
    for _ in range(3):  # the last of a feed's files is held for a minute when it goes away
        one.settle()
        one.pass_time(61)
    assert one.settle().lines() == [], "a zone in which nothing happens has no news"


def contents(one: Desk) -> dict[str, str]:
    """Path -> digest of every file that holds something."""
    files = {str(path.relative_to(one.root)): path.read_bytes() for path in one.root.rglob("*.csv")}
    return {path: hashlib.sha256(data).hexdigest() for path, data in files.items() if data}


@pytest.mark.parametrize("kind", ["file", "folder"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, max_size=12))
def test_the_book_holds_what_lies_in_the_zone(kind: str, acts: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as name:
        (root := Path(name) / "zone").mkdir()
        book = open_book(f"sqlite:///{name}/book.sqlite")
        one_feed = feed("drops", "drops/**/*.csv", batch=kind)
        one = Desk(root, book, DetectSettings(zone=str(root), feeds=(one_feed,), settle_s=SETTLE_S, marker=""))
        try:
            for what in acts:
                act(one, *what)
            come_to_rest(one)
            check(one, kind)
        finally:
            book.close()


def check(one: Desk, kind: str) -> None:
    there = contents(one)
    alive = [batch for batch in one.book.batches() if batch.state not in (WITHDRAWN, TRAINED)]
    learnt = {file.sha256 for batch in one.book.batches(state=TRAINED) for file in batch.files}
    for batch in alive:  # every batch that waits can be read just as it landed
        assert {file.path: file.sha256 for file in batch.files}.items() <= there.items()
        assert not any(file.removed for file in batch.files)
    for batch in one.book.batches(state=TRAINED):
        for file in batch.files:
            assert file.removed or there.get(file.path) == file.sha256
    if kind == "file":
        assert {batch.id for batch in alive} == {batch_id("drops", [one]) for one in set(there.values()) - learnt}
    elif not learnt:
        folders: dict[str, list[str]] = {}
        for path, digest in there.items():
            folders.setdefault(path.rpartition("/")[0], []).append(digest)
        assert {batch.id for batch in alive} == {batch_id("drops", digests) for digests in folders.values()}
    else:  # nothing waits unseen: what no training learnt from stands in a batch that will be
        waiting = Counter(file.sha256 for batch in alive for file in batch.files)
        assert set(there.values()) <= learnt | waiting.keys()
