"""Applies a stack file of `infra/stacks/` to the project's ZenML store, idempotently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from domainlm.errors import ConfigurationError
from domainlm.project import home


def apply(path: Path) -> str:
    """Register or update every component of a stack, the stack itself, and make it the active one.

    Args:
        path: the stack file; `{home}` in its values stands for the project's `.domainlm` folder.

    Returns:
        The stack's name.

    Raises:
        ConfigurationError: the file is missing or is not a stack.
    """
    from zenml.client import Client
    from zenml.enums import StackComponentType

    wanted = _read(path)
    client = Client()
    components: dict[StackComponentType, Any] = {}
    for kind_name, component in wanted["components"].items():
        kind = StackComponentType(kind_name)
        configuration = component.get("configuration", {})
        found = client.list_stack_components(type=kind, name=component["name"]).items
        if not found:
            made = client.create_stack_component(component["name"], component["flavor"], kind, configuration)
        elif found[0].configuration != configuration:
            made = client.update_stack_component(found[0].id, kind, configuration=configuration)
        else:
            made = found[0]
        components[kind] = made.id
    stacks = client.list_stacks(name=wanted["name"]).items
    if not stacks:
        client.create_stack(wanted["name"], components)
    elif {kind: parts[0].id for kind, parts in stacks[0].components.items()} != components:
        client.update_stack(stacks[0].id, component_updates={kind: [found] for kind, found in components.items()})
    client.activate_stack(wanted["name"])
    return wanted["name"]


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8").replace("{home}", str(home()))
        content = yaml.safe_load(text)
        return {
            "name": content["name"],
            "components": {kind: dict(part) for kind, part in content["components"].items()},
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"is not a stack file ({type(error).__name__})", str(path), "see infra/stacks/local.yaml"
        ) from None
