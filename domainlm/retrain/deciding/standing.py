"""What a model stands on besides its data: its base, and the policy that its data passed.

Two digests, taken the same way when a model is made and when it is asked whether it should be made anew. They cover
what is stated and what lies in files, and are cheap: a file above a size counts by its size alone, so that a base of
many gigabytes is not read at each look. A base whose large files were changed for others of equal size is seen by a
training, which digests it whole, and not here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from domainlm.digests import digest_json
from domainlm.project import resolve

READ_BYTES = 32 << 20  # larger files count by their size
OF_BASE = ("base_ingest", "base_redact", "base_prepare", "base_validate", "pretrain")
OF_POLICY = ("redact", "validate")


class Standing(NamedTuple):
    """Digests of 64 hexadecimal digits, as `domainlm.retrain.batches.Result` keeps them."""

    base: str
    policy: str


def standing(base: str, parameters: Mapping[str, Mapping[str, Any]], rules: Mapping[str, Any]) -> Standing:
    """What a run with this configuration would stand on.

    Args:
        base: as the pipeline's parameter says it: `embedded`, a folder or a hub id.
        parameters: step -> its parameters with all defaults filled in; steps that are not there are passed over.
        rules: the pack's rules of redaction and the contract, as they are read when a run is compiled.
    """
    of_base = {name: parameters[name] for name in OF_BASE if name in parameters}
    folder = resolve(base)
    files = _folder(folder) if folder.is_dir() else _corpus(parameters.get("base_ingest", {}))
    of_policy = {name: parameters[name] for name in OF_POLICY if name in parameters}
    return Standing(
        base=digest_json({"base": base, "steps": of_base, "files": files}),
        policy=digest_json({"steps": of_policy, "rules": dict(rules)}),
    )


def _folder(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): _file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _corpus(ingest: Mapping[str, Any]) -> dict[str, str]:
    """The local files that an embedded base is trained on; those of a store are told by their URI alone."""
    found: dict[str, str] = {}
    for source in ingest.get("sources", ()):
        uri = str(source["uri"])
        if "://" not in uri:
            place = resolve(uri)
            found |= {f"{uri}/{path.name}": _file(path) for path in sorted(place.parent.glob(place.name))}
    return found


def _file(path: Path) -> str:
    state = path.stat()
    if state.st_size > READ_BYTES:
        return f"{state.st_size} bytes"
    return _digest(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
