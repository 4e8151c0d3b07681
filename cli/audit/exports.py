"""`domainlm audit`: export: bundle, OpenLineage, CycloneDX, PROV."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
