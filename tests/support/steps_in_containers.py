"""Inside an image under test: submit the small pipeline, and be the orchestrator that leaves its steps to others.

The test mounts this folder at /support and runs `python -m steps_in_containers CONFIGURATION` in a container: keys,
ledger, ZenML store and stack are made in /var/lib/domainlm, the pipeline is compiled there, and what has to run is
printed as one line of JSON. The test then starts each step's own entry point in a container of its own. Everything lies
in one volume, so that no container needs a network.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from zenml.entrypoints.step_entrypoint_configuration import StepEntrypointConfiguration
from zenml.enums import ExecutionMode, StackComponentType
from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

RUN_VARIABLE = "STEPS_IN_CONTAINERS_RUN"
NAME = "steps_in_containers"
SUBMITTED = Path("/var/lib/domainlm/submitted.json")


class StepsInContainers(BaseOrchestrator):
    """Writes down the commands that a real orchestrator would give to pods, in an order that respects the DAG."""

    @property
    def supported_execution_modes(self) -> list[ExecutionMode]:
        return [ExecutionMode.FAIL_FAST]

    def get_orchestrator_run_id(self) -> str:
        return os.environ[RUN_VARIABLE]

    def submit_pipeline(self, snapshot: Any, **_: Any) -> None:
        steps = {
            name: [
                *StepEntrypointConfiguration.get_entrypoint_command(),
                *StepEntrypointConfiguration.get_entrypoint_arguments(step_name=name, snapshot_id=snapshot.id),
            ]
            for name in snapshot.step_configurations
        }
        SUBMITTED.write_text(json.dumps(steps))


class StepsInContainersFlavor(BaseOrchestratorFlavor):
    """Registers it with ZenML."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def config_class(self) -> type[BaseOrchestratorConfig]:
        return BaseOrchestratorConfig

    @property
    def implementation_class(self) -> type[BaseOrchestrator]:
        return StepsInContainers


def submit(configuration: str) -> None:
    """Make what a run needs and submit it."""
    from zenml.client import Client

    from cli import stack
    from domainlm.keys import create_development_key
    from domainlm.ledger.trust.bootstrap import bootstrap
    from domainlm.project import SOURCE_ROOT
    from pipelines.finetuning import finetuning_pipeline

    create_development_key()
    bootstrap()
    stack.apply(SOURCE_ROOT / "infra" / "stacks" / "local.yaml")
    client = Client()
    client.create_flavor(f"{NAME}.StepsInContainersFlavor", StackComponentType.ORCHESTRATOR)
    client.create_stack_component(NAME, NAME, StackComponentType.ORCHESTRATOR, configuration={})
    components = {kind: found[0].id for kind, found in client.active_stack_model.components.items()}
    client.create_stack(NAME, components | {StackComponentType.ORCHESTRATOR: NAME})
    client.activate_stack(NAME)
    finetuning_pipeline.with_options(config_path=configuration)()
    print(SUBMITTED.read_text())


def status() -> None:
    """Print what the store says of the last run, and what its manifest says of code and authors."""
    from zenml.client import Client

    from domainlm.ledger.run.manifest import manifest_folder, read

    run = Client().list_pipeline_runs(size=1, sort_by="desc:created", hydrate=True).items[0]
    manifest = read(manifest_folder() / f"{run.id}.json")
    print(
        json.dumps(
            {
                "status": str(run.status.value),
                "steps": {name: str(step.status.value) for name, step in run.steps.items()},
                "manifest": manifest.status,
                "code": {name: manifest.code[name] for name in ("commit", "dirty")},
                "authors": manifest.authors.model_dump(),
                "files": manifest.code["files"],
            }
        )
    )


if __name__ == "__main__":
    submit(sys.argv[1]) if len(sys.argv) > 1 else status()
