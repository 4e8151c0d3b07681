"""`domainlm audit`: from a model to its rows, from a subject to its models."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
