"""Where a base model comes from: a folder of this machine, or a hub id that the configuration names."""

from __future__ import annotations

import json
import re
from pathlib import Path

from domainlm.artifacts import CARD_FILE, BaseCheckpoint
from domainlm.digests import digest_folder
from domainlm.errors import ModelError
from domainlm.project import resolve

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# pickled weights (*.bin, *.pt) can run code when they are loaded, so they are never fetched
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md", "LICENSE*"]


def resolve_base(name_or_path: str, folder: Path) -> BaseCheckpoint:
    """Refer to an existing base model; nothing is copied.

    Args:
        name_or_path: a folder (relative ones count from the project), or a hub id, optionally with `@revision`.
        folder: an empty folder to fill with the card that names the base's files and their digest.

    Raises:
        ModelError: it is neither a folder nor a hub id that can be reached, or the folder holds no usable model.
    """
    path = resolve(name_or_path)
    revision = ""
    if not path.is_dir():
        path, revision = _fetch(name_or_path)
    config = _read_config(path)
    folder.mkdir(parents=True, exist_ok=True)
    base = BaseCheckpoint(folder)
    base.write_card(
        name=name_or_path,
        architecture=config["model_type"],
        licence=_licence(path),
        external=True,
        location=str(path.resolve()),
        revision=revision,
        digest=digest_folder(path, ignore=[CARD_FILE]),
    )
    return base


def _fetch(name: str) -> tuple[Path, str]:
    repository, _, revision = name.partition("@")
    if name.startswith((".", "/", "~")) or not HUB_ID.fullmatch(repository):
        raise ModelError(
            "this base model does not exist", name, "name an existing folder or a hub id such as tiiuae/falcon-7b"
        )
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(repository, revision=revision or None, allow_patterns=HUB_FILES))
    except Exception as error:  # offline, unknown and forbidden ids each have their own class, in three libraries
        raise ModelError(
            f"is neither a folder nor a base model that the hub gives ({type(error).__name__})",
            name,
            "check the path, or the hub id, the network and the access token",
        ) from error
    return path, path.name  # the hub's cache names a snapshot by its commit


def _read_config(path: Path) -> dict:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        config["model_type"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            "holds no readable config.json of a model", str(path), "name a folder made by save_pretrained"
        ) from error
    if not list(path.glob("*.safetensors")):
        raise ModelError(
            "holds no weights (*.safetensors)", str(path), "save them with save_pretrained; pickled weights are refused"
        )
    if not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError("holds no tokenizer", str(path), "save its tokenizer beside the weights with save_pretrained")
    return config


def _licence(path: Path) -> str:
    """The licence that the model's README states in its front matter, as the hub's model cards do."""
    readme = path / "README.md"
    found = re.search(r"^license:\s*(\S+)", readme.read_text(errors="replace"), re.M) if readme.is_file() else None
    return found.group(1) if found else "unknown"
