"""The embedded base: tokenizer and model from scratch on the domain pack's corpus (the paper's "from scratch" route).

Run it alone: `zenml pipeline run pipelines.pretraining.pretraining_pipeline -c configs/pretraining.yaml`. The
fine-tuning pipeline contains the same steps, so a base that either has built is found in the cache by the other.
"""

from __future__ import annotations

from typing import Any

from zenml import pipeline

from domainlm.config import EMBEDDED
from domainlm.ledger.run.entering import require_ledger
from domainlm.models.catalogue import stated_licence
from domainlm.redact.policy import read_policy
from domainlm.validate import read_suite
from pipelines import hooks
from steps.erased import mark_for_run
from steps.ingest import ingest
from steps.keys import load_keys
from steps.prepare import prepare
from steps.pretrain import pretrain
from steps.redact import redact
from steps.resolve_base import resolve_base
from steps.validate import validate


def pretraining_dag(pack: str, mode: str = "", after: Any = None) -> tuple[Any, Any]:
    """Corpus -> the same gates as any data -> a base model from scratch: the prepared corpus and the base."""
    sources = ingest(id="base_ingest", after=after)
    keys = load_keys(mode or None)
    redacted, _ = redact(
        sources, policy=read_policy(pack), key_id=keys.lineage, erased=mark_for_run(keys), id="base_redact"
    )
    prepared, _ = prepare(redacted, id="base_prepare")
    verdict = validate(prepared, suite=read_suite(f"{pack}/contracts/corpus.json"), id="base_validate")
    base, _ = pretrain(prepared, verdict)
    return prepared, base


def base_dag(base: str, pack: str, mode: str = "", after: Any = None) -> tuple[Any, Any]:
    """The corpus and the embedded base made of it; or no corpus, and an existing base with the licence that the
    catalogue knows. `after` is an artifact whose step comes first."""
    if base == EMBEDDED:
        return pretraining_dag(pack, mode, after)
    return None, resolve_base(name=base, licence=stated_licence(base, pack), after=after)


@pipeline(**hooks.around_a_run)
def pretraining_pipeline(pack: str = "domains/finance", mode: str = "") -> None:
    """Train the embedded base.

    Args:
        pack: the domain pack whose contract the corpus must keep.
        mode: as in fine-tuning.
    """
    require_ledger(mode)
    pretraining_dag(pack, mode)
