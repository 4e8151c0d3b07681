"""A promotion with the project's ledger, its signer, and the registries of the active stack."""

from __future__ import annotations

from collections.abc import Callable

from domainlm.audit.decisions.promotion import Promoted, promote
from domainlm.audit.evidence import Evidence
from domainlm.audit.proof.verification import Verification
from domainlm.ledger import entries
from domainlm.ledger.client import submit
from domainlm.ledger.settings import AuditSettings
from steps.examined import examined, present_ledger


def promote_in_stack(
    name: str,
    version: str,
    examine: Callable[[], tuple[Verification, Evidence]] = examined,
    dry_run: bool = False,
) -> Promoted:
    """Make a version the champion (`domainlm.audit.decisions.promotion.promote`, which says what it raises)."""
    from steps.registry import StackRegistries

    return promote(
        name, version, examine=examine, ledger=present_ledger(AuditSettings.load()), registries=StackRegistries(),
        dry_run=dry_run,
        append=lambda act: submit(entries.PROMOTION, {act.model: act.identity}, act.model_dump(mode="json")),
    )  # fmt: skip
