"""The analyzer: our recognizers in Presidio's manner, with short cuts that change no finding, and never a word said.

The plain way is Presidio's own `AnalyzerEngine`: it cuts the text into words, asks every recognizer for every pattern,
and compares everything with everything. The fast way asks only for the patterns that one pass over the text (see
`prefilter`) did not rule out, and cuts no words that nobody asks for; most text ends after that pass. That both find
the same is held by a differential test; `benchmarks/redact_speed.py` tells how far apart they are in time.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from domainlm.digests import digest_json
from domainlm.redact.folding import Folded, fold
from domainlm.redact.settings import RedactSettings

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer, RecognizerResult
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

    from domainlm.redact.prefilter import Prefilter
    from domainlm.redact.recognizers.base import Budget, CuedRecognizer

LANGUAGES = ("en", "ko")
TOO_LONG, TIME_OUT, TOO_MANY, ERROR = "too-long", "time-out", "too-many-findings", "analysis-error"
# From here on it pays to rule out single patterns of a recognizer, whose automaton takes up to half a second to build.
OPENED_BEFORE_PATTERNS = 1000
# Folding cannot be stopped half-way: of text beyond ASCII it does at least so many characters in a second.
FOLDED_PER_S = 1_000_000
_WORDS = re.compile(r"\w+|\W")
_LOGGERS = ("presidio-analyzer", "presidio-anonymizer")

Span = tuple[int, int, str, float]  # start, end, entity, score
Least = Mapping[str, float]


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
    """Finds personal data in texts, one at a time: neither threads nor processes may share one.

    Args:
        settings: entities, regions, threshold, time-outs, external models.
        context: further words that count as a cue, by entity: those of the jurisdictions' profiles.
        prefilter: whether the pass over the text decides what is searched for; off only to compare the two.
        plain: whether Presidio's own engine does it all, without any short cut; only to compare the two.
    """

    def __init__(
        self,
        settings: RedactSettings,
        context: Mapping[str, tuple[str, ...]] | None = None,
        prefilter: bool = True,
        plain: bool = False,
    ) -> None:
        from domainlm.redact.recognizers import recognizers
        from domainlm.redact.recognizers.base import Budget

        self.settings = settings
        self._budget = Budget()
        self._recognizers = {language: recognizers(language, settings, context) for language in LANGUAGES}
        for recognizer in chain.from_iterable(self._recognizers.values()):
            recognizer.budget = self._budget
        self._analyzer: _Plain | _Fast
        if plain:
            self._analyzer = _Plain(self._recognizers, settings)
        else:
            self._analyzer = _Fast(self._recognizers, settings, self._budget, prefilter)
        self._least = dict.fromkeys(settings.wanted, settings.threshold)
        self._set: tuple[Any, ...] = ()

    @property
    def analyzed(self) -> int:
        """How many texts some recognizer has read."""
        return self._analyzer.analyzed

    @property
    def digest(self) -> str:
        """Digest of every pattern, cue, gate and score, of the settings, and of the libraries' versions."""
        from importlib.metadata import version

        libraries = ("presidio-analyzer", "phonenumbers", "spacy", "regex")
        return digest_json(
            {
                "recognizers": [one.to_dict() for one in chain.from_iterable(self._recognizers.values())],
                "settings": self.settings.model_dump(mode="json", exclude={"processes", "engine"}),
                "libraries": {name: version(name) for name in libraries},
            }
        )

    def prepare(self) -> None:
        """Build now what is else built when it pays off: seconds of work that many texts make good."""
        self._analyzer.prepare()

    def find(self, text: str, language: str, least: Least | None = None) -> tuple[Folded, list[Finding]]:
        """The personal data in a text, in order and without overlaps, and the plain spelling that was searched.

        Args:
            text: any text.
            language: code of its language; an unknown one counts as English, and every recognizer reads all languages.
            least: entity to the least score that counts; what is not in it is not looked for. The settings' by default.

        Raises:
            AnalysisFailed: the text is too long, or the analyzer failed or ran out of time; it counts as unscanned.
        """
        from domainlm.redact.recognizers.base import TooManyFindings

        if len(text) > self.settings.max_characters:
            raise AnalysisFailed(TOO_LONG)
        language = language if language in LANGUAGES else LANGUAGES[0]
        least = self._least if least is None else least
        self._budget.start(self.settings.text_timeout_s)
        try:
            self._ask_for(language, least)
            if not text:
                return Folded(text), []
            if len(text) > FOLDED_PER_S * self.settings.text_timeout_s and not text.isascii():
                raise TimeoutError
            folded = fold(text)
            spans = self._analyzer.spans(folded.text, language, least)
            findings = _resolve(folded, [span for span in spans if span[3] >= least.get(span[2], math.inf)])
            self._budget.left_s()
        except TimeoutError:
            raise AnalysisFailed(TIME_OUT) from None
        except TooManyFindings:
            raise AnalysisFailed(TOO_MANY) from None
        except Exception:  # whatever it is, the text was not scanned, and its message may quote the text
            raise AnalysisFailed(ERROR) from None
        return folded, findings

    def _ask_for(self, language: str, least: Least) -> None:
        wanted = (language, *least.items())
        if wanted != self._set:
            for recognizer in self._recognizers[language]:
                recognizer.least = least.get(recognizer.ENTITY, math.inf)
            self._set = wanted


class _Plain:
    """Presidio's own engine over the recognizers of the entities that are asked for."""

    def __init__(self, recognizers: Mapping[str, list[CuedRecognizer]], settings: RedactSettings) -> None:
        self.analyzed = 0
        self._recognizers, self._settings = recognizers, settings
        self._engines: dict[frozenset[str], Any] = {}

    def prepare(self) -> None:
        """Nothing is built later."""

    def spans(self, text: str, language: str, least: Least) -> list[Span]:
        """What Presidio finds, whatever its score."""
        self.analyzed += 1
        entities = frozenset(least)
        if entities not in self._engines:
            self._engines[entities] = self._build(entities)
        with _silence() as troubles:
            results = self._engines[entities].analyze(text, language, score_threshold=0)
        if troubles:
            raise AnalysisFailed(ERROR)
        return [(item.start, item.end, item.entity_type, item.score) for item in results]

    def _build(self, entities: frozenset[str]) -> Any:
        """An engine of its own for each set of entities: told of entities, Presidio's asks in an order of chance."""
        with _silence():
            from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

            nlp_engine, external = _external(self._settings)
            ours = [one for some in self._recognizers.values() for one in some if one.ENTITY in entities]
            registry = RecognizerRegistry(recognizers=[*ours, *external], supported_languages=list(LANGUAGES))
            return AnalyzerEngine(
                registry=registry,
                nlp_engine=nlp_engine or _blank_nlp_engine(),
                supported_languages=list(LANGUAGES),
            )


class _Fast:
    """The same recognizers, asked only for what a pass over the text did not rule out.

    What makes it the same: a recognizer whose gate is not in the text cannot match; a pattern that the second pass
    ruled out cannot match; a recognizer that builds on others' findings raises nothing where neither its gate is nor
    another found something (see `CuedRecognizer.GATED`). Findings inside others of the same entity, which Presidio
    removes, are left to `_resolve`, which makes one of them anyway.
    """

    def __init__(
        self,
        recognizers: Mapping[str, list[CuedRecognizer]],
        settings: RedactSettings,
        budget: Budget,
        prefilter: bool,
    ) -> None:
        from presidio_analyzer import EntityRecognizer

        from domainlm.redact.recognizers.base import LEAST_WITH_CUE

        self.analyzed = 0
        self._recognizers, self._budget, self._sure = recognizers, budget, LEAST_WITH_CUE
        self._short_cuts = {name: _ShortCuts(some) for name, some in recognizers.items()} if prefilter else {}
        with _silence():
            self._nlp_engine, self._external = _external(settings)
        default = EntityRecognizer.enhance_using_context
        everyone = [*chain.from_iterable(recognizers.values()), *self._external]
        self._enhancing = {one.id for one in everyone if type(one).enhance_using_context is not default}
        self._selections: dict[tuple[str, ...], tuple[set[int], set[int]]] = {}

    def prepare(self) -> None:
        """Build the second pass of every language."""
        for short_cuts in self._short_cuts.values():
            short_cuts.build_patterns()

    def spans(self, text: str, language: str, least: Least) -> list[Span]:
        """What the recognizers find that may count."""
        everyone = self._recognizers[language]
        wanted, dependent = self._selection(language, least)
        short_cuts = self._short_cuts.get(language)
        open_ = wanted if short_cuts is None else wanted.intersection(short_cuts.open(text, self._budget.left_s()))
        if dependent:
            open_ = open_.union(place for place in dependent if everyone[place].least < self._sure)
        if not open_ and not self._external:
            return []
        self.analyzed += 1
        found = {place: self._ask(place, text, language) for place in sorted(open_)}
        external, artifacts = self._ask_external(text, language) if self._external else ({}, None)
        if dependent - open_ and (external or self._is_evidence(found, dependent)):
            found |= {place: self._ask(place, text, language) for place in sorted(dependent - open_)}
        asked: list[tuple[Any, list[RecognizerResult]]] = [
            *((everyone[place], found[place]) for place in sorted(found) if found[place]),
            *((self._external[place], results) for place, results in external.items()),
        ]
        results = [item for one, own in asked for item in self._enhanced(text, one, own, asked, artifacts)]
        if any(one.context for one in self._external):
            results = self._with_context(text, results, artifacts)
        return [(item.start, item.end, item.entity_type, item.score) for item in results]

    def _ask(self, place: int, text: str, language: str) -> list[RecognizerResult]:
        """What one of our recognizers finds, of the patterns that may match."""
        short_cuts = self._short_cuts.get(language)
        if short_cuts is not None and not short_cuts.narrow(text, place, self._budget.left_s()):
            return []
        recognizer = self._recognizers[language][place]
        return recognizer.analyze(text, [recognizer.ENTITY])

    def _is_evidence(self, found: Mapping[int, list[RecognizerResult]], dependent: set[int]) -> bool:
        """Whether a recognizer that builds on others' findings may build on these."""
        return any(
            place in dependent or item.score >= self._sure for place, results in found.items() for item in results
        )

    def _selection(self, language: str, least: Least) -> tuple[set[int], set[int]]:
        """The places of the recognizers that are asked for, and those of them that build on others' findings."""
        key = (language, *least)
        if key not in self._selections:
            everyone = self._recognizers[language]
            wanted = {place for place, one in enumerate(everyone) if one.ENTITY in least}
            self._selections[key] = wanted, {place for place in wanted if not everyone[place].GATED}
        return self._selections[key]

    def _enhanced(
        self,
        text: str,
        recognizer: EntityRecognizer,
        own: list[RecognizerResult],
        asked: Sequence[tuple[EntityRecognizer, list[RecognizerResult]]],
        artifacts: NlpArtifacts | None,
    ) -> list[RecognizerResult]:
        if recognizer.id not in self._enhancing:
            return own
        others = [item for one, results in asked if one is not recognizer for item in results]
        return recognizer.enhance_using_context(text, own, others, artifacts)

    def _ask_external(self, text: str, language: str) -> tuple[dict[int, list[RecognizerResult]], NlpArtifacts]:
        """What recognizers find that are not ours; they have no gates, so they read every text."""
        with _silence() as troubles:
            engine = self._nlp_engine or _blank_nlp_engine()
            artifacts = engine.process_text(text, language)
            found = {}
            for place, one in enumerate(self._external):
                if one.supported_language == language:
                    results = one.analyze(text, one.supported_entities, artifacts)
                    for item in results:
                        item.recognition_metadata = {"recognizer_identifier": one.id} | (
                            item.recognition_metadata or {}
                        )
                    found[place] = results
        if troubles:
            raise AnalysisFailed(ERROR)
        return {place: results for place, results in found.items() if results}, artifacts

    def _with_context(
        self, text: str, results: list[RecognizerResult], artifacts: NlpArtifacts | None
    ) -> list[RecognizerResult]:
        from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer

        with _silence():
            return LemmaContextAwareEnhancer().enhance_using_context(text, results, artifacts, self._external)


class _ShortCuts:
    """The passes over a text for the recognizers of one language: one over all gates, then one over the patterns of
    each recognizer whose gate is open. A recognizer's own is built when it was opened so often that it pays off.
    """

    def __init__(self, recognizers: Sequence[CuedRecognizer]) -> None:
        from regex import ASCII

        from domainlm.redact.prefilter import has_hyperscan, prefilter

        self._recognizers = recognizers
        self._gates = prefilter([(one.gate, ASCII) for one in recognizers])
        self._patterns: dict[int, Prefilter] = {}
        # Without Hyperscan a pass over the patterns is nothing but the search itself.
        narrowed = [place for place, one in enumerate(recognizers) if one.NARROWED] if has_hyperscan() else []
        self._left_to_open = dict.fromkeys(narrowed, OPENED_BEFORE_PATTERNS)

    def open(self, text: str, timeout_s: float) -> Iterable[int]:
        """The recognizers whose gate is in the text, perhaps with some whose gate is not."""
        return self._gates.hits(text, timeout_s)

    def build_patterns(self) -> None:
        """Build the passes over patterns now."""
        for place in list(self._left_to_open):
            self._build(place)

    def _build(self, place: int) -> None:
        from domainlm.redact.prefilter import prefilter

        del self._left_to_open[place]
        compiled = [one for _, one in self._recognizers[place].compiled]
        self._patterns[place] = prefilter([(one.pattern, one.flags) for one in compiled], search=False)

    def narrow(self, text: str, place: int, timeout_s: float) -> bool:
        """Tell a recognizer which of its patterns to search for; false if none of them can match."""
        recognizer = self._recognizers[place]
        patterns = self._patterns.get(place)
        if patterns is None:
            if place in self._left_to_open:
                self._left_to_open[place] -= 1
                if self._left_to_open[place] <= 0:
                    self._build(place)
            return True
        hits = patterns.hits(text, timeout_s)
        recognizer.searched = [recognizer.compiled[number] for number in sorted(hits)]
        return bool(recognizer.searched)


def _resolve(folded: Folded, spans: list[Span]) -> list[Finding]:
    """Overlapping spans become one that covers them all, named after the surest: nothing found may be left standing."""
    findings: list[Finding] = []
    group: list[Span] = []
    end = -1

    def close() -> None:
        if group:
            start = group[0][0]
            _, _, entity, score = max(group, key=lambda span: (span[3], span[1] - span[0], span[2]))
            findings.append(Finding(*folded.original(start, end), entity, folded.text[start:end], score))
            group.clear()

    for span in sorted(spans):
        if span[0] >= end:
            close()
        group.append(span)
        end = max(end, span[1]) if len(group) > 1 else span[1]
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


def _external(settings: RedactSettings) -> tuple[NlpEngine | None, list[EntityRecognizer]]:
    """The NLP engine and the recognizers of others that the settings ask for."""
    if not settings.nlp_engine:
        return None, []
    from domainlm.redact.nlp import build

    nlp_engine, recognizers = build(settings)
    return nlp_engine, list(recognizers)


@cache
def _blank_nlp_engine() -> NlpEngine:
    import spacy
    from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine

    class BlankNlpEngine(SpacyNlpEngine):
        """Blank spaCy pipelines: nothing to download.

        They give no lemmas, and Presidio's context words match lemmas: the token in small letters serves. Their own
        tokenizers take quadratic time on a long run without a space, so a plain expression cuts the words.
        """

        def load(self) -> None:
            # Korean's default needs a dictionary.
            rules = {"nlp": {"tokenizer": {"@tokenizers": "spacy.Tokenizer.v1"}}}
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
    return nlp_engine
