"""An untouched ledger is good, every alteration is broken and named, and nothing that is read makes it raise."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run

from domainlm.audit.proof import processes, reading
from domainlm.audit.proof.collected import MAX_OF_A_CODE
from domainlm.audit.proof.verification import Verification, examine, verify_entries
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import Anchored, Read
from domainlm.ledger.anchors import Published
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.envelopes import MAX_ENTRY_BYTES, Envelope
from domainlm.ledger.merkle import Frontier, leaf_hash
from domainlm.ledger.signer.service import SigningService
from domainlm.ledger.trust.gate import Revocation, Rules


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallLedger:
    """A policy and 24 runs; only read."""
    made = small_ledger(tmp_path_factory.mktemp("ledger"))
    for number in range(24):
        made.enter_run(small_run(number))
    return made


def verify(made: SmallLedger, raws: list[bytes] | None = None, **changes) -> Verification:
    notes = made.ledger.checkpoints()
    found = raws if raws is not None else [raw for _, raw in made.ledger.raw()]
    values = {
        "read": enumerate(found), "checkpoints": notes, "published": [Published("the other volume", notes[-1])],
        "origin": ORIGIN, "root_keyids": made.root_keyids,
    } | changes  # fmt: skip
    return verify_entries(**values)


def codes(found: Verification, severity: str = "broken") -> set[str]:
    return {finding.code for finding in found.findings if finding.severity == severity}


def raws_of(made: SmallLedger) -> list[bytes]:
    return [raw for _, raw in made.ledger.raw()]


def envelope(made: SmallLedger, who: str = "recorder", time: datetime | None = None, origin: str = ORIGIN) -> Envelope:
    content = Read(person="anna", page="models").model_dump(mode="json")
    return Envelope.sign(
        entries.statement(entries.READ, origin, who, {"page": "0" * 64}, content, time), made.keys[who]
    )


def test_an_untouched_ledger_is_good(made: SmallLedger) -> None:
    found = verify(made)
    assert (found.verdict, found.findings) == ("good", [])
    assert (found.size, found.entries, found.anchored) == (25, 25, 25)
    assert found.root == Checkpoint.parse(made.ledger.checkpoints()[-1], "").root.hex()


def test_without_a_published_checkpoint_it_is_unanchored_and_never_good(made: SmallLedger) -> None:
    found = verify(made, published=[])
    assert found.verdict == "unanchored" and codes(found, "warning") == {"unanchored"}


def test_a_place_outside_that_cannot_be_read_may_hide_a_later_checkpoint(made: SmallLedger) -> None:
    there = Published("the other volume", made.ledger.checkpoints()[-1])
    found = verify(made, published=[there, Published("the share", "", "is not mounted")])
    assert (found.verdict, found.anchored) == ("unanchored", 0)
    assert [f.where for f in found.findings if f.code == "unreadable-anchor"] == ["the share"]
    assert found.with_findings([]).verdict == "unanchored"


def test_entries_after_the_last_published_checkpoint_are_said(made: SmallLedger) -> None:
    found = verify(made, published=[Published("p", made.ledger.checkpoints()[9])])
    assert found.verdict == "good" and found.anchored == 10
    (stale,) = (finding for finding in found.findings if finding.code == "stale-anchor")
    assert stale.where == "entries 10 to 24"


def test_that_a_checkpoint_was_published_makes_no_new_one_wanting(tmp_path: Path) -> None:
    made = small_ledger(tmp_path)
    made.enter_run(small_run(1))
    there = [Published("p", made.ledger.checkpoints()[-1])]
    made.state("recorder", entries.ANCHOR, Anchored(place="p", size=2, note=there[0].note))
    (said,) = verify(made, published=there).findings
    assert (said.code, said.severity, said.where) == ("stale-anchor", "note", "entries 2 to 2")
    made.enter_run(small_run(2))
    (said,) = verify(made, published=there).findings
    assert (said.code, said.severity) == ("stale-anchor", "warning")


def test_entries_after_the_last_checkpoint_are_said(made: SmallLedger) -> None:
    found = verify(made, checkpoints=made.ledger.checkpoints()[:20], published=[])
    assert [finding.where for finding in found.findings if finding.code == "uncovered"] == ["entries 20 to 24"]


ALTERATIONS = {
    "edited": lambda raws, made: [*raws[:9], raws[9][:200] + bytes([raws[9][200] ^ 1]) + raws[9][201:], *raws[10:]],
    "deleted": lambda raws, made: raws[:9] + raws[10:],
    "inserted": lambda raws, made: [*raws[:9], envelope(made).to_bytes(), *raws[9:]],
    "reordered": lambda raws, made: [*raws[:9], raws[10], raws[9], *raws[11:]],
    "duplicate": lambda raws, made: [*raws[:9], raws[4], *raws[9:]],
    "truncated": lambda raws, made: raws[:20],
}


@pytest.mark.parametrize("code", ALTERATIONS)
def test_each_alteration_has_its_name(made: SmallLedger, code: str) -> None:
    found = verify(made, ALTERATIONS[code](raws_of(made), made))
    assert found.verdict == "broken" and code in codes(found)
    assert all(len(finding.line()) < 400 for finding in found.findings)


def test_a_roll_back_with_the_checkpoints_of_that_time_is_seen_from_outside_alone(made: SmallLedger) -> None:
    then = {"checkpoints": made.ledger.checkpoints()[:15]}
    found = verify(made, raws_of(made)[:15], **then)
    assert found.verdict == "broken" and codes(found) == {"rolled-back"}
    assert verify(made, raws_of(made)[:15], published=[], **then).verdict == "unanchored"


def test_a_history_that_the_log_key_signed_anew_is_a_fork(made: SmallLedger) -> None:
    raws = [*raws_of(made)[:12], envelope(made).to_bytes(), *raws_of(made)[13:]]
    root = Frontier().extended(leaf_hash(raw) for raw in raws).root
    note = Checkpoint(ORIGIN, len(raws), root).signed(made.keys["log"]).note
    found = verify(made, raws, checkpoints=[note])
    assert found.verdict == "broken" and codes(found) == {"forked"}


def test_a_checkpoint_by_another_key_counts_for_nothing(made: SmallLedger) -> None:
    raws = raws_of(made)[:-1]
    root = Frontier().extended(leaf_hash(raw) for raw in raws).root
    thief = CryptoSigner.generate_ed25519()
    for signer, code in ((thief, "unknown-key"), (made.keys["recorder"], "unknown-key")):
        note = Checkpoint(ORIGIN, len(raws), root).signed(signer).note
        found = verify(made, raws, checkpoints=[note], published=[])
        assert found.verdict == "broken" and codes(found) == {code, "no-checkpoint"}


def test_a_checkpoint_whose_signature_fails_or_of_another_ledger_is_named(made: SmallLedger) -> None:
    notes = made.ledger.checkpoints()
    body, _, signature = notes[5].partition("\n\n")
    swapped = f"{notes[6].partition(chr(10) * 2)[0]}\n\n{signature}"
    assert "bad-signature" in codes(verify(made, checkpoints=[*notes[:6], swapped, *notes[7:]]))
    other = Checkpoint("bank/cards", 3, bytes(32)).signed(made.keys["log"]).note
    assert "foreign-entry" in codes(verify(made, checkpoints=[*notes, other]))
    outside = verify(made, published=[Published("p", notes[-1]), Published("q", other)])
    assert outside.verdict == "good" and codes(outside, "warning") == {"foreign-entry"}
    assert "malformed" in codes(verify(made, checkpoints=[*notes, body]))


def test_another_root_than_the_pinned_one_is_refused(made: SmallLedger) -> None:
    found = verify(made, root_keyids=frozenset({"0" * 64}))
    assert found.verdict == "broken" and "untrusted-root" in codes(found) and found.entries == 0


def test_an_empty_ledger_is_broken(made: SmallLedger) -> None:
    found = verify(made, [], checkpoints=[], published=[])
    assert found.verdict == "broken" and codes(found) == {"untrusted-root", "no-checkpoint"}


def test_two_ledgers_that_were_merged_are_told_apart(made: SmallLedger, tmp_path: Path) -> None:
    foreign = envelope(made, origin="bank/cards").to_bytes()
    found = verify(made, [*raws_of(made)[:9], foreign, *raws_of(made)[9:]])
    assert {"foreign-entry", "inserted"} <= codes(found)
    assert [finding.where for finding in found.findings if finding.code == "inserted"] == ["entry 9"]


def test_an_entry_of_a_later_version_or_kind_and_one_that_is_too_large_are_named(made: SmallLedger) -> None:
    later = envelope(made).statement
    later["predicate"][entries.ENTRY]["version"] = 2
    stranger = envelope(made).statement
    stranger["predicate"][entries.ENTRY]["kind"] = "payment"
    appended = [
        *raws_of(made), Envelope.sign(later, made.keys["recorder"]).to_bytes(),
        Envelope.sign(stranger, made.keys["recorder"]).to_bytes(), b"x" * (MAX_ENTRY_BYTES + 1), b"", b"{}",
    ]  # fmt: skip
    found = verify(made, appended)
    assert {"unknown-version", "unknown-kind", "too-large", "malformed"} <= codes(found)
    assert found.entries == 25 and found.size == 30


def test_an_entry_whose_clock_was_set_back_is_named(made: SmallLedger) -> None:
    old = envelope(made, time=datetime(2020, 1, 1, tzinfo=UTC)).to_bytes()
    assert "clock-set-back" in codes(verify(made, [*raws_of(made), old]))


def test_an_exchange_over_days_is_told_in_a_few_lines(tmp_path: Path) -> None:
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    made = small_ledger(tmp_path, time=begin)
    for number in range(30):
        made.enter_run(small_run(number), begin + timedelta(days=number))
    raws = raws_of(made)
    raws[5], raws[25] = raws[25], raws[5]
    found = verify(made, raws)
    assert [(finding.code, finding.where) for finding in found.findings] == [
        ("reordered", "entries 5 and 25"), ("clock-set-back", "entry 6"),
        ("clock-set-back", "19 entries from 7 to 25"),
    ]  # fmt: skip
    raws = raws_of(made)
    raws[5:7] = [raws[6], raws[5]]
    assert [finding.where for finding in verify(made, raws).findings if finding.code == "clock-set-back"] == ["entry 6"]


def test_development_keys_are_said(tmp_path: Path) -> None:
    made = small_ledger(tmp_path, Rules())
    found = verify(made)
    assert found.verdict == "good" and codes(found, "warning") == {"development-key"}


def test_a_stolen_key_that_is_revoked_later_taints_what_it_signed(tmp_path: Path) -> None:
    made = small_ledger(tmp_path)
    now = datetime.now(UTC)
    made.enter_run(small_run(1))
    keyid = made.keys["recorder"].public_key.keyid
    since = (now - timedelta(hours=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    first = Envelope.parse(raws_of(made)[0], "")
    policy = made.policy.model_copy(
        update={"version": 2, "previous": first.digest, "revoked": {keyid: Revocation(since=since, reason="stolen")}}
    )
    made.state("root", entries.POLICY, policy)
    found = verify(made)
    tainted = [finding for finding in found.findings if finding.code == "revoked-key"]
    assert [(finding.where, finding.severity) for finding in tainted] == [("entry 1", "warning")]


def test_the_log_key_may_change_and_old_checkpoints_stay_good(tmp_path: Path) -> None:
    made = small_ledger(tmp_path)
    old, new = made.keys["log"], CryptoSigner.generate_ed25519()
    keys = made.policy.keys | {new.public_key.keyid: new.public_key.to_dict()}
    member = made.policy.members["log"].model_copy(update={"keys": [old.public_key.keyid, new.public_key.keyid]})
    both = made.policy.model_copy(
        update={
            "version": 2,
            "previous": Envelope.parse(raws_of(made)[0], "").digest,
            "keys": keys,
            "members": made.policy.members | {"log": member},
        }
    )
    receipt = made.state("root", entries.POLICY, both)
    made.service = SigningService(made.ledger, made.root_keyids, made.keys["recorder"], new)
    retired = {old.public_key.keyid: Revocation(since=entries.header(envelope(made), "").time, reason="old")}
    made.state(
        "root", entries.POLICY, both.model_copy(update={"version": 3, "previous": receipt.entry, "revoked": retired})
    )
    made.enter_run(small_run(1))
    notes = made.ledger.checkpoints()
    assert [Checkpoint.parse(note, "").signatures[0][0] for note in notes] == [
        key.public_key.keyid for key in (old, old, new, new)
    ]
    good = verify(made)
    assert (good.verdict, good.findings) == ("good", [])
    last = Checkpoint.parse(notes[-1], "")
    stolen = Checkpoint(last.origin, last.size, last.root).signed(old).note
    found = verify(made, checkpoints=[*notes[:-1], stolen], published=[])
    assert found.verdict == "broken" and codes(found) == {"unknown-key"}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_read_nothing_raises_and_what_differs_is_broken(made: SmallLedger, data: st.DataObject) -> None:
    raws, notes = raws_of(made), made.ledger.checkpoints()
    changed, changed_notes = list(raws), list(notes)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.sampled_from(["bytes", "flip", "drop", "swap", "copy", "note", "notes"])):
            case "bytes":
                changed[place] = data.draw(st.binary(max_size=60))
            case "flip":
                raw = bytearray(changed[place] or b"x")
                raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
                changed[place] = bytes(raw)
            case "drop":
                del changed[place]
            case "swap":
                changed[0], changed[place] = changed[place], changed[0]
            case "copy":
                changed.insert(data.draw(st.integers(0, len(changed))), changed[place])
            case "note":
                changed_notes[place % len(changed_notes)] = data.draw(st.text(max_size=200))
            case "notes":
                changed_notes = changed_notes[: data.draw(st.integers(1, len(changed_notes)))]
        if not changed:
            break
    found = verify(made, changed, checkpoints=changed_notes, processes=1)
    # the last checkpoint was published, so that anything else than the same entries and notes shows
    same = changed == raws and all(note in notes for note in changed_notes)
    assert (found.verdict == "good") == same


@pytest.mark.parametrize("what", ["flip", "swap", "number", "delete", "note"])
def test_what_is_changed_in_the_database_itself_is_found_and_placed(tmp_path: Path, what: str) -> None:
    made = small_ledger(tmp_path)
    for number in range(8):
        made.enter_run(small_run(number))
    notes = [Published("p", made.ledger.checkpoints()[-1])]
    with made.ledger.engine.connect() as connection, connection.begin():
        for (name,) in connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f'DROP TRIGGER "{name}"'))
        rows = dict(connection.execute(sa.text("SELECT number, entry FROM ledger_entries")).all())
        update = sa.text("UPDATE ledger_entries SET entry = :entry WHERE number = :number")
        match what:
            case "flip":
                raw = bytearray(rows[5])
                raw[300] ^= 4
                connection.execute(update, {"entry": bytes(raw), "number": 5})
            case "swap":
                connection.execute(update, {"entry": rows[3], "number": 5})
                connection.execute(update, {"entry": rows[5], "number": 3})
            case "number":
                connection.execute(sa.text("UPDATE ledger_entries SET number = 70 WHERE number = 5"))
            case "delete":
                connection.execute(sa.text("DELETE FROM ledger_entries WHERE number = 5"))
            case "note":
                connection.execute(sa.text("UPDATE ledger_checkpoints SET note = 'nothing' WHERE size = 5"))
    found = verify_entries(
        made.ledger.raw(), made.ledger.checkpoints(), notes, ORIGIN, made.root_keyids, stored=made.ledger.leaves
    )
    code = {"flip": "edited", "swap": "reordered", "number": "reordered", "delete": "deleted", "note": "malformed"}[
        what
    ]
    assert found.verdict == "broken" and code in codes(found)
    where = {
        "flip": "entry 5",
        "swap": "entries 3 and 5",
        "number": "entry 70",
        "delete": "entry 5",
        "note": "checkpoint 4",
    }
    assert where[what] in [finding.where for finding in found.findings if finding.code == code]


def test_findings_of_one_code_are_counted_beyond_a_limit(made: SmallLedger) -> None:
    found = verify(made, [*raws_of(made), *(b"%d" % number for number in range(MAX_OF_A_CODE + 50))])
    malformed = [finding for finding in found.findings if finding.code == "malformed"]
    assert len(malformed) == MAX_OF_A_CODE + 1 and malformed[-1].what == "50 more of the kind"


def test_other_processes_find_the_same(made: SmallLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ALONE", 5)
    monkeypatch.setattr(reading, "CHUNK_ENTRIES", 4)
    raws = raws_of(made)
    assert verify(made, raws, processes=2) == verify(made, raws, processes=1)
    broken = [*raws[:9], raws[9].replace(b"A", b"B", 1), *raws[10:15], raws[16], raws[15], *raws[17:]]
    assert verify(made, broken, processes=2) == verify(made, broken, processes=1)


def test_processes_that_cannot_be_started_are_done_without(made: SmallLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ALONE", 5)
    monkeypatch.setattr(reading, "CHUNK_ENTRIES", 4)
    assert verify(made, processes=2, check=_dies).verdict == "good"
    for error in (OSError("no sockets"), AssertionError("a daemon has no children"), RuntimeError("shut down")):
        monkeypatch.setattr(processes.ProcessPoolExecutor, "submit", _raising(error))
        assert verify(made, processes=2).verdict == "good"


def _raising(error: Exception) -> Callable[..., None]:
    def submit(*_: object) -> None:
        raise error

    return submit


def _dies(raws: list[bytes], keys: dict[str, bytes]) -> list:
    """Checks in the process of the test, and kills any other."""
    import multiprocessing
    import os

    if multiprocessing.parent_process() is not None:
        os._exit(3)
    return reading.check_chunk(raws, keys)


def test_what_passed_is_handed_on_as_evidence_without_a_second_check(made: SmallLedger) -> None:
    found, evidence = examine(
        made.ledger.raw(), made.ledger.checkpoints(), [], ORIGIN, made.root_keyids, stored=made.ledger.leaves
    )
    assert [stated.number for stated in evidence.stated] == list(range(25)) and found.verdict == "unanchored"
    assert set(evidence.models()) == {small_run(number).model.identity for number in range(24)}


def test_what_follows_is_checked_by_the_evidence_itself(made: SmallLedger) -> None:
    _, evidence = examine(made.ledger.raw(), made.ledger.checkpoints(), [], ORIGIN, made.root_keyids)
    good = envelope(made)
    forged = Envelope(good.payload, ((good.signatures[0][0], bytes(64)),))
    with pytest.raises(EvidenceRefused) as raised:
        evidence.extend([(25, forged)])
    assert raised.value.code == "bad-signature"
    evidence.extend([(25, good)])
    assert evidence.stated[-1].number == 25


def test_evidence_leaves_out_what_was_refused(made: SmallLedger) -> None:
    raws = raws_of(made)
    raws[5] = raws[5][:-20] + b"x" * 20
    strange = entries.statement(entries.RUN, ORIGIN, "recorder", {"run": "0" * 64}, {"no": "manifest"})
    raws.append(Envelope.sign(strange, made.keys["recorder"]).to_bytes())
    found, evidence = examine(enumerate(raws), [], [], ORIGIN, made.root_keyids)
    assert [stated.number for stated in evidence.stated] == [*range(5), *range(6, 25)]
    assert {("malformed", "entry 5"), ("malformed", "entry 25")} <= {(f.code, f.where) for f in found.findings}


def test_an_entry_has_one_spelling_only(made: SmallLedger) -> None:
    raw = raws_of(made)[3]
    envelope = Envelope.parse(raw, "")
    payload = base64.b64encode(envelope.payload)
    for other in (raw + b"\n", b" " + raw, raw.replace(b'":"', b'": "', 1), raw.replace(payload, payload + b"\\n", 1)):
        found = verify(made, [*raws_of(made)[:3], other, *raws_of(made)[4:]])
        assert found.verdict == "broken" and {"malformed", "edited"} <= codes(found)
