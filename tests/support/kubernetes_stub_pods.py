"""The stub's node: schedules pods and runs each one's container as a process of this machine.

What a container has of its own is played so:

- **Files.** Every volume is a folder of the pod (a claim's is shared by its pods; secrets and config maps are written
  into it), and the image's working directory is the folder that `Image.app` names. Nothing is mounted: where a mount
  path, or the working directory, stands in a value of the environment or in an argument, it is replaced by that folder.
  So code that takes its places from the environment, as ours does, sees what a pod sees; a path that is written into
  code would meet the machine's own files. Mounted secrets belong to the process's own user here, so they have mode 0400
  and not, as under `fsGroup`, 0440 of root.
- **Environment.** Only what the image and the pod's spec say: values, `valueFrom` (fields, resources, secrets, config
  maps), `envFrom`, `$(NAME)`.
- **Name, network, token.** See `pod_site/sitecustomize.py`.
- **Memory.** The container is killed with reason OOMKilled when its processes hold more than `limits.memory`, looked at
  twice a second.
- **Waiting.** An image that the stub has not been given is not pulled; a secret that is missing holds the container
  back; a pod that asks for more than a node has left, or for a label or a taint that does not fit, is unschedulable.

Not played: users and groups, read-only root, capabilities, several containers, probes, network policies, priorities.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil
from kubernetes_stub_objects import BY_KIND, Object, Objects, controllers, now

TICK_S = 0.1
MEMORY_EVERY_S = 0.5
SITE = Path(__file__).with_name("pod_site")
IMAGE_NAME = re.compile(
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?"
)


class Image(NamedTuple):
    """What the node has of an image.

    Attributes:
        app: the folder that plays the working directory.
        environment: the image's own variables.
        digest: as a pod's status names it.
        workdir: the path that `app` stands for.
    """

    app: Path
    environment: Mapping[str, str] = MappingProxyType({})
    digest: str = "sha256:" + "5" * 64
    workdir: str = "/app"


class Deleted(Exception):
    """The pod was deleted while it waited."""


class Waits(Exception):
    """The container cannot start yet.

    Args:
        reason: as the container's waiting state names it.
        message: its message.
        event: reason of the event; the container's reason where empty.
    """

    def __init__(self, reason: str, message: str, event: str = "") -> None:
        super().__init__(message)
        self.reason, self.message, self.event = reason, message, event or reason


def quantity(value: Any) -> float:
    from kubernetes.utils import parse_quantity

    return float(parse_quantity(value))


class Node:
    """Kubelet and scheduler of every node object in the store.

    Args:
        objects: the store.
        images: the images that can be pulled, by their reference.
        folder: where pods have their files: `FOLDER/pods/NAME/`, with the container's output in `log`.
        service_account: writes the credentials of (namespace, account) into a folder.
        server_port: port of the API on loopback.
    """

    def __init__(
        self,
        objects: Objects,
        images: dict[str, Image],
        folder: Path,
        service_account: Callable[[str, str, Path], None],
        server_port: int,
    ) -> None:
        self._objects, self._images, self._folder = objects, images, folder
        self._service_account, self._port = service_account, server_port
        self._scheduling = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._ending: dict[str, str] = {}  # uid -> OOMKilled | Evicted
        self._stopping = threading.Event()

    def start(self, pod: Object) -> None:
        thread = threading.Thread(target=self._run, args=(pod,), name=pod["metadata"]["name"], daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End every process that plays a pod."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def log(self, pod: Object) -> str:
        path = self._of(pod) / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def end(self, pod: Object, reason: str) -> None:
        """Play what a node does to a running pod: `OOMKilled` or `Evicted`."""
        self._ending[pod["metadata"]["uid"]] = reason

    def _of(self, pod: Object) -> Path:
        return self._folder / "pods" / pod["metadata"]["name"]

    # ---- a pod's life ------------------------------------------------------------

    def _run(self, pod: Object) -> None:
        try:
            pod = self._schedule(pod)
            process, limit, started = self._start_container(pod)
        except Deleted:
            self._gone(pod)
            return
        code = self._watch(pod, process, limit)
        self._finish(pod, code, started)

    def _alive(self, pod: Object) -> Object:
        """The pod as it is now.

        Raises:
            Deleted: somebody deletes it, or the stub ends.
        """
        found = self._objects.current(pod)
        if found is None or self._stopping.is_set() or found["metadata"].get("deletionTimestamp"):
            raise Deleted
        return found

    def _schedule(self, pod: Object) -> Object:
        told = ""
        while True:
            pod = self._alive(pod)
            with self._scheduling:
                node, message = self._fitting(pod)
                if node:
                    meta = pod["metadata"]
                    pod = self._objects.merge("Pod", meta["namespace"], meta["name"], {"spec": {"nodeName": node}})
            if node:
                self._objects.set_status(pod, conditions=[_condition("PodScheduled", "True")], startTime=now())
                self._objects.event(
                    pod, "Normal", "Scheduled", f"Successfully assigned {pod['metadata']['name']} to {node}"
                )
                return self._objects.current(pod) or pod
            if message != told:
                told = message
                condition = _condition("PodScheduled", "False", "Unschedulable", message)
                self._objects.set_status(pod, phase="Pending", conditions=[condition])
                self._objects.event(pod, "Warning", "FailedScheduling", message)
            time.sleep(TICK_S)

    def _fitting(self, pod: Object) -> tuple[str, str]:
        """The first node that the pod fits on, or why there is none, worded as the scheduler does."""
        nodes, reasons = self._objects.list("Node"), []
        for node in nodes:
            if not (reason := self._hindrance(pod, node)):
                return node["metadata"]["name"], ""
            reasons.append(reason)
        counted = ", ".join(sorted(f"{reasons.count(reason)} {reason}" for reason in set(reasons)))
        return "", f"0/{len(nodes)} nodes are available: {counted}. no new claims to deallocate"

    def _hindrance(self, pod: Object, node: Object) -> str:
        spec, name, labels = pod["spec"], node["metadata"]["name"], node["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
            return "node(s) didn't match Pod's node affinity/selector"
        for taint in node.get("spec", {}).get("taints") or []:
            if taint["effect"] != "PreferNoSchedule" and not any(
                _tolerates(toleration, taint) for toleration in spec.get("tolerations") or []
            ):
                return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
        others = [
            one
            for one in self._objects.list("Pod", fields=f"spec.nodeName={name}")
            if one.get("status", {}).get("phase") in ("Pending", "Running")
        ]
        for what, asked in _requests(pod).items():
            left = quantity(node["status"]["allocatable"].get(what, 0)) - sum(
                _requests(one).get(what, 0) for one in others
            )
            if asked > left:
                return f"Insufficient {what}"
        return ""

    def _start_container(self, pod: Object) -> tuple[subprocess.Popen[bytes], float | None, str]:
        told = ""
        while True:
            pod = self._alive(pod)
            try:
                process = self._spawn(pod)
                break
            except Waits as wait:
                if wait.reason != told:
                    told = wait.reason
                    self._objects.set_status(
                        pod, phase="Pending", containerStatuses=[self._container(pod, waiting=_said(wait))]
                    )
                    self._objects.event(pod, "Warning", wait.event, wait.message)
                time.sleep(TICK_S)
        started = now()
        limit = pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory")
        running = self._container(pod, running={"startedAt": started})
        ready = [_condition(kind, "True") for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
        self._objects.set_status(
            pod, phase="Running", containerStatuses=[running], conditions=ready, podIP="127.0.0.1", hostIP="127.0.0.1"
        )
        self._objects.event(pod, "Normal", "Started", "Started container main")
        return process, quantity(limit) if limit else None, started

    def _watch(self, pod: Object, process: subprocess.Popen[bytes], limit: float | None) -> int:
        """Wait for the end, or bring it about: deletion, memory, eviction.

        Returns:
            The exit code as a container's status has it (128 + signal).
        """
        uid, looked = pod["metadata"]["uid"], time.monotonic()
        while (code := process.poll()) is None:
            time.sleep(TICK_S)
            try:
                current = self._alive(pod)
            except Deleted:
                current = self._objects.current(pod)
                grace = (current or pod)["metadata"].get("deletionGracePeriodSeconds", 30)
                _kill(process, 0 if self._stopping.is_set() else grace)
                continue
            if limit and time.monotonic() - looked > MEMORY_EVERY_S:
                looked = time.monotonic()
                if _memory(process.pid) > limit:
                    self._ending[uid] = "OOMKilled"
            if uid in self._ending:
                _kill(process, 0)
        return 128 - code if code < 0 else code

    def _finish(self, pod: Object, code: int, started: str) -> None:
        pod = self._objects.current(pod) or pod
        ending = self._ending.get(pod["metadata"]["uid"], "")
        reason = "OOMKilled" if ending == "OOMKilled" else ("Error" if code else "Completed")
        state = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}
        if code and pod["spec"]["containers"][0].get("terminationMessagePolicy") == "FallbackToLogsOnError":
            state["message"] = "\n".join(self.log(pod).splitlines()[-80:])[-2048:]
        status: dict[str, Any] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [self._container(pod, terminated=state)],
            "conditions": [
                _condition("PodScheduled", "True"),
                _condition("Ready", "False", "PodFailed" if code else "PodCompleted"),
            ],
        }  # fmt: skip
        if ending == "Evicted":
            status |= {"reason": "Evicted", "message": "The node was low on resource: memory. "}
            status["conditions"].append(
                _condition("DisruptionTarget", "True", "TerminationByKubelet", status["message"])
            )
            self._objects.event(pod, "Warning", "Evicted", status["message"])
        kept = [one for one in pod.get("status", {}).get("conditions", []) if one["type"] == "DisruptionTarget"]
        status["conditions"] += kept
        self._objects.set_status(pod, **status)
        if pod["metadata"].get("deletionTimestamp"):
            self._gone(pod)

    def _gone(self, pod: Object) -> None:
        """A deleted pod leaves the store; one that a living Job still has to count is left to that Job's controller."""
        self._objects.set_status(
            pod, phase=(self._objects.current(pod) or pod).get("status", {}).get("phase", "Failed")
        )
        owners = set(controllers(pod))
        living = (
            job for job in self._objects.list("Job", pod["metadata"]["namespace"])
            if job["metadata"]["uid"] in owners and not job["metadata"].get("deletionTimestamp") and not finished(job)
        )  # fmt: skip
        if self._stopping.is_set() or next(living, None) is None:
            self._objects.remove(pod)
        elif (current := self._objects.current(pod)) and current["status"]["phase"] not in ("Succeeded", "Failed"):
            self._objects.set_status(pod, phase="Failed")

    def _container(self, pod: Object, **state: Any) -> dict[str, Any]:
        container = pod["spec"]["containers"][0]
        image = self._images.get(container["image"])
        pulled = image is not None and "waiting" not in state
        return {
            "name": container["name"], "image": container["image"], "restartCount": 0, "lastState": {},
            "imageID": f"{container['image'].split('@')[0].rsplit(':', 1)[0]}@{image.digest}" if pulled else "",
            "ready": "running" in state, "started": "running" in state, "state": state,
        }  # fmt: skip

    # ---- a container's process ------------------------------------------------------------

    def _spawn(self, pod: Object) -> subprocess.Popen[bytes]:
        """Start the process.

        Raises:
            Waits: image, secret or config map is missing.
        """
        spec, name = pod["spec"], pod["metadata"]["name"]
        container, folder = spec["containers"][0], self._of(pod)
        image = self._pulled(container)
        folder.mkdir(parents=True, exist_ok=True)
        mounts = {image.workdir: image.app} | self._mounts(pod, container)
        account = folder / "service-account"
        if self._mounts_token(pod):
            account.mkdir(exist_ok=True)
            self._service_account(pod["metadata"]["namespace"], spec.get("serviceAccountName", "default"), account)
        for own in ("root", "tmp"):
            (folder / own).mkdir(exist_ok=True)
        environment = (
            {"HOME": str(folder / "root"), "LANG": "C.UTF-8"}
            | dict(image.environment)
            | self._variables(pod, container)
        )
        environment = {key: placed(value, mounts) for key, value in environment.items()} | {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOSTNAME": name,
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._port),
            "STUB_SERVICE_ACCOUNT": str(account),
            "TMPDIR": placed("/tmp", mounts) if "/tmp" in mounts else str(folder / "tmp"),
        }
        environment["PYTHONPATH"] = ":".join(filter(None, (str(SITE), environment.get("PYTHONPATH"))))
        command = [_expanded(part, environment) for part in container.get("command", []) + container.get("args", [])]
        with open(folder / "log", "ab") as log:
            try:
                return subprocess.Popen(
                    [placed(part, mounts) for part in command],
                    cwd=placed(container.get("workingDir") or image.workdir, mounts),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                message = f'exec: "{error.filename}": executable file not found in $PATH: unknown'
                raise Waits("RunContainerError", message, "Failed") from None

    def _mounts_token(self, pod: Object) -> bool:
        """What the pod says; what its service account says where the pod is silent."""
        name = pod["spec"].get("serviceAccountName", "default")
        account = self._objects.find("ServiceAccount", pod["metadata"]["namespace"], name) or {}
        said = pod["spec"].get("automountServiceAccountToken")
        return account.get("automountServiceAccountToken") is not False if said is None else said

    def _pulled(self, container: dict[str, Any]) -> Image:
        reference = container["image"]
        if not IMAGE_NAME.fullmatch(reference):
            raise Waits(
                "InvalidImageName",
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name',
                "InspectFailed",
            )
        if reference not in self._images:
            reason = "ErrImageNeverPull" if container.get("imagePullPolicy") == "Never" else "ImagePullBackOff"
            raise Waits(reason, f'Back-off pulling image "{reference}": ErrImagePull: not found', "Failed")
        return self._images[reference]

    def _mounts(self, pod: Object, container: dict[str, Any]) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
        found = {
            mount["mountPath"].rstrip("/"): self._volume(pod, volumes[mount["name"]]) / mount.get("subPath", "")
            for mount in container.get("volumeMounts") or []
        }
        for path, place in sorted(found.items()):
            if not place.exists():
                place.mkdir(parents=True, exist_ok=True)  # as a kubelet makes a subPath that is not there
            for outer in (outer for outer in found if path.startswith(f"{outer}/")):
                inside = found[outer] / path.removeprefix(f"{outer}/")
                if not inside.is_symlink():  # a process that goes in by the outer path finds the inner mount
                    inside.symlink_to(place)
        return found

    def _volume(self, pod: Object, volume: dict[str, Any]) -> Path:
        claim = volume.get("persistentVolumeClaim")
        place = self._folder / "claims" / claim["claimName"] if claim else self._of(pod) / "volumes" / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in sources:
            for kind, reference in source.items():
                if kind in ("secret", "configMap"):
                    named = reference.get("secretName") or reference.get("name")
                    content = self._content(
                        "Secret" if kind == "secret" else "ConfigMap", pod, named, reference, "FailedMount"
                    )
                    wanted = {one["key"]: one["path"] for one in reference.get("items") or []} or {
                        key: key for key in content
                    }
                    for key, path in wanted.items():
                        _write(place / path, content[key])
        return place

    def _content(
        self, kind: str, pod: Object, name: str, reference: dict[str, Any], event: str = "Failed"
    ) -> dict[str, bytes]:
        """The keys of a secret or config map.

        Raises:
            Waits: it is missing and not optional.
        """
        found = self._objects.find(kind, pod["metadata"]["namespace"], name)
        if found is None:
            if reference.get("optional"):
                return {}
            message = f'{BY_KIND[kind].plural[:-1]} "{name}" not found'
            if event == "FailedMount":
                raise Waits("ContainerCreating", f"MountVolume.SetUp failed for volume: {message}", event)
            raise Waits("CreateContainerConfigError", message, event)
        encoded = kind == "Secret"
        return {
            key: base64.b64decode(value) if encoded else value.encode()
            for key, value in (found.get("data") or {}).items()
        } | {key: value.encode() for key, value in (found.get("stringData") or {}).items()}

    def _variables(self, pod: Object, container: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom") or []:
            kind, reference = (
                ("Secret", source["secretRef"]) if "secretRef" in source else ("ConfigMap", source["configMapRef"])
            )
            content = self._content(kind, pod, reference["name"], reference)
            found |= {source.get("prefix", "") + key: value.decode() for key, value in content.items()}
        for variable in container.get("env") or []:
            if (value := self._value(pod, container, variable)) is not None:
                found[variable["name"]] = _expanded(value, found)
        return found

    def _value(self, pod: Object, container: dict[str, Any], variable: dict[str, Any]) -> str | None:
        source = variable.get("valueFrom")
        if not source:
            return variable.get("value") or ""
        if field := source.get("fieldRef"):
            return _field(self._objects.current(pod) or pod, field["fieldPath"])
        if resource := source.get("resourceFieldRef"):
            kind, what = resource["resource"].split(".", 1)
            return str(int(quantity(container["resources"][kind][what])))
        kind, reference = (
            ("Secret", source["secretKeyRef"]) if "secretKeyRef" in source else ("ConfigMap", source["configMapKeyRef"])
        )
        content = self._content(kind, pod, reference["name"], reference)
        if reference["key"] not in content:
            if reference.get("optional"):
                return None
            raise Waits(
                "CreateContainerConfigError",
                f"couldn't find key {reference['key']} in {kind} {pod['metadata']['namespace']}/{reference['name']}",
                "Failed",
            )
        return content[reference["key"]].decode()


def finished(job: Object) -> str:
    """`Complete`, `Failed`, or empty while a Job goes on."""
    for condition in job.get("status", {}).get("conditions") or []:
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return condition["type"]
    return ""


def placed(text: str, mounts: dict[str, Path]) -> str:
    """A text with every path of the container replaced by the folder that plays it."""
    paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
    return re.sub(rf"(?<![^:=,\s])({paths})(?![^/:,\s])", lambda found: str(mounts[found[1]]), text)


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    made = {"type": kind, "status": status, "lastTransitionTime": now()}
    return made | {key: value for key, value in (("reason", reason), ("message", message)) if value}


def _said(wait: Waits) -> dict[str, str]:
    hidden = wait.reason == "ContainerCreating"  # a kubelet tells the cause of a mount in the event alone
    return {"reason": wait.reason} | ({} if hidden else {"message": wait.message})


def _requests(pod: Object) -> dict[str, float]:
    resources = pod["spec"]["containers"][0].get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {what: quantity(value) for what, value in asked.items()}


def _tolerates(toleration: dict[str, Any], taint: dict[str, Any]) -> bool:
    if toleration.get("effect") not in (None, taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value") == taint.get("value")


def _field(pod: Object, path: str) -> str:
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        return (pod["metadata"].get(found[1]) or {}).get(found[2], "")
    if path in ("status.podIP", "status.hostIP"):
        return "127.0.0.1"
    value: Any = pod
    for key in path.split("."):
        value = value.get(key, "")
    return str(value) or ("default" if path == "spec.serviceAccountName" else "")


def _expanded(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda found: variables.get(found[1], found[0]), text)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o400), "wb") as stream:
        stream.write(content)


def _processes(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(pid: int) -> int:
    total = 0
    for process in _processes(pid):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _kill(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """SIGTERM to the container's first process, and SIGKILL to all of it when the grace is over."""
    everybody = _processes(process.pid)
    if grace_s:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            everybody = _processes(process.pid)
    for one in everybody:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(30)
