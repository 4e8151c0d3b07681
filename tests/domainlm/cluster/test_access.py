"""What a client finds out of a cluster before a run: each fault has a sentence of its own, and nothing is changed."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_stub import NODE, Cluster

from domainlm.cluster import access
from domainlm.cluster.access import SUBMITTER, check_cluster
from domainlm.cluster.services import FAILED, OK, WARNING, Finding
from domainlm.cluster.settings import StackFile, StackSettings

NAMESPACE = "domainlm"
KEY = {"kind": "Secret", "metadata": {"name": "domainlm-key", "namespace": NAMESPACE}}
GPU = {"train": [{"limits": {"memory": "16Gi", "nvidia.com/gpu": "1"}}]}


def role(rights: list[Any], verbs_of_nodes: tuple[str, ...] = ("list",)) -> list[dict[str, Any]]:
    """What lets the submitter do exactly this."""
    rules = [{"apiGroups": [one.group], "resources": [one.resource], "verbs": [one.verb]} for one in rights]
    subject = {"kind": "ServiceAccount", "name": "domainlm-submitter", "namespace": NAMESPACE}
    cluster_rules = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": list(verbs_of_nodes)},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
    ]
    return [
        {"kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"kind": "Role", "metadata": {"name": "submitter", "namespace": NAMESPACE}, "rules": rules},
        {
            "kind": "RoleBinding",
            "metadata": {"name": "submitter", "namespace": NAMESPACE},
            "subjects": [subject],
            "roleRef": {"kind": "Role", "name": "submitter"},
        },
        {"kind": "ClusterRole", "metadata": {"name": "looks"}, "rules": cluster_rules},
        {
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "looks"},
            "subjects": [subject],
            "roleRef": {"kind": "ClusterRole", "name": "looks"},
        },
    ]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster", {}, rules=[*role(list(SUBMITTER)), KEY]) as made:
        yield made


def stack(kubeconfig: Path, **cluster: Any) -> StackFile:
    content = {
        "name": "domainlm-kubernetes",
        "cluster": {"kubeconfig": str(kubeconfig), "namespace": NAMESPACE} | cluster,
        "components": {"orchestrator": {"name": "a", "flavor": "kubernetes"}},
    }
    return StackFile(kubeconfig, StackSettings(**content))


def submitter(cluster: Cluster, **of_cluster: Any) -> StackFile:
    return stack(cluster.kubeconfig("domainlm-submitter"), **of_cluster)


def last(findings: list[Finding]) -> Finding:
    return findings[-1]


def test_a_cluster_that_lets_a_run_work_is_told_so_and_nothing_is_changed(cluster: Cluster) -> None:
    before = {kind: cluster.list(kind) for kind in ("Secret", "Job", "Pod", "ConfigMap")}
    findings = check_cluster(submitter(cluster), GPU)
    assert [one.state for one in findings] == [OK] * 5, findings
    assert {kind: cluster.list(kind) for kind in before} == before
    assert not cluster.refused()


def test_no_secret_is_read_to_know_that_it_is_there(cluster: Cluster) -> None:
    check_cluster(submitter(cluster))
    of_secrets = [one for one in cluster.requests if one.resource == "secrets"]
    assert {(one.verb, one.query.get("dryRun")) for one in of_secrets} == {("create", "All")}


@pytest.mark.parametrize("missing", SUBMITTER, ids=str)
def test_each_right_that_is_missing_is_named(tmp_path: Path, missing: Any) -> None:
    rights = [one for one in SUBMITTER if one != missing]
    with Cluster(tmp_path / "cluster", {}, rules=[*role(rights), KEY]) as cluster:
        found = next(one for one in check_cluster(submitter(cluster)) if one.subject.startswith("permissions"))
    assert found.state == FAILED and found.said == f"missing: {missing}" and "domainlm-submitter" in found.remedy


def test_a_missing_namespace_is_named(cluster: Cluster) -> None:
    found = last(check_cluster(submitter(cluster, namespace="domainlm-retail")))
    assert (found.subject, found.state, found.said) == ("namespace domainlm-retail", FAILED, "is not there")


def test_a_missing_secret_is_named_and_not_made(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", {}, rules=role(list(SUBMITTER))) as cluster:
        found = next(one for one in check_cluster(submitter(cluster)) if one.subject == "secret domainlm-key")
        assert found.state == FAILED and "is not there (the key ring" in found.said
        assert not cluster.list("Secret")


def test_an_expired_token_is_told_as_such(cluster: Cluster) -> None:
    token = cluster.token("domainlm-submitter")
    path = cluster.kubeconfig("domainlm-submitter", token=token)
    cluster.expire(token)
    (found,) = check_cluster(stack(path))
    assert found.state == FAILED and "does not know the credentials: unknown, or expired" in found.said
    assert token not in str(found)


def changed(cluster: Cluster, **of_cluster: str) -> Path:
    path = cluster.kubeconfig("domainlm-submitter")
    content = json.loads(path.read_text())
    content["clusters"][0]["cluster"] |= of_cluster
    path.write_text(json.dumps(content))
    return path


def test_a_wrong_certificate_authority_is_told_as_such(cluster: Cluster, tmp_path: Path) -> None:
    with Cluster(tmp_path / "other", {}) as other:
        foreign = base64.b64encode(other.ca).decode()
        (found,) = check_cluster(stack(changed(cluster, **{"certificate-authority-data": foreign})))
    assert found.state == FAILED and found.said == "its certificate is not from the expected authority"
    assert not cluster.requests


def test_an_address_where_nothing_listens_is_told_as_such(cluster: Cluster) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{reserved.getsockname()[1]}"
        (found,) = check_cluster(stack(changed(cluster, server=url)))
    assert found.state == FAILED and found.said == "nothing listens there (connection refused)"


def test_a_server_that_says_nothing_is_given_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "TIMEOUT_S", (1, 1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        (found,) = check_cluster(stack(changed(cluster, server=f"http://127.0.0.1:{silent.getsockname()[1]}")))
    assert found.state == FAILED and "no answer within" in found.said


def test_what_is_no_kubernetes_is_told_as_such(cluster: Cluster) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        (found,) = check_cluster(stack(changed(cluster, server=f"http://127.0.0.1:{listener.getsockname()[1]}")))
        thread.join(10)
    assert found.state == FAILED and found.said == "what answers there is no Kubernetes API server"


def test_a_kubeconfig_whose_login_program_is_not_there_is_told_without_a_word_of_it(cluster: Cluster) -> None:
    path = cluster.kubeconfig("domainlm-submitter")
    content = json.loads(path.read_text())
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-login", "args": ["--token=secret"]}
    content["users"][0]["user"] = {"exec": program}
    path.write_text(json.dumps(content))
    (found,) = check_cluster(stack(path))
    assert found.state == FAILED and "secret" not in str(found)


# ---------------------------------------------------------------------------------------------- places for pods


def nodes(tmp_path: Path, *allocatable: dict[str, str]) -> Cluster:
    made = [
        {"kind": "Node", **NODE, "metadata": {"name": f"n{index}"}, "status": NODE["status"] | {"allocatable": one}}
        for index, one in enumerate(allocatable)
    ]
    return Cluster(tmp_path / "cluster", {}, rules=[*role(list(SUBMITTER)), KEY, *made])


def test_a_step_that_wants_a_gpu_where_no_node_has_one_is_told_what_to_do(tmp_path: Path) -> None:
    with nodes(tmp_path, {"cpu": "4", "memory": "24Gi"}) as cluster:
        found = last(check_cluster(submitter(cluster), GPU))
        assert found.state == FAILED and found.subject == "nodes: a pod of step train"
        assert found.said == "asks for nvidia.com/gpu 1, and no node has any"
        assert "--set 'steps.train.settings.step_operator.domainlm.pod_settings.resources.limits={memory: 16Gi}'" in (
            found.remedy
        )
        assert last(check_cluster(submitter(cluster, autoscaled=True), GPU)).state == WARNING


def test_a_pod_larger_than_every_node_is_told_with_the_largest(tmp_path: Path) -> None:
    wanted = {"*": [{"requests": {"memory": "30Gi"}, "limits": {"memory": "64Gi"}}]}
    with nodes(tmp_path, {"cpu": "4", "memory": "24Gi"}, {"cpu": "8", "memory": "16000Mi"}) as cluster:
        found = last(check_cluster(submitter(cluster), wanted))
        assert found.subject == "nodes: the pods of the steps"
        assert found.said == "asks for memory 30Gi, and the largest node has 24.0Gi"
        # what is requested decides where a pod fits; a limit may be larger than any node
        fits = {"*": [{"requests": {"memory": "20Gi"}, "limits": {"memory": "64Gi"}}]}
        assert last(check_cluster(submitter(cluster), fits)).state == OK


def test_a_pod_that_fits_no_single_node_is_told_though_each_thing_is_somewhere(tmp_path: Path) -> None:
    wanted = {"train": [{"limits": {"cpu": "8", "memory": "24Gi"}}]}
    with nodes(tmp_path, {"cpu": "4", "memory": "24Gi"}, {"cpu": "8", "memory": "16Gi"}) as cluster:
        assert "no single node has all" in last(check_cluster(submitter(cluster), wanted)).said


def test_without_a_look_at_the_nodes_it_is_not_known_whether_pods_fit(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", {}, rules=[*role(list(SUBMITTER), ()), KEY]) as cluster:
        found = last(check_cluster(submitter(cluster), GPU))
    assert found.state == WARNING and "may not be listed" in found.said
