"""The commit of the champion that a run would replace, out of the project's ledger."""

from __future__ import annotations

from domainlm.audit.decisions.champion import UNKNOWN, champion_commit
from domainlm.errors import DomainLMError
from domainlm.ledger.client import new_gate, open_ledger
from domainlm.ledger.run.entering import has_ledger


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
