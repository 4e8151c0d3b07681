"""Checkpoints: the signed note, read strictly."""

from __future__ import annotations

import base64
import hashlib

import pytest
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from domainlm.errors import EvidenceRefused
from domainlm.ledger.checkpoints import MAX_NOTE_BYTES, ORIGIN, Checkpoint, key_hash

ROOT = hashlib.sha256(b"root").digest()

# golang.org/x/mod/sumdb/note, the example of its documentation: verifier key, text and signature line
NOTE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)  # fmt: skip
NOTE_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
# the verifier key of sum.golang.org, which every Go program pins
GO_SUM_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def public(raw: bytes) -> SSlibKey:
    return SSlibKey("k", "ed25519", "ed25519", {"public": raw.hex()})


@pytest.fixture(scope="module")
def signer() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


@pytest.fixture(scope="module")
def other() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


@pytest.fixture
def note(signer: CryptoSigner) -> str:
    return Checkpoint("bank/models", 12, ROOT).signed(signer).note


@pytest.mark.parametrize("text", [NOTE_KEY, GO_SUM_KEY])
def test_key_hashes_are_those_of_signed_notes(text: str) -> None:
    name, mark, key = text.split("+", 2)
    raw = base64.b64decode(key)
    assert raw[:1] == b"\x01"
    assert key_hash(name, public(raw[1:])).hex() == mark


def test_the_signature_of_the_specifications_example_verifies_and_has_our_layout() -> None:
    name, mark, key = NOTE_KEY.split("+", 2)
    raw = base64.b64decode(NOTE_SIGNATURE)
    assert raw[:4].hex() == mark and len(raw) == 68
    public(base64.b64decode(key)[1:]).verify_signature(Signature("k", raw[4:].hex()), NOTE_TEXT.encode())
    # the same line, below a checkpoint, is taken apart in the same way
    found = Checkpoint.parse(f"{Checkpoint('a', 0, ROOT).body}\n— {name} {NOTE_SIGNATURE}\n", "here")
    assert found.signatures == ((name, raw[:4], raw[4:]),)


def test_a_checkpoint_is_the_text_that_other_logs_use(signer: CryptoSigner, note: str) -> None:
    origin, size, root, empty, signature, end = note.split("\n")
    assert (origin, size, base64.b64decode(root), empty, end) == ("bank/models", "12", ROOT, "", "")
    assert signature.startswith(f"— {signer.public_key.keyid} ")


def test_what_is_written_is_read_and_verified(signer: CryptoSigner, note: str) -> None:
    found = Checkpoint.parse(note, "here")
    assert (found.origin, found.size, found.root, found.note) == ("bank/models", 12, ROOT, note)
    assert found.verified_by({signer.public_key.keyid: signer.public_key}) == [signer.public_key.keyid]


def test_several_signatures_are_kept_and_unknown_ones_are_not_counted(
    signer: CryptoSigner, other: CryptoSigner
) -> None:
    twice = Checkpoint("a", 3, ROOT).signed(signer).signed(other)
    witness = base64.b64encode(b"\x01\x02\x03\x04" + b"w" * 72).decode()  # a timestamped cosignature is longer
    note = twice.note + f"— example.com/witness {witness}\n"
    found = Checkpoint.parse(note, "here")
    assert found.note == note and len(found.signatures) == 3
    mine, theirs = signer.public_key, other.public_key
    assert found.verified_by({mine.keyid: mine}) == [mine.keyid]
    assert found.verified_by({mine.keyid: mine, theirs.keyid: theirs}) == [mine.keyid, theirs.keyid]
    assert found.verified_by({"example.com/witness": theirs}) == []
    assert found.verified_by({}) == []


def test_a_signature_of_another_text_or_key_counts_nothing(signer: CryptoSigner, other: CryptoSigner) -> None:
    found = Checkpoint("a", 3, ROOT).signed(signer)
    mine = {signer.public_key.keyid: signer.public_key}
    assert Checkpoint("a", 4, ROOT, found.signatures).verified_by(mine) == []
    assert Checkpoint("b", 3, ROOT, found.signatures).verified_by(mine) == []
    assert Checkpoint("a", 3, hashlib.sha256(b"x").digest(), found.signatures).verified_by(mine) == []
    assert found.verified_by({signer.public_key.keyid: other.public_key}) == []


def test_no_flip_of_any_bit_leaves_a_note_that_verifies(signer: CryptoSigner, note: str) -> None:
    keys = {signer.public_key.keyid: signer.public_key}
    raw = note.encode()
    for place in range(len(raw)):
        for bit in range(8):
            flipped = bytearray(raw)
            flipped[place] ^= 1 << bit
            try:
                found = Checkpoint.parse(flipped.decode("utf-8", "replace"), "here")
            except EvidenceRefused as refused:
                assert refused.code == "malformed"
                continue
            assert found.verified_by(keys) == [], (place, bit)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: "",
        lambda note: note[:-1],
        lambda note: note + "\n",
        lambda note: note.replace("\n", "\r\n"),
        lambda note: note.replace("12", "012"),
        lambda note: note.replace("\n12\n", "\n+12\n"),
        lambda note: note.replace("\n12\n", "\n1_2\n"),
        lambda note: note.replace("\n12\n", "\n-12\n"),
        lambda note: note.replace("\n12\n", f"\n{1 << 62}\n"),
        lambda note: note.replace("\n12\n", "\n" + "9" * 5000 + "\n"),
        lambda note: note.replace("\n12\n", "\n١٢\n"),  # digits of another script
        lambda note: note.partition("\n\n")[0] + "\n\n",  # no signature
        lambda note: note.replace("\n\n", "\nextension\n\n", 1),
        lambda note: note.replace("— ", "- "),
        lambda note: note.replace("— ", "—  "),
        lambda note: note.replace("bank/models", "bank/../models"),
        lambda note: note.replace("bank/models", "/models"),
        lambda note: note.replace("bank/models", "bank models"),
        lambda note: note.replace("bank/models", "bank//models"),
        lambda note: note.replace("bank/models", "b" * 201),
        lambda note: note + note.rpartition("\n\n")[2],  # the same signature twice
        lambda note: note.rpartition("\n\n")[0] + "\n\n— a+b AAAAAAAA\n",
        lambda note: note.rpartition("\n\n")[0] + "\n\n— a\u00a0b AAAAAAAA\n",
        lambda note: note.rpartition("\n\n")[0] + "\n\n— a AAAAAA==\n",  # a key hash and no signature
        lambda note: note.rpartition("\n\n")[0] + "\n\n— a AAAAAAB=\n",  # padding bits that are not 0
    ],
)
def test_another_spelling_is_no_checkpoint(note: str, change: object) -> None:
    changed = change(note)  # type: ignore[operator]
    assert changed != note
    with pytest.raises(EvidenceRefused) as refused:
        Checkpoint.parse(changed, "here")
    assert refused.value.code == "malformed" and refused.value.where == "here"


def test_a_huge_note_is_refused_by_its_size(note: str) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        Checkpoint.parse(note + "x" * MAX_NOTE_BYTES, "here")
    assert refused.value.code == "too-large"


def test_a_key_whose_name_no_note_can_hold_signs_nothing(signer: CryptoSigner) -> None:
    for name in ("a b", "a+b", "", "a\nb"):
        key = SSlibKey(name, "ed25519", "ed25519", signer.public_key.keyval)
        with pytest.raises(ValueError):
            Checkpoint("a", 1, ROOT).signed(CryptoSigner(signer._private_key, key))


def test_names_of_ledgers() -> None:
    for name in ("domainlm", "bank/models", "example.com/log:1", "a"):
        assert ORIGIN.fullmatch(name)
    for name in ("", "a/", "/a", "a//b", "../a", "a/..", "a b", "a\n", "é", "a/.b", "b" * 201):
        assert not ORIGIN.fullmatch(name)
