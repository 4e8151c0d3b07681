"""How well a configuration finds what somebody labelled: the measure behind the report and the held-out benchmark.

A labelled value counts as found when findings of the same entity cover all its letters and digits; punctuation and
spaces at its ends are nobody's. A finding is right when it overlaps a value of its entity; a card that is found as an
account is a wrong finding and a missed card, but it does not leak. What leaks is counted apart: any letter or digit of
any value that no finding covers.

Values within one text are not independent, and neither are texts of one sentence shape, so that the Wilson intervals
are narrower than the truth; the count of shapes stands beside them where it is known.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from domainlm.errors import ConfigurationError
from domainlm.redact.report import EntityQuality, LabelledQuality, Rate

if TYPE_CHECKING:
    from domainlm.redact.engine import Finding

UNJUDGED = "UNJUDGED"  # such as a head of state in the news: a finding on it is neither right nor wrong


@dataclass(frozen=True)
class Span:
    """A labelled value.

    Args:
        start: offset in the text.
        end: offset behind it.
        entity: what it is, or UNJUDGED.
        row: row of the benchmark's table that it belongs to beside its entity's.
    """

    start: int
    end: int
    entity: str
    row: str = ""


@dataclass(frozen=True)
class LabelledText:
    """A text whose personal data somebody marked.

    Args:
        text: as it was written.
        language: en or ko.
        jurisdiction: codes, joined by a comma; whose rules hold for it.
        spans: the values, in order.
        shape: id of the sentence shape that it was made from, if any.
        cue: whether each value has a cue word in the text.
    """

    text: str
    language: str
    jurisdiction: str = ""
    spans: tuple[Span, ...] = ()
    shape: str = ""
    cue: bool = True

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "text": self.text,
                "language": self.language,
                "jurisdiction": self.jurisdiction,
                "spans": [[span.start, span.end, span.entity] for span in self.spans],
                "shape": self.shape,
                "cue": self.cue,
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, line: str) -> LabelledText:
        """What `to_json` wrote.

        Raises:
            ValueError: a span lies outside of the text, or a field is missing.
        """
        row = json.loads(line)
        spans = tuple(Span(int(start), int(end), str(entity)) for start, end, entity in row["spans"])
        if any(not 0 <= span.start < span.end <= len(row["text"]) for span in spans):
            raise ValueError("a span lies outside of its text")
        return cls(row["text"], row["language"], row["jurisdiction"], spans, row.get("shape", ""), row.get("cue", True))


@dataclass
class Tally:
    """Counts of one entity in one language.

    Fields:
        spans: labelled values; `found` of them covered by findings of this name, `exact` with the very same bounds,
            `hidden` by findings of any name.
        findings: what was found under this name; `right` of them on a value of this entity.
        shapes: the sentence shapes of the values.
    """

    spans: int = 0
    found: int = 0
    exact: int = 0
    hidden: int = 0
    findings: int = 0
    right: int = 0
    shapes: set[str] = field(default_factory=set)

    @property
    def recall(self) -> Rate:
        return Rate.count(self.found, self.spans)

    @property
    def precision(self) -> Rate:
        return Rate.count(self.right, self.findings)

    @property
    def f2(self) -> float:
        """Recall counts four times as much as precision (van Rijsbergen 1979, beta = 2); 0 where nothing is right."""
        recall, precision = self.recall.rate, self.precision.rate
        return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.spans + other.spans,
            self.found + other.found,
            self.exact + other.exact,
            self.hidden + other.hidden,
            self.findings + other.findings,
            self.right + other.right,
            self.shapes | other.shapes,
        )


class Score:
    """Counts over labelled texts.

    Fields:
        tallies: by entity (or row of the table) and language.
        characters: letters and digits of labelled values; `covered` of them lie in a finding of any entity.
        flagged: letters and digits that were found; `wanted` of them belong to labelled values.
        documents: texts with at least one value; `leaking` of them show a letter or digit of it.
        clean: texts without any value; `alarmed` of them have a finding.
    """

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
        self.rows: set[str] = set()
        self.texts = self.characters = self.covered = self.flagged = self.wanted = 0
        self.documents = self.leaking = self.clean = self.alarmed = 0

    def add(self, labelled: LabelledText, findings: Sequence[Finding]) -> None:
        """Count one text."""
        text, language = labelled.text, labelled.language
        covered: dict[str, set[int]] = defaultdict(set)
        for finding in findings:
            covered[finding.entity].update(_signs(text, finding.start, finding.end))
        everywhere = set().union(*covered.values()) if covered else set()
        values: set[int] = set()
        leaks = False
        for span in labelled.spans:
            if span.entity == UNJUDGED:
                continue
            signs = _signs(text, span.start, span.end)
            values |= signs
            hidden = signs <= everywhere
            leaks |= not hidden
            found = signs <= covered[span.entity]
            exact = any(
                finding.entity == span.entity and (finding.start, finding.end) == (span.start, span.end)
                for finding in findings
            )
            for name in {span.entity, span.row or span.entity}:
                tally = self.tallies[name, language]
                tally.spans += 1
                tally.found += found
                tally.exact += exact
                tally.hidden += hidden
                tally.shapes.add(labelled.shape)
            if span.row:
                self.rows.add(span.row)
        unjudged = set().union(
            *(_signs(text, span.start, span.end) for span in labelled.spans if span.entity == UNJUDGED)
        )
        alarms = 0
        for finding in findings:
            over = [span for span in labelled.spans if span.start < finding.end and finding.start < span.end]
            right = any(span.entity == finding.entity for span in over)
            if not right and over and all(span.entity == UNJUDGED for span in over):
                continue
            tally = self.tallies[finding.entity, language]
            tally.findings += 1
            tally.right += right
            alarms += 1
        self.texts += 1
        self.characters += len(values)
        self.covered += len(values & everywhere)
        self.flagged += len(everywhere - unjudged)
        self.wanted += len(everywhere & values)
        if values:
            self.documents += 1
            self.leaking += leaks
        else:
            self.clean += 1
            self.alarmed += alarms > 0

    def entity(self, name: str) -> Tally:
        """All languages together."""
        return sum((tally for (entity, _), tally in self.tallies.items() if entity == name), Tally())

    def total(self) -> Tally:
        """All entities and languages together; rows that repeat an entity's values are left out."""
        return sum((tally for (entity, _), tally in self.tallies.items() if entity not in self.rows), Tally())


def read(path: Path) -> Iterator[LabelledText]:
    """The labelled texts of a file of JSON lines.

    Raises:
        ConfigurationError: the file is absent, or a line of it is no labelled text.
    """
    if not path.is_file():
        raise ConfigurationError("there is no labelled set", str(path), "name the pack's, or make one: see its README")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield LabelledText.from_json(line)
            except (ValueError, KeyError, TypeError):
                raise ConfigurationError(
                    f"line {number} is no labelled text", str(path), "see the README beside it for the fields"
                ) from None


def measure(find: Callable[[str, str, str], Sequence[Finding]], path: Path) -> LabelledQuality:
    """Precision and recall of a configuration on a labelled set.

    Args:
        find: the findings in a text, given its language and its jurisdictions; a text that it fails on counts as
            one in which nothing was found.
        path: JSON lines; see `LabelledText.to_json`.

    Raises:
        ConfigurationError: see `read`.
    """
    from domainlm.redact.engine import AnalysisFailed

    score = Score()
    for labelled in read(path):
        try:
            findings = find(labelled.text, labelled.language, labelled.jurisdiction)
        except (
            AnalysisFailed
        ):  # a record would be sealed away; here nothing was found, which nobody can mistake for good
            findings = []
        score.add(labelled, findings)
    rows = [
        EntityQuality(
            entity=entity, language=language, spans=tally.spans, recall=tally.recall, precision=tally.precision
        )
        for (entity, language), tally in sorted(score.tallies.items())
    ]
    return LabelledQuality(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        texts=score.texts,
        rows=rows,
        leaking=Rate.count(score.leaking, score.documents),
    )


def misses(labelled: LabelledText, findings: Sequence[Finding]) -> Counter[str]:
    """Entities of the values that no finding of their own kind covers; for synthetic texts, never real ones."""
    missed: Counter[str] = Counter()
    for span in labelled.spans:
        own = set().union(
            *(_signs(labelled.text, item.start, item.end) for item in findings if item.entity == span.entity)
        )
        if span.entity != UNJUDGED and not _signs(labelled.text, span.start, span.end) <= own:
            missed[span.entity] += 1
    return missed


def _signs(text: str, start: int, end: int) -> set[int]:
    """Offsets of the letters and digits of a stretch."""
    return {index for index in range(start, min(end, len(text))) if text[index].isalnum()}
