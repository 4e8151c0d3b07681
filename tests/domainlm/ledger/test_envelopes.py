"""One spelling for one envelope: every other bytes are refused, and no bytes break the parser."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as DSSE
from securesystemslib.signer import CryptoSigner

from domainlm.digests import canonical_json
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.envelopes import MAX_ENTRY_BYTES, MAX_SIGNATURES, PAYLOAD_TYPE, Envelope

SIGNER, OTHER = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()

MANY = [{"keyid": f"{n:064x}", "sig": base64.b64encode(bytes(64)).decode()} for n in range(MAX_SIGNATURES + 1)]


def entry(*signers: CryptoSigner) -> Envelope:
    statement = entries.statement(
        entries.READ, "bank/models", "recorder", {"x": "0" * 64}, {"page": "모델 é", "n": 1.5}
    )
    return Envelope.sign(statement, *(signers or (SIGNER,)))


def refusal(raw: bytes) -> str:
    with pytest.raises(EvidenceRefused) as refused:
        Envelope.parse(raw, "entry")
    return refused.value.code


def test_what_is_signed_is_read_again_and_is_plain_dsse() -> None:
    made = entry(SIGNER, OTHER)
    found = Envelope.parse(made.to_bytes(), "entry")
    assert found == made and found.statement == made.statement and found.digest == made.digest
    assert found.to_bytes() == canonical_json(json.loads(found.to_bytes()))  # spelled by hand, and the same
    keys = [SIGNER.public_key, OTHER.public_key]
    assert sorted(found.verified_by(keys)) == sorted(key.keyid for key in keys)
    other_tool = DSSE.from_dict(json.loads(found.to_bytes()))
    assert other_tool.pae() == found.pae and len(other_tool.verify(keys, 2)) == 2


def test_every_flip_of_a_bit_is_refused_or_breaks_the_signature() -> None:
    raw = entry().to_bytes()
    for place in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            try:
                found = Envelope.parse(bytes(changed), "entry")
            except EvidenceRefused:
                continue
            assert found.verified_by([SIGNER.public_key]) == [], f"byte {place}, bit {bit}"


def _respelled(change: Callable[[dict], object]) -> bytes:
    found = json.loads(entry(SIGNER, OTHER).to_bytes())
    change(found)
    return canonical_json(found)


def _statement(text: bytes) -> bytes:
    return Envelope(text, entry().signatures).to_bytes()


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"payload":' * 5_000,
        b" " + entry().to_bytes(), entry().to_bytes() + b"\n", entry().to_bytes() + b"x",
        entry().to_bytes().replace(b'":"', b'": "', 1), b"\xef\xbb\xbf" + entry().to_bytes(),
        entry().to_bytes().decode().encode("utf-16"),
        _respelled(lambda found: found.update(extra=1)),
        _respelled(lambda found: found.update(payloadType="text/plain")),
        _respelled(lambda found: found["signatures"].reverse()),
        _respelled(lambda found: found["signatures"].append(found["signatures"][0])),
        _respelled(lambda found: found["signatures"][0].update(keyid="A" * 64)),
        _respelled(lambda found: found["signatures"][0].update(keyid=7)),
        _respelled(lambda found: found["signatures"][0].update(cert="x")),
        _respelled(lambda found: found["signatures"][0].update(sig="")),
        _respelled(lambda found: found["signatures"][0].update(sig=base64.b64encode(bytes(63)).decode())),
        _respelled(lambda found: found.update(signatures={})),
        _respelled(lambda found: found.update(signatures=MANY)),
        _respelled(lambda found: found.update(payload=found["payload"] + "=")),
        _respelled(lambda found: found.update(payload=found["payload"].replace("A", "-", 1))),
        _statement(b"[]"), _statement(b'"text"'), _statement(b'{"b":1,"a":2}'), _statement(b'{"a":1,"a":1}'),
        _statement(b'{"a":NaN}'), _statement(b'{"a":1.0}'), _statement(b'{"a":9007199254740993}'),
        _statement(b'{"a":"\\u0041"}'), _statement(b'{"a":"\\ud800"}'), _statement(b'{"a":"\xff"}'),
        _statement(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)  # fmt: skip
def test_any_other_spelling_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "malformed"


def test_the_limit_holds_before_anything_is_parsed() -> None:
    raw = b"[" * (MAX_ENTRY_BYTES + 1)
    assert refusal(raw) == "too-large"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    assert refusal(raw) == "malformed"


def test_the_payload_type_is_part_of_what_is_signed() -> None:
    made = entry()
    assert made.pae.startswith(b"DSSEv1 %d %s " % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode()))
