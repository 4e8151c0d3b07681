"""The champion on labelled rows that landed since: whether its score decays, before anything is trained.

    detect -> choose -> incumbent -> ingest -> redact -> prepare -> probe -> record

Run it: `zenml pipeline run pipelines.probing.probing_pipeline -c configs/retrain.yaml`. Its scores stand in the batch
book, where the next decision looks for them. Where there is nothing to ask it ends like a "no", with exit code 0.
"""

from __future__ import annotations

from domainlm.config import EMBEDDED
from domainlm.ledger.run.entering import require_ledger
from domainlm.names import DECIDE
from domainlm.project import resolve
from domainlm.redact.policy import read_policy
from domainlm.tasks import load_tasks
from pipelines import hooks
from pipelines.ending import EndingWell
from steps.erased import mark_for_run
from steps.incumbent import incumbent
from steps.keys import load_keys
from steps.probe import choose, prepare_fresh, probe, read_fresh
from steps.record import record
from steps.redact import redact
from steps.retrain import detect


def _probing(
    base: str = EMBEDDED,
    pack: str = "domains/finance",
    controls: bool = True,
    mode: str = "",
    search: bool = False,
    name: str = "",
) -> None:
    """Ask the champion about every accepted batch that it was not asked about yet.

    Args:
        pack, mode: as in fine-tuning.
        base, controls, search: do nothing here; the configuration of a retraining serves as it is.
        name: the registered model, where several have a champion.
    """
    require_ledger(mode)
    fresh, landed = choose(detect(), name=name, id=DECIDE)
    adapter, tokenizer, model, found = incumbent(landed)
    sources, keys = read_fresh(landed), load_keys(mode or None)
    redacted, _ = redact(sources, policy=read_policy(pack), key_id=keys.lineage, erased=mark_for_run(keys))
    records = prepare_fresh(redacted, model, id="prepare")
    definitions = list(load_tasks(resolve(pack) / "tasks").values())
    scored = probe(records, fresh, adapter, tokenizer, model, found, definitions=definitions)
    record(None, after=scored)


probing_pipeline = EndingWell(name="probing_pipeline", entrypoint=_probing, **hooks.around_a_run)
