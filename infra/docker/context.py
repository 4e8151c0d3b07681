"""Stage the folder that an image is built from: files that git knows, and nothing else of the work tree.

What is not committed or at least known to git (`.domainlm/` with its keys, `.env`, notes) cannot get into an image,
since nobody copies it: there is no list of exclusions to forget something in. Times and modes are set here, so that one
checkout gives one context.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# what a pod reads: code, data of the domain, run configurations, stack files, and the lock that evidence names
SHIPPED = (
    "cli", "pipelines", "steps", "materializers", "domainlm", "domains", "configs", "infra/stacks", "infra/verifier",
    "zenml_config.yaml", "pyproject.toml", "constraints.txt", "README.md", "LICENSE",
)  # fmt: skip
GIT_TIMEOUT_S = 60


def git(*arguments: str) -> str:
    """What git prints of this checkout.

    Raises:
        subprocess.CalledProcessError: it is no checkout.
    """
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True, timeout=GIT_TIMEOUT_S
    )
    return done.stdout.strip()


def commit_time() -> int:
    """Seconds since 1970 of the commit that the image is built from: the time of everything in it."""
    return int(git("log", "-1", "--format=%ct"))


def stage(folder: Path, wheels: Path) -> Path:
    """Make a build context anew: `app/`, `hooks/`, `wheels/`, and the Containerfile.

    Args:
        folder: where; what is there is replaced.
        wheels: a folder as `wheels.py` fills it. Its files are linked where they lie on the same disk.

    Raises:
        FileNotFoundError: there are no wheels.
    """
    if not (wheels / "requirements.txt").is_file():
        raise FileNotFoundError(f"{wheels} holds no requirements.txt; fill it by `make image-wheels`")
    shutil.rmtree(folder, ignore_errors=True)
    app, moment = folder / "app", commit_time()
    known = [name for name in git("ls-files", "-z", "--", *SHIPPED).split("\0") if (ROOT / name).is_file()]
    for name in known:
        _copy(ROOT / name, app / name)
    sys.path.insert(0, str(ROOT))
    from domainlm.ledger.run import built

    built.write(ROOT, known, app)
    for file in (Path(__file__).parent / "hooks").iterdir():
        if file.is_file():
            _copy(file, folder / "hooks" / file.name)
    _copy(Path(__file__).parent / "Containerfile", folder / "Containerfile")
    (folder / "wheels").mkdir()
    for file in wheels.iterdir():
        try:
            os.link(file, folder / "wheels" / file.name)
        except OSError:  # another disk
            shutil.copyfile(file, folder / "wheels" / file.name)
    for path in [*(folder / "app").rglob("*"), *(folder / "hooks").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (moment, moment), follow_symlinks=False)
    return folder


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
