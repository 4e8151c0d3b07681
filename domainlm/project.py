"""Where a project lies, and where it keeps what it makes.

A project is the folder that holds `zenml_config.yaml`; everything that a run makes lies in its `.domainlm/` folder,
never in the user's home. `DOMAINLM_PROJECT` and `DOMAINLM_HOME` move the two elsewhere (containers, tests).
"""

from __future__ import annotations

import os
from pathlib import Path

from domainlm.errors import ConfigurationError

PROJECT_FILE = "zenml_config.yaml"
SOURCE_ROOT = Path(__file__).resolve().parent.parent


def project_root(start: Path | None = None) -> Path:
    """The project that a folder belongs to: the nearest ancestor that holds `zenml_config.yaml`.

    Args:
        start: where to begin; the current folder by default.

    Raises:
        ConfigurationError: no folder up to the root holds one.
    """
    if named := os.environ.get("DOMAINLM_PROJECT"):
        return Path(named).resolve()
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise ConfigurationError(
        f"no {PROJECT_FILE} here or in any folder above", str(start), "change into a domainlm project first"
    )


def home() -> Path:
    """The folder of everything that runs make: stores, keys, checkpoints, quarantine, manifests. Made on demand."""
    named = os.environ.get("DOMAINLM_HOME")
    folder = Path(named) if named else project_root() / ".domainlm"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def resolve(path: str | Path) -> Path:
    """A path of a configuration as an absolute one: relative paths count from the project root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


def environment() -> dict[str, str]:
    """The variables that keep a run inside its project and away from the network; `domainlm` sets them, and the
    project's activation file exports them for `zenml`.

    Values that the user has set already win.
    """
    root, place = project_root(), home()
    wanted = {
        "DOMAINLM_PROJECT": str(root),
        "DOMAINLM_HOME": str(place),
        "ZENML_CONFIG_PATH": str(place / "zenml"),
        "ZENML_LOCAL_STORES_PATH": str(place / "zenml" / "local_stores"),
        "ZENML_REPOSITORY_PATH": str(root),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_ENABLE_RICH_TRACEBACK": "false",
        "AUTO_OPEN_DASHBOARD": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "HF_HOME": str(place / "cache" / "huggingface"),
        "HF_HUB_OFFLINE": "1",  # a hub is reached only where the configuration names a hub id
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers follows it too
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait make a busy machine several times slower
        "MLFLOW_CONFIGURE_LOGGING": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MPLCONFIGDIR": str(place / "cache" / "matplotlib"),
        "UV_CACHE_DIR": str(place / "cache" / "uv"),
        "TOKENIZERS_PARALLELISM": "false",
    }
    return wanted | {name: os.environ[name] for name in wanted if name in os.environ}
