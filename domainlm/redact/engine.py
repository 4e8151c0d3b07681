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
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from domainlm.digests import digest_json
from domainlm.redact.folding import Folded, fold
from domainlm.redact.reasons import ERROR, TIME_OUT, TOO_LONG, TOO_MANY
from domainlm.redact.settings import LOCATION, STRUCTURED, RedactSettings

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer, RecognizerResult
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

    from domainlm.redact.prefilter import Prefilter
    from domainlm.redact.recognizers.base import Budget, CuedRecognizer

LANGUAGES = ("en", "ko")
# From here on it pays to rule out single patterns of a recognizer, whose automaton takes up to half a second to build.
OPENED_BEFORE_PATTERNS = 1000
# Folding cannot be stopped half-way: of text beyond ASCII it does at least so many characters in a second.
FOLDED_PER_S = 1_000_000
_WORDS = re.compile(r"\w+|\W")
_ANNOUNCED, _FEW_WORDS = 0.6, 3  # what a rule announces scores at least this (`LIKELY`); the tagger's scores end below
_WORD_TO_WORD = re.compile(r"\w.*\w", re.DOTALL)
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
        self._language, self._asked = "", {}

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
            spans = self._analyzer.spans(folded.text)
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
        """Tell recognizers and analyzer what to look for, if it is not what they looked for in the last text."""
        if language != self._language or least != self._asked:
            for recognizer in self._recognizers[language]:
                recognizer.least = least.get(recognizer.ENTITY, math.inf)
            self._analyzer.ask_for(language, least)
            self._language, self._asked = language, dict(least)


class _Plain:
    """Presidio's own engine over the recognizers of the entities that are asked for."""

    def __init__(self, recognizers: Mapping[str, list[CuedRecognizer]], settings: RedactSettings) -> None:
        self.analyzed = 0
        self._recognizers = recognizers
        with _silence():
            self._nlp_engine, self._external = _external(settings)
        self._engines: dict[frozenset[str], Any] = {frozenset(): None}
        self.ask_for(LANGUAGES[0], {})

    def prepare(self) -> None:
        """Nothing is built later."""

    def ask_for(self, language: str, least: Least) -> None:
        """Look for some entities in the next texts, in recognizers that know their least scores already."""
        entities = frozenset(least)
        if entities not in self._engines:
            self._engines[entities] = self._build(entities)
        self._engine, self._language = self._engines[entities], language

    def spans(self, text: str) -> list[Span]:
        """What Presidio finds, whatever its score."""
        if self._engine is None:
            return []
        self.analyzed += 1
        with _silence() as troubles:
            results = self._engine.analyze(text, self._language, score_threshold=0)
        if troubles:
            raise AnalysisFailed(ERROR)
        return [(item.start, item.end, item.entity_type, item.score) for item in results]

    def _build(self, entities: frozenset[str]) -> Any:
        """An engine of its own for each set of entities: told of entities, Presidio's asks in an order of chance."""
        with _silence():
            from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

            ours = [one for some in self._recognizers.values() for one in some if one.ENTITY in entities]
            registry = RecognizerRegistry(recognizers=[*ours, *self._external], supported_languages=list(LANGUAGES))
            return AnalyzerEngine(
                registry=registry,
                nlp_engine=self._nlp_engine or _blank_nlp_engine(),
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
        self.ask_for(LANGUAGES[0], {})

    def prepare(self) -> None:
        """Build the second pass of every language."""
        for short_cuts in self._short_cuts.values():
            short_cuts.build_patterns()

    def ask_for(self, language: str, least: Least) -> None:
        """Look for some entities in the next texts, in recognizers that know their least scores already."""
        everyone = self._recognizers[language]
        self._language, self._short_cut = language, self._short_cuts.get(language)
        self._wanted = frozenset(place for place, one in enumerate(everyone) if one.ENTITY in least)
        self._dependent = frozenset(place for place in self._wanted if not everyone[place].GATED)
        self._always = frozenset(place for place in self._dependent if everyone[place].least < self._sure)

    def spans(self, text: str) -> list[Span]:
        """What the recognizers find that may count."""
        if self._short_cut is None:
            open_ = self._wanted
        else:
            open_ = self._wanted.intersection(self._short_cut.open(text, self._budget.left_s())) | self._always
        if not open_ and not self._external:
            return []
        self.analyzed += 1
        found = {place: self._ask(place, text) for place in sorted(open_)}
        external, artifacts = self._ask_external(text) if self._external else ({}, None)
        rest = self._dependent - open_
        if rest and (external or self._is_evidence(found)):
            found |= {place: self._ask(place, text) for place in rest}
        everyone = self._recognizers[self._language]
        asked: list[tuple[Any, list[RecognizerResult]]] = [
            *((everyone[place], found[place]) for place in sorted(found) if found[place]),
            *((self._external[place], results) for place, results in external.items()),
        ]
        results = [item for one, own in asked for item in self._enhanced(text, one, own, asked, artifacts)]
        if external and any(one.context for one in self._external):
            results = self._with_context(text, results, artifacts)
        return [(item.start, item.end, item.entity_type, item.score) for item in results]

    def _ask(self, place: int, text: str) -> list[RecognizerResult]:
        """What one of our recognizers finds, of the patterns that may match."""
        if self._short_cut is not None and not self._short_cut.narrow(text, place, self._budget.left_s()):
            return []
        recognizer = self._recognizers[self._language][place]
        return recognizer.analyze(text, [recognizer.ENTITY])

    def _is_evidence(self, found: Mapping[int, list[RecognizerResult]]) -> bool:
        """Whether a recognizer that builds on others' findings may build on these."""
        return any(
            place in self._dependent or item.score >= self._sure for place, some in found.items() for item in some
        )

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
        return list(recognizer.enhance_using_context(text, _Timed(own, self._budget), others, artifacts))

    def _ask_external(self, text: str) -> tuple[dict[int, list[RecognizerResult]], NlpArtifacts]:
        """What recognizers find that are not ours; they have no gates, so they read every text."""
        with _silence() as troubles:
            engine = self._nlp_engine or _blank_nlp_engine()
            artifacts = engine.process_text(text, self._language)
            found = {}
            for place, one in enumerate(self._external):
                if one.supported_language == self._language:
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


class _Timed(list[Any]):
    """A list that no one goes through for longer than a text may take: comparing each with each does take long."""

    def __init__(self, items: Iterable[Any], budget: Budget) -> None:
        super().__init__(items)
        self._budget = budget

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self._budget.left_s()
            yield item


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


def _resolve(folded: Folded, spans: Sequence[Span]) -> list[Finding]:
    """Findings without overlaps, in order; nothing that was found is left standing.

    Where structured values overlap, one finding covers them all, named after the surest. A name or a place never widens
    a structured value, nor does a name take in the address behind it: what lies beside stays a finding of its own.
    """
    resolved = _united([span for span in spans if span[2] in STRUCTURED])
    beside = {span[2] for span in spans} - set(STRUCTURED)
    others = [one for entity in beside for one in _united([span for span in spans if span[2] == entity])]
    for span in sorted(others, key=lambda span: (span[0] - span[1], -span[3], span)):
        for piece in _outside(folded.text, span, resolved):
            insort(resolved, piece)
    return _apart(
        Finding(*folded.original(start, end), entity, folded.text[start:end], score)
        for start, end, entity, score in resolved
    )


def _apart(findings: Iterable[Finding]) -> list[Finding]:
    """Findings inside one base64 blob share its span: the surest speaks for all of them."""
    apart: list[Finding] = []
    for one in findings:
        if apart and one.start < apart[-1].end:
            last = apart.pop()
            surest = max(last, one, key=lambda item: item.score)
            one = replace(surest, start=min(last.start, one.start), end=max(last.end, one.end))
        apart.append(one)
    return apart


def _united(spans: Iterable[Span]) -> list[Span]:
    """Spans that overlap as one that covers them all, named after the surest."""
    united: list[Span] = []
    group: list[Span] = []

    def close() -> None:
        if group:
            start, end = group[0][0], max(span[1] for span in group)
            _, _, entity, score = max(group, key=lambda span: (span[3], span[1] - span[0], span[2]))
            united.append((start, end, entity, score))
            group.clear()

    furthest = 0
    for span in sorted(spans):
        if group and span[0] >= furthest:
            close()
        furthest = max(furthest, span[1]) if group else span[1]
        group.append(span)
    close()
    return united


def _outside(text: str, span: Span, taken: Sequence[Span]) -> list[Span]:
    """The pieces of a span that lie outside of others, without what stands around words; most spans are one piece.

    Args:
        text: the text of all of them.
        span: may overlap any of `taken`.
        taken: in order, without overlaps.
    """
    start, end, entity, score = span
    place = bisect_left(taken, (start,))
    place -= place > 0 and taken[place - 1][1] > start
    if place == len(taken) or taken[place][0] >= end:
        return [span]
    mistaken = score < _ANNOUNCED and any(one[2] in STRUCTURED and one[0] < end for one in taken[place : place + 8])
    pieces = []
    while start < end:
        first, last = taken[place][:2] if place < len(taken) and taken[place][0] < end else (end, end)
        piece = _WORD_TO_WORD.search(text, start, first) if start < first else None
        # "Bearer eyJ…" was no place: of what nothing announced, a word or two beside a structured value is a label.
        label = mistaken and piece is not None and len(piece[0].split()) < _FEW_WORDS
        if piece is not None and not label and (entity == LOCATION or any(map(str.isalpha, piece[0]))):
            pieces.append((*piece.span(), entity, score))
        start, place = last, place + 1
    return pieces


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
