"""A ZenML orchestrator for tests: every step is a process of its own with an empty home, as a pod on another machine.

It stands for a cluster where a test asks what steps need and leave behind, not how a cluster runs them
(`kubernetes_stub` does that). A process sees its pod's variables only: ZenML's server, the key file, the store's
credentials; its home is thrown away when it ends, and so is whatever a step left there.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any
from uuid import uuid4

from zenml.config.base_settings import BaseSettings
from zenml.entrypoints.step_entrypoint_configuration import StepEntrypointConfiguration
from zenml.enums import ExecutionMode
from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

RUN_VARIABLE = "PODS_AS_PROCESSES_RUN"
STEP_TIMEOUT_S = 600
FLAVOR = "pods_as_processes.PodsAsProcessesFlavor"


class PodsAsProcessesConfig(BaseOrchestratorConfig):
    """Which Python runs the steps, and what each of their processes finds in its environment.

    Args:
        python: the interpreter of the image.
        project: the folder of the code, as /app in the image.
        variables: a file, JSON of the pods' environment.
        variables_of: JSON, step -> variables that its pod alone has.
    """

    python: str
    project: str
    variables: str
    variables_of: str = "{}"

    @property
    def is_remote(self) -> bool:
        return True

    @property
    def is_local(self) -> bool:
        return False


class PodsAsProcesses(BaseOrchestrator):
    """Starts the steps one after the other; the first that fails ends the run."""

    config: PodsAsProcessesConfig

    @property
    def supported_execution_modes(self) -> list[ExecutionMode]:
        return [ExecutionMode.FAIL_FAST]

    def get_orchestrator_run_id(self) -> str:
        return os.environ[RUN_VARIABLE]

    def submit_pipeline(
        self, snapshot: Any, stack: Any, base_environment: Any, step_environments: Any, placeholder_run: Any = None
    ) -> None:
        run = str(uuid4())
        for step in snapshot.step_configurations:
            variables = json.loads(Path(self.config.variables).read_text())
            variables |= json.loads(self.config.variables_of).get(step, {})
            with tempfile.TemporaryDirectory(prefix="pod-") as place:
                done = subprocess.run(
                    [
                        self.config.python, *StepEntrypointConfiguration.get_entrypoint_command()[1:],
                        *StepEntrypointConfiguration.get_entrypoint_arguments(step_name=step, snapshot_id=snapshot.id),
                    ],
                    env=pod_environment(Path(place), self.config.project, step)
                    | step_environments[step] | variables | {RUN_VARIABLE: run},
                    cwd=self.config.project, timeout=STEP_TIMEOUT_S, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip
            if log := os.environ.get("PODS_AS_PROCESSES_LOGS"):
                (Path(log) / f"{run}-{step}.log").write_text(done.stdout)
            if done.returncode:
                return


class PodsAsProcessesFlavor(BaseOrchestratorFlavor):
    """Registers it with ZenML."""

    @property
    def name(self) -> str:
        return "pods_as_processes"

    @property
    def config_class(self) -> type[PodsAsProcessesConfig]:
        return PodsAsProcessesConfig

    @property
    def implementation_class(self) -> type[BaseOrchestrator]:
        return PodsAsProcesses

    @property
    def settings_class(self) -> type[BaseSettings] | None:
        return None


def pod_environment(place: Path, project: str, step: str) -> dict[str, str]:
    """What the image and the downward API give a pod: folders of its own, its name and its node."""
    for name in ("home", "tmp"):
        (place / name).mkdir()
    return {
        "PATH": os.environ["PATH"], "HOME": str(place / "home"), "TMPDIR": str(place / "tmp"),
        "DOMAINLM_HOME": str(place / "state"), "DOMAINLM_PROJECT": project, "DOMAINLM_PLACE": "pod",
        "DOMAINLM_POD": f"{step.replace('_', '-')}-{uuid.uuid4().hex[:5]}", "DOMAINLM_POD_UID": str(uuid.uuid4()),
        "DOMAINLM_NODE": socket.gethostname(), "DOMAINLM_NAMESPACE": "domainlm",
        "DOMAINLM_IMAGE": "registry.bank.example/domainlm:0.1.0-cpu",
        "ZENML_CONFIG_PATH": str(place / "zenml"), "ZENML_CUSTOM_SOURCE_ROOT": project,
        "ZENML_ANALYTICS_OPT_IN": "false", "ZENML_ENABLE_RICH_TRACEBACK": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "true", "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(place / "huggingface"), "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
