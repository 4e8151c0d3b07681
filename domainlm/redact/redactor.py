"""From raw records to redacted ones: the only stage that holds raw text, and it writes none of it."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from domainlm.errors import RedactionIncomplete
from domainlm.keys import KeyRing
from domainlm.project import home
from domainlm.records import Record
from domainlm.redact.canaries import check_canaries
from domainlm.redact.quarantine import Quarantine
from domainlm.redact.report import QuarantinedRecord, RedactionReport
from domainlm.redact.settings import IMPERSONAL, PLACEHOLDER, STRUCTURED, RedactSettings

if TYPE_CHECKING:
    from datasets import Dataset

    from domainlm.redact.engine import Scanner
    from domainlm.sources import SourceManifest

BATCH_ROWS = 500
INVALID_TEXT, TOO_LONG, SURVIVES, IN_LABEL, MALFORMED = (
    "invalid-text", "too-long", "identifier-survives", "identifier-in-label", "malformed-record",
)  # fmt: skip
_UNSAFE = re.compile("[\x00\ud800-\udfff]")
# These columns may come from the source's own cells, and are passed on as they are.
_CODES = {
    "language": re.compile(r"[a-z]{2}"),
    "jurisdiction": re.compile(r"([a-z]{2}(,[a-z]{2})*)?"),
    "timestamp": re.compile(r"(\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?)?"),
}


@dataclass
class Outcome:
    """What became of one record: itself, redacted, or the reason why it must not pass."""

    record: Record | None
    reason: str = ""
    entities: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    texts_analyzed: int = 0
    characters: int = 0


class RecordRedactor:
    """Redacts one record at a time; what each process of a redaction holds.

    Args:
        settings: see `RedactSettings`.
        keys: makes the subject ids.
    """

    def __init__(self, settings: RedactSettings, keys: KeyRing) -> None:
        from domainlm.redact.engine import Scanner

        self.settings, self.keys = settings, keys
        self.scanner: Scanner = Scanner(settings)
        self.canaries = check_canaries(lambda record: self.redact(record).record, settings.wanted)

    def redact(self, record: Record) -> Outcome:
        """A copy of a record with placeholders and subject ids, or a reason code. Never raises, never quotes."""
        from domainlm.redact.engine import AnalysisFailed

        analyzed = self.scanner.analyzed
        try:
            outcome = self._redact(record)
        except AnalysisFailed as failure:
            outcome = Outcome(None, str(failure))
        except Exception:  # fail closed: an error's message may quote the text, so not even its kind is told
            outcome = Outcome(None, "analysis-error")
        outcome.texts_analyzed = self.scanner.analyzed - analyzed
        return outcome

    def _redact(self, record: Record) -> Outcome:
        from domainlm.redact.placeholders import Placeholders, normalise
        from domainlm.redact.spreading import spread

        texts = [*(turn["content"] for turn in record["messages"]), record["context"]]
        count = {"texts": len(texts), "characters": sum(map(len, texts))}
        if reason := self._refusal(record, texts):
            return Outcome(None, reason, **count)
        language = record["language"]
        scans = [self.scanner.find(text, language) for text in texts]
        findings = spread([folded for folded, _ in scans], [found for _, found in scans])
        placeholders = Placeholders(texts, self.settings.phone_regions)
        redacted = [
            placeholders.replace(text, found) if found else text for text, found in zip(texts, findings, strict=True)
        ]
        if self.scanner.find(record["label"], language)[1]:
            return Outcome(None, IN_LABEL, **count)
        if any(self._survives(text, bool(found), language) for text, found in zip(redacted, findings, strict=True)):
            return Outcome(None, SURVIVES, **count)
        regions = self.settings.phone_regions
        subjects = {
            self.keys.keyed_id("subject", item.entity, normalise(item.entity, item.value, regions))
            for item in chain.from_iterable(findings)
            if item.entity not in IMPERSONAL
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
        return Outcome(safe, "", Counter(item.entity for item in chain.from_iterable(findings)), **count)

    def _refusal(self, record: Record, texts: list[str]) -> str:
        strings = [value for value in record.values() if isinstance(value, str)]
        if any(_UNSAFE.search(text) for text in chain(texts, strings, record["subjects"])):
            return INVALID_TEXT
        if any(len(text) > self.settings.max_characters for text in texts):
            return TOO_LONG
        if any(not code.fullmatch(record[name]) for name, code in _CODES.items()):
            return MALFORMED
        return ""

    def _survives(self, text: str, changed: bool, language: str) -> bool:
        from domainlm.redact.rescan import survivors

        if survivors(text, self.settings.wanted):
            return True
        return changed and any(item.entity in STRUCTURED for item in self.scanner.find(text, language)[1])


class Redactor:
    """Replaces personal data by placeholders, and seals away what cannot be made safe.

    Args:
        settings: what is replaced, and how much may be quarantined.
        keys: the key of subject ids and of the quarantine; there is no redaction without one.
        quarantine: folder of the sealed records.
        work: folder of the redacted records; a temporary one in the project's own folder by default.
    """

    def __init__(self, settings: RedactSettings, keys: KeyRing, quarantine: Path, work: Path | None = None) -> None:
        self.settings, self.keys = settings, keys
        self.quarantine = Quarantine(quarantine, keys)
        self.work = work

    def run(self, manifest: SourceManifest) -> tuple[Dataset, RedactionReport]:
        """Stream the sources of a manifest and redact them.

        Raises:
            RedactionIncomplete: a canary survived, or too many records had to be quarantined.
            SourceError: a source changed since the manifest was made.
        """
        from domainlm.sources import stream_records

        return self.redact(
            chain.from_iterable(stream_records(entry, manifest, self.keys) for entry in manifest.sources)
        )

    def redact(self, records: Iterable[Record]) -> tuple[Dataset, RedactionReport]:
        """Redact raw records, one after the other: memory does not grow with them. See `run`."""
        from datasets import Dataset

        redactor = RecordRedactor(self.settings, self.keys)
        folder = self._folder()
        draft, path = folder / "records.draft", folder / "records.arrow"
        tally = _Tally()
        try:
            _write(self._pass(records, redactor, tally), draft)
            self._check_share(tally)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return Dataset.from_file(str(path)), tally.report(self.keys.key_id, redactor)

    def _pass(self, records: Iterable[Record], redactor: RecordRedactor, tally: _Tally) -> Iterator[Record]:
        for record, outcome in self._outcomes(records, redactor):
            tally.add(record, outcome)
            if outcome.record is None:
                file = self.quarantine.store(record, outcome.reason)
                tally.quarantined.append(
                    QuarantinedRecord(file=file, reason=outcome.reason, source=record["source"], row=record["row"])
                )
            else:
                yield outcome.record

    def _outcomes(self, records: Iterable[Record], redactor: RecordRedactor) -> Iterator[tuple[Record, Outcome]]:
        if self.settings.processes > 1:
            from domainlm.redact.processes import outcomes

            return outcomes(records, self.settings, self.keys)
        return ((record, redactor.redact(record)) for record in records)

    def _check_share(self, tally: _Tally) -> None:
        quarantined, allowed = len(tally.quarantined), self.settings.max_quarantined_share
        if quarantined > allowed * tally.records:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(tally.reasons.items()))
            raise RedactionIncomplete(
                f"{quarantined} of {tally.records} records had to be quarantined ({reasons}), more than the share of"
                f" {allowed:g}",
                str(self.quarantine.folder),
                "look at them with the key, mend their source, or raise max_quarantined_share of redact",
            )

    def _folder(self) -> Path:
        if self.work is None:
            parent = home() / "work"
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="redact-", dir=parent))
            # The data set is mapped from this file, so it has to last as long as the process.
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            return folder
        self.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.work


class _Tally:
    """Counts of a redaction while it runs."""

    def __init__(self) -> None:
        self.records = self.changed = self.texts = self.texts_analyzed = self.characters = 0
        self.reasons: Counter[str] = Counter()
        self.quarantined: list[QuarantinedRecord] = []
        self.entities: Counter[str] = Counter()
        self.by_source: dict[str, Counter[str]] = {}
        self.by_language: dict[str, Counter[str]] = {}
        self.by_jurisdiction: dict[str, Counter[str]] = {}
        self.subjects: set[str] = set()

    def add(self, record: Record, outcome: Outcome) -> None:
        """Count one record."""
        self.records += 1
        self.texts += outcome.texts
        self.texts_analyzed += outcome.texts_analyzed
        self.characters += outcome.characters
        if outcome.record is None:
            self.reasons[outcome.reason] += 1
            return
        self.changed += bool(outcome.entities)
        self.entities += outcome.entities
        self.by_source.setdefault(record["source"], Counter()).update(outcome.entities)
        self.by_language.setdefault(record["language"], Counter()).update(outcome.entities)
        self.by_jurisdiction.setdefault(record["jurisdiction"], Counter()).update(outcome.entities)
        self.subjects.update(outcome.record["subjects"])

    def report(self, key_id: str, redactor: RecordRedactor) -> RedactionReport:
        """The report of everything counted."""
        from importlib.metadata import version

        def flat(counts: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
            return {name: dict(sorted(counter.items())) for name, counter in sorted(counts.items())}

        return RedactionReport(
            records_in=self.records,
            records_out=self.records - len(self.quarantined),
            records_changed=self.changed,
            records_quarantined=len(self.quarantined),
            quarantine_reasons=dict(sorted(self.reasons.items())),
            quarantined=self.quarantined,
            entities=dict(sorted(self.entities.items())),
            entities_by_source=flat(self.by_source),
            entities_by_language=flat(self.by_language),
            entities_by_jurisdiction=flat(self.by_jurisdiction),
            operators={PLACEHOLDER: sum(self.entities.values())} if self.entities else {},
            handling={},
            handling_class="",
            profiles=[],
            most_changed={},
            name_canaries=[],
            quality=None,
            residual_risk=[],
            subjects=len(self.subjects),
            texts=self.texts,
            texts_analyzed=self.texts_analyzed,
            characters=self.characters,
            canaries=redactor.canaries,
            key_id=key_id,
            versions={name: version(name) for name in ("presidio-analyzer", "presidio-anonymizer")},
            digests={"recognizers": redactor.scanner.digest},
        )


def _write(records: Iterator[Record], path: Path) -> None:
    """Write records as an Arrow stream, batch by batch."""
    import pyarrow

    from domainlm.records import features

    schema = features().arrow_schema
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        batch: list[Record] = []
        for record in records:
            batch.append(record)
            if len(batch) == BATCH_ROWS:
                stream.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            stream.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))
