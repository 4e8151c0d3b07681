"""Which cluster a kubeconfig means, without importing the Kubernetes client: a wrong name is told in milliseconds.

ZenML keeps a context's name in the stack, but people name their contexts as they like. So each client writes a small
kubeconfig that gives the context that it means the stack's name, and puts it before its own in KUBECONFIG; kubectl and
the Python client merge the files. It holds names only: no address, no certificate, no token.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from domainlm.errors import ConfigurationError, nearest

DEFAULT = "~/.kube/config"
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"  # every pod has it
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # and, where it may use the API, its token here


class Context(NamedTuple):
    """A context of one or several kubeconfigs.

    Args:
        name: its name there.
        cluster: the cluster's entry.
        user: the user's entry.
        files: the files, as KUBECONFIG lists them.
    """

    name: str
    cluster: str
    user: str
    files: str

    def named(self, name: str, namespace: str, folder: Path) -> str:
        """A KUBECONFIG in which this very context has another name and is the current one.

        Args:
            name: the other name.
            namespace: the namespace that it stands for.
            folder: where the small file is written.
        """
        path = _write(folder, name, {"cluster": self.cluster, "user": self.user, "namespace": namespace})
        return os.pathsep.join((path, self.files))


def own_pod(name: str, namespace: str, folder: Path) -> str:
    """A KUBECONFIG for a pod of the cluster itself; it names the pod's token file, which Kubernetes renews."""
    host, port = os.environ[IN_CLUSTER], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    cluster = {"server": f"https://{host}:{port}", "certificate-authority": str(ACCOUNT / "ca.crt")}
    more = {
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"tokenFile": str(ACCOUNT / "token")}}],
    }
    return _write(folder, name, {"cluster": name, "user": name, "namespace": namespace}, more)


def find_context(kubeconfig: str, name: str, where: str) -> Context | None:
    """The context that is meant; None where there is no kubeconfig but this process is a pod of the cluster itself.

    Args:
        kubeconfig: one file; empty: those of KUBECONFIG, else ~/.kube/config.
        name: a context's name; empty: the current one.
        where: the stack file, for the error.

    Raises:
        ConfigurationError: no file, no kubeconfig, or no such context.
    """
    listed = kubeconfig or os.environ.get("KUBECONFIG", "") or DEFAULT
    files = [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
    there = [path.resolve() for path in files if path.is_file()]
    if not there:
        if not kubeconfig and os.environ.get(IN_CLUSTER):
            return None
        raise ConfigurationError(
            f"there is no kubeconfig: {', '.join(map(str, files))}", where, "export DOMAINLM_KUBECONFIG=FILE"
        )
    contexts: dict[str, dict[str, Any]] = {}
    current = ""
    for path in there:
        content = _read(path, where)
        for entry in content.get("contexts") or []:
            contexts.setdefault(entry["name"], entry.get("context") or {})
        current = current or content.get("current-context") or ""
    wanted = name or current
    if not wanted:
        raise ConfigurationError("the kubeconfig has no current context", where, "export DOMAINLM_KUBE_CONTEXT=NAME")
    if wanted not in contexts:
        raise ConfigurationError(
            f"there is no context '{wanted}' in {', '.join(map(str, there))}", where, nearest(wanted, contexts)
        )
    found = contexts[wanted]
    return Context(wanted, found.get("cluster", ""), found.get("user", ""), os.pathsep.join(map(str, there)))


def _write(folder: Path, name: str, context: dict[str, str], more: dict[str, Any] | None = None) -> str:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": context}],
    } | (more or {})
    path = folder / "context.yaml"
    draft = folder / f".context.{os.getpid()}"
    draft.write_text(yaml.safe_dump(content), encoding="utf-8")
    os.replace(draft, path)
    return str(path)


def _read(path: Path, where: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and all("name" in entry for entry in content.get("contexts") or []):
            return content
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        pass  # what a parser says would quote the file, and it holds credentials
    raise ConfigurationError(f"{path} is not a kubeconfig", where, "see: kubectl config view")
