"""The inspection of sources: each file is read once, as a stream, and every row is checked."""

from __future__ import annotations

import re
from collections import Counter

from domainlm.contradictions import Contradictions
from domainlm.errors import SourceError
from domainlm.ingest.settings import IngestSettings
from domainlm.sources import RowStream, SourceEntry, SourceManifest, SourceSettings

_CODES = re.compile(r"[a-z]{2}(,[a-z]{2})*")  # of laws and languages; a cell may hold anything


def ingest(settings: IngestSettings) -> SourceManifest:
    """Read and check all sources; keep their digests, columns and counts, and none of their text.

    Args:
        settings: the sources.

    Raises:
        SourceError: there is no source; or a file is missing, empty, malformed, or two of its rows contradict each
            other.
    """
    if not settings.sources:
        raise SourceError("there is nothing to read", "sources", "name a source, or let a batch land")
    sources = tuple(_inspect(source, settings.allow_conflicting_answers) for source in settings.sources)
    return SourceManifest(sources=sources, split_salt=settings.split_salt)


def _inspect(source: SourceSettings, allow_conflicting_answers: bool) -> SourceEntry:
    stream = RowStream(source)
    contradictions = Contradictions(source, allow_conflicting_answers)
    rows = 0
    jurisdictions: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for row in stream:
        contradictions.check(row)
        rows += 1
        jurisdictions[_code(row.jurisdiction)] += 1
        languages[_code(row.language)] += 1
    if not rows:
        raise SourceError(
            f"none of its {stream.skipped_rows} rows matches the patterns",
            f"source '{source.name}'",
            "mend the patterns",
        )
    return SourceEntry(
        **source.model_dump(),
        files=tuple(stream.files),
        header=tuple(stream.header),
        rows=rows,
        skipped_rows=stream.skipped_rows,
        jurisdictions=dict(sorted(jurisdictions.items())),
        languages=dict(sorted(languages.items())),
    )


def _code(cell: str) -> str:
    return cell if _CODES.fullmatch(cell) else "?"
