"""`domainlm vault`: originals of replaced values, quarantined records; a look at one wants a reason and is logged."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.environment import enter_project
from cli.keys import keys_at_hand

if TYPE_CHECKING:
    from domainlm.redact.quarantine import Quarantine
    from domainlm.redact.vault import Vault

app = typer.Typer(
    help="Originals of replaced values: reveal, forget, expire. Every look is logged with its reason.",
    no_args_is_help=True,
)
Reason = Annotated[str, typer.Option("--reason", help="Why, at least 10 characters, e.g. the number of the case.")]


def stores() -> tuple[Vault, Quarantine]:
    """The project's vault and quarantine, with the key of this machine."""
    enter_project(ready=False)
    from domainlm.project import home
    from domainlm.redact.quarantine import Quarantine
    from domainlm.redact.vault import Vault

    keys = keys_at_hand()
    return Vault(home() / "vault", keys), Quarantine(home() / "quarantine", keys)


def _person() -> str:
    from domainlm.redact.access import operating_system_user

    return operating_system_user()


@app.command()
def reveal(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="RECORD_ID:PERSON_1, or a subject id.")],
    reason: Reason = "",
) -> None:
    """Show the original behind a placeholder, or all that is kept of a subject."""
    vault, _ = stores()
    for found in vault.reveal(identifier, reason, _person()):
        typer.echo(f"{found.record}:{found.placeholder}\t{found.entity}\t{found.value}")


@app.command()
def forget(
    subjects: Annotated[list[str], typer.Argument(metavar="SUBJECT...", help="Subject ids.")], reason: Reason = ""
) -> None:
    """Delete a subject's key and values, and quarantined records of it, for good; nothing of it will be kept again."""
    vault, quarantine = stores()
    for subject in subjects:
        count = vault.forget(subject, reason, _person())
        typer.echo(f"forgotten: {subject}, {count} values, {quarantine.forget(subject)} quarantined records")


@app.command()
def subject(
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="What the value is, such as PERSON.")],
    reason: Reason = "",
) -> None:
    """The subject id of a value, which is asked for without echo or read from standard input: what a person's request
    to be forgotten begins with."""
    from domainlm.errors import AccessRefused, ConfigurationError, nearest
    from domainlm.redact.folding import fold
    from domainlm.redact.operators import normalise
    from domainlm.redact.settings import ENTITIES, RedactSettings
    from domainlm.redact.vault import LEAST_REASON_CHARACTERS

    if entity not in ENTITIES:
        raise ConfigurationError(f"unknown entity '{entity}'", "vault subject", nearest(entity, ENTITIES))
    vault, _ = stores()
    if len(reason.strip()) < LEAST_REASON_CHARACTERS:
        vault.log.append("subject", "", "(none that serves)", _person(), "refused: a reason is needed")
        raise AccessRefused(
            f"a reason of at least {LEAST_REASON_CHARACTERS} characters is needed", "vault subject", "say --reason"
        )
    value = typer.prompt("value", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    normal = normalise(entity, fold(value.strip()).text, RedactSettings().phone_regions)
    found = vault.keys.keyed_id("subject", entity, normal)
    vault.log.append("subject", found, reason.strip(), _person(), "told")
    typer.echo(found)


@app.command("list")
def list_entries(
    record: Annotated[str, typer.Option("--record", help="Of one record.")] = "",
    subject: Annotated[str, typer.Option("--subject", help="Of one subject.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """What is kept, without a value."""
    vault, _ = stores()
    entries = vault.entries(record, subject)
    if as_json:
        for entry in entries:
            typer.echo(json.dumps(entry._asdict()))
        return
    table = Table("id", "entity", "subject", "created", "expires")
    for entry in entries:
        # brackets of a placeholder would read as rich's markup
        place = f"{entry.record}:{entry.placeholder}".replace("[", r"\[")
        table.add_row(place, entry.entity, entry.subject, entry.created, entry.expires)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"{len(entries)} values")


@app.command()
def log(
    verify: Annotated[bool, typer.Option("--verify", help="Check that no entry was changed or taken out.")] = False,
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries are shown.")] = 20,
) -> None:
    """Who asked for what, when and why, as JSON lines; with --verify, its head as well, to keep a copy of elsewhere."""
    vault, _ = stores()
    if verify:
        count, head = vault.log.verify()
        typer.echo(f"{count} entries, none changed; head {count}:{head}")
        return
    for entry in list(vault.log.entries())[-last:]:
        typer.echo(json.dumps(entry, ensure_ascii=False))


@app.command()
def expire(
    today: Annotated[datetime | None, typer.Option("--today", formats=["%Y-%m-%d"], help="The day to take.")] = None,
) -> None:
    """Delete the values and quarantined records whose retention has ended: for a daily job."""
    vault, quarantine = stores()
    day = today.date() if today else date.today()
    values = vault.expire(day, _person())
    records, closed = quarantine.expire(day)
    typer.echo(f"deleted: {values} values, {records} quarantined records")
    if closed:
        typer.echo(f"not opened by the key at hand, so left: {len(closed)} quarantined records", err=True)
        raise typer.Exit(1)


@app.command("quarantine")
def show_quarantined(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="A sealed file of the report's list.")] = "",
    reason: Reason = "",
) -> None:
    """Show a quarantined record; without a file, list the files."""
    vault, quarantine = stores()
    if not file:
        for name in quarantine.names():
            typer.echo(name)
        return
    found = quarantine.show(Path(file).name, reason, _person(), vault.log)
    typer.echo(json.dumps(found, ensure_ascii=True, indent=2))
