"""The gate: every code that it refuses with, and that what was valid at its place stays so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, SSlibKey

from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.trust import gate as trust
from domainlm.ledger.trust import policy
from domainlm.ledger.trust.gate import (
    MACHINE_MADE,
    MAY_SIGN,
    Gate,
    Member,
    Policy,
    Revocation,
    Rules,
    identity,
    present,
)

ORIGIN = "bank/models"
START = datetime(2026, 11, 20, 9, tzinfo=UTC)
NAMES = ("root", "root-b", "root-c", "recorder", "log", "anna", "anna-2", "victor", "tina", "mallory")
KEYS = {name: CryptoSigner.generate_ed25519() for name in NAMES}
ANNA = identity("anna@bank.example")
IDS = {name: key.public_key.keyid for name, key in KEYS.items()}


def member(*keys: str, roles: list[Any], until: str = "", person: str = "") -> Member:
    identities = [identity(f"{person}@bank.example")] if person else []
    return Member(keys=[IDS[key] for key in keys], roles=roles, identities=identities, until=until)


def first_policy(**changes: Any) -> Policy:
    values: dict[str, Any] = {
        "version": 1,
        "ledger": ORIGIN,
        "keys": {IDS[name]: KEYS[name].public_key.to_dict() for name in NAMES if name != "mallory"},
        "members": {
            "root": member("root", roles=["root"]),
            "recorder": member("recorder", roles=["recorder"]),
            "log": member("log", roles=["log"]),
            "anna": member("anna", "anna-2", roles=["officer"], person="anna"),
            "victor": member("victor", roles=["validator"], person="victor"),
            "tina": member("tina", roles=["trainer"], person="tina"),
        },
        "rules": Rules(production=True),
    }
    return Policy(**(values | changes))


class House:
    """A gate and the entries so far; `enter` makes, signs and admits the next."""

    def __init__(self, policy: Policy | None = None, by: tuple[str, ...] = ("root",)) -> None:
        self.gate = Gate(ORIGIN, frozenset(IDS[name] for name in by))
        self.log: list[Envelope] = []
        self.enter(entries.POLICY, by[0], policy or first_policy(), by, START)

    def enter(
        self, kind: str, by: str, content: Any, keys: tuple[str, ...] = (), time: datetime | None = None
    ) -> Envelope:
        return self.admit(signed(kind, by, content, keys, time or self.gate.last_time))

    def admit(self, envelope: Envelope, now: datetime | None = None) -> Envelope:
        self.gate.admit(len(self.log), envelope, now=now)
        self.log.append(envelope)
        return envelope

    def succeed(self, signers: tuple[str, ...] = ("root",), **changes: Any) -> Envelope:
        """The next policy: the one in force with some fields changed."""
        return self.enter(entries.POLICY, signers[0], self.next_policy(**changes), signers)

    def next_policy(self, **changes: Any) -> Policy:
        assert self.gate.policy is not None
        previous = self.gate.state.policies[-1][1]
        fields = {"version": self.gate.policy.version + 1, "previous": previous}
        return self.gate.policy.model_copy(update=fields | changes)


def signed(
    kind: str, by: str, content: Any, keys: tuple[str, ...] = (), time: datetime | None = None, origin: str = ORIGIN
) -> Envelope:
    content = content.model_dump(mode="json") if isinstance(content, Policy) else content
    statement = entries.statement(kind, origin, by, {"subject": "0" * 64}, content, time)
    return Envelope.sign(statement, *(KEYS[name] for name in keys or (by,)))


def refused(code: str, act: Callable[[], Any], gate: Gate | None = None) -> None:
    """The act is refused with this code, and leaves the gate as it was."""
    before = gate.state if gate else None
    with pytest.raises(EvidenceRefused) as caught:
        act()
    assert caught.value.code == code, str(caught.value)
    if gate:
        assert gate.state is before


def test_each_kind_is_admitted_from_the_roles_that_may_sign_it_and_from_no_other() -> None:
    holders = {"recorder": "recorder", "officer": "anna", "validator": "victor", "trainer": "tina", "log": "log"}
    for kind, roles in MAY_SIGN.items():
        if kind == entries.POLICY:
            continue
        for role, name in (*holders.items(), ("root", "root")):
            house = House()
            if role in roles:
                house.enter(kind, name, {})
            else:
                refused("wrong-role", lambda h=house, k=kind, n=name: h.enter(k, n, {}), house.gate)


def test_what_people_decide_no_service_may_sign() -> None:
    personal = {entries.APPROVAL, entries.CONDITION_MET, entries.STANDING, entries.HOLD, entries.HOLD_RELEASE}
    assert personal | set(MACHINE_MADE) | {entries.POLICY} == set(entries.KINDS)
    assert not any({"recorder", "log", "root"} & set(MAY_SIGN[kind]) for kind in personal)


def test_an_entry_before_any_policy_is_refused() -> None:
    gate = Gate(ORIGIN, frozenset({IDS["root"]}))
    refused("untrusted-root", lambda: gate.admit(0, signed(entries.READ, "recorder", {})), gate)


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("foreign-entry", lambda: signed(entries.READ, "recorder", {}, time=START, origin="other/ledger")),
        ("unknown-key", lambda: signed(entries.READ, "recorder", {}, ("mallory",), START)),
        ("wrong-role", lambda: signed(entries.READ, "recorder", {}, ("anna",), START)),
        ("wrong-role", lambda: signed(entries.APPROVAL, "victor", {}, ("anna",), START)),
        ("bad-signature", lambda: Envelope(signed(entries.READ, "recorder", {}, time=START).payload, ())),
        ("bad-signature", lambda: signed(entries.APPROVAL, "anna", {}, ("anna", "anna-2"), START)),
        ("bad-signature", lambda: signed(entries.APPROVAL, "anna", {}, ("anna", "victor"), START)),
        ("clock-set-back", lambda: signed(entries.READ, "recorder", {}, time=START - timedelta(seconds=121))),
        ("clock-set-back", lambda: signed(entries.HOLD, "anna", {}, time=START - timedelta(days=7, seconds=1))),
    ],
)
def test_an_entry_that_must_not_stand_is_refused_by_name(code: str, make: Callable[[], Envelope]) -> None:
    house = House()
    refused(code, lambda: house.admit(make()), house.gate)


def test_a_signature_of_other_bytes_is_refused() -> None:
    house = House()
    good, other = (signed(entries.READ, "recorder", {"page": page}, time=START) for page in ("a", "b"))
    refused("bad-signature", lambda: house.admit(Envelope(good.payload, other.signatures)), house.gate)


def test_an_unknown_version_or_kind_is_refused_by_name() -> None:
    house = House()
    for field, value, code in (("version", 2, "unknown-version"), ("kind", "wish", "unknown-kind")):
        statement = entries.statement(entries.READ, ORIGIN, "recorder", {"subject": "0" * 64}, {}, START)
        statement["predicate"][entries.ENTRY][field] = value
        refused(code, lambda s=statement: house.admit(Envelope.sign(s, KEYS["recorder"])), house.gate)


def test_people_may_sign_offline_for_a_week_and_that_sets_no_clock_back() -> None:
    house = House()
    house.enter(entries.APPROVAL, "anna", {}, time=START - timedelta(days=6))
    assert house.gate.last_time == START
    house.enter(entries.READ, "recorder", {}, time=START - timedelta(seconds=119))
    assert house.gate.last_time == START


def test_a_time_ahead_of_the_clock_is_refused_where_it_is_entered_and_not_where_it_is_verified() -> None:
    house = House()
    ahead = signed(entries.READ, "recorder", {}, time=START + timedelta(seconds=121))
    refused("clock-ahead", lambda: house.admit(ahead, now=START), house.gate)
    house.admit(ahead)


def test_a_member_counts_up_to_the_last_day_by_the_logs_clock() -> None:
    members = first_policy().members | {"victor": member("victor", roles=["validator"], until="2026-11-20")}
    house = House(first_policy(members=members))
    house.enter(entries.APPROVAL, "victor", {}, time=datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC))
    late = datetime(2026, 11, 21, tzinfo=UTC)
    refused("wrong-role", lambda: house.enter(entries.APPROVAL, "victor", {}, time=late), house.gate)
    house.enter(entries.READ, "recorder", {}, time=late)
    # the time that an entry claims does not help once the log's own clock is past
    refused("wrong-role", lambda: house.enter(entries.APPROVAL, "victor", {}, time=START), house.gate)


def test_a_revoked_key_is_refused_from_its_day_on_however_its_entries_are_dated() -> None:
    house = House()
    since = START + timedelta(hours=1)
    house.succeed(revoked={IDS["anna"]: Revocation(since=_text(since), reason="retires")})
    house.enter(entries.APPROVAL, "anna", {}, time=since - timedelta(seconds=1))
    refused("revoked-key", lambda: house.enter(entries.APPROVAL, "anna", {}, time=since), house.gate)
    house.enter(entries.APPROVAL, "anna", {}, ("anna-2",), time=since)
    refused("revoked-key", lambda: house.enter(entries.APPROVAL, "anna", {}, time=START), house.gate)


def test_what_a_later_revocation_casts_doubt_on_is_named_and_stays_in_the_log() -> None:
    house = House()
    house.enter(entries.APPROVAL, "anna", {}, time=START + timedelta(minutes=1))
    doubtful = START + timedelta(minutes=5)
    house.enter(entries.APPROVAL, "anna", {}, time=doubtful)
    house.enter(entries.APPROVAL, "victor", {}, time=doubtful)
    assert list(house.gate.tainted()) == []
    house.succeed(revoked={IDS["anna"]: Revocation(since=_text(doubtful), reason="stolen")})
    assert [(taint.number, taint.keyid) for taint in house.gate.tainted()] == [(2, IDS["anna"])]
    assert replayed(house.log).state.last_time == house.gate.last_time


def test_what_a_thief_dates_back_is_tainted_by_the_time_at_which_it_was_entered() -> None:
    house = House()
    since = START + timedelta(days=2)
    house.enter(entries.APPROVAL, "anna", {}, time=START)
    house.enter(entries.READ, "recorder", {}, time=since + timedelta(hours=1))
    house.enter(entries.APPROVAL, "anna", {}, time=START + timedelta(minutes=1))  # signed with the stolen key
    house.succeed(revoked={IDS["anna"]: Revocation(since=_text(since), reason="stolen")})
    assert [taint.number for taint in house.gate.tainted()] == [3]


def test_a_key_that_is_merely_replaced_taints_nothing() -> None:
    house = House()
    house.enter(entries.READ, "recorder", {}, time=START + timedelta(minutes=1))
    time = START + timedelta(minutes=2)
    renewed = first_policy().members | {"recorder": member("recorder", "root-b", roles=["recorder"])}
    house.enter(
        entries.POLICY, "root",
        house.next_policy(
            members=renewed, revoked={IDS["recorder"]: Revocation(since=_text(time), reason="rotated")}
        ), time=time,
    )  # fmt: skip
    assert list(house.gate.tainted()) == []
    refused("revoked-key", lambda: house.enter(entries.READ, "recorder", {}, time=time), house.gate)
    house.enter(entries.READ, "recorder", {}, ("root-b",), time=time)
    replayed(house.log)


def two_of_three(threshold: int = 2) -> Policy:
    members = first_policy().members
    roots = {name: member(name, roles=["root"]) for name in ("root", "root-b", "root-c")}
    return first_policy(members=members | roots, root_threshold=threshold)


def test_the_first_policy_wants_every_pinned_root_and_its_own_threshold() -> None:
    House(two_of_three(), ("root", "root-b"))
    House(two_of_three(), ("root", "root-b", "root-c"))
    policy = two_of_three()
    for pinned, signers, code in (
        (("root", "root-b"), ("root",), "untrusted-root"),  # one thief of one key could else write a policy of its own
        (("root",), ("root",), "bad-policy"),
        (("mallory",), ("root", "root-b"), "untrusted-root"),
        ((), ("root", "root-b"), "untrusted-root"),
    ):
        gate = Gate(ORIGIN, frozenset(IDS[name] for name in pinned))
        entry = signed(entries.POLICY, "root", policy, signers, START)
        refused(code, lambda g=gate, e=entry: g.admit(0, e), gate)


def test_a_root_member_with_two_keys_counts_once() -> None:
    members = first_policy().members | {
        "root": member("root", "root-b", roles=["root"]),
        "root-c": member("root-c", roles=["root"]),
    }
    policy = first_policy(members=members, root_threshold=2)
    gate = Gate(ORIGIN, frozenset({IDS["root"]}))
    entry = signed(entries.POLICY, "root", policy, ("root", "root-b"), START)
    refused("bad-policy", lambda: gate.admit(0, entry), gate)
    gate.admit(0, signed(entries.POLICY, "root", policy, ("root", "root-c"), START))


def test_the_root_changes_hands_only_with_the_old_and_the_new_threshold() -> None:
    house = House(two_of_three(), ("root", "root-b"))
    members = {name: one for name, one in two_of_three().members.items() if name not in ("root", "root-b")}
    members |= {"root-d": member("mallory", roles=["root"])}
    keys = two_of_three().keys | {IDS["mallory"]: KEYS["mallory"].public_key.to_dict()}
    change = {"members": members, "keys": keys}
    for signers in (("root",), ("root", "root-b"), ("root-c", "mallory"), ("mallory", "root")):
        refused("bad-policy", lambda s=signers: house.succeed(s, **change), house.gate)
    house.succeed(("root-b", "root-c", "mallory"), **change)
    refused("wrong-role", lambda: house.succeed(("root", "root-c", "mallory")), house.gate)
    house.succeed(("root-c", "mallory"))
    replayed(house.log, ("root", "root-b"))


def test_a_revoked_root_key_counts_no_more() -> None:
    house = House(two_of_three(), ("root", "root-b"))
    assert house.gate.last_time
    house.succeed(
        ("root-b", "root-c"), revoked={IDS["root"]: Revocation(since=_text(house.gate.last_time), reason="lost")}
    )
    refused("revoked-key", lambda: house.succeed(("root", "root-c")), house.gate)
    house.succeed(("root-b", "root-c"))


def _changed_member(**fields: Any) -> dict[str, Any]:
    return {"members": first_policy().members | {name: Member(**value) for name, value in fields.items()}}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"previous": "0" * 64},
        {"keys": {IDS["root"]: KEYS["root"].public_key.to_dict()}},
        {"keys": first_policy().keys | {"0" * 64: KEYS["mallory"].public_key.to_dict()}},
        {"keys": first_policy().keys | {IDS["mallory"]: KEYS["anna"].public_key.to_dict()}},
        {"keys": first_policy().keys | {IDS["mallory"]: KEYS["mallory"].public_key.to_dict() | {"x": 1}}},
        {"root_threshold": 2},
        {"revoked": {IDS["mallory"]: Revocation(since="2026-11-20T09:00:00.000Z", reason="")}},
        {"revoked": {IDS["anna"]: Revocation(since="yesterday", reason="")}},
        {"revoked": {IDS["root"]: Revocation(since="2026-11-20T09:00:00.000Z", reason="the last root")}},
        _changed_member(eve={"keys": [IDS["anna"]], "roles": ["officer"]}),
        _changed_member(eve={"keys": [IDS["mallory"]], "roles": ["officer"]}),
        _changed_member(tina={"keys": [IDS["tina"]], "roles": ["trainer", "recorder"]}),
        _changed_member(tina={"keys": [IDS["tina"]], "roles": ["trainer", "root"]}),
        _changed_member(tina={"keys": [IDS["tina"], IDS["tina"]], "roles": ["trainer"]}),
        _changed_member(tina={"keys": [IDS["tina"]], "roles": ["trainer"], "until": "soon"}),
        _changed_member(tina={"keys": [IDS["tina"]], "roles": ["trainer"], "identities": ["tina@bank.example"]}),
        _changed_member(tina={"keys": [IDS["tina"]], "roles": ["trainer"], "identities": [ANNA]}),
        _changed_member(root={"keys": [IDS["root"]], "roles": ["root"], "until": "2027-01-01"}),
        _changed_member(**{"<b>": {"keys": [], "roles": []}}),
        # anna's key may not become victor's, also when she is gone in between
        _changed_member(anna={"keys": [IDS["anna-2"]], "roles": []}, victor={"keys": [IDS["anna"]], "roles": []}),
    ],
)  # fmt: skip
def test_a_policy_that_breaks_the_rules_is_refused(change: dict[str, Any]) -> None:
    house = House()
    refused("bad-policy", lambda: house.succeed(**change), house.gate)
    house.succeed()


def test_a_key_under_which_anybody_can_sign_is_refused() -> None:
    house = House()
    forgery = bytes([1]) + bytes(63)  # made without any private key
    for weak in policy._WEAK_KEYS:
        for sign_bit in (0, 0x80):
            public = weak[:31] + bytes([weak[31] | sign_bit])
            if sign_bit == 0:  # the list holds what it says: the forgery verifies for one message in eight
                assert any(trust._signed(public, forgery, bytes([message])) for message in range(256))
            key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public))
            keys = first_policy().keys | {key.keyid: key.to_dict()}
            refused("bad-policy", lambda k=keys: house.succeed(keys=k), house.gate)


def test_a_policy_of_another_ledger_of_another_signer_or_by_another_name_is_refused() -> None:
    house = House()
    refused("foreign-entry", lambda: house.succeed(ledger="other/ledger"), house.gate)
    refused("wrong-role", lambda: house.succeed(("anna",)), house.gate)
    refused("unknown-key", lambda: house.succeed(("mallory",)), house.gate)
    refused("wrong-role", lambda: house.succeed(("root", "anna")), house.gate)
    refused("wrong-role", lambda: house.enter(entries.POLICY, "anna", house.next_policy(), ("root",)), house.gate)
    good, other = (signed(entries.POLICY, "root", house.next_policy(), ("root",), START) for _ in range(2))
    refused("bad-signature", lambda: house.admit(Envelope(good.payload, other.signatures)), house.gate)
    refused("bad-policy", lambda: house.admit(signed(entries.POLICY, "root", {"version": 2}, time=START)), house.gate)


def test_a_revocation_can_be_dated_back_and_never_taken_back() -> None:
    house = House()
    revoked = {IDS["anna"]: Revocation(since=_text(START), reason="lost")}
    house.succeed(revoked=revoked)
    refused("bad-policy", lambda: house.succeed(revoked={}), house.gate)
    later = {IDS["anna"]: Revocation(since=_text(START + timedelta(days=1)), reason="lost")}
    refused("bad-policy", lambda: house.succeed(revoked=later), house.gate)
    house.succeed(revoked={IDS["anna"]: Revocation(since=_text(START - timedelta(days=1)), reason="lost before")})


def test_a_key_never_changes_its_owner_even_after_a_time_without_one() -> None:
    house = House()
    gone = {name: one for name, one in first_policy().members.items() if name != "anna"}
    house.succeed(members=gone)
    refused("wrong-role", lambda: house.enter(entries.HOLD, "anna", {}), house.gate)
    refused(
        "bad-policy",
        lambda: house.succeed(members=gone | {"olga": member("anna", roles=["officer"])}),
        house.gate,
    )
    house.succeed(members=gone | {"anna": member("anna", roles=["officer"])})


def test_an_earlier_state_takes_back_what_was_admitted_since() -> None:
    house = House()
    kept = house.gate.state
    entry = signed(entries.READ, "recorder", {}, time=START)
    house.succeed(revoked={IDS["recorder"]: Revocation(since=_text(START), reason="lost")})
    refused("revoked-key", lambda: house.gate.admit(2, entry))
    house.gate.state = kept
    house.gate.admit(1, entry)


def test_signatures_checked_elsewhere_are_judged_the_same() -> None:
    house = House()
    entry = signed(entries.READ, "recorder", {}, time=START)
    assert house.gate.take(1, present(entry, "", house.gate.keys)).by == "recorder"
    # a checker that did not know the key: refused, and `admit` decides
    refused("bad-signature", lambda: house.gate.take(1, present(entry, "", {})), house.gate)
    house.gate.admit(1, entry)


def test_checkpoints_are_signed_by_the_log_keys_in_force_at_their_size() -> None:
    house = House()
    members = first_policy().members | {"log": member("log", "root-b", roles=["log"])}
    house.succeed(members=members, revoked={IDS["log"]: Revocation(since=_text(START), reason="rotated")})
    assert set(house.gate.log_keys(0)) == set()
    assert set(house.gate.log_keys(1)) == {IDS["log"]}
    assert set(house.gate.log_keys(2)) == {IDS["root-b"]}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(["anna", "anna-2", "victor", "recorder", "add", "revoke", "revoke-back", "drop", "wait"]),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_what_was_valid_at_its_place_stays_valid_under_any_later_policy(acts: list[str]) -> None:
    """The log of any history is admitted again entry by entry, and each prefix of it as well."""
    house = House()
    time = START
    for act in acts:
        time += timedelta(seconds=30)
        policy = house.gate.policy
        assert policy is not None
        try:
            if act == "wait":
                time += timedelta(days=1)
            elif act in ("anna", "anna-2", "victor"):
                house.enter(entries.APPROVAL, act.partition("-")[0], {}, (act,), time)
            elif act == "recorder":
                house.enter(entries.READ, "recorder", {}, time=time)
            else:
                change: dict[str, Any] = {}
                if act.startswith("revoke"):
                    since = time - timedelta(days=1) if act == "revoke-back" else time
                    change["revoked"] = policy.revoked | {IDS["anna"]: Revocation(since=_text(since), reason="")}
                if act == "drop":
                    change["members"] = {name: one for name, one in policy.members.items() if name != "victor"}
                house.enter(entries.POLICY, "root", house.next_policy(**change), ("root",), time)
        except EvidenceRefused as error:
            assert error.code in ("revoked-key", "wrong-role", "bad-policy")
    assert replayed(house.log).state.policies[-1][1] == house.gate.state.policies[-1][1]


def replayed(log: list[Envelope], pinned: tuple[str, ...] = ("root",)) -> Gate:
    gate = Gate(ORIGIN, frozenset(IDS[name] for name in pinned))
    for index, envelope in enumerate(log):
        gate.admit(index, Envelope.parse(envelope.to_bytes(), str(index)))
    return gate


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
