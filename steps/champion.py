"""The champion that a run would replace, out of the project's ledger: its model, and its commit."""

from __future__ import annotations

from domainlm.audit.decisions.champion import UNKNOWN, champion_commit, promoted_model
from domainlm.audit.decisions.promotion import Registries
from domainlm.audit.evidence import Evidence
from domainlm.errors import DomainLMError
from domainlm.ledger.client import evidence_entries, new_gate, open_ledger
from domainlm.ledger.run.entering import has_ledger
from domainlm.ledger.run.manifest import ModelRecord


def commit_of_champion(name: str) -> str | None:
    """As `domainlm.audit.decisions.champion`; unknown where the ledger cannot be read, None where there is none.

    Args:
        name: the registered model; empty for a run that registers none.
    """
    if not name or not has_ledger():
        return None
    try:
        ledger = open_ledger()
        return champion_commit(ledger.raw, new_gate, name)
    except DomainLMError:
        return UNKNOWN


def champion_of_ledger(name: str, registries: Registries) -> tuple[ModelRecord | None, bool] | None:
    """As `domainlm.audit.decisions.champion.promoted_model`; None where the project has no ledger.

    Raises:
        EvidenceRefused: an entry does not pass the gate, or a registry shows another champion than the ledger promoted.
    """
    if not has_ledger():
        return None
    evidence = Evidence(evidence_entries(), new_gate())
    return promoted_model(evidence, registries.champions(), registries.names, name)
