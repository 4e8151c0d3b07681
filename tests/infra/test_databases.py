"""Dumps of the servers' databases: whole, sealed, checked, and put back into a database of the same kind.

With SQLite everywhere, with a real MariaDB where one is installed.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import mariadb_server
import pyrage
import pytest
import sqlalchemy as sa

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "kubernetes" / "base" / "services"
SECRET = "hunter2-never-in-clear"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


databases = load("databases")
METADATA = sa.MetaData()
PARENTS = sa.Table(
    "alembic_version", METADATA, sa.Column("version_num", sa.String(32), primary_key=True)
)  # fmt: skip
THINGS = sa.Table(
    "things", METADATA,
    sa.Column("id", sa.Integer, primary_key=True), sa.Column("key", sa.String(40), unique=True),
    sa.Column("parent", sa.Integer, sa.ForeignKey("things.id")), sa.Column("blob", sa.LargeBinary),
    sa.Column("at", sa.DateTime), sa.Column("part", sa.Numeric(30, 10)), sa.Column("text", sa.Text),
    sa.Column("share", sa.Float), sa.Column("on", sa.Boolean), sa.Index("by_text", "text", mysql_length=20),
)  # fmt: skip
ROWS = [
    {"id": 2, "key": "b", "parent": 1, "blob": b"\x00\xff'\"%", "at": datetime(2026, 11, 21, 13, 5, 0), "part": 1,
     "text": "한국어 %s ? 'quoted' \\ \n", "share": 0.1, "on": True},
    {"id": 1, "key": "a", "parent": 2, "blob": None, "at": None, "part": None, "text": SECRET, "share": None,
     "on": False},
]  # fmt: skip  # each refers to the other: no order of rows satisfies the reference


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if mariadb_server.programs() is None:
        pytest.skip("there is no MariaDB server here (Debian: mariadb-server)")
    with mariadb_server.mariadb() as url:
        yield url


@pytest.fixture(params=["sqlite", "mysql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[sa.URL, sa.URL]:
    """A filled database, and an empty one of the same kind."""
    if request.param == "sqlite":
        found = [sa.make_url(f"sqlite:///{tmp_path}/{name}.db") for name in ("full", "empty")]
    else:
        url = sa.make_url(request.getfixturevalue("server"))
        found = [url.set(database=f"{name}_{abs(hash(str(tmp_path)))}") for name in ("full", "empty")]
        with sa.create_engine(url).begin() as connection:
            for one in found:
                connection.exec_driver_sql(f"CREATE DATABASE {one.database} CHARACTER SET utf8mb4")
    engine = sa.create_engine(found[0])
    METADATA.create_all(engine)
    with engine.begin() as connection:
        databases.foreign_keys(connection, False)
        connection.execute(PARENTS.insert(), [{"version_num": "abc123"}])
        connection.execute(THINGS.insert(), ROWS)
    engine.dispose()
    return found[0], found[1]


def rows(url: sa.URL) -> list[tuple[object, ...]]:
    with sa.create_engine(url).connect() as connection:
        return [tuple(row) for row in connection.execute(THINGS.select().order_by(THINGS.c.id))]


def dumped(url: sa.URL) -> io.BytesIO:
    stream = io.BytesIO()
    databases.write_dump(url, stream)
    stream.seek(0)
    return stream


def test_what_was_dumped_comes_back_value_by_value_with_its_indexes(pair: tuple[sa.URL, sa.URL]) -> None:
    full, empty = pair
    stream = dumped(full)
    said = databases.load_dump(stream, empty)
    assert rows(empty) == rows(full) and len(rows(empty)) == 2
    assert said["rows"] == {"alembic_version": 1, "things": 2}
    assert said["revisions"] == {"alembic_version": "abc123"}
    with sa.create_engine(empty).connect() as connection:
        assert "by_text" in {index["name"] for index in sa.inspect(connection).get_indexes("things")}
        assert sa.inspect(connection).get_foreign_keys("things")[0]["referred_table"] == "things"
    assert dumped(empty).getvalue() == stream.getvalue()  # the same content is the same bytes


def test_a_trigger_is_made_again_behind_the_rows(pair: tuple[sa.URL, sa.URL]) -> None:
    full, empty = pair
    body = {"sqlite": "BEGIN SELECT RAISE(ABORT, 'kept'); END", "mysql": "FOR EACH ROW SIGNAL SQLSTATE '45000'"}
    with sa.create_engine(full).begin() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER kept BEFORE DELETE ON things {body[full.get_backend_name()]}")
        connection.exec_driver_sql("INSERT INTO things (id, text) VALUES (3, 'x')")
    databases.load_dump(dumped(full), empty)
    with pytest.raises(sa.exc.DBAPIError), sa.create_engine(empty).begin() as connection:
        connection.exec_driver_sql("DELETE FROM things WHERE id = 3")
    databases.load_dump(dumped(full), empty, replace=True)
    assert len(rows(empty)) == 3


def test_tables_that_are_there_stay_unless_told(pair: tuple[sa.URL, sa.URL]) -> None:
    full, _ = pair
    stream = dumped(full)
    with sa.create_engine(full).begin() as connection:
        connection.execute(THINGS.update().values(text="later"))
    with pytest.raises(databases.Refused, match="holds 2 tables"):
        databases.load_dump(stream, full)
    assert {row[6] for row in rows(full)} == {"later"}
    databases.load_dump(stream, full, replace=True)
    assert SECRET in {row[6] for row in rows(full)}


@pytest.mark.parametrize("harm", ["cut", "shorter", "altered", "longer"])
def test_a_dump_that_was_cut_or_altered_changes_nothing(harm: str, tmp_path: Path) -> None:
    full = sa.make_url(f"sqlite:///{tmp_path}/full.db")
    METADATA.create_all(engine := sa.create_engine(full))
    with engine.begin() as connection:
        connection.execute(THINGS.insert(), ROWS)
    data = dumped(full).getvalue()
    lines = gzip.decompress(data).splitlines(keepends=True)
    if harm == "cut":
        data = data[:-40]
    elif harm == "shorter":
        data = gzip.compress(b"".join(lines[:-1]))
    elif harm == "longer":
        data = gzip.compress(b"".join([*lines, b'{"create":"DROP TABLE things","table":"x"}\n']))
    else:
        data = gzip.compress(b"".join(lines).replace(b"hunter2", b"hunter3"))
    with pytest.raises(databases.Refused):
        databases.load_dump(io.BytesIO(data), full, replace=True)
    assert SECRET in {row[6] for row in rows(full)}


def test_a_dump_goes_only_into_a_database_of_its_kind(tmp_path: Path) -> None:
    full = sa.make_url(f"sqlite:///{tmp_path}/full.db")
    METADATA.create_all(sa.create_engine(full))
    with pytest.raises(databases.Refused, match="the dump is of sqlite, the database is mysql"):
        databases.check_dump(dumped(full), "mysql")


def test_a_view_is_not_left_out_in_silence(pair: tuple[sa.URL, sa.URL]) -> None:
    full, _ = pair
    with sa.create_engine(full).begin() as connection:
        connection.exec_driver_sql("CREATE VIEW seen AS SELECT id FROM things")
    with pytest.raises(databases.Refused, match="views"):
        dumped(full)


def test_a_writer_at_work_is_in_the_dump_whole_or_not_at_all(pair: tuple[sa.URL, sa.URL]) -> None:
    full, empty = pair
    with sa.create_engine(full).connect() as writer:
        writer.exec_driver_sql("UPDATE things SET text = 'half'")
        stream = dumped(full)
        writer.rollback()
    databases.load_dump(stream, empty)
    assert "half" not in {row[6] for row in rows(empty)}


class Site:
    """A target folder, a key pair, a database `zenml`, and calls of the script as a pod makes them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, folder / "zenml.db"
        self.identity = pyrage.x25519.Identity.generate()
        (folder / "identity.txt").write_text(f"# made today\n{self.identity}\n")
        METADATA.create_all(engine := sa.create_engine(f"sqlite:///{self.database}"))
        with engine.begin() as connection:
            connection.execute(THINGS.insert(), ROWS)
        engine.dispose()

    def call(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"], "ZENML": f"sqlite:///{self.database}", "BACKUP_TARGET": f"{self.folder}/target",
            "BACKUP_RECIPIENTS": str(self.identity.to_public()), "BACKUP_IDENTITY": f"{self.folder}/identity.txt",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, str(FOLDER / "databases.py"), *arguments], env=environment | more, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "target").glob("*"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_file_is_sealed_and_stated_and_comes_back(site: Site) -> None:
    done = site.call("dump", "zenml")
    assert done.returncode == 0, done.stderr
    file, statement = site.files()
    assert file.endswith("-daily.jsonl.gz.age") and statement == f"{file}.json"
    stored = (site.folder / "target" / file).read_bytes()
    assert stored.startswith(b"age-encryption.org/") and SECRET not in done.stdout + done.stderr
    assert json.loads((site.folder / "target" / statement).read_text())["rows"]["things"] == 2
    site.database.unlink()
    assert site.call("restore", f"zenml={file}").returncode == 0
    assert len(rows(sa.make_url(f"sqlite:///{site.database}"))) == 2
    assert file in site.call("list").stdout


def test_without_a_recipient_nothing_is_written_unless_said(site: Site) -> None:
    done = site.call("dump", "zenml", BACKUP_RECIPIENTS="")
    assert done.returncode == 1 and "BACKUP_RECIPIENTS" in done.stderr and site.files() == []
    assert site.call("dump", "zenml", BACKUP_RECIPIENTS="", BACKUP_PLAIN="true").returncode == 0


def test_a_first_start_has_nothing_to_dump(site: Site) -> None:
    site.database.unlink()
    done = site.call("dump", "zenml")
    assert (done.returncode, site.files()) == (0, []) and "no database yet" in done.stdout


@pytest.mark.parametrize("harm", ["file", "key", "statement"])
def test_a_stored_file_that_is_not_what_was_stated_is_refused(harm: str, site: Site) -> None:
    site.call("dump", "zenml")
    file, statement = site.files()
    path = site.folder / "target" / file
    if harm == "file":
        sealed = path.read_bytes()
        path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    elif harm == "key":
        (site.folder / "identity.txt").write_text(str(pyrage.x25519.Identity.generate()))
    else:
        (site.folder / "target" / statement).write_text('{"file_sha256": "0"}')
    before = site.database.read_bytes()
    done = site.call("restore", f"zenml={file}", RESTORE_REPLACE="true")
    assert done.returncode == 1 and done.stderr.startswith("refused:"), done.stderr
    assert site.database.read_bytes() == before


def test_an_error_of_the_database_quotes_no_value(site: Site) -> None:
    site.call("dump", "zenml")
    file, _ = site.files()
    site.database.write_bytes(b"no database at all, " + SECRET.encode() * 10)
    done = site.call("restore", f"zenml={file}", RESTORE_REPLACE="true")
    assert done.returncode == 1 and SECRET not in done.stdout + done.stderr and "DatabaseError" in done.stderr


def test_old_dumps_go_and_the_newest_stays(site: Site) -> None:
    for _ in range(2):
        assert site.call("dump", "zenml", BACKUP_REASON=f"r{_}").returncode == 0
    for path in (site.folder / "target").glob("*-r*.json"):
        content = json.loads(path.read_text())
        content["made"] = (datetime.now(UTC) - timedelta(days=40)).isoformat()
        path.write_text(json.dumps(content))
    assert site.call("dump", "zenml", BACKUP_KEEP_DAYS="50").returncode == 0
    assert len(site.files()) == 6
    done = site.call("dump", "zenml", BACKUP_REASON="last", BACKUP_KEEP_DAYS="30")
    assert done.returncode == 0 and done.stdout.count("deleted:") == 2
    assert [name for name in site.files() if "-r" in name] == []


def test_postgresql_is_sent_to_its_own_tools(site: Site) -> None:
    done = site.call("dump", "zenml", ZENML=f"postgresql+psycopg://zenml:{SECRET}@db/zenml")
    assert done.returncode == 1 and "pg_dump" in done.stderr and SECRET not in done.stderr


def test_mlflow_gets_its_tables_once_and_keeps_them(tmp_path: Path) -> None:
    """From nothing, then again on what is there: the path of every start."""
    url = f"sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(FOLDER / "migrate_mlflow.py")], env=os.environ | {"MLFLOW_BACKEND_STORE_URI": url},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-800:]
    with sa.create_engine(url).connect() as connection:
        names = sa.inspect(connection).get_table_names()
        assert {"experiments", "runs", "registered_models", "alembic_version"} <= set(names)
    stream = io.BytesIO()
    assert databases.write_dump(sa.make_url(url), stream)["revisions"]["alembic_version"]
