"""Real processes at one book: killed, stopped, started all at once, and with the database gone for a while."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgresql_cluster import Cluster, postgresql

from benchmarks.retraining import runners
from domainlm.errors import BookUnavailable, LeaseLost
from domainlm.retrain.batches import Claim, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.book.store import METADATA

from .conftest import accepted, batch_of, fresh

ROOT = Path(__file__).resolve().parents[4]
FORK = multiprocessing.get_context("fork")
SPAWN = multiprocessing.get_context("spawn")
PATIENCE_S = 60


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_every_batch_is_trained_once_while_runners_are_killed(url: str, tmp_path: Path) -> None:
    found = runners.play(url, tmp_path, batches=200, seed=7, limit_s=240)
    assert found["kills"] > 5, "the runners were really killed"
    assert (found["batches"], found["trained_once"], found["lost"]) == (200, 200, 0)
    book = open_book(url)
    for batch in book.batches():
        assert [one.after for one in book.transitions(batch.id)] == ["landed", "accepted", "trained"]


def test_a_server_that_goes_away_in_the_middle_costs_no_batch(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with postgresql() as cluster:
        outages = iter([1.0, 5.0])
        due = [next(outages)]

        def trouble(seconds: float) -> None:
            if due and seconds > due[0]:
                cluster.stop("immediate")  # as a crash: nothing is written any more
                time.sleep(1.5)
                cluster.start()
                due[0] = next(outages, float("inf"))

        found = runners.play(cluster.url, tmp_path, batches=150, seed=3, trouble=trouble, limit_s=240)
    assert due[0] > 1.0, "the server was really gone"
    assert (found["batches"], found["trained_once"], found["lost"]) == (150, 150, 0)


def _train(url: str, line: Connection) -> None:
    """A runner that claims, waits for a word, and then wants its result accepted."""
    book = open_book(url)
    claim = book.claim("markets", "sleeper", 1.0)
    with book.keep_alive(claim) as beat:
        line.send(claim.model_dump())
        line.recv()
        try:
            book.accept_result(claim, Result(run_id="late", identity="b" * 64))
            line.send("accepted")
        except LeaseLost as error:
            line.send(f"refused: {error.what}, noticed: {beat.lost.wait(30)}")


def test_a_runner_that_was_asleep_cannot_accept_and_notices(url: str) -> None:
    book = open_book(url)
    batch = accepted(book, 1)
    here, there = FORK.Pipe()
    runner = FORK.Process(target=_train, args=(url, there), daemon=True)
    runner.start()
    try:
        assert here.poll(PATIENCE_S)
        old = Claim.model_validate(here.recv())
        os.kill(runner.pid, signal.SIGSTOP)
        until(lambda: not book.busy("markets"))
        new = book.claim("markets", "olga", 60)
        assert (new.batches, new.starts) == (old.batches, 1)
        os.kill(runner.pid, signal.SIGCONT)
        here.send("go on")
        assert here.poll(PATIENCE_S)
        said = here.recv()
        assert said == f"refused: is lost: taken over by claim {new.token}, noticed: True"
        book.accept_result(new, Result(run_id="olga", identity="a" * 64))
    finally:
        runner.kill()
        runner.join()
    assert [one.identity for one in book.results("markets")] == ["a" * 64]
    assert book.batch(batch.id).state == "trained" and book.starts()["duplicate_starts"] == 1


def _open(url: str, number: int) -> str:
    book = open_book(url)
    return book.land(batch_of(number % 5)).id


def test_several_processes_make_the_same_book(url: str) -> None:
    with FORK.Pool(8) as pool:
        ids = pool.starmap_async(_open, [(url, number) for number in range(16)]).get(PATIENCE_S)
    book = open_book(url)
    assert len(set(ids)) == 5 and [batch.number for batch in book.batches()] == [1, 2, 3, 4, 5]
    with book.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(METADATA.tables["retrain_book"])).scalar() == 1


def _claim(book: Book, line: Connection) -> None:
    line.send([book.claim("markets", "child", 60, limit=1, exclusive=False).batches for _ in range(3)])


def test_a_child_that_was_forked_speaks_on_connections_of_its_own(url: str) -> None:
    book = open_book(url)
    for number in range(6):
        accepted(book, number)
    here, there = FORK.Pipe()
    child = FORK.Process(target=_claim, args=(book, there), daemon=True)
    child.start()
    own = [book.claim("markets", "parent", 60, limit=1, exclusive=False).batches for _ in range(3)]
    assert here.poll(PATIENCE_S)
    assert len({*own, *here.recv()}) == 6
    child.join(PATIENCE_S)
    assert book.starts()["batches"] == 6


def test_a_heartbeat_outlives_a_restart_of_the_server(cluster: Cluster) -> None:
    book = open_book(fresh(cluster))
    accepted(book, 1)
    claim = book.claim("markets", "tina", 3.0)
    with book.keep_alive(claim) as beat:
        cluster.stop()
        cluster.start()
        before = book.claims()[0].seen
        until(lambda: book.claims()[0].seen > before)
        assert not beat.lost.is_set()
    book.accept_result(claim, Result(run_id="r", identity="a" * 64))


def test_a_result_waits_for_a_server_that_comes_back(cluster: Cluster) -> None:
    book = open_book(fresh(cluster), patience_s=0.1)
    accepted(book, 1)
    claim = book.claim("markets", "tina", 60)
    cluster.stop()
    with pytest.raises(BookUnavailable):
        book.renew(claim)
    with pytest.raises(BookUnavailable):
        book.accept_result(claim, Result(run_id="r", identity="a" * 64), patience_s=0.1)
    back = threading.Timer(1.5, cluster.start)
    back.start()
    book.accept_result(claim, Result(run_id="r", identity="a" * 64))
    back.join()
    assert book.results("markets")[0].run_id == "r"


def test_a_heartbeat_keeps_a_claim_longer_than_its_lease_and_tells_of_its_loss(url: str) -> None:
    book = open_book(url)
    accepted(book, 1)
    claim = book.claim("markets", "tina", 0.6)
    told: list[LeaseLost] = []
    with book.keep_alive(claim, on_loss=told.append) as beat:
        first = book.claims()[0].seen
        until(lambda: book.claims()[0].seen > first and beat.silent_s < 0.6)
        time.sleep(1.0)
        assert book.claim("markets", "olga", 60) is None and not beat.lost.is_set()
        beat.check()
        book.give_up(claim, "somebody ended it from elsewhere")
        assert beat.lost.wait(PATIENCE_S)
        until(lambda: bool(told))
        with pytest.raises(LeaseLost, match="given up"):
            beat.check()
    assert len(told) == 1


def test_a_claim_that_ended_as_it_should_is_no_loss(url: str) -> None:
    book = open_book(url)
    accepted(book, 1)
    claim = book.claim("markets", "tina", 0.3)
    told: list[LeaseLost] = []
    with book.keep_alive(claim, on_loss=told.append):
        book.accept_result(claim, Result(run_id="r", identity="a" * 64))
        time.sleep(0.5)
    assert not told


def test_the_book_is_light(tmp_path: Path) -> None:
    heavy = ("torch", "datasets", "pandas", "pyarrow", "numpy", "zenml", "mlflow", "transformers")
    code = (
        f"import sys\nfrom domainlm.retrain.book import open_book\nopen_book('sqlite:///{tmp_path}/book.sqlite')\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
