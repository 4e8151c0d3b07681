"""The erasure register: whose data must not come back, which erasures are under way, and what legal holds are about.

It lies outside of the ledger (`.domainlm/evidence/erasures.sqlite`, mode 0600), since what is appended there can never
be deleted. The ledger's entries name a person by a commitment, HMAC-SHA-256(salt, subject id), alone; the salt lies
here, and only as long as the act needs it:

    erasure    the salt is destroyed once the entry is made. The id stays, in a list without days, entries or
               commitments: nothing here says which entry of the ledger was whose. It must stay, or the next run would
               take the person's data in again (GDPR, Regulation (EU) 2016/679, Art. 17(3)(b) and 5(2)). It is itself
               an HMAC under the key ring: without that key nobody makes it from a name.
    legal hold the salt stays until the hold is released, or nobody could tell whom it protects.

Ids are those of the present key; one of before a rotation is carried when it is read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from domainlm.errors import AccessRefused, ArtifactError
from domainlm.keys import SECRET_BYTES, KeyRing, sync_folder
from domainlm.reports import Report

FILE = "erasures.sqlite"
SUBJECT = "subject"
MAC_USE = "erasures"
_ID = re.compile(r"[0-9a-f]{32}")
_WAIT_S = 60.0
# No table has row numbers or days: their order would tell which entry of the ledger was whose.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS erased (subject TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entered (entry TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS pending (
        subject TEXT PRIMARY KEY, salt BLOB NOT NULL, plan TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS holds (commitment TEXT PRIMARY KEY, salt BLOB NOT NULL, subject TEXT NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS retentions (act TEXT PRIMARY KEY, plan TEXT NOT NULL) WITHOUT ROWID;
"""


class Plan(Report):
    """What an erasure found before its first deletion; a later call adds what it finds.

    Fields:
        reason: as the entry will state it.
        by: the system user who asked.
        rows: keyed ids of the records that name the person; gone with the plan.
        artifacts: digest -> name of every artifact version to delete.
        data: digests of the data versions that held the person, also of those that are gone already.
        models: identities of the models that learnt from them.
        counts: what was deleted, by kind of place; the most that any call saw.
    """

    reason: str
    by: str
    rows: list[str] = Field(default_factory=list)
    artifacts: dict[str, str] = Field(default_factory=dict)
    data: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    counts: dict[str, int] = Field(default_factory=dict)

    def joined(self, other: Plan) -> Plan:
        """This plan and what another call found; the first reason stays."""
        return Plan(
            reason=self.reason,
            by=self.by,
            rows=sorted({*self.rows, *other.rows}),
            artifacts=self.artifacts | other.artifacts,
            data=sorted({*self.data, *other.data}),
            models=sorted({*self.models, *other.models}),
            counts={
                name: max(self.counts.get(name, 0), other.counts.get(name, 0))
                for name in sorted({*self.counts, *other.counts})
            },
        )


def commitment(salt: bytes, subject: str) -> str:
    """HMAC-SHA-256(salt, subject id), 64 hexadecimal digits."""
    return hmac.new(salt, subject.encode(), hashlib.sha256).hexdigest()


class ErasureRegister:
    """The register in one file; several processes may use it at once.

    Args:
        path: where it lies; made with the first act.
        keys: whose ids it holds.
    """

    def __init__(self, path: Path, keys: KeyRing) -> None:
        self.path, self.keys = path, keys

    def checked(self, subject: str) -> str:
        """A subject id as the present key makes it.

        Raises:
            AccessRefused: it is none, or no key of the ring made it.
        """
        if not _ID.fullmatch(subject) or not self.keys.knows(subject):
            # what was typed may be a name, so it is not repeated
            raise AccessRefused(
                "what was named is no subject id of this institution's keys", "subject",
                "find it with `domainlm vault subject PERSON`",
            )  # fmt: skip
        return self.keys.carried(SUBJECT, subject)

    def subjects(self) -> frozenset[str]:
        """The ids of everybody whose data were erased or are being erased."""
        found = self._read("SELECT subject FROM erased UNION SELECT subject FROM pending")
        return frozenset(self.keys.carried(SUBJECT, row[0]) for row in found)

    def mark(self) -> str:
        """What a run's cache key holds for the register: HMAC over the ids under the ring's key; "" for no erasure.

        A plain hash over one id could be tried against a guessed one.
        """
        found = sorted(self.subjects())
        return self.keys.mac(MAC_USE, *found).hex() if found else ""

    def intend(self, subject: str, plan: Plan) -> str:
        """Note that a subject's data are to go, before anything is deleted; an intent that is there takes over what is
        new. Returns the commitment."""
        with self._writing() as database:
            found = database.execute("SELECT salt, plan FROM pending WHERE subject = ?", (subject,)).fetchone()
            salt = bytes(found[0]) if found else secrets.token_bytes(SECRET_BYTES)
            joined = Plan(**json.loads(found[1])).joined(plan) if found else plan
            database.execute(
                "INSERT OR REPLACE INTO pending VALUES (?, ?, ?)", (subject, salt, joined.model_dump_json())
            )
        return commitment(salt, subject)

    def pending(self) -> dict[str, tuple[str, Plan]]:
        """Subject -> commitment and plan of every erasure that was begun and not entered."""
        rows = self._read("SELECT subject, salt, plan FROM pending")
        # the commitment is over the id of the day on which it was made
        return {
            self.keys.carried(SUBJECT, subject): (commitment(bytes(salt), subject), Plan(**json.loads(plan)))
            for subject, salt, plan in rows
        }

    def enter(self, subject: str, entry: str) -> None:
        """The ledger has the erasure's entry: salt and plan are destroyed, the id stays in the list."""
        with self._writing() as database:
            old = [
                row[0]
                for row in database.execute("SELECT subject FROM pending")
                if self.keys.carried(SUBJECT, row[0]) == subject
            ]
            database.executemany("DELETE FROM pending WHERE subject = ?", [(name,) for name in old])
            database.execute("INSERT OR IGNORE INTO erased VALUES (?)", (subject,))
            database.execute("INSERT OR IGNORE INTO entered VALUES (?)", (entry,))

    def entered(self) -> frozenset[str]:
        """Digests of the ledger's erasure entries that this register covers."""
        return frozenset(row[0] for row in self._read("SELECT entry FROM entered"))

    def hold(self, subject: str) -> str:
        """A fresh commitment to a subject for a legal hold; its salt stays until `release`."""
        salt = secrets.token_bytes(SECRET_BYTES)
        made = commitment(salt, subject)
        with self._writing() as database:
            database.execute("INSERT INTO holds VALUES (?, ?, ?)", (made, salt, subject))
        return made

    def held(self, committed: str) -> str | None:
        """The subject that a hold's commitment is about, as the present key names it; None where nobody can tell."""
        for salt, subject in self._read("SELECT salt, subject FROM holds WHERE commitment = ?", (committed,)):
            if hmac.compare_digest(commitment(bytes(salt), subject), committed):  # else somebody changed the row
                return self.keys.carried(SUBJECT, subject)
        return None

    def hold_commitments(self) -> frozenset[str]:
        """Every commitment whose salt is kept."""
        return frozenset(row[0] for row in self._read("SELECT commitment FROM holds"))

    def release(self, committed: str) -> None:
        """Destroy the salt of a hold that ended."""
        with self._writing() as database:
            database.execute("DELETE FROM holds WHERE commitment = ?", (committed,))

    def plan_retention(self, act: str, plan: dict[str, Any]) -> None:
        """Note what a retention is about to delete."""
        with self._writing() as database:
            database.execute("INSERT OR REPLACE INTO retentions VALUES (?, ?)", (act, json.dumps(plan, sort_keys=True)))

    def planned_retentions(self) -> dict[str, dict[str, Any]]:
        """Act -> plan of every retention that was begun and not entered."""
        return {act: json.loads(plan) for act, plan in self._read("SELECT act, plan FROM retentions")}

    def retained(self, act: str) -> None:
        """The ledger has the retention's entry."""
        with self._writing() as database:
            database.execute("DELETE FROM retentions WHERE act = ?", (act,))

    def merge(self, other: Path) -> None:
        """Take over what another register knows, such as a backup's: nothing that is known here is lost."""
        with self._writing() as database:
            database.execute("COMMIT")  # a database cannot be attached within a transaction
            database.execute("ATTACH DATABASE ? AS other", (f"file:{other}?mode=ro",))
            database.execute("BEGIN IMMEDIATE")
            for table in ("erased", "entered", "holds"):
                database.execute(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM other.{table}")  # noqa: S608
            # an erasure that was under way then and is finished by now must not begin again
            database.execute(
                "INSERT OR IGNORE INTO main.pending SELECT * FROM other.pending"
                " WHERE subject NOT IN (SELECT subject FROM main.erased)"
            )

    def copy(self, target: Path) -> None:
        """A whole copy of the file, also while others write."""
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with self._writing():
            pass  # the file is there, with its tables
        source, copy = sqlite3.connect(self.path), sqlite3.connect(target)
        try:
            source.backup(copy)
        finally:
            source.close()
            copy.close()

    def _read(self, query: str, values: tuple[str, ...] = ()) -> list[tuple]:
        if not self.path.exists():
            return []
        with self._named(), self._connected(f"file:{self.path}?mode=rw") as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            self._create()
        with self._named(), self._connected(f"file:{self.path}?mode=rw") as database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        sync_folder(self.path.parent)

    def _create(self) -> None:
        """The file appears with its tables or not at all: one without them would close the project after a kill."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with self._named(), self._connected(f"file:{draft}?mode=rw") as database:
                database.executescript(_SCHEMA)
            os.link(draft, self.path)
        except FileExistsError:
            pass  # another process was first
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(self.path.parent)

    @contextmanager
    def _connected(self, address: str) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ArtifactError(
                f"cannot be read or written as the erasure register ({type(error).__name__})", str(self.path),
                "see to its disk and rights; nothing may run until it can be read, or erased data would come back",
            ) from None  # fmt: skip


def no_ids(reason: str, subjects: Iterable[str]) -> str:
    """A reason that may stand in the ledger for ever.

    Raises:
        AccessRefused: it is too short, too long, or names a keyed id.
    """
    said = reason.strip()
    if not 10 <= len(said) <= 300:
        raise AccessRefused("a reason of 10 to 300 characters is needed", "reason", "say --reason, the case's number")
    if _ID.search(said) or any(subject in said for subject in subjects):
        raise AccessRefused("the reason names a keyed id", "reason", "the ledger keeps none: name the case instead")
    return said


def case_reference(reason: str, subjects: Iterable[str], identify: Callable[[str], Iterable[str]]) -> str:
    """An erasure's reason, of which the ledger can never forget a word: a case reference and nothing else.

    Args:
        reason: one to four words with a digit, 60 characters at most in all.
        subjects: the ids of everybody whom it must not name.
        identify: gives the subject ids that a text may have, one an entity; as `domainlm vault subject` makes them.

    Raises:
        AccessRefused: it is more than a reference, or names one of the subjects. It is not repeated.
    """
    said = no_ids(reason, subjects)
    if len(said) > 60 or len(said.split()) > 4 or not any(character.isdigit() for character in said):
        raise AccessRefused(
            "a case reference is needed: one to four words with a number, at most 60 characters", "reason",
            "say the request's number: the ledger keeps every word for good",
        )  # fmt: skip
    refuse_names(said, subjects, identify)
    return said


def refuse_names(text: str, subjects: Iterable[str], identify: Callable[[str], Iterable[str]]) -> None:
    """Refuse a text of which one to four words in a row, with or without their punctuation, name a subject.

    Raises:
        AccessRefused: they do; they are not repeated.
    """
    wanted = frozenset(subjects)
    for words in (text.split(), re.findall(r"\w+", text)) if wanted else ():
        for start in range(len(words)):
            for stop in range(start + 1, min(start + 4, len(words)) + 1):
                if not wanted.isdisjoint(identify(" ".join(words[start:stop]))):
                    raise AccessRefused(
                        "the reason names a person who is erased or held", "reason",
                        "the ledger keeps every word for good: name the case instead",
                    )  # fmt: skip
