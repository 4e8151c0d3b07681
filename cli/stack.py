"""`domainlm stack`: a stack file of `infra/stacks/` registered with ZenML, checked, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape

from cli.environment import enter_project, from_here, quiet_libraries
from domainlm.cluster.settings import ComponentSettings, StackFile, find_stack, read_stack
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError

if TYPE_CHECKING:
    from uuid import UUID

    from zenml.client import Client
    from zenml.enums import StackComponentType

app = typer.Typer(help="Register, check and show stacks: where a run works.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A file of infra/stacks without its ending, or a path.", callback=from_here)]
Config = Annotated[
    Path | None, typer.Option("-c", "--config", help="Also check what the pods of this run configuration ask for.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in `domainlm run`.")]
_MARK = {"ok": "[green]ok[/]", "warning": "[yellow]look[/]", "failed": "[red]no[/]"}


class Applied(NamedTuple):
    """A stack as ZenML has it now.

    Args:
        name: its name.
        changes: what was added or changed, a line each; empty where everything stood already.
    """

    name: str
    changes: list[str]


@app.command("apply")
def apply_stack(name: Name, config: Config = None, overrides: Overrides = None) -> None:
    """Register or update a stack and all its components, then check that a run could use it. Safe to repeat."""
    console = Console(highlight=False, soft_wrap=True)
    stack, content = _entered(name, config, overrides)
    applied = apply(stack.path)
    for change in applied.changes:
        console.print(f"  {escape(change)}")
    if not applied.changes:
        console.print("  nothing to change")
    if stack.remote and not _checked(stack, content, console):
        console.print(f"[bold red]not ready[/]: stack {applied.name} is registered, but a run could not use it")
        raise typer.Exit(1)
    console.print(f"[green]ready[/]: stack {applied.name}")


@app.command("check")
def check_stack(name: Name, config: Config = None, overrides: Overrides = None) -> None:
    """Check that a run could use a stack: cluster, permissions, store, registry, server, MLflow. Changes nothing."""
    console = Console(highlight=False, soft_wrap=True)
    stack, content = _entered(name, config, overrides)
    if not stack.remote:
        console.print(
            f"[green]ready[/]: {stack.settings.name} works in this project's folder; there is nothing to reach"
        )
        return
    good = _checked(stack, content, console)
    if changes := apply(stack.path, only_say=True).changes:
        console.print(f"  {_MARK['failed']}  registered stack: is not what the file says")
        for change in changes:
            console.print(f"        {escape(change)}")
        console.print(f"        -> domainlm stack apply {escape(name)}")
    if changes or not good:
        console.print(f"[bold red]not ready[/]: {stack.settings.name}")
        raise typer.Exit(1)
    console.print(f"[green]ready[/]: {stack.settings.name}")


@app.command("show")
def show(name: Name) -> None:
    """Show a stack file with its variables replaced. Secrets are named, never shown."""
    import yaml

    enter_project(ready=False)
    stack = find_stack(name)
    content = stack.settings.model_dump(mode="json", exclude_defaults=True)
    content["components"] = {
        kind: component.model_dump(mode="json", exclude_defaults=True) for kind, component in stack.components().items()
    }
    print(yaml.safe_dump(content, sort_keys=False), end="")


def apply(path: Path, *, only_say: bool = False) -> Applied:
    """Register or update every component of a stack, the stack itself, and make it the active one.

    The process must have entered the stack (`StackFile.enter`), where it has a server.

    Args:
        path: the stack file.
        only_say: change nothing, and say what would be: a run must not use another stack than the one that was checked.

    Raises:
        ConfigurationError, SecretError: the file or one that it names cannot be used.
    """
    from zenml.client import Client
    from zenml.enums import StackComponentType

    stack = read_stack(path)
    changes: list[str] = []
    client = Client()
    for name in stack.settings.secrets:
        changes += _secret(client, name, stack.secret_values(name), only_say)
    components: dict[StackComponentType, Any] = {}
    for kind_name, component in stack.components().items():
        kind = StackComponentType(kind_name)
        if component.flavor == "domainlm":
            changes += _flavor(client, kind, only_say)
        components[kind], change = _component(client, kind, component, only_say)
        changes += change
    found = client.list_stacks(name=stack.settings.name).items
    wanted = {kind: [one] for kind, one in components.items()}
    if not found:
        changes.append(f"stack {stack.settings.name}: added")
        if not only_say:
            client.create_stack(stack.settings.name, components)
    elif {kind: [part.id for part in parts] for kind, parts in found[0].components.items() if parts} != wanted:
        changes.append(f"stack {stack.settings.name}: changed")
        if not only_say:
            others = {kind: [] for kind in found[0].components if kind not in wanted}
            client.update_stack(found[0].id, component_updates=wanted | others)
    if not only_say:
        client.activate_stack(stack.settings.name)
    return Applied(stack.settings.name, changes)


def require_applied(stack: StackFile) -> None:
    """Go on only where ZenML has the stack as its file and the environment say now: that is what was checked.

    Raises:
        ConfigurationError: it has another, or none; with every difference.
        SecretError: a file that the stack names cannot be used.
    """
    if changes := apply(stack.path, only_say=True).changes:
        said = "\n".join(["the registered stack is not what the file says; it would have to be:", *changes])
        raise ConfigurationError(said, str(stack.path), f"domainlm stack apply {stack.path.stem}")


def _entered(name: str, config: Path | None, overrides: list[str] | None) -> tuple[StackFile, dict[str, Any] | None]:
    config = config.resolve() if config else None
    enter_project(ready=False)
    content = RunConfiguration.load(config, overrides).content if config else None
    stack = find_stack(name)
    stack.enter()
    quiet_libraries()
    if stack.remote:
        from domainlm.cluster.services import require_server

        require_server(stack)  # before ZenML is imported: it would try for minutes, and mend a skewed version by itself
    return stack, content


def _checked(stack: StackFile, content: dict[str, Any] | None, console: Console) -> bool:
    from domainlm.cluster.check import check

    findings = check(stack, content)
    for finding in findings:
        console.print(f"  {_MARK[finding.state]}  {escape(finding.subject)}: {escape(finding.said)}")
        if finding.remedy:
            console.print(f"        -> {escape(finding.remedy)}")
    return not any(finding.state == "failed" for finding in findings)


def _secret(client: Client, name: str, values: dict[str, str], only_say: bool) -> list[str]:
    try:
        found = client.get_secret(name, allow_partial_name_match=False, allow_partial_id_match=False)
    except KeyError:
        if not only_say:
            client.create_secret(name, values)
        return [f"secret {name}: added"]
    if found.secret_values == values:
        return []
    if not only_say:
        gone = [key for key in found.secret_values if key not in values]
        client.update_secret(found.id, add_or_update_values=values, remove_values=gone)
    return [f"secret {name}: changed"]


def _flavor(client: Client, kind: StackComponentType, only_say: bool) -> list[str]:
    from zenml.models import FlavorUpdate

    from steps.operator import FLAVOR, StepOperatorFlavor

    source = f"{StepOperatorFlavor.__module__}.{StepOperatorFlavor.__name__}"
    known = client.list_flavors(name=FLAVOR, type=kind.value, hydrate=True).items
    if not known:
        if not only_say:
            client.create_flavor(source, kind)
        return [f"flavor {FLAVOR}: added"]
    schema = StepOperatorFlavor().config_schema
    if known[0].source == source and known[0].config_schema == schema:
        return []
    if not only_say:
        client.zen_store.update_flavor(known[0].id, FlavorUpdate(source=source, config_schema=schema))
    return [f"flavor {FLAVOR}: changed"]


def _component(
    client: Client, kind: StackComponentType, wanted: ComponentSettings, only_say: bool
) -> tuple[UUID | None, list[str]]:
    """The component's id (None where it would have to be made) and what changed."""
    name, configuration = wanted.name, wanted.configuration
    found = client.list_stack_components(type=kind, name=name, hydrate=True).items
    if not found:
        made = None if only_say else client.create_stack_component(name, wanted.flavor, kind, configuration).id
        return made, [f"{kind.value} {name}: added"]
    known = found[0]
    if known.flavor_name != wanted.flavor:
        raise ConfigurationError(
            f"is a component of flavor {known.flavor_name}, not {wanted.flavor}", f"{kind.value} {name}",
            f"give it another name, or delete it: zenml {kind.value.replace('_', '-')} delete {name}",
        )  # fmt: skip
    if known.configuration == configuration:
        return known.id, []
    gone = {key: None for key in known.configuration if key not in configuration}
    if not only_say:
        client.update_stack_component(known.id, kind, configuration=configuration | gone)
    keys = sorted(key for key in configuration | gone if known.configuration.get(key) != configuration.get(key))
    return known.id, [f"{kind.value} {name}: changed ({', '.join(keys)})"]
