"""The main pipeline: an institution's text in, a compared and registered model out.

Run it: `domainlm run`, or `zenml pipeline run pipelines.finetuning.finetuning_pipeline -c zenml_config.yaml`.
"""

from __future__ import annotations

from zenml import pipeline

from domainlm.config import EMBEDDED
from domainlm.ledger.run.entering import require_ledger
from pipelines import hooks
from pipelines.dag import finetuning_dag
from pipelines.pretraining import base_dag
from steps.record import record


@pipeline(**hooks.around_a_run)
def finetuning_pipeline(
    base: str = EMBEDDED,
    pack: str = "domains/finance",
    controls: bool = True,
    mode: str = "",
    search: bool = False,
) -> None:
    """Fine-tune a base model on the sources of the run configuration.

    Args:
        base: `embedded` trains a small base on the corpus first; else a local path or a hub id.
        pack: the domain pack with tasks and contracts.
        controls: also train the shuffled-label and the from-scratch control.
        mode: `production` refuses the development key, and a run that could not be entered into the ledger; by default
            what DOMAINLM_MODE says.
        search: first search for values of the recipe, as `steps.search` says (docs/search.md).
    """
    require_ledger(mode)
    _, model = base_dag(base, pack, mode)
    tuned = finetuning_dag(model, pack, controls, mode, search)
    record(tuned.registration)
