"""The same redaction in several processes, in the order of the records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING

from domainlm.errors import RedactionIncomplete
from domainlm.keys import KeyRing
from domainlm.records import Record
from domainlm.redact.settings import RedactSettings

if TYPE_CHECKING:
    from domainlm.redact.redactor import Outcome, RecordRedactor

CHUNK_ROWS = 64
CHUNKS_AHEAD = 3  # for each process: enough to keep it busy, few enough that memory stays flat

_redactor: RecordRedactor | None = None


def outcomes(records: Iterable[Record], settings: RedactSettings, keys: KeyRing) -> Iterator[tuple[Record, Outcome]]:
    """Each record with what became of it, in order.

    Raises:
        RedactionIncomplete: a process died, or a canary survived in it.
    """
    stream = iter(records)
    waiting: deque[tuple[list[Record], Future[list[Outcome]]]] = deque()
    # A forked child would inherit locks of the threads that torch and ZenML run.
    with ProcessPoolExecutor(settings.processes, get_context("spawn"), _start, (settings, keys)) as pool:
        try:
            while True:
                while len(waiting) < settings.processes * CHUNKS_AHEAD and (chunk := list(islice(stream, CHUNK_ROWS))):
                    waiting.append((chunk, pool.submit(_redact, chunk)))
                if not waiting:
                    return
                chunk, future = waiting.popleft()
                yield from zip(chunk, future.result(), strict=True)
        except BrokenProcessPool:
            raise RedactionIncomplete(
                "a process of the redaction died, or a canary survived in it",
                "redact",
                "lower processes of redact, or free memory",
            ) from None
        finally:
            for _, future in waiting:
                future.cancel()


def _start(settings: RedactSettings, keys: KeyRing) -> None:
    from domainlm.redact.redactor import RecordRedactor

    global _redactor
    _redactor = RecordRedactor(settings, keys)


def _redact(chunk: list[Record]) -> list[Outcome]:
    assert _redactor is not None
    return [_redactor.redact(record) for record in chunk]
