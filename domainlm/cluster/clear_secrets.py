"""Secrets that stand in clear where they would be read: in a stack file, a run configuration, an object of a cluster.

What a configuration says is kept by ZenML's server, shown on its pages, written into pods' specifications and into git.
A secret is known by the name that it stands under, or by its own form. Wherever it is needed, its place is named
instead: `{{NAME.KEY}}` of a ZenML secret, `valueFrom.secretKeyRef` of a pod.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from domainlm.yaml_lines import Fault

_NAME = re.compile(
    r"(?i)passw(?:or)?d|passphrase|secret|token(?!s\b|s_|iz)|credential|private_?key|(?:api|access|account|shared)_?key"
    r"|(?:^|_)key$"
)
# where a secret lies, what kind it is, how long it lasts; what ZenML and Kubernetes call a reference
_NO_NAME = re.compile(
    r"(?i)(?:file|path|dir|name|type|scheme|class|mode|seconds|ttl|ref|ur[il])$"
    r"|^(?:authentication_secret|secrets|topology_key)$"
)
_VALUE = re.compile(
    r"eyJ[\w-]{10,}\.[\w-]{10,}"  # JWT
    r"|ZENKEY_[\w-]{10,}|AKIA[0-9A-Z]{16}|AGE-SECRET-KEY-1[0-9A-Z]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\w[\w+.-]*://[^/\s:@]*:(?!\$\()[^/\s@]+@"  # a URL with a password; $(NAME) is another variable
    r"|(?i:[?&](?:password|passwd|pwd|token|secret|sig|x-amz-signature)=)[^&\s]"  # a signed URL
)
_NO_VALUE = re.compile(r"\{\{\s*[\w-]+\.[\w-]+\s*\}\}|(?:\$\(\w+\)|[,\"])*|true|false")
# beside `key` these say that it is a label's, a taint's or a reference's
_OTHER_KEYS = frozenset("operator effect values name path".split())


def names_a_secret(name: str) -> bool:
    """Whether what stands under this name of a key or a variable must be a secret."""
    return bool(_NAME.search(name)) and not _NO_NAME.search(name)


def is_a_secret(value: str) -> bool:
    """Whether a text is a secret by its form, whatever its name: a token, a private key, a URL with a password."""
    return bool(_VALUE.search(value))


def says_a_secret(value: Any) -> bool:
    """Whether a value under a secret's name says one: it is no switch, and no reference to where the secret is."""
    return isinstance(value, (str, bytes, int, float)) and not (
        isinstance(value, bool) or (isinstance(value, str) and _NO_VALUE.fullmatch(value))
    )


def secrets_in_clear(value: Any, where: tuple[str | int, ...], instead: str) -> list[Fault]:
    """Every secret in clear, at any depth, by its place; the value itself is never quoted.

    Args:
        value: what YAML gave: a mapping, a list or a scalar. A list of `{name, value}` holds variables.
        where: its place in the file.
        instead: what to write in its place.
    """
    return [(place, f"is a secret in clear; {instead}") for place in _places(value, where)]


def _places(value: Any, where: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, str) and is_a_secret(value):
        yield where
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _places(part, (*where, index))
    elif isinstance(value, dict):
        for key, part in value.items():
            named = value["name"] if key == "value" and isinstance(value.get("name"), str) else str(key)
            refers = key == "key" and _OTHER_KEYS & set(value)
            if not refers and names_a_secret(named) and says_a_secret(part):
                yield (*where, key)
            else:
                yield from _places(part, (*where, key))
