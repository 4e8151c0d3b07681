"""The vault, the quarantine and their log: what opens, what never opens again, and what the files on the disk hold."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import pkgutil
import shutil
import sqlite3
import stat
from datetime import date, timedelta
from pathlib import Path

import pytest

from domainlm.errors import AccessRefused, ArtifactError, SecretError
from domainlm.keys import KeyRing, rotation_file, write_secret_file
from domainlm.redact.access import AccessLog
from domainlm.redact.quarantine import Quarantine
from domainlm.redact.rotation import rekey, rotate
from domainlm.redact.vault import KEYS_FILE, VALUES_FILE, Entry, Vault

NAME, CARD = "Ottoline Fairweather-Quist", "4539 1488 0343 6467"
REASON = "complaint 2024-117"
DAY = date(2024, 3, 15)


@pytest.fixture
def keys() -> KeyRing:
    return KeyRing("test-key", bytes(range(32)))


@pytest.fixture
def vault(tmp_path: Path, keys: KeyRing) -> Vault:
    return Vault(tmp_path / "vault", keys)


def record_id(keys: KeyRing, number: int = 1) -> str:
    return keys.keyed_id("record", "letters", str(number))


def subject_id(keys: KeyRing, value: str) -> str:
    return keys.keyed_id("subject", "PERSON", value)


def fill(vault: Vault) -> tuple[str, str]:
    record, subject = record_id(vault.keys), subject_id(vault.keys, NAME)
    entries = [
        Entry(subject, "[PERSON_1]", "PERSON", NAME),
        Entry(subject_id(vault.keys, CARD), "[CREDIT_CARD_1]", "CREDIT_CARD", CARD),
    ]
    assert vault.put(record, entries, DAY) == 2
    return record, subject


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def log_of(vault: Vault) -> list[dict]:
    return list(vault.log.entries())


def test_a_value_comes_back_by_record_and_placeholder_and_by_subject(vault):
    record, subject = fill(vault)
    for identifier in (f"{record}:[PERSON_1]", f"{record}:PERSON_1", subject):
        (found,) = vault.reveal(identifier, REASON, "auditor")
        assert (found.value, found.placeholder, found.entity) == (NAME, "[PERSON_1]", "PERSON")
    assert [entry["outcome"] for entry in log_of(vault)] == ["revealed 1"] * 3
    assert {entry["user"] for entry in log_of(vault)} == {"auditor"}


@pytest.mark.parametrize("reason", ["", "because", " " * 20, "short   \n"])
def test_without_a_reason_nothing_is_revealed_and_the_log_says_who_tried(vault, reason):
    record, _ = fill(vault)
    with pytest.raises(AccessRefused, match="at least 10 characters"):
        vault.reveal(f"{record}:[PERSON_1]", reason, "nosy")
    (entry,) = log_of(vault)
    assert (entry["user"], entry["id"]) == ("nosy", f"{record}:[PERSON_1]")
    assert entry["outcome"].startswith("refused")


def test_what_was_typed_in_place_of_an_id_is_not_logged(vault):
    fill(vault)
    with pytest.raises(AccessRefused, match="no id") as caught:
        vault.reveal(NAME, REASON, "auditor")
    assert NAME not in str(caught.value)
    assert log_of(vault)[0]["id"] == "(malformed)" and NAME not in vault.log.path.read_text()


def test_a_reason_that_quotes_the_value_is_refused_and_withheld(vault):
    record, _ = fill(vault)
    with pytest.raises(AccessRefused, match="quotes the value"):
        vault.reveal(f"{record}:[PERSON_1]", f"to call {NAME.lower()} back", "auditor")
    assert "fairweather" not in vault.log.path.read_text().casefold()
    vault.put(record, [Entry("0" * 32, "[PERSON_2]", "PERSON", "Li")], DAY)
    assert vault.reveal(f"{record}:[PERSON_2]", "the client complained", "auditor")[0].value == "Li"


def test_no_log_no_reveal(vault, monkeypatch):
    record, _ = fill(vault)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("domainlm.redact.access.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")


def test_the_entry_is_on_the_disk_before_the_value_is_returned(vault, monkeypatch):
    record, _ = fill(vault)
    order = []
    real_fsync, real_write = os.fsync, os.write
    monkeypatch.setattr("domainlm.redact.access.os.write", lambda *a: order.append("write") or real_write(*a))
    monkeypatch.setattr("domainlm.redact.access.os.fsync", lambda *a: order.append("fsync") or real_fsync(*a))
    vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")
    assert order[:2] == ["write", "fsync"]


def test_modes_are_private(vault):
    record, _ = fill(vault)
    vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")
    assert stat.S_IMODE(vault.folder.stat().st_mode) == 0o700
    files = [path for path in vault.folder.iterdir() if path.is_file()]
    assert {KEYS_FILE, VALUES_FILE, "access.jsonl", "access.head"} <= {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_no_raw_value_is_in_any_file_of_the_vault_nor_in_logs_errors_or_representations(vault, caplog):
    record, subject = fill(vault)
    with caplog.at_level(logging.DEBUG):
        vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")
        vault.forget(subject, REASON, "officer")
        with pytest.raises(AccessRefused) as caught:
            vault.reveal(subject, REASON, "auditor")
    said = f"{caplog.text} {caught.value} {vault.entries()} {Entry(subject, '[PERSON_1]', 'PERSON', NAME)!r}"
    for value in (NAME, CARD, NAME.split()[1], CARD.replace(" ", "")):
        assert value not in said
        for file, content in bytes_of(vault.folder).items():
            assert value.encode() not in content, file
            assert value.encode("utf-16-le") not in content, file


def test_the_wrong_key_opens_nothing(vault):
    vault.check()
    assert not vault.folder.exists(), "a look creates nothing"
    record, subject = fill(vault)
    vault.check()
    for wrong in (KeyRing("test-key", b"x" * 32), KeyRing("another", vault.keys.secret)):
        thief = Vault(vault.folder, wrong)
        for act in (
            lambda thief=thief: thief.reveal(f"{record}:[PERSON_1]", REASON, "thief"),
            lambda thief=thief: thief.put(record, [Entry(subject, "[PERSON_9]", "PERSON", "x")]),
            lambda thief=thief: thief.entries(),
            lambda thief=thief: thief.check(),
        ):
            with pytest.raises(SecretError, match="belongs to the key"):
                act()


@pytest.mark.parametrize("place", [0, 11, 12, 20, -1])
def test_a_flipped_byte_is_noticed_and_logged(vault, place):
    record, _ = fill(vault)
    with sqlite3.connect(vault.folder / VALUES_FILE) as raw:
        (sealed,) = raw.execute("SELECT sealed FROM entries WHERE placeholder = '[PERSON_1]'").fetchone()
        changed = bytearray(sealed)
        changed[place] ^= 1
        raw.execute("UPDATE entries SET sealed = ? WHERE placeholder = '[PERSON_1]'", (bytes(changed),))
    with pytest.raises(SecretError, match="changed bytes") as caught:
        vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")
    assert NAME not in str(caught.value)
    assert log_of(vault)[-1]["outcome"] == "refused: an entry cannot be decrypted"


def test_a_sealed_value_cannot_be_moved_to_another_place(vault):
    record, subject = fill(vault)
    vault.put(record_id(vault.keys, 2), [Entry(subject, "[PERSON_1]", "PERSON", "somebody else")], DAY)
    with sqlite3.connect(vault.folder / VALUES_FILE) as raw:
        raw.execute("DELETE FROM entries WHERE record = ? AND placeholder = '[PERSON_1]'", (record,))
        raw.execute("UPDATE entries SET record = ? WHERE placeholder = '[PERSON_1]'", (record,))
    with pytest.raises(SecretError):
        vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")


def test_a_file_that_is_no_database_is_said_so(vault):
    vault.folder.mkdir(mode=0o700)
    (vault.folder / VALUES_FILE).write_bytes(b"not a database at all" * 50)
    with pytest.raises(ArtifactError, match="cannot be read or written as a vault"):
        vault.entries()


def test_a_forgotten_subject_is_gone_also_from_a_copy_of_the_values_made_before(vault, keys, tmp_path):
    record, subject = fill(vault)
    vault.close()
    backup = tmp_path / "backup"
    backup.mkdir()
    shutil.copy(vault.folder / VALUES_FILE, backup)
    with sqlite3.connect(vault.folder / KEYS_FILE) as raw:
        (wrapped,) = raw.execute("SELECT wrapped FROM subjects WHERE subject = ?", (subject,)).fetchone()
    assert vault.forget(subject, REASON, "officer", DAY) == 1
    for identifier in (subject, f"{record}:[PERSON_1]"):
        with pytest.raises(AccessRefused):
            vault.reveal(identifier, REASON, "auditor")
    assert not any(wrapped in content for content in bytes_of(vault.folder).values()), "the key is still on the disk"
    # The values come back from a backup, and whoever has them has the key ring as well.
    vault.close()
    shutil.copy(backup / VALUES_FILE, vault.folder)
    restored = Vault(vault.folder, keys)
    assert len(restored.entries(subject=subject)) == 1
    with pytest.raises(SecretError, match="key is gone"):
        restored.reveal(subject, REASON, "auditor")
    with sqlite3.connect(backup / VALUES_FILE) as raw:
        (sealed,) = raw.execute("SELECT sealed FROM entries WHERE subject = ?", (subject,)).fetchone()
    for use in ("vault-wrap", "vault-check", "vault", "subject", "quarantine"):
        for context in (b"", subject.encode(), f"{record}\0[PERSON_1]\0{subject}\0PERSON".encode()):
            with pytest.raises(SecretError):
                keys.unseal(use, sealed, context)
    assert restored.reveal(f"{record}:[CREDIT_CARD_1]", REASON, "auditor")[0].value == CARD, "the others stay"


def test_what_was_forgotten_stays_forgotten_when_the_source_is_read_again(vault):
    record, subject = fill(vault)
    vault.forget(subject, REASON, "officer", DAY)
    assert vault.put(record, [Entry(subject, "[PERSON_1]", "PERSON", NAME)], DAY) == 0
    with pytest.raises(AccessRefused, match="forgotten"):
        vault.reveal(subject, REASON, "auditor")


def test_forgetting_wants_a_reason_and_an_id_and_is_logged(vault):
    _, subject = fill(vault)
    with pytest.raises(AccessRefused, match="10 characters"):
        vault.forget(subject, "", "officer")
    with pytest.raises(AccessRefused, match="no subject id"):
        vault.forget(NAME, REASON, "officer")
    assert len(vault.entries()) == 2
    vault.forget(subject, REASON, "officer")
    assert [entry["outcome"].split(":")[0] for entry in log_of(vault)] == ["refused", "refused", "forgotten"]
    assert NAME not in vault.log.path.read_text()


def test_a_vault_without_values_has_nothing_to_expire(tmp_path, keys):
    assert Vault(tmp_path / "empty", keys).expire(DAY, "job") == 0


def test_values_expire_with_their_subjects_key(vault, keys):
    record, subject = fill(vault)
    vault.put(record, [Entry("1" * 32, "[PERSON_2]", "PERSON", "kept for a day", retention_days=1)], DAY)
    assert vault.expire(DAY, "job") == 0
    assert vault.expire(DAY + timedelta(days=1), "job") == 1
    assert {entry.placeholder for entry in vault.entries()} == {"[PERSON_1]", "[CREDIT_CARD_1]"}
    with sqlite3.connect(vault.folder / KEYS_FILE) as raw:
        assert raw.execute("SELECT count(*) FROM subjects").fetchone() == (2,)
    # Read again a month later, a value keeps the day on which it came.
    vault.put(record, [Entry(subject, "[PERSON_1]", "PERSON", NAME)], DAY + timedelta(days=30))
    assert vault.expire(DAY + timedelta(days=365), "job") == 2
    assert vault.entries() == []
    # An expired subject was not forgotten: it may come again.
    assert vault.put(record, [Entry(subject, "[PERSON_1]", "PERSON", NAME)], DAY) == 1
    assert [entry["outcome"] for entry in log_of(vault)] == ["deleted 1", "deleted 2"]


def test_a_placeholder_that_now_stands_for_somebody_else_takes_the_new_value(vault):
    record, _ = fill(vault)
    vault.put(record, [Entry("2" * 32, "[PERSON_1]", "PERSON", "Second Person")], DAY + timedelta(days=5))
    assert vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")[0].value == "Second Person"
    assert vault.entries(subject="2" * 32)[0].created == "2024-03-20"


def _write_many(folder: str, first: int, count: int) -> None:
    keys = KeyRing("test-key", bytes(range(32)))
    vault = Vault(Path(folder), keys)
    for number in range(first, first + count):
        # Half of the subjects are everybody's: the processes race for their keys.
        subject = subject_id(keys, f"shared {number % 7}" if number % 2 else f"own {number}")
        vault.put(record_id(keys, number), [Entry(subject, "[PERSON_1]", "PERSON", f"value {number}")], DAY)
    vault.log.append("test", "", f"process {first} has ended", "test", "done")


def test_two_processes_write_at_once_and_nothing_is_lost(vault, keys):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(vault.folder), first, 60)) for first in (0, 1000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(vault.entries()) == 120
    for number in (*range(0, 60), *range(1000, 1060)):
        assert vault.reveal(f"{record_id(keys, number)}:[PERSON_1]", REASON, "a")[0].value == f"value {number}"
    assert vault.log.verify()[0] == 122


def test_a_vault_goes_to_another_process_without_its_connections(vault):
    record, _ = fill(vault)
    copy = pickle.loads(pickle.dumps(vault))
    assert copy.reveal(f"{record}:[PERSON_1]", REASON, "a")[0].value == NAME


# The log


def lines_of(log: AccessLog) -> list[str]:
    return log.path.read_text().splitlines(keepends=True)


@pytest.fixture
def log(tmp_path, keys) -> AccessLog:
    log = AccessLog(tmp_path / "vault", keys)
    for number in range(4):
        log.append("reveal", f"{number:032x}", f"reason number {number}", "auditor", "revealed 1")
    return log


def test_an_untouched_log_verifies(log):
    count, head = log.verify()
    assert count == 4 and len(head) == 64
    assert [entry["n"] for entry in log.entries()] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: [lines[0].replace("auditor", "nobody!"), *lines[1:]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: lines[:3],
        lambda lines: [],
        lambda lines: [*lines[:3], lines[3].replace("revealed 1", "refused: 1")],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines, lines[3]],
        lambda lines: [*lines[:2], "garbage\n", *lines[2:]],
    ],
)
def test_every_change_of_the_log_is_seen(log, tamper):
    log.path.write_text("".join(tamper(lines_of(log))))
    with pytest.raises(ArtifactError):
        log.verify()


def test_a_chain_that_was_computed_anew_is_seen_by_its_head(log):
    from domainlm.redact.access import _hash

    previous, forged = "0" * 64, []
    for line in lines_of(log)[:-1]:
        entry = json.loads(line) | {"previous": previous, "user": "somebody else"}
        entry["hash"] = previous = _hash(entry)
        forged.append(json.dumps(entry, sort_keys=True) + "\n")
    log.path.write_text("".join(forged))
    with pytest.raises(ArtifactError, match="cut off"):
        log.verify()
    with pytest.raises(ArtifactError):
        log.append("reveal", "", REASON, "auditor", "revealed 1")


def test_nothing_is_revealed_once_the_log_was_cut(vault):
    record, _ = fill(vault)
    for _ in range(3):
        vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")
    vault.log.path.write_text("".join(lines_of(vault.log)[:2]))
    with pytest.raises(ArtifactError, match="cut off"):
        vault.reveal(f"{record}:[PERSON_1]", REASON, "auditor")


def test_a_head_that_was_not_made_with_the_key_is_refused(log):
    head = json.loads(log.head_path.read_text())
    log.head_path.write_text(json.dumps(head | {"mac": "00" * 32}))
    with pytest.raises(ArtifactError, match="not authenticated"):
        log.verify()
    with pytest.raises(ArtifactError, match="not authenticated"):
        log.append("reveal", "", REASON, "auditor", "revealed 1")


def test_a_process_that_died_while_it_wrote_does_not_close_the_log(log):
    with open(log.path, "a") as stream:
        stream.write('{"action": "reveal", "half')
    log.append("reveal", "", REASON, "auditor", "revealed 1")
    assert log.verify()[0] == 5


def test_a_process_that_died_before_the_head_does_not_close_the_log(log, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("domainlm.redact.access.write_secret_file", die)
        with pytest.raises(KeyboardInterrupt):
            log.append("reveal", "", REASON, "auditor", "revealed 1")
    assert log.verify()[0] == 5
    log.append("reveal", "", REASON, "auditor", "revealed 1")
    assert log.verify()[0] == 6


# The quarantine


def test_a_quarantined_record_is_shown_under_the_same_log(vault, keys, record, tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine", keys)
    risky = record(f"{NAME} wrote")
    name = quarantine.store(risky, "too-long", today=DAY)
    with pytest.raises(AccessRefused):
        quarantine.show(name, "", "auditor", vault.log)
    with pytest.raises(AccessRefused, match="no such file"):
        quarantine.show(keys.keyed_id("quarantine", "other"), REASON, "auditor", vault.log)
    with pytest.raises(AccessRefused):
        quarantine.show(f"../{NAME}", REASON, "auditor", vault.log)
    assert quarantine.show(name, REASON, "auditor", vault.log) == {"reason": "too-long", "record": risky}
    outcomes = [entry["outcome"] for entry in log_of(vault)]
    assert len(outcomes) == 4 and outcomes[-1] == "revealed" and all(o.startswith("refused") for o in outcomes[:3])
    assert NAME not in vault.log.path.read_text()


def test_quarantined_records_expire_and_a_nightly_run_does_not_renew_them(keys, record, tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine", keys, retention_days=30)
    first, second = record("one"), record("two")
    name = quarantine.store(first, "too-long", today=DAY)
    quarantine.store(second, "too-long", retention_days=90, today=DAY)
    assert quarantine.store(first, "too-long", today=DAY + timedelta(days=20)) == name
    assert quarantine.expire(DAY + timedelta(days=29)) == (0, [])
    assert quarantine.expire(DAY + timedelta(days=30)) == (1, [])
    (left,) = quarantine.names()
    (quarantine.folder / left).write_bytes(b"damaged")
    assert quarantine.expire(DAY + timedelta(days=99)) == (0, [left])


def test_quarantined_records_of_a_forgotten_subject_go(keys, record, tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine", keys)
    subject = subject_id(keys, NAME)
    quarantine.store(record("of a customer", subjects=[subject]), "too-long", today=DAY)
    other = quarantine.store(record("of nobody"), "too-long", today=DAY)
    assert (quarantine.forget(subject), quarantine.forget(subject)) == (1, 0)
    assert list(quarantine.names()) == [other]


# Rotation


@pytest.fixture
def stores(home: Path, record) -> tuple[KeyRing, Path, dict]:
    """A key file, and a vault, a quarantine and a log of that key."""
    ring = KeyRing("bank-2023", b"\1" * 32)
    file = home / "keys" / "bank.key"
    write_secret_file(file, ring.to_json())
    vault = Vault(home / "vault", ring)
    place, subject = fill(vault)
    vault.forget(subject_id(ring, "gone"), REASON, "officer", DAY)
    vault.reveal(subject, REASON, "auditor")
    vault.close()
    risky = record(f"{NAME} wrote", id=place, group=ring.keyed_id("group", "g"), subjects=[subject])
    sealed = Quarantine(home / "quarantine", ring).store(risky, "too-long", today=DAY)
    return ring, file, {"record": place, "subject": subject, "sealed": sealed, "risky": risky}


def check_rotated(home: Path, old: KeyRing, new: KeyRing, ids: dict) -> None:
    vault = Vault(home / "vault", new)
    # One person found before and after the rotation has one id, and the old id finds it as well.
    assert new.carried("subject", ids["subject"]) == subject_id(new, NAME) != ids["subject"]
    for identifier in (
        ids["subject"], subject_id(new, NAME), f"{ids['record']}:[PERSON_1]", f"{record_id(new)}:[PERSON_1]",
    ):  # fmt: skip
        assert vault.reveal(identifier, REASON, "auditor")[0].value == NAME
    assert vault.put(record_id(new, 5), [Entry(subject_id(new, "gone"), "[PERSON_1]", "PERSON", "gone")], DAY) == 0
    quarantine = Quarantine(home / "quarantine", new)
    assert list(quarantine.names()) == [new.carried("quarantine", ids["sealed"][:32]) + ".sealed"]
    shown = quarantine.show(ids["sealed"], REASON, "auditor", vault.log)["record"]
    assert shown["id"] == record_id(new) and shown["subjects"] == [subject_id(new, NAME)]
    assert shown["group"] == new.keyed_id("group", "g") and shown["messages"] == ids["risky"]["messages"]
    assert quarantine.store(shown, "too-long") == next(iter(quarantine.names())), "found again, it has one file"
    vault.log.verify()
    with pytest.raises(SecretError, match="belongs to the key 'bank-2024'"):
        Vault(home / "vault", old).reveal(ids["subject"], REASON, "thief")
    with pytest.raises(SecretError):
        Quarantine(home / "quarantine", old).reveal(next(iter(quarantine.names())))
    vault.close()


def test_a_rotation_carries_everything_and_the_old_key_opens_nothing_any_more(stores, home, monkeypatch):
    old, file, ids = stores
    done = rotate(KeyRing.of_file(file), file, None, home, "officer", key_id="bank-2024")
    monkeypatch.setenv("DOMAINLM_KEY_FILE", str(file))
    new = KeyRing.load()
    assert (done.old_key_id, done.key_id, done.quarantined) == ("bank-2023", "bank-2024", 1)
    check_rotated(home, old, new, ids)
    assert KeyRing.of_file(done.old_file) == old and stat.S_IMODE(done.old_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert old.secret not in b"".join(bytes_of(home / "vault").values())
    assert not rotation_file().exists() and not list(file.parent.glob(".*"))


def test_no_wrapped_key_of_before_is_left_in_the_vault(stores, home):
    _, file, _ = stores
    with sqlite3.connect(home / "vault" / KEYS_FILE) as raw:
        wrapped = [row[0] for row in raw.execute("SELECT wrapped FROM subjects")]
    raw.close()
    rotate(KeyRing.of_file(file), file, None, home, "officer", key_id="bank-2024")
    left = b"".join(bytes_of(home / "vault").values())
    assert len(wrapped) == 2 and not any(key in left for key in wrapped)


def test_a_given_new_key_is_taken_and_the_present_file_stays(stores, home):
    old, file, ids = stores
    given = home / "keys" / "new.key"
    write_secret_file(given, KeyRing("bank-2024", b"\2" * 32).to_json())
    done = rotate(KeyRing.of_file(file), file, given, home, "officer")
    new = KeyRing.of_file(given)
    assert new.secret == b"\2" * 32 and done.old_file == file and KeyRing.of_file(file) == old
    check_rotated(home, old, new, ids)


KILLS = {
    "before anything": ("domainlm.redact.rotation.write_secret_file", 1),
    "before the stores": ("domainlm.redact.rotation.rekey", 1),
    "before the keys are marked": ("domainlm.redact.vault.Vault._mark", 1),
    "between the vault's files": ("domainlm.redact.vault.Vault._rekey_values", 1),
    "before the values are marked": ("domainlm.redact.vault.Vault._mark", 2),
    "before the journals are cleared": ("domainlm.redact.vault.Vault._clear_journals", 1),
    "before the quarantine": ("domainlm.redact.quarantine.Quarantine.rekey", 1),
    "before a record is sealed": ("domainlm.redact.quarantine.Quarantine._write", 1),
    "before a draft is deleted": ("domainlm.redact.quarantine.Path.unlink", 1),
    "before the old record is deleted": ("domainlm.redact.quarantine.Path.unlink", 2),
    "after the quarantine": ("domainlm.redact.quarantine.sync_folder", 1),
    "before the log": ("domainlm.redact.access.AccessLog.rekey", 1),
    "in the log's entry": ("domainlm.redact.access.AccessLog._write_head", 2),
    "before the old key is put aside": ("domainlm.redact.rotation.write_secret_file", 2),
    "before the key file": ("domainlm.redact.rotation.write_secret_file", 3),
    "before the plan goes": ("domainlm.redact.rotation.sync_folder", 1),
}


def _rotate_and_die(file: Path, home: Path, place: str, times: int) -> None:
    """Rotate in a process that ends without another word at the n-th call of a function."""
    module, _, name = place.rpartition(".")
    owner = pkgutil.resolve_name(module)
    real, calls = getattr(owner, name), []

    def die(*arguments: object, **more: object) -> object:
        calls.append(1)
        return os._exit(9) if len(calls) == times else real(*arguments, **more)

    setattr(owner, name, die)
    rotate(KeyRing.of_file(file), file, None, home, "officer", key_id="bank-2024")
    os._exit(0)


@pytest.mark.parametrize("moment", KILLS)
def test_a_rotation_that_was_killed_is_finished_by_the_next_or_never_was(stores, home, monkeypatch, moment):
    old, file, ids = stores
    process = multiprocessing.get_context("fork").Process(target=_rotate_and_die, args=(file, home, *KILLS[moment]))
    process.start()
    process.join(60)
    assert process.exitcode == 9, "it was not killed at that moment"
    monkeypatch.setenv("DOMAINLM_KEY_FILE", str(file))
    if rotation_file().exists():
        with pytest.raises(SecretError, match="interrupted"):
            KeyRing.load()
        assert stat.S_IMODE(rotation_file().stat().st_mode) == 0o600
        rotate(None, None, None, home, "officer")
    elif moment == "before anything":
        assert KeyRing.load() == old
        Vault(home / "vault", old).reveal(ids["subject"], REASON, "auditor")
        return
    check_rotated(home, old, KeyRing.load(), ids)
    assert KeyRing.load().key_id == "bank-2024"


def test_a_run_that_goes_on_with_the_old_key_writes_nothing_more(stores, home):
    old, file, ids = stores
    running = Vault(home / "vault", old)
    assert running.put(ids["record"], [Entry(ids["subject"], "[PERSON_1]", "PERSON", NAME)], DAY) == 1
    rotate(KeyRing.of_file(file), file, None, home, "officer", key_id="bank-2024")
    with pytest.raises(SecretError, match="bank-2024"):
        running.put(ids["record"], [Entry(ids["subject"], "[PERSON_2]", "PERSON", NAME)], DAY)


def test_rotating_twice_keeps_the_links(stores, home):
    _, file, ids = stores
    for name in ("bank-2024", "bank-2025"):
        rotate(KeyRing.of_file(file), file, None, home, "officer", key_id=name)
    new = KeyRing.of_file(file)
    assert new.carried("subject", ids["subject"]) == subject_id(new, NAME)
    assert Vault(home / "vault", new).reveal(ids["subject"], REASON, "auditor")[0].value == NAME


def test_another_machines_stores_are_carried_with_the_old_key(stores, home, tmp_path):
    old, file, ids = stores
    shutil.copytree(home / "vault", tmp_path / "vault")
    shutil.copytree(home / "quarantine", tmp_path / "quarantine")
    rotate(KeyRing.of_file(file), file, None, home, "officer", key_id="bank-2024")
    new = KeyRing.of_file(file)
    assert [rekey(old, new, tmp_path, "officer") for _ in range(2)] == [1, 0]
    check_rotated(tmp_path, old, new, ids)
    with pytest.raises(SecretError, match="does not continue"):
        rekey(KeyRing("bank-2022", b"\7" * 32), new, tmp_path, "officer")


def test_a_key_that_was_in_use_already_cannot_follow(stores, home):
    old, file, _ = stores
    for name, secret in (("bank-2023", b"\3" * 32), ("bank-2030", old.secret)):
        given = home / "keys" / f"given-{name}.key"
        write_secret_file(given, KeyRing(name, secret).to_json())
        with pytest.raises(SecretError):
            rotate(KeyRing.of_file(file), file, given, home, "officer")
    assert not rotation_file().exists() and KeyRing.of_file(file) == old
