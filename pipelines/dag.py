"""The DAG itself, as a function that every pipeline calls: fine-tuning, retraining and comparison differ around it."""

from __future__ import annotations

from typing import Any, NamedTuple

from domainlm.licences import read_licences
from domainlm.project import resolve
from domainlm.redact.policy import read_policy
from domainlm.tasks import load_tasks
from domainlm.validate import read_suite
from steps.erased import mark_for_run
from steps.evaluate import evaluate
from steps.ingest import ingest
from steps.keys import load_keys
from steps.prepare import prepare_against_base
from steps.redact import redact
from steps.register import register
from steps.search import search
from steps.train import control, train
from steps.validate import validate
from steps.vocabulary import vocabulary


class Tuned(NamedTuple):
    """The artifacts that a fine-tuning ends in."""

    adapter: Any
    evaluation: Any
    registration: Any


def data_dag(base: Any, pack: str, mode: str = "") -> tuple[Any, Any, Any]:
    """ingest -> redact -> prepare -> validate: the sources, the records, and the verdict of their contract."""
    sources = ingest()
    keys = load_keys(mode or None)
    redacted, _ = redact(sources, policy=read_policy(pack), key_id=keys.lineage, erased=mark_for_run(keys))
    records, _ = prepare_against_base(redacted, base, id="prepare")
    return sources, records, validate(records, suite=read_suite(f"{pack}/contracts/records.json"))


def finetuning_dag(base: Any, pack: str, controls: bool = True, mode: str = "", searched: bool = False) -> Tuned:
    """The data, then vocabulary -> (search ->) train -> evaluate -> register."""
    rules = {"definitions": list(load_tasks(resolve(pack) / "tasks").values()), "licences": read_licences(pack)}
    definitions = rules["definitions"]
    sources, records, verdict = data_dag(base, pack, mode)
    tokenizer, _ = vocabulary(records, verdict, base)
    chosen = search(records, verdict, tokenizer, base, **rules) if searched else None
    adapter, recipe = train(records, verdict, tokenizer, base, **rules, chosen=chosen)
    shuffled = scratch = None
    if controls:
        given = (records, tokenizer, base, recipe)
        shuffled, _ = control(*given, definitions=definitions, kind="shuffled_labels", id="control_shuffled_labels")
        scratch, _ = control(*given, definitions=definitions, kind="from_scratch", id="control_from_scratch")
    evaluation = evaluate(
        records, base, tokenizer, adapter, definitions=definitions, shuffled_labels=shuffled, from_scratch=scratch
    )
    registration = register(sources, records, verdict, base, tokenizer, adapter, evaluation, recipe)
    return Tuned(adapter, evaluation, registration)
