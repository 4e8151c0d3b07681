"""`domainlm audit collect`: what the pods of a cluster's runs left behind becomes manifests and ledger entries."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project, from_here, quiet_libraries
from domainlm.errors import DomainLMError, places_of

if TYPE_CHECKING:
    from domainlm.cluster.settings import StackFile
    from domainlm.ledger.run.metrics import State
    from steps.collected import Finished
    from steps.to_collect import PodsOf


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
) -> None:
    """Collect the runs of a stack that ended, and enter them. Exit code 1 where one waits or could not be collected."""
    from domainlm.cluster.settings import find_stack
    from domainlm.ledger.run.metrics import State, serve

    enter_project(ready=False)
    quiet_libraries()
    file = find_stack(stack)
    file.enter()
    state, done = State(), threading.Event()
    before = {sign: signal.signal(sign, lambda *_: done.set()) for sign in (signal.SIGTERM, signal.SIGINT)}
    stop = serve(state, metrics_port) if metrics_port else lambda: None
    try:
        good = _round(file, runs or [], state)
        while watch and not done.wait(every_s):
            good = _round(file, runs or [], state)
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
