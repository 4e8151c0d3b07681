"""Train the tagger from the pack's seeds, on one core in under a minute.

    python -m domainlm.redact.tagger.train                 # trains, scores, writes domains/finance/tagger/
    python -m domainlm.redact.tagger.train --check         # trains again; exit code 1 when another tagger comes out
    python -m domainlm.redact.tagger.train --pack PATH --out PATH --seed N --scale 0.2

Conditional random field, penalised maximum likelihood by L-BFGS (scipy); features seen once are dropped. A third of the
names count as unlisted in each text, so that forms and surroundings must carry the decision. The scores on the card
come from a second, smaller training without 15 % of the carriers and 20 % of the names, measured on those alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy

from domainlm.digests import digest_file, digest_json
from domainlm.redact.tagger import carriers, model
from domainlm.redact.tagger.carriers import Labelled, Names
from domainlm.redact.tagger.features import NAME, PLACE, VERSION, Lists, Window, windows

SEED = 20261
PENALTY = 0.6
ITERATIONS = 70
LEAST_COUNT = 2
SMALLEST_WEIGHT = 0.02
FORGOTTEN_PERCENT = 33
LOW = 0.2
# Chosen on development text for F2 under the bound of false alarms in filings; see docs/redact.md.
THRESHOLDS = {"PERSON": 0.4, "LOCATION": 0.4}
ENTITIES = {NAME: "PERSON", PLACE: "LOCATION"}


def main(arguments: list[str] | None = None) -> int:
    """The program; see the module's text."""
    from domainlm.project import SOURCE_ROOT

    parser = argparse.ArgumentParser(prog="python -m domainlm.redact.tagger.train", description=__doc__.split("\n")[0])
    parser.add_argument("--pack", type=Path, default=SOURCE_ROOT / "domains" / "finance")
    parser.add_argument("--out", type=Path, help="folder of weights and card; PACK/tagger by default")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training text; for trials")
    parser.add_argument("--check", action="store_true", help="compare with what lies in the folder; write nothing")
    chosen = parser.parse_args(arguments)
    out = chosen.out or chosen.pack / "tagger"
    if chosen.check:
        return check(chosen.pack, out)
    started = time.process_time()
    card = write(chosen.pack, out, chosen.seed, chosen.scale)
    size_kb = (out / model.WEIGHTS).stat().st_size // 1000
    print(f"{out}: {card['features']} features, {size_kb} kB, {time.process_time() - started:.0f} CPU-seconds")
    for language, scores in card["held_out"].items():
        for entity, values in scores.items():
            print(f"  held out {language} {entity:9} " + " ".join(f"{name} {value}" for name, value in values.items()))
    return 0


def write(pack: Path, out: Path, seed: int, scale: float = 1.0) -> dict[str, Any]:
    """Train, measure, and write weights and card.

    Args:
        pack: the pack whose seeds are read.
        out: where to.
        seed: of names, fillings and forgetting.
        scale: share of the usual amount of text.

    Returns:
        The card.
    """
    scores = held_out_scores(pack, seed, scale * 0.6)
    arrays, texts = fit(pack, seed, scale)
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out / model.WEIGHTS)
    card = {
        "title": "Names and places in English and Korean text, by form and surroundings",
        "features_version": VERSION,
        "seed": seed,
        "scale": scale,
        "penalty": PENALTY,
        "low": LOW,
        "thresholds": THRESHOLDS,
        "features": len(arrays["weights"]),
        "training_texts": len(texts),
        "training_set_sha256": digest_of(texts),
        "weights_sha256": digest_file(out / model.WEIGHTS),
        "weights_bytes": (out / model.WEIGHTS).stat().st_size,
        "held_out": scores,
        "held_out_is": "15 % of the carriers, with names of which 20 % stand in no list and no training text; spans"
        " with exact limits, threshold 0.5; made by the same program, so higher than on text of other hands",
        "licence": "CC0-1.0",
    }
    (out / model.CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return card


def check(pack: Path, out: Path) -> int:
    """Train as the card says and compare: equal weights, or at least equal findings on the training text."""
    card = model.read_card(out)
    committed = model.load(out)
    arrays, texts = fit(pack, card["seed"], card["scale"])
    if digest_of(texts) != card["training_set_sha256"]:
        print("another training text: seeds or program have changed since the weights were made", file=sys.stderr)
        return 1
    from safetensors.numpy import load_file

    stored = load_file(out / model.WEIGHTS)
    if all(numpy.array_equal(arrays[name], stored[name]) for name in stored):
        print("equal weights")
        return 0
    again = model.unpack(arrays, card["low"], "")
    cut = [[(start, end, label) for start, end, label, _ in tagger.tag(text.text)]
           for tagger in (committed, again) for text in texts[::7]]  # fmt: skip
    half = len(cut) // 2
    different = sum(one != two for one, two in zip(cut[:half], cut[half:], strict=True))
    print(f"other weights, as on another kind of machine; findings differ in {different} of {half} texts")
    return int(different > half // 1000)


def digest_of(texts: list[Labelled]) -> str:
    """Digest of texts and labels."""
    return digest_json([[text.text, [list(span) for span in text.spans]] for text in texts])


def fit(pack: Path, seed: int, scale: float) -> tuple[dict[str, Any], list[Labelled]]:
    """Arrays of a tagger, and the text that it was trained on."""
    names = Names(pack)
    texts = carriers.training_texts(names, carriers.read_carriers(pack), seed, scale)
    texts += carriers.strewn_texts(names, pack, seed, scale)
    texts += _thinned(carriers.pack_texts(pack), scale)
    return train(texts, names.lists()), texts


def _thinned(texts: list[Labelled], scale: float) -> list[Labelled]:
    return texts if scale >= 1 else texts[:: max(1, round(1 / scale))]


def held_out_scores(pack: Path, seed: int, scale: float) -> dict[str, Any]:
    """Scores of a training without some carriers and names, on texts of just those."""
    known = Names(pack, keep=lambda name: crc32(name.encode()) % 5 != 0)
    everything = carriers.read_carriers(pack)
    learned = [item for item in everything if not carriers.held_out(item[2])]
    texts = carriers.training_texts(known, learned, seed, scale)
    texts += carriers.strewn_texts(known, pack, seed, scale) + _thinned(carriers.pack_texts(pack), scale)
    tagger = model.unpack(train(texts, known.lists()), LOW, "")
    unseen = [item for item in everything if carriers.held_out(item[2])]
    rest = carriers.training_texts(Names(pack), unseen, seed + 1, 0.4)
    return {language: score(tagger, [text for text in rest if text.language == language]) for language in ("en", "ko")}


def score(tagger: model.Tagger, texts: list[Labelled], threshold: float = 0.5) -> dict[str, Any]:
    """Precision, recall and F2 of whole spans."""
    right, said, there = Counter(), Counter(), Counter()
    for text in texts:
        found = {(start, end, label) for start, end, label, chance in tagger.tag(text.text) if chance >= threshold}
        wanted = set(text.spans)
        for label in ENTITIES:
            right[label] += sum(span[2] == label for span in found & wanted)
            said[label] += sum(span[2] == label for span in found)
            there[label] += sum(span[2] == label for span in wanted)
    return {
        entity: {
            "precision": round(right[label] / max(1, said[label]), 3),
            "recall": round(right[label] / max(1, there[label]), 3),
            "f2": round(5 * right[label] / max(1, said[label] + 4 * there[label]), 3),
            "spans": there[label],
        }
        for label, entity in ENTITIES.items()
    }


def train(texts: list[Labelled], lists: Lists) -> dict[str, Any]:
    """The arrays of a tagger that was fitted to labelled texts."""
    sequences: list[tuple[Window, list[int]]] = []
    for number, text in enumerate(texts):
        for window in windows(text.text, lists, _forgetful(number)):
            sequences.append((window, [_label(span, text.spans) for span in window.spans]))
    keys, matrix, lengths, labels = _tabulate(sequences)
    weights, steps = _fit(matrix, lengths, labels)
    kept = numpy.abs(weights).max(axis=1) >= SMALLEST_WEIGHT
    return model.pack(lists, [key for key, keep in zip(keys, kept, strict=True) if keep], weights[kept], steps)


def _forgetful(number: int) -> Any:
    def forget(name: str) -> bool:
        return crc32(f"{number}:{name}".encode()) % 100 < FORGOTTEN_PERCENT

    return forget


def _label(span: tuple[int, int], spans: tuple[tuple[int, int, int], ...]) -> int:
    return next((label for start, end, label in spans if start <= span[0] and span[1] <= end), 0)


def _tabulate(sequences: list[tuple[Window, list[int]]]) -> tuple[list[str], Any, Any, Any]:
    """Features as a sparse matrix, one row a token; windows in order of length, the longest first."""
    from scipy.sparse import csr_matrix

    sequences = sorted(sequences, key=lambda item: -len(item[1]))
    numbers: dict[tuple[str, str], int] = {}
    counts: list[int] = []
    columns: list[int] = []
    ends = [0]
    for window, _ in sequences:
        for values in window.values:
            for feature in values:
                number = numbers.setdefault(feature, len(numbers))
                if number == len(counts):
                    counts.append(0)
                counts[number] += 1
                columns.append(number)
            ends.append(len(columns))
    frequent = numpy.array(counts) >= LEAST_COUNT
    matrix = csr_matrix(
        (numpy.ones(len(columns)), numpy.array(columns), numpy.array(ends)), shape=(len(ends) - 1, len(counts))
    )
    keys = [f"{template}:{value}" for template, value in numbers]
    return (
        [key for key, keep in zip(keys, frequent, strict=True) if keep],
        matrix[:, numpy.flatnonzero(frequent)].tocsr(),
        numpy.array([len(labels) for _, labels in sequences]),
        numpy.concatenate([numpy.array(labels) for _, labels in sequences]),
    )


def _fit(matrix: Any, lengths: Any, labels: Any) -> tuple[Any, Any]:
    """Weights and steps of greatest penalised likelihood."""
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    count = model.LABELS
    starts = numpy.concatenate([[0], numpy.cumsum(lengths)[:-1]])
    # Of the tokens at one place of all windows: the windows are sorted, so the first so many are that long.
    rows = [starts[: int((lengths > place).sum())] + place for place in range(int(lengths[0]))]
    truth = numpy.zeros((matrix.shape[0], count))
    truth[numpy.arange(len(labels)), labels] = 1
    pairs = numpy.zeros((count, count))
    for place, row in enumerate(rows):
        before = numpy.zeros(len(row), dtype=int) if place == 0 else labels[row - 1]
        numpy.add.at(pairs, (before, labels[row]), 1)
    across = matrix.T.tocsr()
    size = matrix.shape[1] * count

    def loss(parameters: Any) -> tuple[float, Any]:
        weights, steps = parameters[:size].reshape(-1, count), parameters[size:].reshape(count, count)
        scores = matrix @ weights
        top = scores.max(axis=1, keepdims=True)
        emitted, moved = numpy.exp(scores - top), numpy.exp(steps)
        forward, scale = numpy.empty_like(emitted), numpy.empty(len(emitted))
        for place, row in enumerate(rows):
            # Before a window there is no name, so its first step is one from "none".
            reached = numpy.tile(moved[0], (len(row), 1)) if place == 0 else forward[row - 1] @ moved
            reached *= emitted[row]
            scale[row] = reached.sum(axis=1)
            forward[row] = reached / scale[row][:, None]
        backward = numpy.ones_like(emitted)
        expected = numpy.zeros((count, count))
        for place in range(len(rows) - 1, 0, -1):
            row = rows[place]
            coming = backward[row] * emitted[row] / scale[row][:, None]
            expected += moved * (forward[row - 1].T @ coming)
            backward[row - 1] = coming @ moved.T
        row = rows[0]
        expected[0] += moved[0] * (backward[row] * emitted[row] / scale[row][:, None]).sum(axis=0)
        chances = forward * backward
        value = -(scores * truth).sum() - (steps * pairs).sum() + numpy.log(scale).sum() + top.sum()
        gradient = numpy.concatenate([(across @ (chances - truth)).ravel(), (expected - pairs).ravel()])
        return value + PENALTY / 2 * float(parameters @ parameters), gradient + PENALTY * parameters

    with threadpool_limits(1):  # sums in one order: equal runs give equal weights
        found = minimize(
            loss, numpy.zeros(size + count * count), jac=True, method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "maxcor": 8},
        )  # fmt: skip
    return found.x[:size].reshape(-1, count), found.x[size:].reshape(count, count)


if __name__ == "__main__":
    sys.exit(main())
