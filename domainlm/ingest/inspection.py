"""The inspection of sources: each file is read once, as a stream, and every row is checked."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from domainlm.errors import SourceError
from domainlm.ingest.settings import IngestSettings
from domainlm.sources import PAIRS, QA_TEXT, RawRow, RowStream, SourceEntry, SourceManifest, SourceSettings
from domainlm.text import comparable

_CODES = re.compile(r"[a-z]{2}(,[a-z]{2})*")  # of laws and languages; a cell may hold anything


def ingest(settings: IngestSettings) -> SourceManifest:
    """Read and check all sources; keep their digests, columns and counts, and none of their text.

    Args:
        settings: the sources.

    Raises:
        SourceError: a file is missing, empty, malformed, or two of its rows contradict each other.
    """
    sources = tuple(_inspect(source, settings.allow_conflicting_answers) for source in settings.sources)
    return SourceManifest(sources=sources, split_salt=settings.split_salt)


def _inspect(source: SourceSettings, allow_conflicting_answers: bool) -> SourceEntry:
    stream = RowStream(source)
    contradictions = _Contradictions(source, allow_conflicting_answers)
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


class _Contradictions:
    """Finds two answers for one question, and one id for two rows. Keeps digests, so that memory stays small."""

    def __init__(self, source: SourceSettings, allow_conflicting_answers: bool) -> None:
        self.questions = source.form in (QA_TEXT, PAIRS) and not allow_conflicting_answers
        self.answers: dict[bytes, tuple[bytes, int, str]] = {}
        self.ids: dict[bytes, int] = {}

    def check(self, row: RawRow) -> None:
        """Compare a row with those before it."""
        if row.id and (first := self.ids.setdefault(_digest(row.id), row.row)) != row.row:
            raise SourceError(f"has the same id as row {first}", row.where, "give each row an id of its own")
        if not self.questions:
            return
        question = _digest(comparable(row.question), comparable(row.context))
        answer = _digest(comparable(row.answer) or row.answer)
        first_answer, first_row, first_file = self.answers.setdefault(question, (answer, row.row, row.where))
        if first_answer != answer:
            raise SourceError(
                f"has another answer than row {first_row} to the same question", row.where,
                f"keep one of the two (see {first_file}), or set allow_conflicting_answers: true",
            )  # fmt: skip


def _digest(*texts: str) -> bytes:
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
