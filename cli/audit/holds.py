"""`domainlm audit`: hold, holds, release, retention."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.environment import enter_project, from_here, quiet_libraries

Key = Annotated[Path, typer.Option("--key", help="The officer's own key; its passphrase is asked for.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, 10 characters or more, without a name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether to sign.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("hold")(hold)
    app.command("holds")(list_holds)
    app.command("release")(release)
    app.command("retention")(retention)


def hold(
    key: Key,
    case: Annotated[str, typer.Option("--case", help="The case's number.")],
    reason: Reason,
    subject: Annotated[str, typer.Argument(metavar="[SUBJECT]", help="A subject id.")] = "",
    data: Annotated[str, typer.Option("--data", help="Or a data version, by its digest.")] = "",
    yes: Yes = False,
) -> None:
    """Forbid to erase a person's data, or a data version, until an officer releases it."""
    key = key.absolute()
    enter_project(ready=False)
    from cli.erase import identifier
    from cli.keys import keys_at_hand
    from domainlm.audit.erasure.suppression import no_ids, refuse_names
    from domainlm.errors import ConfigurationError
    from domainlm.ledger import entries
    from domainlm.ledger.acts import Hold
    from steps.erased import erasure_register

    if bool(subject) == bool(data) or (data and not re.fullmatch(r"[0-9a-f]{64}", data)):
        raise ConfigurationError("name a subject id, or --data with 64 hexadecimal digits", "hold", "one of the two")
    said, case = no_ids(reason, [subject] if subject else []), _case(case)
    keys = keys_at_hand()
    erasures = erasure_register(keys)
    subject = erasures.checked(subject) if subject else ""
    for text in (said, case):
        refuse_names(text, {*erasures.subjects(), *([subject] if subject else [])}, identifier(keys))

    def about() -> tuple[str, Hold]:
        committed = erasures.hold(subject) if subject else ""
        return committed or data, Hold(commitment=committed, data=data, case=case, reason=said)

    lines = [f"legal hold on: {subject or f'data {data}'}", f"case: {case}", f"reason: {said}"]
    receipt = _signed(entries.HOLD, key, yes, lines, about)
    typer.echo(f"held: entry {receipt.number} ({receipt.entry})")


def list_holds() -> None:
    """The holds that stand: entry, who, since when, case and reason."""
    enter_project(ready=False)
    from cli.erase import read_evidence
    from domainlm.audit.erasure.holds import standing

    found = standing(read_evidence())
    for stated in found:
        what = f"data {stated.act.data[:12]}…" if stated.act.data else "a person"
        typer.echo(
            f"entry {stated.number}: {what}, by {stated.header.by} since {stated.header.time[:10]},"
            f" case {stated.act.case}: {stated.act.reason}"
        )
    if not found:
        typer.echo("no legal hold stands")


def release(
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="Number or digest of the hold's entry.")],
    key: Key,
    reason: Reason,
    yes: Yes = False,
) -> None:
    """End a legal hold."""
    key = key.absolute()
    enter_project(ready=False)
    from cli.erase import identifier, read_evidence
    from cli.keys import keys_at_hand
    from domainlm.audit.erasure.holds import find
    from domainlm.audit.erasure.suppression import no_ids, refuse_names
    from domainlm.ledger import entries
    from domainlm.ledger.acts import HoldRelease
    from steps.erased import erasure_register

    said = no_ids(reason, [])
    held = find(read_evidence(), entry)
    keys = keys_at_hand()
    erasures = erasure_register(keys)
    protected = erasures.held(held.act.commitment) if held.act.commitment else None
    refuse_names(said, {*erasures.subjects(), *([protected] if protected else [])}, identifier(keys))
    what = f"data {held.act.data}" if held.act.data else "a person"
    lines = [
        f"end the legal hold of entry {held.number} on: {what}",
        f"held by: {held.header.by} since {held.header.time[:10]}, case {held.act.case}: {held.act.reason}",
        f"reason: {said}",
    ]
    release_ = HoldRelease(hold=held.digest, reason=said)
    receipt = _signed(entries.HOLD_RELEASE, key, yes, lines, lambda: (held.digest, release_))
    if held.act.commitment:
        erasures.release(held.act.commitment)
    typer.echo(f"released: hold of entry {held.number}, by entry {receipt.number}")


def retention(
    today: Annotated[datetime | None, typer.Option("--today", formats=["%Y-%m-%d"], help="The day to take.")] = None,
    stack: Annotated[
        str,
        typer.Option(
            "-s",
            "--stack",
            help="The stack whose artifacts are meant; the project's own by default.",
            callback=from_here,
        ),
    ] = "",
) -> None:
    """Delete the data of artifacts whose time is over (`retention_days` of configs/audit.yaml): for a daily job."""
    enter_project(ready=not stack)  # with a server elsewhere the project needs no store of its own
    quiet_libraries()
    if stack:
        from domainlm.cluster.settings import find_stack

        find_stack(stack).enter()
    from cli.erase import read_evidence
    from cli.keys import keys_at_hand
    from domainlm.audit.erasure.retention import Retention
    from domainlm.ledger.client import submit
    from domainlm.ledger.settings import AuditSettings
    from domainlm.project import home
    from steps.erased import erasure_register
    from steps.stored import ZenMLStore

    done = Retention(
        home(), ZenMLStore(), erasure_register(keys_at_hand()), read_evidence, submit,
        AuditSettings.load().retention_days, today.date() if today else None,
    ).delete()  # fmt: skip
    for name, count in done.deleted.items():
        typer.echo(f"deleted: {count} x {name}")
    for line in done.kept:
        typer.echo(f"kept: {line}")
    typer.echo(f"ledger entry {done.entry}" if done.entry is not None else "nothing was due")


def _case(text: str) -> str:
    from domainlm.errors import ConfigurationError

    if not re.fullmatch(r"[\w./ -]{1,60}", text):
        raise ConfigurationError("the case is no number or short name", "hold", "letters, digits, . / - and blanks")
    return text


def _signed(kind: str, key: Path, yes: bool, lines: list[str], about: Callable[[], tuple[str, Any]]) -> Any:
    """Show an act, ask, sign it with a person's key and enter it.

    Args:
        about: gives the digest that it is about and the act; called once the person has agreed.
    """
    from cli.audit.approvals import confirm, signer_of
    from cli.erase import read_evidence
    from domainlm.audit.decisions.statements import printable
    from domainlm.ledger import entries
    from domainlm.ledger.client import submit_signed
    from domainlm.ledger.envelopes import Envelope

    evidence = read_evidence()
    signer, person = signer_of(evidence, key)
    lines = [*lines, f"signed by: {person}, in the ledger '{evidence.gate.origin}'"]
    confirm([printable(line) for line in lines], person, yes)
    digest, act = about()
    content = act.model_dump(mode="json")
    statement = entries.statement(kind, evidence.gate.origin, person, {"hold": digest}, content)
    return submit_signed(Envelope.sign(statement, signer))
