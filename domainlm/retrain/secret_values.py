"""A secret that a configuration names but never holds: out of an environment variable, or of a private file."""

from __future__ import annotations

import os
from pathlib import Path

from domainlm.errors import SecretError
from domainlm.private_files import others_can_read


def secret_value(variable: str) -> str:
    """What `VARIABLE` holds, else what the file named by `VARIABLE_FILE` holds, without surrounding white space.

    Raises:
        SecretError: neither is set, or the file is empty, cannot be read, or can be read by others.
    """
    if given := os.environ.get(variable, "").strip():
        return given
    name = f"{variable}_FILE"
    named = os.environ.get(name, "")
    if not named:
        raise SecretError("is not set", variable, f"export {variable}, or {name} with the name of a private file")
    try:
        with open(named, encoding="utf-8") as stream:
            if others_can_read(os.fstat(stream.fileno())):
                raise SecretError("others can read the file, and it holds a secret", name, f"chmod 600 {named}")
            value = stream.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"its file cannot be read ({type(error).__name__})", name, f"see to {Path(named)}") from None
    if not value:
        raise SecretError("its file is empty", name, f"put the value into {named}")
    return value
