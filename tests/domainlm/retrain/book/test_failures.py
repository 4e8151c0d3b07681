"""A database that is full, read-only, damaged, gone, or somebody else's: said, and what was committed is whole."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgresql_cluster import Cluster, binaries, postgresql

from domainlm.errors import BookRefused, BookUnavailable, ConfigurationError, SecretError
from domainlm.retrain.batches import Result, SeenFile
from domainlm.retrain.book import Book, book_url, open_book
from domainlm.retrain.book.store import METADATA, VERSION

from .conftest import accepted, batch_of, fresh

ROOT = Path(__file__).resolve().parents[4]
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "book.sqlite"


def patient(url: str, **given: object) -> Book:
    return open_book(url, patience_s=0.2, **given)


def test_an_answer_that_was_lost_after_the_commit_changes_nothing(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crash between the database's commit and its answer, at every call that matters."""
    dialect, commit, lost = book.engine.dialect, book.engine.dialect.do_commit, []

    def lose_once(connection: object) -> None:
        commit(connection)
        if lost and lost.pop():
            orig = Exception("the connection was lost")
            raise sa.exc.OperationalError("COMMIT", None, orig, connection_invalidated=True)

    monkeypatch.setattr(dialect, "do_commit", lose_once)

    def losing(call):
        lost.append(True)
        outcome = call()
        assert not lost, "the answer was really lost"
        return outcome

    batch = losing(lambda: book.land(batch_of(1)))
    assert batch.number == 1
    losing(lambda: book.accept(batch.id, 5))
    claim = losing(lambda: book.claim("markets", "tina", 60))
    assert claim.batches == (batch.id,) and claim.token == 1, "the claim of the first try was found"
    losing(lambda: book.bind(claim, "run-1"))
    result = Result(run_id="run-1", identity="a" * 64)
    losing(lambda: book.accept_result(claim, result))
    assert losing(lambda: book.promoted("a" * 64)) in ((), (batch.id,))
    assert [one.after for one in book.transitions(batch.id)] == ["landed", "accepted", "trained", "promoted"]
    assert len(book.results("markets")) == 1 and len(book.claims()) == 1
    again = losing(lambda: book.claim("markets", "tina", 60, allow_empty=True))
    losing(lambda: book.give_up(again, "stopped"))
    assert [one.state for one in book.claims()] == ["given up", "accepted"]


def test_a_transaction_that_dies_in_its_middle_leaves_nothing(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = accepted(book, 1)
    claim = book.claim("markets", "tina", 60)
    book.patience_s = 0.2
    before = {table.name: rows(book, table) for table in METADATA.sorted_tables}

    def torn(*_: object) -> None:
        raise sa.exc.OperationalError("UPDATE", None, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr("domainlm.retrain.book.states.record", torn)  # after the result, before the transition
    with pytest.raises(BookUnavailable):
        book.accept_result(claim, Result(run_id="r", identity="a" * 64))
    assert {table.name: rows(book, table) for table in METADATA.sorted_tables} == before
    monkeypatch.undo()
    book.accept_result(claim, Result(run_id="r", identity="a" * 64))
    assert book.batch(batch.id).state == "trained"


def rows(book: Book, table: sa.Table) -> list[tuple]:
    with book.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]


def test_a_server_that_is_down_is_named_without_its_password(cluster: Cluster) -> None:
    url = fresh(cluster).replace("domainlm@", "domainlm:hunter2@") + "&password=hunter3"
    book = patient(url)
    accepted(book, 1)
    claim = book.claim("markets", "tina", 60)
    cluster.stop()
    try:
        for call in (lambda: book.renew(claim), lambda: book.batches(), lambda: patient(url)):
            with pytest.raises(BookUnavailable, match="is it up") as refused:
                call()
            assert "hunter" not in f"{refused.value!r}{refused.value}{refused.value.__cause__}{book.place}"
    finally:
        cluster.start()
    book.patience_s = 20
    book.accept_result(claim, Result(run_id="r", identity="a" * 64))


def test_a_full_disk_undoes_the_whole_change_and_says_so(file: Path) -> None:
    book = patient(f"sqlite:///{file}")
    batch = accepted(book, 1)

    def limited(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")

    book.close()
    sa.event.listen(book.engine, "connect", limited)
    with pytest.raises(BookUnavailable, match="full") as refused:
        book.land_all([batch_of(number, files=20) for number in range(2, 300)])
    assert "make room" in refused.value.remedy
    assert [one.id for one in book.batches()] == [batch.id], "nothing of the half that did fit"
    sa.event.remove(book.engine, "connect", limited)
    book.close()
    assert len(book.land_all([batch_of(number) for number in range(2, 300)])) == 298


def _limited_writer(url: str) -> None:
    """Runs in a process of its own whose files may not grow."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    book = patient(url)
    limit = 200_000 + Path(url.removeprefix("sqlite:///")).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        book.observe(SeenFile("news", f"{number}", 1, 1, "", "0" * 64, 1.0, "") for number in range(100_000))
    except BookUnavailable as error:
        print(f"refused: {error.remedy}")


def test_a_file_that_may_not_grow_is_left_whole(file: Path) -> None:
    url = f"sqlite:///{file}"
    book = open_book(url)
    batch = accepted(book, 1)
    book.close()
    code = (
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests/support')!r}]\n"
        f"import tests.domainlm.retrain.book.test_failures as here\nhere._limited_writer({url!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout.startswith("refused: see to the disk") or "make room" in done.stdout, done.stderr[-2000:]
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert open_book(url).batch(batch.id).state == "accepted"


def test_a_file_that_may_only_be_read_can_be_read(file: Path) -> None:
    book = open_book(f"sqlite:///{file}")
    batch = accepted(book, 1)
    book.close()
    with sqlite3.connect(file) as connection:  # what a copy on a read-only disk is: no log beside it
        connection.execute("PRAGMA journal_mode=DELETE")
    fixed = patient(f"sqlite:///file:{file}?immutable=1&uri=true", create=False)
    assert fixed.batches() == [batch]
    with pytest.raises(BookUnavailable, match="readonly") as refused:
        fixed.land(batch_of(2))
    assert "right to write" in refused.value.remedy


def _open_as_nobody(url: str, line: Connection) -> None:
    os.setuid(pwd.getpwnam("nobody").pw_uid)
    try:
        patient(url)
    except BookUnavailable as error:
        line.send(str(error))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_without_rights_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        url = f"sqlite:///{folder}/book.sqlite"
        open_book(url).close()
        assert oct(Path(folder, "book.sqlite").stat().st_mode)[-3:] == "600"
        here, there = FORK.Pipe()
        child = FORK.Process(target=_open_as_nobody, args=(url, there), daemon=True)
        child.start()
        assert here.poll(60)
        said = here.recv()
        child.join(60)
    assert "unable to open database file" in said and "rights" in said


@pytest.mark.parametrize("damage", ["header", "middle", "text"])
def test_a_damaged_file_is_named(file: Path, damage: str) -> None:
    book = open_book(f"sqlite:///{file}")
    book.land_all([batch_of(number) for number in range(200)])
    book.close()
    raw = bytearray(file.read_bytes())
    if damage == "header":
        raw[:16] = b"no database here"
    elif damage == "middle":
        raw[4096 : len(raw) // 2] = b"\xa5" * (len(raw) // 2 - 4096)
    else:
        raw[:] = b"date,headline\n" * 500
    file.write_bytes(raw)
    with pytest.raises(BookUnavailable, match=r"malformed|not a database") as refused:
        patient(f"sqlite:///{file}").batches()
    assert str(file) in refused.value.where and "backup" in refused.value.remedy
    assert file.read_bytes() == raw, "what may still be saved is left alone"


def test_a_book_of_another_version_is_refused(url: str) -> None:
    book = open_book(url)
    accepted(book, 1)
    for version, said in ((VERSION + 1, "newer"), (VERSION - 1, "use the domainlm that wrote it")):
        with book.engine.begin() as connection:
            connection.execute(sa.update(METADATA.tables["retrain_book"]).values(version=version))
        with pytest.raises(BookUnavailable, match=f"version {version}") as refused:
            open_book(url)
        assert said in refused.value.remedy
    with book.engine.begin() as connection:
        connection.execute(sa.update(METADATA.tables["retrain_book"]).values(version=VERSION))
    assert len(open_book(url).batches()) == 1


def test_a_table_that_came_later_is_made(url: str) -> None:
    book = open_book(url)
    accepted(book, 1)
    with book.engine.begin() as connection:
        METADATA.tables["retrain_values"].drop(connection)
    again = open_book(url)
    again.set_value("name", "value")
    assert again.value("name") == "value" and len(again.batches()) == 1


def test_a_server_that_would_lose_results_in_a_crash_is_refused() -> None:
    pytest.importorskip("psycopg")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (initdb is missing)")
    with postgresql(fsync="off") as running, pytest.raises(BookUnavailable, match="fsync"):
        open_book(running.url)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_went_away_while_it_was_open_is_not_written_any_more(file: Path, replaced: bool) -> None:
    """A result that is accepted in a file without a name is known to nobody."""
    book = open_book(f"sqlite:///{file}")
    accepted(book, 1)
    claim = book.claim("markets", "tina", 60)
    for left in list(file.parent.glob("book.sqlite*")):
        left.unlink()
    if replaced:
        open_book(f"sqlite:///{file}").close()
    for call in (
        lambda: book.accept_result(claim, Result(run_id="r", identity="a" * 64)),
        lambda: book.land(batch_of(2)),
        lambda: list(book.known("news")),
        lambda: book.busy("markets"),
    ):
        with pytest.raises(BookUnavailable, match="removed or replaced"):
            call()


def test_a_file_whose_maker_died_before_the_first_table_is_used(file: Path) -> None:
    file.write_bytes(b"")
    assert open_book(f"sqlite:///{file}").land(batch_of(1)).number == 1


def test_readers_make_nothing(url: str, file: Path) -> None:
    if url.startswith("sqlite"):
        with pytest.raises(BookUnavailable, match="no batch book"):
            open_book(url, create=False)
        assert not file.exists()
        file.parent.joinpath("empty").write_bytes(b"")
        url = f"sqlite:///{file.parent / 'empty'}"
    with pytest.raises(BookUnavailable, match="holds no batch book"):
        open_book(url, create=False)


@pytest.mark.parametrize("url", ["mysql://x@y/z", "nonsense", "sqlite://", "postgresql+nodriver://x/y"])
def test_a_url_that_no_book_can_have_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="batch book's URL"):
        open_book(url)


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(BookUnavailable, match="is a folder"):
        open_book(f"sqlite:///{tmp_path}")
    with pytest.raises(BookUnavailable, match="cannot be opened"):
        open_book("sqlite:////proc/none/book.sqlite")


def test_the_url_comes_from_the_environment_a_private_file_or_the_project(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert book_url() == f"sqlite:///{home}/retrain/book.sqlite"
    assert open_book().file == home / "retrain" / "book.sqlite"
    assert oct((home / "retrain").stat().st_mode)[-3:] == "700"
    secret = tmp_path / "url"
    monkeypatch.setenv("DOMAINLM_BOOK_FILE", str(secret))
    with pytest.raises(SecretError, match="cannot be read"):
        book_url()
    secret.write_text("sqlite:////data/b.sqlite\n")
    secret.chmod(0o644)
    with pytest.raises(SecretError, match="others can read it"):
        book_url()
    secret.chmod(0o600)
    assert book_url() == "sqlite:////data/b.sqlite"
    secret.write_text("\n")
    with pytest.raises(SecretError, match="empty"):
        book_url()
    monkeypatch.setenv("DOMAINLM_BOOK", "sqlite:///x.sqlite")
    assert book_url() == "sqlite:///x.sqlite"


def test_a_name_that_no_database_can_hold_is_refused(book: Book) -> None:
    file = SeenFile("news", os.fsdecode(b"caf\xe9.csv"), 1, 1, "", "", 1.0, "")
    with pytest.raises(BookRefused, match="UTF-8"):
        book.observe([file])
    assert list(book.known("news")) == []
