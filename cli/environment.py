"""Puts a process into its project before any heavy import: the variables that ZenML, MLflow and hub clients read."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from domainlm.errors import ConfigurationError
from domainlm.project import environment, home, project_root

LOG_FILE = "domainlm.log"


def enter_project(*, ready: bool = True) -> Path:
    """Set the project's variables and change into its root, so that relative paths mean the same from everywhere in it.

    Args:
        ready: whether the set-up must have been done.

    Returns:
        The project's root.

    Raises:
        ConfigurationError: this is no project, or it has not been set up.
    """
    os.umask(0o077)  # what ZenML and MLflow write is as private as what we write: their folders are 0755 else
    root = project_root()
    os.environ.update(environment())
    os.chdir(root)
    if ready and not (home() / "activate").is_file():
        raise ConfigurationError("the project has not been set up", str(root), "run `make setup` once")
    return root


def enter_stack(name: str) -> None:
    """Work with the stores of a cluster's stack in place of this machine's; ZenML must not have been imported yet.

    Args:
        name: a file of infra/stacks, or a path; "" leaves everything as it is.

    Raises:
        ConfigurationError, SecretError: the stack file cannot be used.
    """
    if not name:
        return
    from domainlm.cluster.settings import find_stack

    stack = find_stack(name)
    stack.enter()
    from zenml.client import Client

    Client().activate_stack(stack.settings.name)


def from_here(stack: str | None) -> str | None:
    """A stack as `-s` names it: a file's path counts from where the user stands, before the project is entered."""
    return str(Path(stack).resolve()) if stack and stack.endswith((".yaml", ".yml")) else stack


def quiet_libraries() -> Path:
    """Send what libraries log to a file of the project, so that the terminal shows the run alone.

    Returns:
        The log file.
    """
    folder = home() / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / LOG_FILE
    os.environ.setdefault("ZENML_LOGGING_VERBOSITY", "CRITICAL")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for chatty in ("great_expectations", "mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # it warns of a kernel that it would fetch from a hub and can do without
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    return path
