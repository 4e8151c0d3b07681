"""A stub of the Kubernetes API, for tests without a cluster. It is no Kubernetes: it plays one node on loopback.

It speaks the REST API over TLS, knows who calls (tokens of service accounts) and what they may do (RBAC), records every
request, keeps objects, and runs each pod's container as a process of this machine, so that real clients (the
`kubernetes` package, ZenML's orchestrator and step operator, our own commands) go through it unchanged:

    with Cluster(folder, images={"registry.bank.example/domainlm:1": Image(app)}, rules=objects) as cluster:
        environment["KUBECONFIG"] = str(cluster.kubeconfig("domainlm-submitter"))
        ...
        assert cluster.used("domainlm-submitter") == ...

Its parts: `kubernetes_stub_objects` (store, selectors), `_roles` (RBAC), `_jobs` (Jobs, owners), `_pods` (scheduler and
node; says what of a container is played and what is not). Left out: watches, server-side apply, paging, discovery of
custom resources, admission but for service accounts and quantities.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import ssl
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from kubernetes_stub_jobs import Controllers
from kubernetes_stub_objects import BY_KIND, BY_PLURAL, NAME, ApiError, Object, Objects, Resource, already_exists
from kubernetes_stub_pods import Image, Node, quantity
from kubernetes_stub_roles import ABOUT_ONESELF, Right, account, allows, granted, rules_of

__all__ = ["Cluster", "Image", "Request", "Right"]

VERSION = {
    "major": "1", "minor": "32", "gitVersion": "v1.32.0", "gitCommit": "0" * 40, "gitTreeState": "clean",
    "buildDate": "2024-12-11T00:00:00Z", "goVersion": "go1.23.3", "compiler": "gc", "platform": "linux/amd64",
}  # fmt: skip
NODE = {
    "metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1"}},
    "spec": {},
    "status": {
        "capacity": {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"},
        "allocatable": {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"},
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.32.0", "architecture": "amd64"},
    },
}
ADMINISTRATOR = "kubernetes-admin"
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


class Request(NamedTuple):
    """One request, as it was asked and answered; `body` is what was sent, before any default."""

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    query: dict[str, str]
    body: Any
    code: int

    @property
    def right(self) -> Right:
        return Right(self.group, self.resource, self.verb)


class Target(NamedTuple):
    """What a path names."""

    resource: Resource
    namespace: str
    name: str
    subresource: str

    @property
    def plural(self) -> str:
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural


class Cluster:
    """The stub, serving while it is entered.

    Args:
        folder: its certificate, kubeconfigs and the pods' files.
        images: what the node can pull.
        rules: objects that stand from the beginning: namespaces, service accounts, roles and bindings, secrets, nodes.
            Without any Role among them everybody may do everything.
        namespace: made beside them.
    """

    def __init__(
        self, folder: Path, images: dict[str, Image], rules: Iterable[Object] = (), namespace: str = "domainlm"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.namespace, self.images = folder, namespace, images
        self.requests: list[Request] = []
        self.objects = Objects()
        self._tokens: dict[str, str] = {}  # token -> user
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self.port = self._server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = _certificate(folder)
        self._server.secure(folder)
        self.node = Node(self.objects, images, folder, self._write_account, self.port)
        self._controllers = Controllers(self.objects, self._make_pod)
        for one in rules:
            self.objects.create(one["kind"], one)
        for kind, body in (("Namespace", {"metadata": {"name": namespace}}), ("Node", NODE)):
            if not self.objects.list(kind, fields="" if kind == "Node" else f"metadata.name={namespace}"):
                self.objects.create(kind, body)
        self.enforces = any(one["kind"] in ("Role", "ClusterRole") for one in rules)

    def __enter__(self) -> Cluster:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controllers.stop()
        self.node.stop()
        self._server.shutdown()
        self._server.server_close()

    # ---- for tests ------------------------------------------------------------

    def token(self, user: str) -> str:
        """A bearer token of a user; a name without a colon is a service account of the namespace."""
        name = user if ":" in user or user == ADMINISTRATOR else account(self.namespace, user)
        made = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[made] = name
        return made

    def expire(self, token: str) -> None:
        """From now on the token is answered 401."""
        with self._lock:
            del self._tokens[token]

    def tokens(self) -> list[str]:
        """All that were given, to look for them where they must not be."""
        with self._lock:
            return list(self._tokens)

    def kubeconfig(self, user: str = ADMINISTRATOR, context: str = "stub", token: str = "") -> Path:
        """A kubeconfig file (mode 0600) with which a user calls this cluster."""
        path = self.folder / f"kubeconfig-{user.rsplit(':', 1)[-1]}"
        path.touch(mode=0o600)
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{"name": "stub", "cluster": {
                "server": self.url, "certificate-authority-data": base64.b64encode(self.ca).decode()}}],
            "users": [{"name": user, "user": {"token": token or self.token(user)}}],
            "contexts": [{"name": context, "context": {"cluster": "stub", "user": user, "namespace": self.namespace}}],
        }  # fmt: skip
        path.write_text(json.dumps(content, indent=1))
        return path

    def list(self, kind: str, labels: str = "") -> list[Object]:
        """Objects of a kind in the namespace."""
        return self.objects.list(kind, self.namespace if BY_KIND[kind].namespaced else "", labels)

    def log(self, pod: Object) -> str:
        return self.node.log(pod)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object of the namespace as an administrator does, in the background."""
        self._controllers.delete(self.objects.get(kind, self.namespace, name), "Background")

    def set_allocatable(self, resource: str, amount: str) -> None:
        """What the node has to give from now on."""
        (node,) = self.objects.list("Node")
        patch = {"status": {"allocatable": {resource: amount}}}
        self.objects.merge("Node", "", node["metadata"]["name"], patch)

    def evict(self, pod: Object) -> None:
        """The node gets rid of a running pod, as under memory pressure."""
        self.node.end(pod, "Evicted")

    def fire(self, cron_job: str) -> Object:
        """Make the Job of a CronJob now, instead of waiting for its hour."""
        made = self.objects.get("CronJob", self.namespace, cron_job)
        template = made["spec"]["jobTemplate"]
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": cron_job, "uid": made["metadata"]["uid"],
                 "controller": True}  # fmt: skip
        meta = {**template.get("metadata", {}), "name": f"{cron_job[:50]}-{secrets.randbelow(10**8)}"}
        body = {"metadata": {**meta, "ownerReferences": [owner]}, "spec": template["spec"]}
        job = self.objects.create("Job", _with_defaults(body), self.namespace)
        self._controllers.start(job)
        return job

    def sent(self, kind: str = "") -> list[Object]:
        """The objects that clients created, as they sent them."""
        kinds = {one.plural: one.kind for one in BY_KIND.values() if one.plural not in ABOUT_ONESELF}
        made = [
            one
            for one in self.requests
            if one.verb == "create" and one.resource in kinds and one.code < 300 and "dryRun" not in one.query
        ]
        found = [{"kind": kinds[one.resource], **one.body} for one in made if kind in ("", kinds[one.resource])]
        return [{"apiVersion": BY_KIND[one["kind"]].api_version, **one} for one in found]

    def used(self, user: str) -> set[Right]:
        """The rights that a service account made use of, also where what it asked for was not there."""
        name = account(self.namespace, user)
        return {
            one.right
            for one in self.requests
            if one.user == name and one.code not in (401, 403) and one.resource not in ABOUT_ONESELF
        }

    def granted(self, user: str) -> set[Right]:
        """The rights that roles give to a service account in the namespace."""
        return granted(self._rules(account(self.namespace, user), self.namespace))

    def refused(self) -> list[Request]:
        return [one for one in self.requests if one.code == 403]

    # ---- who may what ------------------------------------------------------------

    def user_of(self, header: str) -> str:
        """The caller.

        Raises:
            ApiError: a token that is not, or no longer, known.
        """
        if not header:
            return "system:anonymous"
        with self._lock:
            user = self._tokens.get(header.partition(" ")[2])  # the scheme's case is free: a pod's client writes bearer
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return user

    def authorise(self, user: str, right: Right, target: Target) -> None:
        """
        Raises:
            ApiError: 403, worded as the API server does.
        """
        if self.may(user, right, target.namespace, target.name):
            return
        resource = target.resource
        named = f'{resource.full_name} "{target.name}"' if target.name else resource.full_name
        place = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
        message = (
            f'{named} is forbidden: User "{user}" cannot {right.verb} resource "{target.plural}" in API group '
            f'"{right.group}"{place}'
        )
        details = {"name": target.name, "group": resource.group, "kind": resource.plural}
        raise ApiError(403, "Forbidden", message, details)

    def may(self, user: str, right: Right, namespace: str, name: str) -> bool:
        if user == "system:anonymous":
            return False
        if not self.enforces or user == ADMINISTRATOR or right.resource in ABOUT_ONESELF:
            return True
        return allows(self._rules(user, namespace), right, name)

    def _rules(self, user: str, namespace: str) -> list[dict[str, Any]]:
        kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
        return rules_of(user, namespace, [one for kind in kinds for one in self.objects.list(kind)])

    def _write_account(self, namespace: str, name: str, folder: Path) -> None:
        (folder / "token").write_text(self.token(account(namespace, name)))
        (folder / "ca.crt").write_bytes(self.ca)
        (folder / "namespace").write_text(namespace)

    # ---- verbs ------------------------------------------------------------

    def answer(self, verb: str, target: Target, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Carry out a request that is authorised: HTTP status, and an object or a text."""
        kind, namespace, name = target.resource.kind, target.namespace, target.name
        if verb == "list":
            items = self.objects.list(kind, namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
            return 200, {
                "kind": f"{kind}List",
                "apiVersion": target.resource.api_version,
                "metadata": {},
                "items": items,
            }
        if verb == "get" and target.subresource == "log":
            return 200, self._log(self.objects.get("Pod", namespace, name), query)
        if verb == "get":
            return 200, self.objects.get(kind, namespace, name)
        if verb in ("patch", "update"):
            if not isinstance(body, dict):
                raise ApiError(415, "UnsupportedMediaType", "the stub merges patches and applies no list of operations")
            return 200, self.objects.merge(kind, namespace, name, body)
        if verb == "delete":
            return 200, self._delete(self.objects.get(kind, namespace, name), query, body or {})
        if verb == "deletecollection":
            for one in self.objects.list(
                kind, namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
            ):
                self._delete(one, query, body or {})
            return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        if target.subresource == "eviction":
            return 201, self._drain(self.objects.get("Pod", namespace, name))
        return 201, self._create(target, query, body)

    def _create(self, target: Target, query: dict[str, str], body: Object) -> Object:
        resource, namespace = target.resource, target.namespace
        if resource.namespaced and not self.objects.find("Namespace", "", namespace):
            details = {"name": namespace, "kind": "namespaces"}
            raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found', details)
        _require_valid(resource, body)
        if query.get("dryRun"):
            name = body["metadata"].get("name", "")
            if name and self.objects.find(resource.kind, namespace, name):
                raise already_exists(resource, name)
            return body
        if resource.kind == "Pod":
            return self._make_pod(body, namespace)
        if resource.kind == "Job":
            body = _with_defaults(body)
        made = self.objects.create(resource.kind, body, namespace)
        if resource.kind == "Job":
            self._controllers.start(made)
        return made

    def _make_pod(self, body: Object, namespace: str) -> Object:
        name = body["spec"].get("serviceAccountName", "default")
        if name != "default" and self.enforces and not self.objects.find("ServiceAccount", namespace, name):
            raise ApiError(
                403, "Forbidden", f'pods "{body["metadata"].get("name", "")}" is forbidden: error looking up service '
                f'account {namespace}/{name}: serviceaccount "{name}" not found',
            )  # fmt: skip
        pod = self.objects.create("Pod", {"status": {"phase": "Pending"}, **body}, namespace)
        self.node.start(pod)
        return pod

    def _delete(self, one: Object, query: dict[str, str], options: dict[str, Any]) -> Object:
        # Jobs are the only kind of which the API server by default keeps what they own
        default = "Orphan" if one["kind"] == "Job" else "Background"
        propagation = options.get("propagationPolicy") or query.get("propagationPolicy") or default
        grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        self._controllers.delete(one, propagation, None if grace is None else int(grace))
        return self.objects.current(one) or one

    def _drain(self, pod: Object) -> Object:
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                     "message": "Eviction API: evicting"}  # fmt: skip
        self.objects.set_status(pod, conditions=[*pod["status"].get("conditions", []), condition])
        self._controllers.delete(pod, "Background")
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _log(self, pod: Object, query: dict[str, str]) -> str:
        container = pod["spec"]["containers"][0]["name"]
        states = pod["status"].get("containerStatuses") or []
        waiting = states[0]["state"].get("waiting", {}).get("reason") if states else "PodInitializing"
        if waiting:
            message = f'container "{container}" in pod "{pod["metadata"]["name"]}" is waiting to start: {waiting}'
            raise ApiError(400, "BadRequest", message)
        text = self.node.log(pod)
        if tail := query.get("tailLines"):
            text = "".join(text.splitlines(keepends=True)[-int(tail) :])
        return text[: int(query["limitBytes"])] if "limitBytes" in query else text


def _require_valid(resource: Resource, body: Object) -> None:
    """What a real server refuses and schemas do not see: names, quantities, requests above limits.

    Raises:
        ApiError: 400 or 422.
    """
    meta = body.get("metadata") or {}
    name = meta.get("name") or meta.get("generateName", "x").rstrip("-.") + "x"
    if resource.plural not in ABOUT_ONESELF and (len(name) > 253 or not NAME.fullmatch(name)):
        message = f'{resource.kind}.{resource.group} "{name}" is invalid: metadata.name: Invalid value: "{name}"'
        raise ApiError(422, "Invalid", message)
    for container in _containers(body):
        resources = container.get("resources") or {}
        for part in ("requests", "limits"):
            for value in (resources.get(part) or {}).values():
                try:
                    quantity(value)
                except ValueError:
                    message = (
                        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                    )
                    raise ApiError(400, "BadRequest", message) from None
        for what, limit in (resources.get("limits") or {}).items():
            asked = (resources.get("requests") or {}).get(what, limit)
            if quantity(asked) > quantity(limit):
                message = (
                    f'{resource.kind}.{resource.group} "{name}" is invalid: '
                    f'spec.template.spec.containers[0].resources.requests: Invalid value: "{asked}": must be less than '
                    f"or equal to {what} limit of {limit}"
                )
                raise ApiError(422, "Invalid", message)


def _with_defaults(job: Object) -> Object:
    """What a real server fills in and its client's classes then insist on (pkg/apis/batch/v1/defaults.go)."""
    spec = {"backoffLimit": 6, "parallelism": 1, "completionMode": "NonIndexed", "suspend": False, **job["spec"]}
    spec = {name: value for name, value in spec.items() if value is not None}
    if spec["parallelism"] == 1:
        spec.setdefault("completions", 1)
    if policy := spec.get("podFailurePolicy"):
        rules = [
            {**rule, "onPodConditions": [{"status": "True", **one} for one in rule.get("onPodConditions") or []]}
            for rule in policy["rules"]
        ]
        spec["podFailurePolicy"] = {**policy, "rules": rules}
    return {**job, "spec": spec}


def _containers(one: Any) -> Iterable[dict[str, Any]]:
    """Every container of an object, however deep its pod template lies."""
    if isinstance(one, dict):
        for key, value in one.items():
            if key == "containers":
                yield from value
            else:
                yield from _containers(value)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], cluster: Cluster) -> None:
        super().__init__(address, _Handler)
        self.cluster = cluster
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def secure(self, folder: Path) -> None:
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def finish_request(self, request: Any, address: Any) -> None:
        """The handshake belongs into the connection's own thread, where a slow client holds up nobody."""
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, address)

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that went away, or that does not trust the certificate, is no news to a test's output."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *arguments: Any) -> None:
        """The record of requests is the log."""

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _handle(self) -> None:
        cluster = self.server.cluster
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        user, verb, target = "", VERBS[self.command], None
        try:
            user = cluster.user_of(self.headers.get("Authorization", ""))
            if (said := _about_the_server(address.path)) is not None:
                code, found = 200, said
            else:
                target = _target(address.path)
                verb = _verb(self.command, target, query)
                cluster.authorise(user, Right(target.resource.group, target.plural, verb), target)
                if target.resource.plural in ABOUT_ONESELF:
                    code, found = 201, _reviewed(cluster, user, target.resource, body)
                else:
                    code, found = cluster.answer(verb, target, query, body)
        except ApiError as error:
            code, found = error.body["code"], error.body
        if target is not None:
            name = (
                target.name or ((body or {}).get("metadata") or {}).get("name", "") if verb == "create" else target.name
            )
            cluster.requests.append(
                Request(user, verb, target.resource.group, target.plural, target.namespace, name, query, body, code)
            )
        self._send(code, found)

    def _send(self, code: int, found: Any) -> None:
        text = isinstance(found, str)
        content = found.encode() if text else json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _about_the_server(path: str) -> Any:
    path = path.rstrip("/")
    if path == "/version":
        return VERSION
    if path in ("/healthz", "/livez", "/readyz"):
        return "ok"
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = sorted({(one.group, one.version) for one in BY_PLURAL.values() if one.group})
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for group, version in groups]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
            {"name": group, "versions": [one], "preferredVersion": one}
            for (group, _), one in zip(groups, versions, strict=True)]}  # fmt: skip
    return None


def _target(path: str) -> Target:
    """
    Raises:
        ApiError: 404, as for a resource type that the server does not have.
    """
    found = re.fullmatch(r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/(?P<rest>.+?)/?", path)
    parts = found["rest"].split("/") if found else []
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in ("status", "finalize"):
        namespace, parts = parts[1], parts[2:]
    resource = BY_PLURAL.get(((found["group"] or "") if found else "", parts[0] if parts else ""))
    if resource is None or resource.version != found["version"] or len(parts) > 3:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    name, subresource = [*parts[1:], "", ""][:2]
    return Target(resource, namespace, name, subresource)


def _verb(method: str, target: Target, query: dict[str, str]) -> str:
    if query.get("watch") in ("true", "1"):
        raise ApiError(400, "BadRequest", "the stub plays no watch")
    if not target.name:
        return {"GET": "list", "DELETE": "deletecollection"}.get(method, VERBS[method])
    return VERBS[method]


def _reviewed(cluster: Cluster, user: str, resource: Resource, body: Object) -> Object:
    if resource.kind == "SelfSubjectReview":
        return body | {"status": {"userInfo": {"username": user}}}
    if resource.kind == "SelfSubjectRulesReview":
        rules = cluster._rules(user, body["spec"]["namespace"])
        return body | {"status": {"resourceRules": rules, "nonResourceRules": [], "incomplete": False}}
    asked = body["spec"].get("resourceAttributes") or {}
    plural = f"{asked['resource']}/{asked['subresource']}" if asked.get("subresource") else asked.get("resource", "")
    right = Right(asked.get("group", ""), plural, asked.get("verb", ""))
    allowed = cluster.may(user, right, asked.get("namespace", ""), asked.get("name", ""))
    return body | {"status": {"allowed": allowed, "reason": "" if allowed else "no RBAC policy matched"}}


def _certificate(folder: Path) -> bytes:
    """A certificate for loopback that signs itself; the kubeconfig names it as the authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stub")])
    today = datetime.now(UTC)
    addresses = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    (folder / "server.key").touch(mode=0o600)
    (folder / "server.key").write_bytes(key.private_bytes(*formats, plain))
    found = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "server.crt").write_bytes(found)
    return found
