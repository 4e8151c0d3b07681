"""The services that a run on a cluster talks to, asked from here: ZenML's server, the store, MLflow, the registry.

Each answer comes within seconds, and each fault has a sentence of its own. What a service says is not quoted: it may
repeat a credential.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from domainlm.cluster.settings import StackFile, private_text
from domainlm.errors import ConfigurationError

TIMEOUT_S = (5, 10)  # to connect, to answer
OK, WARNING, FAILED = "ok", "warning", "failed"


class Finding(NamedTuple):
    """What a check found.

    Args:
        subject: what was checked.
        state: "ok", "warning" (a run may work) or "failed" (it cannot).
        said: what was found, in a sentence.
        remedy: what to do about it.
    """

    subject: str
    state: str
    said: str
    remedy: str = ""


def require_server(stack: StackFile) -> None:
    """Go on only with a ZenML server that answers, knows the key, and has this client's version.

    Raises:
        ConfigurationError: it does not.
        SecretError: the key's file cannot be used.
    """
    found = check_server(stack)
    if found.state == FAILED:
        raise ConfigurationError(found.said, found.subject, found.remedy)


def check_server(stack: StackFile) -> Finding:
    """ZenML's server: reachable, of the client's version, and the API key is good.

    Raises:
        SecretError: the key's file cannot be used.
    """
    server = stack.settings.server
    assert server is not None
    url, subject = server.url.rstrip("/"), f"ZenML server {server.url}"
    key = private_text(server.api_key_file, f"{stack.path}: server").strip()

    def ask() -> Finding:
        import requests

        told = requests.get(f"{url}/api/v1/info", timeout=TIMEOUT_S)
        try:
            theirs = told.json()["version"]
        except (ValueError, KeyError, TypeError):
            said = f"what answers there is no ZenML server (HTTP {told.status_code})"
            return Finding(subject, FAILED, said, "check DOMAINLM_ZENML_URL")
        ours = version("zenml")
        if theirs != ours:
            said = f"has version {theirs}, this client and its image have {ours}; they must be equal"
            remedy = "upgrade the older one: the server first, then image and client (docs/kubernetes-operation.md)"
            return Finding(subject, FAILED, said, remedy)
        form = {"grant_type": "zenml-api-key", "password": key}
        answer = requests.post(f"{url}/api/v1/login", data=form, timeout=TIMEOUT_S)
        if answer.status_code in (401, 403):
            remedy = f"put the key of an active service account into {server.api_key_file}"
            return Finding(subject, FAILED, "refuses the API key: unknown, expired or deactivated", remedy)
        if not answer.ok:
            return Finding(subject, FAILED, f"the login failed (HTTP {answer.status_code})", "see the server's log")
        return Finding(subject, OK, f"version {theirs}, the API key is good")

    return _asked(subject, "DOMAINLM_ZENML_URL", ask)


def check_store(stack: StackFile) -> Finding:
    """The artifact store: the bucket is there, and an object can be written, read and deleted below the path."""
    component = stack.settings.components["artifact_store"]
    path = str(component.configuration.get("path", ""))
    subject = f"artifact store {path}"
    if component.flavor != "s3":
        return Finding(subject, WARNING, f"the flavor {component.flavor} is not checked from here")
    endpoint = (component.configuration.get("client_kwargs") or {}).get("endpoint_url")
    subject += f" at {endpoint}" if endpoint else ""
    secret = component.configuration.get("authentication_secret")
    values = stack.secret_values(secret) if secret in stack.settings.secrets else {}
    bucket, _, prefix = path.removeprefix("s3://").partition("/")

    def ask() -> Finding:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        client = boto3.client(
            "s3",
            **(component.configuration.get("client_kwargs") or {}),
            **{name: value for name, value in values.items() if name.startswith("aws_")},
            config=Config(connect_timeout=TIMEOUT_S[0], read_timeout=TIMEOUT_S[1], retries={"max_attempts": 1}),
        )
        key, body = f"{prefix}/.domainlm-check-{uuid4()}".lstrip("/"), b"domainlm"
        try:
            client.put_object(Bucket=bucket, Key=key, Body=body)
            same = client.get_object(Bucket=bucket, Key=key)["Body"].read() == body
            client.delete_object(Bucket=bucket, Key=key)
        except ClientError as error:
            return _store_fault(subject, bucket, error.response)
        except NoCredentialsError:
            return Finding(subject, FAILED, "there are no credentials for it", "export DOMAINLM_S3_CREDENTIALS_FILE")
        except BotoCoreError as error:
            return _unreachable(subject, "DOMAINLM_S3_URL", error)
        if not same:
            return Finding(subject, FAILED, "gave back other bytes than were written", "it is no S3-compatible store")
        return Finding(subject, OK, "an object was written, read and deleted")

    return _asked(subject, "DOMAINLM_S3_URL", ask)


def check_mlflow(stack: StackFile) -> Finding:
    """MLflow: reachable, asks for a password, and takes the stack's."""
    component = stack.settings.components.get("experiment_tracker")
    uri = str((component and component.configuration.get("tracking_uri")) or "")
    subject = f"MLflow {uri}"
    if component is None or not uri.startswith("http"):
        return Finding(subject, WARNING, "the stack has no MLflow server", "steps with an experiment_tracker need one")
    names = [str(component.configuration.get(f"tracking_{part}", "")) for part in ("username", "password")]
    user, password = (_referenced(stack, name) for name in names)
    url = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search"

    def ask() -> Finding:
        import requests

        open_to_all = requests.post(url, json={"max_results": 1}, timeout=TIMEOUT_S)
        if open_to_all.ok:
            remedy = "start it with --app-name basic-auth: it shows every tenant's metrics to everybody"
            return Finding(subject, FAILED, "asks for no password", remedy)
        answer = requests.post(url, json={"max_results": 1}, auth=(user, password), timeout=TIMEOUT_S)
        if answer.status_code in (401, 403):
            return Finding(subject, FAILED, "refuses user and password", "check DOMAINLM_MLFLOW_CREDENTIALS_FILE")
        if not answer.ok:
            said = f"what answers there is no MLflow (HTTP {answer.status_code})"
            return Finding(subject, FAILED, said, "check DOMAINLM_MLFLOW_URI")
        return Finding(subject, OK, "asks for a password, and takes the stack's")

    return _asked(subject, "DOMAINLM_MLFLOW_URI", ask)


def check_registry(stack: StackFile) -> Finding:
    """The registry, as far as it can be known from here: nodes pull with credentials of their own."""
    component = stack.settings.components["container_registry"]
    uri = str(component.configuration.get("uri", ""))
    host = urlsplit(uri if "://" in uri else f"//{uri}").netloc
    subject = f"registry {uri}"
    remedy = "whether the nodes can pull is known when the first pod starts; images may also be imported into the nodes"

    def ask() -> Finding:
        import requests

        answer = requests.get(f"https://{host}/v2/", timeout=TIMEOUT_S)
        if answer.status_code in (200, 401, 403):
            return Finding(subject, OK, "answers as a registry does; whether nodes may pull is known at the start")
        return Finding(subject, WARNING, f"does not answer as a registry does (HTTP {answer.status_code})", remedy)

    found = _asked(subject, "DOMAINLM_REGISTRY_URI", ask)
    return Finding(subject, WARNING, found.said, remedy) if found.state == FAILED else found


def _asked(subject: str, variable: str, ask: Callable[[], Finding]) -> Finding:
    import requests

    try:
        return ask()
    except (requests.RequestException, OSError, ValueError) as error:
        return _unreachable(subject, variable, error)


def _unreachable(subject: str, variable: str, error: BaseException) -> Finding:
    return Finding(subject, FAILED, why_unreachable(error), f"check {variable}, and that its network lets this host in")


def why_unreachable(error: BaseException) -> str:
    """A sentence for what kept a connection from being made, from the causes that libraries wrap into each other."""
    chain = _chain(error)
    told = " ".join(f"{type(one).__name__} {one}" for one in chain)
    if any(isinstance(one, ssl.SSLError) for one in chain) or "SSLError" in told or "CERTIFICATE" in told:
        return "its certificate is not from the expected authority"
    if any(isinstance(one, socket.gaierror) for one in chain) or "NameResolution" in told:
        return "its name is not known here"
    if "Refused" in told or "refused" in told:
        return "nothing listens there (connection refused)"
    if any(isinstance(one, TimeoutError) for one in chain) or "Timeout" in told or "timed out" in told:
        return f"no answer within {sum(TIMEOUT_S)} seconds"
    return f"cannot be reached ({type(error).__name__})"


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        reason = getattr(error, "reason", None)  # urllib3 keeps the cause there
        wrapped = next((one for one in (*error.args, reason) if isinstance(one, BaseException)), None)
        error = error.__cause__ or wrapped or error.__context__
    return found


def _referenced(stack: StackFile, value: str) -> str:
    """The value that `{{secret.key}}` stands for; a value in clear is refused by `check`, not used here."""
    name, _, key = value.strip("{}").strip().partition(".")
    return stack.secret_values(name).get(key, "") if name in stack.settings.secrets else ""


def _store_fault(subject: str, bucket: str, response: dict[str, Any]) -> Finding:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket" or (status == 404 and code != "NoSuchKey"):
        return Finding(subject, FAILED, f"there is no bucket '{bucket}'", "make it, or mend DOMAINLM_S3_PATH")
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
        remedy = "check DOMAINLM_S3_CREDENTIALS_FILE"
        return Finding(subject, FAILED, f"refuses the credentials ({code})", remedy)
    if code == "AccessDenied" or status in (401, 403):
        remedy = "give them s3:PutObject, GetObject, DeleteObject and ListBucket below the path"
        return Finding(subject, FAILED, "the credentials may not read, write and delete there", remedy)
    return Finding(subject, FAILED, f"refuses ({code or status})", "see the store's log")
