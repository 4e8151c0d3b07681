"""Dumps and restores the databases of the ZenML and MLflow servers; runs in the server image, from a ConfigMap.

    python databases.py dump zenml mlflow mlflow_auth     before a server starts, and daily (CronJob `backup`)
    python databases.py restore zenml=FILE ...            CronJob `restore`, suspended: docs/kubernetes-operation.md
    python databases.py list

Environment: `NAME` in capitals is a database's SQLAlchemy URL (SQLite or MySQL/MariaDB), `BACKUP_TARGET` a folder or
fsspec URL, `BACKUP_RECIPIENTS` age public keys (without any, only `BACKUP_PLAIN=true` lets a dump be written in clear),
`BACKUP_KEEP_DAYS`, `BACKUP_REASON` (`daily`, `start`), `BACKUP_IDENTITY` the file of the age key that opens a dump,
`RESTORE_REPLACE=true` lets a restore take the place of tables that are there.

A dump is of one moment: SQLite's own backup API, or `START TRANSACTION WITH CONSISTENT SNAPSHOT` (InnoDB). It is a gzip
of JSON lines: a header, each table's own `CREATE TABLE`, its rows, and a last line with the count of rows and the
SHA-256 of all before it, so that a cut dump is known as such; between them, what is made behind the rows (triggers). It
does not hold views or routines, which neither server has: a database with any is refused. PostgreSQL has no statement
that writes a table's own definition: use `pg_dump`.

It stands alone on purpose (standard library, SQLAlchemy, fsspec, pyrage): it must open old dumps whatever became of the
project. No URL, password or row is ever printed.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, BinaryIO

import fsspec
import sqlalchemy as sa

FORM = "domainlm.database-dump/1"
STAMP = "%Y%m%dT%H%M%SZ"
ROWS_AT_ONCE = 500
_DEFINER = re.compile(r"DEFINER=\S+\s+")


class Refused(Exception):
    """Nothing was changed; says why."""


def main() -> int:
    """Run what the command line names.

    Returns:
        0, or 1 where anything was refused or failed.
    """
    os.umask(0o077)
    tasks = {"dump": _dump_all, "restore": _restore_all, "list": _list}
    if len(sys.argv) < 2 or sys.argv[1] not in tasks:
        print(__doc__, file=sys.stderr)
        return 1
    try:
        tasks[sys.argv[1]](sys.argv[2:])
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except sa.exc.SQLAlchemyError as error:  # its message holds the statement and its values
        print(f"failed: the database said {type(getattr(error, 'orig', error)).__name__}", file=sys.stderr)
        return 1
    except Exception as error:  # of the store; what libraries say may quote what they were given
        print(f"failed: {type(error).__name__} while reaching {os.environ.get('BACKUP_TARGET', '')}", file=sys.stderr)
        return 1
    return 0


def write_dump(url: sa.URL, target: BinaryIO) -> dict[str, Any]:
    """Dump a database as gzip of JSON lines.

    Args:
        url: of SQLite or MySQL/MariaDB.
        target: gets the dump.

    Returns:
        What the dump says of itself: rows by table, schema revisions, SHA-256 of the plain lines.

    Raises:
        Refused: the database is of another kind, or holds what a dump cannot.
    """
    digest, rows = hashlib.sha256(), {}
    with gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as packed, _snapshot(url) as source:

        def line(content: dict[str, Any]) -> None:
            data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=_encoded).encode() + b"\n"
            digest.update(data)
            packed.write(data)

        tables = _tables(source)
        line({"form": FORM, "dialect": _family(url), "tables": list(tables)})
        for name, statement in tables.items():
            line({"table": name, "create": statement})
            rows[name] = 0
            found = source.execution_options(stream_results=True).exec_driver_sql(
                f"SELECT * FROM {_quoted(source, name)}"  # noqa: S608
            )
            columns = list(found.keys())
            while some := found.fetchmany(ROWS_AT_ONCE):
                line({"table": name, "columns": columns, "rows": [list(row) for row in some]})
                rows[name] += len(some)
        for statement in _behind_rows(source):
            line({"then": statement})
        revisions = _revisions(source, tables)
        last = {"rows": rows, "revisions": revisions, "sha256": digest.hexdigest()}
        packed.write(json.dumps({"end": last}).encode() + b"\n")
    return last


def load_dump(source: BinaryIO, url: sa.URL, replace: bool = False) -> dict[str, Any]:
    """Put a dump into a database; every line is checked before the first table is touched.

    SQLite takes all or nothing. MySQL commits each `CREATE TABLE` by itself: after a kill, restore again, replacing.

    Args:
        source: the plain dump (seekable).
        url: where it goes; of the dump's own kind.
        replace: whether tables that are there may go.

    Returns:
        What the dump says of itself.

    Raises:
        Refused: the dump is cut, altered or of another kind, the database is not empty, or the rows that arrived are
            not those that were dumped.
    """
    last = check_dump(source, _family(url))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT" if _family(url) == "sqlite" else None)
    with _file_of(url), engine.connect() as target:
        foreign_keys(target, False)
        if _family(url) == "sqlite":
            target.exec_driver_sql("BEGIN IMMEDIATE")
        there = list(_tables(target))
        if there and not replace:
            raise Refused(
                f"the database holds {len(there)} tables; RESTORE_REPLACE=true lets the dump take their place"
            )
        for name in there:
            target.exec_driver_sql(f"DROP TABLE {_quoted(target, name)}")
        for content in _lines(source):
            if "create" in content:
                target.exec_driver_sql(content["create"])
            elif "rows" in content and "table" in content:
                names = ", ".join(_quoted(target, column) for column in content["columns"])
                mark = "?" if _family(url) == "sqlite" else "%s"
                marks = ", ".join([mark] * len(content["columns"]))
                statement = f"INSERT INTO {_quoted(target, content['table'])} ({names}) VALUES ({marks})"  # noqa: S608
                target.exec_driver_sql(statement, [tuple(_decoded(value) for value in row) for row in content["rows"]])
            elif "then" in content:
                target.exec_driver_sql(content["then"])
        arrived = {
            name: target.exec_driver_sql(f"SELECT COUNT(*) FROM {_quoted(target, name)}").scalar()  # noqa: S608
            for name in last["rows"]
        }
        if arrived != last["rows"]:
            raise Refused("the rows that arrived are not those that were dumped")
        target.exec_driver_sql("COMMIT")
        foreign_keys(target, True)
    engine.dispose()
    return last


def check_dump(source: BinaryIO, family: str) -> dict[str, Any]:
    """Read a whole dump and compare it with its last line; the stream is at its start again afterwards.

    Raises:
        Refused: it is cut, altered, of another form or of another kind of database.
    """
    digest, rows, head, last = hashlib.sha256(), {}, None, None
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as packed:
            for data in packed:
                if last is not None:
                    raise Refused("the dump goes on behind its end")
                content = json.loads(data)
                if "end" in content:
                    last = content["end"]
                    continue
                digest.update(data)
                head = head or content
                if "create" in content:
                    rows[content["table"]] = 0
                elif "rows" in content:
                    rows[content["table"]] += len(content["rows"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        raise Refused("the dump is cut or is none") from None
    source.seek(0)
    if head is None or head.get("form") != FORM or last is None:
        raise Refused("the dump is cut or is none")
    if last["sha256"] != digest.hexdigest() or last["rows"] != rows:
        raise Refused("the dump was altered")
    if head["dialect"] != family:
        raise Refused(f"the dump is of {head['dialect']}, the database is {family}")
    return last


def foreign_keys(connection: sa.Connection, on: bool) -> None:
    """Switch the database's own check of references; rows are loaded table by table."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {int(on)}")
    else:
        connection.exec_driver_sql(f"SET FOREIGN_KEY_CHECKS = {int(on)}")


def _dump_all(names: list[str]) -> None:
    target = _required("BACKUP_TARGET")
    recipients = os.environ.get("BACKUP_RECIPIENTS", "").replace(",", " ").split()
    if not recipients and os.environ.get("BACKUP_PLAIN") != "true":
        raise Refused("BACKUP_RECIPIENTS names no age key, and BACKUP_PLAIN=true does not allow a dump in clear")
    reason = os.environ.get("BACKUP_REASON", "daily")
    moment = datetime.now(UTC)
    for name in names:
        url = _url(name)
        if _family(url) == "sqlite" and not os.path.exists(url.database or ""):
            print(f"{name}: there is no database yet")
            continue
        with tempfile.TemporaryFile() as plain:
            last = write_dump(url, plain)
            if not last["rows"]:
                print(f"{name}: the database is empty")
                continue
            plain.seek(0)
            file = f"{name}-{moment.strftime(STAMP)}-{reason}.jsonl.gz" + (".age" if recipients else "")
            size, digest = _store(plain, target, file, recipients)
        statement = {"file": file, "size_bytes": size, "file_sha256": digest, "made": moment.isoformat(), **last}
        with fsspec.open(f"{target}/{file}.json", "wt", encoding="utf-8") as stream:
            json.dump(statement, stream, indent=1, sort_keys=True)
        count = f"{sum(last['rows'].values())} rows of {len(last['rows'])} tables"
        print(f"{name}: {count} -> {file}, {size} bytes, SHA-256 {digest}")
    _forget(target, names, moment)


def _restore_all(arguments: list[str]) -> None:
    wanted = arguments or os.environ.get("RESTORE", "").split()
    if not wanted:
        raise Refused("name what to restore: RESTORE='zenml=FILE mlflow=FILE mlflow_auth=FILE'")
    target = _required("BACKUP_TARGET")
    for argument in wanted:
        name, _, file = argument.partition("=")
        with fsspec.open(f"{target}/{file}.json", "rt", encoding="utf-8") as stream:
            statement = json.load(stream)
        with tempfile.TemporaryFile() as stored, tempfile.TemporaryFile() as plain:
            with fsspec.open(f"{target}/{file}", "rb") as stream:
                digest = _copy(stream, stored)
            if digest != statement["file_sha256"]:
                raise Refused(f"{file} is not the file that its statement names: it was cut or altered")
            stored.seek(0)
            _open(stored, plain, file)
            last = load_dump(plain, _url(name), os.environ.get("RESTORE_REPLACE") == "true")
        print(f"{name}: {sum(last['rows'].values())} rows of {len(last['rows'])} tables from {file}")


def _list(_: list[str]) -> None:
    target = _required("BACKUP_TARGET")
    for statement in sorted(_statements(target), key=lambda one: one["file"]):
        print(f"{statement['file']}  {statement['size_bytes']} bytes  {sum(statement['rows'].values())} rows")


def _store(plain: BinaryIO, target: str, file: str, recipients: list[str]) -> tuple[int, str]:
    with tempfile.TemporaryFile() as sealed:
        if recipients:
            import pyrage

            keys = [pyrage.x25519.Recipient.from_str(text) for text in recipients]
            pyrage.encrypt_io(plain, sealed, keys)
        else:
            _copy(plain, sealed)
        size = sealed.seek(0, io.SEEK_END)
        sealed.seek(0)
        filesystem, path = fsspec.core.url_to_fs(target)
        filesystem.makedirs(path, exist_ok=True)
        with fsspec.open(f"{target}/{file}", "wb") as stream:
            return size, _copy(sealed, stream)


def _open(stored: BinaryIO, plain: BinaryIO, file: str) -> None:
    if not file.endswith(".age"):
        _copy(stored, plain)
    else:
        import pyrage

        path = _required("BACKUP_IDENTITY")
        with open(path, encoding="utf-8") as stream:
            keys = [line.strip() for line in stream if line.startswith("AGE-SECRET-KEY-")]
        try:
            pyrage.decrypt_io(stored, plain, [pyrage.x25519.Identity.from_str(key) for key in keys])
        except (pyrage.DecryptError, pyrage.IdentityError):
            raise Refused(f"the key in {path} does not open {file}") from None
    plain.seek(0)


def _forget(target: str, names: list[str], now: datetime) -> None:
    """Dumps older than BACKUP_KEEP_DAYS go; the newest of each database always stays."""
    keep = timedelta(days=int(os.environ.get("BACKUP_KEEP_DAYS", "30")))
    filesystem, path = fsspec.core.url_to_fs(target)
    for name in names:
        found = sorted(
            (one for one in _statements(target) if one["file"].startswith(f"{name}-")), key=lambda one: one["made"]
        )
        for statement in found[:-1]:
            if now - datetime.fromisoformat(statement["made"]) > keep:
                filesystem.rm_file(f"{path}/{statement['file']}")
                filesystem.rm_file(
                    f"{path}/{statement['file']}.json"
                )  # last: a kill between the two is finished next time
                print(f"older than {keep.days} days, deleted: {statement['file']}")


def _statements(target: str) -> list[dict[str, Any]]:
    filesystem, path = fsspec.core.url_to_fs(target)
    filesystem.invalidate_cache()
    if not filesystem.exists(path):
        return []
    return [json.loads(filesystem.cat_file(name)) for name in filesystem.glob(f"{path}/*.json")]


@contextlib.contextmanager
def _snapshot(url: sa.URL) -> Iterator[sa.Connection]:
    """A connection that sees one moment of the database."""
    if _family(url) == "mysql":
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            yield connection
        engine.dispose()
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "copy.sqlite")
        with contextlib.closing(sqlite3.connect(f"file:{url.database}?mode=ro", uri=True, timeout=60)) as source:
            with contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        engine = sa.create_engine(f"sqlite:///{copy}")
        with engine.connect() as connection:
            yield connection
        engine.dispose()


def _tables(connection: sa.Connection) -> dict[str, str]:
    """Each table's own `CREATE TABLE`, by name."""
    if connection.dialect.name == "sqlite":
        other = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'view'"
        named = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) != 'sqlite_' ORDER BY name"
        )
        found = {name: statement for name, statement in connection.exec_driver_sql(named)}
    else:
        other = """
            SELECT (SELECT COUNT(*) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE())
                 + (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE())"""
        named = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME"
        names = [row[0] for row in connection.exec_driver_sql(named).fetchall()]
        created = {name: f"SHOW CREATE TABLE {_quoted(connection, name)}" for name in names}
        found = {name: connection.exec_driver_sql(show).fetchone()[1] for name, show in created.items()}
    if connection.exec_driver_sql(other).scalar():
        raise Refused("the database has views or routines, which a dump does not hold")
    return found


def _behind_rows(connection: sa.Connection) -> list[str]:
    """What is made once the rows are there: triggers, and the indexes that SQLite keeps apart from its tables."""
    if connection.dialect.name == "sqlite":
        named = (
            "SELECT sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type, name"
        )
        return [row[0] for row in connection.exec_driver_sql(named)]
    named = (
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY TRIGGER_NAME"
    )
    names = [row[0] for row in connection.exec_driver_sql(named).fetchall()]
    shown = [
        connection.exec_driver_sql(f"SHOW CREATE TRIGGER {_quoted(connection, name)}").fetchone() for name in names
    ]
    return [_DEFINER.sub("", row[2], count=1) for row in shown]  # it runs as whoever restores


def _revisions(connection: sa.Connection, tables: dict[str, str]) -> dict[str, str]:
    """Where the servers' migrations stand: whoever restores wants an image that knows this revision."""
    found = {}
    for name in tables:
        if name.startswith("alembic_version"):
            found[name] = connection.exec_driver_sql(f"SELECT version_num FROM {_quoted(connection, name)}").scalar()  # noqa: S608
    return found


@contextlib.contextmanager
def _file_of(url: sa.URL) -> Iterator[None]:
    """SQLite makes the file that is not there; its folder must be."""
    if _family(url) == "sqlite" and not os.path.isdir(os.path.dirname(url.database or "") or "."):
        raise Refused("the folder of the SQLite file does not exist")
    yield


def _lines(source: BinaryIO) -> Iterator[dict[str, Any]]:
    source.seek(0)
    with gzip.GzipFile(fileobj=source, mode="rb") as packed:
        for data in packed:
            yield json.loads(data)


def _encoded(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat(sep=" ")}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    if isinstance(value, timedelta):
        return {"seconds": str(value.total_seconds())}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    raise Refused(f"a column holds {type(value).__name__}, which a dump cannot write")


def _decoded(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, text)] = value.items()
    if kind == "bytes":
        return base64.b64decode(text)
    return timedelta(seconds=float(text)) if kind == "seconds" else Decimal(text) if kind == "decimal" else text


def _quoted(connection: sa.Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)


def _family(url: sa.URL) -> str:
    name = url.get_backend_name()
    if name not in ("sqlite", "mysql", "mariadb"):
        raise Refused(f"{name} is not dumped here: use its own tools (pg_dump)")
    return "sqlite" if name == "sqlite" else "mysql"


def _url(name: str) -> sa.URL:
    """The database's URL from the environment; ZenML's `mysql://` means PyMySQL, as it does for ZenML."""
    try:
        url = sa.make_url(_required(name.upper()))
    except sa.exc.ArgumentError:
        raise Refused(f"{name.upper()} is no SQLAlchemy URL") from None
    return url.set(drivername="mysql+pymysql") if url.drivername in ("mysql", "mariadb") else url


def _required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise Refused(f"{name} is not set")
    return value


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while data := source.read(1 << 20):
        digest.update(data)
        target.write(data)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
