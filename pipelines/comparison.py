"""Several ways of training on the same data, each with several seeds, and one page that compares them.

Run it: `domainlm compare configs/comparison/methods.yaml`.
"""

from __future__ import annotations

from typing import Any

from zenml import pipeline

from domainlm.compare.settings import Experiment
from domainlm.config import EMBEDDED
from domainlm.ledger.run.entering import require_ledger
from domainlm.licences import read_licences
from domainlm.project import resolve
from domainlm.tasks import load_tasks
from pipelines import hooks
from pipelines.dag import data_dag
from pipelines.pretraining import base_dag
from steps.compare import compare, retention
from steps.evaluate import evaluate
from steps.record import record
from steps.train import train
from steps.vocabulary import vocabulary


@pipeline(**hooks.around_a_run)
def comparison_pipeline(
    experiment: dict[str, Any],
    recipes: dict[str, dict[str, Any]],
    base: str = EMBEDDED,
    pack: str = "domains/finance",
    mode: str = "",
) -> None:
    """Train and evaluate every variant with every seed, and compare.

    Args:
        experiment: an `Experiment`.
        recipes: {variant: {train: ..., vocabulary: ..., evaluate: ...}}, the whole parameters of its steps.
        base, pack, mode: as in fine-tuning.
    """
    require_ledger(mode)
    asked = Experiment(**experiment)
    definitions, licences = list(load_tasks(resolve(pack) / "tasks").values()), read_licences(pack)
    corpus, model = base_dag(base, pack, mode)
    _, records, verdict = data_dag(model, pack, mode)
    tokenizers: dict[str, Any] = {}
    trainings, evaluations, kept = [], [], []
    for variant in asked.variants:
        recipe = recipes[variant.name]
        key = repr(sorted(recipe["vocabulary"].items()))
        if key not in tokenizers:
            tokenizers[key], _ = vocabulary(
                records, verdict, model, id=f"vocabulary_{variant.name}", **recipe["vocabulary"]
            )
        for seed in asked.seeds:
            place = f"{variant.name}_{seed}"
            adapter, trained = train(
                records, verdict, tokenizers[key], model, definitions=definitions, licences=licences,
                id=f"train_{place}", **(recipe["train"] | {"seed": seed}),
            )  # fmt: skip
            scored = evaluate(
                records, model, tokenizers[key], adapter, definitions=definitions, shuffled_labels=None,
                from_scratch=None, id=f"evaluate_{place}",
                **(recipe["evaluate"] | {"systems": ["tuned"] if evaluations else ["majority", "base", "tuned"]}),
            )  # fmt: skip
            trainings.append(trained)
            evaluations.append(scored)
            if corpus is not None and asked.retention:
                kept.append(
                    retention(
                        corpus, model, tokenizers[key], adapter, characters=asked.retention_characters,
                        id=f"retention_{place}",
                    )
                )  # fmt: skip
    found = compare(records, trainings, evaluations, kept, experiment=experiment)
    record(None, after=found)
