"""The counts of a redaction while it runs, and the report that they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from typing import Any

from domainlm.digests import digest_json
from domainlm.handling import strictest
from domainlm.keys import KeyRing
from domainlm.redact.outcome import Outcome
from domainlm.redact.report import LabelledQuality, NameCanaries, ProfileUse, QuarantinedRecord, RedactionReport
from domainlm.redact.residual import residual_risk
from domainlm.redact.rules import RuleBook

MOST_CHANGED = 50
LIBRARIES = ("presidio-analyzer", "presidio-anonymizer", "phonenumbers", "regex", "spacy", "hyperscan")


class Tally:
    """Counts of one redaction."""

    def __init__(self) -> None:
        self.records = self.changed = self.texts = self.texts_analyzed = self.characters = 0
        self.erased_rows = 0  # left out, and in no other count
        self.reasons: Counter[str] = Counter()
        self.quarantined: list[QuarantinedRecord] = []
        self.entities: Counter[str] = Counter()
        self.operators: Counter[str] = Counter()
        self.handling: Counter[str] = Counter()
        self.jurisdictions: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.by: dict[str, dict[str, Counter[str]]] = {"source": {}, "language": {}, "jurisdiction": {}}
        self.subjects: set[str] = set()
        self._most_changed: list[tuple[int, str]] = []

    def add(self, outcome: Outcome, file: str) -> None:
        """Count one record.

        Args:
            outcome: what became of it.
            file: name of its file in the quarantine, if it must not pass.
        """
        origin = outcome.origin
        self.records += 1
        self.texts += outcome.texts
        self.texts_analyzed += outcome.texts_analyzed
        self.characters += outcome.characters
        self.jurisdictions[origin["jurisdiction"]] += 1
        self.languages[origin["language"]] += 1
        if outcome.record is None:
            self.reasons[outcome.reason] += 1
            self.quarantined.append(
                QuarantinedRecord(file=file, reason=outcome.reason, source=origin["source"], row=origin["row"])
            )
            return
        self.changed += bool(outcome.entities)
        self.entities += outcome.entities
        self.operators += outcome.operators
        self.handling[outcome.record["handling"]] += 1
        for name, counts in self.by.items():
            counts.setdefault(origin[name], Counter()).update(outcome.entities)
        self.subjects.update(outcome.record["subjects"])
        if outcome.entities:
            self._most_changed.append((outcome.entities.total(), outcome.record["id"]))
            if len(self._most_changed) > 20 * MOST_CHANGED:
                self._most_changed = nlargest(MOST_CHANGED, self._most_changed)

    def report(
        self,
        keys: KeyRing,
        book: RuleBook,
        canaries: int,
        name_canaries: list[NameCanaries],
        quality: LabelledQuality | None,
        digests: dict[str, str],
    ) -> RedactionReport:
        """The report of everything counted.

        Args:
            keys: whose ids the records bear.
            book: the rules that held.
            canaries: structured canaries that were sent.
            name_canaries: the planted names.
            quality: precision and recall on the labelled set.
            digests: of recognizers, tagger, profiles and settings.
        """
        return RedactionReport(
            records_in=self.records + self.erased_rows,
            records_out=self.records - len(self.quarantined),
            records_changed=self.changed,
            records_quarantined=len(self.quarantined),
            erased_rows=self.erased_rows,
            quarantine_reasons=_sorted(self.reasons),
            quarantined=self.quarantined,
            entities=_sorted(self.entities),
            entities_by_source=_by(self.by["source"]),
            entities_by_language=_by(self.by["language"]),
            entities_by_jurisdiction=_by(self.by["jurisdiction"]),
            operators=_sorted(self.operators),
            handling=_sorted(self.handling),
            handling_class=strictest(self.handling) if self.handling else "",
            profiles=list(_profiles(self.jurisdictions, book)),
            subjects=len(self.subjects),
            most_changed={name: count for count, name in nlargest(MOST_CHANGED, self._most_changed)},
            texts=self.texts,
            texts_analyzed=self.texts_analyzed,
            characters=self.characters,
            canaries=canaries,
            name_canaries=name_canaries,
            quality=quality,
            key_id=keys.key_id,
            versions=_versions(),
            digests=digests,
            residual_risk=residual_risk(self.languages, self.operators, len(self.quarantined), name_canaries, quality),
        )


def _profiles(jurisdictions: Counter[str], book: RuleBook) -> Iterable[ProfileUse]:
    for codes, records in sorted(jurisdictions.items()):
        profile = book.of(codes).profile
        if profile is not None:
            yield ProfileUse(
                jurisdictions=codes,
                profiles=profile.jurisdiction.split(","),
                sha256=digest_json(profile.model_dump(mode="json")),
                records=records,
                laws=[f"{law.title}, {law.article} ({law.date})" for law in profile.laws],
            )


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _by(counts: dict[str, Counter[str]]) -> dict[str, dict[str, Any]]:
    return {name: _sorted(counter) for name, counter in sorted(counts.items())}
