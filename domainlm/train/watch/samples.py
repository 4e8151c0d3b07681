"""What the model says while it learns: the first development prompts, answered at each checkpoint.

The prompts are text of redacted records. They go to the work folder and to the destinations of the curve that are the
institution's own, and only where `sample_prompts` asks for them; to no log and no report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import TrainerCallback

from domainlm.models.encoding import encode_prompts
from domainlm.models.inference import context_length, generate
from domainlm.tasks import DOCUMENT_TASK
from domainlm.train.mixture import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST = 48  # tokens of an answer


class Samples(TrainerCallback):
    """Answers the prompts greedily, which draws no random number: the training goes on as it would have.

    Args:
        held_out: development examples; the first `wanted` that have a prompt are answered.
        wanted: how many.
        model: the model that is trained.
        tokenizer: its tokenizer.
        virtual: tokens that the method puts before a text.
        folder: where `step-N.jsonl` is written.
        destinations: callbacks with a method `sample`.
    """

    def __init__(
        self,
        held_out: Sequence[Example],
        wanted: int,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        virtual: int,
        folder: Path,
        destinations: Sequence[TrainerCallback],
    ) -> None:
        self._model, self._tokenizer, self._folder = model, tokenizer, folder
        self._destinations = [found for found in destinations if hasattr(found, "sample")]
        context = context_length(model)
        room = None if context is None else context - virtual - LONGEST
        prompts = [example for example in held_out if example.task != DOCUMENT_TASK]
        lengths = map(len, encode_prompts(tokenizer, [example.prompt for example in prompts]))
        fits = [found for found, length in zip(prompts, lengths, strict=True) if room is None or length <= room]
        self._asked = fits[:wanted]

    def on_save(self, args, state, control, **_):
        """Every process answers, since a sharded model answers only together; the first one writes."""
        if not self._asked:
            return
        training = self._model.training
        answers = generate(self._model, self._tokenizer, [found.prompt for found in self._asked], LONGEST)
        self._model.train(training)
        if not state.is_world_process_zero:
            return
        said = [
            {"record": row.id, "task": row.task, "prompt": row.prompt, "answer": given.text, "ended": given.stopped}
            for row, given in zip(self._asked, answers, strict=True)
        ]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"step-{state.global_step}.jsonl"
        draft = path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in said), encoding="utf-8")
        os.replace(draft, path)
        for destination in self._destinations:
            destination.sample(state.global_step, path, said)
