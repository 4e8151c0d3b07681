"""The analyzer: Presidio's engine with our recognizers, a prefilter before it, and nothing said about what it reads.

A text that no recognizer's gate matches cannot hold a finding, so most text never reaches Presidio; the findings are
the same with and without the prefilter.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from domainlm.digests import digest_json
from domainlm.redact.folding import Folded, fold
from domainlm.redact.settings import RedactSettings

LANGUAGES = ("en", "ko")
_WORDS = re.compile(r"\w+|\W")
_LOGGERS = ("presidio-analyzer", "presidio-anonymizer")


class AnalysisFailed(Exception):
    """A text could not be analyzed; the message is a reason code, since the library's own would quote the text."""


@dataclass(frozen=True, order=True)
class Finding:
    """One piece of personal data in a text.

    Args:
        start: offset in the original text.
        end: offset behind it.
        entity: what it is.
        value: it, in its plain spelling. Never leaves the process.
        score: how sure the recognizer is, 0 to 1.
    """

    start: int
    end: int
    entity: str
    value: str
    score: float


class Scanner:
    """Finds personal data in texts.

    Args:
        settings: entities, regions, threshold, time-out.
        prefilter: whether texts without any gate skip the analyzer; off only to compare the two.
    """

    def __init__(
        self, settings: RedactSettings, context: Mapping[str, tuple[str, ...]] | None = None, prefilter: bool = True
    ) -> None:
        from domainlm.redact.recognizers import recognizers

        self.settings = settings
        self.analyzed = 0
        self._recognizers = [
            recognizer
            for language in LANGUAGES
            for recognizer in recognizers(language, settings, context)
            if recognizer.ENTITY in settings.wanted
        ]
        gates = dict.fromkeys(recognizer.GATE for recognizer in self._recognizers)
        self._prefilter = re.compile("|".join(f"(?:{gate})" for gate in gates), re.ASCII) if prefilter else None
        self._engine = _engine(self._recognizers, settings.threshold)

    @property
    def digest(self) -> str:
        """Digest of every pattern, cue, gate and score, of the settings, and of the libraries' versions."""
        from importlib.metadata import version

        libraries = ("presidio-analyzer", "phonenumbers", "spacy", "regex")
        return digest_json(
            {
                "recognizers": [recognizer.to_dict() for recognizer in self._recognizers],
                "settings": self.settings.model_dump(mode="json", exclude={"processes"}),
                "libraries": {name: version(name) for name in libraries},
            }
        )

    def find(self, text: str, language: str) -> tuple[Folded, list[Finding]]:
        """The personal data in a text, in order and without overlaps, and the plain spelling that was searched.

        Raises:
            AnalysisFailed: the analyzer failed or ran out of time; the text counts as unscanned.
        """
        folded = fold(text)
        if self._prefilter and not self._prefilter.search(folded.text):
            return folded, []
        from domainlm.redact.recognizers.base import TooManyFindings

        self.analyzed += 1
        language = language if language in LANGUAGES else LANGUAGES[0]
        with _silence() as troubles:
            try:
                results = self._engine.analyze(folded.text, language)
            except TimeoutError:
                raise AnalysisFailed("time-out") from None
            except TooManyFindings:
                raise AnalysisFailed("too-many-findings") from None
            except Exception:  # whatever it is, the text was not scanned, and its message may quote the text
                raise AnalysisFailed("analysis-error") from None
        if troubles:
            raise AnalysisFailed("analysis-error")
        return folded, _resolve(folded, [(item.start, item.end, item.entity_type, item.score) for item in results])


def _resolve(folded: Folded, spans: list[tuple[int, int, str, float]]) -> list[Finding]:
    """Overlapping spans become one that covers them all, named after the surest: nothing found may be left standing."""
    findings: list[Finding] = []
    group: list[tuple[int, int, str, float]] = []

    def close() -> None:
        if group:
            start, end = group[0][0], max(span[1] for span in group)
            _, _, entity, score = max(group, key=lambda span: (span[3], span[1] - span[0], span[2]))
            findings.append(Finding(*folded.original(start, end), entity, folded.text[start:end], score))
            group.clear()

    for span in sorted(spans):
        if group and span[0] >= max(other[1] for other in group):
            close()
        group.append(span)
    close()
    return findings


@contextmanager
def _silence() -> Iterator[list[int]]:
    """Keep Presidio from logging, since its messages quote texts, and note its warnings: it warns when it skips."""
    troubles: list[int] = []

    def refuse(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            troubles.append(record.levelno)
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(refuse)
    try:
        yield troubles
    finally:
        for logger in loggers:
            logger.removeFilter(refuse)


def _engine(built: list[Any], threshold: float) -> Any:
    with _silence():
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine

        class BlankNlpEngine(SpacyNlpEngine):
            """Blank spaCy pipelines: nothing to download.

            They give no lemmas, and Presidio's context words match lemmas: the token in small letters serves. Their own
            tokenizers take quadratic time on a long run without a space, so a plain expression cuts the words.
            """

            def load(self) -> None:
                rules = {
                    "nlp": {"tokenizer": {"@tokenizers": "spacy.Tokenizer.v1"}}
                }  # Korean's default needs a dictionary
                self.nlp = {name: spacy.blank(name, config=rules if name == "ko" else {}) for name in LANGUAGES}

            def process_text(self, text: str, language: str) -> NlpArtifacts:
                words = _WORDS.findall(text)
                tokens = spacy.tokens.Doc(self.nlp[language].vocab, words=words, spaces=[False] * len(words))
                return NlpArtifacts(
                    entities=[],
                    tokens=tokens,
                    tokens_indices=[token.idx for token in tokens],
                    lemmas=[token.lower_ for token in tokens],
                    nlp_engine=self,
                    language=language,
                )

        nlp_engine = BlankNlpEngine(models=[{"lang_code": name, "model_name": "blank"} for name in LANGUAGES])
        nlp_engine.load()
        registry = RecognizerRegistry(recognizers=built, supported_languages=list(LANGUAGES))
        return AnalyzerEngine(
            registry=registry,
            nlp_engine=nlp_engine,
            supported_languages=list(LANGUAGES),
            default_score_threshold=threshold,
        )
