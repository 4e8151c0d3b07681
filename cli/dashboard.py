"""`domainlm dashboard`: ZenML's own dashboard over the project's store, on loopback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cli.environment import enter_project


def dashboard() -> None:
    """Serve ZenML's dashboard on this machine (loopback, no sign-in) until Ctrl-C."""
    enter_project()
    zenml = str(Path(sys.executable).with_name("zenml"))
    os.execv(zenml, [zenml, "login", "--local", "--blocking"])
