"""The stub's controllers: Jobs make pods and count how they end, owners take what they own with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from kubernetes_stub_objects import ApiError, Object, Objects, controllers, now, random_suffix

TICK_S = 0.1
# A real controller waits 10 s before the second pod, and twice as long before each further one, up to six minutes.
RETRY_DELAY_S = 0.3
TRACKED = ("Succeeded", "Failed")


class Controllers:
    """What a kube-controller-manager does for us.

    Args:
        objects: the store.
        make_pod: admits a pod to a namespace, stores it and gives it to the node; raises ApiError where it is refused.
    """

    def __init__(self, objects: Objects, make_pod: Callable[[Object, str], Object]) -> None:
        self._objects, self._make_pod = objects, make_pod
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)

    def start(self, job: Object) -> None:
        """Look after a new Job until it is over, and until its time to live is."""
        self._background(JobController(self._objects, self._make_pod, job, self._stopping).run, self.delete)

    def delete(self, one: Object, propagation: str, grace_s: int | None = None) -> None:
        """Delete an object as `propagationPolicy` says; a pod gets the time that its grace period gives it."""
        meta = one["metadata"]
        if one["kind"] == "Pod":
            self._delete_pod(one, grace_s)
            return
        dependents = self._objects.owned_by(meta["uid"])
        if propagation == "Orphan":
            for other in dependents:
                kept = [owner for owner in other["metadata"]["ownerReferences"] if owner["uid"] != meta["uid"]]
                place = other["metadata"]
                patch = {"metadata": {"ownerReferences": kept}}
                self._objects.merge(other["kind"], place.get("namespace", ""), place["name"], patch)
            self._objects.remove(one)
        elif propagation == "Foreground":
            marks = {"deletionTimestamp": now(), "finalizers": ["foregroundDeletion"]}
            self._objects.merge(one["kind"], meta.get("namespace", ""), meta["name"], {"metadata": marks})
            self._background(self._delete_after_dependents, one)
        else:
            self._objects.remove(one)
            for other in dependents:
                self.delete(other, "Background")

    def _delete_after_dependents(self, one: Object) -> None:
        while (dependents := self._objects.owned_by(one["metadata"]["uid"])) and not self._stopping.is_set():
            for other in dependents:
                if not other["metadata"].get("deletionTimestamp"):
                    self.delete(other, "Foreground")
            time.sleep(TICK_S)
        self._objects.remove(one)

    def _delete_pod(self, pod: Object, grace_s: int | None) -> None:
        meta = pod["metadata"]
        if pod.get("status", {}).get("phase") in TRACKED:
            self._objects.remove(pod)
            return
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
        marks = {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace}
        self._objects.merge("Pod", meta["namespace"], meta["name"], {"metadata": marks})

    def _background(self, function: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


class JobController:
    """One Job: https://kubernetes.io/docs/concepts/workloads/controllers/job/

    Args:
        objects, make_pod: as in `Controllers`.
        job: the Job.
        stopping: set when the stub ends.
    """

    def __init__(
        self, objects: Objects, make_pod: Callable[[Object, str], Object], job: Object, stopping: threading.Event
    ) -> None:
        self._objects, self._make, self._job, self._stopping = objects, make_pod, job, stopping
        self._counted: set[str] = set()
        self._slot: dict[str, int] = {}  # pod's uid -> its index
        self._done: set[int] = set()
        self._failures = 0
        self._not_before = 0.0
        self._refused = ""

    def run(self, delete: Callable[[Object, str], None]) -> None:
        began = None
        while job := self._current():
            if job["spec"].get("suspend"):
                condition = {"type": "Suspended", "status": "True", "reason": "JobSuspended"}
                self._objects.set_status(job, conditions=[condition])
            else:
                if began is None:
                    began = time.monotonic()
                    self._objects.set_status(job, startTime=now(), conditions=[])
                if verdict := self._advance(job, began):
                    self._conclude(job, *verdict)
                    break
            time.sleep(TICK_S)
        if job and (lives_s := job["spec"].get("ttlSecondsAfterFinished")) is not None:
            if not self._stopping.wait(lives_s) and (left := self._objects.current(self._job)):
                delete(left, "Background")

    def _current(self) -> Object | None:
        job = self._objects.current(self._job)
        gone = job is None or self._stopping.is_set() or job["metadata"].get("deletionTimestamp")
        return None if gone else job

    def _advance(self, job: Object, began: float) -> tuple[str, str, str] | None:
        """Count what ended, start what is missing.

        Returns:
            (condition, reason, message) where that ends the Job.
        """
        spec = job["spec"]
        total = spec.get("completions") or spec.get("parallelism") or 1
        pods = self._pods(job)
        for pod in pods:
            if pod["status"].get("phase") in TRACKED and pod["metadata"]["uid"] not in self._counted:
                self._counted.add(pod["metadata"]["uid"])
                if verdict := self._count(job, pod):
                    return verdict
        for pod in pods:
            if pod["metadata"]["uid"] in self._counted and pod["metadata"].get("deletionTimestamp"):
                self._objects.remove(pod)
        active = [pod for pod in pods if pod["metadata"]["uid"] not in self._counted]
        self._objects.set_status(
            job, active=len(active), succeeded=len(self._done), failed=self._failed(pods),
            ready=sum(pod["status"].get("phase") == "Running" for pod in active),
        )  # fmt: skip
        if len(self._done) == total:
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        if self._failures > spec.get("backoffLimit", 6):
            return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline = spec.get("activeDeadlineSeconds")
        if deadline is not None and time.monotonic() - began > deadline:
            return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
        taken = {self._slot[pod["metadata"]["uid"]] for pod in active} | self._done
        if time.monotonic() >= self._not_before:
            for index in sorted(set(range(total)) - taken):
                self._make_pod(job, index)
        return None

    def _pods(self, job: Object) -> list[Object]:
        return [
            pod
            for pod in self._objects.list("Pod", job["metadata"]["namespace"])
            if job["metadata"]["uid"] in controllers(pod) and pod["metadata"]["uid"] in self._slot
        ]

    def _failed(self, pods: list[Object]) -> int:
        return sum(pod["status"].get("phase") == "Failed" for pod in pods)

    def _count(self, job: Object, pod: Object) -> tuple[str, str, str] | None:
        if pod["status"]["phase"] == "Succeeded":
            self._done.add(self._slot[pod["metadata"]["uid"]])
            return None
        self._not_before = time.monotonic() + RETRY_DELAY_S
        action, why = failure_action(job["spec"].get("podFailurePolicy") or {}, pod)
        if action == "FailJob":
            return "Failed", "PodFailurePolicy", why
        self._failures += action == "Count"
        return None

    def _make_pod(self, job: Object, index: int) -> None:
        meta, template = job["metadata"], job["spec"]["template"]
        labels = {
            **(template.get("metadata", {}).get("labels") or {}),
            "batch.kubernetes.io/controller-uid": meta["uid"], "batch.kubernetes.io/job-name": meta["name"],
            "controller-uid": meta["uid"], "job-name": meta["name"],
        }  # fmt: skip
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True,
                 "blockOwnerDeletion": True}  # fmt: skip
        annotations, spec = dict(template.get("metadata", {}).get("annotations") or {}), dict(template["spec"])
        name = f"{meta['name'][:57]}-{random_suffix()}"
        if job["spec"].get("completionMode") == "Indexed":
            labels["batch.kubernetes.io/job-completion-index"] = annotations[
                "batch.kubernetes.io/job-completion-index"
            ] = str(index)
            indexed = {"name": "JOB_COMPLETION_INDEX", "value": str(index)}
            spec["containers"] = [{**one, "env": [indexed, *(one.get("env") or [])]} for one in spec["containers"]]
            name = f"{meta['name'][:57]}-{index}-{random_suffix()}"
        body = {
            "metadata": {"name": name, "labels": labels, "annotations": annotations, "ownerReferences": [owner],
                         "finalizers": ["batch.kubernetes.io/job-tracking"]},
            "spec": spec, "status": {"phase": "Pending"},
        }  # fmt: skip
        try:
            self._slot[self._make(body, meta["namespace"])["metadata"]["uid"]] = index
        except ApiError as refused:
            self._not_before = time.monotonic() + RETRY_DELAY_S
            if str(refused) != self._refused:
                self._refused = str(refused)
                self._objects.event(job, "Warning", "FailedCreate", f"Error creating: {refused}")
            return
        self._objects.event(job, "Normal", "SuccessfulCreate", f"Created pod: {name}")

    def _conclude(self, job: Object, kind: str, reason: str, message: str) -> None:
        if kind == "Failed":
            self._end_active(job)
        first = {"Failed": "FailureTarget", "Complete": "SuccessCriteriaMet"}[kind]
        conditions = [
            {"type": name, "status": "True", "reason": reason, "message": message, "lastProbeTime": now(),
             "lastTransitionTime": now()}
            for name in (first, kind)
        ]  # fmt: skip
        pods = self._pods(job)
        status: dict[str, Any] = {"conditions": conditions, "active": 0, "ready": 0, "terminating": 0}
        status |= {"succeeded": len(self._done), "failed": max(self._failed(pods), self._failures)}
        if kind == "Complete":
            status["completionTime"] = now()
        self._objects.set_status(job, **status)
        self._objects.event(
            job, "Normal" if kind == "Complete" else "Warning", "Completed" if kind == "Complete" else reason, message
        )

    def _end_active(self, job: Object) -> None:
        """Pods that still run when a Job fails are deleted, and are gone before the Job is said to have failed."""
        while active := [pod for pod in self._pods(job) if pod["status"].get("phase") not in TRACKED]:
            for pod in active:
                if not pod["metadata"].get("deletionTimestamp"):
                    grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
                    marks = {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace}
                    self._objects.merge(
                        "Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], {"metadata": marks}
                    )
            if self._stopping.wait(TICK_S):
                return
        for pod in self._pods(job):
            if pod["metadata"].get("deletionTimestamp"):
                self._objects.remove(pod)


def failure_action(policy: dict[str, Any], pod: Object) -> tuple[str, str]:
    """What a Job's `podFailurePolicy` says of a failed pod: the first rule that matches; `Count` where none does.

    Returns:
        The action, and the message of a Job that fails for it.
    """
    statuses = pod["status"].get("containerStatuses") or []
    for number, rule in enumerate(policy.get("rules") or []):
        if codes := rule.get("onExitCodes"):
            for status in statuses:
                code = status["state"].get("terminated", {}).get("exitCode", 0)
                listed = code in codes["values"]
                if (
                    code
                    and codes.get("containerName") in (None, status["name"])
                    and listed == (codes["operator"] == "In")
                ):
                    meta = pod["metadata"]
                    return rule["action"], (
                        f"Container {status['name']} for pod {meta['namespace']}/{meta['name']} failed with exit code "
                        f"{code} matching {rule['action']} rule at index {number}"
                    )
        for wanted in rule.get("onPodConditions") or []:
            for condition in pod["status"].get("conditions") or []:
                if (condition["type"], condition["status"]) == (wanted["type"], wanted.get("status", "True")):
                    return rule["action"], f"Pod matches {rule['action']} rule at index {number}"
    return "Count", ""
