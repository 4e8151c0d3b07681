"""Placeholders for every finding, without keys or vault; see `operators`, which does it."""

from __future__ import annotations

from collections.abc import Iterable

from domainlm.redact.operators import Replacer, normalise

__all__ = ["Placeholders", "normalise"]


class Placeholders(Replacer):
    """The placeholders of one record.

    Args:
        texts: all its texts; placeholders that they already hold are not given out a second time.
        regions: countries whose telephone numbers are known, to see that two spellings are one number.
    """

    def __init__(self, texts: Iterable[str], regions: tuple[str, ...]) -> None:
        super().__init__(texts, regions, {}, None, None, "")
