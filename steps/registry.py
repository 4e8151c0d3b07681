"""Both model registries, MLflow's and ZenML's, as a promotion needs them (`domainlm.audit.decisions.promotion`)."""

from __future__ import annotations

from collections.abc import Sequence

from zenml.client import Client
from zenml.enums import ModelStages
from zenml.models import ModelVersionResponse
from zenml.utils.pagination_utils import depaginate

from domainlm.audit.decisions.promotion import Champion, RegisteredVersion
from domainlm.errors import RegistrationError
from domainlm.register import champion as mlflows

MLFLOW, ZENML = "MLflow", "ZenML"
DIGESTS = "digests"  # what `steps.register` and `steps.record` log for a model version


def tracking_uri() -> str:
    """The stack's MLflow, to which this process is signed in; without one, a database inside the project."""
    tracker = Client().active_stack.experiment_tracker
    if not hasattr(tracker, "get_tracking_uri"):
        return mlflows.local_store()
    mlflows.sign_in(tracker.config)
    return tracker.get_tracking_uri()


class StackRegistries:
    """The registries of the active stack. A champion is MLflow's alias `champion` and ZenML's stage `production`."""

    names = (MLFLOW, ZENML)

    def __init__(self) -> None:
        self._uri = tracking_uri()

    def version(self, name: str, version: str, runs: Sequence[str]) -> RegisteredVersion:
        """The version as both have it, digests of its files computed now; `runs` registered it, the latest last."""
        stored = mlflows.stored_version(self._uri, name, version)
        made = _made_by(runs, f"{name}/{version}")
        return RegisteredVersion(
            label=f"{name}/{version}", verified=stored.verified, files=stored.files, digests=stored.digests,
            identities={MLFLOW: stored.identity, ZENML: mlflows.identity_of(made.run_metadata.get(DIGESTS))},
        )  # fmt: skip

    def identity(self, name: str, version: str) -> str:
        """What MLflow's tag says; empty where there is no such version."""
        return mlflows.stated_identity(self._uri, name, version)

    def champions(self) -> list[Champion]:
        """Every champion of either registry."""
        found = [
            Champion(registry=MLFLOW, name=name, version=version, identity=identity)
            for name, (version, identity) in mlflows.champions(self._uri).items()
        ]
        for version in depaginate(Client().list_model_versions, stage=ModelStages.PRODUCTION, hydrate=True):
            logged = version.run_metadata
            name, number = logged.get("registry_name", version.model.name), str(logged.get("registry_version", ""))
            identity = mlflows.identity_of(logged.get(DIGESTS))
            found.append(Champion(registry=ZENML, name=name, version=number, identity=identity))
        return found

    def crown(self, name: str, version: str, runs: Sequence[str]) -> None:
        """Make a version the champion in both; twice is as once. ZenML then archives the champion before."""
        made = _made_by(runs, f"{name}/{version}")
        mlflows.set_champion(self._uri, name, version)
        Client().update_model_version(made.model.id, made.id, stage=ModelStages.PRODUCTION, force=True)


def _made_by(runs: Sequence[str], label: str) -> ModelVersionResponse:
    """ZenML's model version of the latest of these runs that it still knows."""
    for run_id in reversed(runs):
        try:
            found = Client().get_pipeline_run(run_id, hydrate=True).model_version
        except KeyError:
            continue
        if found is not None:
            return found.get_hydrated_version()
    raise RegistrationError("has no version in ZenML's registry", label, "train it again, with `model:` configured")
