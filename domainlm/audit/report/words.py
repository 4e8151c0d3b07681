"""The words of the report in each language: `words/LANGUAGE.yaml`, one flat mapping from key to text with {names}."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from domainlm.errors import ConfigurationError, nearest

FOLDER = Path(__file__).parent / "words"
LANGUAGES = ("en", "ko")


class Words:
    """The words of one language.

    Raises:
        ConfigurationError: the report does not speak it.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ConfigurationError("is no language of the report", repr(language)[:40], nearest(language, LANGUAGES))
        self.language = language
        self._texts = texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key. A key without a text is a fault of ours, not of the evidence's.

        Raises:
            KeyError: there is no such key.
        """
        return self._texts[key].format(**values) if values else self._texts[key]

    def name(self, group: str, code: str) -> str:
        """The words for one of several codes, such as a verdict's; the code itself where there are none."""
        return self._texts.get(f"{group}.{code}", code)


@cache
def texts(language: str) -> dict[str, str]:
    """Key -> text."""
    loaded = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    return {str(key): str(text) for key, text in loaded.items()}
