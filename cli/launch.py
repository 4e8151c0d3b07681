"""A pipeline started from the command line: its configuration as a file, progress while it runs, and what ended it.

On a stack that has a server of its own a run is submitted and then followed (`cli.follow`); every other stack works in
this process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import typer
import yaml
from rich.console import Console

from domainlm.cluster.run_settings import ORCHESTRATOR
from domainlm.config import EMBEDDED, RunConfiguration
from domainlm.digests import digest_json
from domainlm.errors import ConfigurationError, DomainLMError, nearest
from domainlm.ledger.run.asked import Asked, say
from domainlm.project import home, project_root

if TYPE_CHECKING:
    from cli.follow import Manner
    from domainlm.cluster.settings import StackFile


def let_hub(configuration: RunConfiguration) -> None:
    """Only a configuration that names a hub id lets the hub be asked."""
    if configuration.pipeline.base != EMBEDDED and not Path(configuration.pipeline.base).exists():
        os.environ["HF_HUB_OFFLINE"] = "0"


class Finished(NamedTuple):
    """A run that completed.

    Args:
        run_id: ZenML's id of it.
        path: its manifest.
        evidence: what became of its entry in the ledger, in a line.
    """

    run_id: str
    path: Path
    evidence: str


class Launch(NamedTuple):
    """What a command starts, and how.

    Args:
        configuration: the run configuration; where the run works on a cluster, it is checked against it.
        asked: what is recorded of the configuration.
        stack: a stack file's name or path, or a stack of ZenML's own store; None: the active one.
        manner: how a run on a cluster is followed; None: as `domainlm follow` does by itself.
    """

    configuration: RunConfiguration
    asked: Asked
    stack: str | None = None
    manner: Manner | None = None


# Imports the pipeline and runs it, with what the submission states of itself; gives ZenML's view of the run.
Start = Callable[[dict[str, Any]], Any]


def launched(start: Start, launch: Launch, console: Console, log: Path) -> Finished | None:
    """Run a pipeline with progress on the terminal, and enter it into the ledger however it ends.

    Args:
        start: starts the pipeline.
        launch: what is started.
        console: where progress and errors go.
        log: the file that an error points to.

    Returns:
        The run; None where it failed or was stopped, which has then been said.
    """
    stack = launch.stack
    if stack:
        from domainlm.cluster.settings import read_stack, stack_path

        if (path := stack_path(stack)) is not None:
            found = read_stack(path)
            if found.remote:
                return _submitted(start, launch, found, console, log)
            stack = found.settings.name
    return _here(start, launch, stack, console, log)


def _here(start: Start, launch: Launch, stack: str | None, console: Console, log: Path) -> Finished | None:
    """Run it in this process.

    Raises:
        ConfigurationError: there is no such stack, or the configuration is of a cluster and the stack is not.
    """
    from cli.progress import Progress

    with Progress(console) as progress:
        progress.say("starting ZenML")
        from zenml.client import Client

        from domainlm.ledger.run import manifest as manifests
        from domainlm.ledger.run.entering import WAITING
        from pipelines import hooks

        if stack:
            _activate(stack)
        if _of_cluster(launch.configuration) and Client().active_stack.orchestrator.flavor == "local":
            raise ConfigurationError(
                "the configuration is of a cluster, and the active stack works here",
                str(launch.configuration.path), "name the stack: -s kubernetes",
            )  # fmt: skip
        say(launch.asked)
        hooks.completed_later = True
        reaped, entered_now = hooks.catch_up()
        for path in reaped:
            console.print(f"[yellow]an earlier run was ended from outside[/]; its manifest says so: {path}")
        for one in entered_now:
            if one.state == WAITING:
                console.print(f"[yellow]run {one.run_id} waits for the ledger[/]: {one.reason}", soft_wrap=True)
        hooks.listeners.append(progress.tell)
        try:
            run = start({})
        except (Exception, KeyboardInterrupt) as error:
            run, failure = None, error
        finally:
            hooks.listeners.remove(progress.tell)
        if run is not None:
            path = manifests.manifest_folder() / f"{run.id}.json"
            return Finished(str(run.id), path, evidence_of(str(run.id), console))
    explain(failure, hooks.explain(failure), log, console)
    if hooks.started:
        console.print(f"evidence: {evidence_of(str(hooks.started[-1]), console)}", soft_wrap=True)
    return None


def _of_cluster(configuration: RunConfiguration) -> bool:
    return ORCHESTRATOR in (configuration.content.get("settings") or {})


def _activate(stack: str) -> None:
    from zenml.client import Client

    from domainlm.cluster.settings import stack_files

    try:
        Client().activate_stack(stack)
    except KeyError:
        known = stack_files()
        raise ConfigurationError(
            f"there is neither a stack file nor a registered stack '{stack}'", "-s", nearest(stack, known)
        ) from None


def _submitted(start: Start, launch: Launch, stack: StackFile, console: Console, log: Path) -> Finished | None:
    """Submit it to a cluster, and follow it.

    Raises:
        ConfigurationError: cluster, services or configuration would end the run; nothing was sent.
        typer.Exit: with 0, where the configuration has a schedule.
    """
    from cli.follow import Attending, Manner
    from cli.interrupts import Interrupts
    from cli.stack import require_applied
    from domainlm.cluster.check import require

    if not _of_cluster(launch.configuration):
        raise ConfigurationError(
            f"the configuration says nothing of pods, and {stack.settings.name} is of a cluster",
            str(launch.configuration.path), "name one that does: -c configs/kubernetes.yaml",
        )  # fmt: skip
    stack.enter()  # before ZenML is imported
    with console.status("asking cluster and services"):
        for finding in require(stack, launch.configuration.content):
            console.print(f"[yellow]{finding.subject}[/]: {finding.said}", soft_wrap=True)
    with Interrupts() as interrupts:
        with console.status("submitting"):
            from zenml.client import Client

            from steps.followed import Followed

            try:
                Client().activate_stack(stack.settings.name)
            except KeyError:
                remedy = f"domainlm stack apply {launch.stack}"
                raise ConfigurationError("the stack is not registered", stack.settings.name, remedy) from None
            require_applied(stack)
            began = time.monotonic()
            try:
                run = start(_stated(launch.asked, stack.settings.evidence))
            except Exception as error:
                console.print(f"[bold red]nothing was started[/]: {type(error).__name__}", soft_wrap=True)
                console.print(f"{error}\nlog: {log}", markup=False, soft_wrap=True)
                return None
        if run is None:  # a schedule: each of its runs begins by itself
            told = "its runs begin by themselves, and their evidence is collected in the cluster"
            console.print(f"[green]the schedule stands[/]: {told}", soft_wrap=True)
            raise typer.Exit(0)
        return Attending(Followed(run), stack, launch.manner or Manner(), console, began).followed(interrupts)


def _stated(asked: Asked, evidence: str) -> dict[str, Any]:
    """What a submission says of itself: the pods cannot know it."""
    from domainlm.ledger.run.authorship import whoever_runs
    from domainlm.ledger.run.checkout import shown
    from domainlm.ledger.run.submission import state
    from steps.keys import load_keys

    root = project_root()
    said = Asked(shown(root, Path(asked.file)), asked.overridden)
    return {"extra": state(said, whoever_runs(root), load_keys, evidence)}


def show_card(finished: Finished, console: Console, started: float) -> bool:
    """Print the card of a run that completed; `started` is when the command began, by the monotonic clock."""
    from cli.card import print_card
    from domainlm.ledger.run import manifest as manifests
    from steps.run_view import reports_of

    reports, seconds = reports_of(UUID(finished.run_id)), time.monotonic() - started
    return print_card(console, manifests.read(finished.path), reports, seconds, finished.path, finished.evidence)


def evidence_of(run_id: str, console: Console) -> str:
    """Enter the run and tell lineage of it; the first is what the card shows."""
    from domainlm.audit.standards.sending import send_waiting

    line = entered(run_id)
    if why := send_waiting():
        console.print(f"[yellow]lineage events wait for the next run[/]: {why}", soft_wrap=True)
    return line


def entered(run_id: str) -> str:
    """Enter every run that waits for the ledger, and say what became of one; never a reason for another exit code."""
    from cli.keys import keys_at_hand
    from domainlm.ledger.run import entering

    try:
        found = {one.run_id: one for one in entering.enter_waiting(keys_at_hand)}.get(run_id) or entering.receipt_of(
            run_id
        )
        if found is None:
            state = entering.WAITING if entering.has_ledger() else entering.NO_LEDGER
            found = entering.Entered(run_id=run_id, state=state, reason="its manifest cannot be read")
        return found.line(entering.anchored())
    except (DomainLMError, OSError) as error:
        return f"not in the ledger yet, the next run tries again: {error}"


def effective(content: dict[str, Any], stated: dict[str, Any], fresh: bool = False) -> Path:
    """The configuration with its overrides as a file of its own, since ZenML reads files only.

    Args:
        content: the configuration.
        stated: what the submission says of itself.
        fresh: whether to use nothing from the cache.

    `enable_cache` works there alone: as an option of the pipeline it would not reach steps that have a setting of their
    own.
    """
    content = content | stated | ({"enable_cache": False} if fresh else {})
    folder = home() / "configurations"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{digest_json(content)[:16]}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def explain(failure: BaseException, step: str, log: Path, console: Console) -> None:
    """Say what ended a run, where, and what to do."""
    where = f" in step {step}" if step else ""
    if isinstance(failure, KeyboardInterrupt):
        console.print(f"[yellow]stopped{where}[/]; the next run goes on from what is complete")
        return
    console.print(f"[bold red]the run failed{where}[/]: {type(failure).__name__}", soft_wrap=True)
    # inside a step only domainlm's own errors pass (steps/stage.py), outside there is no data to quote
    console.print(str(failure), markup=False, soft_wrap=True)
    console.print(f"log: {log}", soft_wrap=True)
