"""The wiring of a retraining: nothing expensive before the decision, no token or time in what decides a cache key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domainlm.retrain.batches import Claim, Decision, RetrainingPlan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The compiled pipeline: step -> those that it comes after."""
    from zenml.client import Client
    from zenml.config.global_config import GlobalConfiguration
    from zenml.utils import source_utils

    home = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOMAINLM_HOME", str(home))
        patch.setenv("DOMAINLM_PROJECT", str(ROOT))
        patch.setenv("ZENML_CONFIG_PATH", str(home / "zenml"))
        patch.setenv("ZENML_LOCAL_STORES_PATH", str(home / "zenml" / "stores"))
        patch.setenv("ZENML_REPOSITORY_PATH", str(home))
        patch.setenv("ZENML_LOGGING_VERBOSITY", "CRITICAL")
        patch.chdir(ROOT)
        before = GlobalConfiguration._global_config, Client._global_client
        GlobalConfiguration._reset_instance()
        Client._reset_instance()
        source_utils.set_custom_source_root(str(ROOT))
        try:
            from domainlm.keys import create_development_key
            from pipelines.retraining import retraining_pipeline

            create_development_key()
            made = retraining_pipeline.with_options(config_path=str(ROOT / "configs" / "retrain.yaml"))
            made.prepare()
            yield made
        finally:
            source_utils.set_custom_source_root(None)
            GlobalConfiguration._reset_instance(before[0])
            Client._reset_instance(before[1])


def ancestors(invocations: dict[str, Any], name: str) -> set[str]:
    before = set(invocations[name].upstream_steps)
    return before.union(*(ancestors(invocations, one) for one in before)) if before else before


def test_nothing_but_a_look_comes_before_the_decision(spec: Any) -> None:
    steps = spec.invocations
    assert ancestors(steps, "decide") == {"detect"}
    for name in steps.keys() - {"detect", "decide"}:
        assert "decide" in ancestors(steps, name), f"{name} may begin before it is decided"


def test_the_book_accepts_after_the_registration_and_the_record_comes_last(spec: Any) -> None:
    steps = spec.invocations
    assert {"contest", "evaluate", "register"} <= ancestors(steps, "settle")
    assert ancestors(steps, "record") == steps.keys() - {"record"}
    assert "contest" in ancestors(steps, "register"), "its figures go with the registration"


def test_a_cached_step_takes_nothing_that_changes_with_claim_or_time(spec: Any) -> None:
    for name, invocation in spec.invocations.items():
        inputs = (found if isinstance(found, list) else [found] for found in invocation.input_artifacts.values())
        taken = {artifact.output_name for found in inputs for artifact in found}
        if taken & {"plan", "detection", "settlement"}:
            assert invocation.step.configuration.enable_cache is False, name


def test_another_token_gives_the_same_landed_data() -> None:
    def landed(token: int, decided: str) -> str:
        plan = RetrainingPlan(
            claim=Claim(token=token, lane="domainlm-finance", owner=f"run {token}", batches=("b" * 64,), lease_s=60),
            decision=Decision(id=str(token), decided=decided, retrain=True, reasons=()),
            sources=(), digests={"landing/a.csv": "1" * 64}, new_after={"news": 3}, trusted=True, replay_ratio=1.0,
        )  # fmt: skip
        return plan.landed().digest

    assert landed(1, "2026-11-21T12:00:00Z") == landed(99, "2026-12-01T00:00:00Z")
