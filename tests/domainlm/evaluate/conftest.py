"""A toy that is small enough to train in a test: a Falcon of 0.1 M parameters, a sentiment task and a copying task."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.digests import digest_folder
from domainlm.records import features
from domainlm.tasks import Task

CUES = {
    "positive": ("rises", "gains", "climbs"),
    "neutral": ("holds", "waits", "meets"),
    "negative": ("falls", "drops", "slides"),
}
COMPANIES = [
    f"{first}{last}" for first in ("Ost", "Nor", "Mil", "Ter", "Bel") for last in ("ria", "land", "tech", "bank")
]
METALS = ("gold", "iron", "zinc", "lead", "tin", "copper")

SENTIMENT = Task(
    name="sentiment",
    version=1,
    kind="classification",
    claim="classification",
    instruction="Mood?",
    labels=tuple(CUES),
    metrics=("accuracy", "macro_f1", "bits_per_character"),
    few_shot=3,
    cloze="{question} The mood is",
    max_new_tokens=4,
)
METAL = Task(
    name="metal",
    version=1,
    kind="generation",
    claim="format elicitation",
    pure_format=True,
    cloze="{term}",
    metrics=("exact_match", "rouge_l", "bleu", "stop_rate", "perplexity"),
    few_shot=2,
    max_new_tokens=6,
    prompts=("Name gold.",),
)


def toy_records():
    """Two tasks, three splits, one group a company; the lexicon-disjoint source has cue words of its own."""
    from datasets import Dataset

    rows = []

    def add(task: str, source: str, split: str, text: str, label: str, answer: str, group: str) -> None:
        messages = [{"role": "user", "content": text}]
        if answer:
            messages.append({"role": "assistant", "content": answer})
        rows.append(
            {
                "id": f"{len(rows):032x}",
                "task": task,
                "messages": messages,
                "context": "",
                "label": label,
                "source": source,
                "row": len(rows) + 1,
                "licence": "CC0-1.0",
                "consent": "public",
                "purpose": "model-training",
                "jurisdiction": "us",
                "handling": "public",
                "language": "en",
                "timestamp": "",
                "group": group,
                "split_bucket": 0,
                "split": split,
                "subjects": [],
            }
        )

    for index, company in enumerate(COMPANIES):
        split = "test" if index % 2 else "train"
        for label, cues in CUES.items():
            for cue in cues:
                add("sentiment", "headlines", split, f"{company} {cue} today", label, "", company)
        add("sentiment", "disjoint", "test", f"{company} soars today", "positive", "", company)
        for metal in METALS:
            add("metal", "metals", split, f"Name {metal}.", "", metal, metal)
    return Dataset.from_list(rows, features=features())


def save(model, tokenizer, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tune(base_folder: Path, tokenizer, pairs, steps: int):
    """A plain training loop, so that these tests do not hang on the train stage."""
    import torch
    from transformers import FalconForCausalLM

    from domainlm.models import encode

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = FalconForCausalLM.from_pretrained(base_folder)
    rows = encode(tokenizer, [prompt for prompt, _ in pairs], [completion for _, completion in pairs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    chosen = random.Random(0)
    for _ in range(steps):
        batch = chosen.sample(rows, 24)
        width = max(len(head) + len(tail) for head, tail in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        labels = torch.full((len(batch), width), -100)
        for line, (head, tail) in enumerate(batch):
            ids[line, : len(head) + len(tail)] = torch.tensor(head + tail)
            labels[line, len(head) : len(head) + len(tail)] = torch.tensor(tail)
        loss = model(input_ids=ids, attention_mask=ids.ne(tokenizer.pad_token_id), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Base, tokenizer, tuned model and controls, really trained."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import FalconConfig, FalconForCausalLM, PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("toy")
    records = toy_records()
    tasks = {"sentiment": SENTIMENT, "metal": METAL}
    train = [record for record in records.to_list() if record["split"] == "train"]
    pairs = [tasks[record["task"]].render(record) for record in train]

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.train_from_iterator(
        ["".join(pair) for pair in pairs],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<eos>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", pad_token="<pad>")

    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    base = BaseCheckpoint(root / "base")
    save(FalconForCausalLM(config), tokenizer, base.path)
    base.write_card(
        name="toy", architecture="falcon", licence="CC0-1.0", external=False, digest=digest_folder(base.path)
    )
    extended = TokenizerFolder(root / "tokenizer")
    tokenizer.save_pretrained(extended.path)
    extended.write_card(new_tokens={}, base_digest=base.card["digest"])

    def adapter(name: str, pairs, steps: int) -> AdapterFolder:
        folder = AdapterFolder(root / name)
        tune(base.path, tokenizer, pairs, steps).save_pretrained(folder.path)
        folder.write_card(
            method="full", quantization="none", base_digest=base.card["digest"], tokenizer_digest=extended.digest
        )
        return folder

    shuffled = []
    for task in tasks.values():
        own = [task.render(record) for record in train if record["task"] == task.name]
        answers = [completion for _, completion in own]
        random.Random(7).shuffle(answers)
        shuffled += [(prompt, wrong) for (prompt, _), wrong in zip(own, answers, strict=True)]
    return SimpleNamespace(
        records=records,
        tasks=tasks,
        base=base,
        tokenizer=extended,
        adapter=adapter("tuned", pairs, 90),
        controls={"shuffled labels": adapter("shuffled", shuffled, 90), "from scratch": adapter("scratch", pairs, 10)},
    )
