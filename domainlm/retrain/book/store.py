"""The book's tables, and what each database needs so that what was committed is there after a crash.

SQLite: write-ahead log, `synchronous=FULL` (fsync before a commit returns), a writer takes its lock when it begins. The
write-ahead log lies in memory that processes share, so a SQLite book is for the processes of one machine.
PostgreSQL: the one row of `retrain_book` is locked while somebody changes a batch or a claim; read committed;
`synchronous_commit` at least `on`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from domainlm.errors import BookUnavailable

LOCK_S = 20  # how long a writer waits for its turn
IDLE_S = 2  # how long a PostgreSQL server waits for the next word of a writer that was stopped or cut off
VERSION = 1  # of the tables; a book of another one is refused
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
METADATA = sa.MetaData()


def _digest(name: str, **given: Any) -> sa.Column:
    return sa.Column(name, sa.String(64), **given)


def _text(name: str, **given: Any) -> sa.Column:
    return sa.Column(name, sa.Text, **({"nullable": False, "default": ""} | given))


def _count(name: str, **given: Any) -> sa.Column:
    return sa.Column(name, _NUMBER, **({"nullable": False, "default": 0} | given))


def _seconds(name: str, **given: Any) -> sa.Column:
    return sa.Column(name, sa.Float(53), **({"nullable": False} | given))


STATE = sa.Table(  # one row; who changes batches or claims holds it
    "retrain_book", METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _count("version"), _count("token"), _count("number"),
)  # fmt: skip
BATCHES = sa.Table(
    "retrain_batches", METADATA,
    _digest("id", primary_key=True), _count("number", unique=True), _text("feed"), _text("name"), _text("landed"),
    _text("state"), _count("rows"), _text("first_day"), _text("last_day"), sa.Column("trusted", sa.Boolean),
    _text("reason"), _text("person"), sa.Column("profile", sa.JSON, nullable=True),
    sa.Index("retrain_batches_by_state", "state", "number"),
)  # fmt: skip
FILES = sa.Table(  # of batches
    "retrain_batch_files", METADATA,
    _digest("batch", primary_key=True), sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    _text("path"), _text("uri"), _digest("sha256", index=True), _count("size_bytes"), _count("rows"),
    sa.Column("removed", sa.Boolean, nullable=False, default=False),
)  # fmt: skip
TRANSITIONS = sa.Table(
    "retrain_transitions", METADATA,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    _digest("batch", nullable=False, index=True), _text("before"), _text("after"), _text("time"), _text("who"),
    _count("token", nullable=True), _text("why"),
)  # fmt: skip
CLAIMS = sa.Table(
    "retrain_claims", METADATA,
    sa.Column("token", _NUMBER, primary_key=True, autoincrement=False),
    _text("call", unique=True),  # a random word of the call: repeated without an answer, it finds its claim
    _text("lane", index=True), _text("owner"), sa.Column("exclusive", sa.Boolean, nullable=False),
    _text("state", index=True), _text("why"), _text("run_id"), _count("starts"),
    _seconds("lease_s"), _text("clock"), _seconds("renewed"),  # of `Clock`: what the lease is counted by
    _seconds("began"), _seconds("seen"),  # Unix time: what people and the budget count by
)  # fmt: skip
CLAIMED = sa.Table(  # every batch of every claim, kept
    "retrain_claim_batches", METADATA,
    sa.Column("token", _NUMBER, primary_key=True, autoincrement=False), _digest("batch", primary_key=True, index=True),
)  # fmt: skip
HOLDS = sa.Table(  # who holds a batch now: the key allows one
    "retrain_holds", METADATA, _digest("batch", primary_key=True), _count("token", index=True)
)  # fmt: skip
RESULTS = sa.Table(
    "retrain_results", METADATA,
    sa.Column("token", _NUMBER, primary_key=True, autoincrement=False),
    _text("lane"), _text("run_id"), _text("identity", index=True), _text("version"), _text("base"), _text("policy"),
    sa.Column("figures", sa.JSON, nullable=False), _text("accepted_at"),
)  # fmt: skip
RESULT_BATCHES = sa.Table(  # the key allows one accepted result a batch
    "retrain_result_batches", METADATA, _digest("batch", primary_key=True), _count("token", index=True)
)  # fmt: skip
PROMOTIONS = sa.Table("retrain_promotions", METADATA, _text("identity", primary_key=True), _text("promoted_at"))
SEEN = sa.Table(
    "retrain_files", METADATA,
    _text("feed", primary_key=True), _text("path", primary_key=True), _count("size_bytes"), _count("mtime_ns"),
    _text("etag"), _text("sha256"), _seconds("digested_at"), _text("batch"), _text("state"), _text("note"),
)  # fmt: skip
DECISIONS = sa.Table(
    "retrain_decisions", METADATA,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    _text("id"), _text("run_id"), sa.Column("decision", sa.JSON, nullable=False), _count("times"), _text("last"),
)  # fmt: skip
SCORES = sa.Table(
    "retrain_scores", METADATA,
    _text("identity", primary_key=True), _text("batch", primary_key=True), _text("task", primary_key=True),
    _seconds("value"), _seconds("low", nullable=True), _seconds("high", nullable=True), _count("items"), _text("time"),
)  # fmt: skip
NOTICES = sa.Table("retrain_notices", METADATA, _text("key", primary_key=True), _text("time"))
OUTBOX = sa.Table(  # notices that not every channel has taken yet
    "retrain_outbox", METADATA,
    _text("key", primary_key=True), sa.Column("notice", sa.JSON, nullable=False), _count("tries"),
    sa.Column("sent", sa.JSON, nullable=False), _seconds("since"), _seconds("next_try"),
)  # fmt: skip
VALUES = sa.Table("retrain_values", METADATA, _text("name", primary_key=True), _text("value"))


def engine(url: sa.URL) -> sa.Engine:
    """An engine for the book's database.

    Raises:
        sqlalchemy.exc.ArgumentError, NoSuchModuleError, ImportError: there is no such database or driver.
    """
    if url.get_backend_name() == "sqlite":
        made = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": float(LOCK_S)})
        sa.event.listen(made, "connect", _durable_sqlite)
        sa.event.listen(made, "begin", _begin)
    elif url.get_backend_name() == "postgresql":
        made = sa.create_engine(
            url, hide_parameters=True, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": 10}
        )
        sa.event.listen(made, "connect", _durable_postgresql)
    else:
        raise sa.exc.ArgumentError("SQLite or PostgreSQL")
    return made


def create(connection: sa.Connection) -> None:
    """Make what is missing, in one transaction of a writer."""
    if connection.dialect.name == "postgresql":
        # two that create at the same time would collide in the catalogue
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("domainlm.retrain"))))
    METADATA.create_all(connection)
    if connection.execute(sa.select(STATE.c.id)).first() is None:
        connection.execute(sa.insert(STATE).values(id=1, version=VERSION, token=0, number=0))


def reading_long(connection: sa.Connection) -> None:
    """What follows reads one moment of the book, and may take its time: it holds up no writer."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("domainlm_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _durable_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin as `_begin` says: a writer takes its lock at once
    for pragma in (f"busy_timeout={LOCK_S * 1000}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _durable_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        if cursor.execute("SHOW fsync").fetchone() == ("off",):
            raise BookUnavailable(
                "runs with fsync=off, so that a crash loses results", connection.info.host or "PostgreSQL",
                "switch fsync on in postgresql.conf",
            )  # fmt: skip
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(f"SET lock_timeout = {LOCK_S * 1000}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_S * 1000}")
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        )
    connection.commit()


# a second line: a slip in a database shell is refused; who may drop a trigger is not stopped by it
_SQLITE_TRIGGER = (
    "CREATE TRIGGER {table}_keeps_{act} BEFORE {act} ON {table} BEGIN "
    "SELECT RAISE(ABORT, 'the batch book keeps its history'); END"
)
_POSTGRESQL_FUNCTION = (
    "CREATE OR REPLACE FUNCTION retrain_book_keeps() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN RAISE EXCEPTION 'the batch book keeps its history'; END$$"
)
_POSTGRESQL_TRIGGER = (
    "CREATE TRIGGER {table}_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT "
    "EXECUTE FUNCTION retrain_book_keeps()"
)
for _table in (TRANSITIONS, CLAIMED, RESULTS, RESULT_BATCHES, PROMOTIONS):
    for _act in ("UPDATE", "DELETE"):
        _on_sqlite = sa.DDL(_SQLITE_TRIGGER.format(table=_table.name, act=_act))
        sa.event.listen(_table, "after_create", _on_sqlite.execute_if(dialect="sqlite"))
    for _statement in (_POSTGRESQL_FUNCTION, _POSTGRESQL_TRIGGER.format(table=_table.name)):
        sa.event.listen(_table, "after_create", sa.DDL(_statement).execute_if(dialect="postgresql"))
