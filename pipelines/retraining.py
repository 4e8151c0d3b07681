"""Retraining when new data lands: looks, decides with reasons, and trains what is to be held against the champion.

    detect -> decide -> the fine-tuning DAG on accumulated data -> contest -> register -> settle -> record

Run it: `domainlm retrain --once`, or `zenml pipeline run pipelines.retraining.retraining_pipeline -c
configs/retrain.yaml`. Where the answer is "no" the run is stopped after `decide`, and its exit code is 0.
"""

from __future__ import annotations

from domainlm.config import EMBEDDED
from domainlm.ledger.run.entering import require_ledger
from pipelines import hooks
from pipelines.dag import finetuning_dag
from pipelines.ending import EndingWell
from pipelines.pretraining import base_dag
from steps.record import record
from steps.retrain import decide, detect, settle


def _retraining(
    base: str = EMBEDDED,
    pack: str = "domains/finance",
    controls: bool = True,
    mode: str = "",
    search: bool = False,
) -> None:
    """Look into the landing zone and, where there is reason enough, train again and register a candidate.

    Args:
        base, pack, controls, mode, search: as in fine-tuning.
    """
    require_ledger(mode)
    plan, landed = decide(detect())
    _, model = base_dag(base, pack, mode, after=landed)
    tuned = finetuning_dag(model, pack, controls, mode, search, landed)
    settled = settle(plan, tuned.registration, tuned.contest)
    record(tuned.registration, after=settled)


retraining_pipeline = EndingWell(name="retraining_pipeline", entrypoint=_retraining, **hooks.around_a_run)
