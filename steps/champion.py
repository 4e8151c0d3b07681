"""The champion that a run would replace, out of the project's ledger: its model, and its commit."""

from __future__ import annotations

from domainlm.audit.decisions.champion import UNKNOWN, champion_commit, promoted_model
from domainlm.audit.decisions.promotion import Registries
from domainlm.audit.evidence import Evidence
from domainlm.errors import ConfigurationError, DomainLMError
from domainlm.ledger.client import evidence_entries, new_gate, open_ledger
from domainlm.ledger.run.entering import has_ledger
from domainlm.ledger.run.manifest import ModelRecord
from domainlm.register.champion import champions
from domainlm.retrain.book import open_book
from steps.registry import StackRegistries, tracking_uri


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


def present_champion(name: str = "") -> tuple[str, str]:
    """Registered name and identity of the champion, by the ledger or, where there is none, by MLflow's alias.

    Args:
        name: the registered model; where there is but one with a champion it may be left out.

    Returns:
        An empty identity where there is no champion.

    Raises:
        ConfigurationError: several models have a champion, and none is named.
        EvidenceRefused: a registry shows another champion than the ledger promoted.
    """
    shown = champions(tracking_uri())
    if not name and len(shown) > 1:
        known = ", ".join(sorted(shown))
        raise ConfigurationError(f"{len(shown)} models have a champion", "parameters.name", f"name one of: {known}")
    name = name or next(iter(shown), "")
    known = champion_of_ledger(name, StackRegistries())
    if known is None:
        return name, shown.get(name, ("", ""))[1]
    return name, known[0].identity if known[0] else ""


def promoted_in_book(lane: str) -> set[str]:
    """Identities that the batch book knows as promoted: whoever follows up where the ledger is notes it there."""
    return {result.identity for result in open_book().results(lane) if result.promoted_at}
