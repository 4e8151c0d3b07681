"""What redaction says of itself: counts, reason codes, keyed ids and digests, never a value."""

from __future__ import annotations

from typing import Any

from pydantic import model_serializer

from domainlm.intervals import wilson
from domainlm.reports import Report


class QuarantinedRecord(Report):
    """A record that went into quarantine: the name of its sealed file, why, and where it came from."""

    file: str
    reason: str
    source: str
    row: int


class Rate(Report):
    """A share with its interval.

    Fields:
        hits: how many of `of`.
        rate: `hits / of`; 0 where `of` is 0.
        low: lower bound of the Wilson score interval at 95 % (Wilson 1927).
        high: upper bound.
    """

    hits: int
    of: int
    rate: float
    low: float
    high: float

    @classmethod
    def count(cls, hits: int, of: int) -> Rate:
        """The rate of some hits; rounded, so that equal counts are equal reports on every machine."""
        share = hits / of if of else 0.0
        low, high = wilson(share, of)
        return cls(hits=hits, of=of, rate=round(share, 6), low=round(low, 6), high=round(high, 6))


class EntityQuality(Report):
    """How well one entity was found in the labelled texts of one language.

    Fields:
        spans: labelled spans.
        recall: labelled spans that a finding of the same entity covers.
        precision: findings that lie on a labelled span of the same entity.
    """

    entity: str
    language: str
    spans: int
    recall: Rate
    precision: Rate


class LabelledQuality(Report):
    """The configuration of this run, measured on the domain pack's labelled set.

    Fields:
        sha256: of the set.
        texts: labelled texts.
        rows: one an entity and language.
        leaking: texts in which at least one labelled span was left standing.
    """

    sha256: str
    texts: int
    rows: list[EntityQuality]
    leaking: Rate


class NameCanaries(Report):
    """Planted names: found by surroundings and a tagger, so a rate against a threshold, not a promise.

    Fields:
        language: language of the carriers.
        found: how many were replaced.
        threshold: least rate that the strictest profile in use allows; the run fails below it.
    """

    language: str
    found: Rate
    threshold: float


class ProfileUse(Report):
    """The rules that held for some of the records.

    Fields:
        jurisdictions: codes as the records state them, joined by a comma; "" for records that state none.
        profiles: profiles that were combined to the strictest.
        sha256: of the combined rules (canonical JSON).
        records: records under them.
        laws: one line a law: title, article, date.
    """

    jurisdictions: str
    profiles: list[str]
    sha256: str
    records: int
    laws: list[str]


class RedactionReport(Report):
    """The report of one redaction. It holds no time, so that equal runs have equal reports.

    Fields:
        records_in: records that were read.
        records_out: records that were passed on.
        records_changed: records passed on with at least one value replaced.
        records_quarantined: records that were sealed away instead.
        erased_rows: records left out because they name a person whose data were erased; not written where there are
            none, so that reports from before this field keep their digest.
        quarantine_reasons: their count by reason code.
        quarantined: each of them.
        entities: values replaced, by entity.
        entities_by_source: the same for each source.
        entities_by_language: the same for each language.
        entities_by_jurisdiction: the same for each jurisdiction, as the records state it.
        operators: values replaced, by operator.
        handling: records passed on, by handling class.
        handling_class: the strictest of them, which the model inherits.
        profiles: the rules that held.
        subjects: distinct keyed subject ids in the records passed on.
        most_changed: keyed ids of the records with the most replaced values (at most 50), with their count.
        texts: texts that were scanned.
        texts_analyzed: those that the prefilter could not clear by itself.
        characters: their length in all.
        canaries: synthetic identifiers that passed through the engine before the first text, none of which survived.
        name_canaries: the planted names.
        quality: precision and recall on the pack's labelled set; None without one.
        key_id: the key of every keyed id.
        versions: of the libraries that find and replace.
        digests: `recognizers` (patterns, cues, scores), `tagger` (its weights), `profiles`, `settings`.
        residual_risk: what may still stand in the text, in plain words.
    """

    records_in: int
    records_out: int
    records_changed: int
    records_quarantined: int
    erased_rows: int = 0
    quarantine_reasons: dict[str, int]
    quarantined: list[QuarantinedRecord]
    entities: dict[str, int]
    entities_by_source: dict[str, dict[str, int]]
    entities_by_language: dict[str, dict[str, int]]
    entities_by_jurisdiction: dict[str, dict[str, int]]
    operators: dict[str, int]
    handling: dict[str, int]
    handling_class: str
    profiles: list[ProfileUse]
    subjects: int
    most_changed: dict[str, int]
    texts: int
    texts_analyzed: int
    characters: int
    canaries: int
    name_canaries: list[NameCanaries]
    quality: LabelledQuality | None
    key_id: str
    versions: dict[str, str]
    digests: dict[str, str]
    residual_risk: list[str]

    @model_serializer(mode="wrap")
    def _without_what_few_reports_have(self, write: Any) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value or name != "erased_rows"}

    def summary(self) -> dict[str, Any]:
        """The flat figures, with the count of each entity and each reason, and what was measured."""
        measured = {f"name_canaries_{item.language}": item.found.rate for item in self.name_canaries}
        if self.quality is not None:
            measured["labelled_texts_leaking"] = self.quality.leaking.rate
        return (
            super().summary()
            | measured
            | {f"entities_{name.lower()}": count for name, count in self.entities.items()}
            | {f"quarantined_{reason.replace('-', '_')}": count for reason, count in self.quarantine_reasons.items()}
        )

    def html(self) -> str:
        """The report as one page without scripts, for an officer; see `domainlm.redact.page`."""
        from domainlm.redact.page import page

        return page(self)
