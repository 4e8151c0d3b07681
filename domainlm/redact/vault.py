"""The vault: originals that may be needed again, each sealed under a key of the person it belongs to.

Every subject has a random data key (AES-256-GCM); the key ring's secret wraps it. Whoever deletes that one data key has
forgotten the person for good (GDPR, Regulation (EU) 2016/679, Art. 17): what is left, here or in any backup of the
values, opens with nothing. That holds only where keys and values are not copied together, so they lie in two files:
`values.sqlite` may go into a long-lived backup, `keys.sqlite` must not (or one that is kept for days). A rotation of
the ring's key re-wraps the data keys, so that old copies of `keys.sqlite` die with the old key.

Nothing is revealed but through `access.AccessLog`: the entry is on the disk before the caller gets the value.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from domainlm.errors import AccessRefused, ArtifactError, SecretError
from domainlm.keys import SECRET_BYTES, KeyRing, seal, sync_folder, unseal
from domainlm.redact.access import AccessLog

KEYS_FILE, VALUES_FILE = "keys.sqlite", "values.sqlite"
WRAP, CHECK = "vault-wrap", "vault-check"
SUBJECT, RECORD = "subject", "record"
RETENTION_DAYS = 365
LEAST_REASON_CHARACTERS = 10
_WAIT_S = 60.0
_PLACE = re.compile(r"(?P<record>[0-9a-f]{32}):\[?(?P<placeholder>[A-Z_]+_\d{1,6})\]?")
_SUBJECT = re.compile(r"[0-9a-f]{32}")
_SCHEMA = {
    KEYS_FILE: """
        CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS subjects (subject TEXT PRIMARY KEY, wrapped BLOB NOT NULL, created TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS forgotten (subject TEXT PRIMARY KEY, day TEXT NOT NULL);
    """,
    VALUES_FILE: """
        CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS entries (
            record TEXT NOT NULL, placeholder TEXT NOT NULL, subject TEXT NOT NULL, entity TEXT NOT NULL,
            sealed BLOB NOT NULL, created TEXT NOT NULL, expires TEXT NOT NULL, PRIMARY KEY (record, placeholder)
        );
        CREATE INDEX IF NOT EXISTS by_subject ON entries (subject);
    """,
}

_UPSERT = """
    INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (record, placeholder) DO UPDATE SET
        created = CASE WHEN subject = excluded.subject THEN created ELSE excluded.created END,
        expires = CASE WHEN subject = excluded.subject THEN min(expires, excluded.expires) ELSE excluded.expires END,
        subject = excluded.subject, entity = excluded.entity, sealed = excluded.sealed
"""


@dataclass(frozen=True)
class Entry:
    """One value to keep.

    Args:
        subject: keyed id of whom it belongs to.
        placeholder: what stands for it in the record, "[PERSON_1]".
        entity: what it is.
        value: the value itself.
        retention_days: how many days it is kept; None for the vault's own number.
    """

    subject: str
    placeholder: str
    entity: str
    value: str
    retention_days: int | None = None

    def __repr__(self) -> str:  # a raw value must not land in a traceback or a log
        return f"Entry({self.subject}, {self.placeholder})"


class Listed(NamedTuple):
    """What may be said of an entry without a reason: everything but the value. Days are ISO 8601."""

    record: str
    placeholder: str
    entity: str
    subject: str
    created: str
    expires: str


class Revealed(NamedTuple):
    """A value that was asked for."""

    record: str
    placeholder: str
    entity: str
    value: str


class Vault:
    """A folder of sealed values (mode 0700, files 0600). Several processes may use it at once; each object connects for
    itself, also after it was handed to another process.

    Args:
        folder: where it lies; created with the first value.
        keys: whose secret wraps the data keys.
        retention_days: how many days a value is kept that comes without a number of its own.
    """

    def __init__(self, folder: Path, keys: KeyRing, retention_days: int = RETENTION_DAYS) -> None:
        self.folder, self.keys, self.retention_days = folder, keys, retention_days
        self.log = AccessLog(folder, keys)
        self._open: dict[str, tuple[int, sqlite3.Connection]] = {}

    def __reduce__(self) -> tuple[type[Vault], tuple[Path, KeyRing, int]]:
        return Vault, (self.folder, self.keys, self.retention_days)

    def check(self) -> None:
        """Open what is there, so that a run with another key ends before a text is read.

        Raises:
            SecretError: the vault belongs to another key.
            ArtifactError: it cannot be read.
        """
        for file in (KEYS_FILE, VALUES_FILE):
            self._read(file, "SELECT 1")

    def put(self, record: str, entries: Iterable[Entry], today: date | None = None) -> int:
        """Keep values of one record; what is already there for a placeholder is replaced, its day of creation stays
        where it is the same person's. A subject that was forgotten stays forgotten: nothing of it is kept.

        Args:
            record: id of the record.
            entries: the values.
            today: the day of creation.

        Returns:
            How many were kept.

        Raises:
            SecretError: the vault belongs to another key.
        """
        today = today or date.today()
        rows = []
        entries = list(entries)
        # The lock comes before the keys are read: otherwise `expire` could drop an idle key just before its next value.
        with self._writing(VALUES_FILE) if entries else nullcontext() as values:
            for entry in entries:
                key = self._data_key(entry.subject, today)
                if key is None:
                    continue
                context = _context(record, entry.placeholder, entry.subject, entry.entity)
                sealed = seal(key, entry.value.encode("utf-8", "surrogatepass"), context)
                days = self.retention_days if entry.retention_days is None else entry.retention_days
                rows.append(
                    (
                        record, entry.placeholder, entry.subject, entry.entity, sealed, today.isoformat(),
                        (today + timedelta(days=days)).isoformat(),
                    )
                )  # fmt: skip
            if rows:
                values.executemany(_UPSERT, rows)
        return len(rows)

    def reveal(self, identifier: str, reason: str, person: str) -> list[Revealed]:
        """The original behind `RECORD_ID:[PERSON_1]`, or all that is kept of a subject id. Ids of before a rotation
        serve as well.

        Args:
            identifier: what to reveal.
            reason: why, at least 10 characters, without the value itself.
            person: who asks, for the log.

        Raises:
            AccessRefused: no reason, no such entry, or its subject was forgotten; the log says so as well.
            SecretError: the vault belongs to another key, or an entry was changed.
            ArtifactError: the log cannot be written, so nothing is revealed.
        """
        named, found = self._find(identifier)
        refusal = self._reason_refused(reason)
        revealed: list[Revealed] = []
        if not refusal and not found:
            refusal = self._why_absent(named)
        if not refusal:
            try:
                revealed = [self._unsealed(row) for row in found]
            except SecretError:
                self.log.append("reveal", named, reason.strip(), person, "refused: an entry cannot be decrypted")
                raise
            if any(_quotes(reason, item.value) for item in revealed):
                refusal, reason, revealed = "the reason quotes the value", "(withheld: it quotes the value)", []
        if refusal:
            # A reason that was not accepted may hold anything, also what belongs into no log.
            said = reason.strip() if not self._reason_refused(reason) else "(none that serves)"
            self.log.append("reveal", named, said, person, f"refused: {refusal}")
            raise AccessRefused(refusal, named, _REMEDIES.get(refusal, "see `domainlm vault list`"))
        self.log.append("reveal", named, reason.strip(), person, f"revealed {len(revealed)}")
        return revealed

    def forget(self, subject: str, reason: str, person: str, today: date | None = None) -> int:
        """Delete a subject's key and values, for good.

        Args:
            subject: its id, also one of before a rotation.
            reason: why, at least 10 characters.
            person: who does it, for the log.
            today: the day that is noted beside the id, so that nothing of it is kept again.

        Returns:
            How many values were kept of it.

        Raises:
            AccessRefused: no reason, or this is no subject id.
            ArtifactError: the log cannot be written, so nothing is deleted; or the journal could not be cleared.
        """
        refusal = self._reason_refused(reason)
        if not _SUBJECT.fullmatch(subject):
            refusal = refusal or "no subject id"
        named = self.keys.carried(SUBJECT, subject) if _SUBJECT.fullmatch(subject) else "(malformed)"
        if refusal:
            self.log.append("forget", named, "(none that serves)", person, f"refused: {refusal}")
            raise AccessRefused(refusal, named, _REMEDIES.get(refusal, "a subject id has 32 hexadecimal digits"))
        self.log.append("forget", named, reason.strip(), person, "forgotten")
        with self._writing(KEYS_FILE) as keys:
            keys.execute("DELETE FROM subjects WHERE subject = ?", (named,))
            keys.execute("INSERT OR IGNORE INTO forgotten VALUES (?, ?)", (named, (today or date.today()).isoformat()))
        with self._writing(VALUES_FILE) as values:
            count = values.execute("DELETE FROM entries WHERE subject = ?", (named,)).rowcount
        self._clear_journals()
        return count

    def drop(self, records: Iterable[str]) -> int:
        """Delete the values of records that are gone, whosever they are: nothing refers to them; returns how many."""
        with self._writing(VALUES_FILE) as values:
            count = sum(
                values.execute("DELETE FROM entries WHERE record = ?", (self.keys.carried(RECORD, record),)).rowcount
                for record in records
            )
        self._clear_journals()
        return count

    def expire(self, today: date, person: str) -> int:
        """Delete values whose time is over, and the keys of subjects of whom nothing is left; returns how many values.

        Raises:
            ArtifactError: the log cannot be written, so nothing is deleted.
        """
        over = "expires <= ?"
        limit = (today.isoformat(),)
        counted = self._read(VALUES_FILE, f"SELECT count(*) FROM entries WHERE {over}", limit)  # noqa: S608
        due = counted[0][0] if counted else 0  # a vault into which nothing was ever put
        if due:
            self.log.append("expire", "", f"retention ended on {today.isoformat()} or before", person, f"deleted {due}")
        with self._writing(VALUES_FILE) as values:
            # Who puts a value gets its key before the value: the day of the key tells the two apart.
            values.execute(f"DELETE FROM entries WHERE {over}", limit)  # noqa: S608
            left = {row[0] for row in values.execute("SELECT DISTINCT subject FROM entries")}
            with self._writing(KEYS_FILE) as keys:
                kept = [row[0] for row in keys.execute("SELECT subject FROM subjects WHERE created < ?", limit)]
                keys.executemany(
                    "DELETE FROM subjects WHERE subject = ?", [(subject,) for subject in kept if subject not in left]
                )
        self._clear_journals()
        return int(due)

    def entries(self, record: str = "", subject: str = "") -> list[Listed]:
        """What is kept, without values; of one record or one subject where that is said."""
        where, values = [], []
        for column, value, use in (("record", record, RECORD), ("subject", subject, SUBJECT)):
            if value:
                where.append(f"{column} = ?")
                values.append(self.keys.carried(use, value))
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        rows = self._read(
            VALUES_FILE,
            "SELECT record, placeholder, entity, subject, created, expires FROM entries"  # noqa: S608
            f"{condition} ORDER BY record, placeholder",
            tuple(values),
        )
        return [Listed(*row) for row in rows]

    def rekey(self, old: KeyRing) -> None:
        """Carry everything from the old key to the present one, whose ring continues it: data keys re-wrapped, ids
        carried, values sealed anew to their new ids. Each file changes in one transaction, so that a kill leaves it of
        the old key or of the new one, and the next call goes on.

        Raises:
            SecretError: a file belongs to neither key, or an entry was changed.
        """
        if not (self.folder / KEYS_FILE).exists():
            return
        before = Vault(self.folder, old)
        if not self._belongs(KEYS_FILE):
            with before._writing(KEYS_FILE) as keys:
                self._rekey_keys(keys, old)
        if (self.folder / VALUES_FILE).exists() and not self._belongs(VALUES_FILE):
            with before._writing(VALUES_FILE) as values:
                self._rekey_values(values)
        before.close()
        self._clear_journals()

    def close(self) -> None:
        """Close this process's connections."""
        for pid, connection in self._open.values():
            if pid == os.getpid():
                connection.close()
        self._open.clear()

    def _rekey_keys(self, keys: sqlite3.Connection, old: KeyRing) -> None:
        subjects = keys.execute("SELECT subject, wrapped, created FROM subjects").fetchall()
        forgotten = keys.execute("SELECT subject, day FROM forgotten").fetchall()
        keys.execute("DELETE FROM subjects")
        keys.execute("DELETE FROM forgotten")
        for subject, wrapped, created in subjects:
            data_key = old.unseal(WRAP, wrapped, subject.encode())
            now = self.keys.carried(SUBJECT, subject)
            keys.execute(
                "INSERT INTO subjects VALUES (?, ?, ?)", (now, self.keys.seal(WRAP, data_key, now.encode()), created)
            )
        keys.executemany(
            "INSERT INTO forgotten VALUES (?, ?)",
            [(self.keys.carried(SUBJECT, subject), day) for subject, day in forgotten],
        )
        self._mark(keys, KEYS_FILE)

    def _rekey_values(self, values: sqlite3.Connection) -> None:
        values.execute("CREATE TEMP TABLE before AS SELECT * FROM entries")
        values.execute("DELETE FROM entries")
        for record, placeholder, subject, entity, sealed, created, expires in values.execute("SELECT * FROM before"):
            now = self.keys.carried(SUBJECT, subject)
            key = self._data_key(now, None)
            if key is None:
                continue  # forgotten: it opens with nothing, and goes
            value = unseal(key, sealed, _context(record, placeholder, subject, entity), f"{record}:{placeholder}")
            record = self.keys.carried(RECORD, record)
            resealed = seal(key, value, _context(record, placeholder, now, entity))
            values.execute(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
                (record, placeholder, now, entity, resealed, created, expires),
            )
        values.execute("DROP TABLE before")
        self._mark(values, VALUES_FILE)

    def _find(self, identifier: str) -> tuple[str, list[tuple[str, str, str, str, bytes]]]:
        """The identifier as the log may hold it, and the rows that it names."""
        columns = "SELECT record, placeholder, subject, entity, sealed FROM entries WHERE"
        identifier = identifier.strip()
        if place := _PLACE.fullmatch(identifier):
            record = self.keys.carried(RECORD, place["record"])
            placeholder = f"[{place['placeholder']}]"
            rows = self._read(VALUES_FILE, f"{columns} record = ? AND placeholder = ?", (record, placeholder))
            return f"{record}:{placeholder}", rows
        if _SUBJECT.fullmatch(identifier):
            subject = self.keys.carried(SUBJECT, identifier)
            return subject, self._read(VALUES_FILE, f"{columns} subject = ? ORDER BY record, placeholder", (subject,))
        return "(malformed)", []  # somebody may have typed a name

    def _why_absent(self, named: str) -> str:
        if named == "(malformed)":
            return "no id"
        if _SUBJECT.fullmatch(named) and self._read(KEYS_FILE, "SELECT 1 FROM forgotten WHERE subject = ?", (named,)):
            return "the subject was forgotten"
        return "no such entry"

    @staticmethod
    def _reason_refused(reason: str) -> str:
        short = len(reason.strip()) < LEAST_REASON_CHARACTERS
        return f"a reason of at least {LEAST_REASON_CHARACTERS} characters is needed" if short else ""

    def _unsealed(self, row: tuple[str, str, str, str, bytes]) -> Revealed:
        record, placeholder, subject, entity, sealed = row
        key = self._data_key(subject, None)
        where = f"{record}:{placeholder}"
        if key is None:
            raise SecretError("its subject's key is gone", where, "the subject was forgotten: nothing opens it")
        value = unseal(key, sealed, _context(record, placeholder, subject, entity), where)
        return Revealed(record, placeholder, entity, value.decode("utf-8", "surrogatepass"))

    def _data_key(self, subject: str, today: date | None) -> bytes | None:
        """A subject's data key; a new one where there is none and `today` is given; None where there is none."""
        query = "SELECT wrapped FROM subjects WHERE subject = ?"
        rows = self._read(KEYS_FILE, query, (subject,))
        if not rows and today is None:
            return None
        if not rows:
            with self._writing(KEYS_FILE) as keys:
                if keys.execute("SELECT 1 FROM forgotten WHERE subject = ?", (subject,)).fetchone():
                    return None
                wrapped = self.keys.seal(WRAP, secrets.token_bytes(SECRET_BYTES), subject.encode())
                keys.execute("INSERT OR IGNORE INTO subjects VALUES (?, ?, ?)", (subject, wrapped, today.isoformat()))
                rows = keys.execute(query, (subject,)).fetchall()  # another process may have been first
        return self.keys.unseal(WRAP, rows[0][0], subject.encode())

    def _read(self, file: str, query: str, values: tuple[str, ...] = ()) -> list[tuple]:
        if not (self.folder / file).exists():
            return []
        connection = self._connection(file)
        with _legible(self.folder / file):
            connection.execute("BEGIN")
            try:
                self._check(connection, file)
                return connection.execute(query, values).fetchall()
            finally:
                connection.execute("COMMIT")

    @contextmanager
    def _writing(self, file: str) -> Iterator[sqlite3.Connection]:
        """A transaction that begins with the lock, so that two writers never deadlock, and with a look at the key: a
        rotation may have passed since."""
        connection = self._connection(file)
        with _legible(self.folder / file):
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._check(connection, file)
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connection(self, file: str) -> sqlite3.Connection:
        pid, connection = self._open.get(file, (0, None))
        if connection is None or pid != os.getpid():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            with _folder_lock(self.folder):
                connection = self._opened(file)
            self._open[file] = os.getpid(), connection
        return connection

    def _opened(self, file: str) -> sqlite3.Connection:
        path = self.folder / file
        # SQLite gives its journals the mode of the file itself.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with _legible(path):
            connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA secure_delete = ON")
            # A power failure may take the last values of a run, which is lost as well then; never the loss of a key.
            connection.execute(f"PRAGMA synchronous = {'FULL' if file == KEYS_FILE else 'NORMAL'}")
            connection.execute("PRAGMA temp_store = MEMORY")
            self._create(connection, file)
        return connection

    def _create(self, connection: sqlite3.Connection, file: str) -> None:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries' OR name = 'forgotten'").fetchone():
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _SCHEMA[file].split(";"):
                if statement.strip():
                    connection.execute(statement)
            if not connection.execute("SELECT 1 FROM meta").fetchone():
                self._mark(connection, file)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        sync_folder(self.folder)

    def _mark(self, connection: sqlite3.Connection, file: str) -> None:
        proof = self.keys.seal(CHECK, self.keys.key_id.encode(), file.encode())
        connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("key_id", self.keys.key_id.encode()), ("proof", proof)]
        )

    def _check(self, connection: sqlite3.Connection, file: str) -> None:
        found = dict(connection.execute("SELECT name, value FROM meta"))
        try:
            if self.keys.unseal(CHECK, found["proof"], file.encode()) == self.keys.key_id.encode():
                return
        except (SecretError, KeyError):
            pass
        named = bytes(found.get("key_id", b"?")).decode("utf-8", "replace")
        raise SecretError(
            f"the vault belongs to the key '{named}', not to the one at hand, '{self.keys.key_id}'",
            str(self.folder / file),
            "use its key, or carry it over with `domainlm keys rekey --old-file FILE`",
        )

    def _belongs(self, file: str) -> bool:
        try:
            self._read(file, "SELECT 1")
        except SecretError:
            return False
        return True

    def _clear_journals(self) -> None:
        """Empty the write-ahead logs, which still hold what was deleted."""
        for file in (KEYS_FILE, VALUES_FILE):
            if (self.folder / file).exists():
                with _legible(self.folder / file):
                    busy = self._connection(file).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                if busy:
                    raise ArtifactError(
                        "what was deleted is still in the journal, which another process keeps open",
                        str(self.folder / f"{file}-wal"),
                        "end that process, then run `domainlm vault expire`: it clears the journal",
                    )


_REMEDIES = {
    "the subject was forgotten": "its key was deleted: nothing brings it back",
    "the reason quotes the value": "say why without it",
    "no id": "name RECORD_ID:[PERSON_1] or a subject id of 32 hexadecimal digits",
    f"a reason of at least {LEAST_REASON_CHARACTERS} characters is needed": "say --reason, e.g. the number of the case",
}


@contextmanager
def _legible(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ArtifactError(
            f"cannot be read or written as a vault ({type(error).__name__})", str(path), "restore it from a backup"
        ) from None


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """One process at a time: two that switch a new file to write-ahead logging at once get in each other's way."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _quotes(reason: str, value: str) -> bool:
    """Whether a reason holds a value; a short Latin one counts as a word of its own alone ("Li" is in "client")."""
    reason, value = reason.casefold(), value.casefold().strip()
    if len(value) < 4 and value.isascii():
        return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", reason) is not None
    return value in reason


def _context(*parts: str) -> bytes:
    """What a sealed value is bound to, so that none can be moved to another place."""
    return "\0".join(parts).encode()
