"""`domainlm watch`: looks into the landing zone until it is told to stop, and starts what has to be done."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project, quiet_libraries
from cli.follow import StackOfRun
from cli.landing import (
    QUIET_VARIABLE,
    configuration_path,
    local_folder,
    overrides_of,
    post_in_slack,
    there_is_a_book,
    view_of,
    zone_of,
)
from cli.retrain import ConfigurationOption, Overrides
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError, DomainLMError, places_of
from domainlm.project import home

if TYPE_CHECKING:
    from domainlm.retrain.book import Book
    from domainlm.retrain.deciding.signals import LedgerView
    from domainlm.retrain.notices import Courier
    from domainlm.retrain.settings import SettleSettings
    from domainlm.retrain.watch.watching import Setup, Tell

HEARTBEAT = "watch.json"
BOOK_PATIENCE_S = 2.0  # of one call; the watcher itself waits longer, and says so
LEDGER_S = 300.0  # how long the watcher takes the ledger's word for: a decision is made each minute


def watch(
    zone: Annotated[
        str | None, typer.Argument(metavar="[URI]", help="Folder or fsspec URI, in place of the configuration's.")
    ] = None,
    config: ConfigurationOption = None,
    stack: StackOfRun = None,
    poll_s: Annotated[
        float | None, typer.Option("--poll", min=0.05, help="Seconds between two looks where nothing tells of changes.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Work on a copy of the book, and say what would be started.")
    ] = False,
    on_stop: Annotated[
        str, typer.Option("--on-stop", help="What SIGTERM does to a training at work: stop or leave.")
    ] = "stop",
    overrides: Overrides = None,
    health: Annotated[
        bool, typer.Option("--health", help="Exit code 0 where the project's watcher lives; then stop. For probes.")
    ] = False,
) -> None:
    """Notice what lands, decide with reasons, and train where that is due; until SIGTERM.

    SIGHUP, or a changed configuration file: it is read again. One that cannot be used is refused; the old one holds.
    """
    if health:
        raise typer.Exit(0 if _lives() else 1)
    if on_stop not in ("stop", "leave"):
        raise ConfigurationError(f"knows no '{on_stop}'", "--on-stop", "stop or leave")
    if zone and "://" not in zone:
        zone = str(Path(zone).resolve())  # counts from where the user stands
    config = config.resolve() if config else None
    root = enter_project(ready=stack is None)  # a pod of a cluster has no set-up of its own
    quiet_libraries()
    with ExitStack() as until_the_end:
        if dry_run:
            _work_on_copies(Path(until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="domainlm-dry-"))))
        source = _Source(
            configuration_path(config, root), stack, poll_s, dry_run, [*(overrides or []), *overrides_of(zone or "")]
        )
        from domainlm.retrain.watch.health import Pulse
        from domainlm.retrain.watch.watching import Watcher

        _say_another()
        watcher = Watcher(
            source.load, source.stamp, home() / "logs", Pulse(home() / "retrain" / HEARTBEAT), say, source.tell, on_stop
        )  # fmt: skip
        try:
            watcher.run()
        except DomainLMError:
            raise
        except Exception as error:  # a library's words may quote the data; systemd or Kubernetes starts it anew
            say(f"ended by a fault of ours, or of a library: {places_of(error)}")
            raise typer.Exit(1) from None
        finally:
            source.end()
    say("the watcher ends")


def say(line: str) -> None:
    """A line of the log on standard output, with its time (UTC); control characters of names were escaped before."""
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}", flush=True)


class _Source:
    """Where the watcher's setup comes from.

    Args:
        path: the configuration's file.
        said: assignments over it.
    """

    def __init__(self, path: Path, stack: str | None, poll_s: float | None, dry: bool, said: list[str]) -> None:
        self._path, self._stack, self._poll_s, self._dry, self._said = path, stack, poll_s, dry, said
        self._book: Book | None = None
        self._setup: Setup | None = None
        self._courier: Courier | None = None

    def stamp(self) -> object:
        """Changes with the file."""
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns

    def load(self) -> Setup:
        """Read and check the configuration, and keep a copy of it: what children work with while it is in force.

        Raises:
            ConfigurationError: it cannot be used.
            BookUnavailable: the book cannot be opened.
        """
        from domainlm.retrain.book import open_book
        from domainlm.retrain.notices import Courier
        from domainlm.retrain.rounds import Round, Terms
        from domainlm.retrain.watch.watching import Setup

        before = self._content()
        configuration = RunConfiguration.load(self._path, self._said)
        if configuration.content.get("schedule"):
            remedy = "comment it out, or do without a watcher"
            raise ConfigurationError("ZenML's schedule would run beside the watcher", f"{self._path}: schedule", remedy)
        terms = Terms.of(configuration)
        terms.require_lasting()
        if self._content() != before:
            raise ConfigurationError("changes while it is read", str(self._path), "wait until it is written")
        copy = self._copied(before)
        self._book = self._book or open_book(patience_s=BOOK_PATIENCE_S)
        round = Round(terms, self._book, zone_of(terms, self._book), _remembered(view_of(configuration, terms)))
        self._setup = Setup(
            round, local_folder(terms), self._poll_s or terms.detect.poll_s,
            accept=lambda ids: self._command(copy, "--accept-only", *(word for id in ids for word in ("--batch", id))),
            probe=[] if self._dry else self._command(copy, "--probe-only"),
            retrain=[] if self._dry else self._command(copy, "--once"),
            follow=[] if self._dry else self._command(copy, "--follow-only"),
        )  # fmt: skip
        if self._courier is None and not self._dry:  # what waits from before is sent too
            self._courier = Courier(self._book, self._settle, post_in_slack, say).start()
        return self._setup

    def tell(self, said: Tell) -> None:
        """Hand a notice to the courier, who delivers it beside the watcher's work, also while the book is away."""
        from domainlm.retrain.notices import Notice

        if self._courier is not None:
            self._courier.post(Notice(**said._asdict()))  # type: ignore[arg-type]

    def end(self) -> None:
        """Deliver what can still be delivered."""
        if self._courier is not None:
            self._courier.stop()

    def _settle(self) -> SettleSettings:
        assert self._setup is not None
        return self._setup.round.terms.settle

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"cannot be read ({error.strerror})", str(self._path), "put it back") from None

    def _copied(self, content: bytes) -> Path:
        folder = home() / "configurations"
        folder.mkdir(mode=0o700, exist_ok=True)
        copy = folder / f"watch-{hashlib.sha256(content).hexdigest()[:16]}{self._path.suffix}"
        if not copy.exists():
            place = copy.with_name(f".{copy.name}.{os.getpid()}")
            place.write_bytes(content)
            place.replace(copy)
        return copy

    def _command(self, copy: Path, *arguments: str) -> list[str]:
        given = ["-c", str(self._path), "--in-force", str(copy)]
        for word in self._said:
            given += ["--set", word]
        if self._stack:
            given += ["-s", self._stack]
        return [sys.executable, "-m", "cli.main", "retrain", *given, *arguments]


def _remembered(view: Callable[[], LedgerView | None]) -> Callable[[], LedgerView | None]:
    """A ledger of thousands of entries takes seconds to verify; the child that trains reads it anew."""
    known: list[tuple[float, LedgerView | None]] = []

    def remembered() -> LedgerView | None:
        if not known or time.monotonic() > known[0][0] + LEDGER_S:
            known[:] = [(time.monotonic(), view())]
        return known[0][1]

    return remembered


def _work_on_copies(folder: Path) -> None:
    """Children inherit it: what they look into is entered into the copy, and nobody is told of it."""
    from domainlm.retrain.book import Book, open_book

    copy = folder / "book.sqlite"
    if there_is_a_book():
        open_book(create=False).copied_to(copy)
    else:
        Book(f"sqlite:///{copy}")
    os.environ["DOMAINLM_BOOK"] = f"sqlite:///{copy}"
    os.environ[QUIET_VARIABLE] = "1"


def _lives() -> bool:
    from domainlm.retrain.watch.health import STALE_S, age_s, read_heartbeat

    said = read_heartbeat(home() / "retrain" / HEARTBEAT)
    age = age_s(said)
    print(json.dumps({"age_s": None if age == float("inf") else round(age, 1)} | said))
    return age < STALE_S


def _say_another() -> None:
    """Two watchers of one zone do no harm: a batch is claimed by one of them."""
    from domainlm.retrain.watch.health import STALE_S, age_s, read_heartbeat

    said = read_heartbeat(home() / "retrain" / HEARTBEAT)
    if age_s(said) < STALE_S and said.get("pid") != os.getpid():
        say(
            f"another watcher of this project is at work (process {said.get('pid')}); each batch is claimed by one only"
        )
