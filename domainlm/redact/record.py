"""One record at a time: what each process of a redaction holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from domainlm.handling import CLASSES
from domainlm.keys import KeyRing
from domainlm.records import ASSISTANT, Record
from domainlm.redact.operators import PLACEHOLDER_FORM, Replacer, normalise
from domainlm.redact.outcome import Outcome
from domainlm.redact.reasons import (
    ERROR,
    IN_LABEL,
    INJECTION,
    INVALID_TEXT,
    MALFORMED,
    RISK,
    SURVIVES,
    TOO_LONG,
    UNSAFE,
)
from domainlm.redact.rules import RuleBook, Rules
from domainlm.redact.settings import IMPERSONAL, REMOVE, STRUCTURED, RedactSettings

if TYPE_CHECKING:
    from domainlm.redact.engine import Finding, Scanner
    from domainlm.redact.folding import Folded
    from domainlm.redact.profiles import Profiles
    from domainlm.redact.report import NameCanaries
    from domainlm.redact.vault import Vault
    from domainlm.sources import SourceEntry

# These columns may come from the source's own cells, and are passed on as they are.
_CODES = {
    "handling": re.compile("|".join(CLASSES)),
    "language": re.compile(r"[a-z]{2}"),
    "jurisdiction": re.compile(r"([a-z]{2}(,[a-z]{2})*)?"),
    "timestamp": re.compile(r"(\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?)?"),
}
# A cell whose column announces personal data is one finding from end to end.
_ANNOUNCED = 1.0


@dataclass(frozen=True)
class SourceTraits:
    """What the manifest says of the sources that matters to a single record.

    Args:
        untrusted: names of sources whose text may address the model rather than a reader.
        announced: source to text column of ours (`instruction`, `text`, `response`, `context`, `label`) to the entity
            that the file's own column name announces.
    """

    untrusted: frozenset[str] = frozenset()
    announced: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, sources: Iterable[SourceEntry]) -> SourceTraits:
        """The traits of a manifest's sources."""
        from domainlm.redact.forms import announced

        columns = {
            entry.name: {
                ours: entity
                for ours, theirs in entry.column_map(list(entry.header), entry.name).items()
                if (entity := announced(theirs))
            }
            for entry in sources
        }
        untrusted = frozenset(entry.name for entry in sources if not entry.trusted)
        return cls(untrusted, {name: found for name, found in columns.items() if found})


class RecordRedactor:
    """Redacts one record at a time.

    Args:
        settings: see `RedactSettings`.
        keys: makes the subject ids and seals the quarantine.
        profiles: rules by jurisdiction; None to go by the settings alone.
        traits: what the manifest says of the sources.
        vault: where values go whose operator is `vault`.

    Raises:
        RedactionIncomplete: a structured canary survived this very engine.
    """

    def __init__(
        self,
        settings: RedactSettings,
        keys: KeyRing,
        profiles: Profiles | None = None,
        traits: SourceTraits | None = None,
        vault: Vault | None = None,
    ) -> None:
        from domainlm.redact.canaries import check_canaries
        from domainlm.redact.engine import Scanner

        self.settings, self.keys, self.vault = settings, keys, vault
        self.book = RuleBook(settings, profiles)
        self.traits = traits or SourceTraits()
        self.scanner: Scanner = Scanner(self.book.scanner_settings, self.book.context)
        self.canaries = check_canaries(lambda record: self.redact(record).record, tuple(self.book.strictest.least))

    @cached_property
    def name_canaries(self) -> list[NameCanaries]:
        """The planted names, sent once.

        Raises:
            RedactionIncomplete: too few of them were found.
        """
        from domainlm.redact.canaries import check_names

        return check_names(lambda record: self.redact(record).record, self.book.strictest)

    def redact(self, record: Record) -> Outcome:
        """A copy of a record without personal values, or a reason code. Never raises, never quotes."""
        from domainlm.redact.engine import AnalysisFailed

        analyzed = self.scanner.analyzed
        try:
            outcome = self._redact(record)
        except AnalysisFailed as failure:
            outcome = Outcome(None, str(failure))
        except Exception:  # fail closed: an error's message may quote the text, so not even its kind is told
            outcome = Outcome(None, ERROR)
        outcome.texts_analyzed = self.scanner.analyzed - analyzed
        outcome.origin = {name: record[name] for name in ("source", "row", "language", "jurisdiction")}
        if outcome.reason == MALFORMED:  # these cells may hold anything, so the counts must not
            outcome.origin |= {"language": "", "jurisdiction": ""}
        if outcome.record is None:
            outcome.original = record
        return outcome

    def _redact(self, record: Record) -> Outcome:
        from domainlm.redact.spreading import spread

        texts = [*(turn["content"] for turn in record["messages"]), record["context"]]
        count = {"texts": len(texts), "characters": sum(map(len, texts))}
        if reason := self._refusal(record, texts):
            return Outcome(None, reason, **count)
        rules, language = self.book.of(record["jurisdiction"]), record["language"]
        scans = [self._find(text, language, rules.least) for text in texts]
        self._announce(record, scans, rules)
        findings = spread([folded for folded, _ in scans], [found for _, found in scans])
        regions = self.settings.phone_regions
        replacer = Replacer(texts, regions, rules.operators, self.keys, self.vault, record["id"], rules.retention_days)
        redacted = [
            replacer.replace(text, found) if found else text for text, found in zip(texts, findings, strict=True)
        ]
        announced = self.traits.announced.get(record["source"], {})
        if "label" in announced or self._find(record["label"], language, rules.least)[1]:
            return Outcome(None, IN_LABEL, **count)
        for text, found in zip(redacted, findings, strict=True):
            if reason := self._left(text, bool(found), language, rules, replacer):
                return Outcome(None, reason, **count)
        subjects = {
            self.keys.keyed_id("subject", item.entity, normalise(item.entity, item.value, regions))
            for item in chain.from_iterable(findings)
            # The id of a removed value would be a trace of what must leave none.
            if item.entity not in IMPERSONAL and rules.operators.get(item.entity) != REMOVE
        }
        safe: Record = {
            **record,
            "messages": [
                {"role": turn["role"], "content": text}
                for turn, text in zip(record["messages"], redacted, strict=False)
            ],
            "context": redacted[-1],
            "subjects": sorted(subjects.union(record["subjects"])),
        }
        entities = Counter(item.entity for item in chain.from_iterable(findings))
        return Outcome(safe, entities=entities, operators=Counter(replacer.counts), **count)

    def _find(self, text: str, language: str, least: Mapping[str, float]) -> tuple[Folded, list[Finding]]:
        """What the scanner finds beside placeholders: `[PERSON_1]` in an address looks like a part of it."""
        folded, found = self.scanner.find(text, language, least)
        if found and (taken := [match.span() for match in PLACEHOLDER_FORM.finditer(text)]):
            found = [item for item in found if all(item.end <= start or item.start >= end for start, end in taken)]
        return folded, found

    def _refusal(self, record: Record, texts: list[str]) -> str:
        strings = [value for value in record.values() if isinstance(value, str)]
        if any(UNSAFE.search(text) for text in chain(texts, strings, record["subjects"])):
            return INVALID_TEXT
        if any(len(text) > self.settings.max_characters for text in texts):
            return TOO_LONG
        if any(not code.fullmatch(record[name]) for name, code in _CODES.items()):
            return MALFORMED
        if record["source"] in self.traits.untrusted:
            from domainlm.redact.injection import injection

            if any(injection(text) for text in chain(texts, [record["label"]])):
                return INJECTION
        return ""

    def _announce(self, record: Record, scans: list[tuple[Folded, list[Finding]]], rules: Rules) -> None:
        """Replace the findings of a cell by one from end to end where its column's name announces personal data."""
        from domainlm.redact.engine import Finding

        announced = self.traits.announced.get(record["source"])
        if not announced:
            return
        turns = [turn["role"] for turn in record["messages"]]
        for index, (folded, found) in enumerate(scans):
            if index == len(turns):
                names: tuple[str, ...] = ("context",)
            else:
                names = ("response",) if turns[index] == ASSISTANT else ("instruction", "text")
            entity = next((announced[name] for name in names if name in announced), None)
            if entity in rules.least and folded.text.strip():
                found[:] = [Finding(*folded.original(0, len(folded.text)), entity, folded.text, _ANNOUNCED)]

    def _left(self, text: str, changed: bool, language: str, rules: Rules, replacer: Replacer) -> str:
        """A reason why a redacted text must not pass: something is still legible in it, or too likely to be."""
        from domainlm.redact.rescan import survivors

        text = replacer.rescanned(text)  # a surrogate or a masked number of ours is no survivor
        if survivors(text, tuple(rules.least)):
            return SURVIVES
        risky = any(rules.floor[entity] < score for entity, score in rules.least.items())
        if not (changed or risky):
            return ""
        left = self._find(text, language, rules.floor)[1]
        if any(item.entity in STRUCTURED and item.score >= rules.least[item.entity] for item in left):
            return SURVIVES
        return RISK if any(item.score >= rules.risk_threshold for item in left) else ""
