"""`domainlm clean`: forget every run of this project."""

from __future__ import annotations

import shutil

import typer

from cli.environment import enter_project
from domainlm.project import home


def clean(yes: bool = typer.Option(False, "--yes", help="Do not ask.")) -> None:
    """Delete the project's .domainlm folder: runs, models, stores, and the development key with every link it made."""
    root = enter_project(ready=False)
    if not yes:
        typer.confirm(f"Delete {home()} with all runs, models and the development key?", abort=True)
    shutil.rmtree(home())
    shutil.rmtree(root / ".zen", ignore_errors=True)
