"""The DAG itself, as functions that every pipeline calls: fine-tuning, retraining and comparison differ around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from domainlm.errors import ConfigurationError
from domainlm.keys import KeyRing
from domainlm.project import resolve
from domainlm.tasks import load_tasks
from steps.evaluate import evaluate
from steps.ingest import ingest
from steps.prepare import prepare, prepare_against_base
from steps.pretrain import pretrain
from steps.redact import redact
from steps.register import register
from steps.resolve_base import resolve_base
from steps.train import control, train
from steps.validate import validate
from steps.vocabulary import vocabulary


class Tuned(NamedTuple):
    """The artifacts that a fine-tuning ends in."""

    adapter: Any
    evaluation: Any
    registration: Any


def pretraining_dag(pack: str) -> Any:
    """Corpus -> the same gates as any data -> a base model from scratch."""
    sources = ingest(id="base_ingest")
    redacted, _ = redact(sources, key_id=KeyRing.load().key_id, id="base_redact")
    prepared, _ = prepare(redacted, id="base_prepare")
    verdict = validate(prepared, suite=contract(pack, "corpus"), id="base_validate")
    base, _ = pretrain(prepared, verdict)
    return base


def existing_base(name: str) -> Any:
    """A base from a local path or a hub."""
    return resolve_base(name)


def finetuning_dag(base: Any, pack: str, controls: bool = True) -> Tuned:
    """ingest -> redact -> prepare -> validate -> vocabulary -> train -> evaluate -> register."""
    tasks = list(load_tasks(resolve(pack) / "tasks").values())
    sources = ingest()
    redacted, _ = redact(sources, key_id=KeyRing.load().key_id)
    records, _ = prepare_against_base(redacted, base, id="prepare")
    verdict = validate(records, suite=contract(pack, "records"))
    tokenizer, _ = vocabulary(records, verdict, base)
    adapter, recipe = train(records, verdict, tokenizer, base, tasks=tasks)
    shuffled = scratch = None
    if controls:
        shuffled, _ = control(
            records, tokenizer, base, recipe, tasks=tasks, kind="shuffled_labels", id="control_shuffled_labels"
        )
        scratch, _ = control(records, tokenizer, base, recipe, tasks=tasks, kind="from_scratch", id="control_from_scratch")
    evaluation = evaluate(
        records, base, tokenizer, adapter, tasks=tasks, shuffled_labels=shuffled, from_scratch=scratch
    )
    registration = register(sources, records, verdict, base, tokenizer, adapter, recipe, evaluation)
    return Tuned(adapter, evaluation, registration)


def contract(pack: str, name: str) -> dict[str, Any]:
    """A Great Expectations suite of the domain pack, as JSON.

    Raises:
        ConfigurationError: it is missing or not JSON.
    """
    path: Path = resolve(pack) / "contracts" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"is not a readable contract ({error})", str(path), "see docs/validate.md") from None
