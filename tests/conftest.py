"""What every test shares: no network but loopback, and a home of its own, never the user's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Read by libraries when they are imported, so they must stand before any test module is.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ZENML_ANALYTICS_OPT_IN": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ[name] = value


if "PYTEST_XDIST_WORKER" in os.environ:  # one test process a core: each with threads of its own would fight for them
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the public data sets of docs/results.md lie, for the tests that read them."""
    parser.addoption(
        "--shared-data", default=os.environ.get("DOMAINLM_SHARED_DATA", ""), help="folder of public data sets"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no core waits for them at the end; within a file the order stays."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Signals are given back after each test: processes that a later one forks would inherit a handler that was left
    behind, and a pool's that only notes a SIGTERM never end."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh `.domainlm` for each test; no test reads or writes the project's own."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DOMAINLM_HOME", str(folder))
    monkeypatch.setenv("DOMAINLM_PROJECT", str(ROOT))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    for name in ("DOMAINLM_KEY", "DOMAINLM_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return folder
