"""Secrets that a configuration only names."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.errors import SecretError
from domainlm.retrain.secret_values import secret_value

NAME, VALUE = "MARKET_DATABASE", "postgresql://olga:Tr0ub4dor@host/market"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))
    (tmp_path / "secret").write_text(f"{VALUE}\n")
    (tmp_path / "secret").chmod(0o600)
    return tmp_path / "secret"


def test_the_variable_comes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret_value(NAME) == VALUE
    monkeypatch.setenv(NAME, "sqlite:///x")
    assert secret_value(NAME) == "sqlite:///x"


def test_nothing_set_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SecretError, match=f"{NAME}_FILE"):
        secret_value(NAME)


@pytest.mark.parametrize("fault", ["open to others", "empty", "missing", "no text"])
def test_a_file_that_is_not_private_or_not_there_is_refused_without_its_content(file: Path, fault: str) -> None:
    if fault == "open to others":
        file.chmod(0o644)
    elif fault == "empty":
        file.write_text(" \n")
    elif fault == "missing":
        file.unlink()
    else:
        file.write_bytes(b"\xff\xfe")
    with pytest.raises(SecretError) as error:
        secret_value(NAME)
    assert "Tr0ub4dor" not in str(error.value) and error.value.where == f"{NAME}_FILE"
