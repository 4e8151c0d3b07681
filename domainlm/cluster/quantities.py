"""Kubernetes' quantities (`500m`, `16Gi`, `1e3`), read as the API server reads them.

Source: k8s.io/apimachinery resource.Quantity and the validation of containers' resources (core/v1). A schema takes any
string; only a server, or this module, sees that `memory: lots` or `16GB` is no quantity.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from domainlm.yaml_lines import Fault

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+)?")
_SUFFIX = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_SUFFIX |= {suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)}
_SUFFIX |= {f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}
KINDS = ("requests", "limits")
NATIVE = ("cpu", "memory", "ephemeral-storage")


def amount(quantity: str) -> Decimal:
    """The number that a quantity stands for: cores, bytes, pieces.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(quantity)
    if not match:
        raise ValueError(quantity)
    number, suffix = match.group(1), match.group(2) or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei":
        return Decimal(number + suffix)
    return Decimal(number) * _SUFFIX[suffix]


def resource_faults(resources: Any, where: tuple[str | int, ...]) -> list[Fault]:
    """What an API server would refuse in a container's resources, and what it would take but nobody can mean.

    Args:
        resources: `{requests: {...}, limits: {...}}`.
        where: its place in the file.
    """
    if not isinstance(resources, dict):
        return [(where, "must map requests and limits to quantities")]
    faults: list[Fault] = [
        ((*where, kind), "unknown key; known: limits, requests") for kind in resources if kind not in KINDS
    ]
    amounts: dict[str, dict[str, Decimal]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        values = resources.get(kind) or {}
        if not isinstance(values, dict):
            faults.append(((*where, kind), "must map names of resources to quantities"))
            continue
        for name, value in values.items():
            fault, found = _checked(str(name), value)
            if fault:
                faults.append(((*where, kind, name), fault))
            elif found is not None:
                amounts[kind][str(name)] = found
    for name, wanted in amounts["requests"].items():
        limit = amounts["limits"].get(name)
        if limit is not None and wanted > limit:
            told = f"asks for {resources['requests'][name]}, more than its limit {resources['limits'][name]}"
            faults.append(((*where, "requests", name), told))
        if "/" in name and limit is None:
            faults.append(((*where, "requests", name), "a device is asked for under limits"))
        elif "/" in name and wanted != limit:
            faults.append(((*where, "requests", name), "must equal its limit: devices are not shared out by request"))
    return faults


def _checked(name: str, value: Any) -> tuple[str, Decimal | None]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "must be a quantity such as 500m or 16Gi", None
    if not isinstance(value, str):
        return f'must be text: write "{value}"', None  # ZenML's model takes strings only
    try:
        found = amount(value)
    except ValueError:
        return f"'{value}' is no quantity: write cores as 2 or 500m, bytes as 16Gi", None
    if found < 0:
        return f"'{value}' is less than nothing", None
    if name not in NATIVE and "/" not in name and not name.startswith("hugepages-"):
        return "unknown resource; known: cpu, memory, ephemeral-storage, and devices such as nvidia.com/gpu", None
    if "/" in name and found % 1:
        return f"'{value}': devices come whole", None
    if name == "cpu" and found % Decimal("0.001"):
        return f"'{value}' is finer than a thousandth of a core (1m)", None
    if name == "memory" and 0 < found < 1024**2:
        return f"'{value}' is less than a mebibyte: {value} means {found.normalize():f} bytes", None
    return "", found
