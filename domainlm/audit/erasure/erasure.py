"""Erasure of a person (GDPR, Regulation (EU) 2016/679, Art. 17): out of data, samples, caches, checkpoints and vault.

    1. What names the person is searched: stored records first, then every file that names one of their rows.
    2. A legal hold ends the act before anything was touched.
    3. The intent with all that was found goes into the register: from now on no run takes the person in again, and a
       kill at any later point is finished by the next call.
    4. Deletions, each safe to repeat. Artifacts leave a tombstone.
    5. Everything is searched again; what still names the person is an error, and no entry is made.
    6. The ledger's entry (a salted commitment, digests, counts), then the salt is destroyed.

Models that learnt from the data are named in the entry and marked, not unlearned: only training again removes what
weights remember.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from domainlm.audit.erasure import holds
from domainlm.audit.erasure.at_rest import at_rest, refuse_runs_at_work
from domainlm.audit.erasure.stored import Store, Version, is_erased, tombstone
from domainlm.audit.erasure.suppression import ErasureRegister, Plan, case_reference
from domainlm.audit.erasure.traces import RECORDS_SUFFIX, WEIGHTS, files_naming, finder, rows_naming
from domainlm.audit.evidence import Evidence
from domainlm.audit.lineage.index import PRETRAINING, TRAINING, Lineage
from domainlm.errors import ApprovalRefused, ArtifactError
from domainlm.ledger import entries
from domainlm.ledger.acts import Erasure
from domainlm.names import TRAIN

LEARNT = (PRETRAINING, TRAINING)
START = "start"  # the input of `train` that holds the adapter that it goes on from
# where a file that names a row may be deleted: what runs leave beside artifacts, and can make again
ROOMS = ("artifacts", "cache", "configurations", "huggingface", "logs", "mlflow", "runs", "work")
DATABASES = (".db", ".db-wal", ".db-shm", ".db-journal")
DATASETS_CACHES = ("cache/huggingface/datasets", "huggingface/datasets")
MAX_SUBJECTS = 1000


@dataclass
class Erased:
    """What an erasure did for one subject: the number of its entry, counts, models to train again."""

    entry: int
    counts: dict[str, int]
    models: list[str]


@dataclass
class Places:
    """Everything that an erasure reaches; what belongs to other stages comes as a callable.

    Args:
        home: folder of everything that runs make.
        store: the artifact versions.
        lineage: the row-level index.
        evidence: reads the ledger.
        submit: (kind, subjects, content) -> receipt; `domainlm.ledger.client.submit`.
        forget_vault: (subject, reason, person) -> values deleted; the key of the subject goes too.
        drop_vault: (record ids) -> values deleted of records that are gone.
        forget_quarantine: subject -> sealed records deleted.
        mark_models: marks models (by identity) in the registries as to be trained again.
        identify: the subject ids that a text may have, so that no reason names an erased person.
    """

    home: Path
    store: Store
    lineage: Lineage
    evidence: Callable[[], Evidence]
    submit: Callable[[str, dict[str, str], dict[str, Any]], Any]
    forget_vault: Callable[[str, str, str], int]
    drop_vault: Callable[[Iterable[str]], int]
    forget_quarantine: Callable[[str], int]
    mark_models: Callable[[list[str]], None]
    identify: Callable[[str], Iterable[str]]


@dataclass
class _Found:
    """What a search found: ids of rows by subject, and of the subject itself, as any key spelled them; versions by id
    with the ids that each names; and files of no version."""

    rows: dict[str, set[str]]
    spelled: dict[str, set[str]]
    versions: dict[str, tuple[Version, set[str]]] = field(default_factory=dict)
    files: dict[Path, set[str]] = field(default_factory=dict)

    def of(self, subject: str, named: set[str]) -> bool:
        """Whether a place that names these ids names the subject or one of its rows."""
        return not named.isdisjoint(self.rows.get(subject, set()) | self.spelled.get(subject, set()))


class Eraser:
    """Erases persons by keyed id.

    Args:
        places: what it reaches.
        register: the erasure register.
        today: the day that tombstones bear.
    """

    def __init__(self, places: Places, register: ErasureRegister, today: date | None = None) -> None:
        self.places, self.register, self.today = places, register, today or date.today()

    def erase(self, subjects: Iterable[str], reason: str, person: str) -> dict[str, Erased]:
        """Erase some subjects, and finish every erasure that was interrupted.

        Args:
            subjects: keyed ids; none, to finish what was interrupted.
            reason: for the ledger and the logs: the request's number (`case_reference`).
            person: who does it.

        Returns:
            What was done, by subject.

        Raises:
            ApprovalRefused: a legal hold stands; nothing was deleted.
            AccessRefused: no subject id, or no reason that may be written.
            PlaceTaken: a run is at work.
            ArtifactError: something that names a subject could not be deleted; call again after mending it.
        """
        wanted = sorted({self.register.checked(subject) for subject in subjects})
        if wanted:
            named = {*wanted, *self.register.subjects()}
            reason = case_reference(reason, named, self.places.identify)
        if len(wanted) > MAX_SUBJECTS:
            raise ApprovalRefused(f"more than {MAX_SUBJECTS} subjects at once", "erase", "erase them in parts")
        with at_rest(self.places.home, "erasure"):
            evidence = self.places.evidence()
            pending = {name: plan for name, (_, plan) in self.register.pending().items()}
            if not wanted and not pending:
                return {}
            found = self._search({*wanted, *pending}, pending, self._own())
            plans = {}
            for name in sorted({*wanted, *pending}):
                plan = self._plan(name, found, evidence, Plan(reason=reason, by=person), pending.get(name))
                plans[name] = pending[name].joined(plan) if name in pending else plan
            doomed = {digest for plan in plans.values() for digest in (*plan.artifacts, *plan.data)}
            holds.refuse(holds.in_the_way(evidence, self.register, plans, doomed))
            for name, plan in plans.items():
                self.register.intend(name, plan)
            refuse_runs_at_work(self.places.home, "erasure")  # one that began since does not know of the intent
            self._delete(found)
            return self._enter(evidence)

    def repeat(self) -> int:
        """Delete again whatever names a subject of the register, without new entries: after a restore.

        Returns:
            How many artifact versions and files had come back.
        """
        subjects = self.register.subjects()
        if not subjects:
            return 0
        found = self._search(subjects, {}, self._own())
        acts = {
            digest: stated.act.commitment
            for stated in self.places.evidence().of_kind(entries.ERASURE)
            for digest in stated.act.data
        }
        self._remove(found, lambda version: acts.get(version.digest, ""))
        rows = {row for named in found.rows.values() for row in named}
        self.places.lineage.forget_rows(self._present(rows))
        self.places.drop_vault(rows)
        for subject in subjects:
            self.places.lineage.forget(subject)
            self.places.forget_quarantine(subject)
            self.places.forget_vault(subject, "erasure repeated after a restore", "restore")
        self._check_gone(subjects, rows)
        return len(found.versions) + len(found.files)

    # ------------------------------------------------------------------------------------------------------ searching

    def _search(self, subjects: Iterable[str], pending: dict[str, Plan], without: Iterable[Path] = ()) -> _Found:
        subjects = frozenset(subjects)
        rows: dict[str, set[str]] = {name: set(pending[name].rows) if name in pending else set() for name in subjects}
        spelled = {name: {name} for name in subjects}
        versions = [version for version in self.places.store.versions() if not is_erased(self.places.store, version)]
        for version in versions:
            for file in self.places.store.files(version):
                if file.endswith(RECORDS_SUFFIX):
                    with self.places.store.open(version, file) as stream:
                        for found_row in rows_naming(stream, subjects, self.register.keys):
                            rows[found_row.subject].add(found_row.record)
                            spelled[found_row.subject].add(found_row.spelled)
        for name in subjects:
            for data in self.places.lineage.data_of(name):
                rows[name].update(row.record for row in self.places.lineage.rows_about(name, data) if row.record)
        found = _Found(rows, spelled)
        ids = set().union(*rows.values(), *spelled.values())
        find = finder(ids)
        for version in versions:
            named: set[str] = set()
            for file in self.places.store.files(version):
                if Path(file).suffix not in WEIGHTS:
                    with self.places.store.open(version, file) as stream:
                        named |= find(stream)
            if named:
                found.versions[version.id] = version, named
        inside = [Path(version.place) for version in versions]
        for path, named in files_naming(self.places.home, ids, [*self._kept(), *without, *inside]):
            found.files[path] = named
        return found

    def _kept(self) -> list[Path]:
        """What may go on naming an erased subject: the register, the vault's list of the forgotten, its access log."""
        vault = self.places.home / "vault"
        return _with_sides(self.register.path, vault / "keys.sqlite", vault / "access.jsonl")

    def _own(self) -> list[Path]:
        """Stores that forget by themselves."""
        return _with_sides(self.places.home / "vault" / "values.sqlite", self.places.lineage.path)

    def _plan(self, subject: str, found: _Found, evidence: Evidence, empty: Plan, begun: Plan | None) -> Plan:
        versions = [version for version, named in found.versions.values() if found.of(subject, named)]
        data = {version.digest for version in versions} | set(self.places.lineage.data_of(subject))
        # who learnt from data of an earlier call was told then; its rows may be out of the index by now
        fresh = data - set(begun.data if begun else ())
        return empty.model_copy(
            update={
                "rows": sorted(found.rows[subject]),
                "artifacts": {version.digest: version.name for version in versions if version.digest},
                "data": sorted(data - {""}),
                "models": sorted(self._models(subject, fresh, evidence)),
                "counts": {
                    "rows": len(self._present(found.rows[subject])),
                    "artifacts": len(versions),
                    "files": sum(found.of(subject, named) for named in found.files.values()),
                },
            }
        )

    def _models(self, subject: str, data: set[str], evidence: Evidence) -> set[str]:
        """Models whose training, or whose base's, read a row of the subject. Where nobody can tell, they count."""
        lineage = self.places.lineage
        found = {
            used.identity
            for digest in data
            for used in lineage.uses_of(digest)
            if used.identity and used.use in LEARNT and self._in_use(subject, digest, used.use)
        }
        for stated in evidence.of_kind(entries.RUN):
            run = stated.act
            if run.model is None:
                continue
            if run.rows:
                read = any(
                    rows.data in data and rows.use in LEARNT and self._in_use(subject, rows.data, rows.use)
                    for rows in run.rows
                )
            else:  # a manifest of before the row sets
                read = any(digest in data for step in run.steps for digest in step.inputs.values())
            if read:
                found.add(run.model.identity)
        return _with_descendants(found, evidence)

    def _present(self, rows: Iterable[str]) -> set[str]:
        """Ids of records as the present key makes them, as the index of rows and the vault have them."""
        return {self.register.keys.carried("record", row) for row in rows}

    def _in_use(self, subject: str, data: str, use: str) -> bool:
        try:
            about = {row.position for row in self.places.lineage.rows_about(subject, data)}
            return not about or any(row.position in about for row in self.places.lineage.rows_of(data, use))
        except ArtifactError:  # the index does not know the data version
            return True

    # ------------------------------------------------------------------------------------------------------- deleting

    def _delete(self, found: _Found) -> None:
        for subject, (committed, plan) in self.register.pending().items():
            mine = _Found(
                found.rows,
                found.spelled,
                {key: value for key, value in found.versions.items() if found.of(subject, value[1])},
                {path: named for path, named in found.files.items() if found.of(subject, named)},
            )
            counts = {
                "work_folders": self._remove(mine, lambda _, committed=committed: committed),
                "quarantined": self.places.forget_quarantine(subject),
                "vault_values": self.places.drop_vault(plan.rows)
                + self.places.forget_vault(subject, plan.reason, plan.by),
            }
            self.places.lineage.forget_rows(self._present(plan.rows))
            self.places.lineage.forget(subject)
            self.places.mark_models(plan.models)
            self.register.intend(subject, plan.model_copy(update={"counts": plan.counts | counts}))

    def _remove(self, found: _Found, act_of: Callable[[Version], str]) -> int:
        """Delete versions, files and caches; returns how many work folders went.

        Args:
            act_of: the commitment of the act that a version's tombstone names.
        """
        home = self.places.home
        for path in found.files:
            room = path.relative_to(home).parts[0]
            in_a_model = "models" in path.parts and room in ("artifacts", "mlflow")
            if room in ROOMS and not path.name.endswith(DATABASES) and not in_a_model and not _evidence(path):
                path.unlink(missing_ok=True)
        versions = [version for version, _ in found.versions.values()]
        folders = self.places.store.forget_caches(versions)  # before the files: a cached step must not hand them on
        for version in versions:
            self.places.store.erase(version, tombstone(entries.ERASURE, act_of(version), version, self.today))
        for cache in [home / name for name in DATASETS_CACHES] + sorted((home / "work").glob("redact-*")):
            shutil.rmtree(cache, ignore_errors=True)  # what a map over the records left there names no row
        return folders

    def _check_gone(self, subjects: Iterable[str], rows: Iterable[str]) -> None:
        plan = Plan(reason="", by="", rows=sorted(rows))
        left = self._search(subjects, dict.fromkeys(subjects, plan))
        places = [version.place for version, _ in left.versions.values()] + [str(path) for path in left.files]
        places += [str(self.places.lineage.path) for name in subjects if self.places.lineage.data_of(name)]
        if places:
            raise ArtifactError(
                f"{len(places)} places still name an erased person: {', '.join(sorted(places)[:5])}", "erasure",
                "erase from the stack whose store holds them (`-s STACK`; without it, the project's own), or delete "
                "them by hand; then call `domainlm erase` again: it finishes and makes the entry",
            )  # fmt: skip

    def _enter(self, evidence: Evidence) -> dict[str, Erased]:
        pending = self.register.pending()
        self._check_gone(pending, {row for _, plan in pending.values() for row in plan.rows})
        # an entry whose receipt was never heard is not made again
        known = {stated.act.commitment: stated for stated in evidence.of_kind(entries.ERASURE)}
        done = {}
        for subject, (committed, plan) in pending.items():
            if committed in known:
                number, digest = known[committed].number, known[committed].digest
            else:
                act = Erasure(
                    commitment=committed,
                    data=sorted({*plan.data, *plan.artifacts}),
                    models=plan.models,
                    counts=plan.counts,
                    by=plan.by,
                    reason=plan.reason,
                )
                receipt = self.places.submit(entries.ERASURE, {"erasure": committed}, act.model_dump(mode="json"))
                number, digest = receipt.number, receipt.entry
            self.register.enter(subject, digest)
            done[subject] = Erased(number, plan.counts, plan.models)
        return done


def _with_descendants(identities: set[str], evidence: Evidence) -> set[str]:
    """With the models whose training went on from the adapter of one of these: what that learnt is in them too, also
    where their own rows, a part of the old ones, no longer hold it."""
    found, runs = set(identities), [stated.act for stated in evidence.of_kind(entries.RUN) if stated.act.model]
    while True:
        adapters = {run.model.digests["adapter"] for run in runs if run.model.identity in found}
        went_on = {
            run.model.identity
            for run in runs
            if any(step.name == TRAIN and step.inputs.get(START) in adapters for step in run.steps)
        }
        if went_on <= found:
            return found
        found |= went_on


def _with_sides(*files: Path) -> list[Path]:
    """Files with what SQLite keeps beside them."""
    return [path.with_name(path.name + side) for path in files for side in ("", "-wal", "-shm", "-journal")]


def _evidence(path: Path) -> bool:
    """A run's manifest, which names no row; were one to, it is a fault that must be seen."""
    return path.parent.name == "runs" and path.suffix == ".json"
