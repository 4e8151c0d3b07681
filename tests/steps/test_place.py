"""A run of one's own machine cannot be hidden from the ledger by a variable."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from zenml.client import Client

from steps import place as module
from steps.place import in_pod


def test_a_step_of_the_local_orchestrator_is_in_no_pod_whatever_it_is_told(
    stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMAINLM_PLACE", "pod")
    assert type(Client().active_stack.orchestrator).__name__ == "LocalOrchestrator"
    assert not in_pod()


def test_a_step_of_another_orchestrator_is_in_a_pod_where_it_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = SimpleNamespace(active_stack=SimpleNamespace(orchestrator=object()))
    monkeypatch.setattr(module, "Client", lambda: elsewhere)
    monkeypatch.delenv("DOMAINLM_PLACE", raising=False)
    assert not in_pod()
    monkeypatch.setenv("DOMAINLM_PLACE", "pod")
    assert in_pod()
