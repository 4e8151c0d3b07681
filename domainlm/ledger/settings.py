"""Configuration of the evidence: where the ledger lies, who is trusted, where checkpoints are published."""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from domainlm.errors import ConfigurationError, SecretError
from domainlm.ledger.trust.signing import keys_of_pem
from domainlm.project import home, project_root
from domainlm.reports import Settings

FILE = "configs/audit.yaml"
FILE_VARIABLE = "DOMAINLM_AUDIT"
KEYS_VARIABLE = "DOMAINLM_SIGNER_KEYS"
ROOT_VARIABLE = "DOMAINLM_ROOT"
LEDGER_VARIABLE = "DOMAINLM_LEDGER"  # the database's URL, which may hold a password and so stands in no file


class AnchorSettings(Settings):
    """A place outside where checkpoints are published; give one of the three."""

    folder: str = Field(default="", description="a folder on another volume, or a mounted write-once share")
    git: str = Field(default="", description="a git repository in which each published checkpoint becomes a tag")
    object_store: str = Field(default="", description="an fsspec URL; switch its object lock on")
    same_volume: bool = Field(
        default=False,
        description="lets the place lie on the ledger's own volume, where one failure or hand takes both",
    )

    @model_validator(mode="after")
    def _one(self) -> AnchorSettings:
        if len([place for place in (self.folder, self.git, self.object_store) if place]) != 1:
            raise ValueError("give one of folder, git, object_store")
        return self


class AuditSettings(Settings):
    """Content of `configs/audit.yaml`."""

    origin: str = Field(default="domainlm", description="the ledger's name; part of every checkpoint and entry")
    root: frozenset[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default=frozenset(), description="ids of the root's keys; the pinned file must hold these and no other"
    )
    signer: str = Field(default="", description="socket of a signer service; empty starts one for each act")
    anchors: tuple[AnchorSettings, ...] = Field(default=(), description="where checkpoints are published")
    openlineage: str = Field(default="", description="file or http URL that lineage events go to; empty sends none")
    retention_days: dict[str, int] = Field(
        default_factory=dict, description="artifact name -> days until it is deleted"
    )

    @classmethod
    def load(cls) -> AuditSettings:
        """The project's own; the defaults where it has none.

        Raises:
            ConfigurationError: a key or value that nothing can use.
        """
        path = Path(os.environ.get(FILE_VARIABLE) or project_root() / FILE)
        if not path.is_file():
            return cls()
        try:
            return cls(**(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
        except (ValidationError, TypeError, yaml.YAMLError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {}
            key = ".".join(str(part) for part in first.get("loc", ()))
            raise ConfigurationError(
                f"{key}: {first.get('msg', 'is no mapping')}", str(path), f"known: {', '.join(cls.model_fields)}"
            ) from None

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger: `DOMAINLM_LEDGER`, else a SQLite file of the project."""
        return os.environ.get(LEDGER_VARIABLE) or f"sqlite:///{evidence_folder() / 'ledger.sqlite'}"


def evidence_folder() -> Path:
    """Where the project keeps evidence: `.domainlm/evidence/`."""
    folder = home() / "evidence"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def keys_folder() -> Path:
    """Where the local signer's keys and memory lie: `DOMAINLM_SIGNER_KEYS`, else `.domainlm/keys/signer/` (0700)."""
    return Path(os.environ.get(KEYS_VARIABLE) or home() / "keys" / "signer")


def root_file() -> Path:
    """The pinned root, public keys as PEM, one after the other: `DOMAINLM_ROOT`, else what `audit init` wrote.

    Raises:
        SecretError: the project has a pinned root, and the variable names other keys or none: whoever sets variables
            would else make every command believe a ledger of his own.
    """
    named, own = os.environ.get(ROOT_VARIABLE), evidence_folder() / "root.pem"
    if named and own.exists() and _keyids(Path(named)) != _keyids(own):
        raise SecretError(
            "is not the root that this project has pinned", named, f"unset {ROOT_VARIABLE}, or compare it with {own}"
        )
    return Path(named or own)


def root_keyids() -> frozenset[str]:
    """Ids of the pinned root keys: those of the PEM file that was given out with the ledger.

    Raises:
        SecretError: the file is missing, holds no key, or not the keys that the project has pinned elsewhere.
        ConfigurationError: `configs/audit.yaml` cannot be read.
    """
    path = root_file()
    found = _keyids(path)
    require_root(found, path)
    return found


def require_root(keyids: Set[str], path: Path) -> None:
    """Hold root keys against `root:` of `configs/audit.yaml`, which version control keeps; without it all are good.

    Args:
        keyids: of the root's keys.
        path: where they come from.

    Raises:
        SecretError: the configuration names others.
        ConfigurationError: it cannot be read.
    """
    wanted = AuditSettings.load().root
    if wanted and keyids != wanted:
        raise SecretError(
            f"is not the root that {FILE} names", str(path), "compare both with the keys that you were given"
        )


def _keyids(path: Path) -> frozenset[str]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise SecretError("the pinned root is missing", str(path), "run `domainlm audit init`, or copy it") from None
    return frozenset(key.keyid for key in keys_of_pem(text, str(path)))


def spool_folder() -> Path:
    """Where statements wait that no signer could take: `.domainlm/evidence/spool/`."""
    return evidence_folder() / "spool"
