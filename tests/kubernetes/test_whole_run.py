"""The whole DAG in pods: it completes, its evidence is that of a local run, and nothing secret or at work is left."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from cluster_commands import ClusterProject, at_work, pods_of, run_id_of
from real_cluster import Cluster
from small_project import shrink

STEPS = set(
    "base_ingest base_redact base_prepare base_validate pretrain ingest redact prepare validate vocabulary train "
    "control_shuffled_labels control_from_scratch evaluate register record".split()
)
TOKEN = re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}")  # a JSON web token
UNANCHORED = 2  # exit code of `audit verify`: all is good, but no checkpoint is published outside of the project
# artifacts whose digest is that of data or weights; reports and verdicts hold times and places
SAME = {("prepare", "prepared_records"), ("vocabulary", "tokenizer"), ("train", "adapter")}


@pytest.fixture(scope="module")
def manifest(project: ClusterProject, completed: str) -> dict[str, Any]:
    return project.manifest(run_id_of(completed))


def test_every_step_completes_and_the_command_exits_zero(manifest: dict[str, Any]) -> None:
    """The fixture `completed` has compared the exit code."""
    assert manifest["status"] == "completed"
    assert {step["name"] for step in manifest["steps"]} >= STEPS - {"record"}
    assert {step["status"] for step in manifest["steps"]} == {"completed"}


def test_every_step_says_in_which_pod_on_which_node_with_which_image_it_ran(
    manifest: dict[str, Any], cluster: Cluster
) -> None:
    nodes = {one["metadata"]["name"] for one in cluster.kubectl.objects("nodes")}
    for step in manifest["steps"]:
        assert any(place.get("sealed") for place in step["places"]), step["name"]
        for place in step["places"]:
            assert place["node"] in nodes and place["pod"] and place["uid"], place
            assert place["image"] == cluster.image, place
            assert re.fullmatch("sha256:[0-9a-f]{64}", place["image_digest"]), place
            if place.get("sealed"):  # said by the pod itself, under the project's key
                assert place["namespace"] == cluster.namespace, place


def test_training_runs_in_a_pod_of_the_step_operator(manifest: dict[str, Any], cluster: Cluster) -> None:
    pods = pods_of(cluster, manifest["run_id"], "train")
    [training] = [one for one in pods if one["metadata"]["labels"].get("app.kubernetes.io/component") == "training"]
    assert len(pods) == 2, "one launches, one trains"
    assert training["status"]["phase"] == "Succeeded"
    [train] = [step for step in manifest["steps"] if step["name"] == "train"]
    assert training["metadata"]["name"] in {place["pod"] for place in train["places"]}


def test_no_token_and_no_secret_stands_in_any_object(cluster: Cluster, completed: str) -> None:
    objects = [one for kind in ("pods", "jobs", "cronjobs") for one in cluster.kubectl.objects(kind)]
    assert len(objects) > 2 * len(STEPS)
    text = json.dumps(objects)
    assert not TOKEN.search(text)
    if cluster.services is not None:
        for secret in (cluster.services.s3_secret, cluster.services.mlflow_password, cluster.services.zenml_api_key):
            assert secret not in text


def test_nothing_is_at_work_afterwards_and_the_runs_token_is_gone(cluster: Cluster, manifest: dict[str, Any]) -> None:
    assert at_work(pods_of(cluster, manifest["run_id"])) == []
    secrets = {one["metadata"]["name"] for one in cluster.kubectl.objects("secrets")}
    assert not [name for name in secrets if name.startswith("zenml-token")], secrets


def test_the_ledger_with_the_run_verifies(project: ClusterProject, completed: str) -> None:
    assert re.search(r"evidence\s+entry \d+", completed), completed
    project.domainlm("audit", "verify", code=UNANCHORED)


def test_a_local_run_on_the_same_data_gives_the_same_data_vocabulary_and_adapter(
    project: ClusterProject, manifest: dict[str, Any]
) -> None:
    content = yaml.safe_load((project.root / "zenml_config.yaml").read_text())
    shrink(content)
    project.domainlm("run", "-c", str(project.write(content)))
    here = project.last()
    assert here["run_id"] != manifest["run_id"] and here["status"] == "completed"
    found, wanted = digests(manifest), digests(here)
    sealed = [place for step in manifest["steps"] for place in step["places"] if place.get("sealed")]
    processors = {place["hardware"]["processor"] for place in sealed}
    same_processor = processors == {here["hardware"]["processor"]}
    for step, artifact in SAME:
        if step != "train" or same_processor:  # floating point adds up differently on another kind of processor
            assert found[step][artifact] == wanted[step][artifact], (step, artifact)


def digests(manifest: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {step["name"]: step["outputs"] for step in manifest["steps"]}
