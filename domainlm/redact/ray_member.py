"""Being a node of a Ray cluster for as long as work is spread over it.

Ray's driver talks to a raylet of its own machine. In a pod of its own it has none, so one is started that offers no
CPU: nothing is worked here, and the cluster forgets the node when the stage has ended. (Ray Client, which needs none,
puts a process of the cluster between, and loads the data set's driver onto the head.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from domainlm.errors import ConfigurationError

JOIN = "DOMAINLM_RAY_JOIN"  # set where no raylet of the cluster runs: in the pod of a step
ADDRESS = "RAY_ADDRESS"
START_S, STOP_S = 120, 20
_OBJECTS_BYTES = 256 << 20  # outcomes pass through this node's share of the object store


@contextmanager
def member() -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, if DOMAINLM_RAY_JOIN says so, and leave it at the end.

    Raises:
        ConfigurationError: the cluster does not answer, or refuses this node.
    """
    if not os.environ.get(JOIN):
        yield
        return
    address = os.environ[ADDRESS]
    options = ["--address", address, "--num-cpus", "0", "--num-gpus", "0", "--disable-usage-stats"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    command += ["--object-store-memory", str(_OBJECTS_BYTES), "--block"]
    node = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        _wait(node, address)
        yield
    finally:
        _leave(node)


def _wait(node: subprocess.Popen, address: str) -> None:
    """Until the node is one of the cluster's: `ray start` says so, once."""
    import threading

    late = threading.Timer(START_S, node.kill)
    late.start()
    try:
        assert node.stdout is not None
        for line in node.stdout:
            if b"Ray runtime started" in line:
                threading.Thread(target=node.stdout.read, daemon=True).start()  # a full pipe would stop it
                return
    finally:
        late.cancel()
    raise ConfigurationError(
        "this machine cannot join the Ray cluster",
        address,
        "check that it runs the same versions of Ray and Python, RAY_AUTH_MODE and its token, and the network policy",
    )


def _leave(node: subprocess.Popen) -> None:
    node.terminate()  # with --block, it ends what it has started
    with suppress(subprocess.TimeoutExpired):
        node.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait(STOP_S)
