"""`domainlm batches`: what landed, what became of it, and a person's word on what is held back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cli.environment import enter_project
from domainlm.errors import BookRefused

if TYPE_CHECKING:
    from domainlm.retrain.batches import Batch
    from domainlm.retrain.book import Book

DIGITS = 12  # of an id, as shown; 8 name a batch
WIDTH = 140  # columns where nobody looks at a terminal
app = typer.Typer(help="The batch book: what landed, what became of it, what is held back.", no_args_is_help=True)
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Batches: 8 digits or more of their ids.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]


def _book() -> Book:
    enter_project(ready=False)
    from domainlm.retrain.book import open_book

    return open_book(create=False)


def _person() -> str:
    from domainlm.redact.access import operating_system_user

    return operating_system_user()


@app.command("list")
def list_batches(
    state: Annotated[str, typer.Option(help="Only landed, accepted, quarantined, trained, promoted, withdrawn.")] = "",
    feed: Annotated[str, typer.Option(help="Only this feed's.")] = "",
    since: Annotated[str, typer.Option(help="Only batches with data of this day or later: 2026-11-01.")] = "",
    until: Annotated[str, typer.Option(help="Only batches with data of this day or earlier.")] = "",
    as_json: AsJson = False,
) -> None:
    """Batches in order of landing, claims that are alive, and how often batches were started."""
    from domainlm.retrain.batches import State
    from domainlm.retrain.settings import day, in_order

    known = State.__args__
    if state and state not in known:
        raise BookRefused("is no state of a batch", state, f"known: {', '.join(known)}")
    try:
        since, until = day(since), day(until)
        in_order(since, until)
    except ValueError as error:
        raise BookRefused(str(error), f"--since '{since}' --until '{until}'", "give days as 2026-11-01") from None
    book = _book()
    batches = book.batches(state=state or None, feed=feed or None, since=since, until=until)
    starts, alive = book.starts(), book.living()
    if as_json:
        told = {"batches": [one.model_dump(mode="json") for one in batches], "starts": starts}
        typer.echo(json.dumps(told | {"claims": [one.model_dump(mode="json") for one in alive]}))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("number", "batch", "feed", "name", "state", "rows", "days", "landed", "reason"):
        table.add_column(
            column,
            justify="right" if column in ("number", "rows") else "left",
            overflow="fold",
            no_wrap=column in ("batch", "days"),
        )
    for one in batches:
        cells = (
            one.number,
            one.id[:DIGITS],
            one.feed,
            one.name,
            one.state,
            one.rows or "",
            _days(one),
            one.landed[:10],
        )
        table.add_row(*(_plain(cell) for cell in (*cells, one.reason)))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDTH)
    console.print(table)
    for claim in alive:
        run = f", run {claim.run_id}" if claim.run_id else ""
        typer.echo(_plain(f"claim {claim.token} of {claim.owner} on {claim.batches} batches for {claim.lane}{run}"))
    typer.echo(
        f"{starts['batches']} batches in the book: {starts['trained_once']} trained once, "
        f"{starts['duplicate_starts']} duplicate starts, {starts['lost']} lost"
    )


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="8 digits or more of a batch's id.")], as_json: AsJson = False
) -> None:
    """A batch: its files, and every change of its state with time, who, and why."""
    book = _book()
    batch = book.batch(id)
    history = book.transitions(batch.id)
    if as_json:
        told = batch.model_dump(mode="json") | {"transitions": [one.model_dump(mode="json") for one in history]}
        typer.echo(json.dumps(told))
        return
    trust = "" if batch.trusted else ", from a source that is not trusted"
    typer.echo(_plain(f"batch {batch.id} (number {batch.number}) of feed {batch.feed}{trust}"))
    typer.echo(_plain(f"{batch.name}: {batch.state}, {batch.rows} rows {_days(batch)}".rstrip()))
    if batch.reason:
        typer.echo(_plain(f"reason: {batch.reason}"))
    for file in batch.files:
        gone = "  (no longer in the zone)" if file.removed else ""
        typer.echo(
            _plain(f"  {file.sha256[:DIGITS]}  {file.size_bytes:>12} bytes  {file.rows:>9} rows  {file.path}{gone}")
        )
    for one in history:
        by = f" by claim {one.token}" if one.token is not None else ""
        why = f": {one.why}" if one.why else ""
        typer.echo(_plain(f"{one.time}  {one.before or '-'} -> {one.after}{by}  {one.who}{why}"))


@app.command()
def release(ids: Ids) -> None:
    """Let quarantined or withdrawn batches go on as they are: you answer for them, and your name stays in the book."""
    _each(ids, lambda book, batch: book.release(batch.id, _person()))


@app.command()
def retry(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="8 digits or more of each id.")] = None,
    feed: Annotated[str, typer.Option(help="All quarantined batches of this feed.")] = "",
) -> None:
    """Have quarantined batches looked into again, after their feed's contract or settings were put right."""
    if bool(ids) == bool(feed):
        raise BookRefused("names no batch, or too much", "retry", "give ids, or --feed FEED")
    if feed:
        ids = [one.id for one in _book().batches(state="quarantined", feed=feed)]
        if not ids:
            typer.echo(f"no batch of {_plain(feed)} is quarantined")
    _each(ids or [], lambda book, batch: book.release(batch.id, _person(), check_again=True))


@app.command()
def withdraw(
    ids: Ids,
    reason: Annotated[str, typer.Option("--reason", help="Why, without any value of the data.")],
) -> None:
    """Take batches back. A training that holds one of them ends; one that was trained on already is not read again."""
    if not reason.strip():
        raise BookRefused("lacks its reason", "withdraw", "say why, e.g. with the number of the case")
    _each(ids, lambda book, batch: book.withdraw(batch.id, reason.strip(), by=_person()))


@app.command()
def copy(file: Annotated[Path, typer.Argument(metavar="FILE", help="A new SQLite file.")]) -> None:
    """Copy the whole book, as of one moment, whatever database holds it: a backup, or something to ask questions of."""
    file = file.absolute()  # counts from where the user stands
    _book().copied_to(file).close()
    typer.echo(f"copied to {file} (mode 0600)")


def _each(ids: list[str], act: Callable[[Book, Batch], Batch]) -> None:
    """All batches are found before the first is changed, so that a slip of the hand changes none."""
    from domainlm.retrain.batches import PROMOTED, TRAINED

    book = _book()
    for batch in [book.batch(id) for id in ids]:
        changed = act(book, batch)
        typer.echo(_plain(f"batch {batch.id[:DIGITS]} ({batch.name}): {batch.state} -> {changed.state}"))
        if changed.state in (TRAINED, PROMOTED):
            typer.echo("  no later training reads it; what learnt from it keeps that until it is trained again")


def _days(batch: Batch) -> str:
    if not batch.first_day:
        return ""
    return batch.first_day if batch.first_day == batch.last_day else f"{batch.first_day} to {batch.last_day}"


def _plain(value: object) -> str:
    """A name out of the zone could steer the terminal: what is no printable character is shown as `?`."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(value))
