"""`domainlm cluster manifest`: the objects that a run would ask a cluster for, to read and to check beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="What a run asks of a Kubernetes cluster.", no_args_is_help=True)


@app.callback()
def commands() -> None:
    """Kept so that typer shows commands even if there is only one."""


@app.command("manifest")
def manifest(
    what: Annotated[Literal["train", "ray"], typer.Argument(help="train: the training's pods; ray: its data cluster.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The run configuration.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", envvar="DOMAINLM_NAMESPACE", help="Where it would be created.")
    ] = "domainlm",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="dotted.key=value; wins over the configuration. Repeatable.")
    ] = None,
) -> None:
    """Print the objects as YAML; nothing is created."""
    import yaml

    from cli.environment import enter_project

    config = config.resolve()
    enter_project(ready=False)
    from domainlm.config import RunConfiguration

    content = RunConfiguration.load(config, overrides).content
    from cli.pod_objects import OBJECTS

    class Plain(yaml.SafeDumper):
        """Without anchors: what stands twice is written twice."""

        def ignore_aliases(self, data: object) -> bool:
            """Always."""
            return True

    print(yaml.dump_all(OBJECTS[what](content, namespace), Dumper=Plain, sort_keys=False, width=120), end="")
