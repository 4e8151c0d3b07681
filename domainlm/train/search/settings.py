"""What a search may vary, how it proposes values, and when it ends."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, field_validator, model_validator

from domainlm.errors import nearest
from domainlm.reports import Settings
from domainlm.train.settings import CLASSIFICATION, LORA_METHODS, PROMPT_METHODS, TrainSettings

Sampler = Literal["grid", "random", "tpe"]
Pruner = Literal["none", "median", "hyperband"]
GRID, RANDOM, TPE = "grid", "random", "tpe"
BITS, ACCURACY = "bits_per_character", "accuracy"
NO_PRUNER, MEDIAN, HYPERBAND = "none", "median", "hyperband"

LORA_KEYS = frozenset({"rank", "alpha", "dropout", "target_modules", "adapt_embedding"})
# How a model learns, and nothing else: neither what it is measured on, nor where it runs, nor the seed, whose best
# value would be luck.
SEARCHABLE = LORA_KEYS | frozenset(
    """learning_rate batch_size gradient_accumulation epochs max_steps weight_decay warmup_ratio scheduler max_grad_norm
    optimizer loss_weighting neftune_alpha augment_copies augment_rate task_weights virtual_tokens
    train_new_tokens""".split()
)

LENGTHS = frozenset({"epochs", "max_steps"})  # either says how long a training is


class Range(Settings):
    """All numbers between two; whole ones where the key is a whole number."""

    low: float = Field(description="smallest value")
    high: float = Field(description="largest value")
    log: bool = Field(False, description="drawn evenly over orders of magnitude, as a learning rate should be")


def _form(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "list"


Dimension = Annotated[Annotated[Range, Tag("range")] | Annotated[tuple[Any, ...], Tag("list")], Discriminator(_form)]


class SearchSettings(Settings):
    """A search over keys of the recipe; every other key is as in `recipe`."""

    recipe: TrainSettings = Field(
        default_factory=TrainSettings,
        description="what all trials share: the parameters of the step train, by a YAML anchor",
    )
    space: dict[str, Dimension] = Field(
        description="key of the recipe -> a list of values, or {low, high, log}; at least one key"
    )
    sampler: Sampler = Field(
        TPE, description="grid: every combination of lists; random; tpe: where earlier trials were good"
    )
    metric: Literal["auto", "bits_per_character", "accuracy"] = Field(
        "auto",
        description="what trials are compared by, on the development split; auto: accuracy for a classification head,"
        " else bits per character",
    )
    startup_trials: int = Field(
        8, ge=1, description="random trials before tpe learns from them; also trials that no pruner ends"
    )
    pruner: Pruner = Field(
        NO_PRUNER, description="median, hyperband: end a trial early that lags behind at a look (eval_steps)"
    )
    trials: int = Field(20, ge=1, description="most trials; a grid ends where it has no point left")
    minutes: float | None = Field(
        None, gt=0, description="time for all trials together, resumed ones included; none: as long as trials take"
    )
    seed: int = Field(0, ge=0, description="seed of the proposals; the seed of training is the recipe's")

    @field_validator("space")
    @classmethod
    def _known(cls, space: dict[str, Range | tuple[Any, ...]]) -> dict[str, Range | tuple[Any, ...]]:
        """The space with its values as the recipe types them: YAML reads 2e-3 as a text."""
        if not space:
            raise ValueError("names no key to search over; name one, such as learning_rate: [1e-3, 2e-3]")
        return {name: _typed(name, dimension) for name, dimension in space.items()}

    @model_validator(mode="after")
    def _consistent(self) -> SearchSettings:
        faults = [text for wrong, text in self._contradictions() if wrong] or self._refused()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def measured(self) -> str:
        """The metric that is meant, each task counting the same."""
        if self.metric != "auto":
            return self.metric
        return ACCURACY if self.recipe.objective == CLASSIFICATION else BITS

    def _contradictions(self) -> list[tuple[bool, str]]:
        recipe, names = self.recipe, set(self.space)
        ranges = sorted(name for name, dimension in self.space.items() if isinstance(dimension, Range))
        faults = [
            (self.sampler == GRID and ranges, f"a grid needs lists: {', '.join(ranges)} is a range"),
            (
                self.pruner != NO_PRUNER and recipe.eval_steps is None,
                f"pruner '{self.pruner}' needs eval_steps in the recipe: how often a trial is looked at",
            ),
            (recipe.dev_records == 0, "a search compares trials on the development split: dev_records must be above 0"),
            (
                self.metric == ACCURACY and recipe.objective != CLASSIFICATION,
                "metric 'accuracy' needs objective 'classification': only a head is scored so while it trains",
            ),
            (names >= LENGTHS, "epochs and max_steps both say how long a trial is: search over one"),
            (
                names & LORA_KEYS and recipe.method not in LORA_METHODS,
                f"{', '.join(sorted(names & LORA_KEYS))}: method '{recipe.method}' has no LoRA to vary",
            ),
            (
                "virtual_tokens" in names and recipe.method not in PROMPT_METHODS | {"llama_adapter"},
                f"virtual_tokens: method '{recipe.method}' has none",
            ),
            (
                recipe.processes * recipe.nodes > 1 or recipe.strategy in ("deepspeed", "ray"),
                "a trial runs in one process: search with processes 1 and nodes 1, then train the choice with more",
            ),
        ]
        for stage in recipe.stages:
            own = set(stage.model_dump(exclude_none=True))
            fixed = sorted(names & (own | LENGTHS if own & LENGTHS else own))
            faults.append((fixed, f"stage '{stage.name}' sets {', '.join(fixed)} itself, out of the search's reach"))
        return faults

    def _refused(self) -> list[str]:
        """Values that the recipe does not allow, each tried alone."""
        faults = []
        for name, dimension in self.space.items():
            for value in edges(dimension):
                try:
                    self.applied({name: value})
                except ValidationError as error:
                    faults += [f"space.{name}, value {value}: {found['msg']}" for found in error.errors()]
        return faults

    def applied(self, values: dict[str, Any]) -> TrainSettings:
        """The recipe of a trial. Epochs that are searched win over the recipe's own number of steps.

        Raises:
            ValidationError: the recipe does not allow these values, or not together.
        """
        longer = {"max_steps": None} if "epochs" in values else {}
        return TrainSettings(**(self.recipe.model_dump() | longer | values))


def edges(dimension: Range | tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a dimension that must all be allowed: those of a list, the two ends of a range."""
    return (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension


def whole(name: str) -> bool:
    """Whether a key of the recipe is a whole number."""
    return TrainSettings.model_fields[name].annotation in (int, int | None)


def _typed(name: str, dimension: Range | tuple[Any, ...]) -> Range | tuple[Any, ...]:
    if name not in SEARCHABLE:
        raise ValueError(f"'{name}' cannot be searched over; {nearest(name, SEARCHABLE)}")
    if isinstance(dimension, Range):
        _check_range(name, dimension)
        return dimension
    field = TrainSettings.model_fields[name]
    adapter = TypeAdapter(Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation)
    values = []
    for value in dimension:
        try:
            values.append(adapter.validate_python(value))
        except ValidationError as error:
            raise ValueError(f"'{name}', value {value}: {error.errors()[0]['msg']}") from None
    if not values:
        raise ValueError(f"'{name}' has an empty list: name the values to try")
    if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
        raise ValueError(f"'{name}' names a value twice")
    return tuple(values)


def _check_range(name: str, found: Range) -> None:
    if not whole(name) and TrainSettings.model_fields[name].annotation is not float:
        raise ValueError(f"'{name}' is not a number: give a list of values")
    if found.low >= found.high:
        raise ValueError(f"'{name}': low ({found.low:g}) must be below high ({found.high:g})")
    if found.log and found.low <= 0:
        raise ValueError(f"'{name}': log needs low above 0")
    if whole(name) and not (found.low.is_integer() and found.high.is_integer()):
        raise ValueError(f"'{name}' is a whole number: low and high must be")
