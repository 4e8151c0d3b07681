"""The row-level index: from a model to the rows that made it, and from a person to every data version and model.

    lineage = Lineage(evidence_folder() / "lineage.sqlite")
    lineage.enter(data, "prepared_records", records)          # once a data version
    rows = lineage.use(data, TRAINING, "train")               # a RowSet for the manifest
    lineage.link(run_id, model_identity, "domainlm-finance/3", [rows])
    lineage.data_of(subject), lineage.models_of(data)

It lies outside of the ledger, because what is appended there cannot be deleted, and ids of persons must be. The ledger
holds one root a set of rows instead: each row has a random salt, and the commitment HMAC-SHA-256(salt, record id); the
root is that of the RFC 6962 tree over the commitments in row order. When a person is forgotten, id, salt, row number
and persons of their rows go and the commitments stay: the root still verifies, and nobody can tell whose they were. A
commitment under a salt that nobody has is indistinguishable from a random number.

Ids are those of the present key: `carry` moves them on after a rotation, and drops the salts then. A salt opens a
commitment to the old id only, and to keep it would tell the holder of the old key which rows are whose.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from domainlm.errors import ArtifactError
from domainlm.keys import KeyRing
from domainlm.ledger.merkle import Frontier, leaf_hash
from domainlm.ledger.run.manifest import RowSet

if TYPE_CHECKING:
    from datasets import Dataset

FILE = "lineage.sqlite"
PRETRAINING, TRAINING, DEVELOPMENT, TEST = "pretraining", "training", "development", "test"
USES = (PRETRAINING, TRAINING, DEVELOPMENT, TEST)
SALT_BYTES = 32
BATCH_ROWS = 10_000
# what all rows of a source, task and split have in common; a profile is one combination
PROFILE = ("source", "split", "task", "licence", "consent", "purpose", "jurisdiction", "handling", "language")
_READ = ("id", "row", "subjects", *PROFILE)

_METADATA = sa.MetaData()
_DATA = sa.Table(
    "data",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("artifact", sa.Text, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
)
_PROFILES = sa.Table(
    "profiles",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in PROFILE),
    sa.UniqueConstraint(*PROFILE),
)
_ROWS = sa.Table(
    "rows",
    _METADATA,
    sa.Column("data", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("profile", sa.Integer, nullable=False),
    sa.Column("record", sa.Text),  # these three are NULL once a person of the row was forgotten
    sa.Column("source_row", sa.Integer),
    sa.Column("salt", sa.LargeBinary(SALT_BYTES)),
    sa.Column("commitment", sa.LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)
_SUBJECTS = sa.Table(
    "subjects",
    _METADATA,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("data", sa.Integer, primary_key=True),
    # -1: the row was forgotten for another person's sake; that the data saw this one is still true
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Index("subjects_of_row", "data", "position"),
    sqlite_with_rowid=False,
)
_USES = sa.Table(
    "uses",
    _METADATA,
    sa.Column("data", sa.Integer, primary_key=True),
    sa.Column("use", sa.Text, primary_key=True),
    sa.Column("split", sa.Text, primary_key=True),
)
_RUNS = sa.Table(
    "runs",
    _METADATA,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("data", sa.Integer, primary_key=True),
    sa.Column("use", sa.Text, primary_key=True),
    sa.Column("identity", sa.Text, nullable=False),  # "" where the run registered no model
    sa.Column("model", sa.Text, nullable=False),
    sa.Index("runs_of_data", "data"),
    sa.Index("runs_of_model", "identity"),
)
_META = sa.Table("meta", _METADATA, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text))
_GONE = -1


class Row(NamedTuple):
    """One row of a data version, without its text. `record` is "" and `row` 0 where it was forgotten."""

    position: int
    record: str
    row: int
    source: str
    split: str
    task: str
    licence: str
    consent: str
    purpose: str
    jurisdiction: str
    handling: str
    language: str


class Used(NamedTuple):
    """A run that used a data version: for what, and the model that came of it ("" for none)."""

    run: str
    data: str
    use: str
    identity: str
    model: str


@dataclass(frozen=True)
class DataVersion:
    """A data version of the index: content digest, name of the artifact, number of rows."""

    digest: str
    artifact: str
    rows: int


class Lineage:
    """The index in one file of mode 0600. Several processes may use it at once.

    Args:
        path: of the SQLite file; made, with its folder, where there is none.

    Raises:
        ArtifactError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # SQLite's own side files take over the mode
        self._engine = sa.create_engine(
            f"sqlite:///{path}", hide_parameters=True, connect_args={"timeout": 60.0}, poolclass=sa.NullPool
        )
        sa.event.listen(self._engine, "connect", _settled)
        sa.event.listen(self._engine, "begin", _begin)
        with self._writing() as connection:
            _METADATA.create_all(connection)

    def enter(self, data: str, artifact: str, records: Dataset, *, named_only: bool = False) -> int:
        """Take up a data version; one that is known already stays as it is, with its salts.

        The texts are not read. 10^6 rows take some 11 s of one core, one batch of memory and 160 MB of disk.

        Args:
            data: content digest of the records.
            artifact: what the artifact is called.
            records: the records themselves (`domainlm.records.Record`).
            named_only: take up only the rows that name a person; for data that no model sees, such as what
                `prepare` dropped, and that still must be found when the person asks.

        Returns:
            How many rows were taken up, now or earlier.
        """
        with self._writing() as connection:
            if (known := _number(connection, data)) is not None:
                return connection.execute(sa.select(_DATA.c.rows).where(_DATA.c.number == known)).scalar_one()
            number = connection.execute(
                sa.insert(_DATA).values(digest=data, artifact=artifact, rows=0)
            ).inserted_primary_key[0]
            profiles: dict[tuple[str, ...], int] = {}
            total = 0
            arrow = records.select_columns([name for name in _READ if name in records.column_names])
            arrow = arrow.with_format("arrow")
            for start in range(0, len(arrow), BATCH_ROWS):
                columns = arrow[start : start + BATCH_ROWS].to_pydict()
                total += self._enter_batch(connection, number, start, columns, profiles, named_only)
            connection.execute(sa.update(_DATA).where(_DATA.c.number == number).values(rows=total))
        return total

    def _enter_batch(
        self,
        connection: sa.Connection,
        number: int,
        start: int,
        columns: dict[str, list[Any]],
        profiles: dict[tuple[str, ...], int],
        named_only: bool,
    ) -> int:
        ids, persons = columns["id"], columns["subjects"]
        empty = [""] * len(ids)
        kinds = list(zip(*(columns.get(name, empty) for name in PROFILE), strict=True))
        for kind in set(kinds) - profiles.keys():
            profiles[kind] = _profile(connection, kind)
        salts = secrets.token_bytes(SALT_BYTES * len(ids))
        rows, named = [], []
        for place, (record, row, subjects, kind) in enumerate(zip(ids, columns["row"], persons, kinds, strict=True)):
            if named_only and not subjects:
                continue
            salt = salts[SALT_BYTES * place : SALT_BYTES * (place + 1)]
            position = start + place
            rows.append((number, position, profiles[kind], record, row, salt, commitment(salt, record)))
            named += ((subject, number, position) for subject in set(subjects))
        if rows:
            connection.exec_driver_sql("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        if named:
            connection.exec_driver_sql("INSERT INTO subjects VALUES (?, ?, ?)", named)
        return len(rows)

    def knows(self, data: str) -> bool:
        """Whether a data version was entered."""
        with self._reading() as connection:
            return _number(connection, data) is not None

    def use(self, data: str, use: str, split: str) -> RowSet:
        """Note that the rows of a split serve a use, and commit to them.

        Args:
            data: content digest of a data version that was entered.
            use: one of `USES`.
            split: the rows' split.

        Raises:
            ArtifactError: the data version was not entered.
        """
        with self._writing() as connection:
            number = self._known(connection, data)
            connection.execute(
                sa.text("INSERT OR IGNORE INTO uses VALUES (:data, :use, :split)"),
                {"data": number, "use": use, "split": split},
            )
        return self.root_of(data, use)

    def root_of(self, data: str, use: str) -> RowSet:
        """The set of rows of a use, with its root computed from the commitments; compare it with a manifest's.

        Raises:
            ArtifactError: the data version was not entered.
        """
        with self._reading() as connection:
            chosen = _of_use(self._known(connection, data), use)
            query = sa.select(_ROWS.c.commitment).where(chosen).order_by(_ROWS.c.position)
            found = connection.execution_options(yield_per=BATCH_ROWS).execute(query).scalars()
            frontier = Frontier().extended(leaf_hash(bytes(one)) for one in found)
        return RowSet(data=data, use=use, rows=frontier.size, root=frontier.root.hex())

    def link(self, run: str, identity: str, model: str, sets: Iterable[RowSet]) -> None:
        """Note that a run used some sets of rows, and the model that came of it.

        Args:
            run: id of the run.
            identity: of the model; "" where the run registered none.
            model: NAME/VERSION.
            sets: what `use` gave.
        """
        with self._writing() as connection:
            for found in sets:
                connection.execute(
                    sa.text("INSERT OR REPLACE INTO runs VALUES (:run, :data, :use, :identity, :model)"),
                    {
                        "run": run,
                        "data": self._known(connection, found.data),
                        "use": found.use,
                        "identity": identity,
                        "model": model,
                    },
                )

    def rows_of(self, data: str, use: str = "") -> Iterator[Row]:
        """The rows of a data version, in order; of one use where it is named.

        Raises:
            ArtifactError: the data version was not entered.
        """
        with self._reading() as connection:
            number = self._known(connection, data)
            chosen = _of_use(number, use) if use else _ROWS.c.data == number
            query = (
                sa.select(
                    _ROWS.c.position,
                    sa.func.coalesce(_ROWS.c.record, ""),
                    sa.func.coalesce(_ROWS.c.source_row, 0),
                    *(_PROFILES.c[name] for name in Row._fields[3:]),
                )
                .join(_PROFILES, _PROFILES.c.number == _ROWS.c.profile)
                .where(chosen)
                .order_by(_ROWS.c.position)
            )
            for found in connection.execution_options(yield_per=BATCH_ROWS).execute(query):
                yield Row(*found)

    def counts(self, data: str, use: str = "") -> dict[str, dict[str, int]]:
        """Rows by source, licence, consent, purpose, jurisdiction, handling, split, task and language, and how many of
        them were forgotten: `{"licence": {"CC-BY-4.0": 120}, ..., "forgotten": {"": 3}}`."""
        with self._reading() as connection:
            number = self._known(connection, data)
            chosen = _of_use(number, use) if use else _ROWS.c.data == number
            found = connection.execute(
                sa.select(sa.func.count(), sa.func.count(_ROWS.c.record), *(_PROFILES.c[name] for name in PROFILE))
                .join(_PROFILES, _PROFILES.c.number == _ROWS.c.profile)
                .where(chosen)
                .group_by(_ROWS.c.profile)
            ).all()
        counted: dict[str, dict[str, int]] = {name: {} for name in PROFILE}
        gone = 0
        for rows, present, *kind in found:
            gone += rows - present
            for name, value in zip(PROFILE, kind, strict=True):
                counted[name][value] = counted[name].get(value, 0) + rows
        return counted | ({"forgotten": {"": gone}} if gone else {})

    def data_versions(self) -> list[DataVersion]:
        """All that were entered, the oldest first."""
        with self._reading() as connection:
            query = sa.select(_DATA.c.digest, _DATA.c.artifact, _DATA.c.rows).order_by(_DATA.c.number)
            return [DataVersion(*row) for row in connection.execute(query)]

    def data_of(self, subject: str) -> list[str]:
        """Digests of every data version that holds or held a row about a person (by keyed id), the oldest first."""
        with self._reading() as connection:
            query = (
                sa.select(_DATA.c.digest)
                .where(_DATA.c.number.in_(sa.select(_SUBJECTS.c.data).where(_SUBJECTS.c.subject == subject)))
                .order_by(_DATA.c.number)
            )
            return list(connection.execute(query).scalars())

    def rows_about(self, subject: str, data: str) -> list[Row]:
        """The rows of a data version that name a person; without those that were forgotten for another's sake."""
        with self._reading() as connection:
            number = self._known(connection, data)
            query = sa.select(_SUBJECTS.c.position).where(
                _SUBJECTS.c.subject == subject, _SUBJECTS.c.data == number, _SUBJECTS.c.position != _GONE
            )
            wanted = set(connection.execute(query).scalars())
        return [row for row in self.rows_of(data) if row.position in wanted] if wanted else []

    def uses_of(self, data: str) -> list[Used]:
        """Every run that used a data version, and the models that came of them."""
        return self._used(_DATA.c.digest == data)

    def used_by(self, name: str) -> list[Used]:
        """What a model (by identity or NAME/VERSION) or a run (by id) used."""
        return self._used(sa.or_(_RUNS.c.identity == name, _RUNS.c.run == name, _RUNS.c.model == name))

    def models_of(self, data: str) -> list[str]:
        """Identities of the models that learnt or were judged by a data version, sorted."""
        return sorted({used.identity for used in self.uses_of(data) if used.identity})

    def forget(self, subject: str) -> int:
        """Forget a person: id, salt, row number and persons of their rows go; the commitments stay.

        A row that names others as well is forgotten whole; that their data versions saw these others stays known.

        Returns:
            How many rows were forgotten.
        """
        with self._writing() as connection:
            places = connection.execute(
                sa.select(_SUBJECTS.c.data, _SUBJECTS.c.position).where(
                    _SUBJECTS.c.subject == subject, _SUBJECTS.c.position != _GONE
                )
            ).all()
            connection.execute(sa.delete(_SUBJECTS).where(_SUBJECTS.c.subject == subject))
            _forget_places(connection, places)
        self._flush()
        return len(places)

    def forget_rows(self, records: Iterable[str]) -> int:
        """Forget records by their ids, in data versions too where nobody had found yet whom they name.

        Returns:
            How many rows were forgotten.
        """
        with self._writing() as connection:
            connection.exec_driver_sql("CREATE TEMP TABLE wanted (record TEXT PRIMARY KEY) WITHOUT ROWID")
            named = [(record,) for record in set(records)]
            if named:
                connection.exec_driver_sql("INSERT INTO wanted VALUES (?)", named)
            places = connection.exec_driver_sql(
                "SELECT data, position FROM rows WHERE record IN (SELECT record FROM wanted)"
            ).all()
            connection.exec_driver_sql("DROP TABLE wanted")
            _forget_places(connection, places)
        self._flush()
        return len(places)

    def carry(self, keys: KeyRing) -> int:
        """Move every id to the present key, after a rotation; once is enough, again does nothing.

        Returns:
            How many rows got another id; their salts are gone, since these open the old ids only.
        """
        with self._writing() as connection:
            stated = sa.select(_META.c.value).where(_META.c.name == "keys")
            if connection.execute(stated).scalar() == keys.lineage:
                return 0
            changed = 0
            last = (-1, -1)
            while True:
                batch = connection.exec_driver_sql(
                    "SELECT data, position, record FROM rows WHERE (data, position) > (?, ?) AND record IS NOT NULL"
                    " ORDER BY data, position LIMIT ?", (*last, BATCH_ROWS),
                ).all()  # fmt: skip
                if not batch:
                    break
                last = (batch[-1][0], batch[-1][1])
                moved = [(keys.carried("record", record), data, place, record) for data, place, record in batch]
                moved = [(new, data, place) for new, data, place, old in moved if new != old]
                if moved:
                    connection.exec_driver_sql(
                        "UPDATE rows SET record = ?, salt = NULL WHERE data = ? AND position = ?", moved
                    )
                changed += len(moved)
            persons = connection.execute(sa.select(_SUBJECTS.c.subject).distinct()).scalars().all()
            renamed = [(new, old) for old in persons if (new := keys.carried("subject", old)) != old]
            if renamed:
                connection.exec_driver_sql("UPDATE OR IGNORE subjects SET subject = ? WHERE subject = ?", renamed)
                connection.exec_driver_sql("DELETE FROM subjects WHERE subject = ?", [(old,) for _, old in renamed])
            connection.execute(
                sa.text("INSERT OR REPLACE INTO meta VALUES ('keys', :lineage)"), {"lineage": keys.lineage}
            )
        self._flush()
        return changed

    def opening_of(self, data: str, record: str) -> list[tuple[int, bytes, bytes]]:
        """(position, salt, commitment) of a record: shows that the row is among those that its data commit to."""
        with self._reading() as connection:
            query = sa.select(_ROWS.c.position, _ROWS.c.salt, _ROWS.c.commitment).where(
                _ROWS.c.data == self._known(connection, data), _ROWS.c.record == record, _ROWS.c.salt.is_not(None)
            )
            return [(row.position, bytes(row.salt), bytes(row.commitment)) for row in connection.execute(query)]

    def _used(self, wanted: sa.ColumnElement[bool]) -> list[Used]:
        with self._reading() as connection:
            query = (
                sa.select(_RUNS.c.run, _DATA.c.digest, _RUNS.c.use, _RUNS.c.identity, _RUNS.c.model)
                .join(_DATA, _DATA.c.number == _RUNS.c.data)
                .where(wanted)
                .order_by(_RUNS.c.run, _DATA.c.number, _RUNS.c.use)
            )
            return [Used(*row) for row in connection.execute(query)]

    def _known(self, connection: sa.Connection, data: str) -> int:
        number = _number(connection, data)
        if number is None:
            raise ArtifactError(
                "the row-level index does not know this data version", data[:64], "it knows what runs have recorded"
            )
        return number

    def _flush(self) -> None:
        """Make what was deleted leave the write-ahead log as well."""
        with self._named(), self._engine.connect() as connection:
            connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        engine = self._engine.execution_options(domainlm_writing=True)
        with self._named(), engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._named(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            # what SQLite says names tables and columns, never a value
            raise ArtifactError(
                f"the row-level index refuses: {type(error.orig).__name__}: {str(error.orig)[:200]}", str(self.path),
                "see to its disk and rights; a copy of the evidence folder has it too",
            ) from None  # fmt: skip


def commitment(salt: bytes, record: str) -> bytes:
    """HMAC-SHA-256(salt, record id), 32 bytes."""
    return hmac.digest(salt, record.encode(), "sha256")


def _forget_places(connection: sa.Connection, places: Iterable[Any]) -> None:
    """Id, salt, row number and persons of some rows go; that their data versions saw the other persons stays known."""
    for data, position in places:
        here = {"data": data, "position": position}
        connection.execute(
            sa.text(
                "INSERT OR IGNORE INTO subjects SELECT subject, data, -1 FROM subjects"
                " WHERE data = :data AND position = :position"
            ),
            here,
        )
        connection.execute(sa.text("DELETE FROM subjects WHERE data = :data AND position = :position"), here)
        connection.execute(
            sa.text(
                "UPDATE rows SET record = NULL, source_row = NULL, salt = NULL"
                " WHERE data = :data AND position = :position"
            ),
            here,
        )


def _of_use(number: int, use: str) -> sa.ColumnElement[bool]:
    """The rows of a data version whose split serves a use."""
    splits = sa.select(_USES.c.split).where(_USES.c.data == number, _USES.c.use == use)
    profiles = sa.select(_PROFILES.c.number).where(_PROFILES.c.split.in_(splits))
    return sa.and_(_ROWS.c.data == number, _ROWS.c.profile.in_(profiles))


def _number(connection: sa.Connection, data: str) -> int | None:
    return connection.execute(sa.select(_DATA.c.number).where(_DATA.c.digest == data)).scalar()


def _profile(connection: sa.Connection, kind: tuple[str, ...]) -> int:
    values = dict(zip(PROFILE, kind, strict=True))
    same = sa.and_(*(_PROFILES.c[name] == value for name, value in values.items()))
    known = connection.execute(sa.select(_PROFILES.c.number).where(same)).scalar()
    if known is None:
        known = connection.execute(sa.insert(_PROFILES).values(values)).inserted_primary_key[0]
    return known


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("domainlm_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _settled(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin as `_begin` says: a writer takes its lock at once
    # secure_delete overwrites what is deleted, so that a forgotten id does not stay in a free page
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=60000", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
