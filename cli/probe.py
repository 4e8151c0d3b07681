"""`domainlm probe`: the champion's score on labelled rows that landed since, for the next decision's `score-decay`.

For cron or CI, before `domainlm retrain --once`. Exit code 0: scored, or there is nothing to ask. 1: it failed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.console import Console

from cli.environment import enter_project, quiet_libraries
from cli.follow import StackOfRun
from cli.landing import configuration_path, view_of
from cli.retrain import ConfigurationOption, Overrides
from domainlm.config import RunConfiguration

if TYPE_CHECKING:
    from cli.launch import Finished, Launch


def probe(config: ConfigurationOption = None, stack: StackOfRun = None, overrides: Overrides = None) -> None:
    """Ask the champion about accepted batches with labels that nothing was trained on yet; nothing is trained."""
    config = config.resolve() if config else None  # counts from where the user stands
    root = enter_project(ready=stack is None)
    path = configuration_path(config, root)
    configuration = RunConfiguration.load(path, overrides)
    console, log = Console(highlight=False, width=None if sys.stdout.isatty() else 150), quiet_libraries()
    from domainlm.retrain.book import open_book
    from domainlm.retrain.deciding.probing import to_probe
    from domainlm.retrain.rounds import Terms

    terms = Terms.of(configuration)
    view = view_of(configuration, terms)()
    # without a ledger the registry is asked by the pipeline itself; with one, this much is known in a second
    if view is not None and view.champion and not to_probe(open_book(), view.champion, terms.detect.feeds):
        console.print(f"{view.version} was asked about every accepted batch with labels: nothing to do")
        return
    from cli.launch import Launch
    from domainlm.ledger.run import manifest as manifests
    from domainlm.ledger.run.asked import Asked

    given = Asked(str(path), overridden=bool(overrides))
    finished = asked(Launch(configuration, given, stack), console, log)
    if finished is None:
        sys.exit(1)
    if manifests.read(finished.path).status == manifests.DECLINED:
        console.print("nothing to ask: there is no champion, or it was asked about everything")
        return
    from steps.run_view import reports_of

    found: Any = reports_of(UUID(finished.run_id))["probe_report"]
    for line in found.lines():
        console.print(line, markup=False, soft_wrap=True)


def asked(launch: Launch, console: Console, log: Path) -> Finished | None:
    """Run the pipeline that asks the champion; None where it failed, which has been said."""
    from cli.launch import effective, launched, let_hub

    let_hub(launch.configuration)

    def start(stated: dict[str, Any]) -> Any:
        from pipelines.probing import probing_pipeline

        path = effective(launch.configuration.content, stated)
        return probing_pipeline.with_options(config_path=str(path))()

    return launched(start, launch, console, log)
