"""Why a pod failed or waits, in words that a person can act on: what happened, and which key to change.

Pure functions over the API's JSON (pods, Jobs, events, nodes), so that tests use objects that a real cluster answered.
Kubernetes says things at four places, and a later place knows more than an earlier one: a container's state (OOMKilled,
ImagePullBackOff), the pod (Evicted), its conditions (Unschedulable, DisruptionTarget), and events (a volume that
cannot be mounted, a pod that a quota or an admission forbids: then there is a Job without any pod).

What Kubernetes says is about objects, images and nodes, never about data, so its messages are shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from domainlm.cluster import run_settings
from domainlm.cluster.pods import (
    MAIN,
    ORCHESTRATOR,
    PENDING,
    Object,
    condition_of,
    container_states,
    name_of,
    uid_of,
)
from domainlm.cluster.quantities import amount

UNSCHEDULABLE = "Unschedulable"
QUOTA, ADMISSION, ACCOUNT = "QuotaExceeded", "AdmissionRefused", "NoServiceAccount"
DEADLINE, NODE_LOST = "DeadlineExceeded", "NodeLost"
NO_VOLUME, NOT_ATTACHED = "FailedMount", "FailedAttachVolume"
IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
LACKS_PACKAGE = "ImageWithoutPackage"  # said by a log (`domainlm.cluster.logs`)
GPU = "nvidia.com/gpu"
KILLED, TERMINATED = 128 + 9, 128 + 15  # exit codes of a process that SIGKILL or SIGTERM ended
# Never mended by waiting: a name, a right or a rule is wrong.
HOPELESS = ("InvalidImageName", "ErrImageNeverPull", ADMISSION)
_NO_PROGRAM = re.compile(r'exec: "([^"]+)": (executable file not found|.*no such file)')
_AGAIN = "start the run again; what is complete comes from the cache"
_LONG = 400  # characters of a message of Kubernetes


class Reason(NamedTuple):
    """Why something is as it is.

    Args:
        code: Kubernetes' own word where it has one; what programs and tests compare.
        what: what happened, with the asked and the offered quantity where there are such.
        remedy: what to change.
        pod: the pod that it is about, if there is one.
    """

    code: str
    what: str
    remedy: str = ""
    pod: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.what}" + (f"\n  -> {self.remedy}" if self.remedy else "")


class Keys:
    """Where in the run configuration the pod of a step is described: always the step's own place, which goes before
    what is said for all steps, and changes nothing for the others.

    Args:
        step: the step; `ORCHESTRATOR` for the pod that starts the steps.
        operator: whether the pod is the step operator's.
    """

    def __init__(self, step: str, operator: bool = False) -> None:
        component = run_settings.OPERATOR if operator else run_settings.ORCHESTRATOR
        self._place = f"settings.{component}" if step == ORCHESTRATOR else f"steps.{step}.settings.{component}"
        self._pod = "orchestrator_pod_settings" if step == ORCHESTRATOR else "pod_settings"

    def pod(self, *path: str) -> str:
        """The dotted key of something of the pod's settings."""
        return self.at(self._pod, *path)

    def at(self, *path: str) -> str:
        """The dotted key of a setting of the component that makes the pod."""
        return ".".join((self._place, *path))


def of_pod(
    pod: Object, keys: Keys, events: Sequence[Object] = (), nodes: Sequence[Object] | None = None
) -> Reason | None:
    """Why a pod failed or does not start; None where it runs, has done its work, or has hardly begun.

    Args:
        pod: the API's JSON.
        keys: where its settings stand.
        events: events; those of other objects are passed over.
        nodes: the cluster's nodes, to say how much the largest one has; None where they may not be listed.
    """
    phase = (pod.get("status") or {}).get("phase")
    if phase == "Failed":
        found = _evicted(pod, keys) or _disrupted(pod) or _terminated(pod, keys)
    elif phase == PENDING:
        found = _unschedulable(pod, keys, nodes) or _waiting(pod, keys) or _not_mounted(pod, events)
    else:
        # a pod that is being evicted, or whose node is gone, stays "Running" until somebody can tell
        found = _disrupted(pod)
    return found._replace(pod=name_of(pod)) if found else None


def of_job(job: Object, keys: Keys, events: Sequence[Object] = ()) -> Reason | None:
    """What a Job says beyond its pods: its time was over, or its pods may not even be made."""
    failed = condition_of(job, "Failed")
    if failed.get("reason") == DEADLINE:
        seconds = job["spec"].get("activeDeadlineSeconds")
        return Reason(DEADLINE, f"the Job {name_of(job)} did not end within {seconds} s and was ended",
                      f"raise {keys.at('active_deadline_seconds')}")  # fmt: skip
    if failed.get("reason") == "PodFailurePolicy":
        return Reason(
            "PodFailurePolicy", _short(failed.get("message", "")), "the exit code says that another try is useless"
        )
    for event in reversed(events):
        if event["involvedObject"].get("uid") == uid_of(job) and event.get("reason") == "FailedCreate":
            return _forbidden(event.get("message", ""), keys)
    return None


def of_job_gone(job: Object, events: Sequence[Object], keys: Keys) -> Reason | None:
    """Why the pods of a Job failed that is gone with them, by the events that outlive both.

    ZenML's orchestrator deletes the Job of a pod whose image cannot be had, so that a look may come too late.
    """
    for event in reversed(events):
        about = event.get("involvedObject") or {}
        if about.get("kind") != "Pod" or not about.get("name", "").startswith(f"{name_of(job)}-"):
            continue
        message = event.get("message", "")
        spec = job["spec"]["template"]["spec"]
        image = next((one["image"] for one in spec["containers"] if one["name"] == MAIN), "")
        if (
            event.get("reason") in ("Failed", "InspectFailed")
            and "image" in message
            and not message.startswith("Error: ")
        ):
            return _image("InvalidImageName" if "parse" in message else "ErrImagePull", image, message)
        if event.get("reason") == "Failed" and "not found" in message:
            return _no_config("CreateContainerConfigError", message.removeprefix("Error: "))
        if event.get("reason") == "FailedScheduling":
            return _why_unschedulable({"metadata": {}, "spec": spec}, message, keys, None)
    return None


def lacks_something(pod: Object, why: Reason) -> bool:
    """Whether the image of a pod that ended lacks a program or a module, so that every further pod of it ends alike.

    Args:
        pod: the API's JSON. A container that the node could not start for another cause may start on a healthy one.
        why: why it ended; of a module its log tells, but only after an end of its own: a process that was asked to end
            may have lived well with what an import that it tried said long before.
    """
    states = [ended for _, state in container_states(pod) if (ended := state.get("terminated"))]
    if why.code == LACKS_PACKAGE:
        return all(ended.get("exitCode") not in (KILLED, TERMINATED) for ended in states)
    return any(_NO_PROGRAM.search(ended.get("message") or "") for ended in states)


# ---------------------------------------------------------------------------------------------- a pod that ended


def _evicted(pod: Object, keys: Keys) -> Reason | None:
    """What the node's kubelet says of the whole pod; it then kills the container, whose exit code says nothing."""
    status = pod["status"]
    reason, message = status.get("reason") or "", status.get("message") or ""
    if reason == "Evicted":
        if volume := re.search(r'EmptyDir volume "([^"]+)" exceeds the limit "([^"]+)"', message):
            what = f"the volume '{volume[1]}' grew over its limit of {volume[2]}"
            return Reason(reason, what, f"raise the sizeLimit of '{volume[1]}' in {keys.pod('volumes')}")
        if "ephemeral" in message and "exceed" in message:
            return Reason(reason, _short(message), f"raise {keys.pod('resources', 'limits', 'ephemeral-storage')}")
        if low := re.search(r"low on resource: ([\w-]+)", message):
            what = f"the node {pod['spec'].get('nodeName', '')} ran low on {low[1]}"
            if used := re.search(r"was using (\S+?),", message):
                what += (
                    f"; the container used {used[1]}, asked {_asked(pod, _resource(low[1]), 'requests') or 'nothing'}"
                )
            return Reason(reason, what, f"raise {keys.pod('resources', 'requests', _resource(low[1]))}: who uses more "
                          "than was asked is evicted first")  # fmt: skip
        return Reason(reason, _short(message), "the node took its room back; start the run again")
    if reason in ("NodeLost", "NodeShutdown", "Shutdown", "Terminated"):
        return _lost(pod, _short(message))
    if reason == DEADLINE:
        return Reason(reason, _short(message), f"raise {keys.at('active_deadline_seconds')}")
    if reason == "UnexpectedAdmissionError" or reason.startswith("OutOf"):
        return Reason(reason, _short(message), "the node had less than the scheduler thought; start the run again")
    return None


_DISRUPTIONS = {
    "EvictionByEvictionAPI": ("its node is being drained, or somebody evicted it", ""),
    "PreemptionByScheduler": (
        "a pod of a higher priority took its place",
        "give training the priority class of its own",
    ),
    "DeletionByTaintManager": ("its node got a taint that it does not tolerate, or does not answer", ""),
    "DeletionByPodGC": ("its node is gone from the cluster", ""),
    "TerminationByKubelet": ("its node shut down or ran out of room", ""),
}


def _disrupted(pod: Object) -> Reason | None:
    condition = condition_of(pod, "DisruptionTarget")
    if not condition:
        return None
    reason = condition.get("reason", "")
    if reason in ("DeletionByTaintManager", "DeletionByPodGC"):
        return _lost(pod, _DISRUPTIONS[reason][0])
    what, remedy = _DISRUPTIONS.get(reason, (_short(condition.get("message", "")), ""))
    return Reason("Evicted", f"{what} ({reason}, node {pod['spec'].get('nodeName') or 'unknown'})",
                  remedy or _AGAIN)  # fmt: skip


def _lost(pod: Object, what: str) -> Reason:
    node = pod["spec"].get("nodeName") or "unknown"
    return Reason(NODE_LOST, f"node {node}: {what}", _AGAIN)


def _terminated(pod: Object, keys: Keys) -> Reason | None:
    for container, state in container_states(pod):
        ended = state.get("terminated")
        if not ended or ended.get("exitCode") == 0:
            continue
        code, reason = ended.get("exitCode"), ended.get("reason") or ""
        place = "" if container == MAIN else f"container {container}: "
        if reason == "OOMKilled":
            asked = _asked(pod, "memory", "limits")
            return Reason(reason, f"{place}asked {asked or 'nothing'}, and needed more memory",
                          f"raise {keys.pod('resources', 'limits', 'memory')}")  # fmt: skip
        if reason in ("StartError", "ContainerCannotRun", "RunContainerError"):
            missing = _NO_PROGRAM.search(ended.get("message") or "")
            what = f"the image has no '{missing[1]}'" if missing else _short(ended.get("message") or "")
            return Reason(reason, place + what, f"is {_image_of(pod)} the project's image? see docs/image.md")
        if code == KILLED:
            return Reason("Killed", f"{place}exit {code}, but not by its own memory limit: the node was short of it, "
                          "a grace period was over, or somebody did it", f"see the node's log; if it is memory, raise "
                          f"{keys.pod('resources', 'requests', 'memory')}")  # fmt: skip
        if code == TERMINATED:
            return Reason("Terminated", f"{place}exit {code}: it was asked to end", "somebody or something stopped it")
        return Reason("Error", f"{place}exit {code}")
    return None


# ---------------------------------------------------------------------------------------------- a pod that waits


def _waiting(pod: Object, keys: Keys) -> Reason | None:
    for container, state in container_states(pod):
        waiting = state.get("waiting")
        if not waiting:
            continue
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason in IMAGE:
            return _image(reason, _image_of(pod, container), message)
        if reason == "CreateContainerConfigError":
            return _no_config(reason, message)
        if reason in ("CreateContainerError", "RunContainerError", "CrashLoopBackOff"):
            return Reason(reason, _short(message), f"see {keys.pod()}")
    return None


def _image(reason: str, image: str, message: str) -> Reason:
    if reason == "InvalidImageName":
        return Reason(reason, f"'{image}' is no image name", "set DOMAINLM_IMAGE to REGISTRY/NAME:TAG, in lower case")
    cause = message.rpartition("failed to do request: ")[2] if "failed to do request: " in message else message
    known = (
        ("no such host", "the node cannot resolve the registry's name"),
        ("connection refused", "the registry refuses connections"),
        ("i/o timeout", "the registry does not answer the node"),
        ("401", "the registry asks for a login: give the pods an image pull secret"),
        ("unauthorized", "the registry asks for a login: give the pods an image pull secret"),
        ("denied", "the registry refuses: give the pods an image pull secret"),
        ("not found", "the registry has no such image or tag"),
        ("x509", "the node does not trust the registry's certificate"),
    )
    why = next((told for word, told in known if word in cause.lower()), _short(cause) or "the node has no such image")
    return Reason(
        reason, f"the image {image} cannot be had: {why}", "set DOMAINLM_IMAGE, or bring the image to the registry"
    )


def _no_config(reason: str, message: str) -> Reason:
    if missing := re.search(r'(secret|configmap) "([^"]+)" not found', message):
        return Reason(reason, f"the {missing[1]} '{missing[2]}' is missing in the namespace", _make(missing[2]))
    if missing := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", message):
        return Reason(reason, f"the {missing[2].lower()} {missing[3]} has no key '{missing[1]}'", _make(missing[3]))
    return Reason(reason, _short(message), "mend the pod's settings")


def _make(name: str) -> str:
    return "it is made by the run itself; start the run again" if name.startswith("zenml-token") else (
        f"make '{name}', see docs/kubernetes-operation.md")  # fmt: skip


def _not_mounted(pod: Object, events: Sequence[Object]) -> Reason | None:
    """A volume that cannot be mounted keeps a container "ContainerCreating" for ever; only an event says so."""
    for event in reversed(events):
        if event["involvedObject"].get("uid") != uid_of(pod):
            continue
        message = event.get("message", "")
        if event.get("reason") == NOT_ATTACHED:
            return Reason(NOT_ATTACHED, _short(message), "a volume that another node held takes minutes to come free")
        if event.get("reason") == NO_VOLUME:
            if missing := re.search(r'(secret|configmap) "([^"]+)" not found', message):
                return Reason(
                    NO_VOLUME, f"the {missing[1]} '{missing[2]}' is missing in the namespace", _make(missing[2])
                )
            return Reason(NO_VOLUME, _short(message), "mend the volume")
        if event.get("reason") == "FailedCreatePodSandBox":
            return Reason(
                "FailedCreatePodSandBox", _short(message), "the node cannot make pods: see its network and runtime"
            )
    return None


# ---------------------------------------------------------------------------------------------- no node, or no pod


def _unschedulable(pod: Object, keys: Keys, nodes: Sequence[Object] | None) -> Reason | None:
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            if condition.get("reason") == "SchedulingGated":
                return Reason(UNSCHEDULABLE, "a queue holds the pod back (scheduling gate)", "wait for the queue")
            return _why_unschedulable(pod, condition.get("message", ""), keys, nodes)
    return None


def _why_unschedulable(pod: Object, message: str, keys: Keys, nodes: Sequence[Object] | None) -> Reason:
    """The scheduler's message, such as `0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu.`"""
    told = message.split(" preemption:")[0].strip().rstrip(".")
    told = told.partition("nodes are available: ")[2] or told
    what, remedies = [], []
    for resource in re.findall(r"Insufficient ([\w/-]+(?:\.[\w/-]+)*)", told):
        what.append(_too_little(pod, resource, nodes))
        lower = f"lower {keys.pod('resources', 'requests', resource)}"
        remedies.append(f"bring a node with {GPU}, or train on CPU" if resource == GPU else lower)
    for taint in re.findall(r"untolerated taint \{([^}]*)\}", told):
        what.append(f"a node has the taint {taint.strip().rstrip(':')}, which the pod does not tolerate")
        remedies.append(f"see {keys.pod('tolerations')}")
    if "affinity/selector" in told or "node selector" in told:
        wanted = ", ".join(f"{name}={value}" for name, value in (pod["spec"].get("nodeSelector") or {}).items())
        what.append(f"no node has the labels that were asked ({wanted or 'by affinity'})")
        remedies.append(f"see {keys.pod('node_selectors')}")
    if claim := re.search(r'persistentvolumeclaim "([^"]+)" not found', told):
        what.append(f"the volume claim '{claim[1]}' is missing in the namespace")
        remedies.append(f"make it, or see {keys.pod('volumes')}")
    elif "PersistentVolumeClaims" in told or "volume node affinity" in told:
        what.append("a volume claim is not bound, or its volume lies in another zone")
        remedies.append("see: kubectl get pvc")
    if "unschedulable" in told and "taint" not in told:
        what.append("nodes are cordoned")
    if "Too many pods" in told:
        what.append("the nodes have their number of pods")
    return Reason(UNSCHEDULABLE, "; ".join(what) or _short(told), "; ".join(dict.fromkeys(remedies)))


def _too_little(pod: Object, resource: str, nodes: Sequence[Object] | None) -> str:
    asked = _asked(pod, resource, "requests") or _asked(pod, resource, "limits")
    if nodes is None:
        return f"no node with {_count(asked, resource)} free"
    offered = [node["status"].get("allocatable", {}).get(resource, "0") for node in nodes]
    largest = max(offered, key=amount, default="0")
    if amount(largest) == 0:
        return f"no node with {resource}"
    if amount(asked or "0") > amount(largest):
        return f"no node with {_count(asked, resource)}: the largest has {_rounded(largest)}"
    return f"no node with {_count(asked, resource)} free now: the largest has {_rounded(largest)} in all"


def _count(asked: str, resource: str) -> str:
    return f"{asked} {resource}" if asked else resource


def _forbidden(message: str, keys: Keys) -> Reason:
    """Why a Job's pod may not be made; the Job goes on trying."""
    told = message.partition("is forbidden: ")[2] or message
    if "exceeded quota" in told:
        return Reason(QUOTA, _short(told.removeprefix("exceeded quota: ")), f"ask for less in "
                      f"{keys.pod('resources')}, wait for other runs, or have the ResourceQuota raised")  # fmt: skip
    if "violates PodSecurity" in told:
        return Reason(ADMISSION, _short(told), f"see {keys.pod('container_security_context')} and "
                      f"{keys.pod('additional_pod_spec_args', 'securityContext')}")  # fmt: skip
    if missing := re.search(r'serviceaccount "([^"]+)" not found', told):
        return Reason(ACCOUNT, f"the service account '{missing[1]}' is missing in the namespace",
                      "apply infra/kubernetes; see docs/kubernetes-operation.md")  # fmt: skip
    if "maximum" in told or "minimum" in told:
        return Reason(QUOTA, _short(told), f"ask for less in {keys.pod('resources')}")
    return Reason(ADMISSION, _short(told), f"see {keys.pod()}")


# ---------------------------------------------------------------------------------------------- what was asked


def _rounded(written: str) -> str:
    """Bytes in the unit that people use: nodes answer `15783052Ki`."""
    return f"{float(amount(written)) / 2**30:.1f}Gi" if written.endswith(("Ki", "Mi")) else written


def _asked(pod: Object, resource: str, kind: str) -> str:
    for container in pod["spec"]["containers"]:
        if container["name"] == MAIN:
            return str(((container.get("resources") or {}).get(kind) or {}).get(resource, ""))
    return ""


def _resource(low: str) -> str:
    """What to ask for where a node is low on it: its disk's signals have other names."""
    return "ephemeral-storage" if low in ("nodefs", "imagefs", "inodes", "ephemeral-storage") else low


def _image_of(pod: Object, container: str = MAIN) -> str:
    containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]
    return next((one["image"] for one in containers if one["name"] == container), "")


def _short(message: str) -> str:
    told = " ".join(message.split())
    return told if len(told) <= _LONG else told[:_LONG] + " ..."
