"""`domainlm audit init` and `domainlm audit policy`: who may do what, from the first policy on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import enter_project

if TYPE_CHECKING:
    from domainlm.ledger.trust.gate import Policy

policy = typer.Typer(help="Who may do what, with which keys: show, propose, enter.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init")(init)
    app.add_typer(policy, name="policy")


def init(
    production: Annotated[bool, typer.Option("--production", help="The root lies elsewhere; needs --root.")] = False,
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Public key (PEM) of a root member; repeat for each.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Production: the policy to fill in, as YAML.")] = Path(
        "policy.yaml"
    ),
) -> None:
    """Give the project a ledger. Without options one for development, with keys of this machine. Safe to repeat."""
    from domainlm.errors import ConfigurationError
    from domainlm.ledger.trust import bootstrap

    roots = [path.absolute() for path in root or ()]
    output = output.absolute()
    enter_project(ready=False)
    if production != bool(roots):
        raise ConfigurationError("--production and --root go together", "audit init", "name the root's public keys")
    if production:
        _begin_production(roots, output)
        return
    outcome = bootstrap.bootstrap()
    typer.echo({
        bootstrap.MADE: "ledger made, with keys of this machine: not for production (verdicts say development-key)",
        bootstrap.STANDS: "the ledger stands already",
        bootstrap.PRODUCTION_WANTED: "DOMAINLM_MODE is production: `domainlm audit init --production --root ROOT.pem`",
        bootstrap.WAITS: "a root is pinned; its first policy has not been entered: `domainlm audit policy enter`",
    }[outcome])  # fmt: skip


def _begin_production(roots: list[Path], output: Path) -> None:
    from domainlm.errors import ConfigurationError
    from domainlm.ledger.client import open_ledger
    from domainlm.ledger.settings import AuditSettings, keys_folder, root_file
    from domainlm.ledger.trust import bootstrap
    from domainlm.ledger.trust.policy_file import write_policy
    from domainlm.ledger.trust.signing import public_pem

    if open_ledger().frontier.size:
        raise ConfigurationError(
            "the ledger has a policy already", "audit init",
            "change it with `domainlm audit policy propose`; a ledger for development is put away whole instead",
        )  # fmt: skip
    keys = bootstrap.read_roots(roots)
    bootstrap.pin(keys)
    services = bootstrap.make_service_keys()
    members = {f"root-{place}": key for place, key in enumerate(keys, 1)}
    first = bootstrap.first_policy(AuditSettings.load().origin, members, services)
    first.rules.production = True
    text = write_policy(first)
    for name, key in (members | services).items():
        path = output.with_name(f"{name}.public.pem")
        text = text.replace(key.keyid, path.name)
        _new_file(path, public_pem(key))
    _new_file(output, text)
    typer.echo(f"pinned: {root_file()}; service keys: {keys_folder()}")
    typer.echo(f"next: add people to {output}, then `domainlm audit policy propose {output.name} -o policy.json`,")
    typer.echo("      let the root sign it (`domainlm audit sign`), then `domainlm audit policy enter`")


@policy.command()
def show(
    as_yaml: Annotated[bool, typer.Option("--yaml", help="To edit and give to `propose`.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As the ledger holds it.")] = False,
) -> None:
    """The policy in force, once every entry of the ledger has passed the gate."""
    from domainlm.ledger.trust.policy_file import changes, write_policy

    enter_project(ready=False)
    found, _ = _in_force()
    if as_yaml or as_json:
        content = json.dumps(found.model_dump(mode="json"), indent=2, ensure_ascii=False)
        typer.echo(content if as_json else write_policy(found), nl=as_json)
        return
    typer.echo(f"policy {found.version} of ledger {found.ledger}{'' if found.rules.production else ' (development)'}")
    for line in changes(None, found):
        typer.echo(line.removeprefix("new "))


@policy.command()
def propose(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The policy as it shall be: docs/trust.md.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The statement to sign; a new file.")],
    by: Annotated[str, typer.Option("--by", help="A root member who will sign; the first by default.")] = "",
) -> None:
    """Make the statement of the next policy, and say what it changes. Nothing is entered yet."""
    from domainlm.errors import ConfigurationError, EvidenceRefused
    from domainlm.ledger.envelopes import Envelope
    from domainlm.ledger.trust.bootstrap import policy_statement
    from domainlm.ledger.trust.gate import ROOT, Policy, now
    from domainlm.ledger.trust.policy_file import changes, read_policy

    file, output = file.absolute(), output.absolute()
    enter_project(ready=False)
    try:
        before, previous = _in_force()
    except EvidenceRefused as error:
        if error.code != "untrusted-root" or not _empty():
            raise
        before, previous = None, ""
    moment = now()
    wanted = read_policy(file, before, previous, moment)
    roots = [name for name, member in (before or wanted).members.items() if ROOT in member.roles]
    if by and by not in roots:
        raise ConfigurationError(f"'{by}' is no root member", "--by", f"known: {', '.join(roots)}")
    statement = policy_statement(wanted, by or next(iter(roots), ""), moment)
    Policy.of(Envelope.sign(statement), str(file))
    lines = changes(before, wanted)
    if not lines:
        raise ConfigurationError("changes nothing", str(file), "edit it first")
    _new_file(output, json.dumps(statement, indent=1, ensure_ascii=False) + "\n")
    for line in lines:
        typer.echo(line)
    needed = (before or wanted).root_threshold
    typer.echo(f"to be signed by {needed} root member{'s' if needed > 1 else ''} within 7 days: {output}")


@policy.command()
def enter(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The signed policy: `domainlm audit sign` makes it.")],
) -> None:
    """Enter a policy that the root has signed. It is in force from its place in the ledger on."""
    from cli.audit.keys import read_entry
    from domainlm.errors import EvidenceRefused
    from domainlm.ledger import entries
    from domainlm.ledger.client import submit_signed

    envelope = read_entry(file)
    if entries.header(envelope, str(file)).kind != entries.POLICY:
        raise EvidenceRefused("is no policy", str(file), "enter it with `domainlm audit enter`", "unknown-kind")
    enter_project(ready=False)
    receipt = submit_signed(envelope)
    typer.echo(f"entered: policy as entry {receipt.number} ({receipt.entry})")


def _in_force() -> tuple[Policy, str]:
    from domainlm.ledger.client import new_gate, open_ledger
    from domainlm.ledger.trust.bootstrap import policy_in_force

    return policy_in_force(open_ledger(), new_gate())


def _empty() -> bool:
    from domainlm.ledger.client import open_ledger

    return open_ledger().frontier.size == 0


def _new_file(path: Path, text: str) -> None:
    from domainlm.errors import ConfigurationError
    from domainlm.ledger.trust.signing import write_new

    try:
        write_new(path, text.encode())
    except FileExistsError:
        raise ConfigurationError("there is a file already", str(path), "name another with --output") from None
