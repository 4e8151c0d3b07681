"""A batch again under its old configuration: the parameters of an earlier run in place of the file's.

The run's manifest holds every parameter of every step as it was compiled, defaults too. What is taken from it shapes
the model (steps and pipeline parameters); where the run works, and what may land and when to train, stay as the file
says, since the zone may lie elsewhere by now.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domainlm.config import STEP_SETTINGS, PipelineSettings, settings_type
from domainlm.errors import ConfigurationError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.machine import process_gone
from domainlm.ledger.run.manifest import RunManifest
from domainlm.names import CONTEST, DECIDE, DETECT, SETTLE

OF_NOW = frozenset({DETECT, DECIDE, SETTLE})  # what is not the old run's


def as_run(run_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A run configuration with the parameters of an earlier run.

    Args:
        run_id: the run, or the beginning of its id.
        content: of the present configuration; it is not changed.

    Raises:
        ConfigurationError: there is no such run here, or several; or it is still at work.
    """
    found = manifest_of(run_id)
    steps = {name: dict(step or {}) for name, step in (content.get("steps") or {}).items()}
    for name, parameters in told(found).items():
        steps[name] = steps.get(name, {}) | {"parameters": parameters}
    for name in steps.keys() - OF_NOW - {step.name for step in found.steps}:
        steps[name].pop("parameters", None)  # the run had no such step, or was told nothing
    pipeline = {
        name: value
        for name, value in found.configuration.get("parameters", {}).items()
        if name in PipelineSettings.model_fields
    }
    return dict(content) | {"steps": steps, "parameters": pipeline}


def told(run: RunManifest) -> dict[str, dict[str, Any]]:
    """Step -> the settings that it had, without what a pipeline handed in beside them (policies, contracts)."""
    return {
        step.name: {
            name: value for name, value in step.parameters.items() if name in settings_type(step.name).model_fields
        }
        for step in run.steps
        if step.name in STEP_SETTINGS and step.name not in OF_NOW
    }


def differences(run: RunManifest, parameters: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Settings in which a run differs from an earlier one, as `step.setting`; `contest` judges and shapes no model.

    Args:
        run: the earlier one.
        parameters: step -> settings, of the present one.
    """
    before = told(run)
    return sorted(
        f"{step}.{name}"
        for step in before.keys() & parameters.keys() - {CONTEST}
        for name, value in before[step].items()
        if parameters[step].get(name, value) != value
    )


def manifest_of(run_id: str) -> RunManifest:
    """The manifest of a run of this project.

    Raises:
        ConfigurationError: there is none, or several begin so, or it is still at work.
        ArtifactError: it was changed.
    """
    paths = _manifests(run_id)
    if len(paths) != 1:
        what = "several runs begin so" if len(paths) > 1 else "there is no such run in this project"
        remedy = "give the whole id; `domainlm batches show BATCH` names the run that learnt from a batch"
        raise ConfigurationError(what, f"run {run_id}", remedy)
    found = manifests.read(paths[0])
    if found.status == manifests.RUNNING:
        raise ConfigurationError("is at work: not all that it was told is known", f"run {run_id}", "wait for its end")
    return found


def left_running(run_id: str) -> bool:
    """Whether a manifest still says that its run is at work, and its process on this machine is gone."""
    found = [manifests.read(path) for path in _manifests(run_id)]
    return any(one.status == manifests.RUNNING and process_gone(one.environment) for one in found)


def _manifests(run_id: str) -> list[Path]:
    paths = sorted(manifests.manifest_folder().glob("*.json"))
    return [path for path in paths if run_id and path.stem.startswith(run_id)]
