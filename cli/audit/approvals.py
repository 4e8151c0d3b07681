"""`domainlm audit`: approve, reject, revoke, condition-met, standing, enter, approvals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli.environment import enter_project

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from domainlm.audit.evidence import Evidence

Model = Annotated[str, typer.Argument(metavar="MODEL", help="NAME/VERSION, or 8 digits or more of its identity.")]
Key = Annotated[Path | None, typer.Option("--key", help="Your own key; a sealed one's passphrase is asked for.")]
By = Annotated[str, typer.Option("--by", help="With --out: who will sign, as the policy names them.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Write the unsigned entry here instead, to be signed elsewhere.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether to sign.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the ledger.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in {
        "approve": approve, "reject": reject, "revoke": revoke, "condition-met": condition_met, "standing": standing,
        "enter": enter, "approvals": approvals,
    }.items():  # fmt: skip
        app.command(name)(command)


def approve(
    model: Model,
    key: Key = None,
    reason: Reason = "",
    until: Annotated[str, typer.Option("--until", help="Last day on which it counts, 2026-12-31.")] = "",
    condition: Annotated[
        list[str] | None, typer.Option("--condition", help='"short-name: what must be done: 2026-12-31"; repeatable.')
    ] = None,
    by: By = "",
    out: Out = None,
    yes: Yes = False,
) -> None:
    """Approve a model for promotion, with your own key."""
    _decide("approve", model, key, reason, by, out, yes, until=until, conditions=condition or [])


def reject(model: Model, reason: Reason, key: Key = None, by: By = "", out: Out = None, yes: Yes = False) -> None:
    """Refuse a model (or a standing approval, by its entry's digest): nothing promotes it until you revoke that."""
    _decide("reject", model, key, reason, by, out, yes)


def revoke(model: Model, reason: Reason, key: Key = None, by: By = "", out: Out = None, yes: Yes = False) -> None:
    """Take back what you said about a model, or a standing approval that you gave."""
    _decide("revoke", model, key, reason, by, out, yes)


def condition_met(
    approval: Annotated[str, typer.Argument(metavar="APPROVAL", help="Number or digest of the approval's entry.")],
    condition: Annotated[str, typer.Argument(metavar="CONDITION", help="Its short name.")],
    evidence: Annotated[str, typer.Option("--evidence", help="By what it is met: a report, a ticket.")],
    key: Key = None,
    by: By = "",
    out: Out = None,
    yes: Yes = False,
) -> None:
    """State that a condition of an approval is fulfilled."""
    desk = _desk(key, out)
    from domainlm.audit.decisions import statements

    _sign(desk, statements.condition_met(desk.evidence, approval, condition, evidence), by, yes)


def standing(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What may be promoted unseen: docs/approvals.md.")],
    key: Key = None,
    by: By = "",
    out: Out = None,
    yes: Yes = False,
) -> None:
    """Approve in advance, within bounds and until a day, what an automatic promotion may do."""
    file = file.absolute()
    desk = _desk(key, out)
    from domainlm.audit.decisions import statements

    _sign(desk, statements.standing_approval(desk.evidence, file), by, yes)


def enter(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A signed entry: `domainlm audit sign` makes it.")],
) -> None:
    """Add an entry that was signed elsewhere."""
    file = file.absolute()
    enter_project(ready=False)
    from cli.audit.keys import read_entry
    from domainlm.ledger.client import submit_signed

    receipt = submit_signed(read_entry(file))
    typer.echo(f"entered: entry {receipt.number} ({receipt.entry})")


def approvals(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="One model; by default all, in a line each.")] = "",
) -> None:
    """Who decided what, and what is missing. Exit code 1 where the model may not be promoted."""
    enter_project(ready=False)
    from domainlm.audit.decisions import statements

    evidence = _evidence()
    if not model:
        lines, allowed = statements.overview(evidence), True
    else:
        lines, allowed = statements.told(evidence, statements.subject_of(evidence, model))
    typer.echo("\n".join(lines))
    if not allowed:
        raise typer.Exit(1)


class Desk(NamedTuple):
    """What a person's act needs: the ledger as it is, their key file or the file to write to."""

    evidence: Evidence
    key: Path | None
    out: Path | None


def _decide(decision: str, model: str, key: Path | None, reason: str, by: str, out: Path | None, yes: bool,
            until: str = "", conditions: Sequence[str] = ()) -> None:  # fmt: skip
    desk = _desk(key, out)
    from domainlm.audit.decisions import statements

    found = [statements.condition(text) for text in conditions]
    about = statements.subject_of(desk.evidence, model)
    act = statements.approval(desk.evidence, about, decision, reason, until, found)
    _sign(desk, act, by, yes)


def _desk(key: Path | None, out: Path | None) -> Desk:
    key, out = key and key.absolute(), out and out.absolute()  # count from where the user stands
    enter_project(ready=False)
    from domainlm.errors import ConfigurationError

    if (key is None) == (out is None):
        raise ConfigurationError("who signs, and where?", "--key", "give --key FILE, or --out FILE to sign elsewhere")
    return Desk(_evidence(), key, out)


def _evidence() -> Evidence:
    """What the ledger says; an entry that does not pass the gate ends the command."""
    from domainlm.audit.evidence import Evidence
    from domainlm.ledger.settings import AuditSettings, root_keyids
    from domainlm.ledger.trust.gate import Gate
    from steps.examined import present_ledger

    settings, roots = AuditSettings.load(), root_keyids()
    return Evidence(present_ledger(settings).entries(), Gate(settings.origin, roots))


def signer_of(evidence: Evidence, key: Path | None) -> tuple[CryptoSigner, str]:
    """A person's opened key, and who they are by the policy in force."""
    from cli.audit.keys import opened
    from domainlm.errors import ApprovalRefused

    signer = opened(key)
    person = evidence.policy.owner(signer.public_key.keyid)
    if not person:
        raise ApprovalRefused("the policy does not list this key", str(key), "ask the root to add it")
    return signer, person


def confirm(lines: Sequence[str], person: str, yes: bool) -> None:
    """Show what will be signed, and ask; a no ends the command."""
    from domainlm.errors import ApprovalRefused

    typer.echo("\n".join(lines))
    if not yes and not typer.confirm("sign this?"):
        raise ApprovalRefused("nothing was signed", person)


def _sign(desk: Desk, act: Any, by: str, yes: bool) -> None:
    """Show what will be signed, ask, sign, enter; or write it unsigned."""
    from domainlm.audit.decisions import statements
    from domainlm.errors import ConfigurationError
    from domainlm.ledger.client import submit_signed
    from domainlm.ledger.envelopes import Envelope
    from domainlm.ledger.trust.signing import write_new

    if desk.out:
        if not by:
            raise ConfigurationError("who will sign it?", "--by", "name the member of the policy")
        unsigned = Envelope.sign(statements.statement(desk.evidence, by, act))
        write_new(desk.out, unsigned.to_bytes())
        typer.echo("\n".join(statements.shown(desk.evidence, by, act)))
        typer.echo(f"written, unsigned: {desk.out}; sign it within 7 days: `domainlm audit sign`, then `audit enter`")
        return
    signer, person = signer_of(desk.evidence, desk.key)
    statement = statements.statement(desk.evidence, person, act)
    confirm(statements.shown(desk.evidence, person, act), person, yes)
    receipt = submit_signed(Envelope.sign(statement, signer))
    typer.echo(f"entered: entry {receipt.number} ({receipt.entry})")
