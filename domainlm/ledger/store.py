"""The ledger's tables, and what each database needs so that a committed entry is there after a crash.

SQLite: write-ahead log, `synchronous=FULL` (fsync before a commit returns), a writer takes its lock when it begins.
PostgreSQL: `synchronous_commit` at least `on`, `fsync=on` (else refused), read committed, the one row of
`ledger_state` locked while somebody writes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from domainlm.errors import ArtifactError

LOCK_S = 60  # how long a writer waits for its turn
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_METADATA = sa.MetaData()
ENTRIES = sa.Table(
    "ledger_entries",
    _METADATA,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("leaf", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)
CHECKPOINTS = sa.Table(
    "ledger_checkpoints",
    _METADATA,
    sa.Column("size", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
)
STATE = sa.Table(  # one row
    "ledger_state",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("size", _NUMBER, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)


def engine(url: str) -> sa.Engine:
    """An engine for a ledger's database.

    Raises:
        sqlalchemy.exc.ArgumentError, NoSuchModuleError, ImportError: there is no such database or driver.
        ArtifactError: at its first connection: the server confirms what a crash may lose.
    """
    made = sa.create_engine(
        url,
        hide_parameters=True,
        **({"connect_args": {"timeout": float(LOCK_S)}} if url.startswith("sqlite") else {"pool_pre_ping": True}),
    )
    if made.dialect.name == "sqlite":
        sa.event.listen(made, "connect", _durable_sqlite)
        sa.event.listen(made, "begin", _begin)
    elif made.dialect.name == "postgresql":
        sa.event.listen(made, "connect", _durable_postgresql)
    else:
        raise sa.exc.ArgumentError("SQLite or PostgreSQL")
    return made


def create(connection: sa.Connection, origin: str) -> str | None:
    """Make what is missing, in one transaction of a writer.

    Returns:
        The ledger that the database holds: the new one, or the one that is there; None where entries have no state.
    """
    if connection.dialect.name == "postgresql":
        # two that create at the same time would collide in the catalogue
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("domainlm.ledger"))))
    _METADATA.create_all(connection)
    found = connection.execute(sa.select(STATE.c.origin)).scalar()
    if found is None and connection.execute(sa.select(sa.func.max(ENTRIES.c.number))).scalar() is None:
        connection.execute(sa.insert(STATE).values(id=1, origin=origin, size=0, frontier=b""))
        return origin
    return found


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("domainlm_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _durable_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin as `_begin` says: a writer takes its lock at once
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # a flipped bit must not end the reading
    for pragma in (f"busy_timeout={int(LOCK_S * 1000)}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _durable_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        if cursor.execute("SHOW fsync").fetchone() == ("off",):
            raise ArtifactError(
                "runs with fsync=off, so that a crash loses entries", connection.info.host or "PostgreSQL",
                "switch fsync on in postgresql.conf",
            )  # fmt: skip
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(f"SET lock_timeout = {int(LOCK_S * 1000)}")
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        )
    connection.commit()


# a second line: a slip in a database shell is refused; who may drop a trigger is not stopped by it
_SQLITE_TRIGGERS = (
    "CREATE TRIGGER ledger_keeps_{table}_{act} BEFORE {act} ON {table} BEGIN "
    "SELECT RAISE(ABORT, 'the ledger is append-only'); END"
)
_POSTGRESQL_FUNCTION = (
    "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN RAISE EXCEPTION 'the ledger is append-only'; END$$"
)
_POSTGRESQL_TRIGGERS = (
    "CREATE TRIGGER ledger_keeps_{table} BEFORE {acts} ON {table} FOR EACH STATEMENT "
    "EXECUTE FUNCTION ledger_is_append_only()"
)
for _table, _acts in ((ENTRIES, ("UPDATE", "DELETE")), (CHECKPOINTS, ("UPDATE", "DELETE")), (STATE, ("DELETE",))):
    for _act in _acts:
        _on_sqlite = sa.DDL(_SQLITE_TRIGGERS.format(table=_table.name, act=_act))
        sa.event.listen(_table, "after_create", _on_sqlite.execute_if(dialect="sqlite"))
    _trigger = _POSTGRESQL_TRIGGERS.format(table=_table.name, acts=" OR ".join((*_acts, "TRUNCATE")))
    for _statement in (_POSTGRESQL_FUNCTION, _trigger):
        sa.event.listen(_table, "after_create", sa.DDL(_statement).execute_if(dialect="postgresql"))
