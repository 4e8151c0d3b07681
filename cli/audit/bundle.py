"""`domainlm audit bundle`: the ledger, or what concerns one model, as one file for a third party."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from cli.audit.verify import plain
from cli.environment import enter_project


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("bundle")(bundle)


def bundle(
    out: Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced.")],
    model: Annotated[
        str, typer.Option("--model", help="Only what concerns this model: NAME/VERSION or its identity.")
    ] = "",
    artifact: Annotated[
        list[Path] | None, typer.Option("--artifact", help="A file to put in, such as a report.")
    ] = None,
    encrypt_to: Annotated[
        list[str] | None, typer.Option("--encrypt-to", help="Encrypt it for the owner of an age key (age1...).")
    ] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Encrypt it by a passphrase, asked for.")] = False,
) -> None:
    """Export evidence that anybody can verify with the root's public key.

    A whole ledger that is broken is exported as it is, with its faults on standard error and exit code 1.
    """
    out = out.absolute()
    files = {path.name: path.absolute() for path in artifact or []}
    enter_project(ready=False)
    from domainlm.audit.proof.bundle_export import about, export
    from domainlm.audit.proof.verification import examine
    from domainlm.errors import ConfigurationError, EvidenceRefused
    from domainlm.ledger import entries
    from domainlm.ledger.acts import Read
    from domainlm.ledger.anchors import published
    from domainlm.ledger.client import root_keyids, submit
    from domainlm.ledger.findings import BROKEN
    from domainlm.ledger.log import Ledger
    from domainlm.ledger.settings import AuditSettings

    if len(files) < len(artifact or []):
        raise ConfigurationError("two artifacts have the same name", "--artifact", "rename one")
    secret = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if passphrase else ""
    settings = AuditSettings.load()
    ledger = Ledger(settings.ledger_url, settings.origin, create=False)
    outside = [item for item in published(settings.anchors, settings.origin) if not item.problem]
    checkpoints = ledger.checkpoints()  # before the entries, since others may append
    found, evidence = examine(ledger.raw(), checkpoints, outside, settings.origin, root_keyids(), stored=ledger.leaves)
    numbers, identity = set[int](), ""
    if model:
        run = evidence.model(model)
        if found.verdict == BROKEN or run is None:
            raise EvidenceRefused(
                "the ledger is broken" if run else "no run in the ledger registered it", model,
                "run `domainlm audit verify`; a whole ledger is exported as it is", "malformed",
            )  # fmt: skip
        identity = run.act.model.identity
        numbers = about(evidence, identity)
    # on the record before the file exists: who took evidence out
    read = Read(person=getpass.getuser(), page="bundle", subject=model)
    try:
        submit(entries.READ, {"bundle": identity or "0" * 64}, read.model_dump(mode="json"))
    except EvidenceRefused as error:
        if found.verdict != BROKEN:
            raise
        # what shows that the ledger is broken must come out, though nothing can be added to it any more
        typer.echo(plain(f"that it was taken out was not entered: {error.where}: {error.what}"), err=True)
    contents = export(
        out, ledger.raw(), ledger.checkpoints(), outside, settings.origin, model=identity, numbers=numbers,
        anchored={stated.act.size for stated in evidence.of_kind(entries.ANCHOR)}, artifacts=files,
        recipients=encrypt_to or [], passphrase=secret,
    )  # fmt: skip
    covered = len(numbers) if model else contents.size
    typer.echo(f"{out}: {covered} entries of {contents.origin}, up to the checkpoint of size {contents.size}")
    typer.echo(f"verify it: domainlm audit verify --bundle {out.name} --root root.pem --anchor PUBLISHED_CHECKPOINT")
    if found.verdict == BROKEN:
        for finding in found.findings:
            if finding.severity == BROKEN:
                typer.echo(plain(finding.line()), err=True)
        typer.echo("the ledger is broken; the bundle holds it as it is", err=True)
        raise typer.Exit(1)
