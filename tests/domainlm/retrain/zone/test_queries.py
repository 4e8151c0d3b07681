"""Feeds by query: new rows as private files, in real databases."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from mariadb_server import mariadb, programs
from postgresql_cluster import Cluster, or_skip, postgresql
from small_zones import Desk, feed

from domainlm.retrain.batches import LANDED, TRAINED, WITHDRAWN
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.settings import DetectSettings, FeedSettings
from domainlm.retrain.zone import Zone, queries

QUERY = "SELECT id, text, label FROM headlines WHERE text <> '09:30'"
VARIABLE = "MARKET_DATABASE"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    yield from or_skip()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sa.Connection]:
    """A database of the market's, with an empty table; the feed's variable names it."""
    kind = request.param
    url = request.getfixturevalue("cluster").url if kind == "postgresql" else f"sqlite:///{tmp_path}/mar ket#1.sqlite"
    monkeypatch.setenv(VARIABLE, url)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS headlines")
        connection.exec_driver_sql("CREATE TABLE headlines (id INTEGER, text TEXT, label TEXT)")
        yield connection


def put(database: sa.Connection, *rows: tuple[int, str, str]) -> None:
    for row in rows:
        statement = sa.text("INSERT INTO headlines (id, text, label) VALUES (:a, :b, :c)")
        database.execute(statement, dict(zip("abc", row, strict=True)))


def by_query(query: str = QUERY, **values: object) -> FeedSettings:
    return feed("wire", "sql:wire.jsonl", query=query, database=VARIABLE, **values)


@pytest.fixture
def wire(book: Book) -> Callable[..., Desk]:
    """Makes a zone with one feed by query. Each scan lets so much time pass that the feed's turn has come."""

    def made(query: str = QUERY, order_column: str = "", **values: object) -> Desk:
        settings = DetectSettings(feeds=(by_query(query, order_column=order_column),), **values)
        return Desk(Path("/nowhere"), book, settings)

    return made


def ask(one: Desk) -> object:
    one.pass_time(600)
    return one.scan()


def rows_of(batch: object) -> list[dict]:
    (file,) = batch.files
    data = Path(file.uri).read_bytes()
    assert hashlib.sha256(data).hexdigest() == file.sha256 and len(data) == file.size_bytes
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("order_column", ["", "id"])
def test_new_rows_land_once_each_as_a_private_file(database, wire, order_column: str) -> None:
    one = wire(order_column=order_column)
    assert ask(one).lines() == []
    put(database, (1, "Rates rise", "up"), (2, "한국 증시: 하락 50%", "down"), (3, "09:30", "none"))
    (batch,) = ask(one).landed
    assert rows_of(batch) == [
        {"id": 1, "label": "up", "text": "Rates rise"}, {"id": 2, "label": "down", "text": "한국 증시: 하락 50%"},
    ]  # fmt: skip
    path = Path(batch.files[0].uri)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert batch.files[0].uri.endswith(f"/{batch.files[0].path}") and batch.state == LANDED and batch.trusted
    assert ask(one).lines() == []
    put(database, (4, "Oil falls", "down"))
    (batch,) = ask(one).landed
    assert [row["id"] for row in rows_of(batch)] == [4]
    one.zone = one.another()
    assert ask(one).lines() == [], "another process knows what has landed"
    assert list(path.parent.glob("*.tmp")) == []


def test_a_changed_row_lands_again_and_a_deleted_one_stays(database, wire) -> None:
    one = wire()
    put(database, (1, "a", "up"), (2, "b", "up"))
    (first,) = ask(one).landed
    database.exec_driver_sql("UPDATE headlines SET label = 'down' WHERE id = 1")
    database.exec_driver_sql("DELETE FROM headlines WHERE id = 2")
    (second,) = ask(one).landed
    assert rows_of(second) == [{"id": 1, "label": "down", "text": "a"}]
    assert one.book.batch(first.id).state == LANDED and len(rows_of(first)) == 2


def test_equal_rows_land_once(database, wire) -> None:
    one = wire()
    put(database, (1, "a", "up"), (1, "a", "up"))
    assert len(rows_of(ask(one).landed[0])) == 1
    put(database, (1, "a", "up"))
    assert ask(one).landed == []


def test_rows_that_come_late_are_found_in_the_overlap_and_others_by_the_full_comparison(
    database, wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "OVERLAP_ROWS", 5)
    one = wire(order_column="id", redigest_h=24)
    put(database, *((number, f"row {number}", "up") for number in range(0, 100, 2)))
    assert len(rows_of(ask(one).landed[0])) == 50
    put(database, (95, "committed late", "up"), (100, "next", "up"))
    assert [row["id"] for row in rows_of(ask(one).landed[0])] == [95, 100]
    put(database, (3, "very late", "up"))
    assert ask(one).landed == []
    one.pass_time(24 * 3600)
    assert [row["id"] for row in rows_of(ask(one).landed[0])] == [3]


def test_with_an_order_column_only_the_end_is_read(database, wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "OVERLAP_ROWS", 5)
    seen = []
    real = queries._line
    monkeypatch.setattr(queries, "_line", lambda columns, row: seen.append(row[0]) or real(columns, row))
    one = wire(order_column="id")
    put(database, *((number, f"row {number}", "up") for number in range(100)))
    ask(one)
    seen.clear()
    put(database, (100, "next", "up"))
    ask(one)
    assert seen == [95, 96, 97, 98, 99, 100]


def test_times_order_too(database, wire) -> None:
    kind = "TIMESTAMP" if database.dialect.name == "postgresql" else "TEXT"
    database.exec_driver_sql("DROP TABLE IF EXISTS ticks")
    database.exec_driver_sql(f"CREATE TABLE ticks (at {kind}, text TEXT, price NUMERIC(10, 2))")
    one = wire(query="SELECT at, text, price FROM ticks", order_column="at")
    begin = datetime(2026, 1, 2, 9, 30)
    for minute in range(3):
        at = begin + timedelta(minutes=minute)
        database.execute(sa.text("INSERT INTO ticks VALUES (:a, 'x', 1.50)"), {"a": at.isoformat()})
        (batch,) = ask(one).landed
        ((row),) = rows_of(batch)
        assert row["at"] == at.isoformat()


def test_changed_columns_are_said_and_land_for_acceptance_to_judge(database, wire) -> None:
    one = wire(query="SELECT * FROM headlines")
    put(database, (1, "a", "up"))
    ask(one)
    database.exec_driver_sql('ALTER TABLE headlines ADD COLUMN "new\nline" TEXT')
    database.exec_driver_sql("ALTER TABLE headlines RENAME COLUMN label TO mood")
    scan = ask(one)
    assert scan.changed == ["sql:wire.jsonl: other columns than before (+mood +new\\u000aline -label)"]
    assert [sorted(row) for row in rows_of(scan.landed[0])] == [["id", "mood", "new\nline", "text"]]
    assert ask(one).lines() == []


def test_an_order_of_columns_is_no_change_of_rows(database, wire) -> None:
    one = wire()
    put(database, (1, "a", "up"))
    ask(one)
    two = wire(query="SELECT label, text, id FROM headlines -- the other way round")
    assert ask(two).landed == []


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM headlines", "INSERT INTO headlines VALUES (9, 'x', 'y')", "DROP TABLE headlines",
        "SELECT 1; DELETE FROM headlines", "SELECT 1) AS q; DELETE FROM headlines; --",
        "WITH gone AS (DELETE FROM headlines RETURNING *) SELECT * FROM gone", "UPDATE headlines SET id = 1", "",
        "SELECT * FROM headlines) AS feed_rows; COMMIT; DELETE FROM headlines; SELECT * FROM (SELECT 1",
        "SELECT * FROM no_such_table",
    ],
)  # fmt: skip
def test_what_is_no_select_is_refused_and_changes_nothing(database, wire, query: str) -> None:
    put(database, (1, "KIM MINSU", "up"))
    if not query:
        with pytest.raises(ValueError, match="go together"):
            wire(query)
        return
    one = wire(query)
    scan = ask(one)
    assert scan.landed == [] and len(scan.failing) == 1
    assert "MINSU" not in repr(scan) and "KIM" not in repr(scan)
    assert database.exec_driver_sql("SELECT count(*) FROM headlines").scalar() == 1


def test_two_columns_of_one_name_are_refused(cluster: Cluster, wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, cluster.url)  # SQLite gives them two names
    assert "two columns 'id'" in ask(wire("SELECT 1 AS id, 2 AS id")).failing[0][1]


def test_mariadb_is_read_too_and_never_written(wire, monkeypatch: pytest.MonkeyPatch) -> None:
    if programs() is None:
        pytest.skip("MariaDB is not installed")
    with mariadb() as url:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE market")
            connection.exec_driver_sql("CREATE TABLE market.headlines (id INT, text TEXT, price DECIMAL(8, 2))")
            connection.exec_driver_sql("INSERT INTO market.headlines VALUES (1, 'a 09:30 50%%', 1.50)")
            connection.exec_driver_sql(
                "CREATE FUNCTION market.wipe() RETURNS INT MODIFIES SQL DATA BEGIN DELETE FROM headlines; RETURN 1; END"
            )
            monkeypatch.setenv(VARIABLE, sa.make_url(url).set(database="market").render_as_string(False))
            one = wire("SELECT id, text, price FROM headlines", order_column="id")
            (batch,) = ask(one).landed
            assert rows_of(batch) == [{"id": 1, "price": "1.50", "text": "a 09:30 50%"}]
            connection.exec_driver_sql("INSERT INTO market.headlines VALUES (2, 'b', 2)")
            assert [row["id"] for row in rows_of(ask(one).landed[0])] == [2]
            assert ask(wire("SELECT wipe() AS id")).failing[0][1].startswith("the query fails (")
            assert connection.exec_driver_sql("SELECT count(*) FROM market.headlines").scalar() == 2


def test_a_function_that_writes_is_stopped_by_the_read_only_transaction(cluster, database, wire) -> None:
    if database.dialect.name != "postgresql":
        pytest.skip("SQLite has no such functions; its file is opened read-only")
    database.exec_driver_sql(
        "CREATE OR REPLACE FUNCTION wipe() RETURNS integer LANGUAGE sql AS 'DELETE FROM headlines; SELECT 1'"
    )
    put(database, (1, "a", "up"))
    scan = ask(wire("SELECT wipe() AS id, 'x' AS text"))
    assert scan.failing == [("wire", "the query fails (ReadOnlySqlTransaction 25006)")]
    assert database.exec_driver_sql("SELECT count(*) FROM headlines").scalar() == 1


def test_a_database_that_is_down_is_said_once_asked_later_and_later_and_holds_up_no_file(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "market.sqlite"
    monkeypatch.setenv(VARIABLE, f"sqlite:///{place}")
    (tmp_path / "zone").mkdir()
    settings = DetectSettings(zone=str(tmp_path / "zone"), feeds=(by_query(), feed()), settle_s=0, backoff_max_s=60)
    one = Desk(tmp_path / "zone", book, settings)
    one.write("news/a.csv")
    scan = one.scan()
    assert len(scan.landed) == 1 and scan.unreadable == [("sql:wire.jsonl", scan.failing[0][1])]
    assert not place.exists(), "asking makes no database"
    asked = []
    real = queries._rows
    monkeypatch.setattr(queries, "_rows", lambda *given: asked.append(one.ticks) or real(*given))
    for _ in range(300):
        one.pass_time(1)
        scan = one.scan()
        assert scan.unreadable == [] and len(scan.failing) == 1, "said once; failing in every scan"
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses[:5] == [2, 4, 8, 16, 32] and set(pauses[5:]) == {60}
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        connection.exec_driver_sql("CREATE TABLE headlines (id, text, label)")
        connection.exec_driver_sql("INSERT INTO headlines VALUES (1, 'a', 'up')")
    one.pass_time(61)
    scan = one.scan()
    assert len(scan.landed) == 1 and scan.failing == []


def test_a_server_that_stops_and_comes_back(cluster: Cluster, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgresql() as other:
        monkeypatch.setenv(VARIABLE, other.url)
        with sa.create_engine(other.url, poolclass=sa.pool.NullPool).begin() as connection:
            connection.exec_driver_sql("CREATE TABLE headlines AS SELECT 1 AS id, 'a' AS text, 'up' AS label")
        one = Desk(Path("/nowhere"), book, DetectSettings(feeds=(by_query(),)))
        assert len(ask(one).landed) == 1
        other.stop()
        assert ask(one).failing == [("wire", "the query fails (OperationalError)")]
        other.start()
        assert ask(one).lines() == []


@pytest.mark.parametrize(
    ("value", "said"), [("x'ff'", "bytes"), ("9e999", "a number that JSON does not know")], ids=["bytes", "infinity"]
)
def test_values_that_json_cannot_hold_are_refused_by_their_column(
    tmp_path: Path, wire, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    place = tmp_path / "market.sqlite"
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        connection.exec_driver_sql("CREATE TABLE headlines (id INTEGER)")
    monkeypatch.setenv(VARIABLE, f"sqlite:///{place}")
    one = wire(f"SELECT 1 AS id UNION ALL SELECT {value} AS id")
    scan = ask(one)
    assert scan.landed == [] and said in scan.failing[0][1] and "column 'id'" in scan.failing[0][1]
    assert one.book.batches() == []


def test_a_full_disk_leaves_nothing_half_written(database, wire, tmp_path: Path) -> None:
    """In a process that may write no file larger than 64 KiB, which is how a full disk fails (EFBIG for ENOSPC)."""
    put(database, *((number, "x" * 1000, "up") for number in range(300)))
    one = wire(spool=str(tmp_path / "spool"))
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from domainlm.retrain.book import open_book; from domainlm.retrain.settings import DetectSettings\n"
        "from domainlm.retrain.zone import Zone\n"
        "book = open_book(sys.argv[1]); zone = Zone(DetectSettings.model_validate_json(sys.argv[2]), book)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "scan = zone.scan()\n"
        "print(scan.landed, scan.failing)\n"
    )
    url = f"sqlite:///{one.book.file}"
    done = subprocess.run(
        [sys.executable, "-c", program, url, one.settings.model_dump_json()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("[] [('wire', ") and "cannot be written" in done.stdout
    assert list((tmp_path / "spool").rglob("*.*")) == []
    (batch,) = ask(one).landed
    assert len(rows_of(batch)) == 300


def test_a_crash_before_the_batch_was_entered_lands_its_rows_once(database, wire, monkeypatch) -> None:
    put(database, (1, "a", "up"))
    one = wire()

    def crash(batches: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(one.book, "land_all", crash)
        one.scan()
    assert len(ask(one).landed) == 1 and ask(one).landed == []


def test_a_lost_or_damaged_index_is_made_again_of_the_spooled_files(database, wire, home: Path) -> None:
    put(database, (1, "a", "up"))
    one = wire()
    ask(one)
    index = home / "retrain/zone/wire/rows.sqlite"
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    for damage in (index.unlink, lambda: index.write_bytes(b"no database at all" * 100)):
        damage()
        put(database, (2, "b", "up"))
        scan = ask(one)
        assert scan.failing == [] and [row["id"] for batch in scan.landed for row in rows_of(batch)] in ([2], [])
    assert sum(len(rows_of(batch)) for batch in one.book.batches()) == 2


def test_a_spool_that_is_gone_or_changed_stops_its_feed(database, wire, home: Path) -> None:
    put(database, (1, "a", "up"))
    one = wire()
    (batch,) = ask(one).landed
    (home / "retrain/zone/wire/rows.sqlite").unlink()
    path = Path(batch.files[0].uri)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"up", b"no"))
    assert "was changed" in ask(one).failing[0][1]
    path.unlink()
    path.parent.rmdir()  # as an unmounted disk looks
    scan = ask(one)
    assert "is gone" in scan.failing[0][1] and scan.removed == [] and one.book.batch(batch.id).state == LANDED
    path.parent.mkdir()
    path.write_bytes(whole)
    assert ask(one).lines() == []


@pytest.mark.parametrize("order_column", ["", "id"])
def test_a_deleted_spooled_file_is_noticed_and_only_what_the_database_still_has_lands_anew(
    database, wire, home: Path, order_column: str
) -> None:
    """How a person's rows go: out of the database, then out of the spool with all that was spooled beside them."""
    put(database, (1, "Kim Minsu complained", "down"), (2, "Rates rise", "up"))
    one = wire(order_column=order_column)
    (batch,) = ask(one).landed
    one.train(batch)
    put(database, (3, "Oil falls", "down"))
    (open_one,) = ask(one).landed
    database.execute(sa.text("DELETE FROM headlines WHERE id = 1"))
    Path(batch.files[0].uri).unlink()
    scan = ask(one)
    assert scan.removed == [batch.files[0].path] and scan.withdrawn == [] and scan.failing == []
    assert [row["id"] for one in scan.landed for row in rows_of(one)] == [2]
    found = one.book.batch(batch.id)
    assert (found.state, [file.removed for file in found.files]) == (TRAINED, [True])
    assert ask(one).lines() == []
    Path(open_one.files[0].uri).unlink()
    scan = ask(one)
    assert [id for id, _ in scan.withdrawn] == [open_one.id]
    assert [again.id for again in scan.landed] == [open_one.id], "the database still has it: the same batch again"
    assert one.book.batch(open_one.id).state == LANDED and Path(open_one.files[0].uri).exists()
    assert "Minsu" not in "".join(path.read_text() for path in (home / "retrain/landed").rglob("*.jsonl"))


def test_what_a_person_withdrew_does_not_come_again(database, wire) -> None:
    put(database, (1, "a", "up"))
    one = wire()
    (batch,) = ask(one).landed
    one.book.withdraw(batch.id, "wrong desk", by="olga")
    assert ask(one).landed == [] and one.book.batch(batch.id).state == WITHDRAWN


def test_another_book_lands_all_of_it(database, wire, book: Book, tmp_path: Path) -> None:
    put(database, (1, "a", "up"), (2, "b", "down"))
    first = ask(wire()).landed
    with closing(open_book(f"sqlite:///{tmp_path}/other.sqlite")) as other:
        there = ask(Desk(Path("/nowhere"), other, wire().settings)).landed
        assert [rows_of(batch) for batch in there] == [rows_of(batch) for batch in first]
        put(database, (3, "c", "up"))
        assert [row["id"] for batch in ask(wire()).landed for row in rows_of(batch)] == [3]
        again = ask(Desk(Path("/nowhere"), other, wire().settings))
        assert again.failing == [] and [row["id"] for batch in again.landed for row in rows_of(batch)] == [3]


@pytest.mark.parametrize("order_column", ["", "id"])
def test_an_older_copy_of_the_book_lands_what_came_after_it(database, wire, tmp_path: Path, order_column: str) -> None:
    put(database, (1, "a", "up"))
    one = wire(order_column=order_column)
    ask(one)
    older = one.book.copied_to(tmp_path / "older.sqlite")
    put(database, (2, "b", "down"))
    assert len(ask(one).landed) == 1
    two = Desk(Path("/nowhere"), older, one.settings)
    assert [row["id"] for batch in ask(two).landed for row in rows_of(batch)] == [2]
    assert ask(two).lines() == []
    older.close()


def test_an_index_that_is_made_again_is_used_only_when_it_is_whole(database, wire, tmp_path: Path) -> None:
    """Forgotten for another book, then stopped at a file of it that was changed: nothing lands twice meanwhile."""
    put(database, (1, "a", "up"))
    one = wire()
    (batch,) = ask(one).landed
    with closing(open_book(f"sqlite:///{tmp_path}/other.sqlite")) as other:
        put(database, (2, "b", "up"))
        ask(Desk(Path("/nowhere"), other, one.settings))
    path = Path(batch.files[0].uri)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"up", b"no"))
    for _ in range(2):
        scan = ask(one)
        assert scan.landed == [] and "was changed" in scan.failing[0][1]
    path.write_bytes(whole)
    assert [row["id"] for batch in ask(one).landed for row in rows_of(batch)] == [2]


def test_what_is_put_aside_leaves_index_and_spool_alone(database, wire, home: Path, tmp_path: Path) -> None:
    put(database, (1, "a", "up"))
    one = wire()
    ask(one)
    put(database, (2, "b", "down"))
    before = {path: path.read_bytes() for path in (home / "retrain").rglob("*.*")}
    copy = one.book.copied_to(tmp_path / "copy.sqlite")
    (batch,) = Zone(one.settings, copy, aside=tmp_path / "aside").scan().landed
    assert [row["id"] for row in rows_of(batch)] == [2] and Path(batch.files[0].uri).is_relative_to(tmp_path / "aside")
    assert {path: path.read_bytes() for path in (home / "retrain").rglob("*.*")} == before
    assert [row["id"] for batch in ask(one).landed for row in rows_of(batch)] == [2]
    copy.close()


def test_a_withdrawn_batch_whose_file_is_gone_stops_its_feed_no_more(database, wire, home: Path) -> None:
    put(database, (1, "a", "up"))
    one = wire()
    (batch,) = ask(one).landed
    (home / "retrain/zone/wire/rows.sqlite").unlink()
    Path(batch.files[0].uri).unlink()
    put(database, (2, "b", "up"))
    one.book.withdraw(batch.id, "its file is lost", by="olga")
    scan = ask(one)
    assert scan.failing == [] and [row["id"] for batch in scan.landed for row in rows_of(batch)] == [1, 2]


def test_a_missing_or_open_secret_names_the_variable_and_nothing_else(
    wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    one = wire()
    assert ask(one).failing == [("wire", f"{VARIABLE}: is not set")]
    secret = tmp_path / "url"
    secret.write_text("postgresql+psycopg://olga:Tr0ub4dor@127.0.0.1:1/market")
    secret.chmod(0o644)
    monkeypatch.setenv(f"{VARIABLE}_FILE", str(secret))
    assert "others can read" in ask(one).failing[0][1]
    secret.chmod(0o600)
    scan = ask(one)
    assert scan.failing == [("wire", "the query fails (OperationalError)")] and "Tr0ub4dor" not in repr(scan)
    secret.write_text("oracle://olga:Tr0ub4dor@127.0.0.1/market")
    scan = ask(one)
    assert len(scan.failing) == 1 and "Tr0ub4dor" not in repr(scan)


def test_rows_can_be_spooled_into_a_store(database, wire) -> None:
    import fsspec

    put(database, (1, "a", "up"))
    one = wire(spool="memory://spool/landed")
    (batch,) = ask(one).landed
    with fsspec.open(batch.files[0].uri, "rb") as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == batch.files[0].sha256
    put(database, (2, "b", "up"))
    assert len(ask(one).landed) == 1
