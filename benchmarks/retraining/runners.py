"""Eight runners share a batch book while a killer kills them: is every batch trained once, and is none lost?

    python -m benchmarks.retraining.runners [--quick] [--url URL]

Each runner is a process of its own that claims a batch, "trains" for some milliseconds with a heartbeat, registers a
model whose identity depends on the batch alone, and asks the book to accept it. The killer ends one runner after
another at random moments (SIGKILL, and a new runner takes its place at once), or stops one for longer than its lease
(SIGSTOP, then SIGCONT: it wakes up without knowing that its batch was taken over).

What is counted does not come from the book alone: each runner writes a line for every start, every result that was
accepted, and every one that was refused, into a file that outlives it. `trained_once` are batches with one result in
the book that nobody saw accepted twice; `lost` those of the batches that have none at the end.

Once in SQLite, once in a PostgreSQL of this run's own where one is installed (or in the empty database of `--url`).
Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from domainlm.errors import BookUnavailable, LeaseLost  # noqa: E402
from domainlm.retrain.batches import Batch, LandedFile, Result  # noqa: E402
from domainlm.retrain.book import Book, open_book  # noqa: E402

LANE, LEASE_S = "markets", 3.0
RUNNERS, BATCHES, QUICK_BATCHES = 8, 1000, 120
PAYLOAD_MS = (1, 12)
KILL_EVERY_S = 0.25  # the mean of the pauses between two kills, which are random
STOPPED = 0.05  # share of the kills that are a stop for longer than the lease instead
LIMIT_S = 1200.0
_FORK = multiprocessing.get_context("fork")  # a runner is there in milliseconds, so that many can be killed


def fill(book: Book, count: int) -> list[str]:
    """Land and accept batches of one small file each; their ids."""
    batches = []
    for number in range(count):
        digest = hashlib.sha256(f"drop {number}".encode()).hexdigest()
        name = f"drop-{number:05}.csv"
        file = LandedFile(path=name, uri=f"/zone/{name}", sha256=digest, size_bytes=1000)
        batches.append(Batch(id=digest, number=0, feed="news", name=name, files=(file,), landed="2026-11-01T00:00:00Z"))
    for batch in book.land_all(batches):
        book.accept(batch.id, rows=10)
    return [batch.id for batch in batches]


def run_batches(url: str, diary: Path, seed: int) -> None:
    """One runner: until nothing is left that could be claimed, or it is killed."""
    chance = random.Random(seed)
    book = open_book(url, create=False)
    owner = f"runner-{os.getpid()}"
    while True:
        claim = book.claim(LANE, owner, LEASE_S, limit=1, exclusive=False)
        if claim is None:
            if not book.batches(state="accepted"):
                return
            time.sleep(0.05)
            continue
        _note(diary, "start", claim.batches[0], claim.token)
        try:
            with book.keep_alive(claim):
                run_id = f"run-{claim.token}"
                book.bind(claim, run_id)
                time.sleep(chance.uniform(*PAYLOAD_MS) / 1000)
                identity = hashlib.sha256(f"model of {claim.batches[0]}".encode()).hexdigest()
                book.accept_result(claim, Result(run_id=run_id, identity=identity, version="markets/1"))
        except LeaseLost:
            _note(diary, "refused", claim.batches[0], claim.token)
        else:
            _note(diary, "accepted", claim.batches[0], claim.token)


def play(
    url: str,
    folder: Path,
    batches: int = BATCHES,
    seed: int = 0,
    trouble: Callable[[float], None] | None = None,
    limit_s: float = LIMIT_S,
) -> dict[str, int | float]:
    """All runners and the killer, until every batch has its result.

    Args:
        url: an empty database.
        folder: for the runners' diary.
        trouble: called in every turn with the seconds since the start; what else shall go wrong.

    Returns:
        batches, trained_once, lost, duplicate_starts, refused, kills, stops, seconds.

    Raises:
        TimeoutError: it did not end in time.
    """
    chance, diary = random.Random(seed), folder / "diary"
    book = open_book(url)
    ids = fill(book, batches)
    book.close()
    begun = time.monotonic()
    seeds = iter(range(1 << 30))
    running = [_started(url, diary, next(seeds)) for _ in range(RUNNERS)]
    asleep: list[tuple[float, BaseProcess]] = []
    kills = stops = 0
    strike = begun + chance.expovariate(1 / KILL_EVERY_S)
    try:
        while any(runner.is_alive() for runner in running):
            now = time.monotonic()
            if now - begun > limit_s:
                raise TimeoutError(f"{batches} batches were not done within {limit_s:.0f} s")
            for end, runner in [one for one in asleep if one[0] < now]:
                asleep.remove((end, runner))
                _signal(runner, signal.SIGCONT)
            awake = [runner for runner in running if runner.is_alive() and runner not in [one for _, one in asleep]]
            if now > strike and len(awake) > 1:
                strike = now + chance.expovariate(1 / KILL_EVERY_S)
                struck = chance.choice(awake)
                if chance.random() < STOPPED:
                    _signal(struck, signal.SIGSTOP)
                    asleep.append((now + LEASE_S * chance.uniform(1.2, 2), struck))
                    stops += 1
                else:
                    _signal(struck, signal.SIGKILL)
                    struck.join()
                    running[running.index(struck)] = _started(url, diary, next(seeds))
                    kills += 1
            elif len(awake) == 0 and not asleep:
                break
            if trouble is not None:
                trouble(now - begun)
            time.sleep(0.01)
    finally:
        for runner in running:
            _signal(runner, signal.SIGCONT)
            _signal(runner, signal.SIGKILL)
            runner.join()
    seconds = time.monotonic() - begun
    return _counted(url, ids, diary) | {"kills": kills, "stops": stops, "seconds": round(seconds, 1)}


def _counted(url: str, ids: list[str], diary: Path) -> dict[str, int | float]:
    lines = [line.split() for line in diary.read_text().splitlines()]
    told = {word: Counter(batch for what, batch, _ in lines if what == word) for word in ("accepted", "refused")}
    book = open_book(url, create=False)
    results = Counter(batch for result in book.results(LANE) for batch in result.batches)
    # a runner may be killed between the book's commit and its own line: the book may know more than the diaries
    once = [id for id in ids if results[id] == 1 and told["accepted"][id] <= 1]
    starts = book.starts()
    found = {
        "batches": len(ids),
        "trained_once": len(once),
        "lost": len([id for id in ids if not results[id]]) + starts["lost"],
        "duplicate_starts": starts["duplicate_starts"],
        "refused": told["refused"].total(),
    }
    book.close()
    return found


def _started(url: str, diary: Path, seed: int) -> BaseProcess:
    runner = _FORK.Process(target=run_batches, args=(url, diary, seed), daemon=True)
    runner.start()
    return runner


def _signal(runner: BaseProcess, number: int) -> None:
    if runner.is_alive():
        os.kill(runner.pid, number)


def _note(diary: Path, what: str, batch: str, token: int) -> None:
    with open(diary, "ab", buffering=0) as stream:  # one write of one line: the kernel appends it whole
        stream.write(f"{what} {batch} {token}\n".encode())


def measure(quick: bool, url: str = "") -> dict[str, int | float]:
    """Both databases; prints a line for each.

    Returns:
        The figures of SQLite, and those of PostgreSQL with `postgresql_` before their names.
    """
    from postgresql_cluster import binaries, postgresql

    batches = QUICK_BATCHES if quick else BATCHES
    print(f"{RUNNERS} runners, {batches} batches, kill -9 or a stop every {KILL_EVERY_S} s on average")
    folder = Path(tempfile.mkdtemp(prefix="runners-"))
    try:
        figures = _told("SQLite", play(f"sqlite:///{folder / 'book.sqlite'}", folder, batches))
        (folder / "diary").unlink()
        if url:
            server = play(url, folder, batches)
        elif binaries() is not None:
            with postgresql() as cluster:
                server = play(cluster.url, folder, batches)
        else:
            print("PostgreSQL is not installed: not measured")
            return figures
        return figures | {f"postgresql_{name}": value for name, value in _told("PostgreSQL", server).items()}
    finally:
        shutil.rmtree(folder)


def _told(database: str, figures: dict[str, int | float]) -> dict[str, int | float]:
    print(f"{database:<12}" + "  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_BATCHES} batches instead of {BATCHES}")
    parser.add_argument(
        "--url", default="", help="an empty PostgreSQL database to use instead of one of this run's own"
    )
    given = parser.parse_args()
    try:
        print(json.dumps(measure(given.quick, given.url)))
    except BookUnavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
