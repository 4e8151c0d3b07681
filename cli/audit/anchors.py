"""`domainlm audit`: anchor, checkpoint: the latest checkpoint goes where who owns the ledger cannot take it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project

if TYPE_CHECKING:
    from domainlm.ledger.log import Ledger
    from domainlm.ledger.settings import AnchorSettings, AuditSettings

PlaceFolder = Annotated[str, typer.Option("--folder", help="A folder on another volume.")]
PlaceGit = Annotated[
    str, typer.Option("--git", help="A git repository: a tag. `git push` it where none can be forced.")
]
PlaceObject = Annotated[str, typer.Option("--object", help="An fsspec URL, such as s3://bucket/path with object lock.")]
SameVolume = Annotated[bool, typer.Option("--same-volume", help="Allow a place on the ledger's own volume.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("anchor")(anchor)
    app.command("checkpoint")(checkpoint)


def checkpoint(
    report: Annotated[
        Path | None, typer.Argument(metavar="[REPORT]", help="Take it from a report, HTML or PDF, instead.")
    ] = None,
) -> None:
    """Print the latest signed checkpoint, to be kept where nobody of the project writes: `verify --anchor` takes it."""
    if report is not None:
        from cli.audit.report import checkpoint_of

        typer.echo(checkpoint_of(report), nl=False)
        return
    enter_project(ready=False)
    from domainlm.ledger.settings import AuditSettings

    typer.echo(_latest(_ledger(AuditSettings.load())), nl=False)


def anchor(
    folder: PlaceFolder = "", git: PlaceGit = "", object_store: PlaceObject = "", same_volume: SameVolume = False
) -> None:
    """Publish the latest checkpoint at every place of configs/audit.yaml, or at the given ones, and enter that it was.

    The ledger is verified first: what is broken, or no continuation of what was published, is not published.
    """
    given = [("folder", folder and str(Path(folder).absolute())), ("git", git and str(Path(git).absolute()))]
    given.append(("object_store", object_store))
    enter_project(ready=False)
    from cli.keys import keys_at_hand
    from domainlm.digests import digest_bytes
    from domainlm.errors import DomainLMError
    from domainlm.ledger import entries
    from domainlm.ledger.anchors import publish
    from domainlm.ledger.checkpoints import Checkpoint
    from domainlm.ledger.client import Spooled, submit_or_spool
    from domainlm.ledger.settings import AuditSettings

    settings = AuditSettings.load()
    places = _places(settings, given, same_volume)
    ledger = _ledger(settings)
    note = _latest(ledger)
    _refuse_broken(ledger, settings, places)
    size = Checkpoint.parse(note, ledger.place).size
    failed = False
    for place in places:
        try:
            (done,) = publish(note, [place], ledger.file)
        except DomainLMError as error:  # the other places are published at all the same
            failed = True
            typer.echo(f"not published: {error}", err=True)
            continue
        typer.echo(f"published: size {size}: {done.place}")
        if place.same_volume:
            typer.echo("warning: that place may lie on the ledger's own volume, and go with it", err=True)
        content = {"place": done.place, "size": size, "note": done.note}
        # it is published whether or not a signer can take the entry now
        outcome = submit_or_spool(
            entries.ANCHOR, {"checkpoint": digest_bytes(done.note.encode())}, content, load=keys_at_hand
        )
        if isinstance(outcome, Spooled):
            typer.echo(f"not entered yet, the next run or `domainlm audit signer flush` does: {outcome.why}", err=True)
    if failed:
        raise typer.Exit(1)


def _ledger(settings: AuditSettings) -> Ledger:
    from domainlm.ledger.log import Ledger

    return Ledger(settings.ledger_url, settings.origin, create=False)


def _places(settings: AuditSettings, given: list[tuple[str, str]], same_volume: bool) -> list[AnchorSettings]:
    from domainlm.errors import ConfigurationError
    from domainlm.ledger.settings import FILE, AnchorSettings

    places = [AnchorSettings(**{kind: where}) for kind, where in given if where] or list(settings.anchors)
    if not places:
        raise ConfigurationError("names no place to publish at", FILE, "add one under `anchors:`, or give --folder")
    return [place.model_copy(update={"same_volume": place.same_volume or same_volume}) for place in places]


def _latest(ledger: Ledger) -> str:
    from domainlm.errors import EvidenceRefused

    note = ledger.latest_checkpoint()
    if not note:
        raise EvidenceRefused("has no checkpoint yet", ledger.place, "run `domainlm audit init`", "no-checkpoint")
    return note


def _refuse_broken(ledger: Ledger, settings: AuditSettings, places: list[AnchorSettings]) -> None:
    from domainlm.audit.proof.verification import verify_entries
    from domainlm.ledger.anchors import published
    from domainlm.ledger.client import root_keyids
    from domainlm.ledger.findings import BROKEN

    outside = published(
        [*settings.anchors, *(place for place in places if place not in settings.anchors)], ledger.origin
    )
    notes = ledger.checkpoints()
    found = verify_entries(ledger.raw(), notes, outside, ledger.origin, root_keyids(), stored=ledger.leaves)
    if found.verdict == BROKEN:
        for finding in found.findings:
            typer.echo(finding.line(), err=True)
        typer.echo("nothing was published: the ledger does not verify", err=True)
        raise typer.Exit(1)
