"""An existing base model, from a local path or a hub, in place of the embedded one."""

from __future__ import annotations

from typing import Annotated

from zenml import log_metadata

from domainlm.artifacts import BaseCheckpoint
from domainlm.models.bases import resolve_base as refer_to
from domainlm.names import PRETRAIN
from steps.stage import stage_step
from steps.workspace import workspace


@stage_step(PRETRAIN, cached=False)
def resolve_base(name: str, licence: str) -> Annotated[BaseCheckpoint, "base"]:
    """Refer to a base model by path or hub id; its files are digested, not copied.

    Args:
        name: path or hub id.
        licence: what the catalogue says of it; it counts where the base's own files say nothing.

    Raises:
        ModelError: it is neither a folder nor a hub id that can be reached.
    """
    with workspace() as place:
        base = refer_to(name, place.folder, licence)
    log_metadata({"name": name, "digest": base.card["digest"], "licence": base.card["licence"]})
    return base
