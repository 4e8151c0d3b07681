"""A real cluster for `tests/kubernetes`: kubectl, a namespace of the tests' own, and the services that pods reach.

Everything is configuration (tests/kubernetes/README.md names the variables); what is not given is made: a namespace
with the accounts, roles, quotas and policies of `infra/kubernetes`, and ZenML server, MLflow and an S3-compatible store
as processes of this machine, on the address that the cluster's nodes know it by.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from cluster_services import Services
from small_project import shrink

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "infra" / "kubernetes" / "base"
PRIORITY = "domainlm-training"
CALL_S = 60
END_S = 180  # for a namespace to go with all that is in it
TOKEN_S = 4 * 3600  # longer than all tests take together
BUCKET = "domainlm"
# what an operator gives instead of letting the tests start it; the first of each group says whether it is given
SERVICE_VARIABLES = {
    "zenml": ("DOMAINLM_ZENML_URL", "DOMAINLM_ZENML_API_KEY_FILE"),
    "store": ("DOMAINLM_S3_URL", "DOMAINLM_S3_PATH", "DOMAINLM_S3_CREDENTIALS_FILE"),
    "mlflow": ("DOMAINLM_MLFLOW_URI", "DOMAINLM_MLFLOW_CREDENTIALS_FILE"),
}


def why_not() -> str:
    """Why there is no cluster to test on; empty where there is one."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG is not set: tests/kubernetes/README.md"
    if shutil.which("kubectl") is None:
        return "kubectl is not on the PATH"
    try:
        Kubectl("default").text("version", "--request-timeout=10s")
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"the cluster of KUBECONFIG does not answer: {str(error)[-300:]}"
    return ""


class Kubectl:
    """kubectl with the rights of KUBECONFIG, in one namespace.

    Args:
        namespace: where it looks unless a call says otherwise.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def text(self, *arguments: str, given: str = "", timeout_s: float = CALL_S) -> str:
        """What a call printed.

        Raises:
            RuntimeError: it failed; with what kubectl said.
        """
        command = ["kubectl", "-n", self.namespace, *arguments]
        done = subprocess.run(command, input=given, text=True, capture_output=True, timeout=timeout_s)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, the oldest first."""
        chosen = ["-l", selector] if selector else []
        found = json.loads(self.text("get", kind, *chosen, "-o", "json"))["items"]
        return sorted(found, key=lambda one: one["metadata"]["creationTimestamp"])

    def apply(self, *objects: dict[str, Any]) -> None:
        self.text("apply", "-f", "-", given=yaml.safe_dump_all(objects))


@cache
def host_of_services() -> str:
    """Where services of this machine listen: as told, else the own address that the API server sees.

    Pods usually reach that one too. Nothing is sent to find it: a UDP socket connects by the routing table alone.
    """
    if told := os.environ.get("DOMAINLM_TEST_HOST"):
        return told
    server = Kubectl("default").text("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    url = urllib.parse.urlparse(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((url.hostname, url.port or 443))
        return probe.getsockname()[0]


class Cluster(NamedTuple):
    """Where the tests work.

    Args:
        kubectl: with the rights of KUBECONFIG, in the tests' namespace.
        image: what the pods run.
        variables: what `domainlm` needs in its environment: addresses, files of secrets, the submitter's kubeconfig.
        services: those that the tests started; None where all were given.
        claims: whether the cluster makes volumes for claims by itself.
    """

    kubectl: Kubectl
    image: str
    variables: dict[str, str]
    services: Services | None
    claims: bool

    @property
    def namespace(self) -> str:
        return self.kubectl.namespace

    def uri_of(self, name: str) -> str:
        """Where an object lies that is put beside the artifacts, as an institution's own data do."""
        return f"s3://{urllib.parse.urlparse(self.variables['DOMAINLM_S3_PATH']).netloc}/{name}"

    def store_access(self) -> dict[str, str]:
        """What a pod that reads sources there has in its environment."""
        pair = yaml.safe_load(Path(self.variables["DOMAINLM_S3_CREDENTIALS_FILE"]).read_text())
        found = {name.upper(): value for name, value in pair.items()}
        return found | {"AWS_ENDPOINT_URL": self.variables["DOMAINLM_S3_URL"], "AWS_DEFAULT_REGION": "us-east-1"}

    def put(self, name: str, text: str) -> None:
        """Store such an object."""
        from boto3 import client

        pair = yaml.safe_load(Path(self.variables["DOMAINLM_S3_CREDENTIALS_FILE"]).read_text())
        store = client("s3", endpoint_url=self.variables["DOMAINLM_S3_URL"], region_name="us-east-1", **pair)
        bucket, _, key = self.uri_of(name).removeprefix("s3://").partition("/")
        store.put_object(Bucket=bucket, Key=key, Body=text.encode())


@contextmanager
def real_cluster(folder: Path) -> Iterator[Cluster]:
    """The cluster of KUBECONFIG with everything that the tests need on it, and nothing of it left afterwards."""
    namespace = os.environ.get("DOMAINLM_TEST_NAMESPACE", "domainlm-tests")
    kubectl = Kubectl(namespace)
    image = os.environ.get("DOMAINLM_IMAGE", "localhost/domainlm:cpu")
    missing = tuple(name for name, variables in SERVICE_VARIABLES.items() if variables[0] not in os.environ)
    host = host_of_services()
    services = Services(folder / "services", missing, host)
    phases = {one["metadata"]["name"]: one["status"]["phase"] for one in kubectl.objects("namespaces")}
    if phases.get(namespace) == "Terminating":  # of tests before these
        kubectl.text("wait", f"namespace/{namespace}", "--for=delete", f"--timeout={END_S}s", timeout_s=2 * END_S)
    made = phases.get(namespace) != "Active"
    made_priority = False
    with services:
        try:
            made_priority = _make_priority(kubectl)
            if made:
                _make_namespace(kubectl, folder, host)
            variables = _variables(services, missing, folder) | {
                "DOMAINLM_KUBECONFIG": str(_submitter(kubectl, folder)),
                "DOMAINLM_NAMESPACE": namespace,
                "DOMAINLM_IMAGE": image,
                "DOMAINLM_REGISTRY_URI": os.environ.get("DOMAINLM_REGISTRY_URI", "registry.example"),
            }
            yield Cluster(kubectl, image, variables, services if missing else None, _claims(kubectl))
        finally:
            if made:
                kubectl.text("delete", "namespace", namespace, "--ignore-not-found", "--wait=true", timeout_s=END_S)
            if made_priority:
                kubectl.text("delete", "priorityclass", PRIORITY)


def make_secret(cluster: Cluster, name: str, values: dict[str, str]) -> None:
    """A secret that pods mount or read: what docs/kubernetes-operation.md has an operator make."""
    metadata = {"name": name, "namespace": cluster.namespace}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def small_run_configuration(root: Path, path: Path, claims: bool) -> Path:
    """`configs/kubernetes.yaml` of a project, shrunk as small_project shrinks the local one, and without a GPU.

    Args:
        root: the project.
        path: where to write it; outside of the project, whose code shall be as it was committed.
        claims: whether the claim `domainlm-state` gets a volume here; without one, state ends with its pod.
    """
    content = yaml.safe_load((root / "configs" / "kubernetes.yaml").read_text())
    shrink(content)
    training = content["steps"]["train"]["settings"]["step_operator.domainlm"]["pod_settings"]
    training["resources"] = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}}
    for step in content["steps"].values():
        for settings in step.get("settings", {}).values():
            for volume in settings.get("pod_settings", {}).get("volumes", []):
                if "persistentVolumeClaim" in volume and not claims:
                    del volume["persistentVolumeClaim"]
                    volume["emptyDir"] = {"sizeLimit": "5Gi"}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _make_namespace(kubectl: Kubectl, folder: Path, host: str) -> None:
    """The namespace of infra/kubernetes under another name: same accounts, roles, quotas, policies, pod security."""
    room = folder / "namespace"
    shutil.copytree(BASE / "runs", room / "runs")
    # `namespace:` renames the namespace itself, but leaves the subjects of bindings as they are
    rename = {
        "apiVersion": "builtin", "kind": "NamespaceTransformer", "setRoleBindingSubjects": "allServiceAccounts",
        "metadata": {"name": "rename", "namespace": kubectl.namespace},
    }  # fmt: skip
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["runs"],
        "namespace": kubectl.namespace, "transformers": [yaml.safe_dump(rename)],
    }  # fmt: skip
    (room / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    kubectl.text("apply", "-f", "-", given=kubectl.text("kustomize", str(room)))
    # where policies are enforced, pods would not reach the services on this machine
    reach = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": f"{host}/32"}}]}]}
    kubectl.apply({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": reach,
        "metadata": {"name": "to-tests", "namespace": kubectl.namespace},
    })  # fmt: skip


def _make_priority(kubectl: Kubectl) -> bool:
    """The priority of trainings belongs to the whole cluster: made where it is missing.

    Returns:
        Whether it was made.
    """
    if PRIORITY in {one["metadata"]["name"] for one in kubectl.objects("priorityclasses")}:
        return False
    kubectl.text("apply", "-f", "-", given=kubectl.text("kustomize", str(BASE / "cluster")))
    return True


def _submitter(kubectl: Kubectl, folder: Path) -> Path:
    """A kubeconfig with nothing but the submitter's rights: tests must not pass by an administrator's."""
    content = json.loads(kubectl.text("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = kubectl.text("create", "token", "domainlm-submitter", f"--duration={TOKEN_S}s").strip()
    content["users"] = [{"name": "submitter", "user": {"token": token}}]
    content["contexts"] = [{"name": "tests", "context": {
        "cluster": content["clusters"][0]["name"], "user": "submitter", "namespace": kubectl.namespace}}]  # fmt: skip
    content["current-context"] = "tests"
    path = folder / "submitter.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return path


def _variables(services: Services, started: tuple[str, ...], folder: Path) -> dict[str, str]:
    found = {
        name: os.environ[name]
        for group, names in SERVICE_VARIABLES.items()
        for name in names
        if group not in started and name in os.environ
    }
    if "zenml" in started:
        found["DOMAINLM_ZENML_URL"] = services.zenml_url
        found["DOMAINLM_ZENML_API_KEY_FILE"] = str(services.secret_file("zenml.key", services.zenml_api_key))
    if "store" in started:
        services.bucket(BUCKET)
        pair = {"aws_access_key_id": services.s3_id, "aws_secret_access_key": services.s3_secret}
        found["DOMAINLM_S3_URL"], found["DOMAINLM_S3_PATH"] = services.s3_url, f"s3://{BUCKET}/tests"
        found["DOMAINLM_S3_CREDENTIALS_FILE"] = str(services.secret_file("s3.yaml", yaml.safe_dump(pair)))
    if "mlflow" in started:
        pair = {"user": services.mlflow_user, "password": services.mlflow_password}
        found["DOMAINLM_MLFLOW_URI"] = services.mlflow_url
        found["DOMAINLM_MLFLOW_CREDENTIALS_FILE"] = str(services.secret_file("mlflow.yaml", yaml.safe_dump(pair)))
    return found


def _claims(kubectl: Kubectl) -> bool:
    mark = "storageclass.kubernetes.io/is-default-class"
    return any(one["metadata"].get("annotations", {}).get(mark) == "true" for one in kubectl.objects("storageclasses"))
