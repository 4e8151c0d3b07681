"""The tree, its frontier and its proofs, against RFC 6962's definitions and the vectors of Certificate Transparency."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domainlm.errors import EvidenceRefused
from domainlm.ledger.merkle import (
    EMPTY_ROOT,
    ConsistencyProof,
    Frontier,
    InclusionProof,
    Tree,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)

# google/certificate-transparency, merkletree/merkle_tree_test.cc: eight inputs, and the roots over the first 1 to 8
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (index from 0, size) -> path, and (first, second) -> path, of the same file
INCLUSIONS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCIES = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
LEAVES = [leaf_hash(entry) for entry in INPUTS]


def written(path: list[str]) -> list[str]:
    return [base64.b64encode(bytes.fromhex(text)).decode() for text in path]


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """The largest power of two that is smaller than a size."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = split(len(leaves))
    return node(root(leaves[:k]), root(leaves[k:]))


def audit_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*audit_path(index, leaves[:k]), root(leaves[k:])]
    return [*audit_path(index - k, leaves[k:]), root(leaves[:k])]


def subproof(first: int, leaves: list[bytes], complete: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if first == len(leaves):
        return [] if complete else [root(leaves)]
    k = split(len(leaves))
    if first <= k:
        return [*subproof(first, leaves[:k], complete), root(leaves[k:])]
    return [*subproof(first - k, leaves[k:], False), root(leaves[:k])]


def some_leaves(size: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert Frontier().extended(LEAVES[:size]).root.hex() == ROOTS[size - 1]
    assert Tree(LEAVES[:size]).get_root().hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root == EMPTY_ROOT == hashlib.sha256(b"").digest()


@pytest.mark.parametrize(("index", "size"), INCLUSIONS)
def test_inclusion_paths_are_those_of_certificate_transparency(index: int, size: int) -> None:
    proof = prove_inclusion(LEAVES, index, size)
    assert proof.audit_path == written(INCLUSIONS[index, size])
    verify_inclusion(proof, LEAVES[index], bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second"), CONSISTENCIES)
def test_consistency_paths_are_those_of_certificate_transparency(first: int, second: int) -> None:
    proof = prove_consistency(LEAVES, first, second)
    assert proof.consistency == written(CONSISTENCIES[first, second])
    verify_consistency(proof, bytes.fromhex(ROOTS[first - 1]), bytes.fromhex(ROOTS[second - 1]))


def test_every_proof_of_small_trees_is_the_rfcs_and_verifies() -> None:
    for size in range(1, 34):
        leaves = some_leaves(size)
        for index in range(size):
            proof = prove_inclusion(leaves, index)
            assert proof.audit_path == [base64.b64encode(step).decode() for step in audit_path(index, leaves)]
            verify_inclusion(proof, leaves[index], root(leaves))
        for first in range(1, size + 1):
            consistency = prove_consistency(leaves, first)
            assert consistency.consistency == [base64.b64encode(s).decode() for s in subproof(first, leaves, True)]
            verify_consistency(consistency, root(leaves[:first]), root(leaves))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.data())
def test_proofs_and_frontiers_of_any_tree_are_those_of_the_definition(size: int, data: st.DataObject) -> None:
    first, index = data.draw(st.integers(1, size)), data.draw(st.integers(0, size - 1))
    leaves = some_leaves(size)
    frontier = Frontier().extended(leaves[:first])
    assert frontier.root == root(leaves[:first])
    assert Frontier.of_bytes(first, frontier.to_bytes()).extended(leaves[first:]).root == root(leaves)
    inclusion, consistency = prove_inclusion(leaves, index), prove_consistency(leaves, first)
    assert [base64.b64decode(step) for step in inclusion.audit_path] == audit_path(index, leaves)
    assert [base64.b64decode(step) for step in consistency.consistency] == subproof(first, leaves, True)
    verify_inclusion(inclusion, leaves[index], root(leaves))
    verify_consistency(consistency, root(leaves[:first]), root(leaves))


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 200), st.data())
def test_a_changed_proof_shows_nothing(size: int, data: st.DataObject) -> None:
    leaves = some_leaves(size)
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    inclusion, consistency = prove_inclusion(leaves, index), prove_consistency(leaves, first)
    for model, path in ((inclusion, inclusion.audit_path), (consistency, consistency.consistency)):
        broken = [base64.b64decode(step) for step in path]
        act = data.draw(st.sampled_from(["flip", "drop", "add", "swap", "size"]))
        if act == "flip":
            place = data.draw(st.integers(0, len(broken) - 1))
            bit = data.draw(st.integers(0, 255))
            broken[place] = bytes(
                byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(broken[place])
            )
        elif act == "drop":
            broken.pop(data.draw(st.integers(0, len(broken) - 1)))
        elif act == "add":
            broken.insert(data.draw(st.integers(0, len(broken))), leaf_hash(b"other"))
        elif act == "swap":
            place = data.draw(st.integers(0, len(broken) - 1))
            broken[place], broken[0] = broken[0], broken[place]
            if place == 0:
                continue
        encoded = [base64.b64encode(step).decode() for step in broken]
        if isinstance(model, InclusionProof):
            changed = {"audit_path": encoded} | ({"leaf_index": (index + 1) % size} if act == "size" else {})
            with pytest.raises(EvidenceRefused) as refused:
                verify_inclusion(InclusionProof(**(model.model_dump() | changed)), leaves[index], root(leaves))
            assert refused.value.code == "inserted"
        else:
            # the second size alone is not bound by the path (the root is); the checkpoint that holds it says it
            changed = {"consistency": encoded} | ({"first": first + 1} if act == "size" else {})
            with pytest.raises(EvidenceRefused) as refused:
                verify_consistency(
                    ConsistencyProof(**(model.model_dump() | changed)), root(leaves[:first]), root(leaves)
                )
            assert refused.value.code == "forked"


def test_another_history_of_the_same_size_is_no_continuation() -> None:
    leaves = some_leaves(40)
    other = [*leaves[:20], leaf_hash(b"other"), *leaves[21:]]
    proof = prove_consistency(other, 30)
    with pytest.raises(EvidenceRefused) as refused:
        verify_consistency(proof, root(leaves[:30]), root(other))
    assert refused.value.code == "forked"


@pytest.mark.parametrize("text", ["", "AA", "=" * 44, "*" * 44, base64.b64encode(b"x" * 31).decode()])
def test_a_hash_that_is_none_shows_nothing(text: str) -> None:
    leaves = some_leaves(2)
    with pytest.raises(EvidenceRefused):
        verify_inclusion(InclusionProof(leaf_index=0, tree_size=2, audit_path=[text]), leaves[0], root(leaves))
    with pytest.raises(EvidenceRefused):
        verify_consistency(ConsistencyProof(first=1, second=2, consistency=[text]), leaves[0], root(leaves))


def test_a_path_of_another_spelling_of_base64_shows_nothing() -> None:
    leaves = some_leaves(2)
    proof = prove_inclusion(leaves, 0)
    spelling = proof.audit_path[0]
    last = spelling[-2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = spelling[:-2] + alphabet[alphabet.index(last) | 1] + "="
    assert other != spelling and base64.b64decode(other) == base64.b64decode(spelling)
    with pytest.raises(EvidenceRefused):
        verify_inclusion(InclusionProof(leaf_index=0, tree_size=2, audit_path=[other]), leaves[0], root(leaves))


def test_sizes_that_no_tree_has_are_refused() -> None:
    for index, size in ((2, 2), (-1, 2), (0, 3)):
        with pytest.raises(ValueError):
            prove_inclusion(some_leaves(2), index, size)
    for first, second in ((0, 2), (2, 1), (1, 3)):
        with pytest.raises(ValueError):
            prove_consistency(some_leaves(2), first, second)
    for wrong in ({"leaf_index": True}, {"tree_size": 1 << 70}, {"leaf_index": -1}, {"audit_path": ["AA"] * 65}):
        with pytest.raises(ValidationError):
            InclusionProof(**({"leaf_index": 0, "tree_size": 1, "audit_path": []} | wrong))
    with pytest.raises(EvidenceRefused):
        verify_inclusion(InclusionProof(leaf_index=5, tree_size=2, audit_path=[]), LEAVES[0], LEAVES[0])
    with pytest.raises(EvidenceRefused):
        verify_consistency(ConsistencyProof(first=5, second=2, consistency=[]), LEAVES[0], LEAVES[0])


def test_a_frontier_that_does_not_fit_its_size_is_none() -> None:
    with pytest.raises(ValueError):
        Frontier.of_bytes(3, b"\x00" * 32)
