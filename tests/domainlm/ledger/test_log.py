"""The ledger's store in SQLite: what it keeps, what it refuses, what a crash leaves. See also test_log_processes.py."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from securesystemslib.signer import CryptoSigner
from small_ledgers import small_ledger, small_run

from domainlm.audit.proof.verification import verify_entries
from domainlm.errors import ArtifactError, ConfigurationError, EvidenceRefused
from domainlm.ledger import entries, log, store
from domainlm.ledger.anchors import Published
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.envelopes import MAX_ENTRY_BYTES, Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.merkle import Tree, leaf_hash, prove_inclusion, verify_inclusion

ORIGIN = "bank/models"
KEY = CryptoSigner.generate_ed25519()
TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger'"


def some(count: int, size: int = 10) -> list[Envelope]:
    """Signed entries of some bytes more than their form takes."""
    return [
        Envelope.sign(
            entries.statement(entries.READ, ORIGIN, "recorder", {"page": "0" * 64}, {"page": "x" * size}), KEY
        )
        for _ in range(count)
    ]


def opened(folder: Path, **given: bool) -> Ledger:
    return Ledger(f"sqlite:///{folder / 'ledger.sqlite'}", ORIGIN, **given)


def by_hand(ledger: Ledger, *statements: str) -> None:
    """What somebody who owns the file can do: the triggers are dropped first."""
    assert ledger.file is not None
    connection = sqlite3.connect(ledger.file, isolation_level=None)
    for (name,) in connection.execute(TRIGGERS).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def good_prefix(folder: Path, roots: dict[int, bytes]) -> int:
    """Size of a store that must hold exactly a state that was committed once; entries, leaves and state agree."""
    ledger = opened(folder)
    raws = [raw for _, raw in ledger.raw()]
    assert Tree([leaf_hash(raw) for raw in raws]).get_root() == ledger.frontier.root == roots[len(raws)]
    ledger.append(some(1))
    ledger.close()
    return len(raws)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return opened(tmp_path)


def test_entries_are_numbered_from_0_and_read_back_as_they_were(ledger: Ledger) -> None:
    made = some(5)
    assert ledger.append(made[:2]) == [0, 1]
    assert ledger.append(made[2:]) == [2, 3, 4]
    assert ledger.append([]) == []
    assert list(ledger.entries()) == list(enumerate(made))
    assert list(ledger.entries(1, 3)) == [(1, made[1]), (2, made[2])]
    assert [number for number, _ in ledger.raw(3)] == [3, 4]


def test_the_same_entry_again_is_the_same_entry(ledger: Ledger) -> None:
    made = some(3)
    ledger.append(made)
    before = ledger.frontier
    assert ledger.append(made) == [0, 1, 2]
    assert ledger.frontier == before
    (new,) = some(1)
    assert ledger.append([made[1], new, new]) == [1, 3, 3]
    assert ledger.frontier.size == 4


def test_the_frontier_is_that_of_the_tree_and_proofs_come_from_the_leaves(ledger: Ledger) -> None:
    for count in (1, 2, 3, 7):
        ledger.append(some(count))
    leaves = list(ledger.leaves())
    assert leaves == [leaf_hash(raw) for _, raw in ledger.raw()]
    assert ledger.frontier.root == Tree(leaves).get_root()
    assert ledger.frontier_at(13) == ledger.frontier
    assert ledger.frontier_at(5).root == Tree(leaves[:5]).get_root() and list(ledger.leaves(5)) == leaves[:5]
    verify_inclusion(prove_inclusion(leaves, 4), leaf_hash(dict(ledger.raw())[4]), ledger.frontier.root)
    with pytest.raises(EvidenceRefused) as refused:
        ledger.frontier_at(14)
    assert refused.value.code == "deleted"


def test_reading_pages_by_rows_and_by_bytes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    made = some(7, 2000)
    ledger.append(made)
    monkeypatch.setattr(log, "READ_ROWS", 3)
    assert [envelope for _, envelope in ledger.entries()] == made and len(list(ledger.leaves())) == 7
    monkeypatch.setattr(log, "READ_BYTES", 100)  # less than one entry: then one at a time
    assert [envelope for _, envelope in ledger.entries()] == made


def test_files_are_the_owners_alone(ledger: Ledger) -> None:
    ledger.append(some(1))
    assert ledger.file is not None
    modes = {path.name: path.stat().st_mode & 0o777 for path in ledger.file.parent.iterdir()}
    assert modes == dict.fromkeys(("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"), 0o600)


def test_commits_are_synced(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60000


def test_a_database_of_another_ledger_is_refused(ledger: Ledger) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        Ledger(str(ledger.engine.url), "bank/others")
    assert refused.value.code == "foreign-entry" and "bank/models" in refused.value.what


def test_what_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ArtifactError, match="not a database"):
        opened(tmp_path)
    with pytest.raises(ArtifactError, match="cannot be made"):
        opened(tmp_path / "missing")
    with pytest.raises(ArtifactError, match="there is no ledger"):
        opened(tmp_path / "missing", create=False)
    for url in ("mysql://somebody:hush@here/x", "no url", "nosuch://x"):
        with pytest.raises(ConfigurationError) as refused:
            Ledger(url, ORIGIN)
        assert "hush" not in str(refused.value)
    with pytest.raises(ConfigurationError):
        Ledger("sqlite://", "../up")


def test_who_only_reads_makes_nothing(tmp_path: Path, ledger: Ledger) -> None:
    ledger.append(some(2))
    assert opened(tmp_path, create=False).frontier.size == 2
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(ArtifactError, match="no such table"):
        Ledger(f"sqlite:///{tmp_path / 'empty.sqlite'}", ORIGIN, create=False)
    assert (tmp_path / "empty.sqlite").stat().st_size in (0, 4096)  # at most the header of a write-ahead log


def test_a_copy_on_a_read_only_disk_is_read_by_its_uri(tmp_path: Path, ledger: Ledger) -> None:
    ledger.append(some(2))
    ledger.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(tmp_path / "ledger.sqlite", copy)
    uri = f"sqlite:///file:{copy / 'ledger.sqlite'}?immutable=1&mode=ro&uri=true"
    read = Ledger(uri, ORIGIN, create=False)
    assert read.frontier.size == len(list(read.raw())) == 2
    with pytest.raises(ArtifactError, match="readonly"):
        read.append(some(1))
    read.close()
    assert [path.name for path in copy.iterdir()] == ["ledger.sqlite"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET entry = x'00' WHERE number = 1",
        "DELETE FROM ledger_entries",
        "UPDATE ledger_checkpoints SET note = ''",
        "DELETE FROM ledger_checkpoints",
        "DELETE FROM ledger_state",
    ],
)
def test_a_slip_in_a_shell_is_refused(ledger: Ledger, statement: str) -> None:
    ledger.append(some(2))
    ledger.add_checkpoint(2, Checkpoint(ORIGIN, 2, ledger.frontier.root).signed(KEY).note)
    with pytest.raises(ArtifactError, match="append-only"), ledger.named(), ledger.writing() as connection:
        connection.exec_driver_sql(statement)
    assert ledger.frontier.size == 2 and len(list(ledger.raw())) == 2 and len(ledger.checkpoints()) == 1


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM ledger_entries WHERE number = 5", "truncated"),
        ("DELETE FROM ledger_entries", "truncated"),
        ("DELETE FROM ledger_entries WHERE number = 2", "deleted"),
        ("DELETE FROM ledger_entries WHERE number = 0", "deleted"),
        ("INSERT INTO ledger_entries VALUES (6, x'00', x'00')", "inserted"),
        ("INSERT INTO ledger_entries VALUES (-1, x'00', x'00')", "inserted"),
        ("UPDATE ledger_entries SET number = 9 WHERE number = 5", "deleted"),
        ("UPDATE ledger_entries SET leaf = zeroblob(32) WHERE number = 3", "edited"),
        ("UPDATE ledger_entries SET leaf = 'text' WHERE number = 3", "deleted"),
        ("UPDATE ledger_state SET size = 5", "inserted"),
        ("UPDATE ledger_state SET size = 7", "edited"),
        ("UPDATE ledger_state SET size = 10", "truncated"),
        ("UPDATE ledger_state SET size = 'six'", "edited"),
        ("UPDATE ledger_state SET size = -1", "edited"),
        ("UPDATE ledger_state SET frontier = zeroblob(64)", "edited"),
        ("UPDATE ledger_state SET frontier = 'text'", "edited"),
        ("UPDATE ledger_state SET frontier = 5", "edited"),
        ("UPDATE ledger_state SET frontier = x''", "edited"),
    ],
)
def test_a_store_that_contradicts_itself_takes_no_entry(ledger: Ledger, statement: str, code: str) -> None:
    ledger.append(some(6))
    by_hand(ledger, statement)
    again = Ledger(str(ledger.engine.url), ORIGIN)
    with pytest.raises(EvidenceRefused) as refused:
        again.append(some(1))
    assert refused.value.code == code and str(ledger.file) in refused.value.where
    count = len(list(again.raw(-5)))
    with pytest.raises(EvidenceRefused):  # nor at the second try
        again.append(some(1))
    assert len(list(again.raw(-5))) == count


@pytest.mark.parametrize(
    "statement", ["DELETE FROM ledger_entries WHERE number = 5", "UPDATE ledger_state SET size = 4"]
)
def test_a_change_meanwhile_is_seen_by_who_has_the_store_open(ledger: Ledger, statement: str) -> None:
    ledger.append(some(6))
    by_hand(ledger, statement)
    with pytest.raises(EvidenceRefused):
        ledger.append(some(1))


def test_a_state_that_contradicts_the_latest_checkpoint_takes_no_entry(ledger: Ledger) -> None:
    ledger.append(some(4))
    ledger.add_checkpoint(4, Checkpoint(ORIGIN, 4, ledger.frontier.root).signed(KEY).note)
    by_hand(ledger, "UPDATE ledger_state SET frontier = zeroblob(32)")
    with pytest.raises(EvidenceRefused) as refused:
        Ledger(str(ledger.engine.url), ORIGIN).append(some(1))
    assert refused.value.code == "edited"


def test_a_lost_state_is_not_made_anew_over_entries(ledger: Ledger) -> None:
    ledger.append(some(2))
    by_hand(ledger, "DELETE FROM ledger_state")
    with pytest.raises(EvidenceRefused) as refused:
        Ledger(str(ledger.engine.url), ORIGIN)
    assert refused.value.code == "edited"


@pytest.mark.parametrize("value", ["NULL", "5", "'text'", "1.5", "x'80'"])
def test_any_type_in_any_column_reaches_the_reader_as_no_entry(ledger: Ledger, value: str) -> None:
    ledger.append(some(3))
    ledger.add_checkpoint(3, Checkpoint(ORIGIN, 3, ledger.frontier.root).signed(KEY).note)
    lenient = [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table'",
        "PRAGMA writable_schema = RESET",
    ]
    statements = ("UPDATE ledger_entries SET entry = {} WHERE number = 1", "UPDATE ledger_checkpoints SET note = {}")
    by_hand(ledger, *lenient, *(statement.format(value) for statement in statements))
    again = Ledger(str(ledger.engine.url), ORIGIN)
    read = dict(again.raw())
    assert len(read) == 3 and isinstance(read[1], bytes)
    with pytest.raises(EvidenceRefused) as refused:
        Envelope.parse(read[1], "entry 1")
    assert refused.value.code == "malformed"
    (note,) = again.checkpoints()
    with pytest.raises(EvidenceRefused):
        Checkpoint.parse(note, "here")


def test_a_huge_payload_is_neither_added_nor_read_whole(ledger: Ledger) -> None:
    before = some(1)
    ledger.append(before)
    with pytest.raises(EvidenceRefused) as refused:
        ledger.append([*some(1), *some(1, MAX_ENTRY_BYTES)])
    assert refused.value.code == "too-large" and ledger.frontier.size == 1
    by_hand(ledger, "UPDATE ledger_entries SET entry = zeroblob(83886080)")  # 80 MiB
    ((_, raw),) = ledger.raw()
    assert len(raw) == MAX_ENTRY_BYTES + 1
    with pytest.raises(EvidenceRefused) as refused:
        next(ledger.entries())
    assert refused.value.code == "too-large"


def test_what_could_not_be_read_again_is_not_added(ledger: Ledger) -> None:
    (good,) = some(1)
    for bad in (Envelope(b'{"b": 1, "a": 2}', good.signatures), Envelope(good.payload, (("short", b"x" * 64),))):
        with pytest.raises(EvidenceRefused) as refused:
            ledger.append([good, bad])
        assert refused.value.code == "malformed" and refused.value.where == "new entry 1"
    assert ledger.frontier.size == 0 and list(ledger.raw()) == []


def test_one_checkpoint_a_size(ledger: Ledger) -> None:
    ledger.append(some(3))
    root = ledger.frontier.root
    first = Checkpoint(ORIGIN, 3, root).signed(KEY)
    other_key = first.signed(CryptoSigner.generate_ed25519()).note
    ledger.add_checkpoint(3, first.note)
    ledger.add_checkpoint(3, other_key)  # the same tree by a newer key
    assert ledger.checkpoints() == [first.note]
    with pytest.raises(EvidenceRefused) as refused:
        ledger.add_checkpoint(3, Checkpoint(ORIGIN, 3, b"\x00" * 32).signed(KEY).note)
    assert refused.value.code == "forked"
    ledger.append(some(1))
    latest = Checkpoint(ORIGIN, 4, ledger.frontier.root).signed(KEY).note
    ledger.add_checkpoint(4, latest)
    assert ledger.checkpoints() == [first.note, latest] and ledger.latest_checkpoint() == latest


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    ledger.append(some(1))
    with pytest.raises(RuntimeError), ledger.named(), ledger.writing() as connection:
        ledger.append_in(connection, some(3))
        raise RuntimeError("the signer died here")
    assert ledger.frontier.size == 1 and ledger.append(some(1)) == [1]


def test_a_full_disk_adds_nothing_and_loses_nothing(ledger: Ledger) -> None:
    ledger.append(some(10))
    before = ledger.frontier

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0] + 4}")

    sa.event.listen(ledger.engine, "connect", limit)
    ledger.close()
    with pytest.raises(ArtifactError, match="full") as refused:
        ledger.append(some(200, 1000))
    assert "repeat" in refused.value.remedy
    assert ledger.frontier == before and len(list(ledger.raw())) == 10
    sa.event.remove(ledger.engine, "connect", limit)
    ledger.close()
    assert ledger.append(some(200, 1000))[0] == 10


FILLING = """
import resource, signal, sys
sys.path[:0] = {path!r}
from test_log import opened, some
from pathlib import Path
from domainlm.errors import ArtifactError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = opened(Path({folder!r}))
ledger.append(some(3))
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    for _ in range(100):
        print(ledger.append(some(5, 3000))[-1], flush=True)
except ArtifactError as error:
    assert "the ledger's store refuses" in error.what
    print("refused", flush=True)
    sys.exit(0)
sys.exit("the limit was never met")
"""


@pytest.mark.parametrize("limit", [300_000, 333_333, 371_717])
def test_a_disk_that_fills_in_the_middle_of_a_write(tmp_path: Path, limit: int) -> None:
    """The kernel cuts a write short at any byte (RLIMIT_FSIZE); what was confirmed stays, and nothing else."""
    root = Path(__file__).resolve().parents[3]
    code = FILLING.format(
        path=[str(root), str(root / "tests" / "support"), str(Path(__file__).parent)], folder=str(tmp_path), limit=limit
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    *confirmed, last = done.stdout.split()
    assert last == "refused" and confirmed
    ledger = opened(tmp_path)
    raws = [raw for _, raw in ledger.raw()]
    assert len(raws) == ledger.frontier.size == int(confirmed[-1]) + 1
    assert Tree([leaf_hash(raw) for raw in raws]).get_root() == ledger.frontier.root
    ledger.append(some(2))


def committed_states(ledger: Ledger, commits: int, size: int = 200) -> dict[int, bytes]:
    """Size -> root after each of some commits."""
    roots = {0: ledger.frontier.root}
    for _ in range(commits):
        ledger.append(some(2, size))
        roots[ledger.frontier.size] = ledger.frontier.root
    return roots


def test_a_log_torn_at_any_byte_is_a_state_that_was_committed(tmp_path: Path) -> None:
    """A power cut leaves the write-ahead log cut, or with garbage where blocks were not written yet."""
    place = tmp_path / "whole"
    place.mkdir()
    ledger = opened(place)
    roots = committed_states(ledger, 6)
    wal = (place / "ledger.sqlite-wal").read_bytes()
    database = (place / "ledger.sqlite").read_bytes()
    draw = random.Random(5)
    sizes = set()
    frame = 24 + 4096
    cuts = [0, 1, 31, 32, 33, len(wal)] + [
        32 + frame * n + d for n in range(0, len(wal) // frame, 7) for d in (-1, 0, 1)
    ]
    for number, cut in enumerate([*cuts, *(draw.randrange(len(wal)) for _ in range(40))]):
        copy = tmp_path / f"cut-{number}"
        copy.mkdir()
        (copy / "ledger.sqlite").write_bytes(database)
        tail = draw.choice([b"", bytes(len(wal) - min(cut, len(wal))), draw.randbytes(4096)])
        (copy / "ledger.sqlite-wal").write_bytes(wal[:cut] + tail)
        sizes.add(good_prefix(copy, roots))
        shutil.rmtree(copy)
    assert len(sizes) > 3 and max(sizes) == 12  # cuts fell into several commits; the whole log has all of them
    assert sizes <= set(roots)


def test_a_crash_while_the_write_ahead_log_is_folded_into_the_file_loses_nothing(tmp_path: Path) -> None:
    """The file then is a mixture of old and new sectors, cut anywhere; the log is whole and mends it."""
    place = tmp_path / "whole"
    place.mkdir()
    ledger = opened(place)
    ledger.append(some(30, 3000))
    ledger.close()  # folds the log in
    roots = {0: Ledger(f"sqlite:///{tmp_path / 'empty.sqlite'}", ORIGIN).frontier.root}
    ledger = opened(place)
    for count in (2, 3, 40):
        ledger.append(some(count, 3000))
        roots[ledger.frontier.size] = ledger.frontier.root
    before, wal = ((place / name).read_bytes() for name in ("ledger.sqlite", "ledger.sqlite-wal"))
    with ledger.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        assert connection.exec_driver_sql("PRAGMA wal_checkpoint(FULL)").one()[0] == 0
    after = (place / "ledger.sqlite").read_bytes()
    assert len(after) > len(before) and after[: len(before)] != before
    draw = random.Random(13)
    for number in range(25):
        length = draw.randrange(len(before), len(after) + 1)
        sectors = [
            (after if draw.random() < 0.5 or start >= len(before) else before)[start : start + 512]
            for start in range(0, len(after), 512)
        ]
        copy = tmp_path / f"mixed-{number}"
        copy.mkdir()
        (copy / "ledger.sqlite").write_bytes(b"".join(sectors)[:length])
        (copy / "ledger.sqlite-wal").write_bytes(wal)
        assert good_prefix(copy, roots) == 75
        shutil.rmtree(copy)


def test_a_copy_cut_at_any_byte_never_passes_for_the_whole(tmp_path: Path) -> None:
    """`cp` of a ledger that did not end: refused by name, or read and found broken against a published checkpoint."""
    made = small_ledger(tmp_path / "ledger")
    for number in range(40):
        made.enter_run(small_run(number))
    anchor = Published("the safe", made.ledger.latest_checkpoint())
    entries_of_all = list(made.ledger.raw())
    made.ledger.close()
    assert made.ledger.file is not None and not made.ledger.file.with_name("ledger.sqlite-wal").exists()
    whole = made.ledger.file.read_bytes()

    def verdict(content: bytes) -> str:
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "ledger.sqlite").write_bytes(content)
        try:
            read = opened(copy)
            notes = read.checkpoints()
            found = verify_entries(read.raw(), notes, [anchor], ORIGIN, made.root_keyids, processes=1).verdict
            assert found != "good" or list(read.raw()) == entries_of_all
            return found
        except (ArtifactError, EvidenceRefused) as error:
            return type(error).__name__
        finally:
            shutil.rmtree(copy)

    assert verdict(whole) == "good"
    draw = random.Random(7)
    cuts = [0, 1, 99, 100, 4095, 4096, *(draw.randrange(len(whole)) for _ in range(30))]
    assert {verdict(whole[:cut]) for cut in cuts} <= {"broken", "ArtifactError", "EvidenceRefused"}
    # where blocks in the middle were not written: good only where the zeros fell on no entry (an index, a free page)
    holes = [draw.randrange(len(whole) // 512 - 1) * 512 for _ in range(30)]
    found = {verdict(whole[:hole] + bytes(512) + whole[hole + 512 :]) for hole in holes}
    assert "broken" in found and found <= {"broken", "ArtifactError", "EvidenceRefused", "good"}


def test_no_flipped_bit_of_the_file_passes_for_what_was_written(tmp_path: Path) -> None:
    """Many flips in a SQLite file reach no row; those that reach one are seen, and no error is without a name."""
    made = small_ledger(tmp_path / "ledger")
    for number in range(10):
        made.enter_run(small_run(number))
    anchor = Published("the safe", made.ledger.latest_checkpoint())
    original = list(made.ledger.raw())
    made.ledger.close()
    assert made.ledger.file is not None
    whole = made.ledger.file.read_bytes()
    draw = random.Random(11)
    seen: set[str] = set()
    for number in range(150):
        copy = tmp_path / f"copy-{number}"
        copy.mkdir()
        place = draw.randrange(len(whole))
        flipped = bytes([whole[place] ^ 1 << draw.randrange(8)])
        (copy / "ledger.sqlite").write_bytes(whole[:place] + flipped + whole[place + 1 :])
        try:
            read = opened(copy)
            notes = read.checkpoints()
            found = verify_entries(read.raw(), notes, [anchor], ORIGIN, made.root_keyids, processes=1)
            assert found.verdict == "broken" or list(read.raw()) == original, place
            seen.add(found.verdict)
            read.close()
        except (ArtifactError, EvidenceRefused) as error:
            seen.add(type(error).__name__)
        shutil.rmtree(copy)
    assert {"good", "broken"} <= seen


def test_who_waits_too_long_for_a_turn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_S", 0.2)
    ledger, other = opened(tmp_path), opened(tmp_path)
    with ledger.writing() as connection:
        ledger.append_in(connection, some(1))
        with pytest.raises(ArtifactError, match="locked"):
            other.append(some(1))
        assert list(other.raw()) == []  # readers do not wait, and see what was committed
        assert opened(tmp_path).frontier.size == 0  # nor does who opens it
    assert other.append(some(1)) == [1]


def test_a_backup_made_while_somebody_writes_is_a_state_that_was_committed(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    roots = committed_states(ledger, 5)
    copy = tmp_path / "copy"
    copy.mkdir()
    source, target = sqlite3.connect(tmp_path / "ledger.sqlite"), sqlite3.connect(copy / "ledger.sqlite")

    def meanwhile(_status: int, _left: int, _total: int) -> None:
        if len(roots) < 9:
            roots.update(committed_states(ledger, 1))

    source.backup(target, pages=2, progress=meanwhile)
    source.close()
    target.close()
    assert good_prefix(copy, roots) in roots
