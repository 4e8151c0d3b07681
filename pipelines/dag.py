"""The DAG itself, as a function that every pipeline calls: fine-tuning, retraining and comparison differ around it."""

from __future__ import annotations

from typing import Any, NamedTuple

from domainlm.licences import read_licences
from domainlm.project import resolve
from domainlm.redact.policy import read_policy
from domainlm.tasks import load_tasks
from domainlm.validate import read_suite
from steps.contest import contest
from steps.erased import mark_for_run
from steps.evaluate import evaluate
from steps.incumbent import incumbent, start
from steps.ingest import ingest, ingest_landed
from steps.keys import load_keys
from steps.prepare import prepare_against_base, prepare_with_replay
from steps.redact import redact
from steps.register import register
from steps.search import search
from steps.train import control, train
from steps.validate import validate
from steps.vocabulary import vocabulary, vocabulary_going_on


class Tuned(NamedTuple):
    """The artifacts that a fine-tuning ends in; `contest` in a retraining only."""

    adapter: Any
    evaluation: Any
    registration: Any
    contest: Any = None


def data_dag(base: Any, pack: str, mode: str = "", landed: Any = None) -> tuple[Any, Any, Any]:
    """ingest -> redact -> prepare -> validate: the sources, the records, and the verdict of their contract.
    `landed`, in a retraining, is read beside the configured sources, and old rows are replayed."""
    sources = ingest() if landed is None else ingest_landed(landed, id="ingest")
    keys = load_keys(mode or None)
    redacted, _ = redact(sources, policy=read_policy(pack), key_id=keys.lineage, erased=mark_for_run(keys))
    if landed is None:
        records, _ = prepare_against_base(redacted, base, id="prepare")
    else:
        records, _ = prepare_with_replay(redacted, base, landed, id="prepare")
    return sources, records, validate(records, suite=read_suite(f"{pack}/contracts/records.json"))


def finetuning_dag(
    base: Any, pack: str, controls: bool = True, mode: str = "", searched: bool = False, landed: Any = None
) -> Tuned:
    """The data, then vocabulary -> (search ->) train -> evaluate -> (contest ->) register."""
    definitions, found, begin, met = list(load_tasks(resolve(pack) / "tasks").values()), None, None, None
    rules = {"definitions": definitions, "licences": read_licences(pack)}
    sources, records, verdict = data_dag(base, pack, mode, landed)
    if landed is None:
        tokenizer, _ = vocabulary(records, verdict, base)
    else:
        *champion, found = incumbent(landed)
        begin, begin_tokenizer = start(landed, found, *champion[:2], base)
        tokenizer, _ = vocabulary_going_on(records, verdict, base, begin_tokenizer, id="vocabulary")
    chosen = search(records, verdict, tokenizer, base, **rules) if searched else None
    adapter, recipe = train(records, verdict, tokenizer, base, **rules, chosen=chosen, start=begin)
    shuffled = scratch = None
    if controls:
        given = (records, tokenizer, base, recipe)
        shuffled, _ = control(*given, definitions=definitions, kind="shuffled_labels", id="control_shuffled_labels")
        scratch, _ = control(*given, definitions=definitions, kind="from_scratch", id="control_from_scratch")
    evaluation = evaluate(
        records, base, tokenizer, adapter, definitions=definitions, shuffled_labels=shuffled, from_scratch=scratch
    )
    if landed is not None:
        met = contest(records, landed, base, tokenizer, adapter, found, *reversed(champion), definitions=definitions)
    registration = register(
        sources, records, verdict, base, tokenizer, adapter, evaluation, recipe, contest=met, found=found
    )
    return Tuned(adapter, evaluation, registration, met)
