"""`domainlm run`: the fine-tuning pipeline in process, with progress, a card at the end and an honest exit code."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from cli.environment import enter_project, quiet_libraries
from domainlm.config import EMBEDDED, RunConfiguration
from domainlm.digests import digest_json
from domainlm.project import PROJECT_FILE, home


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
    if configuration.pipeline.base != EMBEDDED and not Path(configuration.pipeline.base).exists():
        os.environ["HF_HUB_OFFLINE"] = "0"  # the configuration names a hub id, so the hub may be asked
    if debug:
        os.environ["DOMAINLM_DEBUG"] = "1"
    log = quiet_libraries()
    sys.exit(0 if _run(configuration, stack, fresh, console, log) else 1)


def _run(configuration: RunConfiguration, stack: str | None, fresh: bool, console: Console, log: Path) -> bool:
    from cli.progress import Progress

    started = time.monotonic()
    with Progress(console) as progress:
        progress.say("starting ZenML")
        from zenml.client import Client

        from cli.card import print_card
        from domainlm.ledger import manifest as manifests
        from pipelines import hooks
        from pipelines.finetuning import finetuning_pipeline
        from steps.run_view import reap_interrupted, reports_of

        if stack:
            Client().activate_stack(stack)
        for path in reap_interrupted():
            console.print(f"[yellow]an earlier run was ended from outside[/]; its manifest says so: {path}")
        hooks.listeners.append(progress.tell)
        failure: BaseException | None = None
        try:
            response = finetuning_pipeline.with_options(config_path=str(effective(configuration.content, fresh)))()
        except (Exception, KeyboardInterrupt) as error:
            failure = error
        finally:
            hooks.listeners.remove(progress.tell)
    if failure is not None:
        explain(failure, hooks.explain(failure), log, console)
        return False
    path = manifests.manifest_folder() / f"{response.id}.json"
    return print_card(console, manifests.read(path), reports_of(response.id), time.monotonic() - started, path)


def effective(content: dict[str, Any], fresh: bool = False) -> Path:
    """The configuration with its overrides as a file of its own, since ZenML reads files only.

    `enable_cache` works there alone: as an option of the pipeline it would not reach steps that have a setting of their own.
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
