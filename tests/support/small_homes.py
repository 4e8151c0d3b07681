"""A project's home as runs leave it, its artifact versions in folders, for the tests of erasure and backup."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from datasets import Dataset
from small_ledgers import SmallLedger, small_ledger, small_run

from cli.erase import identifier
from domainlm.artifacts import TOMBSTONE
from domainlm.audit.erasure.erasure import Eraser, Places
from domainlm.audit.erasure.stored import Version
from domainlm.audit.erasure.suppression import FILE, ErasureRegister
from domainlm.audit.lineage.index import TEST, TRAINING, Lineage
from domainlm.digests import digest_bytes, digest_dataset
from domainlm.keys import KeyRing
from domainlm.ledger.run.manifest import StepEntry
from domainlm.records import features
from domainlm.redact.access import AccessLog
from domainlm.redact.quarantine import Quarantine
from domainlm.redact.vault import Entry, Vault

REASON = "request 2026-117"


class FolderStore:
    """Artifact versions as folders below `artifacts/`; each notes its name and digest in `index`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.index: dict[str, tuple[str, str, str]] = {}
        self.readers: dict[str, list[Path]] = {}  # version -> work folders of steps that read it
        self.uncached: set[str] = set()

    def add(self, name: str, files: dict[str, bytes], digest: str, created: str = "2026-11-01") -> Path:
        folder = self.home / "artifacts" / name / str(len(self.index))
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        self.index[str(folder)] = name, digest, created
        return folder

    def versions(self) -> Iterator[Version]:
        for place, (name, digest, created) in self.index.items():
            yield Version(place, name, digest, place, created)

    def files(self, version: Version) -> Iterator[str]:
        yield from sorted(str(path) for path in Path(version.place).glob("*"))

    def open(self, version: Version, file: str) -> BinaryIO:
        return open(file, "rb")

    def erase(self, version: Version, tombstone: bytes) -> None:
        (Path(version.place) / TOMBSTONE).write_bytes(tombstone)
        for path in Path(version.place).glob("*"):
            if path.name != TOMBSTONE:
                path.unlink()

    def forget_caches(self, versions: Iterable[Version]) -> int:
        count = 0
        for version in versions:
            self.uncached.add(version.id)
            for work in self.readers.get(version.id, []):
                count += work.exists()
                shutil.rmtree(work, ignore_errors=True)
        return count


@dataclass
class SmallHome:
    """A home in which two persons' rows went through a run: `gone` and `stays`, by subject id.

    Args:
        rows: ids of the rows that name `gone`.
        clean: place of a data version that does not name `gone`.
    """

    home: Path
    keys: KeyRing
    ledger: SmallLedger
    store: FolderStore
    lineage: Lineage
    vault: Vault
    quarantine: Quarantine
    register: ErasureRegister
    gone: str
    stays: str
    rows: list[str] = field(default_factory=list)
    data: str = ""
    redacted: str = ""
    identity: str = ""
    clean: Path = Path()
    marked: list[str] = field(default_factory=list)

    def places(self, **changes: Any) -> Places:
        def submit(kind: str, subjects: dict[str, str], content: dict[str, Any]) -> Any:
            return self.ledger.state("recorder", kind, content, subjects)

        values: dict[str, Any] = {
            "home": self.home, "store": self.store, "lineage": self.lineage, "evidence": self.ledger.evidence,
            "submit": submit, "forget_vault": self.vault.forget, "drop_vault": self.vault.drop,
            "forget_quarantine": self.quarantine.forget, "mark_models": self.marked.extend,
            "identify": identifier(self.keys),
        }  # fmt: skip
        return Places(**(values | changes))

    def eraser(self, **changes: Any) -> Eraser:
        return Eraser(self.places(**changes), self.register)


def rotated(small: SmallHome) -> SmallHome:
    """The home after a rotation of the key: stores carried, stored artifacts with the ids that they had."""
    keys = small.keys.succeeded_by(KeyRing.new("next-key"))
    small.vault.close()
    Vault(small.home / "vault", keys).rekey(small.keys)
    Quarantine(small.home / "quarantine", keys).rekey(small.keys)
    AccessLog(small.home / "vault", keys).rekey(small.keys)
    small.lineage.carry(keys)
    return replace(
        small, keys=keys, vault=Vault(small.home / "vault", keys),
        quarantine=Quarantine(small.home / "quarantine", keys),
        register=ErasureRegister(small.register.path, keys), gone=keys.carried("subject", small.gone),
        stays=keys.carried("subject", small.stays),
    )  # fmt: skip


def rows_of(keys: KeyRing, persons: dict[int, list[str]], count: int = 40, source: str = "letters") -> Dataset:
    """Records 1..count; some name persons. Every tenth is a test row."""
    empty = {name: "" for name in features()} | {"split_bucket": 0, "handling": "public", "language": "en"}
    return Dataset.from_list(
        [
            empty | {
                "id": keys.keyed_id("record", source, str(row)), "row": row, "source": source,
                "messages": [{"role": "document", "content": f"{source} {row} of [PERSON_1]"}],
                "group": keys.keyed_id("group", "letters", str(row)), "split": "test" if row % 10 == 0 else "train",
                "subjects": persons.get(row, []), "timestamp": "2026-01-01",
            }
            for row in range(1, count + 1)
        ],
        features=features(),
    )  # fmt: skip


def arrow_bytes(records: Dataset) -> bytes:
    import io

    import pyarrow as pa

    sink = io.BytesIO()
    table = records.with_format("arrow")[:]
    with pa.ipc.new_stream(sink, records.features.arrow_schema) as writer:
        writer.write_table(table.cast(records.features.arrow_schema))
    return sink.getvalue()


def small_home(home: Path) -> SmallHome:
    """A home with data, reports that name rows, samples, caches, checkpoints, vault, quarantine, lineage and a run."""
    keys = KeyRing.new("bank-key")
    ledger = small_ledger(home / "evidence")
    gone, stays = keys.keyed_id("subject", "PERSON", "anna"), keys.keyed_id("subject", "PERSON", "bert")
    made = SmallHome(
        home, keys, ledger, FolderStore(home), Lineage(home / "evidence" / "lineage.sqlite"),
        Vault(home / "vault", keys), Quarantine(home / "quarantine", keys),
        ErasureRegister(home / "evidence" / FILE, keys), gone, stays,
    )  # fmt: skip
    records = rows_of(keys, {3: [gone], 10: [gone], 17: [gone, stays], 20: [stays]})
    prepared = records.select([row for row in range(40) if row != 9])
    made.rows = [records[row - 1]["id"] for row in (3, 10, 17)]
    made.redacted, made.data = digest_dataset(records), digest_dataset(prepared)
    for name, found, digest in (
        ("redacted_records", records, made.redacted), ("prepared_records", prepared, made.data),
    ):  # fmt: skip
        place = made.store.add(name, {"records.arrow": arrow_bytes(found), "cache-1.arrow": b"tokens"}, digest)
        work = home / "work" / "train" / name
        (work / "work" / "checkpoint-2").mkdir(parents=True)
        (work / "work" / "checkpoint-2" / "adapter_model.safetensors").write_bytes(b"weights")
        made.store.readers[str(place)] = [work]
        made.lineage.enter(digest, name, found)
    report = json.dumps({"most_changed": {made.rows[0]: 4}}).encode()
    made.store.add("redaction_report", {"report.json": report}, digest_bytes(report))
    other = rows_of(keys, {5: [stays]}, 8, "notes")
    made.clean = made.store.add("prepared_records", {"records.arrow": arrow_bytes(other)}, digest_dataset(other))
    for file, text in {
        "work/train/other/tensorboard/events.1": f"samples/{made.rows[2]}",
        "mlflow/artifacts/7/samples/step-2.json": json.dumps([{"record": made.rows[0], "prompt": "letter 3"}]),
        "runs/1.redaction_report.html": f"<td>{made.rows[0]}</td>",
        "cache/huggingface/datasets/generator/cache-9.arrow": "token ids of everybody",
        "logs/domainlm.log": "nothing",
    }.items():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text)
    for record, subject, name in ((made.rows[0], gone, "Anna Quist"), (made.rows[2], stays, "Bert Quist")):
        made.vault.put(record, [Entry(subject, "[PERSON_1]", "PERSON", name)])
    sealed = {"id": "1", "source": "letters", "row": 99, "subjects": [gone], "messages": []}
    made.quarantine.store(sealed, "too-long")
    sets = [made.lineage.use(made.data, TRAINING, "train"), made.lineage.use(made.data, TEST, "test")]
    run = small_run(1, rows=sets, steps=[StepEntry(name="train", status="completed", inputs={"records": made.data})])
    made.identity = run.model.identity
    made.lineage.link(run.run_id, run.model.identity, "domainlm-finance/1", sets)
    ledger.enter_run(run)
    ledger.enter_run(small_run(2, steps=[StepEntry(name="train", status="completed", inputs={"records": "0" * 64})]))
    return made
