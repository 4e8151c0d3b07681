"""`domainlm run`: the fine-tuning pipeline in process, with progress, a card at the end and an honest exit code."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.environment import enter_project, quiet_libraries
from cli.follow import NODE_S, Manner, OnInterrupt, StackOfRun, WaitForNode, WhenInterrupted
from cli.launch import Launch, effective, launched, let_hub, show_card
from domainlm.config import RunConfiguration
from domainlm.ledger.run.asked import Asked
from domainlm.project import PROJECT_FILE


def run(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help=f"Run configuration; {PROJECT_FILE} by default.")
    ] = None,
    stack: StackOfRun = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. steps.train.parameters.epochs=2.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Use nothing from the cache.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show what other libraries' errors say; they may quote data.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and stop.")] = False,
    wait_for_node: WaitForNode = NODE_S,
    on_interrupt: WhenInterrupted = OnInterrupt.LEAVE,
) -> None:
    """Fine-tune a model on configured sources: ingest, redact, prepare, validate, extend, train, compare, register."""
    config = config.resolve() if config else None  # counts from where the user stands
    root = enter_project(ready=not check)
    configuration = RunConfiguration.load(config or root / PROJECT_FILE, overrides)
    configuration.require_scored_rows()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    if check:
        console.print(f"[green]the configuration is valid[/]: {configuration.path}")
        return
    let_hub(configuration)
    if debug:
        os.environ["DOMAINLM_DEBUG"] = "1"
    log = quiet_libraries()
    asked = Asked(str(configuration.path), overridden=bool(overrides))
    launch = Launch(configuration, asked, stack, Manner(wait_for_node, on_interrupt))
    sys.exit(0 if _run(launch, fresh, console, log) else 1)


def _run(launch: Launch, fresh: bool, console: Console, log: Path) -> bool:
    started = time.monotonic()

    def start(stated: dict[str, Any]) -> Any:
        from pipelines.finetuning import finetuning_pipeline

        path = effective(launch.configuration.content, stated, fresh)
        return finetuning_pipeline.with_options(config_path=str(path))()

    finished = launched(start, launch, console, log)
    return finished is not None and show_card(finished, console, started)
