"""The step operator where a training takes several pods: it creates a JobSet in place of the Job.

Whether it does is the recipe's affair (`steps.train.parameters.nodes`); the object is made of the Job that ZenML builds
for one pod (`domainlm.cluster.training`). Its owner is the launching pod, as the Job's would be, so that cancelling or
deleting that one ends all pods. Nothing of a JobSet is asked for, and no right to JobSets is needed, with one node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kubernetes import client as k8s
from zenml.enums import ExecutionStatus
from zenml.integrations.kubernetes import kube_utils

from domainlm.cluster.training import EXTRA, GROUP, PLURAL, STEP_RUN_LABEL, VERSION, ClusterTraining, jobset
from domainlm.errors import ConfigurationError
from steps.operator import JobsOfThisPod, StepOperator

if TYPE_CHECKING:
    from zenml.config.step_configurations import StepConfiguration
    from zenml.config.step_run_info import StepRunInfo
    from zenml.models import ResourceRequestResponse, StepRunResponse


class ManyPodsOperator(StepOperator):
    """Runs a step in one pod, or in as many as its recipe has nodes."""

    _gang: tuple[ClusterTraining, int] | None = None  # while a step of several pods is being submitted

    @property
    def _k8s_batch_api(self) -> k8s.BatchV1Api:
        return _JobSets(self.get_kube_client(), *self._gang) if self._gang else super()._k8s_batch_api

    def submit_with_allocation(
        self,
        info: StepRunInfo,
        entrypoint_command: list[str],
        environment: dict[str, str],
        allocated_resource_request: ResourceRequestResponse | None,
    ) -> None:
        """Create the step's Job or JobSet.

        Raises:
            ConfigurationError: the cluster knows no JobSets, or this pod's account may not make them.
        """
        if (nodes := _nodes(info.config)) > 1:
            self._gang = ClusterTraining(**info.config.extra.get(EXTRA, {})), nodes
        try:
            super().submit_with_allocation(info, entrypoint_command, environment, allocated_resource_request)
        finally:
            self._gang = None

    def get_status(self, step_run: StepRunResponse) -> ExecutionStatus:
        """How the step stands: as its Job does, or as its JobSet and node 0's Job do."""
        if _nodes(step_run.config) == 1:
            return super().get_status(step_run)
        found = self._jobsets(_selector({STEP_RUN_LABEL: str(step_run.id)}))
        if not found:
            return ExecutionStatus.FAILED
        if _has(found[0], "Completed"):
            return ExecutionStatus.COMPLETED
        if _has(found[0], "Failed"):
            return ExecutionStatus.FAILED
        if not self._jobs(_selector({STEP_RUN_LABEL: str(step_run.id)})):
            return ExecutionStatus.RUNNING  # the controller, or Kueue, has not made its Jobs yet
        status = super().get_status(step_run)
        if status == ExecutionStatus.FAILED:  # an image that is not there, say: the controller would make the Job anew
            self._delete(found[0])
        return status

    def cancel(self, step_run: StepRunResponse) -> None:
        """End the step."""
        if _nodes(step_run.config) == 1:
            super().cancel(step_run)
            return
        for one in self._jobsets(_selector({STEP_RUN_LABEL: str(step_run.id)})):
            self._delete(one)

    def _end_earlier_tries(self, info: StepRunInfo) -> None:
        if _nodes(info.config) == 1:
            super()._end_earlier_tries(info)
            return
        for one in self._jobsets(_selector({"run_id": str(info.run_id), "step_name": info.pipeline_step_name})):
            if not _has(one, "Completed") and not _has(one, "Failed"):
                self._delete(one)

    def _jobsets(self, selector: str) -> list[dict[str, Any]]:
        look = k8s.CustomObjectsApi(self.get_kube_client()).list_namespaced_custom_object
        place = (GROUP, VERSION, self.config.kubernetes_namespace, PLURAL)
        return _explained(look, *place, label_selector=selector, **self._patience)["items"]

    def _delete(self, one: dict[str, Any]) -> None:
        try:
            k8s.CustomObjectsApi(self.get_kube_client()).delete_namespaced_custom_object(
                GROUP,
                VERSION,
                self.config.kubernetes_namespace,
                PLURAL,
                one["metadata"]["name"],
                propagation_policy="Foreground",
                **self._patience,
            )
        except k8s.ApiException as error:
            if error.status != 404:  # somebody was faster
                raise

    @property
    def _patience(self) -> dict[str, int]:
        timeout_s = self.config.api_request_timeout
        return {"_request_timeout": timeout_s} if timeout_s else {}


class _JobSets(JobsOfThisPod):
    """Creates a JobSet where ZenML creates a Job."""

    def __init__(self, client: k8s.ApiClient, training: ClusterTraining, nodes: int) -> None:
        super().__init__(client)
        self._training, self._nodes = training, nodes

    def create_namespaced_job(self, namespace: str, body: k8s.V1Job, **options: Any) -> k8s.V1Job:
        self.own(body)
        wanted = jobset(self.api_client.sanitize_for_serialization(body), self._training, self._nodes)
        create = k8s.CustomObjectsApi(self.api_client).create_namespaced_custom_object
        _explained(create, GROUP, VERSION, namespace, PLURAL, wanted, **options)
        return body


def _explained(call: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """What the API server answers.

    Raises:
        ConfigurationError: it knows no JobSets, or this pod's account may not do that with them.
    """
    try:
        return call(*given, **options)
    except k8s.ApiException as error:
        what = {404: "this cluster knows no JobSets", 403: "the launching pod's account may not list or create JobSets"}
        if error.status not in what:
            raise
        remedy = "see 'Several nodes on Kubernetes' in docs/many-gpus.md, or train on one node"
        raise ConfigurationError(what[error.status], "steps.train.parameters.nodes", remedy) from None


def _nodes(config: StepConfiguration) -> int:
    return int(config.parameters.get("nodes") or 1)


def _selector(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={kube_utils.sanitize_label_value(value)}" for name, value in labels.items())


def _has(one: dict[str, Any], condition: str) -> bool:
    conditions = one.get("status", {}).get("conditions") or []
    return any(found["type"] == condition and found["status"] == "True" for found in conditions)
