"""What an entry says, as a typed value. The signer adds none that nobody could read: such a one would stand in the log
for ever, and every verification would stumble over it."""

from __future__ import annotations

from typing import Any

from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import read_act
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.run.manifest import RunManifest
from domainlm.ledger.run.provenance import MANIFEST, subjects_of


def read_content(envelope: Envelope, kind: str, where: str) -> Any:
    """A model of `domainlm.ledger.acts`, or a `RunManifest` whose digest fits; a policy is read by the gate.

    Raises:
        EvidenceRefused: `malformed`: it lacks a field, has one too many, is no manifest, or its subjects are not what
            it is about.
    """
    if kind != entries.RUN:
        return read_act(envelope, kind, where)
    try:
        manifest = RunManifest(**entries.content(envelope)[MANIFEST])
        manifest.verify()
        if not {("manifest", manifest.digest)} <= entries.subjects(envelope).items() <= subjects_of(manifest).items():
            raise ValueError("other subjects")
    except (KeyError, TypeError, ValueError, ArtifactError):  # pydantic's ValidationError is a ValueError
        raise EvidenceRefused("holds no run manifest", where, "restore it from a copy", "malformed") from None
    return manifest
