"""The GPU step operator: ZenML's for Kubernetes, with what a bank's cluster asks of it.

A step on an operator has two pods. The first runs as any step's does, and launches the second, which has the GPU.
ZenML 0.98 writes the server's token into the second pod's Job in clear, does not tie that Job to the pod that launched
it, and does not notice that its image cannot be pulled. Here

- the token comes from the Secret that the orchestrator made for the run (`pass_zenml_token_as_secret`): the Job names
  it, nobody copies it, and the launching pod needs no right to make Secrets;
- the Job is owned by the launching pod: whoever cancels or deletes that one ends the training with it;
- a Job that an earlier try of the step left at work is deleted first, since two trainings would share a checkpoint;
- a Job whose image is not there fails at once, as a step's does;
- the end of the Job is seen within 2 s, not within 16.

`domainlm stack apply` registers the flavour; the class itself is loaded from the image in every pod.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, cast

from kubernetes import client as k8s
from urllib3.exceptions import HTTPError
from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.integrations.kubernetes import kube_utils
from zenml.integrations.kubernetes.constants import KUBERNETES_SECRET_TOKEN_KEY_NAME, STEP_OPERATOR_ANNOTATION_KEY
from zenml.integrations.kubernetes.flavors import KubernetesStepOperatorConfig, KubernetesStepOperatorSettings
from zenml.integrations.kubernetes.flavors.kubernetes_step_operator_flavor import KubernetesStepOperatorFlavor
from zenml.integrations.kubernetes.orchestrators import KubernetesOrchestrator
from zenml.integrations.kubernetes.pod_settings import KubernetesPodSettings
from zenml.integrations.kubernetes.step_operators import KubernetesStepOperator
from zenml.logger import get_logger
from zenml.stack import Stack, StackValidator

from domainlm.errors import ConfigurationError

if TYPE_CHECKING:
    from zenml.config.step_run_info import StepRunInfo
    from zenml.models import ResourceRequestResponse, StepRunResponse

FLAVOR = "domainlm"
TOKEN = "ZENML_STORE_API_TOKEN"
# set in the pods by the downward API (configs/kubernetes.yaml)
POD, POD_UID = "DOMAINLM_POD", "DOMAINLM_POD_UID"
LOOK_EVERY_S = 2.0

logger = get_logger(__name__)


class StepOperator(KubernetesStepOperator):
    """Runs a step in a Job of its own, without the server's token in it."""

    _token_secret: str | None = None  # while a step is being submitted

    @property
    def validator(self) -> StackValidator:
        """ZenML's own demands, and an orchestrator that keeps the token in a Secret of the same namespace."""
        inherited = super().validator
        assert inherited is not None

        def check(stack: Stack) -> tuple[bool, str]:
            fine, why = inherited._custom_validation_function(stack)
            return (False, why) if not fine else _orchestrator_fits(stack, self.config.kubernetes_namespace)

        return StackValidator(required_components=inherited._required_components, custom_validation_function=check)

    def get_settings(self, container: Any) -> KubernetesStepOperatorSettings:
        """The step's settings; while it is submitted, with the reference to the token in place of the token."""
        settings = cast(KubernetesStepOperatorSettings, super().get_settings(container))
        if self._token_secret is None:
            return settings
        pod = settings.pod_settings or KubernetesPodSettings()
        reference = {"secretKeyRef": {"name": self._token_secret, "key": KUBERNETES_SECRET_TOKEN_KEY_NAME}}
        pod = pod.model_copy(update={"env": [*pod.env, {"name": TOKEN, "valueFrom": reference}]})
        return settings.model_copy(update={"pod_settings": pod})

    @property
    def _k8s_batch_api(self) -> k8s.BatchV1Api:
        return JobsOfThisPod(self.get_kube_client())

    def submit_with_allocation(
        self,
        info: StepRunInfo,
        entrypoint_command: list[str],
        environment: dict[str, str],
        allocated_resource_request: ResourceRequestResponse | None,
    ) -> None:
        """Create the step's Job.

        Raises:
            ConfigurationError: the orchestrator does not keep the token in a Secret.
        """
        stack = Client().active_stack
        fine, why = _orchestrator_fits(stack, self.config.kubernetes_namespace)
        if not fine:
            raise ConfigurationError(why, f"step operator '{self.name}'", "domainlm stack apply kubernetes")
        self._end_earlier_tries(info)
        self._token_secret = cast(KubernetesOrchestrator, stack.orchestrator).get_token_secret_name(info.snapshot.id)
        try:
            super().submit_with_allocation(
                info=info,
                entrypoint_command=entrypoint_command,
                environment={name: value for name, value in environment.items() if name != TOKEN},
                allocated_resource_request=allocated_resource_request,
            )
        finally:
            self._token_secret = None

    def get_status(self, step_run: StepRunResponse) -> ExecutionStatus:
        """How the step's Job stands; one that waits for what will never come is deleted and has failed."""
        jobs = self._jobs(f"step_run_id={kube_utils.sanitize_label_value(str(step_run.id))}")
        if not jobs:
            return ExecutionStatus.FAILED
        try:
            status, _ = kube_utils.check_job_status(
                batch_api=self._k8s_batch_api,
                core_api=self._k8s_core_api,
                namespace=self.config.kubernetes_namespace,
                job_name=jobs[0].metadata.name,
                fail_on_container_waiting_reasons=self.config.fail_on_container_waiting_reasons,
                api_request_timeout=self.config.api_request_timeout,
                max_retries=self.config.max_api_retries,
            )
        except k8s.ApiException as error:
            if error.status != 404:
                raise  # ZenML then asks its server, and asks here again
            return ExecutionStatus.FAILED  # it was deleted between the two questions
        return {
            kube_utils.JobStatus.SUCCEEDED: ExecutionStatus.COMPLETED,
            kube_utils.JobStatus.FAILED: ExecutionStatus.FAILED,
        }.get(status, ExecutionStatus.RUNNING)

    def wait(self, step_run: StepRunResponse) -> ExecutionStatus:
        """Until the step has ended; ZenML's own looks every 16 s, which each training would pay for."""
        while True:
            try:
                status = self.get_status(step_run)
            except (k8s.ApiException, HTTPError) as error:  # ZenML's server knows it too, if the API server is away
                logger.warning("the API server does not say how the step stands: %s", type(error).__name__)
                status = Client().get_run_step(step_run.id, hydrate=False).status
            if status.is_finished or status == ExecutionStatus.RETRYING:
                return status
            time.sleep(LOOK_EVERY_S)

    def _end_earlier_tries(self, info: StepRunInfo) -> None:
        labels = {"run_id": str(info.run_id), "step_name": info.pipeline_step_name}
        selector = ",".join(f"{name}={kube_utils.sanitize_label_value(value)}" for name, value in labels.items())
        for job in self._jobs(selector):
            launched_by_an_operator = STEP_OPERATOR_ANNOTATION_KEY in (job.metadata.annotations or {})
            if launched_by_an_operator and not _finished(job):
                self._k8s_batch_api.delete_namespaced_job(
                    job.metadata.name, self.config.kubernetes_namespace, propagation_policy="Foreground"
                )

    def _jobs(self, selector: str) -> list[k8s.V1Job]:
        return kube_utils.list_jobs(
            batch_api=self._k8s_batch_api,
            namespace=self.config.kubernetes_namespace,
            label_selector=selector,
            api_request_timeout=self.config.api_request_timeout,
            max_retries=self.config.max_api_retries,
        ).items


class StepOperatorFlavor(KubernetesStepOperatorFlavor):
    """What ZenML's server knows of the operator."""

    @property
    def name(self) -> str:
        """The flavour's name, as stack files and settings write it."""
        return FLAVOR

    @property
    def config_class(self) -> type[KubernetesStepOperatorConfig]:
        """ZenML's own configuration."""
        return KubernetesStepOperatorConfig

    @property
    def implementation_class(self) -> type[StepOperator]:
        """The operator, for one pod or several."""
        from steps.operator_many import ManyPodsOperator

        return ManyPodsOperator


class JobsOfThisPod(k8s.BatchV1Api):
    """Makes Jobs that the garbage collector deletes with the pod that this process runs in."""

    def own(self, body: k8s.V1Job) -> None:
        """Make this pod the Job's owner, where this process runs in one."""
        if os.environ.get(POD) and os.environ.get(POD_UID):
            owner = k8s.V1OwnerReference("v1", kind="Pod", name=os.environ[POD], uid=os.environ[POD_UID])
            body.metadata.owner_references = [owner]

    def create_namespaced_job(self, namespace: str, body: k8s.V1Job, **options: Any) -> k8s.V1Job:
        """The API's own, with the owner set."""
        self.own(body)
        return super().create_namespaced_job(namespace, body, **options)


def _orchestrator_fits(stack: Stack, namespace: str) -> tuple[bool, str]:
    orchestrator = stack.orchestrator
    if not isinstance(orchestrator, KubernetesOrchestrator):
        return False, "the step operator needs the Kubernetes orchestrator"
    if not orchestrator.config.pass_zenml_token_as_secret:
        return False, "the orchestrator must have pass_zenml_token_as_secret: true"
    if orchestrator.config.kubernetes_namespace != namespace:
        return False, "the step operator and the orchestrator must work in one namespace"
    return True, ""


def _finished(job: k8s.V1Job) -> bool:
    conditions = (job.status and job.status.conditions) or []
    return any(one.type in ("Complete", "Failed") and one.status == "True" for one in conditions)
