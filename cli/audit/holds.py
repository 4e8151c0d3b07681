"""`domainlm audit`: hold, holds, release, retention."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.environment import enter_project, quiet_libraries

Key = Annotated[Path, typer.Option("--key", help="The officer's own key; its passphrase is asked for.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, 10 characters or more, without a name.")]


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
) -> None:
    """Forbid to erase a person's data, or a data version, until an officer releases it."""
    key = key.absolute()
    enter_project(ready=False)
    from cli.keys import keys_at_hand
    from domainlm.audit.erasure.suppression import no_ids
    from domainlm.errors import ConfigurationError
    from domainlm.ledger import entries
    from domainlm.ledger.acts import Hold
    from steps.erased import erasure_register

    if bool(subject) == bool(data) or (data and not re.fullmatch(r"[0-9a-f]{64}", data)):
        raise ConfigurationError("name a subject id, or --data with 64 hexadecimal digits", "hold", "one of the two")
    said, case = no_ids(reason, [subject] if subject else []), _case(case)
    committed = ""
    if subject:
        erasures = erasure_register(keys_at_hand())
        committed = erasures.hold(erasures.checked(subject))
    act = Hold(commitment=committed, data=data, case=case, reason=said)
    receipt = _signed(entries.HOLD, {"held": committed or data}, act, key)
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
) -> None:
    """End a legal hold."""
    key = key.absolute()
    enter_project(ready=False)
    from cli.erase import read_evidence
    from cli.keys import keys_at_hand
    from domainlm.audit.erasure.holds import find
    from domainlm.audit.erasure.suppression import no_ids
    from domainlm.ledger import entries
    from domainlm.ledger.acts import HoldRelease
    from steps.erased import erasure_register

    said = no_ids(reason, [])
    held = find(read_evidence(), entry)
    act = HoldRelease(hold=held.digest, reason=said)
    receipt = _signed(entries.HOLD_RELEASE, {"hold": held.digest}, act, key)
    if held.act.commitment:
        erasure_register(keys_at_hand()).release(held.act.commitment)
    typer.echo(f"released: hold of entry {held.number}, by entry {receipt.number}")


def retention(
    today: Annotated[datetime | None, typer.Option("--today", formats=["%Y-%m-%d"], help="The day to take.")] = None,
) -> None:
    """Delete the data of artifacts whose time is over (`retention_days` of configs/audit.yaml): for a daily job."""
    enter_project()
    quiet_libraries()
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


def _signed(kind: str, subjects: dict[str, str], act: Any, key: Path) -> Any:
    """Sign an act with a person's key and enter it."""
    from cli.erase import read_evidence
    from domainlm.errors import EvidenceRefused
    from domainlm.ledger import entries
    from domainlm.ledger.client import submit_signed
    from domainlm.ledger.envelopes import Envelope
    from domainlm.ledger.trust.signing import is_sealed, load_key

    signer = load_key(key, typer.prompt("passphrase", hide_input=True) if is_sealed(key) else "")
    evidence = read_evidence()
    person = evidence.policy.owner(signer.public_key.keyid)
    if not person:
        raise EvidenceRefused("the policy does not list this key", str(key), "ask for it to be added", "unknown-key")
    statement = entries.statement(kind, evidence.gate.origin, person, subjects, act.model_dump(mode="json"))
    return submit_signed(Envelope.sign(statement, signer))
