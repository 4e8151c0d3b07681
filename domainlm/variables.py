"""`${NAME}` and `${NAME:-default}` in configuration files: addresses that differ from place to place, never secrets.

A value that is nothing but one variable and comes out empty leaves its key out, so that an optional address
(`endpoint_url: ${DOMAINLM_S3_URL:-}`) needs no second file. A default may be a variable: `${NAME:-${OTHER}}`.
"""

from __future__ import annotations

import os
import re
from typing import Any

from domainlm.yaml_lines import Fault

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^${}]*))?\}")
_NESTED = re.compile(r"\$\{[A-Za-z0-9_]*:-[^}]*\$\{")


def expand(value: Any, where: tuple[str | int, ...] = ()) -> tuple[Any, list[Fault]]:
    """The value with its variables replaced, at any depth, and a fault for each variable that is not set.

    As in a shell, the default holds where a variable is unset or empty; a variable without a default must be set.

    Args:
        value: what YAML gave: a mapping, a list or a scalar.
        where: its place in the file.
    """
    if isinstance(value, dict):
        kept: dict[Any, Any] = {}
        all_faults: list[Fault] = []
        for key, part in value.items():
            new_key, key_faults = expand(key, (*where, key))
            new, faults = expand(part, (*where, key))
            all_faults += key_faults + faults
            if new != "" or part == "":
                kept[new_key] = new
        return kept, all_faults
    if isinstance(value, list):
        items = [expand(part, (*where, index)) for index, part in enumerate(value)]
        return [new for new, _ in items], [fault for _, faults in items for fault in faults]
    if not isinstance(value, str):
        return value, []
    faults: list[Fault] = []

    def replacement(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        if given := os.environ.get(name):
            return given
        if default is None:
            faults.append((where, f"the environment variable {name} is not set; export {name}=..."))
        return default or ""

    inner = _VARIABLE.sub(replacement, value)  # innermost first
    # what a variable holds is taken as it stands: a second pass is for a default that was a variable alone
    return (_VARIABLE.sub(replacement, inner) if _NESTED.search(value) else inner), faults


def once(faults: list[Fault]) -> list[Fault]:
    """Each variable's fault where it is used first: a file may use it in many places."""
    return list({what: (where, what) for where, what in reversed(faults)}.values())[::-1]
