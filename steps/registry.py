"""Both model registries, MLflow's and ZenML's, as a promotion needs them (`domainlm.audit.promotion.Registries`)."""

from __future__ import annotations

from collections.abc import Sequence

from zenml.client import Client
from zenml.enums import ModelStages
from zenml.models import ModelVersionResponse
from zenml.utils.pagination_utils import depaginate

from domainlm.audit.promotion import Champion, RegisteredVersion
from domainlm.digests import digest_json
from domainlm.errors import RegistrationError
from domainlm.project import home
from domainlm.register.champion import PARTS, champions, set_champion, stated_identity, stored_version

MLFLOW, ZENML = "MLflow", "ZenML"


def tracking_uri() -> str:
    """The stack's MLflow; a stack without one gets a database inside the project."""
    tracker = Client().active_stack.experiment_tracker
    if tracker is not None and hasattr(tracker, "get_tracking_uri"):
        return tracker.get_tracking_uri()
    folder = home() / "mlflow"
    folder.mkdir(mode=0o700, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


class StackRegistries:
    """The registries of the active stack. A champion is MLflow's alias `champion` and ZenML's stage `production`."""

    names = (MLFLOW, ZENML)

    def __init__(self) -> None:
        self._uri = tracking_uri()

    def version(self, name: str, version: str, runs: Sequence[str]) -> RegisteredVersion:
        """The version as both have it, digests of its files computed now.

        Args:
            runs: ZenML's ids of the runs that registered it, the latest last.
        """
        stored = stored_version(self._uri, name, version)
        made = _made_by(runs, f"{name}/{version}")
        return RegisteredVersion(
            label=f"{name}/{version}", verified=stored.verified, files=stored.files,
            identities={MLFLOW: stored.identity, ZENML: _identity(made)}, digests=stored.digests,
        )  # fmt: skip

    def identity(self, name: str, version: str) -> str:
        """What MLflow's tag says; empty where there is no such version."""
        return stated_identity(self._uri, name, version)

    def champions(self) -> list[Champion]:
        """Every champion of either registry."""
        found = [
            Champion(registry=MLFLOW, name=name, version=version, identity=identity)
            for name, (version, identity) in champions(self._uri).items()
        ]
        for version in depaginate(Client().list_model_versions, stage=ModelStages.PRODUCTION, hydrate=True):
            registered = str(version.run_metadata.get("registry_version", ""))
            found.append(
                Champion(registry=ZENML, name=version.model.name, version=registered, identity=_identity(version))
            )
        return found

    def crown(self, name: str, version: str, runs: Sequence[str]) -> None:
        """Make a version the champion in both; twice is as once. ZenML then archives the champion before."""
        made = _made_by(runs, f"{name}/{version}")
        set_champion(self._uri, name, version)
        Client().update_model_version(made.model.id, made.id, stage=ModelStages.PRODUCTION, force=True)


def registry_champions() -> dict[str, str]:
    """Name -> identity of its champion; where the registries differ, both, so that it equals no identity."""
    found: dict[str, set[str]] = {}
    for champion in StackRegistries().champions():
        found.setdefault(champion.name, set()).add(champion.identity)
    return {name: " and ".join(sorted(identities)) for name, identities in found.items()}


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


def _identity(version: ModelVersionResponse) -> str:
    """From the digests that the run logged for its model version; empty where it logged none."""
    digests = version.run_metadata.get("digests")
    if not isinstance(digests, dict) or not set(PARTS) <= set(digests):
        return ""
    return digest_json({part: digests[part] for part in PARTS})
