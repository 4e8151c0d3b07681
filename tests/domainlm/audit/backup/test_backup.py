"""A backup comes back whole or not at all, over nothing newer, and never with a person who was erased since."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyrage
import pytest
from leaks import find_leaks
from small_homes import REASON, SmallHome, rows_of, small_home
from small_ledgers import ORIGIN, small_run

from domainlm.artifacts import TOMBSTONE
from domainlm.audit.backup import backup as backups
from domainlm.audit.backup import restore as restores
from domainlm.audit.backup.backup import CONTENT, Written, backup, later_file
from domainlm.audit.backup.restore import PLAN, Present, finish, restore
from domainlm.audit.erasure.at_rest import at_rest
from domainlm.audit.erasure.suppression import ErasureRegister, Plan
from domainlm.audit.lineage.index import Lineage
from domainlm.audit.sealing import is_sealed, unseal
from domainlm.digests import canonical_json, digest_bytes, digest_file, digest_json
from domainlm.errors import ArtifactError, DomainLMError, EvidenceRefused, SecretError
from domainlm.ledger import entries
from domainlm.ledger.acts import Hold, HoldRelease
from domainlm.ledger.anchors import Published
from domainlm.ledger.log import Ledger
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import RUNNING
from domainlm.redact.vault import Vault


@pytest.fixture
def small(tmp_path: Path) -> SmallHome:
    made = small_home(tmp_path / "home")
    # closed at once: what a connection's end writes into the file would look like a change
    with closing(sqlite3.connect(made.home / "artifacts" / "mlflow.db")) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE runs (name TEXT)")
        database.execute("INSERT INTO runs VALUES ('first')")
    store = made.home / "zenml" / "zenml.db"
    store.parent.mkdir()
    with closing(sqlite3.connect(store)) as database, database:
        for table in ("secret", "secret_resource"):
            database.execute(f"CREATE TABLE {table} (value TEXT)")
        database.execute("INSERT INTO secret VALUES ('the ring of keys')")
    (made.home / "keys").mkdir()
    (made.home / "keys" / "signer.pem").write_text("-----BEGIN PRIVATE KEY-----\nMC4C\n")
    made.vault.close()  # its journals go into the files, whose digests are compared
    return made


def write(small: SmallHome, target: Path, **options) -> Written:
    return backup(target, small.home, small.ledger.ledger, small.places().submit, **options)


def present(small: SmallHome, **changes) -> Present:
    def again() -> int:
        small.lineage = Lineage(small.home / "evidence" / "lineage.sqlite")
        small.vault = Vault(small.home / "vault", small.keys)
        return small.eraser().repeat()

    values = {
        "home": small.home, "ledger": small.ledger.ledger, "register": small.register,
        "root_keyids": small.ledger.root_keyids, "published": [], "submit": small.places().submit,
        "erase_again": again,
    }  # fmt: skip
    return Present(**(values | changes))


def put_back(small: SmallHome, file: Path, unlisted: bool = False, **changes) -> restores.Restored:
    small.vault.close()
    with open(file, "rb") as stream:
        return restore(stream, digest_file(file), str(file), present(small, **changes), unlisted=unlisted)


def state(home: Path) -> dict[str, str]:
    """What a home holds, by content."""
    skipped = (".lock", "-wal", "-shm")
    return {
        path.relative_to(home).as_posix(): digest_file(path)
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.endswith(skipped)
    }


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_what_is_backed_up_comes_back(small: SmallHome, tmp_path: Path) -> None:
    rooms = ("artifacts", "mlflow", "runs")
    before = {name: digest for name, digest in state(small.home).items() if name.startswith(rooms)}
    done = write(small, tmp_path / "b.tar")
    for room in rooms:
        shutil.rmtree(small.home / room)
    with sqlite3.connect(small.home / "vault" / "values.sqlite") as database:
        database.execute("DELETE FROM entries")
    found = put_back(small, tmp_path / "b.tar")
    assert (found.files, found.entries, found.erasures) == (done.files, 0, 0)
    after = {name: digest for name, digest in state(small.home).items() if name.startswith(rooms)}
    assert {name: after.get(name) for name in before if not name.endswith(".db")} == {
        name: digest for name, digest in before.items() if not name.endswith(".db")
    }
    with sqlite3.connect(small.home / "artifacts" / "mlflow.db") as database:
        assert database.execute("SELECT name FROM runs").fetchall() == [("first",)]
    assert [value.value for value in small.vault.reveal(small.gone, REASON, "anna")] == ["Anna Quist"]
    assert {path.stat().st_mode & 0o077 for path in small.home.rglob("*") if "evidence" not in path.parts
            and path.is_relative_to(small.home / "artifacts")} == {0}  # fmt: skip
    kinds = [stated.header.kind for stated in small.ledger.evidence().of_kind(entries.BACKUP, entries.RESTORE)]
    assert kinds == [entries.BACKUP, entries.RESTORE]
    assert not list(small.home.glob(".restore-*")), "drafts are left"


def test_the_entry_states_what_was_written(small: SmallHome, tmp_path: Path) -> None:
    done = write(small, tmp_path / "b.tar")
    act = next(small.ledger.evidence().of_kind(entries.BACKUP)).act
    assert act.file == done.file == digest_file(tmp_path / "b.tar")
    assert act.size_bytes == (tmp_path / "b.tar").stat().st_size
    content = json.loads(members(tmp_path / "b.tar")[CONTENT])
    assert act.content == digest_bytes(members(tmp_path / "b.tar")[CONTENT]) == digest_json(content)
    assert act.checkpoint.startswith(f"{ORIGIN}\n{content['size']}\n")
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600


def test_equal_content_is_equal_bytes(small: SmallHome, tmp_path: Path) -> None:
    files = []
    for name in ("a.tar", "b.tar"):
        keep = small.places(submit=lambda *_: type("R", (), {"number": 0})).submit
        backup(tmp_path / name, small.home, small.ledger.ledger, keep)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_no_key_is_ever_in_it(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    names = members(tmp_path / "b.tar")
    assert "home/vault/values.sqlite" in names
    assert not [name for name in names if "keys" in name]
    assert find_leaks(tmp_path / "b.tar", ["the ring of keys", "BEGIN PRIVATE KEY"]) == []
    stray = small.home / "evidence" / "anna.pem"
    stray.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(SecretError, match="a private key lies among"):
        write(small, tmp_path / "c.tar")
    assert not (tmp_path / "c.tar").exists()


@pytest.mark.parametrize("how", ["identity", "passphrase"])
def test_an_encrypted_backup_opens_with_its_key_alone(small: SmallHome, tmp_path: Path, how: str) -> None:
    identity, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    for name, made in (("right", identity), ("wrong", other)):
        (tmp_path / name).write_text(f"{made}\n")
        (tmp_path / name).chmod(0o600)
    options = {"recipients": [str(identity.to_public())]} if how == "identity" else {"passphrase": "a long passphrase"}
    done = write(small, tmp_path / "b.age", **options)
    assert done.file == digest_file(tmp_path / "b.age")
    assert find_leaks(tmp_path / "b.age", [small.gone, "letters"]) == []
    with open(tmp_path / "b.age", "rb") as stream:
        assert is_sealed(stream)
        with pytest.raises(DomainLMError):
            unseal(stream, "b", tmp_path / "wrong", "" if how == "identity" else "another passphrase")
    with open(tmp_path / "b.age", "rb") as stream:
        given = {"identity": tmp_path / "right"} if how == "identity" else {"passphrase": "a long passphrase"}
        plain = unseal(stream, "b", folder=small.home, **given)
    small.vault.close()
    assert restore(plain, done.file, "b", present(small)).files == done.files


def test_a_broken_recipient_is_named_and_nothing_is_written(small: SmallHome, tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="is no age recipient"):
        write(small, tmp_path / "b.age", recipients=["age1nonsense"])
    assert not list(tmp_path.glob("*b.age*"))


# ------------------------------------------------------------------------------------------------------- later erasures


def test_a_person_erased_since_is_erased_again(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    assert find_leaks(tmp_path / "b.tar", [small.gone]) != []
    small.eraser().erase([small.gone], REASON, "anna")
    done = put_back(small, tmp_path / "b.tar")
    assert done.erasures >= 3
    found = find_leaks(small.home, [small.gone, *small.rows])
    assert {Path(leak.place).relative_to(small.home).as_posix().removesuffix("-wal") for leak in found} <= {
        "evidence/erasures.sqlite", "vault/keys.sqlite", "vault/access.jsonl",
    }  # fmt: skip
    assert small.lineage.data_of(small.gone) == []
    assert small.lineage.data_of(small.stays) != []
    committed = next(small.ledger.evidence().of_kind(entries.ERASURE)).act.commitment
    stones = [json.loads(path.read_bytes()) for path in small.home.rglob(TOMBSTONE)]
    assert stones
    assert {stone["act"] for stone in stones} == {committed}
    assert len(list(small.ledger.evidence().of_kind(entries.ERASURE))) == 1, "the same act is not stated twice"
    assert next(small.ledger.evidence().of_kind(entries.RESTORE)).act.erasures == done.erasures


def test_without_the_register_a_later_erasure_stops_the_restore(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    small.eraser().erase([small.gone], REASON, "anna")
    small.register.path.unlink()
    before = state(small.home)
    with pytest.raises(EvidenceRefused, match="erasure that no erasure register here knows") as refused:
        put_back(small, tmp_path / "b.tar")
    assert refused.value.where.startswith("entry ")
    assert state(small.home) == before


def test_an_erasure_of_before_the_backup_is_in_its_own_register(small: SmallHome, tmp_path: Path) -> None:
    small.eraser().erase([small.gone], REASON, "anna")
    write(small, tmp_path / "b.tar")
    small.register.path.unlink()
    put_back(small, tmp_path / "b.tar")
    assert small.register.subjects() == {small.gone}


def test_the_salt_of_a_hold_that_ended_does_not_come_back(small: SmallHome, tmp_path: Path) -> None:
    committed = small.register.hold(small.gone)
    act = Hold(commitment=committed, case="C-1", reason="litigation 2026")
    entry = small.ledger.state("olga", entries.HOLD, act, {"held": committed}).entry
    write(small, tmp_path / "b.tar")
    small.ledger.state("anna", entries.HOLD_RELEASE, HoldRelease(hold=entry, reason="settled"), {"hold": entry})
    small.register.release(committed)
    put_back(small, tmp_path / "b.tar")
    assert small.register.hold_commitments() == frozenset()


# ----------------------------------------------------------------------------------------------------------- the ledger


def test_an_older_ledger_never_replaces_a_newer_one(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    small.ledger.enter_run(small_run(7))
    size = small.ledger.ledger.frontier.size
    put_back(small, tmp_path / "b.tar")
    assert small.ledger.ledger.frontier.size == size + 1  # the entry of the restore
    assert small.ledger.evidence().run(small_run(7).run_id)


def test_a_lost_ledger_is_taken_up_whole(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    size = json.loads(members(tmp_path / "b.tar")[CONTENT])["size"]
    empty = Ledger(f"sqlite:///{tmp_path / 'empty.sqlite'}", ORIGIN)

    class Receipt:
        number = size

    with pytest.raises(EvidenceRefused, match="no entry of the ledger states this backup"):
        put_back(small, tmp_path / "b.tar", ledger=empty, submit=lambda *_: Receipt)
    assert empty.frontier.size == 0, "its entry lies in FILE.ledger alone"
    done = put_back(small, tmp_path / "b.tar", unlisted=True, ledger=empty, submit=lambda *_: Receipt)
    assert done.entries == size == empty.frontier.size
    assert [raw for _, raw in empty.raw()] == [raw for _, raw in small.ledger.ledger.raw(0, size)]
    assert empty.checkpoints()


def test_a_lost_ledger_comes_back_with_the_backup_s_own_entry(small: SmallHome, tmp_path: Path) -> None:
    done = write(small, tmp_path / "b.tar")
    everything = [raw for _, raw in small.ledger.ledger.raw()]
    assert len(everything) == done.entry + 1
    empty = Ledger(f"sqlite:///{tmp_path / 'empty.sqlite'}", ORIGIN)
    newest = Published("/mnt/worm", small.ledger.ledger.checkpoints()[-1])

    class Receipt:
        number = 0

    again = present(small, ledger=empty, submit=lambda *_: Receipt, published=[newest])
    with open(tmp_path / "b.tar", "rb") as stream:
        assert restore(stream, done.file, "b", again, later_file(tmp_path / "b.tar")).entries == len(everything)
    assert [raw for _, raw in empty.raw()] == everything


@pytest.mark.parametrize("change", [lambda raw: b"", lambda raw: b"[]\nx\n", lambda raw: raw[:-40] + b"\n"])
def test_a_broken_continuation_moves_nothing(small: SmallHome, tmp_path: Path, change) -> None:
    done = write(small, tmp_path / "b.tar")
    later = later_file(tmp_path / "b.tar")
    later.write_bytes(change(later.read_bytes()))
    before = state(small.home)
    with open(tmp_path / "b.tar", "rb") as stream, pytest.raises((ArtifactError, EvidenceRefused)):
        restore(stream, done.file, "b", present(small), later)
    assert state(small.home) == before


def test_a_ledger_that_a_published_checkpoint_outgrew_is_refused(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    later = small.ledger.enter_run(small_run(7)).checkpoint
    empty = Ledger(f"sqlite:///{tmp_path / 'empty.sqlite'}", ORIGIN)
    with pytest.raises(EvidenceRefused) as refused:
        put_back(small, tmp_path / "b.tar", ledger=empty, published=[Published("/mnt/worm", later)])
    assert refused.value.code == "rolled-back"
    assert empty.frontier.size == 0


def test_another_ledger_and_a_forked_one_are_refused(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    other = small_home(tmp_path / "other")
    with pytest.raises(EvidenceRefused) as refused:
        put_back(small, tmp_path / "b.tar", ledger=other.ledger.ledger)
    assert refused.value.code == "forked"
    with pytest.raises(EvidenceRefused) as refused:
        put_back(small, tmp_path / "b.tar", ledger=Ledger(f"sqlite:///{tmp_path / 'x.sqlite'}", "another"))
    assert refused.value.code == "foreign-entry"
    with pytest.raises(EvidenceRefused) as refused:  # the backup's own root is not believed
        put_back(
            small, tmp_path / "b.tar", root_keyids=other.ledger.root_keyids,
            ledger=Ledger(f"sqlite:///{tmp_path / 'y.sqlite'}", ORIGIN),
        )  # fmt: skip
    assert refused.value.code == "untrusted-root"


# ------------------------------------------------------------------------------------------------------------ bad files


def repack(file: Path, change: Callable[[dict[str, bytes]], None], kind: bytes = tarfile.REGTYPE) -> Path:
    content = members(file)
    change(content)
    target = file.with_name("changed.tar")
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.type = kind if name != CONTENT else tarfile.REGTYPE
            tar.addfile(member, io.BytesIO(data))
    return target


def _flip(content: dict[str, bytes]) -> None:
    name = next(name for name in content if name.endswith("records.arrow"))
    content[name] = content[name][:-1] + bytes([content[name][-1] ^ 1])


def _drop(content: dict[str, bytes]) -> None:
    del content[next(name for name in content if name.endswith("records.arrow"))]


def _add(content: dict[str, bytes]) -> None:
    content["home/artifacts/extra"] = b"x"


def _listed(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(content: dict[str, bytes]) -> None:
        head = json.loads(content[CONTENT])
        head["files"][name] = [1, digest_bytes(b"x")]
        content[CONTENT] = json.dumps(head).encode()
        content[name] = b"x"

    return change


def _fitting(content: dict[str, bytes]) -> None:
    """What `_flip` alters, with the list of content made to fit."""
    _flip(content)
    head = json.loads(content[CONTENT])
    for name in head["files"]:
        head["files"][name] = [len(content[name]), digest_bytes(content[name])]
    content[CONTENT] = canonical_json(head)


def test_an_altered_backup_with_a_list_that_fits_is_not_the_one_that_the_ledger_states(
    small: SmallHome, tmp_path: Path
) -> None:
    write(small, tmp_path / "b.tar")
    changed, before = repack(tmp_path / "b.tar", _fitting), state(small.home)
    with pytest.raises(EvidenceRefused, match="no entry of the ledger states this backup") as refused:
        put_back(small, changed)
    assert refused.value.code == "replaced-artifact" and state(small.home) == before
    assert put_back(small, changed, unlisted=True).files > 0


def test_manifests_that_nobody_vouches_for_do_not_come_back(small: SmallHome, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DOMAINLM_HOME", str(small.home))
    entered, sealed, at_work, forged = (
        small_run(number, status=RUNNING if number == 53 else "completed") for number in (51, 52, 53, 54)
    )
    small.ledger.enter_run(entered)
    for run in (entered, sealed, at_work, forged):
        path = manifests.write(run, lambda: small.keys)
        if run is not sealed:
            path.with_suffix(".seal").unlink()
    write(small, tmp_path / "b.tar")
    done = put_back(small, tmp_path / "b.tar")
    assert f"{forged.run_id}.json" in done.left_out
    kept = {path.stem for path in (small.home / "runs").glob("*.json")}
    assert {run.run_id for run in (entered, sealed, at_work)} <= kept and forged.run_id not in kept


def _version(content: dict[str, bytes]) -> None:
    content[CONTENT] = content[CONTENT].replace(b"domainlm.backup/1", b"domainlm.backup/9")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip, "differs from the backup's list"),
        (_drop, "lacks 1 files"),
        (_add, "which its list does not"),
        (_version, "known: domainlm.backup/1"),
        (_listed("home/../../outside"), "which its list does not"),
        (_listed("/etc/outside"), "which its list does not"),
        (_listed("home/keys/signer.pem"), "which its list does not"),
        (_listed("home/vault/keys.sqlite"), "which its list does not"),
        (lambda content: content.pop(CONTENT), "is not a backup"),
    ],
)
def test_an_altered_backup_moves_nothing(small: SmallHome, tmp_path: Path, change, said: str) -> None:
    write(small, tmp_path / "b.tar")
    before = state(small.home)
    with pytest.raises(ArtifactError, match=said):
        put_back(small, repack(tmp_path / "b.tar", change))
    assert state(small.home) == before
    assert not list(tmp_path.rglob("outside"))


def test_links_in_a_backup_are_refused(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    with pytest.raises(ArtifactError, match=r"which its list does not|torn"):
        put_back(small, repack(tmp_path / "b.tar", lambda content: None, tarfile.SYMTYPE))


def test_a_torn_backup_moves_nothing_wherever_it_was_cut(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    raw = (tmp_path / "b.tar").read_bytes()
    end = len(raw.rstrip(b"\0"))
    before = state(small.home)
    for cut in [0, 1, 511, 512, 1000, *range(2000, end, end // 12), end - 1]:
        (tmp_path / "torn").write_bytes(raw[:cut])
        with pytest.raises(ArtifactError):
            put_back(small, tmp_path / "torn")
    assert state(small.home) == before


def test_a_backup_of_a_project_that_lay_elsewhere_is_refused(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")
    os.rename(small.home, tmp_path / "moved")
    moved = present(small, home=tmp_path / "moved")
    with open(tmp_path / "b.tar", "rb") as stream, pytest.raises(ArtifactError, match="lay elsewhere"):
        restore(stream, "0" * 64, "b", moved)


# ------------------------------------------------------------------------------------------------- full disks and kills


class _Full(io.RawIOBase):
    def __init__(self, sink, room: int) -> None:
        self.sink, self.room = sink, room

    def write(self, data) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.sink.write(data)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_full_disk_leaves_the_earlier_backup(small: SmallHome, tmp_path: Path, monkeypatch, sealed: bool) -> None:
    write(small, tmp_path / "b.tar")
    earlier = (tmp_path / "b.tar").read_bytes()
    real = backups._Counted
    monkeypatch.setattr(backups, "_Counted", lambda sink: real(_Full(sink, 20_000)))
    options = {"recipients": [str(pyrage.x25519.Identity.generate().to_public())]} if sealed else {}
    with pytest.raises(ArtifactError, match="No space left on device"):
        write(small, tmp_path / "b.tar", **options)
    assert (tmp_path / "b.tar").read_bytes() == earlier
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["b.tar", "b.tar.ledger"]
    assert len(list(small.ledger.evidence().of_kind(entries.BACKUP))) == 1


def test_a_disk_that_fills_while_restoring_moves_nothing(small: SmallHome, tmp_path: Path, monkeypatch) -> None:
    write(small, tmp_path / "b.tar")
    before = state(small.home)
    real, count = restores._write, [0]

    def fills(source, target):
        count[0] += 1
        if count[0] == 7:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return real(source, target)

    monkeypatch.setattr(restores, "_write", fills)
    with pytest.raises(ArtifactError, match="No space left on device"):
        put_back(small, tmp_path / "b.tar")
    assert state(small.home) == before


class Killed(BaseException):
    """Stands for kill -9."""


def test_a_kill_at_any_move_is_finished_by_the_next_call(tmp_path: Path, monkeypatch) -> None:
    real, limit, moves = os.rename, [0], [0]

    def dies(*arguments, **named):
        if moves[0] == limit[0]:
            raise Killed
        moves[0] += 1
        return real(*arguments, **named)

    killed = True
    while killed:
        small = small_home(tmp_path / f"home-{limit[0]}")
        write(small, tmp_path / "b.tar")
        records = small.clean / "records.arrow"
        wanted = digest_file(records)
        records.write_bytes(b"torn by a later accident")
        small.lineage.enter("7" * 64, "later", rows_of(small.keys, {}, 3))
        moves[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(restores.os, "rename", dies)
            try:
                put_back(small, tmp_path / "b.tar")
                killed = False
            except Killed:
                pass
        if killed:
            assert (small.home / PLAN).exists()
            with pytest.raises(ArtifactError, match="was interrupted"):
                put_back(small, tmp_path / "b.tar")
            finish(present(small))
        assert digest_file(records) == wanted
        assert not small.lineage.knows("7" * 64)
        assert small.lineage.data_of(small.gone)
        assert not (small.home / PLAN).exists()
        limit[0] += 1
    assert limit[0] > 8, "too few places were tried"


def test_an_entry_that_could_not_be_made_is_made_by_the_next_call(small: SmallHome, tmp_path: Path) -> None:
    write(small, tmp_path / "b.tar")

    def no_signer(*_) -> None:
        raise SecretError("the signing key is missing", "signer", "")

    with pytest.raises(SecretError):
        put_back(small, tmp_path / "b.tar", submit=no_signer)
    assert finish(present(small)).entry == next(small.ledger.evidence().of_kind(entries.RESTORE)).number
    with pytest.raises(ArtifactError, match="no restore was interrupted"):
        finish(present(small))


def test_a_file_that_changes_meanwhile_ends_the_backup(small: SmallHome, tmp_path: Path, monkeypatch) -> None:
    real = backups._pack

    def changes(sink, head, content, found):
        (small.clean / "records.arrow").write_bytes(b"other")
        real(sink, head, content, found)

    monkeypatch.setattr(backups, "_pack", changes)
    with pytest.raises(ArtifactError, match="while it was copied"):
        write(small, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_a_backup_inside_of_what_it_backs_up_is_refused(small: SmallHome) -> None:
    with pytest.raises(ArtifactError, match="inside of what is backed up"):
        write(small, small.home / "artifacts" / "b.tar")


def test_a_register_under_way_joins_without_beginning_again(small: SmallHome, tmp_path: Path) -> None:
    register = ErasureRegister(tmp_path / "older.sqlite", small.keys)
    register.intend(small.gone, Plan(reason=REASON, by="anna"))
    register.intend(small.stays, Plan(reason=REASON, by="anna"))
    small.eraser().erase([small.gone], REASON, "anna")
    small.register.merge(register.path)
    assert set(small.register.pending()) == {small.stays}
    assert small.register.subjects() == {small.gone, small.stays}


def test_drafts_of_a_killed_act_go_with_the_next_one(small: SmallHome) -> None:
    for name in (".backup-1", ".restore-1", ".restore-2", ".restore-2.before"):
        (small.home / name).mkdir()
        (small.home / name / "records.arrow").write_text(small.gone)
    (small.home / PLAN).write_text(json.dumps({"staged": ".restore-2"}))
    with at_rest(small.home, "test"):
        assert sorted(path.name for path in small.home.glob(".*-*")) == [".restore-2", ".restore-2.before"]
    (small.home / PLAN).unlink()
    small.eraser().erase([small.gone], REASON, "anna")
    assert not list(small.home.glob(".*-*"))
