"""The check of what a run configuration says to a cluster: `settings:` at the top and in steps, `schedule:`, `retry:`.

ZenML drops a settings key that its stack does not know, a pod specification's misspelled key, and `settings.resources`
on Kubernetes, each with no more than a line in a log; a wrong quantity comes back from the API server after the run was
made. Here they are faults with their line. The lists below are copied from ZenML 0.98, because importing it takes
seconds; a test compares them with the installed version.
"""

from __future__ import annotations

import re
from typing import Any

from domainlm.cluster.clear_secrets import secrets_in_clear
from domainlm.cluster.quantities import resource_faults
from domainlm.errors import nearest
from domainlm.yaml_lines import Fault

ORCHESTRATOR, OPERATOR = "orchestrator.kubernetes", "step_operator.domainlm"
SETTINGS = ("docker", ORCHESTRATOR, OPERATOR, "experiment_tracker.mlflow")
# KubernetesOrchestratorSettings without what is deprecated
ORCHESTRATOR_KEYS = frozenset(
    """synchronous service_account_name step_pod_service_account_name privileged pod_settings orchestrator_pod_settings
    job_name_prefix max_parallelism successful_jobs_history_limit failed_jobs_history_limit concurrency_policy
    starting_deadline_seconds ttl_seconds_after_finished active_deadline_seconds backoff_limit_margin
    orchestrator_job_backoff_limit fail_on_container_waiting_reasons job_monitoring_interval job_monitoring_delay
    interrupt_check_interval pod_failure_policy prevent_orchestrator_pod_caching always_build_pipeline_image
    pod_stop_grace_period api_request_timeout max_api_retries""".split()
)
# KubernetesStepOperatorSettings without what is deprecated
OPERATOR_KEYS = frozenset(
    """pod_settings pod_count service_account_name privileged job_name_prefix ttl_seconds_after_finished
    active_deadline_seconds fail_on_container_waiting_reasons api_request_timeout max_api_retries""".split()
)
# KubernetesPodSettings
POD_KEYS = frozenset(
    """node_selectors affinity tolerations resources annotations volumes volume_mounts host_ipc scheduler_name
    image_pull_secrets labels env env_from container_security_context additional_pod_spec_args""".split()
)
SCHEDULE_KEYS = frozenset(
    "name cron_expression start_time end_time interval_second catchup run_once_start_time".split()
)
RETRY_KEYS = frozenset("max_retries delay backoff".split())
# mappings whose keys Kubernetes or the institution names: `--set ...limits.nvidia.com/gpu=2`
NAMED_BY_OTHERS = ("requests", "limits", "labels", "annotations", "node_selectors")
PODS = ("pod_settings", "orchestrator_pod_settings")
_READABLE = frozenset("environment settings extra init_hook_kwargs".split())
_INSTEAD = "name a Secret of the cluster: pod_settings.env, valueFrom.secretKeyRef"
_KNOWN = {ORCHESTRATOR: ORCHESTRATOR_KEYS, OPERATOR: OPERATOR_KEYS}
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_IMAGE = re.compile(r"[\w.:/-]+?(?::(?P<tag>[\w.-]{1,128}))?(?:@sha256:(?P<digest>[0-9a-f]{64}))?")

Place = tuple[str | int, ...]


def settings_faults(content: dict[str, Any]) -> list[Fault]:
    """Everything in a run configuration that a cluster would refuse, or ZenML would drop without a word.

    Args:
        content: the configuration, variables replaced.
    """
    if faults := _secrets(content):
        return faults  # other faults quote what they are about
    whole = content.get("settings") or {}
    faults = _block(whole, ("settings",), {})
    for name, step in (content.get("steps") or {}).items():
        if isinstance(step, dict) and step.get("settings"):
            faults += _block(step["settings"], ("steps", name, "settings"), whole)
        if isinstance(step, dict):
            faults += _keys(step.get("retry"), ("steps", name, "retry"), RETRY_KEYS)
    faults += _keys(content.get("retry"), ("retry",), RETRY_KEYS)
    return faults + _schedule(content.get("schedule"))


def wanted_resources(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Step -> the resources of each of its pods, as a checked configuration asks; "" is the orchestrator's own pod.

    A step that the configuration does not name has the pods that the top of the file describes; they stand under "*".
    """
    whole = content.get("settings") or {}
    orchestrator = whole.get(ORCHESTRATOR) or {}
    found = {
        "": [_resources(orchestrator, "orchestrator_pod_settings")],
        "*": [_resources(orchestrator, "pod_settings")],
    }
    for name, step in (content.get("steps") or {}).items():
        merged = laid_over(whole, (step or {}).get("settings") or {})
        found[name] = [_resources(merged.get(ORCHESTRATOR) or {}, "pod_settings")]
        if (step or {}).get("step_operator"):
            found[name].append(_resources(merged.get(OPERATOR) or {}, "pod_settings"))
    return found


def wanted_images(content: dict[str, Any]) -> list[str]:
    """The images that a checked configuration names, each once."""
    whole = content.get("settings") or {}
    blocks = [whole, *((step or {}).get("settings") or {} for step in (content.get("steps") or {}).values())]
    return list(dict.fromkeys(str(image) for one in blocks if (image := (one.get("docker") or {}).get("parent_image"))))


def _secrets(content: dict[str, Any]) -> list[Fault]:
    """ZenML's server keeps the whole configuration, and the variables stand in each pod's specification."""
    faults: list[Fault] = []
    steps = content.get("steps") or {}
    blocks = [((), content), *((("steps", name), step) for name, step in steps.items() if isinstance(step, dict))]
    for where, block in blocks:
        for key in (key for key in block if key in _READABLE):
            faults += secrets_in_clear(block[key], (*where, key), _INSTEAD)
    return faults


def _resources(settings: dict[str, Any], pod: str) -> dict[str, Any]:
    return (settings.get(pod) or {}).get("resources") or {}


def _block(settings: Any, where: Place, inherited: dict[str, Any]) -> list[Fault]:
    if not isinstance(settings, dict):
        return [(where, "must be a mapping")]
    faults: list[Fault] = []
    for key, value in settings.items():
        place = (*where, key)
        if key == "resources":
            # without these the open-source version would start the pod with no limits at all
            right = f"write them under {'.'.join(map(str, where))}.{ORCHESTRATOR}.pod_settings.resources"
            faults.append((place, f"ZenML does not apply it to pods; {right}, for a step on the operator {OPERATOR}"))
        elif key not in SETTINGS:
            faults.append((place, f"unknown key; {nearest(str(key), SETTINGS)}"))
        elif not isinstance(value or {}, dict):
            faults.append((place, "must be a mapping"))
        elif key == "docker":
            faults += _image(laid_over(inherited.get(key) or {}, value or {}), (*place, "parent_image"))
        elif key in _KNOWN:
            faults += _keys(value, place, _KNOWN[key])
            merged = laid_over(inherited.get(key) or {}, value or {})
            for pod in PODS:
                if (value or {}).get(pod):
                    faults += _pod(value[pod], merged[pod], (*place, pod))
    return faults


def _pod(given: Any, merged: dict[str, Any], where: Place) -> list[Fault]:
    faults = _keys(given, where, POD_KEYS)
    if faults:
        return faults
    if "resources" in given:
        faults += resource_faults(merged["resources"], (*where, "resources"))
    for key, value in (given.get("labels") or {}).items():
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            faults.append(((*where, "labels", key), "must be up to 63 letters, digits, '-', '_' and '.'"))
    volumes = {volume.get("name") for volume in merged.get("volumes") or [] if isinstance(volume, dict)}
    key = "volume_mounts" if "volume_mounts" in given else "volumes"
    for index, mount in enumerate(merged.get("volume_mounts") or []):
        name = mount.get("name") if isinstance(mount, dict) else None
        if name not in volumes:
            known = nearest(str(name), map(str, volumes)) if volumes else "there are no volumes"
            faults.append(((*where, key, index), f"mounts the volume '{name}', which is not there; {known}"))
    return faults


def _image(docker: dict[str, Any], where: Place) -> list[Fault]:
    image = docker.get("parent_image")
    if not docker.get("skip_build") or image is None:
        return []
    match = _IMAGE.fullmatch(str(image))
    if not match:
        return [(where, f"'{image}' is no image: write registry/name:tag or registry/name@sha256:...")]
    if not match["digest"] and match["tag"] in (None, "latest"):
        return [(where, "names no image for good: give a tag other than latest, or a digest")]
    return []


def _schedule(schedule: Any) -> list[Fault]:
    if schedule is None:
        return []
    if faults := _keys(schedule, ("schedule",), SCHEDULE_KEYS):
        return faults
    fields = str(schedule.get("cron_expression") or "").split()
    # the five fields of crontab(5), and the macros that CronJobs know
    if len(fields) != 5 and " ".join(fields) not in ("@hourly", "@daily", "@weekly", "@monthly", "@yearly"):
        told = 'must have five fields, such as "30 2 * * *"; Kubernetes knows no other kind of schedule'
        return [(("schedule", "cron_expression"), told)]
    return []


def _keys(value: Any, where: Place, known: frozenset[str]) -> list[Fault]:
    if value is None:
        return []
    if not isinstance(value, dict):
        return [(where, "must be a mapping")]
    return [((*where, key), f"unknown key; {nearest(str(key), known)}") for key in value if key not in known]


def laid_over(outer: Any, inner: Any) -> Any:
    """As ZenML lays a step's settings over the pipeline's: mappings key by key, everything else as a whole."""
    if not (isinstance(outer, dict) and isinstance(inner, dict)):
        return inner
    return outer | {key: laid_over(outer.get(key), value) for key, value in inner.items()}
