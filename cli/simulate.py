"""`domainlm simulate`: two years of market news as monthly landings, and what retraining was good for."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError
from domainlm.project import environment, project_root, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.simulated_training import Workshop
    from domainlm.retrain.simulation.language import Language, Reader
    from domainlm.retrain.simulation.market import Month
    from domainlm.retrain.simulation.outcome import Outcome

CONFIGURATION = "configs/simulation.yaml"
READING_STEPS = 100


def simulate(
    months: Annotated[int | None, typer.Option("--months", min=2, help="Only so many months; all by default.")] = None,
    trouble: Annotated[bool, typer.Option("--trouble/--no-trouble", help="Let landings go wrong, or not.")] = True,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=20, help="Trainings of each plan.")] = 3,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps of each training; the configuration's by default.")
    ] = None,
    statements: Annotated[
        Path | None, typer.Option("--statements", help="Folder of YYYYMMDD.txt: the drift of their language, too.")
    ] = None,
    statements_licence: Annotated[
        str, typer.Option("--statements-licence", help="Of those texts, such as CC0-1.0; nothing is read without.")
    ] = "",
    early: Annotated[int, typer.Option("--early", help="The last year that the frozen reader reads.")] = 2006,
    reading_steps: Annotated[
        int, typer.Option("--reading-steps", min=1, help="Steps of each further pre-training.")
    ] = READING_STEPS,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where everything goes; .domainlm/simulation by default.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help=f"Recipe, feeds and thresholds; {CONFIGURATION} by default.")
    ] = None,
) -> None:
    """Play dated text as months of landings, and draw quality over time with and without retraining.

    Nothing of your project is touched: zone, book, key and models lie below --out. Trainings that are finished there
    are found again, so that a simulation that was stopped goes on with the same command.
    """
    config, folder = (path.resolve() if path else None for path in (config, out))
    statements = statements.resolve() if statements else None
    if statements and not statements_licence:
        raise ConfigurationError(
            "texts without a stated licence are not read", "--statements", "say --statements-licence, such as CC0-1.0"
        )
    folder = _enter(folder)
    from cli.environment import quiet_libraries
    from cli.simulated_training import Workshop
    from domainlm.retrain.simulation.market import read_market
    from domainlm.retrain.simulation.trouble import scored

    overrides = [f"steps.train.parameters.max_steps={steps}"] if steps else []
    configuration = RunConfiguration.load(config or project_root() / CONFIGURATION, overrides)
    if configuration.step("decide").start != "base":
        raise ConfigurationError(
            "a simulation trains every champion from the base", "steps.decide.parameters.start", "set it to base"
        )
    quiet_libraries()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    began = time.monotonic()
    played = read_market(resolve(configuration.pipeline.pack) / "market", months)
    workshop = Workshop(configuration, folder, scored(played))
    outcome = _play(workshop, played, folder / ("trouble" if trouble else "calm"), trouble, seeds, console)
    _show(outcome, console)
    if statements:
        found = _read(workshop, statements, statements_licence, early, reading_steps, folder, console)
        _show_language(found, console)
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes; figures and pictures: {folder}", soft_wrap=True)


def _enter(folder: Path | None) -> Path:
    """The project's root with a home of the simulation's own, before anything heavy is imported."""
    root = project_root()
    folder = folder or Path(os.environ.get("DOMAINLM_HOME") or root / ".domainlm") / "simulation"
    os.umask(0o077)
    for name in ("DOMAINLM_KEY", "DOMAINLM_KEY_FILE", "DOMAINLM_KEY_SECRET", "DOMAINLM_MODE"):
        os.environ.pop(name, None)  # the simulation has a key of its own, and no right to the institution's
    os.environ |= {"DOMAINLM_PROJECT": str(root), "DOMAINLM_HOME": str(folder / "home")}
    os.environ.update(environment())
    os.chdir(root)
    return folder


def _play(
    workshop: Workshop, months: Sequence[Month], place: Path, trouble: bool, seeds: int, console: Console
) -> Outcome:
    from domainlm.retrain.accepting.acceptance import Rules
    from domainlm.retrain.book import open_book
    from domainlm.retrain.simulation import plots
    from domainlm.retrain.simulation.outcome import outcome_of
    from domainlm.retrain.simulation.playing import Clock, Player
    from domainlm.retrain.simulation.trouble import timeline

    shutil.rmtree(place, ignore_errors=True)  # played again from the start: what cost time was the trainings
    place.mkdir(parents=True)
    configuration, clock = workshop.configuration, Clock()
    detect = configuration.step("detect").model_copy(
        update={"zone": str(place / "landing"), "spool": str(place / "spool")}
    )
    book = open_book(f"sqlite:///{place}/book.sqlite", now=clock)
    rules = Rules.read(
        workshop.pack,
        workshop.keys,
        max_label_disagreement=configuration.step("prepare").max_label_disagreement,
        sources=configuration.step("ingest").sources,
        feeds=detect.feeds,
    )
    player = Player(
        detect, configuration.step("decide"), rules, book, workshop.headlines, workshop.train, clock, console.print
    )
    played = player.play(timeline(months, trouble))
    replicas = []
    for seed in range(1, seeds):
        console.print(f"seed {seed}: {len(played.retrainings)} trainings of the same plans")
        replicas.append([workshop.train(one.plan, seed) for one in played.retrainings])
    outcome = outcome_of(months, played, replicas, trouble)
    (place / "outcome.json").write_text(outcome.model_dump_json(indent=2), encoding="utf-8")
    plots.draw_quality(outcome, place / "quality.png")
    plots.draw_gains(outcome, place / "gains.png")
    return outcome


def _read(
    workshop: Workshop, statements: Path, licence: str, early: int, steps: int, folder: Path, console: Console
) -> Language:
    from cli.simulated_reading import ReadingRoom
    from domainlm.retrain.simulation import plots
    from domainlm.retrain.simulation.language import dated_files, glossary_terms, language_of

    room = ReadingRoom(workshop, statements, dated_files(statements), licence, steps)

    def teach(years: Sequence[int]) -> Reader:
        console.print(f"reading {years[0]} to {years[-1]}" if years else "the base reads nothing")
        return room.teach(years)

    terms = glossary_terms(resolve(workshop.pack) / "glossary.csv")
    found = language_of(room.passages, teach, early, terms)
    (folder / "language.json").write_text(found.model_dump_json(indent=2), encoding="utf-8")
    plots.draw_language(found, folder / "language.png")
    return found


def _show(outcome: Outcome, console: Console) -> None:
    months = Table("month", "rows", "champion", "frozen", "retrained", "majority", "new shapes", box=None)
    for one in outcome.months:
        months.add_row(one.name, str(one.rows), str(one.champion), str(one.frozen), str(one.retrained),
                       f"{one.majority:.3f}", f"{one.new_shapes:.0%}")  # fmt: skip
    gains = Table("rows of", "metric", "rows", "shapes", "frozen", "retrained", "gain", "verdict", box=None)
    for two in outcome.comparisons:
        gains.add_row(two.rows_of, two.metric, str(two.rows), str(two.shapes), str(two.frozen), str(two.retrained),
                      str(two.gain), two.verdict)  # fmt: skip
    directions = Table("sentiment of", "r, next day's direction", "r, next day's move", "agreement", "leak", box=None)
    for three in outcome.directions:
        directions.add_row(three.of, str(three.direction), str(three.move), f"{three.agreement:.3f}",
                           "LEAK" if three.leak else "none")  # fmt: skip
    trainings = Table("no.", "day", "reasons", "new rows", "training rows", "trusted", "promoted", "minutes", box=None)
    for four in outcome.retrainings:
        trainings.add_row(str(four.number), four.day, ", ".join(four.reasons), str(four.new_rows),
                          str(four.training_rows), "yes" if four.trusted else "no", four.promoted,
                          ", ".join(f"{value:.1f}" for value in four.minutes))  # fmt: skip
    for table in (months, trainings, gains, directions):
        console.print(table)
    for five in outcome.changes:
        console.print(f"{five.of}: {five.change} accuracy, {five.last[0]} to {five.last[-1]} against"
                      f" {five.first[0]} to {five.first[-1]}")  # fmt: skip
    for failure in outcome.failures:
        console.print(f"[yellow]{failure}[/]")
    for whole in outcome.comparisons[:1]:
        console.print(f"[bold]{whole.verdict}[/]: {whole.gain} accuracy over {whole.rows} rows, {outcome.seeds} seeds")


def _show_language(found: Language, console: Console) -> None:
    years = Table("year", "texts", "base", "frozen", "retrained", "new words", box=None, title="bits a character")
    for year in found.years:
        years.add_row(str(year.year), str(year.texts), str(year.base), str(year.frozen or ""),
                      str(year.retrained or ""), f"{year.new_words:.1%}")  # fmt: skip
    console.print(years)
    console.print(
        f"frozen minus retrained: {found.gain} bits a character; first five years {found.first_gain}, last five"
        f" {found.last_gain}; without passages that stood in an earlier year ({found.repeated:.0%}): {found.fresh_gain}"
    )
