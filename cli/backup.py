"""`domainlm backup` and `domainlm restore`: all that a project keeps as one checked file, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from cli.environment import enter_project, quiet_libraries

if TYPE_CHECKING:
    from domainlm.audit.backup.restore import Present

Passphrase = Annotated[bool, typer.Option("--passphrase", help="Encrypted by a passphrase, which is asked for.")]


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, best on another disk.")],
    encrypt_to: Annotated[
        list[str] | None, typer.Option("--encrypt-to", help="An age public key (age1...); may be said more than once.")
    ] = None,
    passphrase: Passphrase = False,
) -> None:
    """Write stores, ledger, registry and artifacts to one file; never a private key."""
    target = target.absolute()
    enter_project(ready=False)  # a ledger is enough: the one of a cluster has no stack beside it
    from domainlm.audit.backup.backup import backup as write
    from domainlm.audit.erasure.at_rest import at_rest
    from domainlm.ledger.client import open_ledger, submit
    from domainlm.project import home

    secret = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if passphrase else ""
    with at_rest(home(), "backup"):
        done = write(target, home(), open_ledger(), submit, encrypt_to or (), secret)
    typer.echo(f"{target}: {done.files} files, {done.size_bytes} bytes, SHA-256 {done.file}; ledger entry {done.entry}")
    typer.echo(f"keep {target.name}.ledger beside it: the ledger's entries since")
    if not (encrypt_to or secret):
        typer.echo("not encrypted: see to the disk that it lies on, or say --encrypt-to", err=True)


def restore(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The backup; none finishes a restore that was interrupted.")
    ] = None,
    identity: Annotated[Path | None, typer.Option("--identity", help="File of the age key that opens it.")] = None,
    passphrase: Passphrase = False,
    unlisted: Annotated[
        bool,
        typer.Option("--unlisted", help="Take a backup that no entry of the ledger states."),
    ] = False,
) -> None:
    """Put a backup back, after checking all of it; later erasures are carried out again."""
    file, identity = file and file.absolute(), identity and identity.absolute()
    enter_project(ready=False)
    quiet_libraries()
    from domainlm.audit.backup.backup import later_file
    from domainlm.audit.backup.restore import finish
    from domainlm.audit.backup.restore import restore as put_back
    from domainlm.audit.erasure.at_rest import at_rest
    from domainlm.digests import digest_file
    from domainlm.project import home

    with at_rest(home(), "restore"):
        present = _present()
        if file is None:
            done = finish(present)
        else:
            with _plain(file, identity, passphrase) as stream:
                done = put_back(stream, digest_file(file), str(file), present, later_file(file), unlisted)
        if unlisted:
            typer.echo(
                f"WARNING: {file} was taken as it is: --unlisted leaves out the ledger's check of its content. Compare"
                " models and data with the ledger: domainlm audit verify --artifacts",
                err=True,
            )
    for name in done.left_out:
        typer.echo(f"left out: runs/{name}: in no entry of the ledger and not sealed by this project's key", err=True)
    typer.echo(
        f"restored: {done.files} files; {done.entries} entries that the ledger lacked; {done.erasures} places of erased"
        f" persons deleted again; ledger entry {done.entry}"
    )


def _plain(file: Path, identity: Path | None, passphrase: bool) -> BinaryIO:
    from domainlm.audit.sealing import is_sealed, unseal
    from domainlm.errors import ArtifactError
    from domainlm.project import home

    try:
        stream = open(os.open(file, os.O_RDONLY), "rb")
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", str(file), "name a backup") from None
    if not is_sealed(stream):
        return stream
    with stream:
        secret = typer.prompt("Passphrase", hide_input=True) if passphrase else ""
        return unseal(stream, str(file), identity, secret, home())


def _present() -> Present:
    from cli.erase import eraser
    from cli.keys import keys_at_hand
    from domainlm.audit.backup.restore import Present
    from domainlm.ledger.anchors import published
    from domainlm.ledger.client import open_ledger, root_keyids, submit
    from domainlm.ledger.settings import AuditSettings
    from domainlm.project import home
    from steps.erased import erasure_register

    settings = AuditSettings.load()
    return Present(
        home=home(),
        ledger=open_ledger(settings),
        register=erasure_register(keys_at_hand()),
        root_keyids=root_keyids(),
        published=[item for item in published(settings.anchors, settings.origin) if not item.problem],
        submit=submit,
        erase_again=lambda: eraser().repeat(),
    )
