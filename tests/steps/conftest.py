"""What the tests of the steps share: ZenML knows where the source lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def source_root() -> Iterator[None]:
    """A worker of pytest-xdist has no main file by which ZenML would find the source's root."""
    from zenml.utils import source_utils

    source_utils.set_custom_source_root(str(ROOT))
    yield
    source_utils.set_custom_source_root(None)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a ZenML store and an MLflow database of its own, made once a module: their tables take seconds."""
    from zenml.client import Client
    from zenml.config.global_config import GlobalConfiguration

    home = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOMAINLM_HOME", str(home))
        patch.setenv("ZENML_CONFIG_PATH", str(home / "zenml"))
        patch.setenv("ZENML_LOCAL_STORES_PATH", str(home / "zenml" / "stores"))
        patch.setenv("ZENML_REPOSITORY_PATH", str(home))
        patch.setenv("ZENML_LOGGING_VERBOSITY", "CRITICAL")
        patch.chdir(home)
        before = GlobalConfiguration._global_config, Client._global_client
        GlobalConfiguration._reset_instance()
        Client._reset_instance()
        yield home
        GlobalConfiguration._reset_instance(before[0])
        Client._reset_instance(before[1])
