"""`domainlm audit collect`: what the pods of a cluster's runs left behind becomes manifests and ledger entries."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project, from_here, quiet_libraries
from domainlm.errors import DomainLMError, places_of

if TYPE_CHECKING:
    from domainlm.cluster.settings import StackFile
    from domainlm.ledger.run.metrics import State
    from steps.collected import Finished
    from steps.to_collect import PodsOf

FOLLOW_S = 300.0  # between two looks after retrainings: each reads the ledger where a model waits


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("collect")(collect)


def collect(
    stack: Annotated[
        str, typer.Option("-s", "--stack", help="A file of infra/stacks, or a path.", callback=from_here)
    ] = "kubernetes",
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="This run alone, also where it was refused before; repeatable.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until SIGTERM.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=1.0, help="Seconds between two looks.")] = 60.0,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", min=0, max=65535, help="Show figures to Prometheus there; 0: nowhere.")
    ] = 0,
    follow: Annotated[
        Path | None,
        typer.Option("--follow", help="Run configuration of retrainings, whose results are promoted or told of."),
    ] = None,
) -> None:
    """Collect the runs of a stack that ended, and enter them. Exit code 1 where one waits or could not be collected."""
    from domainlm.cluster.settings import find_stack
    from domainlm.ledger.run.metrics import State, serve

    enter_project(ready=False)
    quiet_libraries()
    file = find_stack(stack)
    file.enter()
    state, done, following = State(), threading.Event(), _Following(follow)
    before = {sign: signal.signal(sign, lambda *_: done.set()) for sign in (signal.SIGTERM, signal.SIGINT)}
    stop = serve(state, metrics_port) if metrics_port else lambda: None
    try:
        good = _round(file, runs or [], state)
        following.look()
        while watch and not done.wait(every_s):
            good = _round(file, runs or [], state)
            following.look()
    finally:
        stop()
        for sign, handler in before.items():
            signal.signal(sign, handler)
    if not (good or watch):
        raise typer.Exit(1)


def _round(file: StackFile, runs: list[str], state: State) -> bool:
    from domainlm.ledger.run.entering import WAITING
    from steps.missed import Missed
    from steps.to_collect import collected, round_of

    pods_of, good = _pods_of(file), True
    try:
        name, evidence = file.settings.name, file.settings.evidence
        found = (
            (collected(run, pods_of, state, name) for run in runs) if runs else round_of(name, evidence, pods_of, state)
        )
        for one in found:
            if isinstance(one, Missed):
                typer.echo(f"run {one.run_id}: not collected: {one.why}", err=True)
                good = False
                continue
            _say(one)
            good &= one.entered.state != WAITING
    except DomainLMError as error:
        typer.echo(f"not collected: {error}", err=True)
        state.broken_passes, good = state.broken_passes + 1, False
    except Exception as error:  # a server that is away, or a fault of ours; its text may quote what it was asked for
        logging.getLogger(__name__).warning("%s", places_of(error))
        typer.echo(f"not collected: {type(error).__name__}; the log says where, the next look tries again", err=True)
        state.broken_passes, good = state.broken_passes + 1, False
    return good


class _Following:
    """What follows retrainings whose runs are in the ledger by now: here, because here are ledger and signer.

    Args:
        configuration: of the retrainings; None for nothing to do. Neither has a project without a batch book.
    """

    def __init__(self, configuration: Path | None) -> None:
        self._configuration, self._next, self._said = configuration, 0.0, frozenset[str]()

    def look(self) -> None:
        """Do what is due, at most every few minutes; says what it did not say the last time. Ends no collector."""
        if self._configuration is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + FOLLOW_S
        try:
            lines = self._lines(self._configuration)
        except DomainLMError as error:
            lines = [f"what follows a retraining was not done: {error}"]
        except Exception as error:  # a server that is away; its text may quote what it was asked for
            logging.getLogger(__name__).warning("%s", places_of(error))
            lines = [f"what follows a retraining was not done: {type(error).__name__}; the log says where"]
        for line in lines:
            if line not in self._said:
                typer.echo(line)
        self._said = frozenset(lines)

    @staticmethod
    def _lines(path: Path) -> list[str]:
        from cli.landing import following
        from domainlm.config import RunConfiguration
        from domainlm.project import resolve
        from domainlm.retrain.book import open_book
        from domainlm.retrain.book.book import FILE_VARIABLE
        from domainlm.retrain.rounds import Terms

        named = os.environ.get(FILE_VARIABLE, "")
        if named and not Path(named).exists():  # the Secret is optional: nothing is retrained here
            return []
        return following(Terms.of(RunConfiguration.load(resolve(str(path)))), open_book(create=False))


def _say(one: Finished) -> None:
    from domainlm.ledger.run.entering import anchored

    typer.echo(f"run {one.manifest.run_id} {one.manifest.status}: {one.entered.line(anchored())}")
    told = one.manifest.collected
    for word, names in (
        (("refused", told.refused), ("missing", told.missing), ("other code", told.mixed)) if told else ()
    ):
        for name in names:
            typer.echo(f"  {word}: {name}")


def _pods_of(file: StackFile) -> PodsOf:
    """Asks the cluster for what only it knows; where nobody may ask, manifests go without it."""
    from domainlm.cluster.pods import Cluster, facts_of

    if file.settings.cluster is None:
        return lambda run_id: {}
    # a context has the stack's name in the KUBECONFIG that `enter` wrote; in a pod of the cluster there is none
    cluster = Cluster(file.settings.cluster.namespace, file.settings.name if file.context() else None)

    def pods_of(run_id: str) -> dict:
        with suppress(Exception):
            seen = cluster.look(run_id)
            return facts_of(seen.jobs, seen.pods)
        return {}

    return pods_of
