"""Whether a run could use a stack: everything that can be known from here, before anything is sent.

Cluster and services are asked side by side, each within its own time limit, so that a person waits for the slowest.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from domainlm.cluster.access import check_cluster
from domainlm.cluster.run_settings import wanted_images, wanted_resources
from domainlm.cluster.services import (
    FAILED,
    OK,
    WARNING,
    Finding,
    check_mlflow,
    check_registry,
    check_server,
    check_store,
)
from domainlm.cluster.settings import StackFile
from domainlm.errors import ConfigurationError

SERVICES = (check_server, check_store, check_registry, check_mlflow)
_RELEASE = re.compile(r":v?(\d+\.\d+\.\d+)[^:/]*$")


def check(stack: StackFile, configuration: dict[str, Any] | None = None) -> list[Finding]:
    """Ask cluster and services.

    Args:
        stack: the stack file.
        configuration: a checked run configuration; then also whether its pods fit, and what is known of its image.

    Raises:
        SecretError: a file that the stack names cannot be used.
    """
    wanted = wanted_resources(configuration) if configuration else None
    with ThreadPoolExecutor() as threads:
        cluster = threads.submit(check_cluster, stack, wanted)
        services = [threads.submit(service, stack) for service in SERVICES]
    findings = cluster.result() + [one.result() for one in services]
    return findings + [_image(image) for image in (wanted_images(configuration) if configuration else [])]


def require(stack: StackFile, configuration: dict[str, Any]) -> list[Finding]:
    """Go on only where nothing is known that would end the run.

    Returns:
        What a person should look at.

    Raises:
        ConfigurationError: what keeps the run from working, all of it at once.
        SecretError: a file that the stack names cannot be used.
    """
    findings = check(stack, configuration)
    if failed := [one for one in findings if one.state == FAILED]:
        told = [f"{one.subject}: {one.said}" + (f"\n  -> {one.remedy}" if one.remedy else "") for one in failed]
        raise ConfigurationError("\n".join(["a run could not use the stack:", *told]), str(stack.path))
    return [one for one in findings if one.state == WARNING]


def _image(image: str) -> Finding:
    """What an image's name tells; what is in it only a pod knows."""
    subject, ours = f"image {image}", version("domainlm")
    match = _RELEASE.search(image)
    if match and match[1] != ours:
        remedy = "make the image of this checkout (`make image`), or use the client of that release"
        return Finding(subject, FAILED, f"is of release {match[1]}, this client of {ours}", remedy)
    return Finding(subject, OK, "whether the nodes can pull it, and what is in it, is known at the start")
