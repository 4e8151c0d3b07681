"""A desk of the officer's page over a small ledger, and a server of it on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn
from securesystemslib.signer import CryptoSigner
from small_ledgers import ORIGIN, SmallLedger
from starlette.applications import Starlette
from starlette.testclient import TestClient

from domainlm.audit.decisions.approvals import decide
from domainlm.audit.page.app import create_app
from domainlm.audit.page.challenges import Challenge
from domainlm.audit.page.desk import Desk, PageSettings
from domainlm.audit.proof.verification import verify_entries
from domainlm.digests import digest_bytes
from domainlm.ledger import entries
from domainlm.ledger.acts import Read
from domainlm.ledger.trust.gate import Gate

URL = "http://127.0.0.1:8642"


def desk_of(small: SmallLedger, **changes: Any) -> Desk:
    """The desk that `domainlm audit serve` fills, over a small ledger with its own signer."""

    def record(looks: Sequence[tuple[str, Read]]) -> None:
        made = []
        for nonce, look in looks:
            subjects = {"page": look.subject or digest_bytes(look.page.encode())}
            statement = entries.statement(entries.READ, ORIGIN, "recorder", subjects, look.model_dump(mode="json"))
            statement["predicate"][entries.ENTRY]["nonce"] = nonce
            made.append(statement)
        small.service.record(*made)

    made = Desk(
        origin=ORIGIN,
        size=lambda: small.ledger.frontier.size,
        entries=small.ledger.entries,
        new_gate=lambda: Gate(ORIGIN, small.root_keyids),
        checkpoints=small.ledger.checkpoints,
        verify=lambda: verify_entries(
            small.ledger.raw(), small.ledger.checkpoints(), [], ORIGIN, small.root_keyids, processes=1
        ),
        submit=lambda envelope: small.service.add([envelope])[0],
        record=record,
        decide=decide,
    )
    return replace(made, **changes)


@dataclass
class Page:
    """The application with a client that behaves like a browser on `URL`."""

    app: Starlette
    client: TestClient
    small: SmallLedger

    def sign_in(self, who: str, key: CryptoSigner | None = None) -> Any:
        """Sign in by the way of the command line."""
        text = self.client.get("/sign-in").text
        challenge = Challenge.parse(text.split("KEY.pem ")[1].split("<")[0])
        token = challenge.answered(key or self.small.keys[who])
        return self.post("/sign-in", token=token, nonce=challenge.nonce)

    def post(self, path: str, *, origin: str = URL, files: Any = None, **fields: str) -> Any:
        """Send a form; with the session's token, unless another is given."""
        session = self.session()
        data = {"csrf": session.csrf if session else ""} | fields
        return self.client.post(path, data=data, files=files, headers={"origin": origin}, follow_redirects=False)

    def session(self) -> Any:
        sessions = list(self.app.state.office.sessions._sessions.values())
        return sessions[-1] if sessions else None


@contextmanager
def page_of(small: SmallLedger, settings: PageSettings | None = None, **changes: Any) -> Iterator[Page]:
    """The page, without a socket."""
    app = create_app(desk_of(small, **changes), settings or PageSettings(public_url=URL), small.folder / "page")
    with TestClient(app, base_url=URL, follow_redirects=False) as client:
        yield Page(app, client, small)


@contextmanager
def served(small: SmallLedger, **changes: Any) -> Iterator[str]:
    """The page on a free port of loopback; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    app = create_app(desk_of(small, **changes), PageSettings(public_url=url), small.folder / "page")
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        for _ in range(200):
            if server.started:
                break
            time.sleep(0.05)
        yield url
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def key_file(small: SmallLedger, who: str, folder: Path) -> Path:
    """The unsealed PKCS #8 file of somebody's key."""
    from cryptography.hazmat.primitives import serialization

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{who}.pem"
    path.write_bytes(
        small.keys[who]._private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    return path
