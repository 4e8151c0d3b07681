"""Runs first in every process that plays a pod: it stands for what a container has of its own and a process has not.

The pod's name is its host name, the network ends at loopback, and the token of its service account lies where the stub
put it instead of at a path of the machine's root.
"""

import importlib.abc
import importlib.machinery
import os
import socket
import sys
from types import ModuleType

ALLOWED = ("127.0.0.1", "localhost", "::1")
_connect = socket.socket.connect


def connect(self: socket.socket, address: tuple) -> None:
    if self.family != socket.AF_UNIX and str(address[0]) not in ALLOWED:
        raise OSError(f"the test blocks the network: {address[0]}")
    return _connect(self, address)


socket.socket.connect = connect
if pod := os.environ.get("HOSTNAME"):
    socket.gethostname = lambda: pod


class Token(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Sets the two paths of `kubernetes.config.incluster_config` when somebody imports that module."""

    def find_spec(self, name, path, target=None):
        if name != "kubernetes.config.incluster_config":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        self._real, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        folder = os.environ.get("STUB_SERVICE_ACCOUNT", "/nonexistent")
        module.SERVICE_TOKEN_FILENAME, module.SERVICE_CERT_FILENAME = f"{folder}/token", f"{folder}/ca.crt"


sys.meta_path.insert(0, Token())
