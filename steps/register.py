"""Eighth stage: the model becomes a version in MLflow's registry and in ZenML's, carrying the digests it came from."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import get_step_context, log_metadata
from zenml.client import Client

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.digests import digest_dataset, digest_json
from domainlm.evaluate import EvaluationReport
from domainlm.evaluate.contest_report import ContestReport
from domainlm.handling import handling_of, strictest
from domainlm.ledger.run.checkout import code_state
from domainlm.names import DECIDE, DETECT, REGISTER
from domainlm.project import home
from domainlm.register import Provenance, Registration, handling_class
from domainlm.register import register as register_version
from domainlm.register.incumbent import IncumbentReport, inherited
from domainlm.register.settings import RegisterSettings
from domainlm.sources import SourceManifest
from domainlm.train import TrainingReport
from domainlm.validate import ContractVerdict
from steps.registry import tracking_uri
from steps.stage import stage_step


@stage_step(REGISTER, cached=False)
def register(
    sources: SourceManifest,
    records: Dataset,
    verdict: ContractVerdict,
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    evaluation: EvaluationReport,
    recipe: TrainingReport,
    contest: ContestReport | None = None,
    found: IncumbentReport | None = None,
    *,
    settings: RegisterSettings,
) -> Annotated[Registration, "registration"]:
    """Register the model, or find the version that was registered from exactly the same.

    Raises:
        RegistrationError: the evaluation's verdict does not suffice, or nobody knows what it went on from.
        ArtifactError: what the registry gives back is not what was registered.
    """
    verdict.require()
    code, metrics = code_state(), evaluation.metrics() | (contest.metrics() if contest else {})
    before = inherited(found, recipe.started_from)
    provenance = Provenance(
        data=digest_dataset(records), configuration=_configuration_digest(), evaluation=evaluation.digest,
        commit=code["commit"], dirty=code["dirty"], licence=recipe.licence,
        licences=sorted({*(source.licence for source in sources.sources), str(base.card.get("licence", "unknown")),
                         *before.licences}),
        handling=strictest([handling_class(handling_of(records), base, settings), *before.handling]),
        trusted=before.trusted and all(source.trusted for source in sources.sources),
    )  # fmt: skip
    registration = register_version(
        base, tokenizer, adapter, provenance, metrics, evaluation.headline, settings,
        tracking_uri=tracking_uri(), artifacts=home() / "mlflow" / "artifacts",
    )  # fmt: skip
    log_metadata(registration.summary())
    evidence = {
        "digests": registration.digests, "registry_name": registration.name, "registry_version": registration.version,
    }  # fmt: skip
    log_metadata(evidence | {"handling_class": registration.handling}, infer_model=True)
    return registration


def _configuration_digest() -> str:
    """Over the parameters of every step of this run that came before; when to train again shapes no model."""
    run = Client().get_pipeline_run(get_step_context().pipeline_run.id, hydrate=True)
    steps = {name: step for name, step in run.steps.items() if name not in (DETECT, DECIDE)}
    return digest_json({name: step.get_hydrated_version().config.parameters for name, step in steps.items()})
