"""Everything that watches a stage, put together: what stops it, what counts, what draws and what tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.train.methods import Prepared
from domainlm.train.mixture import Example
from domainlm.train.settings import CLASSIFICATION, PROMPT_METHODS, TrainSettings
from domainlm.train.stopping import StopOnSignal
from domainlm.train.watch import curves
from domainlm.train.watch.cost import Account
from domainlm.train.watch.flops import Work
from domainlm.train.watch.meter import Meter
from domainlm.train.watch.monitoring import Guard, Watch
from domainlm.train.watch.samples import Samples
from domainlm.train.watch.telling import Teller

if TYPE_CHECKING:
    from transformers import TrainerCallback


def observers(
    prepared: Prepared,
    tokenized: Any,
    settings: TrainSettings,
    work: Path,
    held_out: Sequence[Example] = (),
    account: Account | None = None,
    stage: str = "",
) -> tuple[Watch, list[TrainerCallback]]:
    """The watch that sees each pass, and the callbacks, in the order in which they are called.

    Args:
        prepared: the model that is trained.
        tokenized: what it is trained on.
        settings: the stage's recipe.
        work: the stage's folder.
        held_out: development examples, whose prompts are answered at checkpoints.
        account: what the whole training costs.
        stage: the stage's name.
    """
    model = prepared.model
    config = model.config.get_text_config()
    meter = Meter(
        tokenized.rows,
        settings.batching == "packed",
        Work.of_model(model, "full" if settings.method == "full" else "lora"),
        settings.gradient_checkpointing,
        account.add if account else lambda counted: None,
    )
    guessing = 0.0 if settings.objective == CLASSIFICATION else math.log(config.vocab_size)
    watch = Watch(tokenized.ids, settings.spike_factor, guessing, meter.seen)
    # the meter's figures must be there before anybody draws them
    found = [Guard(watch), StopOnSignal(), meter]
    found += curves.callbacks(settings.report_to, work, settings.model_dump(mode="json"))
    found.append(Teller(stage))
    if settings.sample_prompts and settings.objective != CLASSIFICATION:
        virtual = settings.virtual_tokens if settings.method in PROMPT_METHODS else 0
        samples = Samples(
            held_out, settings.sample_prompts, model, prepared.tokenizer, virtual, work / "samples", found
        )
        # the meter's clock goes on after a checkpoint: by then they are there
        found.insert(found.index(meter), samples)
    return watch, found + ([account] if account else [])
