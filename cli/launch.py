"""A pipeline started from the command line: its configuration as a file, progress while it runs, and what ended it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console

from domainlm.config import EMBEDDED, RunConfiguration
from domainlm.digests import digest_json
from domainlm.errors import DomainLMError
from domainlm.ledger.run.asked import Asked, say
from domainlm.project import home


def let_hub(configuration: RunConfiguration) -> None:
    """Only a configuration that names a hub id lets the hub be asked."""
    if configuration.pipeline.base != EMBEDDED and not Path(configuration.pipeline.base).exists():
        os.environ["HF_HUB_OFFLINE"] = "0"


class Finished(NamedTuple):
    """A run that completed: ZenML's view of it, and what became of its entry in the ledger, in a line."""

    run: Any
    evidence: str


def launched(start: Callable[[], Any], asked: Asked, stack: str | None, console: Console, log: Path) -> Finished | None:
    """Run a pipeline with progress on the terminal, and enter it into the ledger however it ends.

    Args:
        start: imports the pipeline, runs it, and returns ZenML's view of the run.
        asked: the configuration that it runs with.
        stack: a ZenML stack to activate first.
        console: where progress and errors go.
        log: the file that an error points to.

    Returns:
        The run; None where it failed or was stopped, which has then been said.
    """
    from cli.progress import Progress

    with Progress(console) as progress:
        progress.say("starting ZenML")
        from zenml.client import Client

        from domainlm.ledger.run.entering import WAITING
        from pipelines import hooks

        if stack:
            Client().activate_stack(stack)
        say(asked)
        hooks.completed_later = True
        reaped, entered_now = hooks.catch_up()
        for path in reaped:
            console.print(f"[yellow]an earlier run was ended from outside[/]; its manifest says so: {path}")
        for one in entered_now:
            if one.state == WAITING:
                console.print(f"[yellow]run {one.run_id} waits for the ledger[/]: {one.reason}", soft_wrap=True)
        hooks.listeners.append(progress.tell)
        try:
            run = start()
        except (Exception, KeyboardInterrupt) as error:
            run, failure = None, error
        finally:
            hooks.listeners.remove(progress.tell)
        if run is not None:
            return Finished(run, _evidence(str(run.id), console))
    explain(failure, hooks.explain(failure), log, console)
    if hooks.started:
        console.print(f"evidence: {_evidence(str(hooks.started[-1]), console)}", soft_wrap=True)
    return None


def _evidence(run_id: str, console: Console) -> str:
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


def effective(content: dict[str, Any], fresh: bool = False) -> Path:
    """The configuration with its overrides as a file of its own, since ZenML reads files only.

    `enable_cache` works there alone: as an option of the pipeline it would not reach steps that have a setting of their
    own.
    """
    content = content | ({"enable_cache": False} if fresh else {})
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
