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
from cli.launch import effective, launched, let_hub
from domainlm.config import RunConfiguration
from domainlm.ledger.run.asked import Asked
from domainlm.project import PROJECT_FILE


def run(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help=f"Run configuration; {PROJECT_FILE} by default.")
    ] = None,
    stack: Annotated[str | None, typer.Option("-s", "--stack", help="ZenML stack; the active one by default.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. steps.train.parameters.epochs=2.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Use nothing from the cache.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show what other libraries' errors say; they may quote data.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and stop.")] = False,
) -> None:
    """Fine-tune a model on the configured sources: ingest, redact, prepare, validate, extend, train, compare, register."""
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
    sys.exit(0 if _run(configuration, asked, stack, fresh, console, log) else 1)


def _run(
    configuration: RunConfiguration, asked: Asked, stack: str | None, fresh: bool, console: Console, log: Path
) -> bool:
    started = time.monotonic()

    def start() -> Any:
        from pipelines.finetuning import finetuning_pipeline

        return finetuning_pipeline.with_options(config_path=str(effective(configuration.content, fresh)))()

    if (finished := launched(start, asked, stack, console, log)) is None:
        return False
    from cli.card import print_card
    from domainlm.ledger.run import manifest as manifests
    from steps.run_view import reports_of

    path = manifests.manifest_folder() / f"{finished.run.id}.json"
    reports, seconds = reports_of(finished.run.id), time.monotonic() - started
    return print_card(console, manifests.read(path), reports, seconds, path, finished.evidence)
