"""`domainlm audit`: serve (the officer's page), sign-in (answer its question with a personal key)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket

    from domainlm.audit.evidence import Evidence
    from domainlm.audit.page.desk import Desk
    from domainlm.audit.proof.verification import Verification
    from domainlm.ledger.acts import Read
    from domainlm.ledger.log import Ledger

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Anchor = Annotated[
    list[str] | None,
    typer.Option("--anchor", help="A published checkpoint: a file, a folder, a git repository, or an fsspec URL."),
]
Key = Annotated[Path, typer.Option("--key", help="Your private key, a PEM file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(serve)
    app.command("sign-in")(sign_in)


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen at.")] = 8642,
    public_url: Annotated[
        str, typer.Option("--public-url", help="As browsers reach it, such as https://audit.bank.example.")
    ] = "",
    idle_minutes: Annotated[int, typer.Option("--idle-minutes", min=1, max=480, help="A session ends then.")] = 15,
    verify_minutes: Annotated[int, typer.Option("--verify-minutes", min=1, help="Between two verifications.")] = 10,
    anchor: Anchor = None,
) -> None:
    """Serve the officer's page until it is stopped."""
    from cli.audit.report import places
    from cli.environment import enter_project, quiet_libraries

    outside = places(anchor)
    enter_project(ready=False)
    quiet_libraries()
    import uvicorn

    from domainlm.audit.page.app import create_app
    from domainlm.audit.page.desk import PageSettings
    from domainlm.errors import EvidenceRefused, PlaceTaken
    from domainlm.ledger.settings import evidence_folder
    from domainlm.locks import alone

    settings = PageSettings(
        public_url=_checked_url(host, port, public_url),
        idle_s=60 * idle_minutes,
        verify_every_s=60 * verify_minutes,
    )
    folder = evidence_folder() / "page"
    app = create_app(_desk(outside), settings, folder)
    try:
        app.state.office.book.refresh()  # the whole ledger, before anybody waits for it
    except EvidenceRefused as error:  # the page is served all the same: closed, with the cause
        typer.echo(f"The ledger cannot be believed, and the page shows no evidence. {error}", err=True)
    with alone(folder) as free:
        if not free:
            raise PlaceTaken("another page hands on the looks of this project", str(folder), "use or stop that one")
        listening = _listen(host, port)
        typer.echo(f"The officer's page is at {settings.public_url} (stop it with Ctrl+C)")
        # no access log: addresses hold what people search for, and looks stand in the ledger
        server = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
            limit_concurrency=200, h11_max_incomplete_event_size=64 << 10,
        )  # fmt: skip
        uvicorn.Server(server).run(sockets=[listening])


def sign_in(challenge: Annotated[str, typer.Argument(help="The question that the page shows.")], key: Key) -> None:
    """Answer the page's question with your key, and print what to paste."""
    from cli.audit.keys import opened
    from domainlm.audit.page.challenges import Challenge

    found = Challenge.parse(challenge)
    typer.echo(f"You sign in to {found.page} (ledger {found.ledger}), until {found.expires}.", err=True)
    typer.echo(found.answered(opened(key)))


def _checked_url(host: str, port: int, public_url: str) -> str:
    """Scheme, host and port as browsers state them.

    Raises:
        ConfigurationError: it is none, or sessions would travel a network in clear.
    """
    from urllib.parse import urlsplit

    from domainlm.errors import ConfigurationError

    if not public_url:
        public_url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    parts = urlsplit(public_url.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.username:
        raise ConfigurationError("is no address of a page", "--public-url", "such as https://audit.bank.example")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigurationError(
            "would send sessions in clear over a network", "--public-url",
            "put a TLS proxy before it and give its https address; see docs/officer.md",
        )  # fmt: skip
    usual = {"http": 80, "https": 443}[parts.scheme]
    netloc = parts.netloc.lower().removesuffix(f":{usual}")
    return f"{parts.scheme}://{netloc}"


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigurationError: the port is taken, or the address is none of this machine's.
    """
    import socket

    from domainlm.errors import ConfigurationError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen: {error.strerror or type(error).__name__}", f"{host} port {port}", "give another --port"
        ) from None


def _desk(anchors: Sequence[str] = ()) -> Desk:
    from cli.audit.report import at_hand
    from domainlm.audit.decisions.approvals import decide
    from domainlm.audit.page.desk import Desk
    from domainlm.ledger.client import new_gate, open_ledger, submit_signed
    from domainlm.ledger.settings import AuditSettings

    settings = AuditSettings.load()
    ledger = open_ledger(settings)
    return Desk(
        origin=settings.origin,
        size=lambda: ledger.frontier.size,
        entries=ledger.entries,
        new_gate=lambda: new_gate(settings),
        checkpoints=ledger.checkpoints,
        verify=lambda: at_hand(anchors)[0],  # as `domainlm audit verify` does it, without loading the artifacts
        submit=submit_signed,
        record=_record,
        decide=decide,
        reports={"html": partial(_report, ledger, "html"), "pdf": partial(_report, ledger, "pdf")},
    )


def _report(
    ledger: Ledger, ending: str, evidence: Evidence, identity: str, verification: Verification, language: str
) -> bytes:
    """As `domainlm audit report` makes it, with the latest checkpoint that the verification covers."""
    from cli.audit.report import PACK
    from domainlm.audit.decisions.approvals import decide
    from domainlm.audit.regulation import read_checklist
    from domainlm.audit.report import build, to_html, to_pdf
    from domainlm.ledger.checkpoints import Checkpoint

    notes = [note for note in ledger.checkpoints() if Checkpoint.parse(note, "a checkpoint").size <= verification.size]
    document = build(
        evidence, identity, verification, decide(evidence, identity), language,
        checkpoint=notes[-1] if notes else "", checklist=read_checklist(PACK),
    )  # fmt: skip
    page = to_html(document)
    return page.encode() if ending == "html" else to_pdf(page)


def _record(looks: Sequence[tuple[str, Read]]) -> None:
    """Enter looks in one request to the signer."""
    from domainlm.digests import digest_bytes
    from domainlm.ledger import entries
    from domainlm.ledger.signer.calls import ask
    from domainlm.ledger.signer.protocol import Act, Request

    ask(
        Request(
            do="record",
            acts=[
                Act(
                    kind=entries.READ,
                    subjects={"page": look.subject or digest_bytes(look.page.encode())},
                    content=look.model_dump(mode="json"),
                    nonce=nonce,
                )
                for nonce, look in looks
            ],
        ),
        timeout_s=120,
    )
