"""What is measured on a CPU: what the Trainer costs over a bare loop, how long a training takes to start, and how soon
it reaches a held-out loss on a base that was really pre-trained.

All times are processor time of one thread, since other people may use the machine too; start-up is also wall time.
"""

from __future__ import annotations

import csv
import hashlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from benchmarks.training import bases, recipes, rows
from benchmarks.training.jobs import Channel, Job, workplace
from benchmarks.training.meter import now
from benchmarks.training.shapes import Base

PACK = rows.ROOT / "domains" / "finance"
# the embedded base's shape (domainlm.pretrain.settings), which most trainings on a CPU have
EMBEDDED = Base(
    "embedded base",
    {
        "model_type": "falcon",
        "vocab_size": 4096,
        "hidden_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "multi_query": True,
        "new_decoder_architecture": False,
        "bias": False,
        "alibi": False,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    long=256,
    middle=128,
    context=512,
)


# ------------------------------------------------------------------------------------------------------- overhead


class _Clock(TrainerCallback):
    """The moment at which each optimizer step ends."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_step_end(self, args, state, control, **_):
        """Note it."""
        self.moments.append(now())


def overhead(job: Job, channel: Channel) -> dict[str, Any]:
    """Time per step of the product's Trainer over that of a bare PyTorch loop on the same model and batches.

    All in one process, in turns; the first steps of each turn are left out, and the figure is the middle one of the
    turns' ratios. The bare loop calls the same model for the same loss, so that the ratio shows what the Trainer adds;
    a second one makes all logits and takes PyTorch's cross-entropy, as anybody would write it.
    """
    from domainlm.models.runtime import reproducible
    from domainlm.train import loop
    from domainlm.train.settings import TrainSettings

    turns, steps, warmup = job["turns"], job["steps"], job["warmup"]
    settings = TrainSettings(method="lora", threads=job["threads"], max_steps=steps + warmup, **recipes.QUIET)
    # of one length, so that every batch of each side has the same shape
    tokenized = rows.drawn(
        [rows.PAPER_TOKENS], (steps + warmup) * settings.batch_size, EMBEDDED.config["vocab_size"], seed=5
    )
    seconds: dict[str, list[float]] = {"trainer": [], "bare": [], "plain": []}
    ratios: dict[str, list[float]] = {"bare": [], "plain": []}
    with workplace() as folder, reproducible(settings.seed, job["threads"]):
        prepared = bases.prepared(EMBEDDED, settings, "cpu", folder)
        trainer = None
        for turn in range(turns):
            trainer = recipes.product_trainer(prepared, tokenized, settings, folder / f"work-{turn}")
            clock = _Clock()
            trainer.add_callback(clock)
            if turn == 0:
                channel.ready()

            def product(turn: int = turn, trainer: Any = trainer, clock: _Clock = clock) -> list[float]:
                loop.run(trainer, folder / f"work-{turn}")
                return clock.moments

            def bare(trainer: Any = trainer) -> list[float]:
                return _bare_loop(prepared.model, trainer.train_dataset, trainer.data_collator, settings, _own_loss)

            def plain() -> list[float]:
                return _bare_loop(prepared.model, tokenized.rows, _whole_rows, settings, _plain_loss)

            sides = [("trainer", product), ("bare", bare), ("plain", plain)]
            for name, run in sides if turn % 2 == 0 else sides[::-1]:
                moments = run()
                seconds[name].append((moments[-1] - moments[warmup - 1]) / (len(moments) - warmup))
            for name, found in ratios.items():
                found.append(seconds["trainer"][-1] / seconds[name][-1])
            channel.tell({"overhead_over_bare_loop": statistics.median(ratios["bare"])})
    return {
        "overhead_over_bare_loop": statistics.median(ratios["bare"]),
        "overhead_low": min(ratios["bare"]),
        "overhead_high": max(ratios["bare"]),
        "over_loop_with_all_logits": statistics.median(ratios["plain"]),
        "turns": turns,
        "step_seconds": {name: statistics.median(found) for name, found in seconds.items()},
        "shape": EMBEDDED.name,
        "batch": settings.batch_size,
        "tokens_a_row": rows.PAPER_TOKENS,
        "clock": "processor time of the process",
    }


def _bare_loop(model: Any, dataset: Any, collate: Callable, settings: Any, loss_of: Callable) -> list[float]:
    """What anybody would write: batches, forward, backward, clip, step; the moments at which its steps end."""
    from torch.utils.data import DataLoader
    from transformers import get_scheduler

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = get_scheduler(settings.scheduler, optimizer, 1, settings.max_steps)
    model.train()
    moments, total = [], 0.0
    for batch in DataLoader(dataset, settings.batch_size, shuffle=True, collate_fn=collate):
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        total += loss.item()
        moments.append(now())
    return moments


def _own_loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    inputs = {key: value for key, value in batch.items() if key != "index"}
    return model(**inputs).loss / batch["targets"].shape[1]


def _whole_rows(examples: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    return recipes.padded([{"input_ids": head + tail} for head, tail in examples])


def _plain_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=batch["input_ids"]).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())


# ----------------------------------------------------------------------------------- a base that was really trained


def base(job: Job, channel: Channel) -> dict[str, Any]:
    """Pre-train a small Falcon on the pack's own corpus, for so many steps; later jobs start from its folder."""
    from domainlm.pretrain import pretrain
    from domainlm.pretrain.settings import PretrainSettings

    settings = PretrainSettings(
        name="benchmark", vocab_size=1024, copy_steps=0, max_steps=job["steps"], threads=job["threads"]
    )
    folder = Path(job["folder"])
    started = time.process_time()
    _, report = pretrain(_documents(), settings, folder / "base", folder / "work")
    return {
        "parameters": report.parameters,
        "tokens_seen": report.tokens_seen,
        "bits_per_character_before": report.bits_per_character_before,
        "bits_per_character": report.bits_per_character,
        "cpu_seconds": time.process_time() - started,
    }


def _record(task: str, text: str, answer: str, group: str, split: str, number: int) -> dict[str, Any]:
    turns = [{"role": "document" if task == "document" else "user", "content": text}]
    if answer:
        turns.append({"role": "assistant", "content": answer})
    return {
        "id": hashlib.sha256(f"{task}{number}".encode()).hexdigest()[:32], "task": task, "messages": turns,
        "context": "", "label": "", "source": "pack", "row": number, "licence": "CC0-1.0", "consent": "public",
        "purpose": "model-training", "jurisdiction": "us", "handling": "public", "language": "en",
        "timestamp": "2024-01-02", "group": hashlib.sha256(group.encode()).hexdigest()[:32],
        "split_bucket": 0, "split": split, "subjects": [],
    }  # fmt: skip


def _table(records: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    from domainlm.records import features

    return Dataset.from_list(records, features=features())


def _documents() -> Any:
    found = []
    for path in sorted((PACK / "corpus").glob("handbook_*.md")):
        for number, text in enumerate(path.read_text(encoding="utf-8").split("\n\n")):
            if len(text) > 40:
                split = "dev" if number % 20 == 0 else "train"
                found.append(_record("document", text, "", path.name + str(number), split, len(found)))
    return _table(found)


def _pairs() -> list[tuple[str, str, str]]:
    """Question, answer and split of each glossary pair; a fifth, by the term's hash, is held out."""
    found = []
    with open(rows.GLOSSARY, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            question, _, answer = row["QA_text"].partition("## Answer:")
            held_out = hashlib.sha256(row["term"].encode()).digest()[0] < 51
            found.append((question.removeprefix("##Question:").strip(), answer.strip(), "dev" if held_out else "train"))
    return found


# ------------------------------------------------------------------------------------------------------- start-up


def startup(job: Job, channel: Channel) -> dict[str, Any]:
    """Seconds from the call of `train()` to the end of the first optimizer step, all libraries imported before.

    The default settings in full: NF4, tokenizing, bits per character of the development split before the training,
    TensorBoard. A library that is still imported inside the call counts: `modules_inside` says how many modules.
    """
    import datasets  # noqa: F401
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    from domainlm.tasks import load_tasks
    from domainlm.train import train
    from domainlm.train.settings import TrainSettings

    checkpoint, tokenizer = _found(Path(job["folder"]))
    records = _table(
        [
            _record("definition", question, answer, question, split, number)
            for number, (question, answer, split) in enumerate(_pairs())
        ]
    )
    tasks = load_tasks(PACK / "tasks")
    settings = TrainSettings(threads=job["threads"], max_steps=1)
    first: list[tuple[float, float]] = []
    hook = register_optimizer_step_post_hook(
        lambda *_: first.append((time.monotonic(), time.process_time())) if not first else None
    )
    channel.ready()
    modules = len(sys.modules)
    wall, cpu = time.monotonic(), time.process_time()
    try:
        with workplace() as folder:
            train(records, tokenizer, checkpoint, settings, tasks, folder / "adapter", folder / "work")
    finally:
        hook.remove()
    return {
        "startup_seconds": first[0][0] - wall,
        "startup_cpu_seconds": first[0][1] - cpu,
        "modules_inside": len(sys.modules) - modules,
        "records": len(records),
        "method": settings.method,
    }


def _found(folder: Path) -> tuple[Any, Any]:
    """The base that was pre-trained, or one that was named, and its tokenizer without any new token."""
    from domainlm.artifacts import CARD_FILE, BaseCheckpoint, TokenizerFolder
    from domainlm.models import load_tokenizer, resolve_base

    if (folder / "base").is_dir():
        checkpoint = BaseCheckpoint(folder / "base")
    elif (folder / CARD_FILE).is_file():
        checkpoint = BaseCheckpoint(folder)
    else:
        checkpoint = resolve_base(str(folder), Path(_kept("card")))
    tokenizer = TokenizerFolder(Path(_kept("tokenizer")))
    load_tokenizer(checkpoint).save_pretrained(str(tokenizer.path))
    tokenizer.write_card(new_tokens={}, base_digest=checkpoint.card["digest"])
    return checkpoint, tokenizer


def _kept(name: str) -> str:
    import atexit
    import shutil
    import tempfile

    place = tempfile.mkdtemp(prefix=f"domainlm-benchmark-{name}-")
    atexit.register(shutil.rmtree, place, True)
    return place


# ------------------------------------------------------------------------------------------------- time to a target


class _Look(TrainerCallback):
    """The held-out loss every few steps; the clock stands still meanwhile."""

    def __init__(self, every: int, measure: Callable[[], float], deadline: float, tell: Callable) -> None:
        self._every, self._measure, self._deadline, self._tell = every, measure, deadline, tell
        self.points: list[dict[str, float]] = []
        self._spent, self._mark = 0.0, 0.0

    def on_train_begin(self, args, state, control, **_):
        """The clock starts with the first batch, after the loss of the untrained base was looked at."""
        self._point(0)
        self._mark = now()

    def on_step_end(self, args, state, control, **_):
        """Look, where it is time; stop at the deadline."""
        if state.global_step % self._every == 0:
            self._spent += now() - self._mark
            self._point(state.global_step)
            self._mark = now()
        control.should_training_stop = control.should_training_stop or time.monotonic() > self._deadline
        return control

    def _point(self, step: int) -> None:
        self.points.append({"step": step, "seconds": self._spent, "loss": self._measure()})
        self._tell({"points": self.points, "finished": False})


def target(job: Job, channel: Channel) -> dict[str, Any]:
    """The held-out loss of each recipe over its time: nats a token of answers that no training saw.

    Recipes: `paper` as it is written, `paper at our rate` with our learning rate and nothing else, and `ours`.
    """
    curves: dict[str, Any] = {}
    for recipe in ("paper", "paper at our rate", "ours"):
        curves[recipe] = _curve(
            recipe, job, lambda points, name=recipe: channel.tell({"curves": curves | {name: points}})
        )
        channel.tell({"curves": curves})
    return {
        "status": "ok" if all(curve["finished"] for curve in curves.values()) else "short",
        "curves": curves,
        "clock": "processor time of the process, looks at held-out rows left out",
    }


def _curve(recipe: str, job: Job, tell: Callable) -> dict[str, Any]:
    from domainlm.models.encoding import encode
    from domainlm.models.runtime import reproducible
    from domainlm.train import loop, methods
    from domainlm.train.rows import Tokenized
    from domainlm.train.settings import TrainSettings

    checkpoint, tokenizer = _found(Path(job["folder"]))
    settings = TrainSettings(
        **(recipes.QUIET | {"method": "lora", "threads": job["threads"], "max_steps": job["steps"]} | job["changes"])
    )
    if recipe != "ours":
        rate = {"learning_rate": settings.learning_rate} if recipe == "paper at our rate" else {}
        settings = recipes.paper(threads=job["threads"], max_steps=job["paper_steps"], **rate)
    pairs = _pairs()
    with workplace() as folder, reproducible(settings.seed, job["threads"]):
        prepared = methods.prepare(checkpoint, tokenizer, settings)
        found = encode(
            prepared.tokenizer,
            [f"##Question: {question}\n##Answer:" for question, _, _ in pairs],
            [f" {answer}" for _, answer, _ in pairs],
        )
        train = [row for row, (_, _, split) in zip(found, pairs, strict=True) if split == "train"]
        held_out = [row for row, (_, _, split) in zip(found, pairs, strict=True) if split == "dev"]
        tokenized = Tokenized([f"row-{number}" for number in range(len(train))], train, 0)
        if recipe == "ours":
            trainer = recipes.product_trainer(prepared, tokenized, settings, folder / "work")
        else:
            trainer = recipes.plain_trainer(prepared.model, tokenized, settings, folder / "work")
        look = _Look(job["every"], lambda: _held_out_loss(trainer.model, held_out), job["deadline"], tell)
        trainer.add_callback(look)
        if recipe == "ours":
            loop.run(trainer, folder / "work")
        else:
            trainer.train()
    return {
        "points": look.points,
        "finished": trainer.state.global_step >= settings.max_steps,
        "held_out_rows": len(held_out),
        "train_rows": len(train),
        "learning_rate": settings.learning_rate,
        "records_a_step": settings.batch_size * settings.gradient_accumulation,
    }


def _held_out_loss(model: Any, held_out: list[tuple[list[int], list[int]]]) -> float:
    """Nats a token of the answers and their ends, by a plain padded forward pass; the model's mode is restored."""
    from torch.nn.functional import cross_entropy

    was_training = model.training
    model.eval()
    total = count = 0
    with torch.no_grad():
        for start in range(0, len(held_out), 16):
            part = held_out[start : start + 16]
            batch = recipes.padded([{"input_ids": head + tail} for head, tail in part])
            labels = batch["labels"].clone()
            for number, (head, _) in enumerate(part):
                labels[number, : len(head)] = recipes.IGNORED
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            total += cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum").item()
            count += int((labels[:, 1:] != recipes.IGNORED).sum())
    model.train(was_training)
    return total / count
