"""`domainlm setup`: the project's own ZenML store, stack, development keys and ledger; all stays in its folder."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

from cli.environment import enter_project, quiet_libraries
from domainlm.keys import create_development_key
from domainlm.project import environment, home


def setup() -> None:
    """Make this checkout ready to run: keys, ledger, ZenML store and local stack inside the project. Safe to repeat."""
    console = Console(highlight=False)
    root = enter_project(ready=False)
    key = create_development_key()
    ledger = _ledger()
    quiet_libraries()
    from zenml.client import Client

    from cli import stack

    if not Client.is_repository_directory(root):
        Client.initialize(root)
    Client().activate_root(root)
    name = stack.apply(root / "infra" / "stacks" / "local.yaml").name
    _write_activation(root)
    console.print(
        f"[green]ready[/]: stack {name}; development key {key.relative_to(root) if key.is_relative_to(root) else key}"
        f" (mode 0600, not for production); ledger {ledger}"
    )


def _ledger() -> str:
    from domainlm.ledger.trust.bootstrap import MADE, PRODUCTION_WANTED, WAITS, bootstrap

    return {
        MADE: "made, with keys of this machine (not for production)",
        WAITS: "waits for its first policy: `domainlm audit policy enter`",
        PRODUCTION_WANTED: "none: `domainlm audit init --production`",
    }.get(bootstrap(), "stands")


def _write_activation(root: Path) -> None:
    """One line for the shell, `source .domainlm/activate`, so that `zenml` finds this project's store. Written last."""
    lines = ["# Points zenml, mlflow and python at this project: source .domainlm/activate"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment().items())]
    lines += [f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"]
    draft = home() / ".activate.draft"
    draft.write_text("\n".join(lines) + "\n")
    os.replace(draft, home() / "activate")
