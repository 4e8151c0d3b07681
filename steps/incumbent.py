"""The champion as artifacts: what a new model is held against, and may go on from."""

from __future__ import annotations

import os
from typing import Annotated

from zenml import log_metadata

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.keys import MODE_VARIABLE, PRODUCTION
from domainlm.names import REGISTER
from domainlm.register.incumbent import IncumbentReport, of_ledger, of_registry
from domainlm.retrain.batches import LandedData
from steps.champion import champion_of_ledger, promoted_in_book
from steps.place import in_pod
from steps.registry import StackRegistries, tracking_uri
from steps.stage import stage_step
from steps.workspace import workspace

Parts = tuple[
    Annotated[AdapterFolder, "incumbent_adapter"],
    Annotated[TokenizerFolder, "incumbent_tokenizer"],
    Annotated[BaseCheckpoint, "incumbent_base"],
    Annotated[IncumbentReport, "incumbent_report"],
]
Start = tuple[Annotated[AdapterFolder, "start_adapter"], Annotated[TokenizerFolder, "start_tokenizer"]]


@stage_step(REGISTER, cached=False)
def incumbent(landed: LandedData, champion: str = "") -> Parts:
    """Fetch the champion of a registered name, as the ledger has it; what comes after is cached by its digests.

    Args:
        landed: names the registered model.
        champion: the identity that whoever submitted the run knows it by; a pod has no ledger to ask.

    Raises:
        EvidenceRefused, RegistrationError: ledger and registry disagree, or the registry holds something else.
    """
    with workspace() as place:
        known = champion_of_ledger(landed.lane, StackRegistries())
        if known is not None:
            found = of_ledger(tracking_uri(), *known, place.folder)
        else:
            stated = {champion, *promoted_in_book(landed.lane)} - {""}
            strict = in_pod() or os.environ.get(MODE_VARIABLE) == PRODUCTION
            found = of_registry(tracking_uri(), landed.lane, place.folder, stated, strict)
    log_metadata(found.report.summary())
    return found.adapter, found.tokenizer, found.base, found.report


@stage_step(REGISTER)
def start(
    landed: LandedData,
    found: IncumbentReport,
    adapter: AdapterFolder,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
) -> Start:
    """What the training goes on from: the champion's adapter and tokenizer, or neither where the plan starts at the
    base or the champion does not serve; the card then says why."""
    why = "the plan starts at the base" if landed.start == "base" else found.against_going_on(base)
    log_metadata({"start": "base" if why else found.label, "why": why or "the plan goes on from the champion"})
    if not why:
        return adapter, tokenizer
    with workspace() as place:
        return AdapterFolder.nothing(place.folder / "adapter", why), TokenizerFolder.nothing(place.folder / "tok", why)
