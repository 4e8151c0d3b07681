"""The services that a cluster's pods talk to, as real processes on loopback: ZenML server, S3-compatible store, MLflow.

Each has credentials of its own and keeps its state and its log in a folder of the test. `with Services(folder) as
services:` starts all three at once (about 9 s, most of it imports) and ends them again, also where one did not start.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

START_S = 180  # a machine that is shared by many starts slowly; waiting ends as soon as the service answers
PROGRAMS = Path(sys.executable).parent
LOOPBACK = "127.0.0.1"
QUIET = {"ZENML_ANALYTICS_OPT_IN": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def free_port(host: str = LOOPBACK) -> int:
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


class Service:
    """One server process; its output goes to `FOLDER/log`.

    Args:
        folder: its state, log and home.
        arguments: what to run.
        environment: variables beside PATH and HOME.
        health: an URL that answers once it serves; any HTTP status counts as an answer.
    """

    def __init__(self, folder: Path, arguments: list[str], environment: dict[str, str], health: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._health = folder, health
        home = folder / "home"
        home.mkdir(exist_ok=True)
        # a file, not a pipe: nobody reads along, and a full pipe would stop the server
        with open(folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                arguments,
                cwd=folder,
                env={"PATH": f"{PROGRAMS}:/usr/bin:/bin", "HOME": str(home)} | QUIET | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.folder.name} ended: {self._end_of_log()}")
            try:
                urllib.request.urlopen(self._health, timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"{self.folder.name} does not answer after {START_S} s: {self._end_of_log()}")

    def stop(self) -> None:
        """End it and what it started; workers of a server are in its process group."""
        for sign in (15, 9):
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.process.wait(20)

    def _end_of_log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]


def s3_server(folder: Path, port: int, identity: str, secret: str, host: str = LOOPBACK) -> Service:
    """`rclone serve s3`: each folder below `FOLDER/data` is a bucket."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    arguments = [str(PROGRAMS / "rclone"), "serve", "s3", "--addr", f"{host}:{port}", "--auth-key",
                 f"{identity},{secret}", "--vfs-cache-mode", "off", str(folder / "data")]  # fmt: skip
    return Service(folder, arguments, {"RCLONE_CONFIG": str(folder / "rclone.conf")}, f"http://{host}:{port}/")


def zenml_server(folder: Path, port: int, signing_key: str, host: str = LOOPBACK) -> Service:
    """The server that a cluster runs, with SQLite and with logins: nothing is activated before somebody does it."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", host,
                 "--port", str(port), "--log-level", "warning"]  # fmt: skip
    environment = {
        "ZENML_SERVER": "true",
        "ZENML_SERVER_AUTH_SCHEME": "OAUTH2_PASSWORD_BEARER",
        "ZENML_SERVER_JWT_SECRET_KEY": signing_key,
        "ZENML_CONFIG_PATH": str(folder / "config"),
        "ZENML_STORE_TYPE": "sql",
        "ZENML_STORE_URL": f"sqlite:///{folder}/zenml.db",
        "ZENML_STORE_BACKUP_STRATEGY": "disabled",
    }
    return Service(folder, arguments, environment, f"http://{host}:{port}/health")


def mlflow_server(folder: Path, port: int, user: str, password: str, host: str = LOOPBACK) -> Service:
    """MLflow behind basic authentication, with its artifacts served through it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\nadmin_username = {user}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "grant_default_workspace_access = false\n"
    )
    arguments = [str(PROGRAMS / "mlflow"), "server", "--app-name", "basic-auth", "--host", host, "--port",
                 str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                 "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven workers more, 1.2 GB, for what nobody here asks
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
    }
    return Service(folder, arguments, environment, f"http://{host}:{port}/health")


class Services:
    """All three. Credentials are attributes; files that hold them have mode 0600, as `domainlm stack apply` asks.

    Args:
        folder: where everything of them lies.
        names: which of `store`, `zenml` and `mlflow` to start.
        host: the address that they listen on; pods of a real cluster do not reach loopback.
    """

    def __init__(
        self, folder: Path, names: tuple[str, ...] = ("store", "zenml", "mlflow"), host: str = LOOPBACK
    ) -> None:
        self.folder, self._names, self._host = folder, names, host
        folder.mkdir(parents=True, exist_ok=True)
        self.s3_id, self.s3_secret = "AK" + secrets.token_hex(8).upper(), secrets.token_hex(20)
        self.mlflow_user, self.mlflow_password = "domainlm", secrets.token_hex(16)
        self.zenml_password = secrets.token_hex(16)
        ports = {name: free_port(host) for name in ("store", "zenml", "mlflow")}
        self.s3_url, self.zenml_url, self.mlflow_url = (
            f"http://{host}:{ports[name]}" for name in ("store", "zenml", "mlflow")
        )
        self._ports = ports
        self._running: dict[str, Service] = {}

    def __enter__(self) -> Services:
        try:
            for name in self._names:
                self._running[name] = self._start(name)
            for service in self._running.values():
                service.wait()
            self.zenml_api_key = self._activate() if "zenml" in self._names else ""
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for service in self._running.values():
            service.stop()

    def _start(self, name: str) -> Service:
        folder, port = self.folder / name, self._ports[name]
        if name == "store":
            return s3_server(folder, port, self.s3_id, self.s3_secret, self._host)
        if name == "zenml":
            return zenml_server(folder, port, secrets.token_hex(32), self._host)
        return mlflow_server(folder, port, self.mlflow_user, self.mlflow_password, self._host)

    def service(self, name: str) -> Service:
        """`store`, `zenml` or `mlflow`: to look into its log, or to end it while a run goes on."""
        return self._running[name]

    def bucket(self, name: str) -> Path:
        """Make a bucket and return the folder that it is."""
        folder = self.folder / "store" / "data" / name
        folder.mkdir(exist_ok=True)
        return folder

    def remove_bucket(self, name: str) -> None:
        shutil.rmtree(self.folder / "store" / "data" / name)

    def secret_file(self, name: str, content: str) -> Path:
        """A file that only its owner reads."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(content)
        return path

    def zenml(self, method: str, path: str, body: Any = None) -> Any:
        """Call the ZenML server's API as its administrator."""
        return _call(
            method, f"{self.zenml_url}/api/v1{path}", body, {"Authorization": f"Bearer {self._administrator()}"}
        )

    def mlflow(self, method: str, path: str, body: Any = None) -> Any:
        """Call MLflow's REST API."""
        pair = base64.b64encode(f"{self.mlflow_user}:{self.mlflow_password}".encode()).decode()
        return _call(method, f"{self.mlflow_url}{path}", body, {"Authorization": f"Basic {pair}"})

    def _activate(self) -> str:
        """Make the administrator, then a service account with a key: what an operator does once.

        Returns:
            The API key.
        """
        account = {"admin_username": "olga", "admin_password": self.zenml_password}
        _call("PUT", f"{self.zenml_url}/api/v1/activate", account, {})
        made = self.zenml("POST", "/service_accounts", {"name": "domainlm", "active": True})
        return self.zenml("POST", f"/service_accounts/{made['id']}/api_keys", {"name": "tests"})["body"]["key"]

    def _administrator(self) -> str:
        form = urllib.parse.urlencode({"username": "olga", "password": self.zenml_password}).encode()
        with urllib.request.urlopen(f"{self.zenml_url}/api/v1/login", data=form, timeout=60) as answer:
            return json.load(answer)["access_token"]


def _call(method: str, url: str, body: Any, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers | {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        content = answer.read()
    return json.loads(content) if content else None
