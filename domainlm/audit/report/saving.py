"""A report as a file: mode 0600, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from domainlm.errors import ArtifactError


def save(path: Path, content: bytes) -> None:
    """Write a report; one that is there is replaced.

    Raises:
        ArtifactError: the place cannot be written; what was there still is.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ArtifactError(
            f"cannot be written: {error.strerror or type(error).__name__}", str(path), "name a place that can"
        ) from None
