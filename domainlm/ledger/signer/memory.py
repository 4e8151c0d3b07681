"""What a signer remembers of the ledger, in a file beside its keys and not beside the ledger: how far it signed, the
tree up to there and the gate's state.

It has two uses. A store that was rolled back or rewritten is no continuation of it and gets no signature any more. And
a signer starts on a long log without judging every entry again. The file is signed by the log key; without it, or where
it is not its own, the signer judges the whole log from the first entry.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, Signer

from domainlm.digests import canonical_json, parse_canonical
from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.merkle import Frontier
from domainlm.ledger.trust.gate import GateState, Policy

_CONTEXT = b"domainlm signer memory v1\n"  # no checkpoint and no DSSE message begins like this
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Remembered:
    """What a signer knows of the ledger apart from the store.

    Args:
        tree: over the entries judged.
        gate: after them.
    """

    tree: Frontier = field(default_factory=Frontier)
    gate: GateState = field(default_factory=GateState)


class Memory:
    """The file of one signer. Several processes with the same keys may share it.

    Args:
        path: the file.
        log: the key that signs checkpoints, and this file.
        origin: the ledger's name.
        root_keyids: ids of the pinned root keys; what was judged under another root is not believed.
    """

    def __init__(self, path: Path, log: Signer, origin: str, root_keyids: frozenset[str]) -> None:
        self.path, self.log, self.origin, self.root_keyids = path, log, origin, root_keyids
        self._seen: tuple[int, int] | None = None

    def recall(self) -> Remembered | None:
        """What the file holds; None where it has not changed since the last look, is missing or is not its own."""
        try:
            seen = self._mark()
            found = self._read() if seen != self._seen else None
        except OSError:
            return None
        self._seen = seen
        return found

    def keep(self, remembered: Remembered) -> None:
        """Write what is known now, unless another process knows more already; on the disk when this returns.

        Raises:
            ArtifactError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                known = self._read() if self.path.exists() and self._mark() != self._seen else None
                if known is not None and known.tree.size > remembered.tree.size:
                    return
                self._write(self._spelled(remembered))
                self._seen = self._mark()
        except OSError as error:
            raise ArtifactError(
                f"the signer's memory cannot be written: {error.strerror}", str(self.path), "see to space and rights"
            ) from None

    def _mark(self) -> tuple[int, int]:
        """What changes with each version of the file, which is always a new one put in place of the old."""
        state = self.path.stat()
        return state.st_ino, state.st_mtime_ns

    def _read(self) -> Remembered | None:
        with open(self.path, "rb") as stream:
            raw = stream.read(MAX_BYTES)
        try:
            found = parse_canonical(raw)
            content = found["memory"]
            key = self.log.public_key
            key.verify_signature(Signature(key.keyid, found["signature"]), _CONTEXT + canonical_json(content))
            if (content["origin"], content["roots"]) != (self.origin, sorted(self.root_keyids)):
                return None
            return _remembered(content)
        except (UnverifiedSignatureError, EvidenceRefused, ValidationError, ValueError, KeyError, TypeError):
            return None

    def _spelled(self, remembered: Remembered) -> bytes:
        time = remembered.gate.last_time
        content = {
            "origin": self.origin,
            "roots": sorted(self.root_keyids),
            "size": remembered.tree.size,
            "tree": base64.b64encode(remembered.tree.to_bytes()).decode(),
            "last_time": entries.spell_time(time) if time else "",
            "policies": [
                {"number": number, "digest": digest, "policy": policy.model_dump(mode="json")}
                for number, digest, policy in remembered.gate.policies
            ],
        }
        return canonical_json(
            {"memory": content, "signature": self.log.sign(_CONTEXT + canonical_json(content)).signature}
        )

    def _write(self, content: bytes) -> None:
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600), "wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _remembered(content: dict[str, Any]) -> Remembered:
    tree = Frontier.of_bytes(content["size"], base64.b64decode(content["tree"], validate=True))
    policies = tuple((item["number"], item["digest"], Policy(**item["policy"])) for item in content["policies"])
    time = entries.parse_time(content["last_time"]) if content["last_time"] else None
    return Remembered(tree, GateState(policies, time))
