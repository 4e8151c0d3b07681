"""From raw sources to redacted records: the only stage that holds raw text, and it writes none of it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from domainlm.digests import digest_json
from domainlm.errors import ConfigurationError, RedactionIncomplete
from domainlm.handling import MNPI
from domainlm.keys import KeyRing
from domainlm.project import home
from domainlm.records import Record
from domainlm.redact.outcome import Outcome
from domainlm.redact.quarantine import Quarantine
from domainlm.redact.record import RecordRedactor, SourceTraits
from domainlm.redact.report import LabelledQuality, RedactionReport
from domainlm.redact.rules import RuleBook
from domainlm.redact.settings import RedactSettings
from domainlm.redact.tally import Tally

if TYPE_CHECKING:
    from datasets import Dataset

    from domainlm.redact.profiles import Profiles
    from domainlm.sources import SourceManifest

BATCH_ROWS = 500


class Redactor:
    """Replaces personal data, and seals away what cannot be made safe.

    Args:
        settings: what holds beside the profiles, and how the work is done.
        keys: the key of subject ids, vault and quarantine; there is no redaction without one.
        quarantine: folder of the sealed records.
        work: folder of the redacted records; a temporary one in the project's own folder by default.
        profiles: rules by jurisdiction; None to go by the settings alone.
        labelled: the labelled set on which the report states precision and recall; None for none.
        vault: folder of revealable values, for rules whose operator is `vault`; in the project's own by default.
        erased: ids of subjects that were erased: a record that names one is neither passed on nor quarantined.
    """

    def __init__(
        self,
        settings: RedactSettings,
        keys: KeyRing,
        quarantine: Path,
        work: Path | None = None,
        profiles: Profiles | None = None,
        labelled: Path | None = None,
        vault: Path | None = None,
        erased: frozenset[str] = frozenset(),
    ) -> None:
        self.settings, self.keys = settings, keys
        self.quarantine = Quarantine(quarantine, keys)
        self.work, self.profiles, self.labelled, self.vault = work, profiles, labelled, vault
        self.erased = erased

    def run(self, manifest: SourceManifest) -> tuple[Dataset, RedactionReport]:
        """Stream the sources of a manifest and redact them.

        Raises:
            RedactionIncomplete: a canary survived, too few planted names were found, or too many records had to be
                quarantined.
            SourceError: a source changed since the manifest was made.
            ConfigurationError: a source of material non-public information without leave.
        """
        from domainlm.redact import shards
        from domainlm.sources import compare_with_manifest, stream_records

        self._refuse_mnpi(manifest)
        redactor = self._redactor(SourceTraits.of(manifest.sources))
        if sum(entry.rows for entry in manifest.sources) > shards.ROWS_WORTH_PREPARING:
            redactor.scanner.prepare()

        def outcomes(folder: Path) -> Iterator[Outcome]:
            if self.settings.engine == "local" and self.settings.processes == 1:
                records = (stream_records(entry, manifest, self.keys) for entry in manifest.sources)
                yield from _one_by_one(chain.from_iterable(records), redactor)
            else:
                compare_with_manifest(manifest)
                yield from shards.outcomes(manifest, redactor, folder)
                compare_with_manifest(manifest)

        return self._write(outcomes, redactor)

    def redact(self, records: Iterable[Record]) -> tuple[Dataset, RedactionReport]:
        """Redact raw records, one after the other: memory does not grow with them. See `run`."""
        redactor = self._redactor(SourceTraits())
        return self._write(lambda _: _one_by_one(records, redactor), redactor)

    def _redactor(self, traits: SourceTraits) -> RecordRedactor:
        redactor = RecordRedactor(self.settings, self.keys, self.profiles, traits)
        if redactor.book.reveals:
            from domainlm.redact.vault import Vault

            redactor.vault = Vault(self.vault or home() / "vault", self.keys)
            redactor.vault.check()
        return redactor

    def _refuse_mnpi(self, manifest: SourceManifest) -> None:
        names = [entry.name for entry in manifest.sources if entry.handling == MNPI]
        if names and not self.settings.allow_mnpi:
            raise ConfigurationError(
                "material non-public information is not read without leave",
                f"sources {', '.join(names)}",
                "leave them out, or set allow_mnpi: true of redact after those responsible have agreed",
            )

    def _write(
        self, outcomes: Callable[[Path], Iterator[Outcome]], redactor: RecordRedactor
    ) -> tuple[Dataset, RedactionReport]:
        from datasets import Dataset

        names = redactor.name_canaries
        quality = self._quality(redactor)
        folder = self._folder()
        draft, path = folder / "records.draft", folder / "records.arrow"
        tally = Tally()
        try:
            _write_arrow(self._pass(outcomes(folder), tally, redactor.book), draft)
            self._check_share(tally, redactor)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        report = tally.report(self.keys, redactor.book, redactor.canaries, names, quality, self._digests(redactor))
        return Dataset.from_file(str(path)), report

    def _pass(self, outcomes: Iterable[Outcome], tally: Tally, book: RuleBook) -> Iterator[Record]:
        for outcome in outcomes:
            if self.erased and not self.erased.isdisjoint((outcome.record or outcome.original or {})["subjects"]):
                tally.erased_rows += 1
            elif outcome.record is not None:
                tally.add(outcome, "")
                yield outcome.record
            else:
                assert outcome.original is not None
                profile = book.of(outcome.origin["jurisdiction"]).profile
                days = profile.retention_days if profile else None
                tally.add(outcome, self.quarantine.store(outcome.original, outcome.reason, days))

    def _quality(self, redactor: RecordRedactor) -> LabelledQuality | None:
        if self.labelled is None:
            return None
        from domainlm.redact.quality import measure

        return measure(
            lambda text, language, jurisdiction: redactor.scanner.find(
                text, language, redactor.book.of(jurisdiction).least
            )[1],
            self.labelled,
        )

    def _digests(self, redactor: RecordRedactor) -> dict[str, str]:
        from domainlm.redact.recognizers.tagged_names import tagger_digest

        settings = self.settings
        return {
            "recognizers": redactor.scanner.digest,
            "profiles": self.profiles.digest if self.profiles else "",
            "tagger": tagger_digest(settings),
            "settings": digest_json(settings.model_dump(mode="json", exclude={"processes", "engine"})),
        }

    def _check_share(self, tally: Tally, redactor: RecordRedactor) -> None:
        quarantined = len(tally.quarantined)
        allowed = min((redactor.book.of(codes).max_quarantined_share for codes in tally.jurisdictions), default=1.0)
        if quarantined > allowed * tally.records:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(tally.reasons.items()))
            raise RedactionIncomplete(
                f"{quarantined} of {tally.records} records had to be quarantined ({reasons}), more than the share of"
                f" {allowed:g}",
                str(self.quarantine.folder),
                "look at them with `domainlm vault quarantine`, mend their source, or raise max_quarantined_share",
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


def _one_by_one(records: Iterable[Record], redactor: RecordRedactor) -> Iterator[Outcome]:
    return (redactor.redact(record) for record in records)


def _write_arrow(records: Iterator[Record], path: Path) -> None:
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
