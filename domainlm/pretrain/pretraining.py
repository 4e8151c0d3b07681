"""A small Falcon-architecture language model from scratch: the paper's second route, the base of the default run."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from domainlm import ngrams
from domainlm.artifacts import CARD_FILE, BaseCheckpoint
from domainlm.digests import digest_folder
from domainlm.errors import TrainingError
from domainlm.handling import handling_of
from domainlm.models import bits_per_character, first_characters
from domainlm.models.runtime import reproducible
from domainlm.pretrain import checkpoints
from domainlm.pretrain.copying import COPY_LENGTH, repeated_tokens
from domainlm.pretrain.settings import PretrainSettings
from domainlm.pretrain.tokenizer import train_tokenizer
from domainlm.records import DEVELOPMENT, TRAIN, question
from domainlm.reports import Report

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import FalconForCausalLM, PreTrainedTokenizerFast

LOG_EVERY = 20
TEXT, COPYING = 0, 1  # separate streams of random numbers
SPECIAL_TOKENS = 2  # eos and pad have the first ids


class PretrainReport(Report):
    """How the base was made, and how well it predicts text that it has not seen."""

    name: str
    parameters: int
    vocab_size: int
    train_documents: int
    train_characters: int
    train_tokens: int
    dev_documents: int
    dev_characters: int
    steps: int
    epochs: float
    tokens_seen: int
    copy_steps: int
    bits_per_character_before: float
    bits_per_character: float
    licences: list[str]
    curve: list[dict[str, float]]


def pretrain(
    records: Dataset, settings: PretrainSettings, folder: Path, work: Path
) -> tuple[BaseCheckpoint, PretrainReport]:
    """Train a tokenizer and a base model on the documents of the train split.

    Args:
        records: redacted, prepared and checked documents with their splits.
        settings: shape and recipe.
        folder: an empty folder to fill with the base checkpoint.
        work: where checkpoints of exactly this pre-training lie; an interrupted one goes on from there.

    Raises:
        TrainingError: there is nothing to train on or to hold out, or the loss is not finite.
    """
    train, held_out = _texts(records, TRAIN), _texts(records, DEVELOPMENT)
    if not train or not held_out:
        missing = TRAIN if not train else DEVELOPMENT
        raise TrainingError(f"no document of split '{missing}' to pre-train with", "pretrain", "add text to the corpus")
    started = time.monotonic()
    with reproducible(settings.seed, settings.threads):
        tokenizer = train_tokenizer(train, settings.vocab_size, settings.context)
        model = _new_model(settings, tokenizer)
        sample = first_characters(held_out, settings.dev_characters)
        before = bits_per_character(model, tokenizer, sample, settings.sequence_length)
        stream = _pack(tokenizer, train)
        steps, curve = _train(model, stream, settings, work)
        after = bits_per_character(model, tokenizer, sample, settings.sequence_length)
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _canonical(folder)
    ngrams.save(folder / ngrams.FILE, train)
    tokens_seen = (steps - settings.copy_steps) * settings.batch_size * settings.sequence_length
    report = PretrainReport(
        name=settings.name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocab_size=len(tokenizer),
        train_documents=len(train),
        train_characters=sum(map(len, train)),
        train_tokens=len(stream),
        dev_documents=len(held_out),
        dev_characters=sum(map(len, sample)),
        steps=steps,
        epochs=round(tokens_seen / len(stream), 3),
        tokens_seen=tokens_seen,
        copy_steps=settings.copy_steps,
        bits_per_character_before=round(before, 4),
        bits_per_character=round(after, 4),
        licences=sorted(set(records["licence"])),
        curve=curve,
    )
    base = BaseCheckpoint(folder)
    base.write_card(
        name=settings.name,
        architecture=model.config.model_type,
        licence=", ".join(report.licences),
        handling=handling_of(records),
        external=False,
        location="",
        revision="",
        digest=digest_folder(folder, ignore=[CARD_FILE]),
    )
    # seconds vary from run to run, so they stay out of report and digest
    (work / "throughput.json").write_text(
        json.dumps({"seconds": round(time.monotonic() - started, 1), "tokens": tokens_seen})
    )
    return base, report


def _texts(records: Dataset, split: str) -> list[str]:
    chosen = records.select([index for index, name in enumerate(records["split"]) if name == split])
    return [text for text in map(question, chosen) if text.strip()]


def _new_model(settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast) -> FalconForCausalLM:
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.context,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = FalconForCausalLM(config)
    _initialise(model)
    return model


def _initialise(model: FalconForCausalLM) -> None:
    """Draw weights by fan-in, halved where a block writes to the residual stream.

    transformers' own 0.02 is meant for widths of thousands: at 128 attention starts almost uniform and learns slowly.
    """
    import torch

    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            writes = name.endswith(("self_attention.dense.weight", "dense_4h_to_h.weight"))
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5 * (0.5 if writes else 1.0))


def _pack(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> np.ndarray:
    """All documents as one stream of ids, an eos after each; a stream needs no padding."""
    import numpy as np

    rows = tokenizer(texts, return_attention_mask=False)["input_ids"]
    return np.fromiter(itertools.chain.from_iterable((*row, tokenizer.eos_token_id) for row in rows), dtype=np.int32)


def _batches(stream: np.ndarray, settings: PretrainSettings, vocab_size: int, start: int) -> Iterator[torch.Tensor]:
    """Batches from step `start` on: a function of stream, settings and step, so that a resumed run sees the same.

    First the copy warm-up; then text, with some repeated tokens beside it. Each epoch cuts the stream at another
    offset, so that the borders of sequences move.
    """
    import numpy as np
    import torch

    length, size = settings.sequence_length, settings.batch_size
    per_epoch = max(1, (len(stream) - length) // (length * size))
    for step in range(start, settings.copy_steps):
        generator = np.random.default_rng((settings.seed, COPYING, step))
        shape = (max(1, length * size // COPY_LENGTH), COPY_LENGTH)
        yield torch.from_numpy(repeated_tokens(generator, *shape, vocab_size, SPECIAL_TOKENS))
    first = max(0, start - settings.copy_steps)
    for step in itertools.count(first):
        epoch, position = divmod(step, per_epoch)
        if position == 0 or step == first:
            generator = np.random.default_rng((settings.seed, TEXT, epoch))
            offset = int(generator.integers(length))
            order = generator.permutation((len(stream) - offset) // length)
        rows = [stream[offset + row * length :][:length] for row in order[position * size : (position + 1) * size]]
        batch = np.stack(rows).astype(np.int64)
        generator_of_copies = np.random.default_rng((settings.seed, COPYING, settings.copy_steps + step))
        copies = generator_of_copies.random(size) < settings.copy_share
        batch[copies] = repeated_tokens(generator_of_copies, copies.sum(), length, vocab_size, SPECIAL_TOKENS)
        yield torch.from_numpy(batch)


def _train(
    model: FalconForCausalLM, stream: np.ndarray, settings: PretrainSettings, work: Path
) -> tuple[int, list[dict[str, float]]]:
    import torch

    if len(stream) < 2 * settings.sequence_length * settings.batch_size:
        raise TrainingError(
            f"{len(stream)} tokens are too few for one batch of {settings.batch_size} x {settings.sequence_length}",
            "pretrain",
            "add text to the corpus, or lower batch_size or sequence_length",
        )
    total = max(1, round(settings.epochs * len(stream) / (settings.sequence_length * settings.batch_size)))
    total = settings.copy_steps + min(total, settings.max_steps or total)
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.95),
    )
    work.mkdir(parents=True, exist_ok=True)
    done, curve = checkpoints.restore(work, model, optimizer)
    model.train()
    for step, ids in zip(range(done, total), _batches(stream, settings, model.config.vocab_size, done), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total, settings)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss is not finite at step {step}", "pretrain", "lower learning_rate")
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % LOG_EVERY == 0 or step == total - 1:
            curve.append({"step": step, "loss": round(loss.item(), 4), "gradient_norm": round(norm.item(), 4)})
        if (step + 1) % settings.save_steps == 0 and step + 1 < total:
            checkpoints.save(work, step + 1, model, optimizer, curve)
    if done < total:
        checkpoints.save(work, total, model, optimizer, curve)
    return total, curve


def learning_rate(step: int, total: int, settings: PretrainSettings) -> float:
    """A flat rate for the copy warm-up, then a cosine down to `minimum_rate` of the peak; both begin with a rise."""
    if step < settings.copy_steps:
        return settings.copy_learning_rate * min(1.0, (step + 1) / max(1, 0.1 * settings.copy_steps))
    step, total = step - settings.copy_steps, total - settings.copy_steps
    warmup = max(1, round(settings.warmup_ratio * total))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    share = settings.minimum_rate + (1 - settings.minimum_rate) * (1 + math.cos(math.pi * progress)) / 2
    return settings.learning_rate * share


def _canonical(folder: Path) -> None:
    """Drop what the writers add beside the content: versions of libraries and paths of the machine."""
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            content = json.loads(path.read_text())
            content = {
                key: value for key, value in content.items() if key not in ("_name_or_path", "name_or_path", "is_local")
            }
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
