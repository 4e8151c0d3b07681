"""Does TPE with pruning find better values than random draws do with the same number of trials?

    python benchmarks/search.py [--trials 16] [--seeds 3] [--steps 40]

A small Falcon is pre-trained on the domain pack's corpus, and headlines (domains/finance/headlines.csv, split by
sentence shape) are fine-tuned on it, on the CPU. Each method searches over the same space with the same seeds; TPE's
first trials are the very draws of random, so the methods part only where TPE begins to learn. Scores are bits per
character of the development split, less is better; a search chooses by them, so they flatter every method alike. Steps
are what was spent: a pruned trial counts up to the look that ended it.

Prints a table, ends with one line of JSON. About four CPU-seconds a trial.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PACK = ROOT / "domains" / "finance"
METHODS = {
    "random": {"sampler": "random", "pruner": "none"},
    "random + median pruning": {"sampler": "random", "pruner": "median"},
    "tpe + median pruning": {"sampler": "tpe", "pruner": "median"},
}
SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "rank": {"low": 2, "high": 64, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "batch_size": [8, 16, 32],
    "adapt_embedding": [True, False],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    for name in ("HF_HUB_OFFLINE", "DOMAINLM_PROJECT"):
        os.environ.setdefault(name, {"HF_HUB_OFFLINE": "1"}.get(name, str(ROOT)))
    with tempfile.TemporaryDirectory() as place:
        os.environ.setdefault("DOMAINLM_HOME", place)
        rows = measure(Path(place), given.trials, given.seeds, given.steps)
    tell(rows, given)


def measure(place: Path, trials: int, seeds: int, steps: int) -> list[dict]:
    """Every method with every seed, on one base."""
    from domainlm.tasks import load_tasks
    from domainlm.train.search.searching import search
    from domainlm.train.search.settings import SearchSettings
    from domainlm.train.settings import TrainSettings
    from domainlm.vocabulary import extend
    from domainlm.vocabulary.settings import VocabularySettings

    base, records = small_base(place), headlines()
    tasks = {name: task for name, task in load_tasks(PACK / "tasks").items() if name == "sentiment"}
    tokenizer = extend(records, base, VocabularySettings(max_new_tokens=0), place / "tokenizer")[0]
    recipe = TrainSettings(
        max_steps=steps, eval_steps=max(1, steps // 5), dev_records=150, threads=1, report_to=(), save_steps=10_000,
        loss_weighting="record",
    )  # fmt: skip
    found = []
    for seed in range(seeds):
        for method, how in METHODS.items():
            settings = SearchSettings(
                recipe=recipe, space=SPACE, trials=trials, startup_trials=max(2, trials // 3), seed=seed, **how
            )
            begun = time.process_time()
            work = place / f"{method}-{seed}"
            report = search(records, tokenizer, base, settings, tasks, work / "report", work / "work")
            spent = sum(
                trial.looks[-1][0] if trial.state == "pruned" else steps * (trial.state == "complete")
                for trial in report.trials
            )
            found.append(
                {
                    "method": method,
                    "seed": seed,
                    "best": report.score,
                    "steps": spent,
                    "cpu_seconds": round(time.process_time() - begun, 1),
                    **report.states(),
                    "chosen": report.chosen,
                    "importance": report.importance,
                    "trials": [trial.model_dump(mode="json", include={"values", "score"}) for trial in report.trials],
                }
            )
            print(f"{method:<26} seed {seed}: {report.score:.4f} bits a character, {spent} steps", flush=True)
    return found


def small_base(place: Path):
    """A Falcon of two layers, pre-trained on the pack's corpus."""
    from domainlm.pretrain import pretrain
    from domainlm.pretrain.settings import PretrainSettings

    texts = [
        text
        for path in sorted((PACK / "corpus").glob("*.md"))
        for text in path.read_text().split("\n\n")
        if text.strip()
    ]
    rows = [
        _row("document", text, "", number, "dev" if number % 40 == 0 else "train") for number, text in enumerate(texts)
    ]
    settings = PretrainSettings(
        name="small", copy_steps=0, vocab_size=1024, hidden_size=64, layers=2, heads=2, context=128,
        sequence_length=64, max_steps=300, batch_size=16, threads=1, dev_characters=5000,
    )  # fmt: skip
    return pretrain(_table(rows), settings, place / "base", place / "base_work")[0]


def headlines():
    """Headlines with their labels; a fifth of the sentence shapes is held out."""
    with open(PACK / "headlines.csv", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    rows = []
    for number, row in enumerate(found):
        bucket = int(hashlib.sha256(row["shape"].encode()).hexdigest()[:8], 16) % 5
        rows.append(
            _row("sentiment", row["headline"], row["label"], number, "dev" if bucket == 0 else "train", row["shape"])
        )
    return _table(rows)


def _table(rows: list[dict]):
    from datasets import Dataset

    from domainlm.records import features

    return Dataset.from_list(rows, features=features())


def _row(task: str, text: str, label: str, number: int, split: str, group: str = "") -> dict:
    turn = {"role": "document" if task == "document" else "user", "content": text}
    said = {"id": hashlib.sha256(f"{task}{number}{text}".encode()).hexdigest()[:32], "task": task, "label": label}
    fixed = {"source": "pack", "licence": "CC0-1.0", "consent": "public", "purpose": "model-training"}
    rest = {
        "context": "",
        "jurisdiction": "us",
        "handling": "public",
        "language": "en",
        "timestamp": "",
        "subjects": [],
    }
    place = {"row": number, "group": group or str(number), "split_bucket": number % 10_000, "split": split}
    return said | fixed | rest | place | {"messages": [turn], "subjects": []}


def tell(rows: list[dict], given: argparse.Namespace) -> None:
    """The table, and the line of JSON."""
    print(f"\n{given.trials} trials of {given.steps} steps, {given.seeds} seeds; median [least, most]")
    print(f"{'method':<26}{'best dev bits a character':<30}{'steps spent':<16}pruned")
    summary = {}
    for method in METHODS:
        mine = [row for row in rows if row["method"] == method]
        best = [row["best"] for row in mine]
        spent = statistics.median(row["steps"] for row in mine)
        pruned = statistics.median(row["pruned"] for row in mine)
        shown = f"{statistics.median(best):.4f} [{min(best):.4f}, {max(best):.4f}]"
        print(f"{method:<26}{shown:<30}{spent:<16g}{pruned:g}")
        summary[method] = {"best": statistics.median(best), "steps": spent}
    print(json.dumps({"trials": given.trials, "seeds": given.seeds, "summary": summary, "rows": rows}))


if __name__ == "__main__":
    main()
