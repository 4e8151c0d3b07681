"""A real watcher in a process of its own, over a real zone and a real book, whose children do trivial work.

    python small_watcher.py watch FOLDER | accept FOLDER ID... | probe FOLDER | retrain FOLDER

FOLDER holds `zone/`, `home/` and `setup.yaml`: {detect: ..., decide: ..., retrain: good|killed|slow|..., constants: of
`domainlm.retrain.watch.watching`, erased: since when the champion must be trained again}. What is
told to people goes to `told.jsonl`, each start of a child to `starts`. While a file `fault` holds a number, a look into
the zone ends with that errno, or hangs where it holds `hangs`; a file `clock` holds seconds by which the clock is off.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
LANE = "small"
FEED = {
    "name": "news", "uri": "*.csv", "form": "labelled", "columns": {"text": "headline"}, "task": "sentiment",
    "language": "en", "licence": "CC0-1.0", "consent": "public", "purpose": "model-training", "jurisdiction": "us",
    "handling": "public",
}  # fmt: skip


# ---------------------------------------------------------------------------------------- what tests use


class SmallWatcher:
    """A folder with a zone, and the watcher of it.

    Args:
        folder: everything lies below it.
        url: of the book; empty: SQLite in the home.
        given: what `setup.yaml` says beside the defaults.
    """

    def __init__(self, folder: Path, url: str = "", **given: Any) -> None:
        self.folder, self.zone = folder, folder / "zone"
        self.zone.mkdir(parents=True)
        self.environment = os.environ | {
            "DOMAINLM_HOME": str(folder / "home"), "DOMAINLM_PROJECT": str(ROOT), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        if url:
            self.environment["DOMAINLM_BOOK"] = url
        self.url = url or f"sqlite:///{folder / 'home' / 'retrain' / 'book.sqlite'}"
        self.configure(**given)
        self.process: subprocess.Popen[str] | None = None

    def configure(self, **given: Any) -> None:
        content = {
            "detect": {"zone": str(self.zone), "feeds": [FEED], "settle_s": 0.3, "poll_s": 0.3, "backoff_max_s": 2.0},
            "decide": {"new_rows": 1, "cool_down_h": 0, "max_age_days": None},
            "retrain": "good",
        }  # fmt: skip
        for name, value in given.items():
            content[name] = content.get(name, {}) | value if isinstance(value, dict) else value
        place = self.folder / ".setup"
        place.write_text(yaml.safe_dump(content))
        place.replace(self.folder / "setup.yaml")

    def start(self, *arguments: str, before: tuple[str, ...] = ()) -> SmallWatcher:
        self.log = self.folder / f"log-{time.monotonic_ns()}"
        with open(self.log, "w") as out:
            self.process = subprocess.Popen(
                [*before, sys.executable, __file__, "watch", str(self.folder), *arguments], env=self.environment,
                stdout=out, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        return self

    def drop(self, name: str, *rows: str) -> Path:
        """Put a file into the zone as a good citizen does: under another name first."""
        place = self.zone / f".{name}.part"
        place.write_text("headline,label\n" + "".join(f"{row},neutral\n" for row in rows or (name,)))
        place.replace(self.zone / name)
        return self.zone / name

    def said(self) -> str:
        return self.log.read_text()

    def told(self) -> list[dict[str, str]]:
        path = self.folder / "told.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def starts(self, name: str) -> int:
        path = self.folder / "starts"
        return path.read_text().split().count(name) if path.exists() else 0

    def passes(self) -> int:
        """How often the watcher's loop went round by now."""
        path = self.folder / "passes"
        return path.stat().st_size if path.exists() else 0

    def book(self) -> Any:
        from domainlm.retrain.book import open_book

        return open_book(self.url)

    def book_made(self) -> Any:
        """The book before there is a watcher."""
        (self.folder / "home").mkdir(mode=0o700, exist_ok=True)
        return self.book()

    def states(self) -> list[str]:
        return [batch.state for batch in self.book().batches()]

    def until(self, true: Any, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert self.process is None or self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)

    def until_said(self, words: str, seconds: float = 60.0) -> None:
        self.until(lambda: words in self.said(), seconds)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
            raise


# ---------------------------------------------------------------------------------------- what its processes do


def main() -> None:
    what, folder, *rest = sys.argv[1:]
    {"watch": _watch, "accept": _accept, "probe": _probe, "retrain": _retrain}[what](Path(folder), rest)


def _content(folder: Path) -> dict[str, Any]:
    from domainlm.errors import ConfigurationError

    try:
        return dict(yaml.safe_load((folder / "setup.yaml").read_text()))
    except (yaml.YAMLError, ValueError):
        raise ConfigurationError("is no YAML", "setup.yaml", "mend it") from None


def _terms(folder: Path) -> Any:
    from pydantic import ValidationError

    from domainlm.errors import ConfigurationError
    from domainlm.retrain.rounds import Terms
    from domainlm.retrain.settings import DecideSettings, DetectSettings, SettleSettings

    content = _content(folder)
    try:
        return Terms(LANE, DetectSettings(**content["detect"]), DecideSettings(**content["decide"]), SettleSettings())
    except ValidationError as error:
        raise ConfigurationError(f"{error.error_count()} faults", "setup.yaml", "mend it") from None


def _watch(folder: Path, rest: list[str]) -> None:
    from domainlm.retrain.book import open_book
    from domainlm.retrain.deciding.signals import LedgerView
    from domainlm.retrain.rounds import Round
    from domainlm.retrain.watch import watching
    from domainlm.retrain.watch.health import Pulse
    from domainlm.retrain.watch.watching import Setup, Tell, Watcher

    def clock() -> float:
        off = folder / "clock"
        return time.time() + (float(off.read_text()) if off.exists() else 0.0)

    for name, value in _content(folder).get("constants", {}).items():
        setattr(watching, name, value)
    command = [sys.executable, __file__]
    opened = []

    def load() -> Setup:
        terms = _terms(folder)
        if not opened:
            opened.append(open_book(patience_s=0.5))
        zone = _zone_class(folder)(terms.detect, opened[0], clock)
        champion, erased = (str(_content(folder).get(name, "")) for name in ("champion", "erased"))

        def view() -> LedgerView:
            newest = [result.identity for result in opened[0].results(LANE)[-1:]] if erased else []
            return LedgerView(champion=champion, must_retrain=dict.fromkeys(newest, erased))

        class Counted(Round):
            """Asked for its zone in each pass."""

            @property
            def shown_zone(self) -> str:
                with open(folder / "passes", "ab") as out:
                    out.write(b".")
                return super().shown_zone

        round = Counted(terms, opened[0], zone, view, clock=clock)
        local = Path(terms.detect.zone) if "polls" not in rest else None
        return Setup(
            round, local, terms.detect.poll_s, lambda ids: [*command, "accept", str(folder), *ids],
            [*command, "probe", str(folder)], [*command, "retrain", str(folder)],
        )  # fmt: skip

    def changed() -> object:
        state = (folder / "setup.yaml").stat()
        return state.st_ino, state.st_mtime_ns

    def tell(said: Tell) -> None:
        with open(folder / "told.jsonl", "a") as out:
            out.write(json.dumps(said._asdict()) + "\n")

    home = folder / "home"
    pulse = Pulse(home / "retrain" / "watch.json", every_s=0.2)
    told_after_s = float(_content(folder).get("told_after_s", 1.0))
    Watcher(
        load, changed, home / "logs", pulse, lambda line: print(line, flush=True), tell, told_after_s=told_after_s
    ).run()
    if "modules" in rest:
        print("modules", *sorted(sys.modules), flush=True)


def _zone_class(folder: Path) -> Any:
    from domainlm.retrain.zone import Scan, Zone

    class Faulty(Zone):
        """Breaks as long as the test wants."""

        def scan(self) -> Scan:
            fault = folder / "fault"
            what = fault.read_text() if fault.exists() else ""
            if what == "hangs":
                print("a look hangs", flush=True)
                time.sleep(300)
            if what:
                raise OSError(int(what), os.strerror(int(what)))
            return super().scan()

    return Faulty


def _started(folder: Path, name: str) -> None:
    with open(folder / "starts", "a") as out:
        out.write(f"{name}\n")


def _accept(folder: Path, ids: list[str]) -> None:
    from domainlm.retrain.book import open_book

    _started(folder, "accept")
    book = open_book()
    for id in ids:
        batch = book.batch(id)
        text = [Path(file.uri.removeprefix("file://")).read_text() for file in batch.files]
        if any("poison" in one for one in text):
            os.kill(os.getpid(), signal.SIGKILL)  # as where there is too little memory
        if any("hangs" in one for one in text):
            subprocess.run(["sleep", "120"], timeout=150)  # in a process of its own, as a reader may
        if any("bad" in one for one in text):
            book.quarantine(id, "its contract is broken")
        else:
            book.accept(id, sum(one.count("\n") - 1 for one in text))


def _probe(folder: Path, rest: list[str]) -> None:
    from domainlm.retrain.batches import ACCEPTED
    from domainlm.retrain.book import open_book

    _started(folder, "probe")
    book, champion = open_book(), str(_content(folder)["champion"])
    for batch in book.batches(state=ACCEPTED):
        book.score(champion, batch.id, "sentiment", 0.2, 0.1, 0.3, 100)


def _retrain(folder: Path, rest: list[str]) -> None:
    from domainlm.retrain.batches import Result
    from domainlm.retrain.book import open_book

    _started(folder, "retrain")
    how = str(_content(folder)["retrain"])
    if how == "fails":
        raise SystemExit(1)
    if how == "declines":
        return
    if how == "busy":
        raise SystemExit(75)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "slow":
        time.sleep(120)
    book = open_book()
    claim = book.claim(LANE, f"{os.getpid()}", 30)
    if claim is not None:
        book.accept_result(claim, Result(run_id=str(claim.token), identity=f"{claim.token:064d}"))


if __name__ == "__main__":
    main()
