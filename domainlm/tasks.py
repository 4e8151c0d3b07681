"""Task definitions: how a record becomes a prompt, and how its answer is judged. Tasks are data of the domain pack.

One YAML file a task (`domains/finance/tasks/*.yaml`), with a version that is bumped when the prompt changes, so that
scores stay bound to what was scored (the habit of lm-evaluation-harness).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from domainlm.errors import ConfigurationError
from domainlm.records import Record, answer, question
from domainlm.reports import Settings

DOCUMENT_TASK = "document"  # plain text for pre-training: has no prompt and is not evaluated as a task
QUESTION_MARK, ANSWER_MARK = "##Question:", "##Answer:"


class Task(Settings):
    """One evaluation and training task.

    Fields:
        name: what records call it.
        version: bumped whenever prompt, labels or metrics change.
        kind: how it is answered and scored. `classification` by the log-likelihood of each label; `generation` by
            greedy decoding and overlap; `extraction` and `number` by greedy decoding and exact match of the value.
        claim: the name of the claim that the card prints this task under ("format elicitation", "extraction and number
            format", "classification").
        pure_format: whether a gain here shows only that the format was learned.
        instruction: text put before the record's own question; may be empty.
        cloze: a document-style prompt that asks a base model without the format; `{question}`, `{context}` and `{term}`
            stand for the record's own.
        term: regular expression whose group `term` finds what a question asks about; else it is the whole question.
        labels: the classes, in the words that the model says.
        metrics: names known to `domainlm.evaluate`.
        few_shot: how many training examples the few-shot base is shown.
        max_new_tokens: budget of a generated answer.
        until: texts that end an answer, for every system alike, so that a base that talks on is judged by what it said
            first (whether it stopped by itself is `stop_rate`'s question).
        prompts: questions that are always answered side by side in the report.
    """

    name: str
    version: int
    kind: Literal["classification", "generation", "extraction", "number"]
    claim: str
    pure_format: bool = False
    instruction: str = ""
    cloze: str = ""
    term: str = ""
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    few_shot: int = 4
    max_new_tokens: int = 64
    until: tuple[str, ...] = ("\n",)
    prompts: tuple[str, ...] = ()

    def render(self, record: Record) -> tuple[str, str]:
        """The prompt and the completion of a record (the completion without its end-of-sequence token).

        The form is the paper's `##Question: ... ##Answer: ...`; the context, where there is one, follows the question.
        """
        return self.prompt(question(record), record["context"]), f" {answer(record)}"

    def cloze_prompt(self, record: Record) -> str:
        """The record's question as a sentence to be continued."""
        asked = question(record).strip()
        found = re.search(self.term, asked) if self.term else None
        term = found["term"] if found else asked.rstrip("?")
        return self.cloze.format(question=asked, context=record["context"], term=term[:1].upper() + term[1:]).strip()

    def cut(self, text: str) -> str:
        """What a model said, up to the first text that ends an answer."""
        text = text.strip()
        ends = [position for mark in self.until if (position := text.find(mark)) >= 0]
        return text[: min(ends)].strip() if ends else text

    def prompt(self, text: str, context: str = "") -> str:
        """The prompt for a question that stands in no record."""
        asked = " ".join(part for part in (self.instruction, text, context) if part)
        return f"{QUESTION_MARK} {asked}\n{ANSWER_MARK}"


def load_tasks(folder: Path) -> dict[str, Task]:
    """All tasks of a domain pack by name.

    Raises:
        ConfigurationError: no task there, a malformed file, an unknown key, or two tasks of one name.
    """
    tasks: dict[str, Task] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            task = Task(**yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, ValidationError, TypeError) as error:
            raise ConfigurationError(f"is not a task definition: {error}", str(path), "see docs/evaluate.md") from error
        if task.name in tasks:
            raise ConfigurationError(f"defines the task '{task.name}' a second time", str(path), "rename one of them")
        tasks[task.name] = task
    if not tasks:
        raise ConfigurationError(
            "holds no task definition (*.yaml)", str(folder), "name the tasks folder of a domain pack"
        )
    return tasks


def task_of(record: Record, tasks: Mapping[str, Task]) -> Task:
    """The task of a record.

    Raises:
        ConfigurationError: the record names a task that the pack does not define.
    """
    from domainlm.errors import nearest

    name = record["task"]
    if name not in tasks:
        where = f"source {record['source']}, row {record['row']}"
        raise ConfigurationError(f"unknown task '{name}'", where, nearest(name, tasks))
    return tasks[name]
