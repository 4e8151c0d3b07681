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
