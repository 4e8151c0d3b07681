"""`domainlm audit signer`: the process that holds the service keys, and what waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import enter_project
from domainlm.errors import ConfigurationError

signer = typer.Typer(help="The process that holds the service keys: serve, ping, flush.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(signer, name="signer")


@signer.command()
def serve(
    path: Annotated[
        Path | None, typer.Option("--socket", help="Where it answers; `signer:` of configs/audit.yaml by default.")
    ] = None,
    allow_uid: Annotated[
        list[int] | None,
        typer.Option("--allow-uid", help="A user who may have runs recorded besides this one; repeatable."),
    ] = None,
) -> None:
    """Answer on a Unix socket until SIGTERM. Sealed keys are opened once, by a passphrase asked at the start."""
    from cli.audit.keys import passphrase_of
    from domainlm.ledger.settings import AuditSettings
    from domainlm.ledger.signer.server import Desk, Server, local_service
    from domainlm.project import resolve

    path = path.absolute() if path else None
    enter_project(ready=False)
    named = AuditSettings.load().signer
    if path is None and not named:
        raise ConfigurationError(
            "no socket is named", "audit signer serve", "--socket, or signer: in configs/audit.yaml"
        )
    path = path or resolve(named)
    server = Server(Desk(local_service(passphrase_of)), path, frozenset(allow_uid or ()))
    asyncio.run(server.serve(lambda: typer.echo(f"ready: {path}")))
    typer.echo("stopped")


@signer.command()
def ping() -> None:
    """Whether a signer could take an entry now."""
    from domainlm.ledger import client

    enter_project(ready=False)
    typer.echo(f"ready: {client.ping(timeout_s=10)} entries")


@signer.command()
def flush(
    runs: Annotated[
        list[str] | None,
        typer.Option("--run", help="A run whose manifest bears no seal, after you looked at it; repeatable."),
    ] = None,
) -> None:
    """Enter what could not be entered when it was made. Exit code 1 where something still waits."""
    from cli.keys import keys_at_hand
    from domainlm.ledger import client
    from domainlm.ledger.run import entering
    from domainlm.ledger.run import manifest as manifests

    enter_project(ready=False)
    waiting = {path.stem: path for path in entering.waiting_manifests()} if runs else {}
    for name in runs or ():
        if name not in waiting:
            raise ConfigurationError("no manifest of this run waits", "--run", "look into .domainlm/runs/")
        manifests.vouch(manifests.read(waiting[name]), keys_at_hand)
        found = entering.enter(manifests.read(waiting[name]), keys_at_hand)
        typer.echo(f"run {name}: {found.line(entering.anchored())}")
    done = client.flush_spool(load=keys_at_hand)
    for receipt in done.receipts:
        typer.echo(f"entered: entry {receipt.number} ({receipt.entry})")
    for spooled in done.waiting:
        typer.echo(f"waits: {spooled.path.name}: {spooled.why}")
    if done.waiting:
        raise typer.Exit(1)
