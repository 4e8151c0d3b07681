"""Machine-made statements that no signer could take yet: a run's evidence is not lost because the signer is down.

A statement is written to the spool before it is submitted and removed when it is receipted. What was entered although
nobody heard the answer is found again by its nonce, so that it does not stand in the ledger twice. Each file bears a
seal of the project's key ring (`domainlm.ledger.seals`): what somebody else put into the folder is named and waits.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from domainlm.digests import canonical_json
from domainlm.errors import DomainLMError, EvidenceRefused, SecretError
from domainlm.keys import KeyRing
from domainlm.ledger import entries
from domainlm.ledger.log import Ledger
from domainlm.ledger.seals import Keys, check, seal
from domainlm.ledger.settings import AuditSettings, spool_folder
from domainlm.ledger.signer import calls
from domainlm.ledger.signer.service import Receipt
from domainlm.ledger.trust.gate import RECORDER, now
from domainlm.ledger.trust.signing import write_new
from domainlm.reports import Report

SEAL = "spooled act"  # use of the key


@dataclass(frozen=True)
class Spooled:
    """A statement that waits.

    Args:
        path: its file.
        why: what stood against it, one sentence.
    """

    path: Path
    why: str


@dataclass(frozen=True)
class Flushed:
    """What became of the spool.

    Args:
        receipts: of what was entered, or had been already.
        waiting: what is left, each with its reason.
    """

    receipts: tuple[Receipt, ...]
    waiting: tuple[Spooled, ...]


def submit_or_spool(
    kind: str,
    subjects: Mapping[str, str],
    content: Mapping[str, Any] | Report,
    moment: datetime | None = None,
    load: Keys = KeyRing.load,
) -> Receipt | Spooled:
    """`calls.submit`, and where it cannot be now, a file that `flush_spool` enters later.

    Args:
        kind, subjects, content: as of `calls.submit`.
        moment: the present one by default; orders the files.
        load: gives the key ring that seals the file; where it cannot, the act waits for a person.

    Raises:
        OSError: not even the file can be written.
    """
    nonce = secrets.token_hex(8)
    fields = content.model_dump(mode="json") if isinstance(content, Report) else dict(content)
    after = _size()
    waiting = {"kind": kind, "subjects": dict(subjects), "content": fields, "nonce": nonce, "after": after}
    waiting["seal"] = seal(load, SEAL, canonical_json(waiting).decode())
    path = spool_folder() / f"{entries.spell_time(moment or now()).replace(':', '')}-{nonce}.json"
    write_new(path, json.dumps(waiting, ensure_ascii=False).encode())
    try:
        receipt = calls.submit(kind, subjects, fields, nonce)
    except DomainLMError as error:
        return Spooled(path, error.what)
    path.unlink(missing_ok=True)
    return receipt


def flush_spool(timeout_s: float = calls.TIMEOUT_S, load: Keys = KeyRing.load) -> Flushed:
    """Enter what waits, the oldest first; stops at the first that no signer answers to."""
    receipts: list[Receipt] = []
    waiting: list[Spooled] = []
    paths = sorted(spool_folder().glob("*.json")) if spool_folder().is_dir() else []
    for place, path in enumerate(paths):
        try:
            receipts.append(_flush(path, timeout_s, load))
        except FileNotFoundError:
            continue  # another process was faster
        except (EvidenceRefused, SecretError) as error:
            waiting.append(Spooled(path, error.what))
        except (DomainLMError, OSError, ValueError, KeyError, TypeError) as error:
            why = error.what if isinstance(error, DomainLMError) else f"cannot be read: {type(error).__name__}"
            if isinstance(error, DomainLMError):
                waiting += [Spooled(rest, why) for rest in paths[place:]]
                break
            waiting.append(Spooled(path, why))
    return Flushed(tuple(receipts), tuple(waiting))


def _flush(path: Path, timeout_s: float, load: Keys) -> Receipt:
    found = json.loads(path.read_bytes())
    sealed = str(found.pop("seal", ""))
    check(load, sealed, SEAL, canonical_json(found).decode())
    ledger = _ledger()
    try:
        receipt = _entered(ledger, found["nonce"], int(found["after"]))
    finally:
        ledger.close()
    if receipt is None:
        receipt = calls.submit(found["kind"], found["subjects"], found["content"], found["nonce"], timeout_s)
    path.unlink(missing_ok=True)
    return receipt


def _entered(ledger: Ledger, nonce: str, after: int) -> Receipt | None:
    """The receipt of an entry that stands in the ledger although its answer was not heard."""
    for number, envelope in ledger.entries(after):
        header = entries.header(envelope, f"entry {number}")
        if header.nonce == nonce and header.by == RECORDER:
            return Receipt(number=number, entry=envelope.digest, checkpoint=ledger.latest_checkpoint())
    return None


def _ledger() -> Ledger:
    settings = AuditSettings.load()
    return Ledger(settings.ledger_url, settings.origin)


def _size() -> int:
    """Entries that are there already, among which a new one need not be looked for; 0 where nobody can say."""
    try:
        ledger = _ledger()
        try:
            return ledger.frontier.size
        finally:
            ledger.close()
    except (DomainLMError, OSError):
        return 0
