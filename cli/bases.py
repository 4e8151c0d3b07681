"""`domainlm bases`: the open base models, what fits into a memory and why, and what their licences allow."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from domainlm.errors import ConfigurationError, DomainLMError, nearest

if TYPE_CHECKING:
    from domainlm.licences import LicenceTable, LicenceVerdict
    from domainlm.models.catalogue import BaseEntry, Need

# column -> method and bits of the recipe that it prices
RECIPES: dict[str, dict[str, Any]] = {
    "4 bit": {"method": "qlora"},
    "8 bit": {"method": "lora", "bits": 8},
    "16 bit": {"method": "lora", "bits": 16},
    "full": {"method": "full"},
}
METHODS = {"any": tuple(RECIPES), "qlora": ("4 bit",), "lora": ("8 bit", "16 bit"), "full": ("full",)}
MARKS = {"fits": "", "recompute": "r", "too large": "x", "unknown": "?", "refused": "-"}
STYLES = {"fits": "green", "recompute": "yellow", "too large": "red", "unknown": "dim", "refused": "dim"}
FOUND, NOTHING, WRONG = 0, 1, 2

EPILOG = """Exit code: 0 at least one base fits and is allowed, 1 none is, 2 a wrong option, an unknown base or a faulty
catalogue. Memory is an estimate for one GPU at micro-batch 1 (docs/memory.md). The licence verdict is no legal advice:
it is what licences.yaml of the domain pack says."""


class Line(NamedTuple):
    """One base with what was found out about it."""

    entry: BaseEntry
    needs: dict[str, Need]
    licence: LicenceVerdict

    def fitting(self, memory: float | None, columns: tuple[str, ...]) -> list[str]:
        """The columns that fit without recomputation, else those that fit with it."""
        verdicts = {name: self.needs[name].verdict(memory) for name in columns}
        return [name for name, found in verdicts.items() if found == "fits"] or [
            name for name, found in verdicts.items() if found == "recompute"
        ]


def bases(
    name: Annotated[str, typer.Argument(metavar="[BASE]", help="Everything about this one base.")] = "",
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", min=0.1, help="GB of one GPU: which bases can be trained on it.")
    ] = None,
    length: Annotated[int, typer.Option(min=16, help="Tokens of the longest record.")] = 1024,
    method: Annotated[str, typer.Option(help=f"What must fit: {', '.join(METHODS)}.")] = "any",
    purpose: Annotated[
        str, typer.Option(help="research, model-training or commercial (handed on).")
    ] = "model-training",
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Licence of your data, repeated; judged together with the base's."),
    ] = None,
    language: Annotated[str, typer.Option(help="Only bases whose makers name it, such as ko.")] = "",
    encoders: Annotated[
        bool, typer.Option("--encoders", help="Encoders with a head in place of writing models.")
    ] = False,
    criteria: Annotated[
        bool, typer.Option("--criteria", help="Size, purpose, availability, training data, licence instead of memory.")
    ] = False,
    pack: Annotated[str, typer.Option(help="The domain pack with bases.yaml and licences.yaml.")] = "domains/finance",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document with everything.")] = False,
) -> None:
    """Which open base models there are, which fit into a GPU and why, and what their licences allow."""
    try:
        code = _bases(name, gpu_memory, length, method, purpose, data, language, encoders, criteria, pack, as_json)
    except DomainLMError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]{type(error).__name__}[/]", end=" ")
        print(error, file=sys.stderr)
        code = WRONG
    sys.exit(code)


def _bases(name, memory, length, method, purpose, data, language, encoders, criteria, pack, as_json) -> int:
    from domainlm.licences import read_licences
    from domainlm.models.catalogue import entry_of, load_catalogue

    table = read_licences(pack)
    for value, known, option in ((method, METHODS, "--method"), (purpose, table.purposes, "--purpose")):
        if value not in known:
            raise ConfigurationError(f"'{value}' is none of the values", option, nearest(value, known))
    for licence in data or ():
        if table.key(licence) is None:
            raise ConfigurationError(
                f"licence '{licence}' is not in the table", "--data", nearest(licence, table.licences)
            )
    catalogue = load_catalogue(pack, table)
    if name:
        entry = entry_of(name, catalogue)
        if entry is None:
            raise ConfigurationError(f"'{name}' is not in the catalogue", "BASE", nearest(name, catalogue))
        chosen = [entry]
    else:
        wanted = [entry for entry in catalogue.values() if not language or language in entry.languages]
        chosen = sorted((entry for entry in wanted if entry.encoder == encoders), key=lambda entry: entry.parameters_b)
    lines = [_line(entry, length, purpose, data or [], table) for entry in chosen]
    columns = METHODS[method]
    good = [line for line in lines if line.licence.allowed and (memory is None or line.fitting(memory, columns))]
    code = FOUND if good else NOTHING
    if as_json:
        asked = {"gpu_memory_gb": memory, "length": length, "method": method, "purpose": purpose, "data": data or []}
        found = [_as_json(line, memory, columns) for line in lines]
        print(json.dumps({"domainlm_bases": 1, "exit_code": code, "asked": asked, "bases": found}, indent=1))
        return code
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    if name:
        _print_one(console, lines[0], memory, length, purpose)
    elif criteria:
        _print_criteria(console, lines)
    else:
        _print(console, lines, memory, length, columns, purpose)
    return code


def _line(entry: BaseEntry, length: int, purpose: str, data: list[str], table: LicenceTable) -> Line:
    from domainlm.licences import judge
    from domainlm.models.catalogue import need
    from domainlm.train.settings import TrainSettings

    needs = {name: need(entry, TrainSettings(**recipe), length) for name, recipe in RECIPES.items()}
    return Line(entry, needs, judge(entry.stated_licence, data, purpose, table))


def _as_json(line: Line, memory: float | None, columns: tuple[str, ...]) -> dict[str, Any]:
    entry = line.entry
    needs = {column: found._asdict() | {"verdict": found.verdict(memory)} for column, found in line.needs.items()}
    for found in needs.values():
        for key in ("plain_gb", "least_gb", "at_least_gb"):
            found[key] = None if found[key] is None else round(found[key], 2)
    return entry.model_dump(mode="json") | {
        "architecture": entry.architecture,
        "encoder": entry.encoder,
        "context": entry.context,
        "weights_gb": entry.memory_gb,
        "known_faults": entry.known_faults,
        "unverified": entry.unverified,
        "training_gb": needs,
        "fits": line.fitting(memory, columns),
        "licence_verdict": line.licence.model_dump(mode="json") | {"word": line.licence.word},
    }


# ------------------------------------------------------------------------------------------------ tables


def _cell(found: Need, memory: float | None) -> Text:
    """GB at micro-batch 1, marked by the verdict."""
    verdict = found.verdict(memory)
    least = found.plain_gb if verdict in ("fits", "unknown") else found.least_gb
    least = least if least is not None else found.at_least_gb
    figure = "" if least is None else f"{'>' if found.plain_gb is None else ''}{least:.{0 if least >= 100 else 1}f}"
    mark = MARKS[verdict] if memory is not None or verdict == "refused" else ""
    return Text(f"{figure}{mark}", STYLES[verdict] if memory is not None else "")


def _licence(line: Line) -> Text:
    """The licence, `?` if it was not verified, green, yellow with the number of its duties, or red."""
    duties = len(line.licence.duties)
    style = "red" if not line.licence.allowed else "yellow" if duties else "green"
    return Text(line.entry.stated_licence + (f" +{duties}" if duties else ""), style)


def _context(entry: BaseEntry) -> str:
    if not entry.context:
        return "?"
    return f"{entry.context // 1024}k" if entry.context >= 1024 else str(entry.context)


def _table(title: str, **columns: dict[str, Any]) -> Table:
    """Without lines between columns: a hundred characters are enough then."""
    drawn = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for column, options in columns.items():
        drawn.add_column(column, **options)
    return drawn


RIGHT, FOLD = {"justify": "right", "no_wrap": True}, {"overflow": "fold"}


def _print(console: Console, lines: list[Line], memory, length: int, columns: tuple[str, ...], purpose: str) -> None:
    allowed = [line for line in lines if line.licence.allowed]
    fitting = [line for line in allowed if memory is None or line.fitting(memory, columns)]
    what = "" if memory is None else f" that fit into {memory:g} GB"
    drawn = _table(
        f"Base models{what}, records of {length:,} tokens, purpose {purpose}",
        **{"base": FOLD | {"max_width": 37}, "10^9": RIGHT} | dict.fromkeys(RECIPES, RIGHT) | {"context": RIGHT},
        licence=FOLD,
    )
    for line in fitting:
        cells = [_cell(found, memory) for found in line.needs.values()]
        drawn.add_row(line.entry.id, f"{line.entry.parameters_b:.3g}", *cells, _context(line.entry), _licence(line))
    console.print(drawn if fitting else f"[yellow]no base{what} is allowed for the purpose '{purpose}'[/]")
    console.print(
        "GB of GPU memory to train at micro-batch 1: LoRA on a base of 4, 8, 16 bit, or all weights. r: only with"
        " recomputation (gradient_checkpointing). x: too large. >: the weights alone, the rest is unknown."
        " -: not possible. +2: the licence asks for two things, see domainlm bases BASE.",
        style="dim",
    )
    _explain_mark(console, lines)
    large = [line for line in allowed if line not in fitting]
    if large and memory is not None:
        console.print(
            _reasons(
                "Too large, not possible, or not estimated",
                [(line, _why_large(line, memory, columns)) for line in large],
            )
        )
    refused = [line for line in lines if not line.licence.allowed]
    if refused:
        console.print(
            _reasons(f"Refused for the purpose '{purpose}'", [(line, _why_refused(line)) for line in refused])
        )
    console.print(
        "One base in full: domainlm bases BASE. The criteria of choice: domainlm bases --criteria.", style="dim"
    )


def _explain_mark(console: Console, lines: list[Line]) -> None:
    open_ = sum("licence" in line.entry.unverified and line.entry.licence != "unknown" for line in lines)
    if open_:
        console.print(
            f"licence?: {open_} of these licences were not verified against what the model's makers say; read the"
            " model's own card.",
            style="dim",
        )


def _why_refused(line: Line) -> str:
    if line.entry.licence == "unknown" and line.entry.note:
        return line.entry.note
    return "; ".join(said.partition(": ")[2] for said in line.licence.refusals)


def _why_large(line: Line, memory: float, columns: tuple[str, ...]) -> str:
    """The cheapest way to train it and what that takes, or why there is none."""
    least = {
        name: found.least_gb if found.least_gb is not None else found.at_least_gb
        for name, found in line.needs.items()
        if name in columns and found.verdict(memory) in ("too large", "unknown")
    }
    known = {name: value for name, value in least.items() if value is not None}
    if not known:
        return "; ".join(dict.fromkeys(line.needs[name].why_not for name in columns if line.needs[name].why_not))
    name = min(known, key=known.__getitem__)
    if line.needs[name].plain_gb is None:
        return f"{name}: {known[name]:.2g} GB for the weights alone; there is no estimate for the rest"
    return f"{name} needs {known[name]:.1f} GB even with recomputation"


def _reasons(title: str, rows: list[tuple[Line, str]]) -> Table:
    drawn = _table(title, **{"base": FOLD | {"max_width": 37}, "10^9": RIGHT}, licence=FOLD, why=FOLD)
    for line, why in rows:
        drawn.add_row(line.entry.id, f"{line.entry.parameters_b:.3g}", line.entry.stated_licence, Text(why))
    return drawn


def _print_criteria(console: Console, lines: list[Line]) -> None:
    drawn = _table(
        "Criteria of choice",
        **{"base": FOLD | {"max_width": 37}, "10^9": RIGHT},
        purpose={},
        available={},
        **{"training data": FOLD},
        licence=FOLD | {"max_width": 18},
    )
    for line in lines:
        entry = line.entry
        size = f"{entry.parameters_b:.3g}"
        available, data = (_marked(entry, field) for field in ("availability", "training_data"))
        drawn.add_row(entry.id, size, entry.purpose, available, data, _licence(line))
    console.print(drawn)
    console.print("?: not verified. All fields of one base, with their source: domainlm bases BASE.", style="dim")


def _marked(entry: BaseEntry, field: str) -> str:
    """A field's text, with `?` if nobody held it against what the makers say."""
    return f"{getattr(entry, field)}{'?' if field in entry.unverified else ''}"


def _print_one(console: Console, line: Line, memory: float | None, length: int, purpose: str) -> None:
    entry, licence = line.entry, line.licence
    told = Table.grid(padding=(0, 2))
    told.add_column(style="bold", no_wrap=True)
    told.add_column(overflow="fold")
    shape = entry.shape
    size = f"{shape.parameters:,} parameters" if shape else f"{entry.parameters_b:g} billion parameters (published)"
    for title, said in (
        ("base", f"{entry.id}: {entry.family} of {entry.developer}, {entry.released}"),
        ("size", f"{size}; architecture {entry.architecture}, context {entry.context or 'unknown'} tokens"),
        ("purpose", f"{entry.purpose}; {'reads and classifies' if entry.encoder else 'writes text'}"),
        ("availability", f"{entry.availability}; weights: {entry.weights}"),
        ("training data", f"{entry.training_data}; languages {', '.join(entry.languages)}"),
        ("weights", ", ".join(f"{bits} bit {size:g} GB" for bits, size in entry.memory_gb.items())),
    ):
        told.add_row(title, Text(said))
    told.add_row(f"training, {length:,} tokens", _training(line, memory))
    told.add_row("licence", Text(f"{entry.stated_licence}: commercial use {entry.commercial_use}"))
    told.add_row(f"for {purpose}", Text(licence.word, "green" if licence.allowed else "red"))
    for said in (*licence.refusals, *licence.duties):
        told.add_row("", Text(f"- {said}"))
    for fault in entry.known_faults:
        told.add_row("known fault", Text(fault))
    for title, said in _knowledge(entry):
        told.add_row(title, Text(said))
    if entry.note:
        told.add_row("note", Text(entry.note))
    console.print(told)


def _knowledge(entry: BaseEntry) -> list[tuple[str, str]]:
    """Which fields were held against what, and which were not."""
    names = [", ".join(field.replace("_", " ") for field in fields) for fields in (entry.verified, entry.unverified)]
    rows = [("verified", f"{names[0]}; from {entry.verified_from}"), ("not verified", names[1])]
    return [row for row, fields in zip(rows, names, strict=True) if fields]


def _training(line: Line, memory: float | None) -> Text:
    parts = []
    for name, found in line.needs.items():
        if found.why_not:
            parts.append(f"{name}: no ({found.why_not})")
        elif found.plain_gb is None:
            parts.append(f"{name}: more than {found.at_least_gb:.1f} GB")
        else:
            verdict = f", {found.verdict(memory)}" if memory is not None else ""
            parts.append(f"{name}: {found.plain_gb:.1f} GB, {found.least_gb:.1f} recomputing{verdict}")
    return Text("; ".join(parts))
