"""The terms to watch: each once, none that the glossary has."""

from __future__ import annotations

import csv
from pathlib import Path

from domainlm.text import comparable

PACK = Path(__file__).resolve().parents[2] / "domains" / "finance"


def terms(name: str) -> list[str]:
    with (PACK / name).open(encoding="utf-8", newline="") as file:
        return [comparable(row["term"]) for row in csv.DictReader(file)]


def test_each_term_is_watched_once_and_none_is_the_glossarys() -> None:
    watched = terms("watched_terms.csv")
    assert len(set(watched)) == len(watched) >= 40 and all(watched)
    assert not set(watched) & set(terms("glossary.csv"))
