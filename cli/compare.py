"""`domainlm compare`: several ways of training on the same data, several seeds, one page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from cli.environment import enter_project, quiet_libraries
from cli.follow import NODE_S, Manner, OnInterrupt, StackOfRun, WaitForNode, WhenInterrupted
from cli.launch import Launch, effective, launched, let_hub
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError
from domainlm.evaluate.settings import EvaluateSettings
from domainlm.ledger.run.asked import Asked
from domainlm.project import PROJECT_FILE, home
from domainlm.train.settings import TrainSettings
from domainlm.vocabulary.settings import VocabularySettings
from domainlm.yaml_lines import at, model_faults, read_yaml

if TYPE_CHECKING:
    from domainlm.compare.settings import Experiment, Variant

DATA_STEPS = ("base_", "pretrain", "resolve_base", "ingest", "redact", "prepare", "validate")
STEPS: dict[str, type[BaseModel]] = {
    "train": TrainSettings,
    "vocabulary": VocabularySettings,
    "evaluate": EvaluateSettings,
}


def compare(
    experiment: Annotated[Path, typer.Argument(help="An experiment, such as configs/comparison/methods.yaml.")],
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help=f"Data and common recipe; {PROJECT_FILE} by default.")
    ] = None,
    stack: StackOfRun = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the run configuration, as in domainlm run.")
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Other seeds than the experiment's, such as 0,1,2,3,4.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Check both files and stop.")] = False,
    wait_for_node: WaitForNode = NODE_S,
    on_interrupt: WhenInterrupted = OnInterrupt.LEAVE,
) -> None:
    """Train every variant of an experiment with every seed on the same data, and compare quality, memory and cost."""
    paths = [experiment.resolve(), config.resolve() if config else None]
    root = enter_project(ready=not check)
    configuration = RunConfiguration.load(paths[1] or root / PROJECT_FILE, overrides)
    asked = load_experiment(paths[0], seeds)
    recipes = recipes_of(asked, configuration, str(paths[0]))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    trainings = len(asked.variants) * len(asked.seeds)
    if check:
        console.print(f"[green]the experiment is valid[/]: {trainings} trainings")
        return
    let_hub(configuration)
    log = quiet_libraries()
    console.print(f"{asked.question}\n{trainings} trainings: {len(asked.variants)} variants x {len(asked.seeds)} seeds")
    given = Asked(str(configuration.path), overridden=bool(overrides or seeds))
    launch = Launch(configuration, given, stack, Manner(wait_for_node, on_interrupt))
    sys.exit(0 if _run(asked, recipes, launch, console, log) else 1)


def load_experiment(path: Path, seeds: str = "") -> Experiment:
    """Read and check an experiment.

    Raises:
        ConfigurationError: everything that is wrong with it, each with its line.
    """
    from domainlm.compare.settings import Experiment  # its package wants numpy, which who only verifies has not

    if not path.is_file():
        raise ConfigurationError("there is no such experiment", str(path), "see configs/comparison/")
    content, lines = read_yaml(path)
    if seeds:
        try:
            content["seeds"] = [int(seed) for seed in seeds.split(",")]
        except ValueError:
            raise ConfigurationError(f"'{seeds}' is not a list of numbers", "--seeds", "write 0,1,2,3,4") from None
    if faults := model_faults(Experiment, content, ()):
        told = [f"{path}{at(lines, where)}: {'.'.join(map(str, where))}: {what}" for where, what in faults]
        raise ConfigurationError("\n".join(["the experiment cannot be used:", *told]), "", "nothing was started")
    return Experiment(**content)


def recipes_of(asked: Experiment, configuration: RunConfiguration, path: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The whole parameters of each variant's steps: the run configuration's, with what the variant changes.

    Raises:
        ConfigurationError: a variant changes what no step knows, or to a value that is out of bounds.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for variant in asked.variants:
        found[variant.name] = {}
        for step, model in STEPS.items():
            values = configuration.step(step).model_dump(mode="json", exclude_unset=True) | _changes(
                asked, variant, step
            )
            try:
                checked = model(**values)
            except ValidationError as error:
                faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
                raise ConfigurationError(
                    f"variant '{variant.name}' cannot be used: {step}: {faults}", path, "nothing was started"
                ) from None
            found[variant.name][step] = checked.model_dump(mode="json", exclude_unset=True)
    return found


def _changes(asked: Experiment, variant: Variant, step: str) -> dict[str, Any]:
    return asked.evaluate if step == "evaluate" else getattr(variant, step)


def _run(asked: Experiment, recipes: dict[str, Any], launch: Launch, console: Console, log: Path) -> bool:
    def start(stated: dict[str, Any]) -> Any:
        from pipelines.comparison import comparison_pipeline

        path = effective(_data_alone(launch.configuration), stated)
        return comparison_pipeline.with_options(config_path=str(path))(
            experiment=asked.model_dump(mode="json"),
            recipes=recipes,
            **launch.configuration.pipeline.model_dump(include={"base", "pack", "mode"}),
        )

    if (finished := launched(start, launch, console, log)) is None:
        return False
    from steps.run_view import reports_of

    report = reports_of(UUID(finished.run_id))["comparison_report"]
    page = home() / "comparisons" / f"{asked.name}.html"
    page.parent.mkdir(mode=0o700, exist_ok=True)
    page.write_text(report.html(), encoding="utf-8")
    page.with_suffix(".json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    for table in _tables(report):
        console.print(table)
    for note in report.notes:
        console.print(f"[yellow]{note}[/]")
    console.print(f"page: {page}", soft_wrap=True)
    console.print(f"evidence: {finished.evidence}", soft_wrap=True)
    return True


def _data_alone(configuration: RunConfiguration) -> dict[str, Any]:
    """The configuration without the steps that an experiment sets itself, and without the fine-tuning's parameters."""
    content = {key: value for key, value in configuration.content.items() if key not in ("parameters", "model")}
    steps = content.get("steps") or {}
    return content | {"steps": {name: value for name, value in steps.items() if name.startswith(DATA_STEPS)}}


def _tables(report: Any) -> list[Table]:
    quality = Table("task / source", "way of training", "score", "gain", "verdict", box=None, title="Quality")
    for row in report.rows:
        for name in report.ordered(row.scores):
            figure = row.scores[name]
            gain = row.gains.get(name)
            quality.add_row(
                f"{row.task} / {row.source}",
                name,
                str(figure),
                f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain else "",
                gain.verdict if gain else "",
            )
    cost = Table(
        "way of training", "trained parameters", "seconds", "tokens/s", "peak GB", "planned GB", box=None, title="Cost"
    )
    for name in report.ordered(report.resources):
        found = report.resources[name]
        figures = (found.seconds, found.tokens_per_second, found.peak_gb, found.planned_gb)
        cost.add_row(
            name, f"{found.trainable_parameters:,}",
            *("not measured" if figure is None else f"{figure:,.2f}" for figure in figures),
        )  # fmt: skip
    lost = Table("measure", "way of training", "lost", "verdict", box=None, title="Forgetting")
    for measure in report.forgetting:
        if not measure.assessable:
            lost.add_row(measure.measure, "", "not assessable", measure.reason)
        for name in report.ordered(measure.lost):
            gain = measure.lost[name]
            lost.add_row(measure.measure, name, f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", gain.verdict)
    return [quality, lost, cost]
