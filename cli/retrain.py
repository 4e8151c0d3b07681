"""`domainlm retrain --once`: one round, for cron, CI or Airflow: looks into the zone, decides, trains where it is due.

Exit code 0: nothing was to be trained, or the training went well. 1: it failed, or something is wrong that a person
must mend. 75 (EX_TEMPFAIL): another runner is at work in this lane, or zone or book are away; try again later.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console

from cli.environment import enter_project, quiet_libraries
from cli.follow import StackOfRun
from cli.landing import (
    CONFIGURATION,
    acceptance_of,
    configuration_path,
    following,
    notify,
    notify_away,
    notify_of,
    notify_quarantined,
    overrides_of,
    there_is_a_book,
    view_of,
    zone_of,
)
from domainlm.config import RunConfiguration
from domainlm.errors import BookUnavailable, ConfigurationError, DomainLMError, places_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.launch import Launch
    from domainlm.retrain.batches import Decision
    from domainlm.retrain.rounds import Launched, RoundReport, Terms

GOOD, FAILED, BUSY = 0, 1, 75
ConfigurationOption = Annotated[
    Path | None, typer.Option("-c", "--config", help=f"Run configuration; {CONFIGURATION} by default.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. steps.decide.parameters.new_rows=500.")
]
# The watcher's copy of the configuration that is in force, while the file may hold one that it refused.
InForce = Annotated[Path | None, typer.Option("--in-force", hidden=True)]


def retrain(
    once: Annotated[bool, typer.Option("--once", help="One round (`domainlm watch` goes on looking).")] = True,
    config: ConfigurationOption = None,
    stack: StackOfRun = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would land, the decision and the plan; change nothing.")
    ] = False,
    since: Annotated[str, typer.Option(help="Backfill: only batches with data of this day or later.")] = "",
    until: Annotated[str, typer.Option(help="Only batches with data of this day or earlier.")] = "",
    batches: Annotated[
        list[str] | None, typer.Option("--batch", help="Only this batch: 8 digits or more of its id; repeatable.")
    ] = None,
    as_run: Annotated[
        str, typer.Option("--as-run", help="With --batch: use the configuration of this earlier run again.")
    ] = "",
    asked: Annotated[
        bool, typer.Option("--asked", help="Train although nothing asks for it; cool-down and budget do not hold it.")
    ] = False,
    overrides: Overrides = None,
    patience_s: Annotated[
        float, typer.Option("--patience", min=0, help="Seconds to wait for files that are still settling.")
    ] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="The report as one JSON line; people's lines to stderr.")
    ] = False,
    accept_only: Annotated[
        bool, typer.Option("--accept-only", help="Look into what landed, and stop: no scan, no decision.")
    ] = False,
    probe_only: Annotated[
        bool, typer.Option("--probe-only", help="Ask the champion about what landed since it was trained, and stop.")
    ] = False,
    follow_only: Annotated[
        bool, typer.Option("--follow-only", help="Look after what is open of earlier runs, and stop.")
    ] = False,
    in_force: InForce = None,
) -> None:
    """Retrain where new data ask for it: look into the landing zone, decide with reasons, train, follow up."""
    config = config.resolve() if config else None  # counts from where the user stands
    root = enter_project(ready=stack is None)  # a pod of a cluster has no set-up of its own
    path = configuration_path(config, root)
    said = [*(overrides or []), *overrides_of("", since, until, batches or [], as_run, asked)]
    configuration = RunConfiguration.load(in_force or path, said)
    log = quiet_libraries()
    if as_run:
        from domainlm.retrain.deciding.as_run import as_run as of_run

        _catch_up(as_run, stack)
        configuration = RunConfiguration(configuration.path, of_run(as_run, configuration.content))
    console = Console(stderr=as_json, highlight=False, width=None if sys.stdout.isatty() else 150)
    from domainlm.retrain.zone import ZoneUnreachable

    started = _Started(configuration, path, bool(said or as_run) or _differs(in_force, path), stack, console, log)
    try:
        if accept_only:
            code = _accept(started, batches or [])
        elif probe_only:
            code = GOOD if _probe(started) else FAILED
        elif follow_only:
            code = _follow(started)
        elif dry_run:
            code = _dry(started, patience_s, as_json)
        else:
            code = _once(started, patience_s, as_json)
    except (BookUnavailable, ZoneUnreachable) as error:
        whole = not (accept_only or probe_only or follow_only or dry_run)
        never = whole and notify_away(started.terms, error)
        started.say(f"there never was such a zone: {error}" if never else f"later: {error}")
        code = FAILED if never else BUSY
    except DomainLMError:
        raise
    except Exception as error:  # a library's words may quote the data
        if os.environ.get("DOMAINLM_DEBUG"):
            raise
        started.say(f"ended by a fault of ours, or of a library: {places_of(error)}")
        code = FAILED
    sys.exit(code)


def _catch_up(run: str, stack: str | None) -> None:
    """Mark a run as ended whose process is gone: only then its manifest holds all that its steps were told.

    Raises:
        ConfigurationError: this command is for another stack than the run's.
    """
    from domainlm.retrain.deciding.as_run import left_running

    if not left_running(run):
        return
    if stack:
        remedy = f"domainlm retrain --once --dry-run --as-run {run}, without -s, marks it as ended"
        raise ConfigurationError("its process on this machine is gone, and it is not marked yet", f"run {run}", remedy)
    from pipelines import hooks

    hooks.catch_up()


class _Started(NamedTuple):
    """What the command was given.

    Args:
        path: the configuration's file, as the manifest names it.
        overridden: whether values came by hand, or the file holds something else by now.
    """

    configuration: RunConfiguration
    path: Path
    overridden: bool
    stack: str | None
    console: Console
    log: Path

    @property
    def terms(self) -> Terms:
        """What the configuration says of retraining."""
        from domainlm.retrain.rounds import Terms

        return Terms.of(self.configuration)

    def say(self, line: str) -> None:
        """A line for people; nothing in it is markup."""
        self.console.print(line, markup=False, soft_wrap=True)


def _once(started: _Started, patience_s: float, as_json: bool) -> int:
    if started.configuration.content.get("schedule"):
        return _schedule(started)
    from domainlm.retrain.book import open_book
    from domainlm.retrain.rounds import Round

    terms, book = started.terms, open_book()
    round = Round(
        terms, book, zone_of(terms, book), view_of(started.configuration, terms),
        accept=acceptance_of(started.configuration, book), launch=lambda decision: _launch(started, decision),
        probe=lambda: _probe(started),
        follow_up=lambda: following(started.terms, book, started.stack), say=started.say,
    )  # fmt: skip
    report = round.once(patience_s)
    notify_of(terms, book, report)
    _show(report, started, as_json)
    return {"failed": FAILED, "busy": BUSY}.get(report.outcome, FAILED if report.unheard or report.failing else GOOD)


def _accept(started: _Started, batches: list[str]) -> int:
    from domainlm.retrain.book import open_book
    from domainlm.retrain.rounds import Round

    terms, book = started.terms, open_book()
    accept = acceptance_of(started.configuration, book)
    round = Round(terms, book, zone_of(terms, book), lambda: None, accept=accept, say=started.say)
    quarantined, unheard = round.look_into(round.landed(batches))
    for batch in quarantined:
        notify_quarantined(terms, book, batch)
    return FAILED if unheard else GOOD


def _follow(started: _Started) -> int:
    from domainlm.retrain.book import open_book

    for line in following(started.terms, open_book(), started.stack):
        started.say(line)
    return GOOD


def _dry(started: _Started, patience_s: float, as_json: bool) -> int:
    """The round on copies: of the book, and of where rows of queries are put."""
    from domainlm.retrain.book import Book, open_book
    from domainlm.retrain.rounds import Round

    terms = started.terms
    with tempfile.TemporaryDirectory(prefix="domainlm-dry-") as folder:
        place = Path(folder)
        copy = place / "book.sqlite"
        try:
            book = open_book(create=False).copied_to(copy)
        except BookUnavailable:
            if there_is_a_book():
                raise
            book = Book(f"sqlite:///{copy}")  # nothing has landed yet
        accept = acceptance_of(started.configuration, book)
        round = Round(terms, book, zone_of(terms, book, place), view_of(started.configuration, terms),
                      accept=accept, say=started.say)  # fmt: skip
        report = round.once(patience_s, dry=True)
        if report.outcome == "would-train":
            from domainlm.retrain.deciding.foreseen import foreseen

            assert report.decision is not None
            report.plan = foreseen(round, report.decision)
            report.told = tuple(report.plan.lines() if report.plan else ["nothing can be claimed now"])
        _show(report, started, as_json)
        return BUSY if report.outcome == "busy" else GOOD


def _probe(started: _Started) -> bool:
    """Whether the champion could be asked; where it could not, the decision goes without its score."""
    from cli.probe import asked

    started.say("the champion is asked about what landed since it was trained")
    return asked(_what(started), started.console, started.log) is not None


def _launch(started: _Started, decision: Decision) -> Launched:
    from cli.launch import launched, let_hub, show_card
    from domainlm.ledger.run import manifest as manifests
    from domainlm.retrain.rounds import Launched

    for line in decision.lines():
        started.say(line)
    let_hub(started.configuration)
    began, before = time.monotonic(), _begun()
    finished = launched(_pipeline(started), _what(started), started.console, started.log)
    if finished is None:
        return Launched("failed", _tell_failure(started, before))
    manifest = manifests.read(finished.path)
    if manifest.status == manifests.DECLINED:
        from cli.card import decision as decided

        started.say("the run decided otherwise, with the claim in its hand:")
        for title, told in decided(manifest):
            started.say(f"{title}: {told}" if title else told)
        return Launched("no", finished.run_id)
    return Launched("trained" if show_card(finished, started.console, began) else "failed", finished.run_id)


def _schedule(started: _Started) -> int:
    """Make the schedule that the configuration names. Nothing is decided here: each of its runs looks for itself."""
    from cli.launch import launched

    if not started.stack:
        raise ConfigurationError("a schedule works on a cluster alone", "schedule", "name its stack: -s kubernetes")
    try:
        launched(_pipeline(started), _what(started), started.console, started.log)
    except typer.Exit as stands:
        return stands.exit_code
    return FAILED  # which has been said


def _pipeline(started: _Started) -> Callable[[dict[str, Any]], Any]:
    def start(stated: dict[str, Any]) -> Any:
        from cli.launch import effective
        from pipelines.retraining import retraining_pipeline

        path = effective(started.configuration.content, stated)
        return retraining_pipeline.with_options(config_path=str(path))()

    return start


def _what(started: _Started) -> Launch:
    from cli.launch import Launch
    from domainlm.ledger.run.asked import Asked

    asked = Asked(str(started.path), overridden=started.overridden)
    return Launch(started.configuration, asked, started.stack)


def _tell_failure(started: _Started, before: int) -> str:
    """Tell people that a run failed.

    Args:
        before: how many runs this process had begun before it: those are others, such as the champion's probe.

    Returns:
        The run's id; empty where none began here.
    """
    from domainlm.retrain.book import open_book
    from domainlm.retrain.failures import failed
    from pipelines import hooks

    run = next((str(one) for one in hooks.started[before:][-1:]), "")
    notice = failed(run)
    notify(started.terms, open_book(), **notice.model_dump(exclude_defaults=True))
    return run


def _begun() -> int:
    """How many runs this process began by now; ZenML is imported by the first."""
    hooks = sys.modules.get("pipelines.hooks")
    return len(hooks.started) if hooks else 0


def _show(report: RoundReport, started: _Started, as_json: bool) -> None:
    if as_json:
        print(report.model_dump_json())
        return
    say = started.say
    say(f"zone {report.zone}: {len(report.landed)} batches landed, {report.settling} still settle, "
        f"{report.unreadable} files cannot be read")  # fmt: skip
    if report.decision is not None and report.outcome in ("no", "busy", "would-train") and not report.run_id:
        say(f"waiting to be trained on: {len(report.waiting)} batches, {report.waiting_rows} rows")
        for line in report.decision.lines():
            say(line)
    for line in report.told:
        say(line)
    words = {
        "no": "nothing is trained", "busy": "another runner is at work in this lane", "trained": "trained",
        "failed": "the training failed", "would-train": "a training would start now",
    }  # fmt: skip
    say(words[report.outcome] + (f": run {report.run_id}" if report.run_id else ""))


def _differs(in_force: Path | None, path: Path) -> bool:
    return in_force is not None and in_force.read_bytes() != path.read_bytes()
