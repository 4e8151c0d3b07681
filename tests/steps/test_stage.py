"""What a stage's function becomes as a step: flat parameters, a cache key over its code, errors without quotes."""

from __future__ import annotations

import pytest

from domainlm.errors import SourceError, StageFailed
from domainlm.reports import Settings
from domainlm.train.settings import ControlSettings, TrainSettings
from steps.stage import ORDER, stage_code, stage_step


class Knobs(Settings):
    """Settings of the step below."""

    epochs: float = 1.0
    tasks: tuple[str, ...] = ()


def secretive(name: str, settings: Knobs) -> str:
    """Raise what a library might."""
    if name == "ours":
        raise SourceError("is empty", "a.csv", "fill it")
    if name == "theirs":
        raise ValueError("invalid value: 880101-1234567")
    return f"{name} {settings.epochs}"


def test_settings_are_parameters_of_their_own_and_the_function_gets_the_model() -> None:
    made = stage_step("train")(secretive)
    assert made.entrypoint(name="fine", epochs=2.0) == "fine 2.0"
    assert set(made.entrypoint.__signature__.parameters) == {"name", "epochs", "tasks"}


def test_what_a_library_says_is_withheld_and_what_we_say_is_not() -> None:
    made = stage_step("train")(secretive)
    with pytest.raises(SourceError, match="is empty"):
        made.entrypoint(name="ours")
    with pytest.raises(StageFailed) as caught:
        made.entrypoint(name="theirs")
    assert "880101" not in str(caught.value) and caught.value.__cause__ is None and caught.value.__suppress_context__
    assert "ValueError" in str(caught.value) and "test_stage.py" in str(caught.value)


def test_debugging_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_DEBUG", "1")
    with pytest.raises(ValueError, match="invalid value"):
        stage_step("train")(secretive).entrypoint(name="theirs")


@pytest.mark.parametrize("stage", ORDER)
def test_a_cache_key_covers_the_stage_the_ground_floor_and_every_stage_before(stage: str) -> None:
    covered = stage_code(stage)
    assert "domainlm/records.py" in covered and "domainlm/config.py" in covered
    for other in ORDER[:-1]:
        inside = any(name.startswith(f"domainlm/{other}/") for name in covered)
        assert inside == (ORDER.index(other) <= ORDER.index(stage)), other
    assert not [name for name in covered if name.startswith(("docs/", "tests/")) or "__pycache__" in name]


def test_a_control_changes_one_thing_and_keeps_the_rest_of_the_recipe() -> None:
    recipe = TrainSettings(max_steps=7, learning_rate=1e-3, rank=4)
    shuffled = ControlSettings().change(recipe, "shuffled_labels")
    assert shuffled == recipe.model_copy(update={"labels": "shuffled"})
    scratch = ControlSettings(learning_rate=3e-3).change(recipe, "from_scratch")
    assert (scratch.method, scratch.initialisation, scratch.learning_rate, scratch.max_steps) == (
        "full",
        "random",
        3e-3,
        7,
    )
    with pytest.raises(ValueError, match="no control"):
        ControlSettings().change(recipe, "magic")
