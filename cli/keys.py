"""`domainlm keys`: make a key, put a new one in place of the present one, carry ids and stores over to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import enter_project
from domainlm.errors import SecretError
from domainlm.keys import KEY_SECRET_VARIABLE, KEY_VARIABLE, KeyRing, key_file, rotation_file, write_secret_file

app = typer.Typer(help="The key of ids, vault and quarantine: make, show, rotate.", no_args_is_help=True)


def keys_at_hand(mode: str | None = None) -> KeyRing:
    """The key of this machine; ZenML, which takes seconds to import, is asked only where it holds the key.

    Raises:
        SecretError: see `KeyRing.load`.
    """
    if os.environ.get(KEY_SECRET_VARIABLE) and not os.environ.get(KEY_VARIABLE):
        from steps.keys import load_keys

        return load_keys(mode)
    return KeyRing.load(mode=mode)


def _person() -> str:
    from domainlm.redact.access import operating_system_user

    return operating_system_user()


def _carry_lineage(ring: KeyRing) -> None:
    """The ids of the row-level index go to the new key; what an interruption leaves, the next look at it carries."""
    from domainlm.audit.lineage.index import FILE, Lineage
    from domainlm.ledger.settings import evidence_folder

    if (path := evidence_folder() / FILE).exists():
        Lineage(path).carry(ring)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it shall lie; must not be there yet.")],
    key_id: Annotated[str, typer.Option("--key-id", help="Its public name; a random one by default.")] = "",
) -> None:
    """Make a key in a file of mode 0600."""
    ring = KeyRing.new(key_id)
    try:
        write_secret_file(file, ring.to_json())
    except FileExistsError:
        raise SecretError("there is a file already", str(file), "name another") from None
    typer.echo(f"made: key '{ring.key_id}' in {file} (mode 0600)")


@app.command()
def show() -> None:
    """The name of the key in use, and of those before it; no secret."""
    enter_project(ready=False)
    ring = keys_at_hand()
    typer.echo(f"key '{ring.key_id}'" + "".join(f", after '{key.key_id}'" for key in reversed(ring.retired)))


@app.command()
def rotate(
    new_file: Annotated[
        Path | None,
        typer.Option("--new-file", help="Where the new key shall lie, or lies; by default in the present one's place."),
    ] = None,
    key_id: Annotated[str, typer.Option("--key-id", help="Name of a key that is made.")] = "",
) -> None:
    """Put a new key in place of the present one. Persons stay linked, vault and quarantine are sealed anew; after an
    interruption, call it again."""
    new_file = new_file.absolute() if new_file else None  # counts from where the user stands
    enter_project(ready=False)
    from domainlm.project import home
    from domainlm.redact.rotation import rotate

    present, file = None, None
    if not rotation_file().exists():
        elsewhere = os.environ.get(KEY_VARIABLE) or os.environ.get(KEY_SECRET_VARIABLE)
        file = None if elsewhere else key_file()
        present = keys_at_hand(mode="")  # a development key may be rotated away in production as well
    done = rotate(present, file, new_file, home(), _person(), key_id)
    _carry_lineage(KeyRing.of_file(done.file))
    typer.echo(
        f"rotated: '{done.old_key_id}' -> '{done.key_id}' in {done.file}; {done.quarantined} records sealed anew"
    )
    if done.old_file:
        typer.echo(f"the old key lies in {done.old_file}: destroy it once no other machine's stores need it")
    if file is None or done.file != file:
        typer.echo(f"point the runs at {done.file}, or put its content where the old key came from")


@app.command()
def rekey(
    old_file: Annotated[Path, typer.Option("--old-file", help="File of the key that the stores belong to.")],
) -> None:
    """Carry this machine's vault and quarantine to the key in use, after it was rotated elsewhere."""
    old = KeyRing.of_file(old_file.absolute())
    enter_project(ready=False)
    from domainlm.project import home
    from domainlm.redact.rotation import rekey

    ring = keys_at_hand()
    count = rekey(old, ring, home(), _person())
    _carry_lineage(ring)
    typer.echo(f"carried: '{old.key_id}' -> '{ring.key_id}'; {count} quarantined records sealed anew")


@app.command()
def carry(
    identifiers: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Old ids; from standard input by default.")
    ] = None,
    use: Annotated[str, typer.Option("--use", help="What they are ids of: subject, record, group.")] = "subject",
) -> None:
    """The present id of each id of before a rotation, for tables that other systems keep: OLD, tab, NEW."""
    enter_project(ready=False)
    ring, unknown = keys_at_hand(), 0
    for identifier in identifiers or (line.strip() for line in sys.stdin):
        if ring.knows(identifier):
            typer.echo(f"{identifier}\t{ring.carried(use, identifier)}")
        else:
            unknown += 1
    if unknown:
        typer.echo(f"{unknown} ids were made by none of the ring's keys", err=True)
        raise typer.Exit(1)
