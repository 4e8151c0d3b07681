"""Store, server, MLflow and registry before a run: each fault has a sentence of its own, and repeats no credential."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
import pytest
from cluster_services import Services

from domainlm.cluster import services
from domainlm.cluster.check import check, require
from domainlm.cluster.services import (
    FAILED,
    OK,
    WARNING,
    check_mlflow,
    check_registry,
    check_server,
    check_store,
    require_server,
    why_unreachable,
)
from domainlm.cluster.settings import StackFile, StackSettings
from domainlm.errors import ConfigurationError

SECRET = "very-secret"


class Answers(ThreadingHTTPServer):
    """A service that gives fixed answers: path -> (status, body), with and without credentials."""

    daemon_threads = True

    def __init__(self, open_to_all: dict[str, tuple[int, Any]], to_users: dict[str, tuple[int, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.open_to_all, self.to_users = open_to_all, to_users
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Answers:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the test's output is about the test."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answers = self.server.to_users if self.headers.get("Authorization") else self.server.open_to_all
        status, body = answers.get(self.path, (404, "nothing here"))
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with Services(tmp_path_factory.mktemp("services"), ("store",)) as made:
        made.bucket("bank")
        yield made


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Files that hold what a stack needs."""
    for name, text in (
        ("key", f"ZENKEY_{SECRET}\n"),
        ("mlflow", f"user: olga\npassword: {SECRET}\n"),
        ("s3", f"aws_access_key_id: AKID\naws_secret_access_key: {SECRET}\n"),
    ):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(text)
    return tmp_path


def stack(
    private: Path,
    *,
    server: str = "http://127.0.0.1:1",
    s3: str = "http://127.0.0.1:1",
    path: str = "s3://bank/tenant",
    mlflow: str = "http://127.0.0.1:1",
    registry: str = "127.0.0.1:1",
) -> StackFile:
    def component(flavor: str, **configuration: Any) -> dict[str, Any]:
        return {"name": flavor, "flavor": flavor, "configuration": configuration}

    content = {
        "name": "domainlm-kubernetes",
        "server": {"url": server, "api_key_file": private / "key"},
        "cluster": {"kubeconfig": str(private / "none"), "namespace": "domainlm"},
        "secrets": {
            "store": {"file": private / "s3", "keys": ["aws_access_key_id", "aws_secret_access_key"]},
            "mlflow": {"file": private / "mlflow", "keys": ["user", "password"]},
        },
        "components": {
            "orchestrator": component("kubernetes"),
            "image_builder": component("local"),
            "artifact_store": component(
                "s3",
                path=path,
                authentication_secret="store",
                client_kwargs={"endpoint_url": s3, "region_name": "us-east-1"},
            ),
            "container_registry": component("default", uri=registry),
            "experiment_tracker": component(
                "mlflow",
                tracking_uri=mlflow,
                tracking_username="{{mlflow.user}}",
                tracking_password="{{mlflow.password}}",
            ),
        },
    }
    return StackFile(private / "stack.yaml", StackSettings(**content))


# ---------------------------------------------------------------------------------------------- the store


def of_store(store: Services, private: Path, **changes: str) -> StackFile:
    (private / "s3").write_text(
        f"aws_access_key_id: {changes.pop('identity', store.s3_id)}\n"
        f"aws_secret_access_key: {changes.pop('secret', store.s3_secret)}\n"
    )
    return stack(private, **{"s3": store.s3_url} | changes)


def test_a_store_that_takes_and_gives_an_object_is_good_and_left_as_it_was(store: Services, private: Path) -> None:
    assert check_store(of_store(store, private)).state == OK
    assert not [path for path in store.bucket("bank").rglob("*") if path.is_file()]


def test_without_a_secret_of_the_stack_the_clients_own_credentials_are_used(
    store: Services, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an IAM role, where the account gives them (docs/stack.md, "Limits")."""
    found = of_store(store, private)
    del found.settings.components["artifact_store"].configuration["authentication_secret"]
    del found.settings.secrets["store"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.s3_id)
    for secret, state in ((SECRET, FAILED), (store.s3_secret, OK)):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials that it found first
        assert check_store(found).state == state


def test_a_missing_bucket_is_named(store: Services, private: Path) -> None:
    found = check_store(of_store(store, private, path="s3://nowhere/tenant"))
    assert found.state == FAILED and found.said == "there is no bucket 'nowhere'"


@pytest.mark.parametrize("changes", [{"identity": "AKWRONG"}, {"secret": SECRET}], ids=["identity", "secret"])
def test_wrong_credentials_are_told_as_such(store: Services, private: Path, changes: dict[str, str]) -> None:
    found = check_store(of_store(store, private, **changes))
    assert found.state == FAILED and "credentials" in found.said and SECRET not in str(found)


def test_a_store_that_cannot_be_reached_is_told_as_such(private: Path) -> None:
    found = check_store(stack(private))
    assert found.state == FAILED and "connection refused" in found.said


# ---------------------------------------------------------------------------------------------- ZenML's server

INFO = {"version": version("zenml")}


def test_a_server_of_the_clients_version_that_knows_the_key_is_good(private: Path) -> None:
    with Answers({"/api/v1/info": (200, INFO), "/api/v1/login": (200, {})}, {}) as server:
        assert check_server(stack(private, server=server.url)).state == OK
        require_server(stack(private, server=server.url + "/"))


@pytest.mark.parametrize("theirs", ["0.97.0", "0.98.1", "1.0.0"])
def test_another_version_is_refused_in_either_direction(private: Path, theirs: str) -> None:
    with Answers({"/api/v1/info": (200, {"version": theirs}), "/api/v1/login": (200, {})}, {}) as server:
        with pytest.raises(ConfigurationError) as caught:
            require_server(stack(private, server=server.url))
    assert f"has version {theirs}, this client and its image have {INFO['version']}" in caught.value.what


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"/api/v1/info": (200, INFO), "/api/v1/login": (401, SECRET)}, "refuses the API key"),
        ({"/api/v1/info": (200, INFO), "/api/v1/login": (500, SECRET)}, "the login failed (HTTP 500)"),
        ({"/api/v1/info": (200, "hello")}, "is no ZenML server"),
        ({"/api/v1/info": (200, ["version"])}, "is no ZenML server"),
        ({}, "is no ZenML server (HTTP 404)"),
    ],
)
def test_a_server_that_cannot_be_used_says_why(private: Path, answers: dict[str, Any], said: str) -> None:
    with Answers(answers, {}) as server:
        found = check_server(stack(private, server=server.url))
    assert found.state == FAILED and said in found.said and SECRET not in str(found)


def test_a_server_that_says_nothing_is_given_up(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "TIMEOUT_S", (1, 1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = check_server(stack(private, server=f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert found.state == FAILED and found.said == "no answer within 2 seconds"


def test_a_name_that_nobody_knows_is_told_as_such() -> None:
    assert why_unreachable(socket.gaierror(-2, "Name or service not known")) == "its name is not known here"


# ---------------------------------------------------------------------------------------------- MLflow

SEARCH = "/api/2.0/mlflow/experiments/search"


@pytest.mark.parametrize(
    ("open_to_all", "to_users", "state", "said"),
    [
        ((401, ""), (200, {}), OK, "asks for a password"),
        ((200, {}), (200, {}), FAILED, "asks for no password"),
        ((401, ""), (401, SECRET), FAILED, "refuses user and password"),
        ((401, ""), (502, SECRET), FAILED, "is no MLflow (HTTP 502)"),
    ],
)
def test_mlflow_must_ask_for_a_password_and_take_ours(
    private: Path, open_to_all: tuple[int, Any], to_users: tuple[int, Any], state: str, said: str
) -> None:
    with Answers({SEARCH: open_to_all}, {SEARCH: to_users}) as mlflow:
        found = check_mlflow(stack(private, mlflow=mlflow.url))
    assert found.state == state and said in found.said and SECRET not in str(found)


# ---------------------------------------------------------------------------------------------- registry, and all


def test_a_registry_that_cannot_be_reached_from_here_ends_nothing(private: Path) -> None:
    found = check_registry(stack(private))
    assert found.state == WARNING and "nodes" in found.remedy


def test_an_image_of_another_release_is_refused(private: Path) -> None:
    content = {"settings": {"docker": {"parent_image": "registry.bank.example:5000/domainlm:9.9.9-cpu"}}}
    found = next(one for one in check(stack(private), content) if one.subject.startswith("image "))
    assert found.state == FAILED and f"is of release 9.9.9, this client of {version('domainlm')}" in found.said
    for tag in (version("domainlm"), f"v{version('domainlm')}-cuda", "20261121"):
        content["settings"]["docker"]["parent_image"] = f"registry.bank.example:5000/domainlm:{tag}"
        assert next(one for one in check(stack(private), content) if one.subject.startswith("image ")).state == OK


def test_all_that_keeps_a_run_from_working_is_told_at_once(private: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require(stack(private), {})
    said = caught.value.what
    for part in ("Kubernetes: there is no kubeconfig", "ZenML server", "artifact store s3://bank/tenant", "MLflow"):
        assert part in said
    assert SECRET not in said
