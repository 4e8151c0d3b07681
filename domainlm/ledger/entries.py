"""What stands in the ledger: kinds of entries, their common header, and the statement around each.

An entry is an in-toto statement: its subjects are what it speaks of (by SHA-256), its predicate what it says. Every
predicate has the header `domainlm_entry`; a run's predicate is SLSA Provenance v1 (slsa.dev/spec/v1.0/provenance) with
that header as its extension field, so that other tools can read it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from domainlm.errors import EvidenceRefused
from domainlm.ledger.envelopes import STATEMENT_TYPE, Envelope
from domainlm.reports import Report

ENTRY = "domainlm_entry"
FOLLOWS = "follows"  # field of an act that counts only directly after so many entries: what it was decided upon
VERSION = 1

POLICY = "policy"  # who may do what, with which keys (`domainlm.ledger.trust.gate`)
RUN = "run"  # the manifest of a pipeline run, however it ended
APPROVAL = "approval"  # a person approves, rejects or revokes exactly one model digest
CONDITION_MET = "condition-met"  # a person states that a condition of an approval is fulfilled
STANDING = "standing-approval"  # a bounded, expiring approval for automatic promotion
PROMOTION = "promotion"  # a version became the champion
ERASURE = "erasure"  # a subject's data were deleted; names it by a salted commitment only
HOLD = "legal-hold"  # a named person forbids an erasure, with a reason
HOLD_RELEASE = "legal-hold-release"
RETENTION = "retention"  # data deleted because their time is over; the evidence stays
BACKUP = "backup"
RESTORE = "restore"
READ = "read"  # somebody looked at evidence on the officer's page
ANCHOR = "anchor"  # a checkpoint was published at a place outside
KINDS = (
    POLICY, RUN, APPROVAL, CONDITION_MET, STANDING, PROMOTION, ERASURE, HOLD, HOLD_RELEASE, RETENTION, BACKUP, RESTORE,
    READ, ANCHOR,
)  # fmt: skip
PREDICATE_TYPES = {kind: f"urn:domainlm:{kind}:v1" for kind in KINDS} | {RUN: "https://slsa.dev/provenance/v1"}

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Header(Report):
    """What every entry says of itself.

    Fields:
        version: of the entry's format.
        kind: one of `KINDS`.
        ledger: the origin of the ledger that the entry was made for; in another ledger it is refused.
        time: when it was made, UTC, ISO 8601 with milliseconds.
        by: the person or service that made it, as the policy names them.
        nonce: 16 hexadecimal digits, so that two equal acts are two entries.
    """

    version: int
    kind: str
    ledger: str
    time: str
    by: str
    nonce: str = Field(pattern=r"^[0-9a-f]{16}$")


def statement(
    kind: str,
    ledger: str,
    by: str,
    subjects: Mapping[str, str],
    content: Mapping[str, Any],
    time: datetime | None = None,
    nonce: str = "",
) -> dict[str, Any]:
    """An unsigned entry.

    Args:
        kind: one of `KINDS`.
        ledger: origin of the ledger that it is for.
        by: who makes it, as the policy names them.
        subjects: name -> SHA-256 (64 hexadecimal digits) of what it speaks of; at least one.
        content: the predicate's own fields, JSON types only.
        time: now by default.
        nonce: 16 hexadecimal digits; random by default. Whoever may have to repeat the act gives it, to know it again.
    """
    header = Header(
        version=VERSION,
        kind=kind,
        ledger=ledger,
        time=spell_time(time or datetime.now(UTC)),
        by=by,
        nonce=nonce or secrets.token_hex(8),
    )
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())],
        "predicateType": PREDICATE_TYPES[kind],
        "predicate": {**content, ENTRY: header.model_dump()},
    }


def header(envelope: Envelope, where: str) -> Header:
    """The header of an entry, checked against the statement around it.

    Raises:
        EvidenceRefused: `malformed`, `unknown-version`, `unknown-kind`.
    """
    found = envelope.statement
    try:
        raw = found["predicate"][ENTRY]
        version, kind = raw["version"], raw["kind"]
        if type(version) is int and version == VERSION and kind in KINDS:  # True and 1.0 equal 1
            entry = Header(**raw)
            parse_time(entry.time)
            fits = (
                set(found) == {"_type", "subject", "predicateType", "predicate"}
                and found["_type"] == STATEMENT_TYPE
                and found["predicateType"] == PREDICATE_TYPES[kind]
                and _names_digests(found["subject"])
            )
            if fits:
                return entry
    except (KeyError, TypeError, ValueError, ValidationError):
        raise EvidenceRefused("is not an entry of this format", where, "restore it from a copy", "malformed") from None
    if version != VERSION:
        raise EvidenceRefused(
            f"has version {version!r:.20}, known: {VERSION}", where, "use a newer domainlm", "unknown-version"
        )
    if kind not in KINDS:
        raise EvidenceRefused(f"has the unknown kind {kind!r:.40}", where, "use a newer domainlm", "unknown-kind")
    raise EvidenceRefused("is not an entry of this format", where, "restore it from a copy", "malformed")


def subjects(envelope: Envelope) -> dict[str, str]:
    """Name -> SHA-256 of what an entry speaks of.

    Raises:
        KeyError, TypeError, ValueError: it is no statement.
    """
    return {str(item["name"]): str(item["digest"]["sha256"]) for item in envelope.statement["subject"]}


def _names_digests(subject: Any) -> bool:
    """Whether subjects are as `statement` writes them: at least one, each name once, each with a SHA-256 alone."""
    names = [item["name"] for item in subject if set(item) == {"name", "digest"} and set(item["digest"]) == {"sha256"}]
    return 0 < len(subject) == len(set(names)) and all(
        type(item["name"]) is str and _SHA256.fullmatch(item["digest"]["sha256"]) for item in subject
    )


def content(envelope: Envelope) -> dict[str, Any]:
    """The predicate's own fields, without the header."""
    return {name: value for name, value in envelope.statement["predicate"].items() if name != ENTRY}


def spell_time(moment: datetime) -> str:
    """A moment as a header states it: UTC, ISO 8601, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The moment of a header.

    Raises:
        ValueError: it is not UTC in the one spelling.
    """
    moment = datetime.fromisoformat(text)
    if not text.endswith("Z") or spell_time(moment) != text:
        raise ValueError("not a UTC time with milliseconds")
    return moment
