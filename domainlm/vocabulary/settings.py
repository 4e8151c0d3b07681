"""What the extension of the vocabulary can be told."""

from __future__ import annotations

from pydantic import Field

from domainlm.reports import Settings


class VocabularySettings(Settings):
    """How many terms become tokens, and what holds them back."""

    max_new_tokens: int = Field(
        64,
        ge=0,
        le=20_000,
        description="terms to add; more shortens texts but leaves less training for each row; 0: off",
    )
    min_groups: int = Field(
        5, ge=1, description="independent groups of records that must use a term; guards against memorised names"
    )
    min_pieces: int = Field(2, ge=2, description="sub-tokens that a term must be split into before it is worth a token")
    max_words: int = Field(1, ge=1, le=3, description="words of a term; 2 also finds 'interest rate'")
    names: bool = Field(False, description="whether words that are nearly always capitalised (names) may become tokens")
    template_tokens: bool = Field(
        False,
        description="also make the prompt's marks and the class labels one token each: a class is then one decision",
    )
    contrast_tasks: tuple[str, ...] = Field(("general",), description="tasks whose text stands for general language")
    gate: bool = Field(
        True, description="drop the extension when it makes held-out text costlier than `max_worsening` allows"
    )
    max_worsening: float = Field(
        0.1, ge=0, description="relative rise of the base's bits per character before training that is tolerated"
    )
    dev_characters: int = Field(
        30_000, ge=1000, description="held-out characters that fertility and bits per character are measured on"
    )
