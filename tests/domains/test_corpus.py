"""The generated corpus: large, varied, tone-true, and disjoint from every file that a model is tested on."""

import csv
import json
import re
from collections import Counter

import pytest
import yaml

from domains.makers import corpus, extraction

FOLDER = corpus.PACK / "corpus"


@pytest.fixture(scope="module")
def texts():
    return {
        path.stem.removeprefix("generated_"): path.read_text(encoding="utf-8") for path in FOLDER.glob("generated_*.md")
    }


@pytest.fixture(scope="module")
def documents(texts):
    return [document for text in texts.values() for document in text.strip().split("\n\n")]


def other_texts():
    """Every text of the pack that is not generated corpus, by file."""
    for path in sorted(corpus.PACK.glob("*.jsonl")) + sorted(corpus.PACK.glob("market/*/news.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            yield (
                path.name,
                "\n".join(
                    str(item[key]) for key in ("text", "context", "instruction", "response", "headline") if key in item
                ),
            )
    for path in sorted(corpus.PACK.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield path.name, next(iter(row.values()))
    for path in sorted(FOLDER.glob("handbook_*")):
        yield path.name, path.read_text(encoding="utf-8")


def test_the_corpus_is_large_and_korean_has_its_share(texts):
    assert set(texts) == set(corpus.SIZES)
    assert sum(path.stat().st_size for path in FOLDER.glob("*")) >= 1_600_000
    assert len("".join(re.findall("[가-힣]", texts["korean"])).encode()) >= 60_000


def test_more_than_five_hundred_frames_were_written_by_hand():
    def frames(node):
        if isinstance(node, str):
            return 1
        return sum(map(frames, node.values() if isinstance(node, dict) else node if isinstance(node, list) else []))

    names = ("events", "copy", "reports", "prose", "daily", "korean")
    counts = {
        name: frames(yaml.safe_load((corpus.SEEDS / f"corpus_{name}.yaml").read_text(encoding="utf-8")))
        for name in names
    }
    assert sum(counts.values()) - counts["korean"] >= 500


def test_documents_are_titled_and_fully_expanded(documents):
    assert len(documents) > 2_000
    for document in documents:
        title, _, body = document.partition("\n")
        assert (
            title.startswith("# ") and len(body) > 20 and not re.search(r"\n#|[<>{}]|##|  |\([은이을와으]\)", document)
        ), document
    assert len(set(documents)) == len(documents)


def test_no_thirteen_words_are_shared_with_any_other_file_of_the_pack(texts):
    seen = {gram for text in texts.values() for gram in corpus.word_ngrams(text, 13)}
    shared = Counter(name for name, text in other_texts() for gram in corpus.word_ngrams(text, 13) if gram in seen)
    assert not shared


def test_company_names_of_extraction_items_never_occur_in_the_corpus(texts):
    everything = set(re.findall(r"\w+", " ".join(texts.values())))
    invention = extraction.Invention(seed=1, half=1)
    assert not everything & {invention.root() for _ in range(4_000)}
    own = extraction.Invention(seed=1, half=0)
    assert everything & {own.root() for _ in range(4_000)}


def test_values_of_a_copying_document_come_back(texts):
    documents = texts["copying"].strip().split("\n\n")
    repeated = 0
    for document in documents:
        names = Counter(re.findall(r"\b[A-Z]\w{4,}\b|\d[\d,.]*\d", document))
        repeated += max(names.values()) >= 2
    assert repeated / len(documents) > 0.98


def test_text_varies(texts):
    figures = corpus.statistics(FOLDER)
    assert figures["generated_5grams_distinct"] >= 0.55 * figures["generated_5grams"]


def test_cues_meet_consequences_of_their_own_tone(documents):
    """Word senses can be learned: a title's tone shows in the first paragraph's words."""
    good_title = re.compile(
        r"^# .*\b(?:beats forecasts|raises guidance|swings to profit|wins order|narrows its loss)", re.M
    )
    bad_title = re.compile(
        r"^# .*\b(?:misses forecasts|profit warning|swings to a loss|loses contract|widens its loss)", re.M
    )
    good = re.compile(
        r"\b(?:welcome|boost|relief|encouraging|strong|cheered|rewarded|better|record|grows faster|success)\b"
    )
    bad = re.compile(r"\b(?:blow|setback|disappoint\w+|weak|worse|punished|gloomy|fear\w*|lost|failure|trouble)\b")

    def leans(title):
        firsts = [document.split("\n")[1] for document in documents if title.search(document.split("\n")[0])]
        assert len(firsts) > 40
        return sum(len(good.findall(text)) for text in firsts) / (sum(len(bad.findall(text)) for text in firsts) + 1)

    assert leans(good_title) > 2 and leans(bad_title) < 0.5


def test_the_maker_writes_the_files_byte_for_byte(tmp_path):
    corpus.write(tmp_path)
    for path in tmp_path.glob("*"):
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), path.name


def test_the_notes_state_the_figures_of_the_files_as_they_are():
    notes = " ".join((corpus.SEEDS.parent / "README.md").read_text(encoding="utf-8").split())
    figures = corpus.statistics(FOLDER)
    documents = sum(path.read_text(encoding="utf-8").count("\n# ") + 1 for path in FOLDER.glob("generated_*.md"))
    assert f"{figures['generated_bytes']:,} bytes in six files, {documents:,} documents" in notes
    assert f"{figures['generated_5grams']:,} word 5-grams, of which {figures['generated_5grams_distinct']:,}" in notes
