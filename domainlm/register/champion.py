"""MLflow's half of a promotion: a version as it really lies there, and the alias `champion`.

Nothing here decides anything: an alias can be moved by whoever reaches the store. What may be moved says the ledger
(`domainlm.audit.decisions.promotion`), which also tells when somebody else moved it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from domainlm.artifacts import CARD_FILE, BaseCheckpoint
from domainlm.digests import digest_folder, digest_json
from domainlm.errors import RegistrationError
from domainlm.project import home
from domainlm.register.registration import HANDLING_CLASS, IDENTITY, LICENCES, TRUSTED, VERIFIED, pointed_at
from domainlm.register.serving import ADAPTER, BASE, TOKENIZER
from domainlm.register.settings import CHAMPION
from domainlm.reports import Report

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARTS = ("adapter", "base", "tokenizer", "data", "configuration", "evaluation")  # what an identity is made over
SIGN_IN = {"MLFLOW_TRACKING_USERNAME": "tracking_username", "MLFLOW_TRACKING_PASSWORD": "tracking_password"}


class StoredVersion(Report):
    """A version as MLflow has it.

    Fields:
        identity: as its tag says; anybody who reaches the store can write tags.
        digests: likewise.
        verified: whether its registration was finished.
        files: digests of what is stored, computed now: `adapter`, `tokenizer`, `base` (of an external base: what its
            card names).
        handling: class that its tag states; empty where none does.
        licences: of its data and base, likewise.
        trusted: its tag states that it learnt from trusted sources alone.
    """

    name: str
    version: str
    identity: str
    digests: dict[str, str]
    verified: bool
    files: dict[str, str]
    handling: str = ""
    licences: list[str] = Field(default_factory=list)
    trusted: bool = False


def local_store() -> str:
    """MLflow's store and registry inside the project, for a stack that has none."""
    folder = home() / "mlflow"
    folder.mkdir(mode=0o700, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def sign_in(configuration: Any) -> None:
    """Give MLflow's client, which reads them from the environment only, the name and password of a tracker's
    configuration; what was mounted there already wins."""
    for variable, field in SIGN_IN.items():
        if value := getattr(configuration, field, None):
            os.environ.setdefault(variable, value)


def identity_of(digests: Any) -> str:
    """The identity that logged digests make; empty where a part is missing."""
    if not isinstance(digests, Mapping) or not set(PARTS) <= set(digests):
        return ""
    return digest_json({part: digests[part] for part in PARTS})


def stored_version(uri: str, name: str, version: str) -> StoredVersion:
    """Read a version and compute the digests of its files; a remote store's are fetched for that.

    Args:
        uri: MLflow's store and registry.

    Raises:
        RegistrationError: there is no such version, or its files cannot be read.
    """
    with tempfile.TemporaryDirectory() as place:
        return fetched_version(uri, name, version, Path(place))


def fetched_version(uri: str, name: str, version: str, place: Path) -> StoredVersion:
    """As `stored_version`; the files stay in `place`, in the folders `adapter`, `tokenizer` and `base`."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        with pointed_at(uri) as client:
            entry, files = client.get_model_version(name, version), {}
            for part in (ADAPTER, TOKENIZER, BASE):
                fetched = Path(
                    mlflow.artifacts.download_artifacts(
                        f"models:/{name}/{version}/data/data/{part}", dst_path=str(place)
                    )
                )
                files[part] = _digest(part, fetched)
                if fetched != place / part:
                    fetched.rename(place / part)
    except (MlflowException, OSError):
        raise RegistrationError(
            "is not in MLflow's registry with all its files", f"{name}/{version}", "register it, or restore its files"
        ) from None
    return StoredVersion(
        name=name,
        version=str(entry.version),
        identity=entry.tags.get(IDENTITY, ""),
        digests=_tagged(entry.tags),
        verified=entry.tags.get(VERIFIED) == "true",
        files=files,
        handling=entry.tags.get(HANDLING_CLASS, ""),
        licences=list(filter(None, entry.tags.get(LICENCES, "").split(", "))),
        trusted=entry.tags.get(TRUSTED) == "true",
    )


def stated_identity(uri: str, name: str, version: str) -> str:
    """What a version's tag says it is; empty where there is no such version, or no tag."""
    from mlflow.exceptions import MlflowException

    try:
        return _client(uri).get_model_version(name, version).tags.get(IDENTITY, "")
    except MlflowException:
        return ""


def champions(uri: str) -> dict[str, tuple[str, str]]:
    """Name -> (version, identity by its tag) of every champion."""
    client, found = _client(uri), {}
    for model in _all(client.search_registered_models):
        version = model.aliases.get(CHAMPION)
        if version is not None:
            entry = client.get_model_version(model.name, version)
            found[model.name] = (str(entry.version), entry.tags.get(IDENTITY, ""))
    return found


def set_champion(uri: str, name: str, version: str) -> None:
    """Point the alias `champion` to a version; twice is as once."""
    _client(uri).set_registered_model_alias(name, CHAMPION, version)


def _digest(part: str, folder: Path) -> str:
    """As the identity counts it: a base without its card, whose digest an external one's card states."""
    if part != BASE:
        return digest_folder(folder)
    base = BaseCheckpoint(folder)
    return base.card["digest"] if base.card.get("external") else digest_folder(folder, ignore=[CARD_FILE])


def _tagged(tags: Mapping[str, str]) -> dict[str, str]:
    return {part: tags.get(f"domainlm.{part}", "") for part in PARTS}


def _client(uri: str) -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient(uri, uri)


def _all(search: Any) -> list[Any]:
    page = search()
    found = list(page)
    while page.token:
        page = search(page_token=page.token)
        found += page
    return found
