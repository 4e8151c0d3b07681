"""Whose rows `redact` leaves out: the erasure register, bound to a run by a mark in the cache key.

A run of this machine reads the register itself. A pod has none, so the submission seals the register's ids into the
artifact store, encrypted under the project's key, where the pod finds them by the mark that the run was compiled with:

    evidence-outbox/erasures/MARK.sealed      the ids
    evidence-outbox/erasures/current.json     the mark that counts now

A schedule is compiled once and starts pods for months. Each erasure moves the mark that counts, so that a pod of a run
that was compiled before it refuses to bring the erased data back.
"""

from __future__ import annotations

import json

from domainlm.audit.erasure.suppression import FILE, ErasureRegister
from domainlm.errors import ConfigurationError, DomainLMError
from domainlm.keys import KeyRing
from domainlm.ledger.run.outbox import FOLDER, MOST_BYTES, Files, in_pod
from domainlm.ledger.settings import evidence_folder

CURRENT = f"{FOLDER}/erasures/current.json"
USE = "erasures on a cluster"  # use of the key
_EMPTY = "none"  # how the mark of an empty register is called in a file's name


def erasure_register(keys: KeyRing) -> ErasureRegister:
    """The project's register."""
    return ErasureRegister(evidence_folder() / FILE, keys)


def mark_for_run(keys: KeyRing) -> str:
    """The register's mark for a run that is being compiled; where its steps will be pods, the register goes along.
    Called after an erasure, it tells the pods of runs that were compiled before.

    Raises:
        ConfigurationError: the artifact store does not take it.
    """
    mark = erasure_register(keys).mark()
    if (files := _of_pods()) is not None:
        hand_on(keys, files)
    return mark


def hand_on(keys: KeyRing, files: Files) -> None:
    """Seal the register into a store, and say that it is the one that counts.

    Raises:
        ConfigurationError: the store does not take it.
    """
    register = erasure_register(keys)
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


def erased_subjects(keys: KeyRing, mark: str) -> frozenset[str]:
    """The ids of the register that a run was compiled for.

    Args:
        keys: the key at hand.
        mark: what the register's `mark` was when the run was compiled.

    Raises:
        ConfigurationError: the register at hand is another: a person was erased since, or this machine lacks it.
        SecretError: what lies in the store was not sealed by this key.
    """
    if in_pod():
        from steps.outbox import StoreFiles

        return handed_on(keys, mark, StoreFiles())
    register = erasure_register(keys)
    if register.mark() != mark:
        raise ConfigurationError(
            "the erasure register is not the one that the run was compiled for", "redact", "start the run again"
        )
    return register.subjects()


def handed_on(keys: KeyRing, mark: str, files: Files) -> frozenset[str]:
    """As `erased_subjects`, out of a store."""
    try:
        current = json.loads(files.read(CURRENT, MOST_BYTES))
        counts, sealed = str(current["mark"]), str(current["seal"])
        rows = files.read(_place(mark), MOST_BYTES)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise ConfigurationError(
            "the erasure register of this run is not in the artifact store", "redact", "submit the run again"
        ) from None
    if keys.carried(USE, sealed) != keys.keyed_id(USE, counts) or counts != mark:
        raise ConfigurationError(
            "the erasure register is not the one that the run was compiled for: a person was erased since", "redact",
            "submit the run or its schedule again",
        )  # fmt: skip
    return frozenset(json.loads(keys.unseal(USE, rows, mark.encode())))


def _place(mark: str) -> str:
    return f"{FOLDER}/erasures/{mark or _EMPTY}.sealed"


def _of_pods() -> Files | None:
    """The active stack's store, where its steps are pods."""
    from zenml.client import Client
    from zenml.orchestrators import LocalOrchestrator

    from steps.outbox import StoreFiles

    stack = Client().active_stack
    return None if isinstance(stack.orchestrator, LocalOrchestrator) else StoreFiles(stack.artifact_store)
