"""What redaction says of itself: counts, reason codes, keyed ids and digests, never a value."""

from __future__ import annotations

from typing import Any

from domainlm.reports import Report


class QuarantinedRecord(Report):
    """A record that went into quarantine: the name of its sealed file, why, and where it came from."""

    file: str
    reason: str
    source: str
    row: int


class RedactionReport(Report):
    """The report of one redaction. It holds no time, so that equal runs have equal reports.

    Fields:
        records_in: records that were read.
        records_out: records that were passed on.
        records_changed: records passed on with at least one placeholder.
        records_quarantined: records that were sealed away instead.
        quarantine_reasons: their count by reason code.
        quarantined: each of them.
        entities: placeholders written, by entity.
        entities_by_source: the same for each source.
        entities_by_language: the same for each language.
        subjects: distinct keyed subject ids in the records passed on.
        texts: texts that were scanned.
        texts_analyzed: those that the prefilter could not clear by itself.
        characters: their length in all.
        canaries: synthetic identifiers that passed through the engine before the first text, none of which survived.
        key_id: the key of every keyed id.
        presidio_version: version of the analyzer.
        recognizers_digest: digest of patterns, cues, scores, settings and library versions.
    """

    records_in: int
    records_out: int
    records_changed: int
    records_quarantined: int
    quarantine_reasons: dict[str, int]
    quarantined: list[QuarantinedRecord]
    entities: dict[str, int]
    entities_by_source: dict[str, dict[str, int]]
    entities_by_language: dict[str, dict[str, int]]
    subjects: int
    texts: int
    texts_analyzed: int
    characters: int
    canaries: int
    key_id: str
    presidio_version: str
    recognizers_digest: str

    def summary(self) -> dict[str, Any]:
        """The flat figures, with the count of each entity and each reason."""
        return (
            super().summary()
            | {f"entities_{name.lower()}": count for name, count in self.entities.items()}
            | {f"quarantined_{reason.replace('-', '_')}": count for reason, count in self.quarantine_reasons.items()}
        )
