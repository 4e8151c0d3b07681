"""`domainlm audit keys`: make and show signing keys; `domainlm audit sign`: sign a file, without a network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from domainlm.ledger.envelopes import Envelope

keys = typer.Typer(help="Signing keys of people and services: make, show.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(keys, name="keys")
    app.command("sign")(sign)


@keys.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it shall lie; must not be there yet.")],
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="For services: the file alone opens it.")
    ] = False,
) -> None:
    """Make a signing key, sealed by a passphrase. Its public half goes into the policy."""
    from domainlm.errors import SecretError
    from domainlm.ledger.trust.signing import LEAST_PASSPHRASE_CHARACTERS, new_key

    if file.exists():
        raise SecretError("there is a file already", str(file), "name another")
    passphrase = "" if no_passphrase else _asked("passphrase", confirm=True)
    if not no_passphrase and len(passphrase) < LEAST_PASSPHRASE_CHARACTERS:
        raise SecretError(
            f"the passphrase has fewer than {LEAST_PASSPHRASE_CHARACTERS} characters", str(file), "take a longer one"
        )
    keyid = new_key(file, passphrase).public_key.keyid
    typer.echo(f"made: key {keyid} in {file} (mode 0600, {'unsealed' if no_passphrase else 'sealed'})")


@keys.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A private key, or a public one.")],
) -> None:
    """The public half as PEM, on standard output, and its id beside it. This is what a policy names."""
    from domainlm.errors import SecretError
    from domainlm.ledger.trust.signing import keys_of_pem, public_pem

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError):
        raise SecretError("the key is missing", str(file), "name a PEM file") from None
    found = keys_of_pem(text, str(file)) if "PUBLIC KEY" in text else [opened(file).public_key]
    for key in found:
        typer.echo(f"key {key.keyid}", err=True)
        typer.echo(public_pem(key), nl=False)


def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A statement, or an entry that others signed already.")],
    key: Annotated[Path, typer.Option("--key", help="Your own key; a sealed one's passphrase is asked for.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A new file; FILE.signed by default.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to sign.")] = False,
) -> None:
    """Show what an entry says and sign it. Needs neither project nor network, so that a key can stay off line."""
    from domainlm.errors import SecretError
    from domainlm.ledger import entries
    from domainlm.ledger.envelopes import Envelope
    from domainlm.ledger.trust.signing import write_new

    envelope = read_entry(file)
    header = entries.header(envelope, str(file))
    typer.echo(f"{header.kind} by {header.by} for ledger {header.ledger}, {header.time}")
    for name, digest in entries.subjects(envelope).items():
        typer.echo(f"about {json.dumps(name)} {json.dumps(digest)}")
    # what others wrote is shown escaped: a terminal obeys control characters
    typer.echo(json.dumps(entries.content(envelope), indent=2, ensure_ascii=True))
    for keyid, _ in envelope.signatures:
        typer.echo(f"signed already by {keyid[:12]}")
    if not yes and not typer.confirm("sign this?"):
        raise typer.Exit(1)
    signer = opened(key)
    signed = Envelope.sign(envelope.statement, signer)
    for keyid, signature in envelope.signatures:
        signed = signed.with_signature(keyid, signature)
    output = output or file.with_name(file.name + ".signed")
    try:
        write_new(output, signed.to_bytes() + b"\n")
    except FileExistsError:
        raise SecretError("there is a file already", str(output), "name another with --output") from None
    typer.echo(f"signed by {signer.public_key.keyid[:12]}: {output}")


def opened(file: Path) -> CryptoSigner:
    """The key of a file; the passphrase of a sealed one is asked for at the terminal, or read from standard input."""
    from domainlm.ledger.trust.signing import load_key

    return load_key(file, passphrase_of(file))


def passphrase_of(file: Path) -> str:
    """What opens a key file; asked for where it is sealed."""
    from domainlm.ledger.trust.signing import is_sealed

    return _asked(f"passphrase of {file.name}") if is_sealed(file) else ""


def read_entry(file: Path) -> Envelope:
    """The envelope of a file that holds one, or a bare statement."""
    from domainlm.errors import EvidenceRefused
    from domainlm.ledger.envelopes import MAX_ENTRY_BYTES, Envelope

    try:
        with open(file, "rb") as stream:
            raw = stream.read(2 * MAX_ENTRY_BYTES)
        found = json.loads(raw)
        if "payload" not in found:
            return Envelope.parse(Envelope.sign(found).to_bytes(), str(file))
    except (OSError, ValueError, TypeError, RecursionError):
        raise EvidenceRefused("cannot be read as an entry", str(file), "name a file that domainlm wrote") from None
    return Envelope.parse(raw.removesuffix(b"\n"), str(file))


def _asked(what: str, confirm: bool = False) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=True, confirmation_prompt=confirm))
    return sys.stdin.readline().rstrip("\n")
