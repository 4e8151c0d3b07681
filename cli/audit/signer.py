"""`domainlm audit`: signer: the process that holds the service keys."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
