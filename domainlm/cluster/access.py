"""The cluster itself, asked before a run: does it answer and know us, may we do what a run does, would the pods fit.

Every call is bounded in time, and none changes anything: permissions are asked of the API server's own reviewer
(SelfSubjectAccessReview), and whether a secret exists by the dry run of making one of its name, since a client that may
read the institution's key would have one right too many.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NamedTuple

from domainlm.cluster.quantities import amount
from domainlm.cluster.services import FAILED, OK, TIMEOUT_S, WARNING, Finding, why_unreachable
from domainlm.cluster.settings import StackFile
from domainlm.errors import ConfigurationError


class Right(NamedTuple):
    """Something that a client must be allowed to do in the namespace.

    Args:
        group: the API group; "" is the core.
        resource: the kind of object; `pods/log` is a part of one.
        verb: what is done.
    """

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


# What submitting, following, stopping and scheduling runs does: ZenML's orchestrator on the client, and `domainlm run`.
SUBMITTER = tuple(
    Right(group, resource, verb)
    for group, resource, verbs in (
        ("batch", "jobs", "create list delete"),
        ("batch", "cronjobs", "create patch delete"),
        ("", "pods", "list"),
        ("", "pods/log", "get"),
        ("", "events", "list"),
        ("", "secrets", "create patch delete"),
    )
    for verb in verbs.split()
)
SECRETS = {"domainlm-key": "the key ring, file key.json"}
GPU = "nvidia.com/gpu"


def check_cluster(stack: StackFile, wanted: dict[str, list[dict[str, Any]]] | None = None) -> list[Finding]:
    """Everything that a client can know of the cluster. What needs an answer that did not come is left out.

    Args:
        stack: the stack file.
        wanted: step -> the resources of its pods, as `run_settings.wanted_resources` gives; None asks for nothing.
    """
    try:
        context = stack.context()
    except ConfigurationError as error:
        return [Finding("Kubernetes", FAILED, error.what, error.remedy)]
    client, found = _connect(context.name if context else "", context.files if context else "")
    if found:
        return [found]
    assert stack.settings.cluster is not None
    namespace = stack.settings.cluster.namespace
    first = _answers(client)
    if first.state == FAILED:
        return [first]
    findings = [first, _namespace(client, namespace)]
    if findings[-1].state == FAILED:
        return findings
    findings.append(_rights(client, namespace))
    findings += [_secret(client, namespace, name, what) for name, what in SECRETS.items()]
    return findings + (_places(client, wanted, stack.settings.cluster.autoscaled) if wanted else [])


def _connect(context: str, files: str) -> tuple[Any, Finding | None]:
    from kubernetes import config
    from kubernetes.client import ApiClient, Configuration

    settings = Configuration()
    settings.retries = 0  # a wrong address is told at once
    try:
        if files:
            config.load_kube_config(files, context, client_configuration=settings, persist_config=False)
        else:
            config.load_incluster_config(client_configuration=settings)
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        said = f"the kubeconfig cannot be used ({type(error).__name__})"  # what it says may quote a credential
        remedy = f"try: kubectl --context {context} version" if context else "see the pod's service account"
        return None, Finding("Kubernetes", FAILED, said, remedy)
    return ApiClient(settings), None


def _answers(client: Any) -> Finding:
    """That the API server is there and knows us: an unknown or expired credential is 401 for a review of oneself."""
    subject = f"Kubernetes {client.configuration.host}"
    status, body = _call(client, "GET", "/version")
    if status == 0:
        remedy = "check the kubeconfig's server and certificate authority, and the way there (VPN, proxy)"
        return Finding(subject, FAILED, str(body), remedy)
    release = f"{body.get('major', '?')}.{body.get('minor', '?')}" if isinstance(body, dict) else "?"
    status, _ = _review(client, "default", Right("", "pods", "list"))
    if status == 401:
        remedy = "log in anew, or ask for a new token (docs/stack.md)"
        return Finding(subject, FAILED, "does not know the credentials: unknown, or expired", remedy)
    if status not in (200, 201):
        return Finding(subject, FAILED, f"answers no review of permissions (HTTP {status})", "is it a Kubernetes API?")
    return Finding(subject, OK, f"version {release}, knows the credentials")


def _namespace(client: Any, name: str) -> Finding:
    subject = f"namespace {name}"
    status, _ = _call(client, "GET", f"/api/v1/namespaces/{name}")
    if status == 404:
        remedy = "make it (docs/kubernetes-operation.md), or export DOMAINLM_NAMESPACE=..."
        return Finding(subject, FAILED, "is not there", remedy)
    if status == 403:  # it cannot be looked at; whether anything may be done in it is what the rights tell
        return Finding(subject, OK, "may not be looked at itself")
    return Finding(subject, OK, "is there") if status == 200 else _refused(subject, status, "read the namespace")


def _rights(client: Any, namespace: str) -> Finding:
    missing = []
    for right in SUBMITTER:
        status, body = _review(client, namespace, right)
        if status not in (200, 201):
            return _refused(f"permissions in {namespace}", status, "review permissions")
        if not body.get("status", {}).get("allowed"):
            missing.append(right)
    subject = f"permissions in {namespace}"
    if missing:
        remedy = "bind the role domainlm-submitter to this account (infra/kubernetes/base), or mend DOMAINLM_NAMESPACE"
        return Finding(subject, FAILED, f"missing: {', '.join(map(str, missing))}", remedy)
    return Finding(subject, OK, f"all {len(SUBMITTER)} that a run needs")


def _secret(client: Any, namespace: str, name: str, what: str) -> Finding:
    subject = f"secret {name}"
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque"}
    status, _ = _call(client, "POST", f"/api/v1/namespaces/{namespace}/secrets", body, {"dryRun": "All"})
    if status == 409:
        return Finding(subject, OK, "is there")
    if status in (200, 201):
        return Finding(
            subject, FAILED, f"is not there ({what})", f"make it in {namespace} (docs/kubernetes-operation.md)"
        )
    return Finding(subject, WARNING, f"cannot be known from here (HTTP {status})", "its absence shows at the start")


def _places(client: Any, wanted: dict[str, list[dict[str, Any]]], autoscaled: bool) -> list[Finding]:
    """Whether each pod would fit an empty node; how full nodes are now is not asked, since a pod may wait its turn."""
    status, body = _call(client, "GET", "/api/v1/nodes")
    if status != 200:
        said = "may not be listed by this account, so that nobody knows whether the pods fit"
        return [Finding("nodes", WARNING, said, "a pod without a place says so when the run is followed")]
    nodes = [node for node in body["items"] if not (node.get("spec") or {}).get("unschedulable")]
    findings: list[Finding] = []
    for step, pods in wanted.items():
        for resources in pods:
            asked = resources.get("limits", {}) | resources.get("requests", {})
            if (lacking := _lacking(asked, nodes)) and all(one.said != lacking for one in findings):
                findings.append(_no_place(step, resources, lacking, autoscaled))
    return findings or [Finding("nodes", OK, f"each pod fits an empty node, of {len(nodes)}")]


def _lacking(asked: dict[str, str], nodes: list[dict[str, Any]]) -> str:
    """What no node has enough of; empty if one could take the pod."""
    room = [{name: amount(str(value)) for name, value in node["status"]["allocatable"].items()} for node in nodes]
    needs = {name: amount(value) for name, value in asked.items()}
    if any(all(has.get(name, Decimal(0)) >= need for name, need in needs.items()) for has in room):
        return ""
    for name, need in sorted(needs.items(), key=lambda item: item[0] != GPU):
        most = max((has.get(name, Decimal(0)) for has in room), default=Decimal(0))
        if most < need:
            largest = f"the largest node has {_told(name, most)}" if most else "no node has any"
            return f"asks for {name} {asked[name]}, and {largest}"
    return "no single node has all that it asks for: " + ", ".join(f"{name} {value}" for name, value in asked.items())


def _no_place(step: str, resources: dict[str, Any], lacking: str, autoscaled: bool) -> Finding:
    subject = {"": "the orchestrator's pod", "*": "the pods of the steps"}.get(step, f"a pod of step {step}")
    remedy = "ask for less, or add a node that has it"
    if GPU in lacking:
        key = f"steps.{step}.settings.step_operator.domainlm.pod_settings.resources.limits"
        memory = resources.get("limits", {}).get("memory", "16Gi")
        remedy = f"add a GPU node, or train on CPUs: --set '{key}={{memory: {memory}}}'"
    return Finding(f"nodes: {subject}", WARNING if autoscaled else FAILED, lacking, remedy)


def _told(name: str, found: Decimal) -> str:
    return f"{found / 1024**3:.1f}Gi" if name == "memory" else f"{found.normalize():f}"


def _review(client: Any, namespace: str, right: Right) -> tuple[int, Any]:
    resource, _, part = right.resource.partition("/")
    attributes = {"namespace": namespace, "group": right.group, "resource": resource, "verb": right.verb}
    attributes |= {"subresource": part} if part else {}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    return _call(client, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)


def _refused(subject: str, status: int, what: str) -> Finding:
    return Finding(subject, FAILED, f"the API server does not let us {what} (HTTP {status})", "see its log")


def _call(
    client: Any, method: str, path: str, body: Any = None, query: dict[str, str] | None = None
) -> tuple[int, Any]:
    """The status and JSON of one call; status 0 and a sentence where there was no answer."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        answer, status, _ = client.call_api(
            path, method, body=body, query_params=list((query or {}).items()), auth_settings=["BearerToken"],
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            _preload_content=False, _request_timeout=TIMEOUT_S, _return_http_data_only=False,
        )  # fmt: skip
        return status, json.loads(answer.data)
    except ApiException as error:
        return error.status or 0, "" if error.status else why_unreachable(error)
    except ValueError:
        return 0, "what answers there is no Kubernetes API server"
    except (HTTPError, OSError) as error:
        return 0, why_unreachable(error)
