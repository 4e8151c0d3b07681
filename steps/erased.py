"""Whose rows `redact` leaves out: the erasure register, bound to a run by a mark in the cache key."""

from __future__ import annotations

from domainlm.audit.erasure.suppression import FILE, ErasureRegister
from domainlm.errors import ConfigurationError
from domainlm.keys import KeyRing
from domainlm.ledger.settings import evidence_folder


def erasure_register(keys: KeyRing) -> ErasureRegister:
    """The project's register."""
    return ErasureRegister(evidence_folder() / FILE, keys)


def erased_subjects(keys: KeyRing, mark: str) -> frozenset[str]:
    """The ids of the register that a run was compiled for.

    Args:
        keys: the key at hand.
        mark: what the register's `mark` was when the run was compiled.

    Raises:
        ConfigurationError: the register at hand is another: a person was erased since, or this machine lacks it.
    """
    register = erasure_register(keys)
    if register.mark() != mark:
        raise ConfigurationError(
            "the erasure register is not the one that the run was compiled for",
            "redact",
            "start the run again; on another machine, mount .domainlm/evidence/erasures.sqlite",
        )
    return register.subjects()
