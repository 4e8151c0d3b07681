"""What a decision on retraining must know of ledger and configuration. Light: neither ZenML nor MLflow is imported.

The same two functions serve the watcher, which has a run configuration, and the step `decide`, which has what ZenML
compiled of one: both see the same digests, or the one would ask for what the other refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domainlm.audit.evidence import Evidence
from domainlm.config import EMBEDDED, RunConfiguration, settings_type
from domainlm.ledger import entries
from domainlm.ledger.client import evidence_entries, new_gate
from domainlm.ledger.run.entering import has_ledger
from domainlm.redact.policy import read_policy
from domainlm.retrain.deciding.signals import LedgerView
from domainlm.retrain.deciding.standing import OF_BASE, OF_POLICY, Standing, standing
from domainlm.validate import read_suite


def standing_of(configuration: RunConfiguration) -> Standing:
    """What a run with a configuration would stand on."""
    steps = configuration.content.get("steps") or {}
    parameters = {name: (steps.get(name) or {}).get("parameters") or {} for name in (*OF_BASE, *OF_POLICY)}
    return standing_on(configuration.pipeline.base, configuration.pipeline.pack, parameters)


def standing_on(base: str, pack: str, parameters: Mapping[str, Mapping[str, Any]]) -> Standing:
    """What a run would stand on.

    Args:
        base, pack: parameters of the pipeline.
        parameters: step -> what it was told; defaults are filled in here, and what is no setting is left out.
    """
    counted = (*(OF_BASE if base == EMBEDDED else ()), *OF_POLICY)
    filled = {name: settings_in(name, parameters.get(name, {})).model_dump(mode="json") for name in counted}
    rules = {"redaction": read_policy(pack), "contract": read_suite(f"{pack}/contracts/records.json")}
    return standing(base, filled, rules)


def settings_in(step: str, parameters: Mapping[str, Any]) -> Any:
    """The checked settings of a step among all that it was told."""
    model = settings_type(step)
    return model(**{name: value for name, value in parameters.items() if name in model.model_fields})


def ledger_view(lane: str, now: Standing) -> LedgerView:
    """The champion of a registered name, and every model that learnt from data erased since.

    Args:
        lane: the registered name.
        now: what a training would stand on.

    Raises:
        EvidenceRefused: an entry does not pass the gate: then nobody knows who is champion, and nothing is decided.
    """
    view = LedgerView(base_now=now.base, policy_now=now.policy)
    if not has_ledger():
        return view
    evidence = Evidence(evidence_entries(), new_gate())
    if (champion := evidence.champion(lane)) is not None:
        view.champion, view.version = champion.act.identity, champion.act.model
        view.promoted = champion.header.time
    for erasure in evidence.of_kind(entries.ERASURE):
        for identity in erasure.act.models:
            view.must_retrain.setdefault(identity, erasure.header.time)
    return view
