"""The first policy of a ledger: made here and now for development, or from a root that lies elsewhere for production.

Development: root, recorder and log keys are made on this machine, unsealed, and the policy says `production: false`, so
that every verdict bears "development-key". Production: the root's public keys come from outside, the service keys are
made here, and the policy's statement goes out to be signed (`domainlm audit sign`).
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, SSlibKey

from domainlm.errors import EvidenceRefused, SecretError
from domainlm.keys import MODE_VARIABLE, PRODUCTION
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.settings import AuditSettings, keys_folder, require_root, root_file, root_keyids
from domainlm.ledger.signer.server import LOG_KEY, RECORDER_KEY, local_service
from domainlm.ledger.trust.gate import LOG, RECORDER, ROOT, Gate, Member, Policy
from domainlm.ledger.trust.signing import keys_of_pem, load_key, new_key, public_pem, write_new

ROOT_KEY = "development-root.pem"  # private, beside the services' keys: what makes it fit for development alone
MADE, STANDS, WAITS, PRODUCTION_WANTED = "made", "stands", "waits", "production wanted"


def bootstrap() -> str:
    """Give the project a ledger with a policy for development, once; whatever is there already stays as it is.

    Returns:
        `made`; `stands` where there is a policy already; `waits` where a root was pinned and its first policy has not
        been entered yet; `production wanted` where `DOMAINLM_MODE` is production, for which no root is made here.

    Raises:
        SecretError: there is a ledger and its pinned root is missing, or keys cannot be read or written.
        EvidenceRefused, ArtifactError: the ledger cannot be opened or written.
    """
    settings = AuditSettings.load()
    ledger = Ledger(settings.ledger_url, settings.origin)
    try:
        begun = ledger.frontier.size > 0
    finally:
        ledger.close()
    if begun:
        root_keyids()
        return STANDS
    private = keys_folder() / ROOT_KEY
    if root_file().exists() and not private.exists():
        return WAITS
    if os.environ.get(MODE_VARIABLE) == PRODUCTION:
        return PRODUCTION_WANTED
    root = _key(private)
    pin([root.public_key])
    services = make_service_keys()
    policy = first_policy(settings.origin, {"root": root.public_key}, services)
    service = local_service()
    try:
        service.add([Envelope.sign(policy_statement(policy, "root"), root)])
    except EvidenceRefused:
        if not service.ledger.frontier.size:
            raise
        return STANDS  # another set-up was first
    finally:
        service.ledger.close()
    return MADE


def make_service_keys() -> dict[str, SSlibKey]:
    """The public keys of recorder and log on this machine, made where there are none.

    Raises:
        SecretError: a key is there and cannot be read: where it is sealed, give its public part to the policy by hand.
    """
    folder = keys_folder()
    return {RECORDER: _key(folder / RECORDER_KEY).public_key, LOG: _key(folder / LOG_KEY).public_key}


def pin(roots: list[SSlibKey]) -> Path:
    """Write the public keys of the root to the pinned root's file.

    Raises:
        SecretError: other keys are pinned already, or named by `configs/audit.yaml`.
    """
    path = root_file()
    require_root({key.keyid for key in roots}, path)
    try:
        write_new(path, "".join(public_pem(key) for key in roots).encode())
    except FileExistsError:
        if root_keyids() != {key.keyid for key in roots}:
            raise SecretError(
                "pins another root already", str(path), "a ledger's pinned root never changes; rotate it by a policy"
            ) from None
    return path


def first_policy(origin: str, roots: dict[str, SSlibKey], services: dict[str, SSlibKey]) -> Policy:
    """A first policy that names root and services and nobody else.

    Args:
        origin: of the ledger.
        roots: member -> root key.
        services: member -> key; the member's name is its role.
    """
    keys = roots | services
    return Policy(
        version=1,
        ledger=origin,
        keys={key.keyid: key.to_dict() for key in keys.values()},
        members={name: Member(keys=[key.keyid], roles=[ROOT]) for name, key in roots.items()}
        | {name: Member(keys=[key.keyid], roles=[name]) for name, key in services.items()},  # type: ignore[list-item]
        root_threshold=len(roots),
    )


def policy_statement(policy: Policy, by: str, time: datetime | None = None) -> dict[str, Any]:
    """The statement that root members sign.

    Args:
        policy: what it will be.
        by: one of the root members who sign.
        time: now by default.
    """
    content = policy.model_dump(mode="json")
    return entries.statement(
        entries.POLICY, policy.ledger, by, {f"policy/{policy.version}": policy.digest}, content, time
    )


def policy_in_force(ledger: Ledger, gate: Gate) -> tuple[Policy, str]:
    """The policy after all entries, and its digest.

    Args:
        ledger: whose entries are judged.
        gate: a fresh one.

    Raises:
        EvidenceRefused: the ledger is empty, or an entry does not pass.
    """
    for number, envelope in ledger.entries():
        gate.admit(number, envelope)
    if not gate.state.policies:
        raise EvidenceRefused("the ledger is empty", ledger.place, "run `domainlm audit init`", "untrusted-root")
    _, digest, policy = gate.state.policies[-1]
    return policy, digest


def read_roots(paths: list[Path]) -> list[SSlibKey]:
    """The public keys of PEM files.

    Raises:
        SecretError: one is missing or holds no ed25519 public key.
    """
    found = []
    for path in paths:
        try:
            found += keys_of_pem(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError):
            raise SecretError("the public key is missing", str(path), "name a PEM file") from None
    return found


def _key(path: Path) -> CryptoSigner:
    """The key of a file, made where there is none; two set-ups at the same time make one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return new_key(path)
    except SecretError:
        if not path.exists():
            raise
        return load_key(path)
