"""Rows that contradict each other: two answers for one question, one id for two rows.

`ingest` looks for them in all rows of a source, and retraining in what landed, before it can stop a training.
"""

from __future__ import annotations

import hashlib

from domainlm.errors import SourceError
from domainlm.sources import PAIRS, QA_TEXT, RawRow, SourceSettings
from domainlm.text import comparable


class Contradictions:
    """Compares each row of a source with those before it. Keeps digests of 16 bytes, so that memory stays small.

    Args:
        source: whose rows they are.
        allow_conflicting_answers: two answers for one question are no fault.
    """

    def __init__(self, source: SourceSettings, allow_conflicting_answers: bool) -> None:
        self.questions = source.form in (QA_TEXT, PAIRS) and not allow_conflicting_answers
        self.answers: dict[bytes, tuple[bytes, int, str]] = {}
        self.ids: dict[bytes, tuple[str, int]] = {}

    def check(self, row: RawRow) -> None:
        """Compare a row with those before it.

        Raises:
            SourceError: it has the id of another row, or another answer to the same question.
        """
        here = (row.file, row.row)  # files that are read one by one begin at row 1 each
        if row.id and (first := self.ids.setdefault(digest_of(row.id), here)) != here:
            of_file = "" if first[0] == row.file else f" of {first[0]}"
            raise SourceError(
                f"has the same id as row {first[1]}{of_file}", row.where, "give each row an id of its own"
            )
        if not self.questions:
            return
        question = digest_of(comparable(row.question), comparable(row.context))
        answer = digest_of(comparable(row.answer) or row.answer)
        first_answer, first_row, first_file = self.answers.setdefault(question, (answer, row.row, row.where))
        if first_answer != answer:
            raise SourceError(
                f"has another answer than row {first_row} to the same question", row.where,
                f"keep one of the two (see {first_file}), or set allow_conflicting_answers: true",
            )  # fmt: skip


def digest_of(*texts: str) -> bytes:
    """16 bytes by which texts are told apart."""
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
