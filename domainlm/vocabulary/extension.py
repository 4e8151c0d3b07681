"""Add mined terms to the base's tokenizer, measure what that costs and saves on held-out text, and gate it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.errors import TrainingError
from domainlm.models import bits_per_character, first_characters, load_base, load_tokenizer
from domainlm.models.classifiers import is_encoder
from domainlm.records import DEVELOPMENT, TRAIN
from domainlm.reports import Report
from domainlm.tasks import ANSWER_MARK, QUESTION_MARK
from domainlm.vocabulary.mining import mine
from domainlm.vocabulary.settings import VocabularySettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


# a gate that cannot be computed is closed; whoever sets gate: false adds the tokens on their own responsibility
NOT_ASSESSABLE = "not assessable, so no token is added: an encoder gives running text no bits per character"


class VocabularyReport(Report):
    """What the vocabulary grew by, and what it does to held-out text. Terms are words of many groups, never names.

    Fertility is tokens a word (separated by white space); both figures are taken on the dev split.
    """

    base_tokens: int
    mined: int
    added: list[str]
    fertility_before: float
    fertility_after: float
    bits_per_character_before: float | None
    bits_per_character_after: float | None
    gate: str


def extend(
    records: Dataset, base: BaseCheckpoint, settings: VocabularySettings, folder: Path
) -> tuple[TokenizerFolder, VocabularyReport]:
    """Mine terms from the train split and write the extended tokenizer.

    Args:
        records: validated records with their splits.
        base: the base whose tokenizer grows.
        settings: how much, and the gate.
        folder: an empty folder to fill.

    Raises:
        TrainingError: there is no held-out text to measure the extension on.
    """
    tokenizer = load_tokenizer(base)
    before = len(tokenizer)
    held_out = first_characters([text for _, text in _texts(records, DEVELOPMENT)], settings.dev_characters)
    if settings.max_new_tokens and not held_out:
        raise TrainingError(
            "no record of split 'dev' to measure the new tokens on", "vocabulary", "add data or set max_new_tokens: 0"
        )
    fertility_before = fertility(tokenizer, held_out)
    mined = mine(
        _texts(records, TRAIN, without=settings.contrast_tasks),
        _texts(records, TRAIN, only=settings.contrast_tasks),
        tokenizer,
        settings,
    )
    terms = mined
    if settings.template_tokens and settings.max_new_tokens:
        terms = [*_template(records, tokenizer), *terms]
    new_tokens = dict(zip(terms, _sub_tokens(tokenizer, terms), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    extended = _write(folder, tokenizer, new_tokens, base)
    fertility_after = fertility(load_tokenizer(base, extended), held_out)
    verdict, cost_before, cost_after = "off", None, None
    if new_tokens and settings.gate and is_encoder(base):
        verdict = NOT_ASSESSABLE
        extended = _write(folder, load_tokenizer(base), {}, base)
        fertility_after = fertility_before
    elif new_tokens and settings.gate:
        cost_before, cost_after = _cost(base, None, held_out), _cost(base, extended, held_out)
        passed = cost_after <= cost_before * (1 + settings.max_worsening)
        verdict = "passed" if passed else f"dropped: more than {settings.max_worsening:.0%} worse"
        if not passed:
            extended = _write(folder, load_tokenizer(base), {}, base)
            fertility_after = fertility_before
    report = VocabularyReport(
        base_tokens=before,
        mined=len(mined),
        added=[token.strip() for token in extended.card["new_tokens"]],
        fertility_before=round(fertility_before, 4),
        fertility_after=round(fertility_after, 4),
        bits_per_character_before=None if cost_before is None else round(cost_before, 4),
        bits_per_character_after=None if cost_after is None else round(cost_after, 4),
        gate=verdict,
    )
    return extended, report


def kept(
    records: Dataset, base: BaseCheckpoint, tokenizer: TokenizerFolder, settings: VocabularySettings
) -> VocabularyReport:
    """What an earlier model's tokenizer does to the present held-out text, where it is used as it is: nothing is mined,
    and no gate is asked, since the tokens passed it when they were added."""
    held_out = first_characters([text for _, text in _texts(records, DEVELOPMENT)], settings.dev_characters)
    plain = load_tokenizer(base)
    return VocabularyReport(
        base_tokens=len(plain),
        mined=0,
        added=[token.strip() for token in tokenizer.card["new_tokens"]],
        fertility_before=round(fertility(plain, held_out), 4),
        fertility_after=round(fertility(load_tokenizer(base, tokenizer), held_out), 4),
        bits_per_character_before=None,
        bits_per_character_after=None,
        gate="the champion's tokens",
    )


def _template(records: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The marks of every prompt and the class labels of the train split, as far as the base splits them."""
    labels = {label for label, part in zip(records["label"], records["split"], strict=True) if label and part == TRAIN}
    wanted = [QUESTION_MARK, f"\n{ANSWER_MARK}", *(f" {label}" for label in sorted(labels))]
    return [text for text, parts in zip(wanted, _sub_tokens(tokenizer, wanted), strict=True) if len(parts) > 1]


def fertility(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> float:
    """Tokens a white-space separated word."""
    words = sum(len(text.split()) for text in texts)
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return sum(map(len, rows)) / max(1, words)


def _texts(
    records: Dataset, split: str, only: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    """(group, text) of a split's records: all turns and the context, as the model will read them."""
    columns = ("split", "task", "group", "messages", "context")
    return [
        (group, "\n".join([*(turn["content"] for turn in messages), context]).strip())
        for part, task, group, messages, context in zip(*(records[name] for name in columns), strict=True)
        if part == split and (not only or task in only) and task not in without
    ]


def _sub_tokens(tokenizer: PreTrainedTokenizerBase, terms: list[str]) -> list[list[int]]:
    return tokenizer(terms, add_special_tokens=False)["input_ids"] if terms else []


def _write(
    folder: Path, tokenizer: PreTrainedTokenizerBase, new_tokens: dict[str, list[int]], base: BaseCheckpoint
) -> TokenizerFolder:
    from tokenizers import AddedToken

    # normalized=False: the term is looked for in the text as it stands
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in new_tokens])
    tokenizer.save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    content = {
        key: value for key, value in json.loads(config.read_text()).items() if key not in ("name_or_path", "is_local")
    }
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    extended = TokenizerFolder(folder)
    extended.write_card(new_tokens=new_tokens, base_digest=base.card["digest"])
    return extended


def _cost(base: BaseCheckpoint, tokenizer: TokenizerFolder | None, texts: list[str]) -> float:
    model, loaded = load_base(base, tokenizer, quantization="none")
    return bits_per_character(model, loaded, texts)
