"""Register a tuned model once, with its evidence as tags, and believe it only after reading it back."""

from __future__ import annotations

import io
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_serializer

from domainlm import __version__
from domainlm.artifacts import CARD_FILE, AdapterFolder, BaseCheckpoint, Folder, TokenizerFolder
from domainlm.digests import digest_json
from domainlm.errors import ArtifactError, RegistrationError
from domainlm.handling import Handling, strictest
from domainlm.licences import LicenceVerdict
from domainlm.register.serving import ADAPTER, BASE, MAX_NEW_TOKENS, TOKENIZER
from domainlm.register.settings import RegisterSettings
from domainlm.reports import Report
from domainlm.risk import Tier

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHOWN, NOT_SHOWN = "shown", "not shown"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_ID"
IDENTITY, VERIFIED, HANDLING_CLASS = "domainlm.identity", "domainlm.verified", "domainlm.handling_class"
LICENCES, TRUSTED = "domainlm.licences", "domainlm.trusted"
# what a version needs besides domainlm itself, pinned to what it was made with
REQUIREMENTS = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors")


class Provenance(Report):
    """What the model came from, besides base, tokenizer and adapter, whose digests are taken from their folders.

    Fields:
        data: digest of the prepared records.
        configuration: digest of the run's configuration.
        evaluation: digest of the evaluation report.
        commit: commit of the code; `dirty` when the checkout had changes.
        licences: licences of the data and of the base.
        licence: what the licence gate said: the purpose, and the duties of whoever uses the model.
        handling: the strictest handling class among the records and the base, as the model may repeat either.
        trusted: no source of the data was untrusted, nor any of what the training went on from.
    """

    data: str
    configuration: str
    evaluation: str
    commit: str
    dirty: bool
    licences: list[str]
    licence: LicenceVerdict | None = None
    handling: Handling
    trusted: bool = False


class Registration(Report):
    """A version in the registry.

    Fields:
        existing: whether the version was there already, made from exactly the same.
        tier: the risk tier that the run states; that of a registration from before there were tiers is the highest.
        trusted: as in `Provenance`; None in registrations from before it was stated.
    """

    name: str
    version: str
    run_id: str
    model_uri: str
    existing: bool
    verdict: str
    digests: dict[str, str]
    licences: list[str]
    handling: Handling
    aliases: list[str]
    tier: Tier | None = None
    trusted: bool | None = None

    @model_serializer(mode="wrap")
    def _without_what_was_not_stated(self, write: Any) -> dict[str, Any]:
        """Left out where nobody stated it: so registrations from before these fields keep their digest."""
        late = ("tier", "trusted")
        return {name: value for name, value in write(self).items() if value is not None or name not in late}


def register(
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    provenance: Provenance,
    metrics: Mapping[str, float],
    verdict: str | None,
    settings: RegisterSettings,
    tracking_uri: str,
    artifacts: Path,
) -> Registration:
    """Log the model, register it as a version, read it back, and only then give it its alias.

    A version of exactly the same adapter, base, tokenizer, data, configuration and evaluation is returned as it is.

    Args:
        base: the base; an external one is referred to by its card, an own one is copied into the version.
        tokenizer: the tokenizer of the adapter.
        adapter: the tuned adapter.
        provenance: digests, commit and licences that become tags.
        metrics: scores that become the run's metrics.
        verdict: the evaluation's headline, "shown" or "not shown".
        settings: names and the gate.
        tracking_uri: MLflow's store and registry, such as "sqlite:///.../mlflow.db".
        artifacts: folder for the logged files of a new experiment, where MLflow is a database and no server.

    Raises:
        RegistrationError: the gate is closed, or cannot be decided.
        ArtifactError: what the registry gives back is not what was registered.
    """
    _check_gate(verdict, metrics, settings)
    digests = {
        "adapter": adapter.digest,
        "base": base.card["digest"],
        "tokenizer": tokenizer.digest,
        "data": provenance.data,
        "configuration": provenance.configuration,
        "evaluation": provenance.evaluation,
    }
    identity = digest_json(digests)
    with _store(tracking_uri, settings.experiment, artifacts) as client:
        found = _find(client, settings.name, identity)
        if found is None:
            tags = {f"domainlm.{name}": digest for name, digest in digests.items()} | {
                IDENTITY: identity,
                "domainlm.verdict": verdict,
                "domainlm.commit": provenance.commit,
                "domainlm.dirty": str(provenance.dirty).lower(),
                LICENCES: ", ".join(provenance.licences),
                **_licence_tags(provenance.licence),
                HANDLING_CLASS: provenance.handling,
                TRUSTED: str(provenance.trusted).lower(),
                "domainlm.base_name": base.card["name"],
            }
            made = _log(client, base, tokenizer, adapter, metrics, tags, settings)
            _verify(made.name, made.version, {ADAPTER: adapter, TOKENIZER: tokenizer, BASE: base})
            client.set_model_version_tag(made.name, made.version, VERIFIED, "true")
        elif not provenance.trusted:  # the same model again, of which this run knows what that one did not
            client.set_model_version_tag(settings.name, found.version, TRUSTED, "false")
        client.set_registered_model_alias(settings.name, settings.alias, (found or made).version)
        entry = client.get_model_version(settings.name, (found or made).version)
    return Registration(
        name=entry.name,
        version=str(entry.version),
        run_id=entry.run_id,
        model_uri=f"models:/{entry.name}/{entry.version}",
        existing=found is not None,
        verdict=verdict,
        digests=digests,
        licences=provenance.licences,
        handling=provenance.handling,
        aliases=sorted(entry.aliases),
        tier=settings.tier,
        trusted=provenance.trusted,
    )


def _licence_tags(licence: LicenceVerdict | None) -> dict[str, str]:
    """What a model's users must know; MLflow holds 5,000 characters of a tag."""
    if licence is None:
        return {"domainlm.purpose": "not stated"}
    return {"domainlm.purpose": licence.purpose, "domainlm.duties": " | ".join(licence.duties)[:5000] or "none"}


def handling_class(records: str, base: BaseCheckpoint, settings: RegisterSettings) -> str:
    """The class that the model inherits: the strictest of its records and its base.

    Args:
        records: class of the records (`domainlm.handling.handling_of`).
        base: the own base states the class of what it was trained on; an external one cannot.
        settings: states the class of an external base.

    Raises:
        RegistrationError: an own base of before the classes, so that nobody knows what it may repeat.
    """
    stated = settings.base_handling if base.card.get("external") else base.card.get("handling")
    if stated is None:
        raise RegistrationError(
            "the base states no handling class", str(base.card["name"]), "let `pretrain` run again, without the cache"
        )
    return strictest((records, stated))


def _check_gate(verdict: str | None, metrics: Mapping[str, float], settings: RegisterSettings) -> None:
    if verdict not in (SHOWN, NOT_SHOWN):
        raise RegistrationError(
            "there is no verdict of an evaluation", settings.name, "let `evaluate` run on exactly this model"
        )
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not metrics or broken:
        what = f"the metric '{broken[0]}' is not a finite number" if broken else "the evaluation has no metric"
        raise RegistrationError(what, settings.name, "let `evaluate` run again")
    if settings.require_shown and verdict != SHOWN:
        raise RegistrationError(
            "the evaluation did not show the headline claim",
            settings.name,
            "see the evaluation report, or set require_shown: false",
        )


@contextmanager
def pointed_at(uri: str) -> Iterator[MlflowClient]:
    """MLflow pointed at a store for the length of the block; its module-wide settings are put back afterwards."""
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    # an experiment tracker that ran before in this process leaves its experiment here; MLflow then refuses any other
    tracked = os.environ.pop(EXPERIMENT_VARIABLE, None)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield mlflow.MlflowClient(uri, uri)
    finally:
        os.environ.pop(EXPERIMENT_VARIABLE, None)
        if tracked is not None:
            os.environ[EXPERIMENT_VARIABLE] = tracked
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


@contextmanager
def _store(uri: str, experiment: str, artifacts: Path) -> Iterator[MlflowClient]:
    import mlflow

    with pointed_at(uri) as client:
        if client.get_experiment_by_name(experiment) is None:
            client.create_experiment(experiment, artifact_location=_location(uri, artifacts))
        mlflow.set_experiment(experiment)
        yield client


def _location(uri: str, artifacts: Path) -> str | None:
    """Where a new experiment's files go. A server decides that itself: a folder of this machine is none of its own."""
    if uri.startswith(("http://", "https://")):
        return None
    artifacts.mkdir(parents=True, exist_ok=True)
    return artifacts.resolve().as_uri()


def _find(client: MlflowClient, name: str, identity: str) -> Any | None:
    """The version made from exactly this; an interrupted registration has no `verified` tag and does not count."""
    same = f"name = '{name}' and tag.`{IDENTITY}` = '{identity}' and tag.`{VERIFIED}` = 'true'"
    found = client.search_model_versions(same)
    return max(found, key=lambda entry: int(entry.version), default=None)


def _log(
    client: MlflowClient,
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    settings: RegisterSettings,
) -> Any:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        Schema([ColSpec("string")]),  # unnamed, so that a plain list of prompts fits
        Schema([ColSpec("string")]),
        ParamSchema([ParamSpec("max_new_tokens", "long", MAX_NEW_TOKENS)]),
    )
    experiment = client.get_experiment_by_name(settings.experiment)
    run = client.create_run(experiment.experiment_id, run_name="register", tags=dict(tags))
    with tempfile.TemporaryDirectory() as place, mlflow.start_run(run_id=run.info.run_id, nested=True):
        data = Path(place) / "data"
        for name, folder in {ADAPTER: adapter, TOKENIZER: tokenizer, BASE: base}.items():
            _copy(folder, data / name)
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module="domainlm.register.serving",
            data_path=str(data),
            signature=signature,
            pip_requirements=[f"domainlm=={__version__}", *(f"{name}=={_installed(name)}" for name in REQUIREMENTS)],
            metadata={name: tags[name] for name in sorted(tags)},
        )
        # afterwards: `log_model` asks for the history of each metric that is there, a request each; a server that
        # checks a password each time takes minutes for what is one request here
        mlflow.log_metrics(dict(metrics), model_id=logged.model_id)
        with redirect_stderr(io.StringIO()):  # MLflow announces each version there, outside of any logger
            return mlflow.register_model(logged.model_uri, settings.name, tags=dict(tags))


def _installed(name: str) -> str:
    try:
        return version(name).partition("+")[0]  # "2.13.0+cpu" names a build that other machines need not have
    except PackageNotFoundError as error:
        raise RegistrationError(
            f"the package '{name}' is not installed", "register", "install the project again"
        ) from error


def _copy(folder: Folder, target: Path) -> None:
    """A folder as it is; of an external base only the card, which names its files and their digest."""
    if folder.card.get("external"):
        target.mkdir(parents=True)
        shutil.copy2(folder.path / CARD_FILE, target)
    else:
        shutil.copytree(folder.path, target)


def _verify(name: str, number: str, folders: Mapping[str, Folder]) -> None:
    """Fetch the version and compare each folder's digest with the original's."""
    import mlflow

    with tempfile.TemporaryDirectory() as place:
        fetched = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{number}", dst_path=place))
        for part, folder in folders.items():
            back = type(folder)(fetched / "data" / "data" / part)
            same = back.path.is_dir() and back.digest == folder.digest
            if not same:
                raise ArtifactError(
                    f"the registry gives back another {part} than was registered",
                    f"models:/{name}/{number}",
                    "the version has no alias and does not count; check the artifact store and register again",
                )
