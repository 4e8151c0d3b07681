"""A small project whose runs work on a stub of Kubernetes, with real services: the command line is the real one.

`cluster_project(folder)` yields it. The stub enforces the roles of `infra/kubernetes`, its one image holds what
`infra/docker` puts into the real one (the files that git knows, and the record of the checkout), with that image's
environment, and its node has GPUs to ask for, which are not there: training then works on the CPU.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cluster_services import Services
from kubernetes_stub import Cluster, Image
from kubernetes_stub_objects import BY_KIND
from kustomize import render
from small_project import ROOT, Project, make_project, shrink

from domainlm.ledger.run import built

IMAGE = "registry.bank.example/domainlm:0.1.0-cpu"
BUCKET = "domainlm"
NAMESPACE = "domainlm"
RUN_S = 1500  # a whole run takes 3 minutes on four idle cores, and many times that on busy ones
RUNS = ROOT / "infra" / "kubernetes" / "base" / "runs"
CONFIGURATION = "configs/kubernetes-small.yaml"


class ClusterProject(Project):
    """A project with a stack.

    Args:
        root: its folder.
        cluster: the stub.
        services: ZenML server, store, MLflow.
    """

    def __init__(self, root: Path, cluster: Cluster, services: Services) -> None:
        super().__init__(root)
        self.cluster, self.services = cluster, services
        store = {"aws_access_key_id": services.s3_id, "aws_secret_access_key": services.s3_secret}
        mlflow = {"user": services.mlflow_user, "password": services.mlflow_password}
        self.environment |= {
            "DOMAINLM_ZENML_URL": services.zenml_url,
            "DOMAINLM_ZENML_API_KEY_FILE": str(services.secret_file("zenml.key", services.zenml_api_key)),
            "DOMAINLM_KUBECONFIG": str(cluster.kubeconfig("domainlm-submitter")),
            "DOMAINLM_NAMESPACE": NAMESPACE,
            "DOMAINLM_IMAGE": IMAGE,
            "DOMAINLM_S3_URL": services.s3_url,
            "DOMAINLM_S3_PATH": f"s3://{BUCKET}/bank",
            "DOMAINLM_S3_CREDENTIALS_FILE": str(services.secret_file("s3.yaml", yaml.safe_dump(store))),
            "DOMAINLM_MLFLOW_URI": services.mlflow_url,
            "DOMAINLM_MLFLOW_CREDENTIALS_FILE": str(services.secret_file("mlflow.yaml", yaml.safe_dump(mlflow))),
            "DOMAINLM_REGISTRY_URI": "registry.bank.example",
        }

    def start_on_cluster(self, *arguments: str) -> subprocess.Popen[str]:
        command = ("-m", "cli.main", "run", "-s", "kubernetes", "-c", CONFIGURATION)
        return self.start(sys.executable, *command, *arguments)

    def run_on_cluster(self, *arguments: str, code: int = 0) -> str:
        """Submit a run, follow it to its end, compare the exit code, return what was printed."""
        process = self.start_on_cluster(*arguments)
        try:
            output, _ = process.communicate(timeout=RUN_S)
        finally:
            process.kill()
        assert process.returncode == code, output
        return output

    def secrets(self) -> list[str]:
        """Everything that must stand in clear in no object, artifact, log or answer."""
        services = self.services
        return [
            services.zenml_api_key, services.zenml_password, services.s3_secret, services.mlflow_password,
            *self.cluster.tokens(),
        ]  # fmt: skip


@contextmanager
def cluster_project(root: Path) -> Iterator[ClusterProject]:
    """Make a project, its image, the services and the stub; end them all."""
    project = make_project(root / "project")
    ignored = (ROOT / ".gitignore").read_text()
    (project.root / ".gitignore").write_text(ignored + "site/\nempty_home/\n")
    shutil.copytree(ROOT / "configs", project.root / "configs")
    small_run_configuration(project.root)
    commit(project, "what the image is built from")
    project.domainlm("setup")
    app = build_app(project, root / "image")
    with Services(root / "services") as services:
        services.bucket(BUCKET)
        with Cluster(root / "cluster", {IMAGE: Image(app, image_environment())}, rules(project)) as cluster:
            yield ClusterProject(project.root, cluster, services)


def small_run_configuration(root: Path) -> None:
    content = yaml.safe_load((root / "configs" / "kubernetes.yaml").read_text())
    shrink(content)
    # the stub looks after memory as a node does; the real figures are for real data
    content["steps"]["train"]["settings"]["step_operator.domainlm"]["active_deadline_seconds"] = 600
    (root / CONFIGURATION).write_text(yaml.safe_dump(content, sort_keys=False))


def commit(project: Project, message: str) -> None:
    for arguments in (["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", message]):
        subprocess.run(["git", "-C", str(project.root), *arguments], check=True, timeout=60)


def build_app(project: Project, folder: Path) -> Path:
    """What the image has at /app, without bytecode as there."""
    listed = subprocess.run(
        ["git", "-C", str(project.root), "ls-files", "-z"], check=True, capture_output=True, text=True, timeout=60
    )
    known = [name for name in listed.stdout.split("\0") if name]
    for name in known:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project.root / name, folder / name)
    built.write(project.root, known, folder)
    return folder


def image_environment() -> dict[str, str]:
    """The variables that the real image sets: the first ENV of its Containerfile, without the PATH."""
    text = (ROOT / "infra" / "docker" / "Containerfile").read_text()
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", text, re.M)
    assert block is not None
    pairs = [line.strip(" \\").split("=", 1) for line in block[1].splitlines()]
    return {name: value for name, value in pairs if name != "PATH"}


def rules(project: Project) -> list[dict[str, Any]]:
    """The namespace as infra/kubernetes makes it, with its accounts and roles, and the one secret that people make."""
    found = [one for one in render(RUNS) if one["kind"] in BY_KIND]
    key = base64.b64encode((project.state / "keys" / "development.key").read_bytes()).decode()
    secret = {"kind": "Secret", "metadata": {"name": "domainlm-key", "namespace": NAMESPACE}, "data": {"key.json": key}}
    return [*found, secret]
