"""The cluster side: every overlay renders, holds to the schema and to our rules, and its parts fit each other.

Nothing here needs a cluster. Where kubectl is there, it renders the same.
"""

from __future__ import annotations

import copy
import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kustomize import Unsupported, pod_spec, pod_template, render
from manifest_rules import broken_rules

from domainlm.cluster.access import SUBMITTER
from domainlm.retrain.watch.launching import GRACE_S

ROOT = Path(__file__).resolve().parents[2]
KUSTOMIZE = ROOT / "infra" / "kubernetes"
PRODUCTION = ("prod", "aws", "gcp", "azure", "tenant")
OVERLAYS = ("dev", *PRODUCTION)
KUBECTL = shutil.which("kubectl")
# made by people or by their secret manager: docs/kubernetes-operation.md lists their keys
SECRETS = {
    "domainlm-key", "domainlm-store", "domainlm-mlflow", "domainlm-backup", "domainlm-ledger", "domainlm-stack",
    "mlflow-server", "zenml-server", "zenml-api-key", "backup-identity", "domainlm-metrics", "domainlm-book",
    "domainlm-notices",
}  # fmt: skip


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    return tuple(render(KUSTOMIZE / "overlays" / overlay))


def of_kind(overlay: str, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in rendered(overlay) if one["kind"] in kinds]


def key(one: dict[str, Any]) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def one_of(overlay: str, kind: str, name: str) -> dict[str, Any]:
    [found] = [
        copy.deepcopy(one) for one in rendered(overlay) if (one["kind"], one["metadata"]["name"]) == (kind, name)
    ]
    return found


def rights(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


def run_configuration() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "configs" / "kubernetes.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_holds_to_the_schema_and_to_our_rules(overlay: str) -> None:
    assert [line for one in rendered(overlay) for line in broken_rules(one)] == []
    names = [key(one) for one in rendered(overlay)]
    assert len(names) == len(set(names)) > 40


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl here to compare with")
def test_kubectl_renders_the_same(overlay: str) -> None:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(KUSTOMIZE / "overlays" / overlay)], capture_output=True, timeout=60, check=True
    )
    theirs = {key(one): one for one in yaml.safe_load_all(done.stdout)}
    assert {key(one): one for one in rendered(overlay)} == theirs


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_pods_name_is_there(overlay: str) -> None:
    there = {key(one) for one in rendered(overlay)}
    for one in rendered(overlay):
        spec, place = pod_spec(one), one["metadata"].get("namespace", "")
        if spec is None:
            continue
        wanted = {("ServiceAccount", place, spec["serviceAccountName"])}
        secrets: set[str] = set()
        for volume in spec["volumes"]:
            if "configMap" in volume:
                wanted.add(("ConfigMap", place, volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                wanted.add(("PersistentVolumeClaim", place, volume["persistentVolumeClaim"]["claimName"]))
            if "secret" in volume:
                secrets.add(volume["secret"]["secretName"])
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    wanted.add(("ConfigMap", place, source["configMapRef"]["name"]))
                else:
                    secrets.add(source["secretRef"]["name"])
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    secrets.add(reference["name"])
        assert wanted <= there, key(one)
        assert secrets <= SECRETS, key(one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_service_finds_the_pods_of_one_deployment_and_their_port(overlay: str) -> None:
    for service in of_kind(overlay, "Service"):
        wanted = service["spec"]["selector"].items()
        found = [
            one for one in rendered(overlay)
            if (template := pod_template(one)) and wanted <= template["metadata"]["labels"].items()
        ]  # fmt: skip
        assert [one["kind"] for one in found] == ["Deployment"], key(service)
        named = {port["name"] for container in pod_spec(found[0])["containers"] for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_passes_a_namespace_but_what_is_named(overlay: str) -> None:
    spaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in of_kind(overlay, "Namespace")}
    for name, labels in spaces.items():
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        policies = [one["spec"] for one in of_kind(overlay, "NetworkPolicy") if one["metadata"]["namespace"] == name]
        assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
        for policy in policies:
            for peer in _peers(policy):
                assert peer.get("ipBlock", {}).get("cidr") not in ("0.0.0.0/0", "::/0")
                chosen = peer.get("namespaceSelector", {}).get("matchLabels", {})
                if "domainlm.dev/room" in chosen:  # it finds exactly one of this tenant's two
                    fits = [space for space, has in spaces.items() if chosen.items() <= has.items()]
                    assert len(fits) == 1 and fits != [name], (name, chosen)


def test_the_roles_grant_what_the_check_asks_for_and_no_more() -> None:
    submitter, runner = (one_of("prod", "Role", f"domainlm-{name}")["rules"] for name in ("submitter", "runner"))
    assert rights(submitter) == {tuple(right) for right in SUBMITTER}
    assert rights(runner) <= {
        *(("batch", "jobs", verb) for verb in ("create", "get", "list", "patch", "delete")),
        ("", "pods", "get"), ("", "pods", "list"), ("", "secrets", "delete"),
    }  # fmt: skip


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_account_of_the_runs_has_a_right_among_the_services(overlay: str) -> None:
    runs, services = sorted((one["metadata"]["name"] for one in of_kind(overlay, "Namespace")), key=len)
    assert services == f"{runs}-services"
    bound = {
        (one["metadata"]["namespace"], s["namespace"], s["name"])
        for one in of_kind(overlay, "RoleBinding")
        for s in one["subjects"]
    }
    assert bound == {
        (runs, runs, "domainlm-submitter"), (runs, runs, "domainlm-runner"), (runs, services, "domainlm-evidence"),
        (runs, services, "domainlm-watcher"),
    }  # fmt: skip
    assert not of_kind(overlay, "ClusterRole", "ClusterRoleBinding", "Secret")


def test_a_run_names_what_its_namespace_has() -> None:
    configuration = run_configuration()
    accounts = {
        one["metadata"]["name"]
        for one in of_kind("prod", "ServiceAccount")
        if one["metadata"]["namespace"] == "domainlm"
    }
    assert set(_values(configuration, "service_account_name", "step_pod_service_account_name")) <= accounts
    assert set(_values(configuration, "priority_class_name")) == {
        one["metadata"]["name"] for one in of_kind("prod", "PriorityClass")
    }
    [redacting] = [
        mount["subPath"]
        for mount in configuration["steps"]["redact"]["settings"]["orchestrator.kubernetes"]["pod_settings"][
            "volume_mounts"
        ]
        if "subPath" in mount
    ]
    [expiring] = pod_spec(one_of("prod", "CronJob", "vault-expire"))["containers"]
    assert [mount["subPath"] for mount in expiring["volumeMounts"] if mount["name"] == "home"] == [redacting]
    claims = {
        one["metadata"]["name"]
        for one in of_kind("prod", "PersistentVolumeClaim")
        if one["metadata"]["namespace"] == "domainlm"
    }
    assert set(_values(configuration, "claimName")) <= claims
    assert set(_values(configuration, "secretName")) <= SECRETS
    budget = one_of("prod", "PodDisruptionBudget", "domainlm-training")["spec"]["selector"]["matchLabels"]
    operator = configuration["steps"]["train"]["settings"]["step_operator.domainlm"]["pod_settings"]["labels"]
    assert budget.items() <= operator.items()
    launcher = configuration["steps"]["train"]["settings"]["orchestrator.kubernetes"]["pod_settings"]["labels"]
    reaching = [
        one["spec"]["podSelector"]
        for one in of_kind("prod", "NetworkPolicy")
        if key(one)[1:] == ("domainlm", "to-api-server")
    ]
    assert [one["matchLabels"].items() <= launcher.items() for one in reaching] == [True]


def test_a_tenant_keeps_nothing_of_the_first_one() -> None:
    for one in rendered("tenant"):
        place = one["metadata"].get("namespace", one["metadata"]["name"])
        assert place in ("domainlm-acme", "domainlm-acme-services"), key(one)
        text = yaml.safe_dump({name: value for name, value in one.items() if name != "metadata"})
        if one["kind"] != "ConfigMap" or one["metadata"]["name"] != "databases":
            assert not re.search(r"domainlm-services|domainlm\.dev/tenant: default|s3://domainlm", text), key(one)
        assert one["metadata"]["labels"]["domainlm.dev/tenant"] == "acme"


def test_production_takes_no_development_key_and_no_plain_dump() -> None:
    for overlay in PRODUCTION:
        assert one_of(overlay, "ConfigMap", "evidence")["data"]["DOMAINLM_MODE"] == "production"
        assert "BACKUP_PLAIN" not in one_of(overlay, "ConfigMap", "addresses")["data"]
        assert not [
            one
            for one in rendered(overlay)
            if one["metadata"]["name"] in ("store", "databases") and one["kind"] == "PersistentVolumeClaim"
        ]


def test_the_servers_are_replaced_and_backed_up_before_they_migrate() -> None:
    for name in ("zenml-server", "mlflow"):
        deployment = one_of("prod", "Deployment", name)
        assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
        first = pod_spec(deployment)["initContainers"][0]
        assert first["command"][:3] == ["python", "/opt/databases/databases.py", "dump"]


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_production_says_where_the_api_server_stands(overlay: str) -> None:
    """Not any private address: 443 of one is somebody's server."""
    found = [one for one in of_kind(overlay, "NetworkPolicy") if one["metadata"]["name"] == "to-api-server"]
    assert len(found) == 2  # the runs' namespace and the services'
    for one in found:
        for peer in _peers(one["spec"]):
            network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
            assert network.prefixlen >= 24 and not network.subnet_of(ipaddress.ip_network("192.0.2.0/24")), key(one)


def test_a_production_overlay_that_does_not_say_it_reaches_no_api_server(tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes"
    shutil.copytree(KUSTOMIZE, folder)
    path = folder / "overlays" / "prod" / "kustomization.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["patches"] = [one for one in content["patches"] if one["target"]["name"] != "to-api-server"]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    found = [one for one in render(path.parent) if one["metadata"]["name"] == "to-api-server"]
    assert [[peer["ipBlock"]["cidr"] for peer in _peers(one["spec"])] for one in found] == [["192.0.2.1/32"]] * 2


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_the_api_server_holds_the_pods_of_production_to_what_a_run_names(overlay: str) -> None:
    """What the expressions refuse was tried on a cluster (docs/kubernetes-operation.md); here they fit the rest."""
    [runs] = [one for one in of_kind(overlay, "Namespace") if one["metadata"]["labels"]["domainlm.dev/room"] == "runs"]
    assert runs["metadata"]["labels"]["domainlm.dev/admission"] == "production"
    names = one_of(overlay, "ConfigMap", "admission")
    assert names["metadata"]["namespace"] == runs["metadata"]["name"]
    allowed = {what: set(text.split(" ")) for what, text in names["data"].items()}
    configuration = run_configuration()
    assert set(_values(configuration, "secretName")) <= allowed["secrets"] <= SECRETS
    assert set(_values(configuration, "claimName")) <= allowed["claims"]
    images = {
        container["image"].rpartition(":")[0]
        for one in rendered(overlay)
        if (spec := pod_spec(one)) and one["metadata"]["namespace"] == runs["metadata"]["name"]
        for container in spec["containers"]
    }
    assert images == allowed["images"]
    assert not [rule for one in of_kind(overlay, "Role") for rule in one["rules"] if "configmaps" in rule["resources"]]


def test_the_policies_come_once_fail_closed_and_bind_where_the_label_stands() -> None:
    assert not of_kind("tenant", "ValidatingAdmissionPolicy") and not of_kind("dev", "ValidatingAdmissionPolicy")
    for overlay in ("prod", "aws", "gcp", "azure"):
        policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(overlay, "ValidatingAdmissionPolicy")}
        bindings = {
            one["spec"]["policyName"]: one["spec"] for one in of_kind(overlay, "ValidatingAdmissionPolicyBinding")
        }
        assert set(policies) == set(bindings) == {"domainlm-pods", "domainlm-secrets"}
        for name, policy in policies.items():
            assert policy["failurePolicy"] == "Fail" and "Deny" in bindings[name]["validationActions"]
            chosen = bindings[name]["matchResources"]["namespaceSelector"]["matchLabels"]
            assert chosen == {"domainlm.dev/admission": "production"}
            for rule in policy["validations"]:
                assert rule.get("message", rule.get("messageExpression", "")).lstrip("'").startswith("domainlm: ")
        assert bindings["domainlm-pods"]["paramRef"] == {"name": "admission", "parameterNotFoundAction": "Deny"}


def test_the_watcher_may_what_a_submitter_may_and_waits_for_its_book() -> None:
    for overlay in OVERLAYS:
        deployment = one_of(overlay, "Deployment", "domainlm-watcher")
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
        assert deployment["spec"]["replicas"] == (0 if overlay == "dev" else 1)  # dev has no PostgreSQL for the book
        binding = one_of(overlay, "RoleBinding", "domainlm-watcher")
        assert binding["roleRef"]["name"] == "domainlm-submitter"
        assert binding["subjects"][0]["namespace"] == deployment["metadata"]["namespace"]
        spec = pod_spec(deployment)
        names = one_of(overlay, "ConfigMap", "watcher")["data"]
        [book] = [one for one in spec["volumes"] if one["name"] == "book"]
        assert book["secret"]["secretName"] == "domainlm-book" and not book["secret"].get("optional")
        [mount] = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "book"]
        assert names["DOMAINLM_BOOK_FILE"] == f"{mount['mountPath']}/url"
        assert spec["terminationGracePeriodSeconds"] > GRACE_S
        [container] = spec["containers"]
        assert container["livenessProbe"]["exec"]["command"] == ["domainlm", "watch", "--health"]
        for word in re.findall(r"\$\((\w+)\)", " ".join(container["command"])):
            assert word in names


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_the_watcher_reaches_what_it_asks(overlay: str) -> None:
    for name in ("to-api-server", "to-store", "to-databases"):
        chosen = [
            one["spec"]["podSelector"]["matchExpressions"][0]["values"]
            for one in of_kind(overlay, "NetworkPolicy")
            if one["metadata"]["name"] == name and "matchExpressions" in one["spec"]["podSelector"]
        ]
        assert any("watcher" in values for values in chosen), name


def test_only_the_signer_mounts_its_keys() -> None:
    holders = [
        (one["metadata"]["name"], container["name"])
        for one in rendered("prod") if (spec := pod_spec(one))
        for volume in spec["volumes"] if volume.get("persistentVolumeClaim", {}).get("claimName") == "domainlm-signer"
        for container in (*spec.get("initContainers", []), *spec["containers"])
        if volume["name"] in {mount["name"] for mount in container["volumeMounts"]}
    ]  # fmt: skip
    assert set(holders) == {
        ("domainlm-evidence", "ledger"), ("domainlm-evidence", "signer"), ("evidence-desk", "desk"),
    }  # fmt: skip
    assert one_of("prod", "CronJob", "evidence-desk")["spec"]["suspend"] is True  # people start it, nothing else does


def _pod(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda one: change(pod_spec(one))


def _first(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda one: change(pod_spec(one)["containers"][0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_first(lambda c: c["resources"]["limits"].update(memory="lots")), "'lots' is no quantity"),
        (_first(lambda c: c["resources"]["requests"].update(memory="64Gi")), "asks for more memory than its limit"),
        (_first(lambda c: c["resources"].pop("limits")), "no memory limit"),
        (_first(lambda c: c.update(image="domainlm:latest")), "not pinned"),
        (_first(lambda c: c.update(image="domainlm")), "not pinned"),
        (_first(lambda c: c["securityContext"].update(readOnlyRootFilesystem=False)), "root file system"),
        (_first(lambda c: c["securityContext"].update(allowPrivilegeEscalation=True)), "privileges may be raised"),
        (_first(lambda c: c["securityContext"]["capabilities"].update(add=["NET_ADMIN"])), "capabilities are not"),
        (_first(lambda c: c.pop("livenessProbe")), "no livenessProbe"),
        (_first(lambda c: c.pop("readinessProbe")), "lacks a startupProbe or readinessProbe"),
        (_first(lambda c: c["env"].append({"name": "ZENML_STORE_API_TOKEN", "value": "abc"})), "in plain text"),
        (_first(lambda c: c["env"].append({"name": "A", "value": "mysql://zenml:pass@db/zenml"})), "like a secret"),
        (_first(lambda c: c["command"].append("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0NTY")), "looks like a secret"),
        (_first(lambda c: c["volumeMounts"].append({"name": "databases", "mountPath": "/x"})), "databases to write"),
        (_first(lambda c: c.update(imagePolicy="x")), "schema 1.32"),
        (_pod(lambda p: p["securityContext"].update(runAsNonRoot=False)), "may run as root"),
        (_pod(lambda p: p["securityContext"].pop("seccompProfile")), "seccomp"),
        (_pod(lambda p: p.pop("automountServiceAccountToken")), "token is mounted"),
        (_pod(lambda p: p.pop("serviceAccountName")), "no account of its own"),
        (_pod(lambda p: p.update(hostNetwork=True)), "hostNetwork is on"),
        (_pod(lambda p: p["volumes"].append({"name": "n", "hostPath": {"path": "/"}})), "path of the node"),
        (_pod(lambda p: p["volumes"].append({"name": "n", "emptyDir": {}})), "has no limit"),
        (lambda one: one["metadata"]["labels"].pop("domainlm.dev/cost-center"), "cost-center is missing"),
        (lambda one: one["spec"]["template"]["metadata"]["labels"].pop("domainlm.dev/tenant"), "its pods: label"),
    ],
)  # fmt: skip
def test_each_rule_bites(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    deployment = one_of("prod", "Deployment", "zenml-server")
    assert broken_rules(deployment) == []
    change(deployment)
    assert any(said in line for line in broken_rules(deployment)), broken_rules(deployment)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}, "resources hold a *"),
        ({"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}, "may list Secrets"),
        ({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}, "may enter pods"),
    ],
)
def test_a_role_that_grants_too_much_is_seen(rule: dict[str, Any], said: str) -> None:
    role = one_of("prod", "Role", "domainlm-runner")
    role["rules"].append(rule)
    assert any(said in line for line in broken_rules(role))


def test_a_quota_of_a_wrong_quantity_is_seen() -> None:
    quota = next(copy.deepcopy(one) for one in of_kind("prod", "ResourceQuota"))
    quota["spec"]["hard"]["pods"] = "many"
    assert any("'many' is no quantity" in line for line in broken_rules(quota))


@pytest.mark.parametrize(
    "content",
    [
        {"resources": [], "helmCharts": []},
        {"resources": [], "patches": [{"target": {"kind": "Namespace"}, "patch": "metadata: {}"}]},
        {"resources": [], "images": [{"name": "a", "digest": "sha256:0"}]},
        {"configMapGenerator": [{"name": "a", "envs": ["b"]}]},
    ],
)
def test_what_the_renderer_does_not_know_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(Unsupported):
        render(tmp_path)


def test_nothing_under_infra_holds_a_secret() -> None:
    for path in KUSTOMIZE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not re.search(
                r"PRIVATE KEY-----|AGE-SECRET-KEY-1|ZENKEY_\w|AKIA[0-9A-Z]{16}|kind: Secret\b", text
            ), path
            assert not os.access(path, os.X_OK) or path.is_dir(), path


def _peers(policy: dict[str, Any]) -> list[dict[str, Any]]:
    rules = (*policy.get("ingress", []), *policy.get("egress", []))
    return [peer for rule in rules for peer in (*rule.get("from", []), *rule.get("to", []))]


def _values(content: Any, *names: str) -> list[Any]:
    if isinstance(content, dict):
        own = [value for name, value in content.items() if name in names]
        return own + [found for value in content.values() for found in _values(value, *names)]
    return [found for value in content for found in _values(value, *names)] if isinstance(content, list) else []
