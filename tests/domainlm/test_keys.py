"""Keys: where they may come from, and what ids and sealed bytes made with them guarantee."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from domainlm.errors import ConfigurationError, SecretError
from domainlm.keys import KeyRing, create_development_key

ONE, TWO = KeyRing("one", b"1" * 32), KeyRing("two", b"2" * 32)


def test_the_development_key_is_private_and_made_once() -> None:
    path = create_development_key()
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert create_development_key().read_text() == first
    assert KeyRing.load().key_id.startswith("development-")
    assert not list(path.parent.glob(".*")), "a draft was left behind"


def test_a_missing_key_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(SecretError, match="missing") as caught:
        KeyRing.load()
    assert "make setup" in str(caught.value)


def test_a_key_file_that_others_can_read_is_refused() -> None:
    path = create_development_key()
    path.chmod(0o644)
    with pytest.raises(SecretError, match="read by others"):
        KeyRing.load()


@pytest.mark.parametrize(("owner", "good"), [(0, True), (10001, False), (20002, False)])
def test_a_mounted_secret_is_roots_file_that_the_group_may_read(
    monkeypatch: pytest.MonkeyPatch, owner: int, good: bool
) -> None:
    path = create_development_key()
    key, whole = KeyRing.load(), os.fstat
    path.chmod(0o440)

    def owned(handle: int) -> os.stat_result:
        found = list(whole(handle))
        return os.stat_result([*found[:4], owner, *found[5:]])

    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    monkeypatch.setattr(os, "fstat", owned)
    if good:
        assert KeyRing.of_file(path) == key
    else:
        with pytest.raises(SecretError, match="read by others"):
            KeyRing.of_file(path)
    monkeypatch.undo()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"key_id": "a", "secret": "c2hvcnQ="}', '{"key_id": "a", "secret": "###hunter2"}']
)
def test_a_malformed_key_is_refused_without_being_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setenv("DOMAINLM_KEY_FILE", str(path))
    with pytest.raises(SecretError) as caught:
        KeyRing.load()
    assert "hunter2" not in str(caught.value) and "c2hvcnQ" not in str(caught.value)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    create_development_key()
    secret = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv("DOMAINLM_KEY", json.dumps({"key_id": "bank-2026", "secret": secret}))
    assert KeyRing.load().key_id == "bank-2026"


def test_keyed_ids_link_equal_values_under_one_key_and_use_only() -> None:
    assert ONE.keyed_id("subject", "PERSON", "kim") == ONE.keyed_id("subject", "PERSON", "kim")
    others = {
        ONE.keyed_id("subject", "PERSON", "kim"),
        TWO.keyed_id("subject", "PERSON", "kim"),
        ONE.keyed_id("record", "PERSON", "kim"),
        ONE.keyed_id("subject", "PERSO", "Nkim"),
    }
    assert len(others) == 4


def test_sealed_bytes_open_with_the_same_key_use_and_context_only() -> None:
    sealed = ONE.seal("quarantine", b"secret", b"record 1")
    assert ONE.unseal("quarantine", sealed, b"record 1") == b"secret"
    assert b"secret" not in sealed
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for ring, use, data, context in (
        (TWO, "quarantine", sealed, b"record 1"),
        (ONE, "vault", sealed, b"record 1"),
        (ONE, "quarantine", sealed, b"record 2"),
        (ONE, "quarantine", flipped, b"record 1"),
        (ONE, "quarantine", b"", b"record 1"),
    ):
        with pytest.raises(SecretError):
            ring.unseal(use, data, context)


def test_the_secret_is_not_in_the_representation() -> None:
    assert "1111" not in repr(ONE)


def test_a_keys_name_is_part_of_every_id() -> None:
    assert ONE.keyed_id("subject", "kim")[:8] == ONE.keyed_id("record", "lee")[:8]
    renamed = KeyRing("another name", ONE.secret)
    assert renamed.keyed_id("subject", "kim")[:8] != ONE.keyed_id("subject", "kim")[:8]
    assert renamed.keyed_id("subject", "kim")[8:] != ONE.keyed_id("subject", "kim")[8:]
    assert ONE.knows(ONE.keyed_id("subject", "kim")) and not ONE.knows(TWO.keyed_id("subject", "kim"))


def test_an_id_keeps_its_link_through_rotations_and_the_old_key_alone_makes_no_new_one() -> None:
    second = ONE.succeeded_by(TWO)
    third = second.succeeded_by(KeyRing("three", b"3" * 32))
    before = ONE.keyed_id("subject", "PERSON", "kim")
    for ring in (second, third):
        now = ring.keyed_id("subject", "PERSON", "kim")
        assert ring.carried("subject", before) == now != before
        assert ring.carried("subject", now) == now, "carrying twice does no more than once"
        assert ring.carried("subject", second.keyed_id("subject", "PERSON", "kim")) == now
        assert ring.keyed_id("subject", "PERSON", "lee") != now
        assert ring.carried("record", before) != now, "uses stay apart"
    now = second.keyed_id("subject", "PERSON", "kim")
    # All that the old key can make, with every name it may give itself, and the new key without the old.
    alone = [
        ring.keyed_id("subject", *values)
        for ring in (ONE, KeyRing("two", ONE.secret), TWO, TWO.succeeded_by(KeyRing("one", ONE.secret)))
        for values in (("PERSON", "kim"), (before,))
    ]
    assert now not in alone and now[8:] not in {identifier[8:] for identifier in alone}


def test_a_bucket_stays_through_rotations_and_differs_between_institutions_and_uses() -> None:
    third = ONE.succeeded_by(TWO).succeeded_by(KeyRing("three", b"3" * 32))
    values = [f"word {number}" for number in range(200)]
    buckets = [ONE.bucket("profile", value, 4096) for value in values]
    assert [third.bucket("profile", value, 4096) for value in values] == buckets and third.origin == ONE.origin
    assert all(0 <= bucket < 4096 for bucket in buckets) and len(set(buckets)) > 180
    others = [[TWO.bucket("profile", value, 4096) for value in values], [ONE.bucket("x", v, 4096) for v in values]]
    assert all(sum(map(int.__eq__, buckets, other)) < 5 for other in others)
    assert TWO.origin != ONE.origin


def test_ids_of_no_known_key_are_left_alone() -> None:
    stranger = KeyRing("stranger", b"9" * 32).keyed_id("subject", "kim")
    assert ONE.succeeded_by(TWO).carried("subject", stranger) == stranger


def test_a_retired_key_opens_nothing() -> None:
    sealed = ONE.seal("quarantine", b"secret", b"")
    ring = ONE.succeeded_by(TWO)
    (retired,) = ring.retired
    for secret in (retired.link, ring.secret):
        with pytest.raises(SecretError):
            KeyRing("one", secret).unseal("quarantine", sealed, b"")
    assert base64.b64encode(ONE.secret).decode() not in json.dumps(ring.to_json())


def test_a_ring_survives_its_own_json_and_that_of_a_secret_manager() -> None:
    ring = ONE.succeeded_by(TWO)
    content = ring.to_json()
    assert KeyRing.parse(json.dumps(content), "here") == ring
    assert all(isinstance(value, str) for value in content.values())
    assert KeyRing.of_json(content | {"retired": json.loads(content["retired"])}, "here") == ring
    assert ring.continues(ONE) and not ring.continues(KeyRing("one", b"x" * 32)) and not ring.continues(TWO)


@pytest.mark.parametrize(
    "retired", ["x", '"x"', [{}], [{"key_id": "a", "link": "c2hvcnQ="}], [{"key_id": "two", "link": "A" * 43 + "="}], 7]
)
def test_a_malformed_past_is_refused(retired: object) -> None:
    with pytest.raises(SecretError):
        KeyRing.of_json(TWO.to_json() | {"retired": retired}, "here")


@pytest.mark.parametrize("how", ["variable", "argument"])
def test_production_refuses_the_development_key(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    create_development_key()
    if how == "variable":
        monkeypatch.setenv("DOMAINLM_MODE", "production")
    mode = "production" if how == "argument" else None
    with pytest.raises(SecretError, match="refused in production") as caught:
        KeyRing.load(mode=mode)
    assert "domainlm keys new" in str(caught.value)
    monkeypatch.setenv("DOMAINLM_KEY", json.dumps(ONE.to_json()))
    assert KeyRing.load(mode=mode) == ONE


def test_a_mode_that_is_none_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    create_development_key()
    monkeypatch.setenv("DOMAINLM_MODE", "prodution")
    with pytest.raises(ConfigurationError, match="did you mean 'production'"):
        KeyRing.load()
