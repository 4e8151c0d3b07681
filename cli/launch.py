"""A pipeline started from the command line: its configuration as a file, progress while it runs, and what ended it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from domainlm.config import EMBEDDED, RunConfiguration
from domainlm.digests import digest_json
from domainlm.project import home


def let_hub(configuration: RunConfiguration) -> None:
    """Only a configuration that names a hub id lets the hub be asked."""
    if configuration.pipeline.base != EMBEDDED and not Path(configuration.pipeline.base).exists():
        os.environ["HF_HUB_OFFLINE"] = "0"


def launched(start: Callable[[], Any], stack: str | None, console: Console, log: Path) -> Any:
    """Run a pipeline with progress on the terminal.

    Args:
        start: imports the pipeline, runs it, and returns ZenML's view of the run.
        stack: a ZenML stack to activate first.
        console: where progress and errors go.
        log: the file that an error points to.

    Returns:
        What `start` gave; None where the run failed or was stopped, which has then been said.
    """
    from cli.progress import Progress

    with Progress(console) as progress:
        progress.say("starting ZenML")
        from zenml.client import Client

        from pipelines import hooks
        from steps.run_view import reap_interrupted

        if stack:
            Client().activate_stack(stack)
        for path in reap_interrupted():
            console.print(f"[yellow]an earlier run was ended from outside[/]; its manifest says so: {path}")
        hooks.listeners.append(progress.tell)
        try:
            return start()
        except (Exception, KeyboardInterrupt) as error:
            failure = error
        finally:
            hooks.listeners.remove(progress.tell)
    explain(failure, hooks.explain(failure), log, console)
    return None


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
