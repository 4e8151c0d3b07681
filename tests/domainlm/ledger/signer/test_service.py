"""The signer's work in one process: what it refuses to sign, and that a refusal or a failure leaves no trace."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgresql_cluster import binaries, postgresql
from securesystemslib.signer import CryptoSigner

from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.merkle import Frontier, leaf_hash
from domainlm.ledger.run.provenance import MANIFEST
from domainlm.ledger.signer.memory import Memory
from domainlm.ledger.signer.service import Receipt, SigningService
from domainlm.ledger.trust.gate import MAY_SIGN, Gate, Member, Revocation
from tests.support.small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run


@pytest.fixture
def small(tmp_path: Path) -> SmallLedger:
    return small_ledger(tmp_path / "bank")


def again(small: SmallLedger, memory: Memory | None = None, ledger: Ledger | None = None) -> SigningService:
    """A signer that starts anew, with the same keys."""
    return SigningService(ledger or small.ledger, small.root_keyids, small.keys["recorder"], small.keys["log"],
                          memory=memory)  # fmt: skip


def remembering(small: SmallLedger) -> Memory:
    return Memory(small.folder / "keys" / "memory.json", small.keys["log"], ORIGIN, small.root_keyids)


def read(page: str, by: str = "recorder", small: SmallLedger | None = None, time: datetime | None = None) -> Any:
    statement = entries.statement(entries.READ, ORIGIN, by, {"page": "0" * 64}, {"person": "p", "page": page}, time)
    return Envelope.sign(statement, small.keys[by]) if small else statement


def refusal(code: str, act: Any) -> EvidenceRefused:
    with pytest.raises(EvidenceRefused) as caught:
        act()
    assert caught.value.code == code, str(caught.value)
    return caught.value


def copied(small: SmallLedger, name: str) -> Path:
    """A copy of the store as it is now."""
    small.ledger.close()
    path = small.folder / name
    with sa.create_engine(f"sqlite:///{small.folder / 'ledger.sqlite'}").begin() as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{path}'")
    return path


def test_every_batch_ends_in_a_checkpoint_over_the_tree_of_what_is_stored(small: SmallLedger) -> None:
    receipts = small.service.record(read("a"), read("b"))
    assert [receipt.number for receipt in receipts] == [1, 2]
    checkpoint = Checkpoint.parse(receipts[0].checkpoint, "")
    raws = [raw for _, raw in small.ledger.raw()]
    assert (checkpoint.size, checkpoint.root) == (3, Frontier().extended(leaf_hash(raw) for raw in raws).root)
    assert checkpoint.verified_by(small.policy.keys_of("log"))
    assert small.ledger.latest_checkpoint() == receipts[1].checkpoint


def test_a_refused_request_does_not_take_its_neighbours_along_and_leaves_nothing(small: SmallLedger) -> None:
    late = read("late", small=small, time=datetime.now(UTC) + timedelta(days=400))
    bad = Envelope(read("x", small=small).payload, read("y", small=small).signatures)
    good = [read(page, small=small) for page in ("a", "b")]
    # the late one would set the log's clock, so that the others behind it were refused, if a refusal left a trace
    outcomes = small.service.enter([[good[0]], [late, bad], [good[1]]])
    assert [one.number for got in (outcomes[0], outcomes[2]) for one in got] == [1, 2]
    assert isinstance(outcomes[1], EvidenceRefused) and outcomes[1].code == "clock-set-back"
    assert small.ledger.frontier.size == 3


def test_a_refused_policy_does_not_come_into_force(small: SmallLedger) -> None:
    digest = next(small.ledger.entries())[1].digest
    policy = small.policy.model_copy(update={
        "version": 2, "previous": digest,
        "revoked": {small.keys["recorder"].public_key.keyid: Revocation(since="2026-01-01T00:00:00.000Z", reason="x")},
    })  # fmt: skip
    statement = entries.statement(entries.POLICY, ORIGIN, "root", {"p": "0" * 64}, policy.model_dump(mode="json"))
    entry = Envelope.sign(statement, small.keys["root"])
    bad = Envelope(read("x", small=small).payload, read("y", small=small).signatures)
    refusal("bad-signature", lambda: small.service.add([entry, bad]))
    assert small.service.record(read("still"))[0].number == 1


def test_a_store_that_fails_leaves_the_gate_as_it_was(small: SmallLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = read("a", small=small)
    with monkeypatch.context() as broken:

        def full(*_: Any) -> None:
            raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))

        broken.setattr(Ledger, "add_checkpoint_in", full)
        with pytest.raises(ArtifactError, match="full"):
            small.service.add([entry])
        assert small.ledger.frontier.size == 1
    assert small.service.add([entry])[0].number == 1


def test_a_repeated_entry_gets_its_receipt_again_however_late(small: SmallLedger) -> None:
    entry = read("a", small=small)
    first = small.service.add([entry])[0]
    small.service.add([read("b", small=small, time=datetime.now(UTC) + timedelta(days=30))])
    again_ = small.service.add([entry, entry])
    assert [one.number for one in again_] == [first.number] * 2
    assert [one.entry for one in again_] == [first.entry] * 2
    assert small.ledger.frontier.size == 3


def test_a_replayed_policy_changes_nothing(small: SmallLedger) -> None:
    policy = next(small.ledger.entries())[1]
    assert small.service.add([policy])[0].number == 0
    assert small.ledger.frontier.size == 1


def test_two_ledgers_are_not_merged(small: SmallLedger, tmp_path: Path) -> None:
    other = small_ledger(tmp_path / "other")
    theirs = other.service.add([read("a", small=other)])[0]
    entry = dict(other.ledger.entries())[theirs.number]
    refusal("unknown-key", lambda: small.service.add([entry]))
    foreign = entries.statement(entries.READ, "other/ledger", "recorder", {"x": "0" * 64}, {"person": "p", "page": "q"})
    refusal("foreign-entry", lambda: small.service.record(foreign))
    refusal("bad-policy", lambda: small.service.add([next(other.ledger.entries())[1]]))


def test_what_lies_ahead_of_the_clock_is_not_entered(small: SmallLedger) -> None:
    service = again(small)
    refusal("clock-ahead", lambda: service.record(read("x", time=datetime.now(UTC) + timedelta(minutes=3))))
    service.record(read("x", time=datetime.now(UTC) + timedelta(minutes=1)))


def test_a_log_key_that_the_policy_does_not_list_signs_nothing(small: SmallLedger) -> None:
    service = SigningService(small.ledger, small.root_keyids, small.keys["recorder"], small.keys["anna"])
    refusal("unknown-key", lambda: service.record(read("x")))
    assert small.ledger.frontier.size == 1


def test_what_another_signer_added_is_judged_before_it_is_continued(small: SmallLedger) -> None:
    other = again(small)
    small.service.record(read("a"))
    other.record(read("b"))
    small.service.record(read("c"))
    assert small.ledger.frontier.size == 4
    small.ledger.append([read("by tina", "tina", small)])  # past the signer, straight into the store
    refusal("wrong-role", lambda: small.service.record(read("d")))
    assert small.ledger.frontier.size == 5


def test_a_ledger_that_was_rolled_back_gets_no_signature(small: SmallLedger) -> None:
    memory = remembering(small)
    again(small, memory).record(read("a"))
    old = copied(small, "old.sqlite")
    again(small, memory).record(read("b"))
    rolled_back = Ledger(f"sqlite:///{old}", ORIGIN)
    refusal("rolled-back", lambda: again(small, remembering(small), rolled_back).record(read("c")))
    # nor does a signer that was running all the time
    running = again(small, remembering(small))
    running.record(read("d"))
    running.ledger = rolled_back
    refusal("rolled-back", lambda: running.record(read("e")))


def test_a_ledger_that_was_continued_otherwise_gets_no_signature(small: SmallLedger) -> None:
    memory = remembering(small)
    again(small, memory).record(read("a"))
    old = copied(small, "old.sqlite")
    again(small, memory).record(read("b"))
    fork = Ledger(f"sqlite:///{old}", ORIGIN)
    again(small, None, fork).record(read("other b"), read("other c"))
    refusal("forked", lambda: again(small, remembering(small), fork).record(read("d")))


def test_an_entry_edited_in_the_store_with_its_tree_gets_no_signature(small: SmallLedger) -> None:
    again(small, remembering(small)).record(read("a"), read("b"))
    edited = read("edited", small=small)
    raws = [raw for _, raw in small.ledger.raw()]
    raws[1] = edited.to_bytes()
    forged = small.folder / "forged.sqlite"
    fresh = Ledger(f"sqlite:///{forged}", ORIGIN)
    fresh.append([Envelope.parse(raw, "") for raw in raws])
    refusal("forked", lambda: again(small, remembering(small), fresh).record(read("c")))


def test_without_its_memory_a_signer_judges_every_entry_and_the_last_checkpoint(small: SmallLedger) -> None:
    memory = remembering(small)
    again(small, memory).record(read("a"), read("b"))
    memory.path.unlink()
    again(small, remembering(small)).record(read("c"))
    assert remembering(small).recall().tree.size == 4
    # entries that the store's last checkpoint does not cover as they stand
    fresh = Ledger(f"sqlite:///{small.folder / 'forged.sqlite'}", ORIGIN)
    raws = [raw for _, raw in small.ledger.raw()]
    fresh.append([Envelope.parse(raw, "") for raw in (raws[0], raws[2], raws[1])])
    fresh.add_checkpoint(3, small.ledger.checkpoints()[1])
    assert Checkpoint.parse(small.ledger.checkpoints()[1], "").size == 3
    refusal("forked", lambda: again(small, None, fresh).record(read("d")))


@pytest.mark.parametrize("harm", ["cut", "bit", "forged", "other root", "garbage", "empty"])
def test_a_memory_that_is_not_its_own_is_not_believed(small: SmallLedger, harm: str) -> None:
    again(small, remembering(small)).record(read("a"))
    path = remembering(small).path
    raw = path.read_bytes()
    if harm == "forged":  # rightly formed, signed by another key
        found = json.loads(raw)
        found["memory"]["size"], found["memory"]["tree"] = 0, ""
        path.write_text(json.dumps(found, separators=(",", ":"), sort_keys=True))
    else:
        path.write_bytes({
            "cut": raw[:-20], "bit": raw.replace(b'"size":2', b'"size":3'), "other root": raw, "garbage": b"\xff{[",
            "empty": b"",
        }[harm])  # fmt: skip
    roots = frozenset({small.keys["anna"].public_key.keyid}) if harm == "other root" else small.root_keyids
    assert Memory(path, small.keys["log"], ORIGIN, roots).recall() is None
    assert again(small, remembering(small)).record(read("b"))[0].number == 2
    assert remembering(small).recall().tree.size == 3


def test_a_long_log_is_not_judged_again_from_the_first_entry(
    small: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    again(small, remembering(small)).record(*(read(str(place)) for place in range(20)))
    seen: list[int] = []
    entries_of = Ledger.entries

    def counted(ledger: Ledger, start: int = 0, stop: int | None = None) -> Any:
        for number, envelope in entries_of(ledger, start, stop):
            seen.append(number)
            yield number, envelope

    monkeypatch.setattr(Ledger, "entries", counted)
    again(small, remembering(small)).record(read("next"))
    assert seen == []
    again(small).record(read("next"))
    assert seen == list(range(22))


def test_an_older_signer_does_not_overwrite_what_a_newer_one_remembers(small: SmallLedger) -> None:
    memory = remembering(small)
    service = again(small, memory)
    service.record(read("a"))
    early = remembering(small).recall()
    service.record(read("b"))
    remembering(small).keep(early)
    assert remembering(small).recall().tree.size == 3


def test_the_memory_is_for_its_owner_alone_and_a_full_disk_is_said(
    small: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = remembering(small)
    again(small, memory).record(read("a"))
    assert memory.path.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(memory.path.parent)
    memory.path.parent.write_text("a file where the folder was")
    with pytest.raises(ArtifactError, match="memory"):
        again(small, memory).record(read("b"))
    assert small.ledger.frontier.size == 3  # it stands, and nobody was told so: repeating it is safe


def test_a_log_key_is_rotated_by_a_signer_that_has_the_new_one_already(small: SmallLedger) -> None:
    memory = remembering(small)
    again(small, memory).record(read("a"))
    old, new = small.keys["log"], CryptoSigner.generate_ed25519()
    digest = next(small.ledger.entries())[1].digest
    policy = small.policy.model_copy(update={
        "version": 2, "previous": digest,
        "keys": small.policy.keys | {new.public_key.keyid: new.public_key.to_dict()},
        "members": small.policy.members | {
            "log": Member(keys=[old.public_key.keyid, new.public_key.keyid], roles=["log"])
        },
        "revoked": {old.public_key.keyid: Revocation(since=entries.spell_time(datetime.now(UTC)), reason="rotated")},
    })  # fmt: skip
    statement = entries.statement(entries.POLICY, ORIGIN, "root", {"p": "0" * 64}, policy.model_dump(mode="json"))
    entry = Envelope.sign(statement, small.keys["root"])
    refusal("unknown-key", lambda: again(small, remembering(small)).add([entry]))  # it could not sign over it
    small.keys["log"] = new
    again(small, remembering(small)).add([entry])  # what it remembers is not of its key: it judges all again
    assert again(small, remembering(small)).record(read("b"))[0].number == 3
    notes = [Checkpoint.parse(note, "") for note in small.ledger.checkpoints()]
    gate = Gate(ORIGIN, small.root_keyids)
    for number, envelope in small.ledger.entries():
        gate.admit(number, envelope)
    assert [len(note.verified_by(gate.log_keys(note.size))) for note in notes] == [1, 1, 1, 1]
    assert not notes[0].verified_by(gate.log_keys(4)) and not notes[3].verified_by(gate.log_keys(2))


def test_a_signer_is_ready_only_where_it_could_add(small: SmallLedger, tmp_path: Path) -> None:
    assert again(small).ready() == 1
    for recorder, log in (("anna", "log"), ("recorder", "anna"), ("log", "recorder")):
        service = SigningService(small.ledger, small.root_keyids, small.keys[recorder], small.keys[log])
        refusal("unknown-key", service.ready)
    empty = Ledger(f"sqlite:///{tmp_path / 'empty.sqlite'}", ORIGIN)
    refusal("untrusted-root", again(small, None, empty).ready)
    memory = remembering(small)
    again(small, memory).record(read("a"))
    old = copied(small, "old.sqlite")
    again(small, memory).record(read("b"))
    refusal("rolled-back", again(small, remembering(small), Ledger(f"sqlite:///{old}", ORIGIN)).ready)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.sqlite'}"
        return
    pytest.importorskip("psycopg")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (initdb is missing)")
    with postgresql() as cluster:
        yield cluster.url


def test_signers_of_two_machines_take_turns_and_each_notices_a_roll_back(small: SmallLedger, url: str) -> None:
    memories = [small.folder / f"machine-{place}" / "memory.json" for place in range(2)]

    def machine(place: int) -> SigningService:
        memory = Memory(memories[place], small.keys["log"], ORIGIN, small.root_keyids)
        return again(small, memory, Ledger(url, ORIGIN))

    machine(0).add([next(small.ledger.entries())[1]])
    receipts: list[Receipt] = []

    def work(place: int) -> None:
        service = machine(place)
        for page in range(10):
            receipts.extend(service.record(read(f"{place}-{page}"), read(f"{place}-{page}-again")))
        service.ledger.close()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(receipt.number for receipt in receipts) == list(range(1, 41))
    ledger = Ledger(url, ORIGIN)
    assert len(ledger.checkpoints()) == 21  # one a transaction, each the continuation of the one before
    gate, tree, roots = Gate(ORIGIN, small.root_keyids), Frontier(), {}
    for number, envelope in ledger.entries():
        gate.admit(number, envelope)
        tree = tree.extended([leaf_hash(envelope.to_bytes())])
        roots[tree.size] = tree.root
    for note in ledger.checkpoints():
        found = Checkpoint.parse(note, "")
        assert found.root == roots[found.size] and found.verified_by(gate.log_keys(found.size))
    ledger.close()
    for place in range(2):
        service = machine(place)
        assert service.ready() == 41
        service.ledger.close()
    empty = Ledger(f"sqlite:///{small.folder / 'empty.sqlite'}", ORIGIN)
    for place in range(2):
        memory = Memory(memories[place], small.keys["log"], ORIGIN, small.root_keyids)
        refusal("rolled-back", again(small, memory, empty).ready)


@pytest.mark.parametrize("kind", sorted(set(entries.KINDS) - {entries.POLICY}))
def test_what_nobody_could_read_is_not_added(tmp_path: Path, kind: str) -> None:
    """It would stand in the log for ever, and every verification would name it."""
    made = small_ledger(tmp_path)
    who = "anna" if kind in MAY_SIGN and "officer" in MAY_SIGN[kind] else "recorder"
    for content in ({}, {"foreign": 1}, {MANIFEST: {"run_id": "x"}}):
        with pytest.raises(EvidenceRefused) as refused:
            made.state(who, kind, content)
        assert refused.value.code == "malformed"
    forged = small_run().sealed().model_dump(mode="json") | {"run_name": "another"}
    with pytest.raises(EvidenceRefused, match="is no" if kind != entries.RUN else "holds no run manifest"):
        made.state(who, kind, {MANIFEST: forged})
    assert made.ledger.frontier.size == 1
