"""What a model stands on besides its data: equal where nothing changed, another digest where base or policy did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domainlm.config import EMBEDDED
from domainlm.retrain.deciding import standing as module
from domainlm.retrain.deciding.standing import standing

RULES = {"redaction": {"profiles": ["us"]}, "contract": {"expectations": 3}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINLM_PROJECT", str(tmp_path))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.md").write_text("text")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    return tmp_path


def parameters(**more: Any) -> dict[str, dict[str, Any]]:
    said = {
        "base_ingest": {"sources": [{"uri": "corpus/*.md"}]}, "pretrain": {"epochs": 1}, "redact": {"threshold": 0.5},
        "validate": {}, "train": {"max_steps": 10},
    }  # fmt: skip
    return said | more


def test_only_base_and_policy_count(project: Path) -> None:
    first = standing(EMBEDDED, parameters(), RULES)
    assert standing(EMBEDDED, parameters(train={"max_steps": 99}), RULES) == first
    assert standing(EMBEDDED, parameters(pretrain={"epochs": 2}), RULES).base != first.base
    assert standing(EMBEDDED, parameters(redact={"threshold": 0.9}), RULES).policy != first.policy
    assert standing(EMBEDDED, parameters(), RULES | {"contract": {"expectations": 4}}).policy != first.policy
    assert standing(EMBEDDED, parameters(), RULES | {"contract": {"expectations": 4}}).base == first.base


def test_text_and_files_of_a_base_count_whatever_their_time(project: Path) -> None:
    first = standing(EMBEDDED, parameters(), RULES)
    (project / "corpus" / "a.md").write_text("text")
    assert standing(EMBEDDED, parameters(), RULES) == first
    (project / "corpus" / "b.md").write_text("more")
    assert standing(EMBEDDED, parameters(), RULES).base != first.base
    folder = standing("base", parameters(), RULES)
    (project / "base" / "config.json").write_text('{"a": 1}')
    assert standing("base", parameters(), RULES).base != folder.base


def test_a_large_file_counts_by_its_size(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_BYTES", 10)
    weights = project / "base" / "model.safetensors"
    weights.write_bytes(b"x" * 100)
    first = standing("base", parameters(), RULES)
    weights.write_bytes(b"y" * 100)
    assert standing("base", parameters(), RULES) == first, "stated in the docstring: a training sees it"
    weights.write_bytes(b"y" * 101)
    assert standing("base", parameters(), RULES) != first
