"""Where a base model comes from: a folder of this machine, or a hub id that the configuration names."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

from domainlm.artifacts import CARD_FILE, BaseCheckpoint
from domainlm.digests import digest_folder
from domainlm.errors import ModelError
from domainlm.licences import UNKNOWN, UNSTATED, UNVERIFIED
from domainlm.project import resolve

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# pickled weights (*.bin, *.pt) can run code when they are loaded, so they are never fetched
# one of them: a fast tokenizer, sentence pieces (Llama, DeBERTa), byte pairs (RoBERTa), word pieces (BERT)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spm.model", "vocab.json", "vocab.txt")
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md", "LICENSE*"]


def resolve_base(name_or_path: str, folder: Path, stated_licence: str = UNKNOWN) -> BaseCheckpoint:
    """Refer to an existing base model; nothing is copied.

    Args:
        name_or_path: a folder (relative ones count from the project), or a hub id, optionally with `@revision`.
        folder: an empty folder to fill with the card that names the base's files and their digest.
        stated_licence: what the catalogue says of this base; it counts where the base's own files say nothing. A
            trailing `?` (nobody verified it) stays on the card then, and the licence gate makes a duty of it.

    Raises:
        ModelError: it is neither a folder nor a hub id that can be reached, the folder holds no usable model, or its
            files state another licence than the catalogue.
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
        licence=_agreed_licence(name_or_path, licence_of_folder(path), stated_licence),
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
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError("holds no tokenizer", str(path), "save its tokenizer beside the weights with save_pretrained")
    return config


def licence_of_folder(path: Path) -> str:
    """The licence that a base's own files state: its README's front matter, else its card, where this project made it.

    Hub model cards name a licence that has no key of its own by `license: other` and `license_name`.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stated = _front_matter(path / "README.md")
        for key in ("license", "license_name"):
            found = stated.get(key) or ""
            found = ", ".join(map(str, found)) if isinstance(found, list) else str(found)
            if found.strip().lower() not in UNSTATED:
                return found
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if stated := json.loads((path / CARD_FILE).read_text(encoding="utf-8")).get("licence"):
            return str(stated)
    return UNKNOWN


def _front_matter(path: Path) -> dict:
    import yaml

    _, _, text = path.read_text(encoding="utf-8", errors="replace").partition("---")
    try:
        return yaml.safe_load(text.partition("\n---")[0])
    except yaml.YAMLError as error:
        raise ValueError("no YAML") from error


def _agreed_licence(name: str, own: str, stated: str) -> str:
    claimed = stated.strip().removesuffix(UNVERIFIED).lower()  # the mark counts only where the files are silent
    if own == UNKNOWN or stated == UNKNOWN or own.strip().lower() == claimed:
        return stated if own == UNKNOWN else own
    raise ModelError(
        f"its own files state the licence '{own}', the catalogue says '{stated}'",
        name,
        "read the licence of exactly these weights, then mend bases.yaml of the domain pack",
    )
