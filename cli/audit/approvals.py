"""`domainlm audit`: approve, reject, revoke, condition, standing, hold, release, sign."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
