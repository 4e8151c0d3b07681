"""What makes a stage's function a ZenML step: its settings model spread over parameters, its code in the cache key."""

from __future__ import annotations

import functools
import inspect
import os
import traceback
from collections.abc import Callable
from typing import Annotated, Any

from zenml import step
from zenml.config import CachePolicy
from zenml.exceptions import RunStoppedException

import materializers  # noqa: F401 - registers ours, so that no step's output falls back to pickle
from domainlm.digests import code_files
from domainlm.errors import DomainLMError, StageFailed
from domainlm.names import (
    COMPARE,
    EVALUATE,
    INGEST,
    PREPARE,
    PRETRAIN,
    RECORD,
    REDACT,
    REGISTER,
    RETRAIN,
    TRAIN,
    VALIDATE,
    VOCABULARY,
)
from domainlm.project import SOURCE_ROOT
from domainlm.reports import Settings
from steps.claims import at_work

# The order of the stages. A step's cache key covers the code of its own folder, of the ground floor, and of every stage
# before it: ZenML would otherwise stop at the first step whose output is unchanged, and evidence that names the code
# would then be of two versions.
ORDER = (INGEST, REDACT, PREPARE, VALIDATE, PRETRAIN, VOCABULARY, TRAIN, EVALUATE, COMPARE, REGISTER, RETRAIN, RECORD)
FOLDER = {RECORD: "ledger"}
DEBUG_VARIABLE = "DOMAINLM_DEBUG"
USES_MODELS = ORDER[ORDER.index(PRETRAIN) :]


def stage_code(stage: str) -> list[str]:
    """The source files that a stage's cache key covers, relative to the source root."""
    stages = ORDER[: ORDER.index(stage) + 1]
    places = [f"domainlm/{FOLDER.get(name, name)}" for name in stages]
    places += [path.relative_to(SOURCE_ROOT).as_posix() for path in (SOURCE_ROOT / "domainlm").glob("*.py")]
    if stage in USES_MODELS:
        places.append("domainlm/models")
    return [
        path.relative_to(SOURCE_ROOT).as_posix() for path in code_files(SOURCE_ROOT, places) if path.suffix != ".pyc"
    ]


def stage_step(stage: str, *, cached: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Make a step of a stage's function; its last parameter may be the stage's settings model.

    ZenML sees each field of the model as a parameter of its own, so a run configuration reads
    `steps.train.parameters.epochs: 2`, the dashboard lists every value, and the cache key holds them all; the function
    gets the checked model.

    Args:
        stage: the stage whose code belongs to the cache key.
        cached: whether an equal earlier execution may serve; `ingest`, `register` and `record` always run.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        signature = inspect.signature(function, eval_str=True)
        inputs = list(signature.parameters.values())
        cache_policy = CachePolicy(file_dependencies=stage_code(stage))
        if not (inputs and isinstance(inputs[-1].annotation, type) and issubclass(inputs[-1].annotation, Settings)):
            return step(_without_quotes(stage, function), enable_cache=cached, cache_policy=cache_policy)
        settings = inputs.pop()
        fields = settings.annotation.model_fields
        knobs = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                # the constraints travel as metadata: ZenML then checks a bound when it compiles, not when the step runs
                annotation=Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation,
                default=inspect.Parameter.empty
                if field.is_required()
                else field.get_default(call_default_factory=True),
            )
            for name, field in fields.items()
        ]

        @functools.wraps(function)
        def entrypoint(*args: Any, **kwargs: Any) -> Any:
            values = {name: kwargs.pop(name) for name in fields if name in kwargs}
            return function(*args, **kwargs, **{settings.name: settings.annotation(**values)})

        entrypoint.__signature__ = signature.replace(parameters=[*inputs, *knobs])  # type: ignore[attr-defined]
        return step(_without_quotes(stage, entrypoint), enable_cache=cached, cache_policy=cache_policy)

    return decorate


def _without_quotes(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what foreign exceptions say out of ZenML's store, of logs and terminals: it may quote the data."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            with at_work():
                return function(*args, **kwargs)
        except (DomainLMError, RunStoppedException):
            raise
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
            what = f"{where}; its message is withheld, since it may quote data"
            raise StageFailed(what, stage, f"repeat the run with {DEBUG_VARIABLE}=1 (or --debug) to see it") from None

    return guarded
