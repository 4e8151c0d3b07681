"""What is said between a client and the signer: frames of 4 bytes of length (big-endian) and as much JSON, one answer a
request. A length beyond the limit is refused before anything is read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, ValidationError

from domainlm.errors import ArtifactError, ConfigurationError, DomainLMError, EvidenceRefused, PlaceTaken, SecretError
from domainlm.ledger.envelopes import MAX_ENTRY_BYTES
from domainlm.ledger.signer.service import Receipt
from domainlm.reports import Report

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 2 * MAX_ENTRY_BYTES  # an entry of the largest size, as JSON within JSON
MAX_ENTRIES = 1000  # of one request
_ERRORS: dict[str, type[DomainLMError]] = {
    kind.__name__: kind for kind in (ArtifactError, ConfigurationError, EvidenceRefused, PlaceTaken, SecretError)
}


class Act(Report):
    """A machine-made act, which the recorder puts its name and time to.

    Fields:
        kind, subjects, content: of the entry (`domainlm.ledger.entries.statement`).
        nonce: 16 hexadecimal digits by which whoever repeats it knows it again.
    """

    kind: str
    subjects: dict[str, str] = Field(min_length=1)
    content: dict[str, Any]
    nonce: str = Field(pattern=r"^[0-9a-f]{16}$")


class Request(Report):
    """What a client asks: `ping`, `record` some acts, or `add` some envelopes that people signed."""

    do: Literal["ping", "record", "add"]
    acts: list[Act] = Field(default_factory=list, max_length=MAX_ENTRIES)
    envelopes: list[str] = Field(default_factory=list, max_length=MAX_ENTRIES)


class Answer(Report):
    """What became of it: receipts in the order of the request, or an error by its class and parts.

    Fields:
        size: of the ledger, in the answer to `ping`.
    """

    receipts: list[Receipt] = Field(default_factory=list)
    size: int = 0
    error: str = ""
    what: str = ""
    where: str = ""
    remedy: str = ""
    code: str = ""

    @classmethod
    def of(cls, error: Exception) -> Answer:
        """The answer that carries an error; of one that is not ours only its class, for it might quote content."""
        if not isinstance(error, DomainLMError):
            return cls(error="ArtifactError", what=f"the signer failed: {type(error).__name__}", where="signer")
        name = type(error).__name__ if type(error).__name__ in _ERRORS else "ArtifactError"
        code = getattr(error, "code", "")
        return cls(error=name, what=error.what, where=error.where, remedy=error.remedy, code=code)

    def checked(self) -> Answer:
        """Itself.

        Raises:
            DomainLMError: the error that it carries.
        """
        if not self.error:
            return self
        if self.error == "EvidenceRefused":
            raise EvidenceRefused(self.what, self.where, self.remedy, self.code)
        raise _ERRORS.get(self.error, ArtifactError)(self.what, self.where, self.remedy)


def frame(message: Request | Answer) -> bytes:
    """A message as it is sent.

    Raises:
        EvidenceRefused: `too-large`.
    """
    raw = json.dumps(message.model_dump(mode="json", exclude_defaults=True), separators=(",", ":")).encode()
    check_length(len(raw))
    return LENGTH.pack(len(raw)) + raw


def check_length(size_bytes: int) -> int:
    """The length of a frame.

    Raises:
        EvidenceRefused: `too-large`.
    """
    if size_bytes > MAX_FRAME_BYTES:
        raise EvidenceRefused(
            f"has {size_bytes} bytes, at most {MAX_FRAME_BYTES} are allowed", "request to the signer",
            "send fewer entries at a time", "too-large",
        )  # fmt: skip
    return size_bytes


def read_request(raw: bytes) -> Request:
    """The request of a frame's JSON.

    Raises:
        EvidenceRefused: `malformed`.
    """
    try:
        return Request(**json.loads(raw))
    except (ValidationError, ValueError, TypeError, RecursionError):
        # `from None`: the parser's own message would quote the request
        raise EvidenceRefused("is no request", "request to the signer", "use one domainlm here and there") from None


def read_answer(read: Callable[[int], bytes]) -> Answer:
    """The answer that a signer sent.

    Args:
        read: gives exactly so many bytes, or fewer where the stream ends.

    Raises:
        ArtifactError: the stream ended, or holds no answer.
    """
    head = read(LENGTH.size)
    size = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
    raw = read(size) if 0 < size <= MAX_FRAME_BYTES else b""
    try:
        if raw and len(raw) == size:
            return Answer(**json.loads(raw))
    except (ValidationError, ValueError, TypeError, RecursionError):
        pass
    raise ArtifactError(
        "the signer ended without an answer; whether the entry was added is not known", "signer",
        "look with `domainlm audit verify`, then repeat",
    )  # fmt: skip
