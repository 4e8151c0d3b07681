"""Small git checkouts whose commits are by named people."""

from __future__ import annotations

import subprocess
from pathlib import Path

ANNA, VICTOR, TINA, OLGA = (f"{name}@bank.example" for name in ("anna", "victor", "tina", "olga"))


def git(root: Path, *arguments: str, author: str = TINA) -> str:
    """What git prints."""
    who = ("-c", "user.name=x", "-c", f"user.email={author}")
    done = subprocess.run(
        ["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


def commit(root: Path, path: str, author: str, message: str = "change") -> str:
    """Change a file by a line and commit it; gives the commit."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(file.read_text() + "x\n" if file.exists() else "x\n")
    git(root, "add", path)
    git(root, "commit", "-q", "-m", message, author=author)
    return git(root, "rev-parse", "HEAD")
