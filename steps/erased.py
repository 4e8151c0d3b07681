"""Whose rows `redact` leaves out: the erasure register, bound to a run by a mark in the cache key. A pod has no
register of its own; the submission hands it on through the artifact store (`domainlm.audit.erasure.handing_on`)."""

from __future__ import annotations

from domainlm.audit.erasure.handing_on import hand_on, handed_on
from domainlm.audit.erasure.suppression import FILE, ErasureRegister
from domainlm.errors import ConfigurationError
from domainlm.keys import KeyRing
from domainlm.ledger.settings import evidence_folder


def erasure_register(keys: KeyRing) -> ErasureRegister:
    """The project's register."""
    return ErasureRegister(evidence_folder() / FILE, keys)


def mark_for_run(keys: KeyRing) -> str:
    """The register's mark for a run that is being compiled; where its steps will be pods, the register goes along.
    Called after an erasure, it tells the pods of runs that were compiled before.

    Raises:
        ConfigurationError: the artifact store does not take the register.
    """
    from zenml.client import Client
    from zenml.orchestrators import LocalOrchestrator

    from steps.store_files import StoreFiles

    register, stack = erasure_register(keys), Client().active_stack
    if not isinstance(stack.orchestrator, LocalOrchestrator):
        hand_on(register, StoreFiles(stack.artifact_store))
    return register.mark()


def erased_subjects(keys: KeyRing, mark: str) -> frozenset[str]:
    """The ids of the register that a run was compiled for.

    Args:
        keys: the key at hand.
        mark: what the register's `mark` was when the run was compiled.

    Raises:
        ConfigurationError: the register at hand is another: a person was erased since, or this machine lacks it.
        EvidenceRefused, SecretError: what lies in the store was not sealed by this key.
    """
    from steps.place import in_pod

    if in_pod():
        from steps.store_files import StoreFiles

        return handed_on(keys, mark, StoreFiles())
    register = erasure_register(keys)
    if register.mark() != mark:
        raise ConfigurationError(
            "the erasure register is not the one that the run was compiled for",
            "redact",
            "start the run again; on another machine, mount .domainlm/evidence/erasures.sqlite",
        )
    return register.subjects()
