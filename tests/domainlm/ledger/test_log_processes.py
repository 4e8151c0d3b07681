"""Several processes at one ledger, in SQLite and in a real PostgreSQL: nothing lost, nothing twice, nothing half."""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from postgresql_cluster import Cluster, binaries, or_skip, postgresql
from securesystemslib.signer import CryptoSigner

from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.merkle import Tree, leaf_hash

ROOT = Path(__file__).resolve().parents[3]
ORIGIN = "bank/models"
KEY = CryptoSigner.generate_ed25519()
FORK = multiprocessing.get_context("fork")
WRITERS = 8


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/audit.py: its figures are measured by what is tested here."""
    found = importlib.util.spec_from_file_location("audit_benchmark", ROOT / "benchmarks" / "audit.py")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from or_skip()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return fresh(request.getfixturevalue("cluster"))


def fresh(cluster: Cluster) -> str:
    """An empty database in the cluster."""
    engine = sa.create_engine(cluster.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        name = f"ledger_{time.monotonic_ns()}"
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return cluster.url.replace("/postgres?", f"/{name}?")


def some(count: int) -> list[Envelope]:
    content = {"page": "model"}
    return [
        Envelope.sign(entries.statement(entries.READ, ORIGIN, "recorder", {"model": "0" * 64}, content), KEY)
        for _ in range(count)
    ]


def whole(ledger: Ledger) -> int:
    """The size of a store whose entries, leaves and state agree."""
    raws = list(ledger.raw())
    assert [number for number, _ in raws] == list(range(len(raws)))
    leaves = [leaf_hash(raw) for _, raw in raws]
    assert leaves == list(ledger.leaves())
    assert ledger.frontier.size == len(raws) and ledger.frontier.root == Tree(leaves).get_root()
    return len(raws)


def _open_and_add(url: str, batches: int, batch: int, confirmed: str) -> None:
    ledger = Ledger(url, ORIGIN)
    with open(confirmed, "a", buffering=1) as stream:
        for _ in range(batches):
            made = some(batch)
            for number, envelope in zip(ledger.append(made), made, strict=True):
                stream.write(f"{number} {envelope.digest}\n")
    ledger.close()


def _repeat(url: str, raws: list[bytes], _: int, confirmed: str) -> None:
    ledger = Ledger(url, ORIGIN)
    with open(confirmed, "a") as stream:
        for raw in raws:
            stream.write(f"{ledger.append([Envelope.parse(raw, 'given')])[0]} {leaf_hash(raw).hex()}\n")
    ledger.close()


def together(target: object, tmp_path: Path, *arguments: object) -> list[tuple[int, str]]:
    """Run a target in eight processes at once; (number, digest) that they had confirmed."""
    files = [tmp_path / f"confirmed-{number}" for number in range(WRITERS)]
    running = [FORK.Process(target=target, args=(*arguments, str(file))) for file in files]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0] * WRITERS
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    return [(int(number), digest) for number, digest in lines]


def test_eight_processes_that_make_the_ledger_and_write_lose_nothing(url: str, tmp_path: Path) -> None:
    confirmed = together(_open_and_add, tmp_path, url, 6, 5)
    ledger = Ledger(url, ORIGIN)
    assert whole(ledger) == WRITERS * 6 * 5
    there = {(number, envelope.digest) for number, envelope in ledger.entries()}
    assert there == set(confirmed) and len(confirmed) == len(there)
    ledger.close()


def test_the_same_entries_by_eight_processes_are_there_once(url: str, tmp_path: Path) -> None:
    raws = [envelope.to_bytes() for envelope in some(10)]
    confirmed = together(_repeat, tmp_path, url, raws, 0)
    ledger = Ledger(url, ORIGIN)
    assert whole(ledger) == 10 and len(set(confirmed)) == 10 and len(confirmed) == 80
    ledger.close()


def test_eight_signers_lose_nothing_and_the_verdict_is_good(url: str, benchmark: ModuleType, tmp_path: Path) -> None:
    found = benchmark.writers(tmp_path, True, url if url.startswith("postgresql") else "")
    assert found["writers_failed"] == found["entries_lost"] == found["entries_twice"] == 0
    assert found["writers_entries"] == 120 and found["writers_verdict"] == "good"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_writers_leave_a_good_ledger(
    benchmark: ModuleType, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "postgresql":
        cluster = request.getfixturevalue("cluster")
        found = benchmark.kills(tmp_path, True, 12, lambda: fresh(cluster))
    else:
        found = benchmark.kills(tmp_path, True, 12)
    assert found["kills"] == found["kills_recovered"] == 12
    assert found["kills_false_verdicts"] == found["kills_entries_lost"] == found["kills_others_hindered"] == 0


@pytest.mark.parametrize("moment_s", [0.05, 0.15, 0.4])
def test_a_server_that_dies_in_the_middle_keeps_what_it_confirmed(
    cluster: Cluster, tmp_path: Path, moment_s: float
) -> None:
    """`immediate` is a crash: nothing is flushed; the start after it replays the write-ahead log."""
    url = fresh(cluster)
    Ledger(url, ORIGIN).append(some(1))
    files = [tmp_path / f"confirmed-{number}" for number in range(3)]
    running = [FORK.Process(target=_until_it_dies, args=(url, str(file))) for file in files]
    for process in running:
        process.start()
    time.sleep(moment_s)
    cluster.stop("immediate")
    for process in running:
        process.join(120)
    cluster.start()
    assert [process.exitcode for process in running] == [0, 0, 0]  # each was told by an error with a name
    ledger = Ledger(url, ORIGIN)
    size = whole(ledger)
    there = {(str(number), envelope.digest) for number, envelope in ledger.entries()}
    lines = [line.split() for file in files if file.exists() for line in file.read_text().split("\n")[:-1]]
    assert {(number, digest) for number, digest in lines} <= there
    assert ledger.append(some(2)) == [size, size + 1]
    ledger.close()


def _until_it_dies(url: str, confirmed: str) -> None:
    try:
        _open_and_add(url, 1_000_000, 3, confirmed)
    except ArtifactError as error:
        assert "the ledger's store refuses" in error.what
        return
    raise AssertionError("the server lived")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET entry = ''",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
        "UPDATE ledger_checkpoints SET note = ''",
        "TRUNCATE ledger_checkpoints",
        "DELETE FROM ledger_state",
        "TRUNCATE ledger_state",
    ],
)
def test_a_slip_in_postgresqls_shell_is_refused(cluster: Cluster, statement: str) -> None:
    ledger = Ledger(fresh(cluster), ORIGIN)
    ledger.append(some(2))
    with pytest.raises(ArtifactError, match="append-only"), ledger.named(), ledger.writing() as connection:
        connection.exec_driver_sql(statement)
    assert whole(ledger) == 2
    ledger.close()


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM ledger_entries WHERE number = 5", "truncated"),
        ("DELETE FROM ledger_entries WHERE number = 2", "deleted"),
        ("INSERT INTO ledger_entries VALUES (6, '', '')", "inserted"),
        ("UPDATE ledger_state SET size = 10", "truncated"),
        ("UPDATE ledger_state SET frontier = decode(repeat('00', 64), 'hex')", "edited"),
        ("UPDATE ledger_entries SET leaf = '\\x00' WHERE number = 3", "edited"),
    ],
)
def test_a_postgresql_that_contradicts_itself_takes_no_entry(cluster: Cluster, statement: str, code: str) -> None:
    ledger = Ledger(fresh(cluster), ORIGIN)
    ledger.append(some(6))
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_entries DISABLE TRIGGER ALL")
        connection.exec_driver_sql(statement)
    again = Ledger(str(ledger.engine.url), ORIGIN)
    with pytest.raises(EvidenceRefused) as refused:
        again.append(some(1))
    assert refused.value.code == code
    ledger.close()
    again.close()


def test_postgresql_confirms_nothing_that_a_crash_could_lose(cluster: Cluster) -> None:
    url = fresh(cluster)
    hasty = url + "&options=-c%20synchronous_commit%3Doff%20-c%20default_transaction_isolation%3Dserializable"
    ledger = Ledger(hasty, ORIGIN)
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    ledger.close()


def test_a_server_without_fsync_is_refused() -> None:
    pytest.importorskip("psycopg")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (initdb is missing)")
    with postgresql(fsync="off") as running, pytest.raises(ArtifactError, match="fsync"):
        Ledger(running.url, ORIGIN)


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ArtifactError) as refused:
        Ledger("postgresql+psycopg://somebody:hush@127.0.0.1:1/ledger", ORIGIN)
    assert "hush" not in str(refused.value) and "127.0.0.1" in str(refused.value)


def test_a_signers_role_needs_no_more_than_docs_ledger_md_says(cluster: Cluster) -> None:
    url = fresh(cluster)
    ledger = Ledger(url, ORIGIN)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE signer LOGIN")
        connection.exec_driver_sql("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO signer")
        connection.exec_driver_sql("GRANT UPDATE ON ledger_state TO signer")
    ledger.close()
    writer = Ledger(url.replace("domainlm@", "signer@"), ORIGIN)
    assert writer.append(some(2)) == [0, 1] and whole(writer) == 2
    for statement in ("DROP TRIGGER ledger_keeps_ledger_entries ON ledger_entries", "DELETE FROM ledger_entries"):
        with pytest.raises(ArtifactError), writer.named(), writer.writing() as connection:
            connection.exec_driver_sql(statement)
    writer.close()


def test_who_may_only_read_reads(cluster: Cluster) -> None:
    url = fresh(cluster)
    ledger = Ledger(url, ORIGIN)
    ledger.append(some(2))
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            "DO $$BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'auditor') "
            "THEN CREATE ROLE auditor LOGIN; END IF; END$$"
        )
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor")
    ledger.close()
    reader = Ledger(url.replace("domainlm@", "auditor@"), ORIGIN, create=False)
    assert whole(reader) == 2
    with pytest.raises(ArtifactError, match="denied"):
        reader.append(some(1))
    reader.close()
