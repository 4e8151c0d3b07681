"""The project that the end-to-end tests share."""

from __future__ import annotations

import pytest
from small_project import ROOT, Project, make_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for the whole story; its tests run in the order of the file, each on what the one before left."""
    made = make_project(tmp_path_factory.mktemp("project"))
    (made.root / ".gitignore").write_text((ROOT / ".gitignore").read_text() + "site/\nempty_home/\n")
    made.domainlm("setup")
    return made
