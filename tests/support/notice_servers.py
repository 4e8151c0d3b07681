"""Servers that take notices, on loopback: an HTTP endpoint and a mail server, with TLS by certificates of ours."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key: two PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    public, private = folder / f"{name}.pem", folder / f"{name}.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    return public, private


def server_context(files: tuple[Path, Path]) -> ssl.SSLContext:
    """For a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


@dataclass
class Endpoint:
    """An HTTP endpoint.

    Args:
        answers: status of each request in turn; the last one holds for all that follow.
        got: path, headers (lower case) and body of each request.
    """

    port: int = 0
    answers: list[int] = field(default_factory=lambda: [204])
    location: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def endpoint(files: tuple[Path, Path] | None = None) -> Iterator[Endpoint]:
    """Serve until the end of the block; over TLS where there is a certificate."""
    made = Endpoint()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(made.answers.pop(0) if len(made.answers) > 1 else made.answers[0])
            if made.location:
                self.send_header("Location", made.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if files is not None:
        server.socket = server_context(files).wrap_socket(server.socket, server_side=True)
    with _served(server):
        made.port = server.server_address[1]
        yield made


@dataclass
class MailServer:
    """A mail server.

    Args:
        refused: recipients that it does not take.
        offers_tls: whether it offers STARTTLS.
        got: sender, recipients and text of each mail; whether it came encrypted; who signed in.
    """

    port: int = 0
    refused: tuple[str, ...] = ()
    offers_tls: bool = True
    password: str = ""
    got: list[tuple[str, list[str], str, bool, str]] = field(default_factory=list)


@contextmanager
def mail_server(files: tuple[Path, Path], from_the_start: bool = False) -> Iterator[MailServer]:
    """Serve until the end of the block; TLS by STARTTLS, or from the start."""
    made = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if from_the_start:
                self._encrypt()
            encrypted, user, sender, recipients = from_the_start, "", "", []
            self._say("220 test")
            while line := self.rfile.readline().decode().strip():
                word = line.split(" ")[0].upper()
                if word in ("EHLO", "HELO"):
                    starttls = ["STARTTLS"] if made.offers_tls and not encrypted else []
                    offered = ["test", *starttls, "AUTH PLAIN"]
                    for name in offered[:-1]:
                        self._say(f"250-{name}")
                    self._say(f"250 {offered[-1]}")
                elif word == "STARTTLS":
                    self._say("220 go ahead")
                    self._encrypt()
                    encrypted = True
                elif word == "AUTH":
                    import base64

                    _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                    self._say("235 welcome" if password == made.password else "535 no such user")
                elif word == "MAIL":
                    sender, recipients = line.split("<")[1].split(">")[0], []
                    self._say("250 ok")
                elif word == "RCPT":
                    recipient = line.split("<")[1].split(">")[0]
                    if recipient in made.refused:
                        self._say("550 nobody here")
                    else:
                        recipients.append(recipient)
                        self._say("250 ok")
                elif word == "DATA":
                    self._say("354 go on")
                    lines = []
                    while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        lines.append(text)
                    made.got.append((sender, recipients, "\n".join(lines), encrypted, user))
                    self._say("250 taken")
                elif word == "QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 ok")

        def _encrypt(self) -> None:
            self.connection = server_context(files).wrap_socket(self.request, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address = True, True

        def handle_error(self, request: object, address: object) -> None:
            pass  # a client that does not trust the certificate hangs up

    server = Server(("127.0.0.1", 0), Handler)
    with _served(server):
        made.port = server.server_address[1]
        yield made


@contextmanager
def silent_server() -> Iterator[int]:
    """A port where somebody takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
