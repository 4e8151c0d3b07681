"""Names and places that the project's own tagger sees where nothing announces them; see `domainlm.redact.tagger`.

Two recognizers, one per entity, share one tagger, which keeps its last answer, so that a text is tagged once. The
probability of a finding becomes a score such that the tagger's own threshold, the one that was chosen for it, lies at
`LEAST_WITH_CUE`: a profile may ask for more or for less. Rules stay surer than the tagger where both find something.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from presidio_analyzer import AnalysisExplanation, RecognizerResult

from domainlm.errors import ConfigurationError
from domainlm.project import SOURCE_ROOT, resolve
from domainlm.redact.recognizers.base import LEAST_WITH_CUE, LIKELY, MOST_FINDINGS, CuedRecognizer, TooManyFindings
from domainlm.redact.recognizers.tables import entity_of
from domainlm.redact.settings import LOCATION, PERSON
from domainlm.redact.tagger.features import NAME, PLACE
from domainlm.redact.tagger.model import GATE, Tagger, load, read_card

if TYPE_CHECKING:
    from domainlm.redact.settings import RedactSettings

_SUREST = LIKELY - 0.01


def tagger_folder(settings: RedactSettings) -> Path:
    """The folder of the tagger: of the project, or where the project has none of that name, of this package's pack."""
    try:
        folder = resolve(settings.tagger)
    except ConfigurationError:
        folder = SOURCE_ROOT / settings.tagger
    return folder if folder.is_dir() else SOURCE_ROOT / settings.tagger


def tagger_digest(settings: RedactSettings) -> str:
    """SHA-256 of the weights in use; empty without a tagger.

    Raises:
        ModelError: weights or card are missing, or are not those of each other.
    """
    return _tagger(settings).digest if settings.name_engine == "tagger" else ""


def _tagger(settings: RedactSettings) -> Tagger:
    return load(tagger_folder(settings).resolve())


_HOUSES = re.compile(
    r"\b(?:wells fargo|morgan stanley|goldman sachs|charles schwab|(?:banco )?santander|bnp paribas|j\.? ?p\.? ?morgan"
    r"|credit (?:suisse|agricole)|merrill lynch|standard chartered|soci[eé]t[eé] g[eé]n[eé]rale|julius b[aä]e?r"
    r"|edward jones|raymond james|lehman brothers|bear stearns|franklin templeton|t\. rowe price|berkshire hathaway"
    r"|johnson (?:&|and) johnson|procter (?:&|and) gamble|ernst (?:&|and) young|deloitte|rothschild|lazard|jefferies"
    r"|nomura|barclays|fedwire)\b",
    re.IGNORECASE,
)


@cache
def _threshold(folder: Path, entity: str) -> float:
    return float(read_card(folder)["thresholds"][entity])


class TaggedNameRecognizer(CuedRecognizer):
    """Names of persons, by the tagger."""

    ENTITY = PERSON
    LABEL: ClassVar[int] = NAME
    PATTERNS = (("tagger", r"[A-Z가-힣]", LEAST_WITH_CUE),)
    GATE = GATE
    NARROWED = False
    GUARDED = False
    FLAGS = 0

    def __init__(self, supported_language: str, settings: RedactSettings, context: tuple[str, ...] = ()) -> None:
        super().__init__(supported_language, settings, context)
        self._tagger = _tagger(settings)
        self._chosen = _threshold(tagger_folder(settings).resolve(), self.ENTITY)

    def score(self, chance: float) -> float:
        """The score of a probability: 0 at 0, `LEAST_WITH_CUE` at the chosen threshold, below `LIKELY` at 1."""
        if chance < self._chosen:
            return LEAST_WITH_CUE * chance / self._chosen
        return LEAST_WITH_CUE + (_SUREST - LEAST_WITH_CUE) * (chance - self._chosen) / (1 - self._chosen)

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None, regex_flags: int | None = None
    ) -> list[RecognizerResult]:
        """What the tagger calls by this entity; see `presidio_analyzer.EntityRecognizer.analyze`.

        Raises:
            TimeoutError: the text took its whole time.
            TooManyFindings: the text is a list of persons rather than prose.
        """
        results = []
        for start, end, label, chance in self._tagger.tag(text, self.budget.left_s):
            score = self.score(chance)
            if label != self.LABEL or score < self.least:
                continue
            # "Phone" and "고객명" head a column and name nobody, and some houses bear the name of their founder.
            if entity_of(text[start:end]) is not None or _HOUSES.search(text, start, end):
                continue
            if len(results) == MOST_FINDINGS:
                raise TooManyFindings
            results.append(
                RecognizerResult(
                    self.ENTITY, start, end, score,
                    analysis_explanation=AnalysisExplanation(self.name, score, pattern_name="tagger"),
                    recognition_metadata={
                        RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                        RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                    },
                )
            )  # fmt: skip
        return results

    def to_dict(self) -> dict[str, Any]:
        """The recognizer's configuration, with the digest of the weights, for the digest in the report."""
        return super().to_dict() | {"tagger": self._tagger.digest, "chosen": self._chosen}


class TaggedPlaceRecognizer(TaggedNameRecognizer):
    """Addresses, and towns and countries where somebody lives, by the tagger."""

    ENTITY = LOCATION
    LABEL = PLACE
