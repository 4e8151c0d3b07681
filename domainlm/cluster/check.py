"""Whether a run could use a stack: everything that can be known from here, before anything is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from domainlm.cluster.services import Finding, check_mlflow, check_registry, check_server, check_store
from domainlm.cluster.settings import StackFile

SERVICES = (check_server, check_store, check_registry, check_mlflow)


def check(stack: StackFile) -> list[Finding]:
    """Ask the services side by side; the slowest answer, or its time limit, is what this takes.

    Raises:
        SecretError: a file that the stack names cannot be used.
    """
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(service, stack) for service in SERVICES]
    return [one.result() for one in asked]
