"""The Jobs and pods of one run, as the cluster tells them, and what a manifest keeps of them.

ZenML's Kubernetes orchestrator and our step operator label every Job and pod with `run_id`, so two list calls find all
of a run, whatever its name and however many runs go on beside it. A step's name stands unshortened in an annotation of
its Job; a pod knows its Job by the label `job-name`. The orchestrator's own Job has no step. A step on the operator has
two pods at work: one that launches and one that trains; the second one's Job has the annotation of the step operator.

Objects are kept as the API's JSON: what is decided from them (`domainlm.cluster.reasons`) is then tested with what a
real API server answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from domainlm.cluster.kubeconfig import Context
from domainlm.pod_facts import PodFacts

RUN_LABEL = "run_id"
JOB_LABEL = "job-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"  # the pods of a Job that work side by side have several
STEP_ANNOTATION = "zenml.io/step-name"
OPERATOR_ANNOTATION = "zenml.io/step-operator"
ORCHESTRATOR = ""  # in place of a step's name: the pod that starts the steps' Jobs
MAIN = "main"  # ZenML's name of the container that works
TOKEN_SECRET = "zenml-token-"  # ZenML's secret of a run, which its orchestrator deletes at the end
SUCCEEDED, PENDING, RUNNING = "Succeeded", "Pending", "Running"
TIMEOUT_S = (5, 20)  # to connect, to answer

Object = dict[str, Any]


class Seen(NamedTuple):
    """One look at a run's objects.

    Args:
        jobs, pods: the API's JSON.
        events: warnings about them; empty where the account may not list events.
        nodes: the cluster's nodes; None where the account may not list them.
    """

    jobs: list[Object]
    pods: list[Object]
    events: list[Object]
    nodes: list[Object] | None = None


def name_of(thing: Object) -> str:
    """An object's name."""
    return str(thing["metadata"]["name"])


def uid_of(thing: Object) -> str:
    """An object's id, which no later object of the same name has."""
    return str(thing["metadata"]["uid"])


def job_of(pod: Object) -> str:
    """The name of the Job that made a pod."""
    return str(labels_of(pod).get(JOB_LABEL, ""))


def phase_of(pod: Object) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str((pod.get("status") or {}).get("phase") or PENDING)


def labels_of(thing: Object) -> dict[str, str]:
    """An object's labels."""
    return thing["metadata"].get("labels") or {}


def annotations_of(thing: Object) -> dict[str, str]:
    """An object's annotations."""
    return thing["metadata"].get("annotations") or {}


def by_operator(job: Object) -> bool:
    """Whether a step operator made the Job."""
    return OPERATOR_ANNOTATION in annotations_of(job)


def condition_of(thing: Object, kind: str) -> Object:
    """A condition that holds ("True"); empty if it does not."""
    for condition in (thing.get("status") or {}).get("conditions") or []:
        if condition["type"] == kind and condition["status"] == "True":
            return condition
    return {}


def container_states(pod: Object) -> list[tuple[str, Object]]:
    """(container, its state) of a pod's init containers and containers, the main one last."""
    status = pod.get("status") or {}
    found = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    found.sort(key=lambda one: one["name"] == MAIN)
    return [(one["name"], one.get("state") or {}) for one in found]


def step_names(jobs: Iterable[Object]) -> dict[str, str]:
    """{Job: its step}; the orchestrator's Job has `ORCHESTRATOR`."""
    return {name_of(job): annotations_of(job).get(STEP_ANNOTATION, ORCHESTRATOR) for job in jobs}


def pods_of(jobs: list[Object], pods: list[Object]) -> dict[str, list[Object]]:
    """{step: its pods}, in the order in which they were made, an operator's after the one that launched it."""
    steps = step_names(jobs)
    operators = {name_of(job) for job in jobs if by_operator(job)}
    found: dict[str, list[Object]] = {}
    for pod in sorted(pods, key=lambda pod: (job_of(pod) in operators, pod["metadata"]["creationTimestamp"])):
        if job_of(pod) in steps:
            found.setdefault(steps[job_of(pod)], []).append(pod)
    return found


def facts_of(jobs: list[Object], pods: list[Object]) -> dict[str, list[PodFacts]]:
    """{step: what is kept of its pods}; without the orchestrator's own, which does no step's work."""
    found: dict[str, list[PodFacts]] = {}
    for step, ones in pods_of(jobs, pods).items():
        if step == ORCHESTRATOR:
            continue
        earlier: dict[tuple[str, str], int] = {}
        for pod in ones:
            place = job_of(pod), labels_of(pod).get(INDEX_LABEL, "")
            found.setdefault(step, []).append(fact(step, pod, earlier.get(place, 0)))
            earlier[place] = earlier.get(place, 0) + 1
    return found


def fact(step: str, pod: Object, earlier: int = 0) -> PodFacts:
    """What is kept of one pod.

    Args:
        step: the step that it works for.
        pod: the API's JSON.
        earlier: how many pods its Job made before it.
    """
    status = pod.get("status") or {}
    main = next((one for one in status.get("containerStatuses") or [] if one["name"] == MAIN), {})
    state = main.get("state") or {}
    times = state.get("terminated") or state.get("running") or {}
    image = next((one["image"] for one in pod["spec"]["containers"] if one["name"] == MAIN), "")
    return PodFacts(
        step=step,
        pod=name_of(pod),
        uid=uid_of(pod),
        node=pod["spec"].get("nodeName") or "",
        image=image,
        image_digest=_digest(main.get("imageID") or ""),
        phase=phase_of(pod),
        restarts=earlier + (main.get("restartCount") or 0),
        reason=status.get("reason") or (state.get("terminated") or state.get("waiting") or {}).get("reason") or "",
        started=times.get("startedAt") or "",
        ended=times.get("finishedAt") or "",
    )


def _digest(image_id: str) -> str:
    """The digest of an image id: `name@sha256:...` from a registry, `sha256:...` of an image that was imported."""
    _, found, digest = image_id.rpartition("sha256:")
    return found + digest if found else ""


def token_secrets(jobs: Iterable[Object]) -> list[str]:
    """The secrets with the run's ZenML token that its Jobs name: a run whose orchestrator died leaves them behind."""
    found = set()
    for job in jobs:
        for container in job["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env") or []:
                named = ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name", "")
                if named.startswith(TOKEN_SECRET):
                    found.add(named)
    return sorted(found)


def owners(jobs: Iterable[Object]) -> list[str]:
    """The Jobs that others are owned by: a run's orchestrator owns the Jobs that it makes."""
    named = [one for job in jobs for one in job["metadata"].get("ownerReferences") or []]
    return sorted({one["name"] for one in named if one["kind"] == "Job"})


class Cluster:
    """The calls that following and stopping a run need; each is bounded in time, and answers the API's JSON.

    Args:
        namespace: where the runs work.
        context: a kubeconfig's context; None: this process is a pod of the cluster.
    """

    def __init__(self, namespace: str, context: Context | None) -> None:
        self.namespace, self._context = namespace, context
        self._client: Any = None

    def look(self, run_id: str, closely: bool = False) -> Seen:
        """All Jobs and pods of a run; two calls, or four to look closely, and two more for a run of a schedule.

        Args:
            run_id: ZenML's id of the run.
            closely: whether to ask for events and nodes too, which explain what waits.

        Raises:
            kubernetes.client.ApiException: the API server refuses.
            urllib3.exceptions.HTTPError: it does not answer.
        """
        selector = f"{RUN_LABEL}={run_id}"
        jobs = self._list(self._batch().list_namespaced_job, self.namespace, label_selector=selector)
        pods = self._list(self._core().list_namespaced_pod, self.namespace, label_selector=selector)
        if jobs and not any(STEP_ANNOTATION not in annotations_of(job) for job in jobs):
            for name in owners(jobs):  # a schedule's orchestrator: its Job was made before there was a run id
                jobs += self._list(
                    self._batch().list_namespaced_job, self.namespace, field_selector=f"metadata.name={name}"
                )
                pods += self._list(self._core().list_namespaced_pod, self.namespace, label_selector=f"job-name={name}")
        if not closely:
            return Seen(jobs, pods, [])
        events = self._allowed(self._core().list_namespaced_event, self.namespace, field_selector="type=Warning")
        own = {*map(uid_of, jobs), *map(uid_of, pods)}
        names = tuple(name_of(job) for job in jobs)
        return Seen(jobs, pods, [one for one in events or [] if _concerns(one, own, names)],
                    self._allowed(self._core().list_node))  # fmt: skip

    def log(self, pod: str, lines: int) -> str:
        """The last lines that a pod's container wrote; empty where there is none, or none may be read."""
        from kubernetes.client import ApiException

        try:
            answer = self._core().read_namespaced_pod_log(
                pod, self.namespace, container=MAIN, tail_lines=lines, limit_bytes=lines * 4000,
                _preload_content=False, _request_timeout=TIMEOUT_S,
            )  # fmt: skip
        except ApiException:
            return ""
        return answer.data.decode("utf-8", errors="replace")

    def delete_jobs(self, jobs: Iterable[Object]) -> None:
        """Delete Jobs with all their pods; one that is gone already is no error."""
        for job in jobs:
            self._delete(self._batch().delete_namespaced_job, name_of(job))

    def delete_secrets(self, names: Iterable[str]) -> None:
        """Delete secrets; one that is gone already is no error."""
        for name in names:
            self._delete(self._core().delete_namespaced_secret, name)

    def forget(self) -> None:
        """Read the credentials anew at the next call: a token may have been renewed since."""
        self._client = None

    def _delete(self, call: Any, name: str) -> None:
        from kubernetes.client import ApiException

        try:
            call(name, self.namespace, propagation_policy="Background", _preload_content=False,
                 _request_timeout=TIMEOUT_S)  # fmt: skip
        except ApiException as error:
            if error.status != 404:
                raise

    def _list(self, call: Any, *where: str, **selectors: str) -> list[Object]:
        answer = call(*where, _preload_content=False, _request_timeout=TIMEOUT_S, **selectors)
        return json.loads(answer.data)["items"]

    def _allowed(self, call: Any, *where: str, **selectors: str) -> list[Object] | None:
        """A list that only explains: without the right to it there is less to say."""
        from kubernetes.client import ApiException

        try:
            return self._list(call, *where, **selectors)
        except ApiException as error:
            if error.status != 403:
                raise
            return None

    def _core(self) -> Any:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self._connected())

    def _batch(self) -> Any:
        from kubernetes.client import BatchV1Api

        return BatchV1Api(self._connected())

    def _connected(self) -> Any:
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration

        if self._client is None:
            settings = Configuration()
            if self._context is None:
                config.load_incluster_config(settings)
            else:
                config.load_kube_config(
                    self._context.files, self._context.name, client_configuration=settings, persist_config=False
                )
            settings.retries = False  # whoever polls asks again anyway, and must stay able to stop
            self._client = ApiClient(settings)
        return self._client


def _concerns(event: Object, own: set[str], jobs: tuple[str, ...]) -> bool:
    """Whether an event is about a run's objects, or about a pod that one of its Jobs had."""
    about = event.get("involvedObject") or {}
    return about.get("uid") in own or any(about.get("name", "").startswith(f"{job}-") for job in jobs)
