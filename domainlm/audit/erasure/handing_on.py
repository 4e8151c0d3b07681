"""The erasure register on its way to pods, which have none: sealed into the artifact store by the submission, and found
there by the mark that the run was compiled with.

    evidence-outbox/erasures/MARK.sealed      the ids, encrypted under the project's key
    evidence-outbox/erasures/current.json     the mark that counts now, under its seal

A schedule is compiled once and starts pods for months. Each erasure moves the mark that counts, so that a pod of a run
that was compiled before it refuses to bring the erased data back. Whoever can write into the store and kept both files
of before an erasure can undo that, until the next submission.
"""

from __future__ import annotations

import json

from domainlm.audit.erasure.suppression import ErasureRegister
from domainlm.errors import ConfigurationError, DomainLMError, EvidenceRefused
from domainlm.keys import KeyRing
from domainlm.ledger.run.outbox import FOLDER, MOST_BYTES, Files
from domainlm.ledger.seals import check

CURRENT = f"{FOLDER}/erasures/current.json"
USE = "erasures on a cluster"  # use of the key
_EMPTY = "none"  # how the mark of an empty register is called in a file's name


def hand_on(register: ErasureRegister, files: Files) -> None:
    """Seal a register into a store, and say that it is the one that counts.

    Raises:
        ConfigurationError: the store does not take it.
    """
    keys = register.keys
    mark, subjects = register.mark(), sorted(register.subjects())
    try:
        files.write(_place(mark), keys.seal(USE, json.dumps(subjects).encode(), mark.encode()))
        files.write(CURRENT, json.dumps({"mark": mark, "seal": keys.keyed_id(USE, mark)}).encode())
    except DomainLMError:
        raise
    except Exception as error:  # whatever a store's client raises
        raise ConfigurationError(
            f"the artifact store does not take the erasure register ({type(error).__name__})", "redact",
            "see to the store and its credentials: without the register no pod may redact",
        ) from None  # fmt: skip


def handed_on(keys: KeyRing, mark: str, files: Files) -> frozenset[str]:
    """The ids of the register that a run was compiled for, out of a store.

    Args:
        keys: the key at hand.
        mark: what the register's `mark` was when the run was compiled.

    Raises:
        ConfigurationError: the register is not there, or a person was erased since.
        EvidenceRefused, SecretError: what is there was not written by this project, or not sealed by this key.
    """
    try:
        said, rows = files.read(CURRENT, MOST_BYTES), files.read(_place(mark), MOST_BYTES)
    except FileNotFoundError:
        raise ConfigurationError(
            "the erasure register of this run is not in the artifact store", "redact", "submit the run again"
        ) from None
    try:
        current = json.loads(said)
        counts, sealed = str(current["mark"]), str(current["seal"])
        check(lambda: keys, sealed, USE, counts)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EvidenceRefused(
            "is not what a submission writes about the erasure register", CURRENT, "look who wrote it"
        ) from None
    if counts != mark:
        raise ConfigurationError(
            "the erasure register is not the one that the run was compiled for: a person was erased since", "redact",
            "submit the run or its schedule again",
        )  # fmt: skip
    return frozenset(json.loads(keys.unseal(USE, rows, mark.encode())))


def _place(mark: str) -> str:
    return f"{FOLDER}/erasures/{mark or _EMPTY}.sealed"
