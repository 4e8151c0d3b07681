"""Asking the signer: the one whose socket `configs/audit.yaml` names, else a child process for the one request.

A child holds the keys instead of the process that asks; on one machine under one user that keeps them out of a
training's memory and its core dumps, and no more: see docs/trust.md for a signer that the training cannot reach into.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from domainlm.errors import ArtifactError, ConfigurationError
from domainlm.keys import MODE_VARIABLE, PRODUCTION
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.settings import AuditSettings
from domainlm.ledger.signer import protocol
from domainlm.ledger.signer.protocol import Act, Answer, Request
from domainlm.ledger.signer.service import Receipt
from domainlm.project import SOURCE_ROOT, resolve
from domainlm.reports import Report

TIMEOUT_S = 120.0  # the store lets a writer wait a minute for its turn


def submit(
    kind: str,
    subjects: Mapping[str, str],
    content: Mapping[str, Any] | Report,
    nonce: str = "",
    timeout_s: float = TIMEOUT_S,
) -> Receipt:
    """Add a machine-made entry; the signer puts the time and the recorder's signature to it.

    Args:
        kind: one of `domainlm.ledger.trust.gate.MACHINE_MADE`.
        subjects: name -> SHA-256 of what it speaks of.
        content: the predicate's own fields.
        nonce: by which a repeated act is known again; random by default.
        timeout_s: how long to wait for the answer.

    Raises:
        EvidenceRefused: it does not pass the gate.
        ArtifactError: the ledger cannot be written, or the signer does not answer.
        SecretError: there are no keys to sign with.
    """
    fields = content.model_dump(mode="json") if isinstance(content, Report) else dict(content)
    act = Act(kind=kind, subjects=dict(subjects), content=fields, nonce=nonce or secrets.token_hex(8))
    return ask(Request(do="record", acts=[act]), timeout_s).receipts[0]


def submit_signed(envelope: Envelope, timeout_s: float = TIMEOUT_S) -> Receipt:
    """Add an entry that a person signed. Raises as `submit`."""
    request = Request(do="add", envelopes=[envelope.to_bytes().decode("ascii")])
    return ask(request, timeout_s).receipts[0]


def ping(timeout_s: float = TIMEOUT_S) -> int:
    """The size of the ledger, once the signer is sure that it could take an entry now: store, keys and policy are in
    order, and the ledger continues what was signed before. Raises as `submit`."""
    return ask(Request(do="ping"), timeout_s).size


def ask(request: Request, timeout_s: float = TIMEOUT_S) -> Answer:
    """The signer's answer, which carries no error. Raises as `submit`.

    Raises:
        ConfigurationError: `DOMAINLM_MODE` is production and no signer is configured: a child would have to read the
            key with the rights of whoever asks, which may be a training.
    """
    path = AuditSettings.load().signer
    if not path and os.environ.get(MODE_VARIABLE) == PRODUCTION:
        raise ConfigurationError(
            "production wants a signer that runs by itself", "signer",
            "name its socket in configs/audit.yaml, and start it: `domainlm audit signer serve`",
        )  # fmt: skip
    return (_by_socket(str(resolve(path)), request, timeout_s) if path else _by_child(request, timeout_s)).checked()


def _by_socket(path: str, request: Request, timeout_s: float) -> Answer:
    raw = protocol.frame(request)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            try:
                connection.sendall(raw)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a signer that refuses says why before it reads to the end
            with connection.makefile("rb") as stream:
                return protocol.read_answer(stream.read)
    except TimeoutError:
        raise _silent(timeout_s, path) from None
    except OSError as error:
        raise ArtifactError(
            f"the signer cannot be reached: {error.strerror}", path, "start it: `domainlm audit signer serve`"
        ) from None


def _by_child(request: Request, timeout_s: float) -> Answer:
    command = [sys.executable, "-P", "-c", _CHILD, str(SOURCE_ROOT)]
    try:
        done = subprocess.run(
            command, input=protocol.frame(request), capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise _silent(timeout_s, "signer") from None
    if not done.stdout:  # only the class of what it died of: its words could quote an entry
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2].partition(":")[0]
        raise ArtifactError(
            f"the signer ended with code {done.returncode} ({said:.80}); whether the entry was added is not known",
            "signer", "look with `domainlm audit verify`, then repeat",
        )  # fmt: skip
    rest = memoryview(done.stdout)

    def read(count: int) -> bytes:
        nonlocal rest
        found, rest = rest[:count], rest[count:]
        return bytes(found)

    return protocol.read_answer(read)


# the very domainlm that asks; -P: nothing that lies in the current folder is imported
_CHILD = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from domainlm.ledger.signer.server import main; main(['--once'])"
)


def _silent(timeout_s: float, where: str) -> ArtifactError:
    return ArtifactError(
        f"the signer did not answer within {timeout_s:.0f} s; whether the entry was added is not known", where,
        "look with `domainlm audit verify`, then repeat",
    )  # fmt: skip
