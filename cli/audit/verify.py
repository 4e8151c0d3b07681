"""`domainlm audit`: verify: the ledger, or an exported bundle."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
