"""Tests on a real cluster: `make test-kubernetes`, where KUBECONFIG points at one; they are skipped anywhere else.

README.md in this folder says what they need and which variables change it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
from cluster_commands import ClusterProject
from real_cluster import Cluster, host_of_services, real_cluster, why_not

HERE = Path(__file__).resolve().parent
TEST_S = 3600  # a test here waits for pods; the limit of other tests would cut a whole run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them with the reason, or let them reach the services that they start, on an address that pods reach too."""
    ours = [item for item in items if HERE in item.path.parents]
    if not ours:
        return
    if reason := why_not():
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=reason))
        return
    given = (urlparse(os.environ.get(name, "")).hostname for name in ("DOMAINLM_ZENML_URL", "DOMAINLM_S3_URL"))
    hosts = ["127.0.0.1", host_of_services(), *filter(None, given)]
    for item in ours:
        item.add_marker(pytest.mark.allow_hosts(hosts))
        item.add_marker(pytest.mark.timeout(TEST_S))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, a namespace on it, and the services."""
    with real_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture(scope="session")
def project(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> ClusterProject:
    """A checkout whose runs work there; all tests share it, so that later runs find the first one's steps cached."""
    return ClusterProject(tmp_path_factory.mktemp("project") / "checkout", cluster)


@pytest.fixture(scope="session")
def completed(project: ClusterProject) -> str:
    """What the first whole run printed."""
    return project.run(project.small)


@pytest.fixture
def may_drain() -> None:
    """A node of a cluster that others use is not cordoned without being asked to."""
    if os.environ.get("DOMAINLM_TEST_DRAIN", "yes") == "no":
        pytest.skip("DOMAINLM_TEST_DRAIN=no: no node may be drained here")
