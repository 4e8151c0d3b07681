"""Throw-away secrets of a development cluster, and the first sign-in of its servers. Production has its secret manager.

    kubectl apply -k infra/kubernetes/overlays/dev      (its pods wait for the Secrets)
    python infra/kubernetes/development.py secrets FOLDER | kubectl apply --server-side -f -
    python infra/kubernetes/development.py sign-in FOLDER --zenml URL --mlflow URL | kubectl apply --server-side -f -

Without --server-side kubectl would keep each value once more, readable, in the annotation last-applied-configuration.

FOLDER (mode 0700) gets one file a value, mode 0600, and a second call makes no new ones: `api-key`, `store.yaml`,
`mlflow.yaml` and `key.json` are what `infra/stacks/kubernetes.yaml` names. Only the Secrets go to standard output, for
the pipe; nothing else is printed there.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from domainlm.keys import KeyRing

RUNS, SERVICES = "domainlm", "domainlm-services"
ADMINISTRATOR = "admin"
USER = "domainlm"  # of the pods, at MLflow; the service account at ZenML
TIMEOUT_S = 60


class Values:
    """A folder with one file a value; a value that is not there yet is made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder

    def get(self, name: str, fresh: str | None = None) -> str:
        """A value; `fresh`, or 32 random bytes, where there was none."""
        path = self.folder / name
        if not path.exists():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
                stream.write(fresh if fresh is not None else secrets.token_hex(32))
        return path.read_text(encoding="utf-8")


def made_beforehand(values: Values) -> list[dict[str, Any]]:
    """The Secrets that must be there before the servers start."""
    store = {"AWS_ACCESS_KEY_ID": values.get("store-id", "AK" + secrets.token_hex(8).upper())}
    store |= {"AWS_SECRET_ACCESS_KEY": values.get("store-secret")}
    mlflow = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": values.get("mlflow-password")}
    values.get(
        "store.yaml",
        _yaml(aws_access_key_id=store["AWS_ACCESS_KEY_ID"], aws_secret_access_key=store["AWS_SECRET_ACCESS_KEY"]),
    )
    values.get("mlflow.yaml", _yaml(user=USER, password=mlflow["MLFLOW_TRACKING_PASSWORD"]))
    key = {"key.json": values.get("key.json", json.dumps(KeyRing.new(f"development-{secrets.token_hex(4)}").to_json()))}
    login = "sqlite:////var/lib/mlflow/mlflow-auth.db"
    return [
        *(_secret(place, "domainlm-store", store) for place in (RUNS, SERVICES)),
        *(_secret(place, "domainlm-key", key) for place in (RUNS, SERVICES)),
        _secret(RUNS, "domainlm-mlflow", mlflow),
        _secret(SERVICES, "domainlm-backup", store),
        _secret(SERVICES, "zenml-server", {
            "ZENML_STORE_URL": "sqlite:////var/lib/zenml/zenml.db",
            "ZENML_SERVER_JWT_SECRET_KEY": values.get("zenml-jwt"),
            "ZENML_SECRETS_STORE_ENCRYPTION_KEY": values.get("zenml-encryption"),
        }),
        _secret(SERVICES, "mlflow-server", {
            "MLFLOW_BACKEND_STORE_URI": "sqlite:////var/lib/mlflow/mlflow.db",
            "MLFLOW_AUTH_DATABASE_URI": login,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": values.get("mlflow-cookies"),
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMINISTRATOR,
            "MLFLOW_AUTH_ADMIN_PASSWORD": values.get("mlflow-admin"),
            "basic_auth.ini": f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {login}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n",  # else each request hashes the password anew: 0.3 s and more
        }),
    ]  # fmt: skip


def made_by_signing_in(values: Values, zenml: str, mlflow: str) -> list[dict[str, Any]]:
    """Make ZenML's administrator, a service account with a key, and the pods' user at MLflow; whatever is there stays.

    Returns:
        The Secrets that hold them.
    """
    if not (values.folder / "api-key").exists():
        password = values.get("zenml-admin")
        account = {"admin_username": ADMINISTRATOR, "admin_password": password}
        _call("PUT", f"{zenml}/api/v1/activate", account, {}, there=(403, 409))
        form = urllib.parse.urlencode({"username": ADMINISTRATOR, "password": password}).encode()
        token = _call("POST", f"{zenml}/api/v1/login", form, {})["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        _call("POST", f"{zenml}/api/v1/service_accounts", {"name": USER, "active": True}, bearer, there=(409,))
        account = _call("GET", f"{zenml}/api/v1/service_accounts/{USER}", None, bearer)
        keys = f"{zenml}/api/v1/service_accounts/{account['id']}/api_keys"
        made = _call("POST", keys, {"name": secrets.token_hex(4)}, bearer)
        values.get("api-key", made["body"]["key"])
    password = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    password.add_password(None, mlflow, ADMINISTRATOR, values.get("mlflow-admin"))
    urllib.request.install_opener(urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(password)))
    user = {"username": USER, "password": values.get("mlflow-password")}
    _call("POST", f"{mlflow}/api/2.0/mlflow/users/create", user, {}, there=(400, 409))
    files = {name: values.get(name) for name in ("store.yaml", "mlflow.yaml")}
    return [
        _secret(SERVICES, "zenml-api-key", {"key": values.get("api-key")}),
        _secret(SERVICES, "domainlm-stack", files),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("secrets", "sign-in"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--zenml", default="http://127.0.0.1:8080", help="address of ZenML's server (a port-forward)")
    parser.add_argument("--mlflow", default="http://127.0.0.1:5000", help="address of MLflow's server (a port-forward)")
    given = parser.parse_args()
    values = Values(given.folder)
    made = made_beforehand(values) if given.what == "secrets" else made_by_signing_in(values, given.zenml, given.mlflow)
    json.dump({"apiVersion": "v1", "kind": "List", "items": made}, sys.stdout)


def _secret(namespace: str, name: str, content: dict[str, str]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "domainlm", "app.kubernetes.io/part-of": "domainlm"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": content}


def _yaml(**content: str) -> str:
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in content.items())


def _call(method: str, url: str, body: Any, headers: dict[str, str], there: tuple[int, ...] = ()) -> Any:
    """The answer's JSON; None where the server says that the thing is there already."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    kind = {} if isinstance(body, bytes) else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers | kind, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in there:
            return None
        sys.exit(f"{url}: {error.code} {error.reason}")  # the body may quote what was sent


if __name__ == "__main__":
    main()
