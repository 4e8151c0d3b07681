"""A stack file (`infra/stacks/NAME.yaml`): which server, which cluster, which components.

The file is for people and for git: addresses come from environment variables, secrets from files that only their owner
can read and that are named, never quoted. What a process needs in order to use the stack are environment variables that
stand before ZenML is imported (`StackFile.enter`): the server's address and key, and a ZenML configuration of the
stack's own, so that the project's local store and its active stack stay as they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import Field, model_validator

from domainlm.cluster.clear_secrets import secrets_in_clear
from domainlm.cluster.kubeconfig import Context, find_context, own_pod
from domainlm.errors import ConfigurationError, SecretError, nearest
from domainlm.private_files import others_can_read
from domainlm.project import SOURCE_ROOT, home, project_root
from domainlm.reports import Settings
from domainlm.variables import expand, once
from domainlm.yaml_lines import at, model_faults, read_yaml

STACKS = Path("infra") / "stacks"
# flavours whose components live in the cluster's namespace
_IN_NAMESPACE = ("kubernetes", "domainlm")
_ON_A_CLUSTER = ("orchestrator", "artifact_store", "container_registry", "image_builder")
_INSTEAD = "write {{NAME.KEY}}, and name the secret's file under `secrets`"


class ServerSettings(Settings):
    """The ZenML server that keeps the stack and its runs."""

    url: str = Field(min_length=1, pattern=r"^https?://", description="the server's address, as the pods reach it")
    api_key_file: Path = Field(description="the API key of a service account; mode 0600")


class ClusterSettings(Settings):
    """The cluster, as the client reaches it."""

    kubeconfig: str = Field(default="", description="a kubeconfig; empty: KUBECONFIG, ~/.kube/config, or the own pod")
    context: str = Field(default="", description="a context of it; empty: its current one")
    namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="where runs work; it exists")
    autoscaled: bool = Field(default=False, description="nodes come when pods wait: one that fits none is a warning")


class SecretSource(Settings):
    """A secret that the ZenML server keeps, and the file that it is filled from."""

    file: Path = Field(description="YAML lines `key: value`; mode 0600")
    keys: list[str] = Field(min_length=1, description="exactly the keys that the file holds")


class ComponentSettings(Settings):
    """One component of the stack."""

    name: str = Field(min_length=1)
    flavor: str = Field(min_length=1)
    configuration: dict[str, Any] = Field(default_factory=dict)


class StackSettings(Settings):
    """The content of a stack file."""

    name: str = Field(min_length=1)
    server: ServerSettings | None = None
    cluster: ClusterSettings | None = None
    evidence: Literal["here", "cluster"] = Field(
        default="here", description="which ledger its runs go into: that of whoever follows them, or the cluster's"
    )
    secrets: dict[str, SecretSource] = Field(default_factory=dict)
    components: dict[str, ComponentSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> StackSettings:
        """ZenML would say one after the other that they are missing, the last of them when a run is submitted."""
        if self.server and not self.cluster:
            raise ValueError("a stack with a server needs the section cluster")
        if missing := [kind for kind in _ON_A_CLUSTER if self.server and kind not in self.components]:
            raise ValueError(f"a stack of a cluster needs the components {', '.join(missing)} too")
        return self


class StackFile(NamedTuple):
    """A stack file that was read and checked.

    Args:
        path: the file.
        settings: its content, variables replaced.
    """

    path: Path
    settings: StackSettings

    @property
    def remote(self) -> bool:
        """Whether it names a server of its own; a local stack lives in the project's store."""
        return self.settings.server is not None

    def context(self) -> Context | None:
        """The kubeconfig's context that is meant; None inside a pod of the cluster.

        Raises:
            ConfigurationError: there is no kubeconfig, or no such context in it.
        """
        assert self.settings.cluster is not None
        return find_context(self.settings.cluster.kubeconfig, self.settings.cluster.context, str(self.path))

    def components(self) -> dict[str, ComponentSettings]:
        """The components, those of the cluster with its namespace and the name under which clients know its context."""
        cluster = self.settings.cluster
        if cluster is None:
            return dict(self.settings.components)
        found = {}
        for kind, component in self.settings.components.items():
            own: dict[str, Any] = {}
            if component.flavor in _IN_NAMESPACE:
                own["kubernetes_namespace"] = cluster.namespace
                if kind == "orchestrator":
                    own |= {"kubernetes_context": self.settings.name}
                else:
                    own |= {"incluster": True}  # it is used by the pod that launches a step, with that pod's account
            found[kind] = component.model_copy(update={"configuration": own | component.configuration})
        return found

    def secret_values(self, name: str) -> dict[str, str]:
        """What a secret's file holds; never printed, never quoted.

        Raises:
            SecretError: the file is missing, others can read it, or it does not hold exactly the keys.
        """
        wanted = self.settings.secrets[name]
        where = f"{self.path}: secrets.{name}"
        try:
            content = yaml.safe_load(private_text(wanted.file, where))
        except yaml.YAMLError:
            content = None  # the parser's message would quote the secret
        if not isinstance(content, dict) or set(content) != set(wanted.keys) or not all(content.values()):
            raise SecretError(
                f"{wanted.file} does not hold exactly {', '.join(wanted.keys)}", where, "write one `key: value` a line"
            )
        return {key: str(value) for key, value in content.items()}

    def environment(self) -> dict[str, str]:
        """The variables of a process that uses the stack; they must stand before ZenML or kubernetes is imported.

        Raises:
            ConfigurationError, SecretError: the kubeconfig or the API key cannot be used.
        """
        if self.settings.server is None:
            return {}
        folder = home() / "stacks" / self.settings.name
        (folder / "client" / ".zen").mkdir(mode=0o700, parents=True, exist_ok=True)  # what ZenML knows a root by
        found = {
            "ZENML_CONFIG_PATH": str(folder / "zenml"),
            "ZENML_REPOSITORY_PATH": str(folder / "client"),
            "ZENML_CUSTOM_SOURCE_ROOT": str(source_root()),
            "ZENML_STORE_URL": self.settings.server.url,
            "ZENML_STORE_API_KEY": private_text(self.settings.server.api_key_file, f"{self.path}: server").strip(),
            "DISABLE_CREDENTIALS_DISK_CACHING": "true",  # else key and token would lie in ZENML_CONFIG_PATH
        }
        if self.settings.cluster:
            place = (self.settings.name, self.settings.cluster.namespace, folder)
            context = self.context()
            found["KUBECONFIG"] = context.named(*place) if context else own_pod(*place)
        return found

    def enter(self) -> None:
        """Make this process one that uses the stack; a local stack changes nothing.

        Raises:
            ConfigurationError, SecretError: as `environment`.
        """
        os.environ.update(self.environment())


def stack_path(name: str) -> Path | None:
    """The file that `-s NAME` means: a path, or a file of infra/stacks; None if NAME is of ZenML's own store only."""
    given = Path(name).expanduser()
    if given.suffix in (".yaml", ".yml"):
        return given.resolve()
    found = project_root() / STACKS / f"{name}.yaml"
    return found if found.is_file() else None


def find_stack(name: str) -> StackFile:
    """The stack file that a person named.

    Raises:
        ConfigurationError: there is none, or it cannot be used.
    """
    path = stack_path(name)
    if path is None:
        raise ConfigurationError(f"there is no stack file '{name}'", str(STACKS), nearest(name, stack_files()))
    return read_stack(path)


def stack_files() -> list[str]:
    """The names that `-s` knows."""
    return sorted(path.stem for path in (project_root() / STACKS).glob("*.yaml"))


def read_stack(path: Path) -> StackFile:
    """Read and check a stack file.

    Raises:
        ConfigurationError: all faults at once, each with its line: unknown keys, variables that are not set.
    """
    if not path.is_file():
        raise ConfigurationError("there is no such stack file", str(path), "see infra/stacks/")
    raw, lines = read_yaml(path)
    content, faults = expand(_with_home(raw))
    faults = once(faults)
    if not faults:
        faults = model_faults(StackSettings, content, ()) or secrets_in_clear(content, (), _INSTEAD)
    if faults:
        told = [f"{path}{at(lines, where)}: {'.'.join(map(str, where))}: {what}" for where, what in faults]
        raise ConfigurationError("\n".join(["the stack file cannot be used:", *told]), "", "nothing was changed")
    return StackFile(path, StackSettings(**content))


def private_text(path: Path, where: str) -> str:
    """The text of a file that only its owner can read, or that a pod's secret volume shows to its group.

    Raises:
        SecretError: it is missing, empty, or others can read it.
    """
    try:
        with open(path.expanduser(), encoding="utf-8") as stream:
            state = os.fstat(stream.fileno())
            text = stream.read()
    except (OSError, UnicodeDecodeError):
        raise SecretError(f"the file {path} cannot be read", where, "name a text file that you may read") from None
    if others_can_read(state):
        raise SecretError(f"the file {path} can be read by others", where, f"chmod 600 {path}")
    if not text.strip():
        raise SecretError(f"the file {path} is empty", where, "write the secret into it")
    return text


def source_root() -> Path:
    """Where the package's own sources lie as ZenML should see them: the project, or what is installed."""
    root = project_root()
    return root if (root / "steps").is_dir() else SOURCE_ROOT


def _with_home(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_home(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_home(part) for part in value]
    return value.replace("{home}", str(home())) if isinstance(value, str) else value
