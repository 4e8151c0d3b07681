"""The Merkle tree of the ledger (RFC 6962, section 2.1): SHA-256, leaves prefixed by 0x00, inner nodes by 0x01.

Proofs are made and checked by pymerkle, and written in RFC 6962's own JSON form (sections 4.4 and 4.5), which other
programs check as well. `Frontier` computes the root while entries are appended, without the tree.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pydantic import Field
from pymerkle import BaseMerkleTree, InvalidProof
from pymerkle.core import _consistency_path_layout, _inclusion_path_layout
from pymerkle.proof import ConsistencyProof as LibraryConsistency
from pymerkle.proof import InclusionProof as LibraryInclusion

from domainlm.errors import EvidenceRefused
from domainlm.reports import Report

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry), 32 bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """The roots of the complete subtrees that a log of `size` entries consists of, the largest first.

    All that is needed to append and to know the root: at most 64 hashes.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def extended(self, leaves: Iterable[bytes]) -> Frontier:
        """The frontier after more leaf hashes."""
        size, stack = self.size, list(self.hashes)
        for leaf in leaves:
            stack.append(leaf)
            size += 1
            full = size
            while full % 2 == 0:
                right = stack.pop()
                stack[-1] = node_hash(stack[-1], right)
                full //= 2
        return Frontier(size, tuple(stack))

    @property
    def root(self) -> bytes:
        """The tree's root, 32 bytes; SHA-256 of nothing for an empty log."""
        if not self.hashes:
            return EMPTY_ROOT
        *rest, root = self.hashes
        for left in reversed(rest):
            root = node_hash(left, root)
        return root

    def to_bytes(self) -> bytes:
        """The hashes, one after the other."""
        return b"".join(self.hashes)

    @classmethod
    def of_bytes(cls, size: int, raw: bytes) -> Frontier:
        """Undo `to_bytes`.

        Raises:
            ValueError: so many hashes do not fit the size.
        """
        if len(raw) != 32 * size.bit_count():
            raise ValueError("the frontier does not fit its size")
        return cls(size, tuple(raw[start : start + 32] for start in range(0, len(raw), 32)))


class Tree(BaseMerkleTree):
    """pymerkle's tree over a list of leaf hashes that lies in memory (32 bytes an entry)."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        super().__init__("sha256")
        self._leaves = list(leaves)

    def _encode_entry(self, data: Any) -> bytes:
        return bytes(data)

    def _store_leaf(self, data: Any, digest: bytes) -> int:
        self._leaves.append(digest)
        return len(self._leaves)

    def _get_leaf(self, index: int) -> bytes:
        return self._leaves[index - 1]

    def _get_leaves(self, offset: int, width: int) -> list[bytes]:
        return self._leaves[offset : offset + width]

    def _get_size(self) -> int:
        return len(self._leaves)


class InclusionProof(Report):
    """That an entry is in a tree: RFC 6962, section 4.5 (names) and section 2.1.1 (order of the path, leaf first).

    Fields:
        leaf_index: number of the entry, from 0.
        tree_size: of the tree it is in.
        audit_path: hashes, base64.
    """

    leaf_index: int = Field(ge=0, strict=True)
    tree_size: int = Field(ge=1, lt=1 << 62, strict=True)
    audit_path: list[str] = Field(max_length=64)


class ConsistencyProof(Report):
    """That a tree continues a smaller one: RFC 6962, section 4.4 (names) and section 2.1.2 (order).

    Fields:
        first, second: sizes of the two trees.
        consistency: hashes, base64; none where the sizes are the same.
    """

    first: int = Field(ge=1, strict=True)
    second: int = Field(ge=1, lt=1 << 62, strict=True)
    consistency: list[str] = Field(max_length=65)


def prove_inclusion(leaves: Sequence[bytes], index: int, size: int | None = None) -> InclusionProof:
    """A proof that the entry `index` (from 0) is in the tree over the first `size` leaf hashes (all by default).

    Raises:
        ValueError: there is no such entry or tree.
    """
    size = len(leaves) if size is None else size
    if not 0 <= index < size <= len(leaves):
        raise ValueError("no such entry in such a tree")
    _, *path = Tree(leaves).prove_inclusion(index + 1, size).path
    return InclusionProof(leaf_index=index, tree_size=size, audit_path=_written(path))


def verify_inclusion(proof: InclusionProof, leaf: bytes, root: bytes) -> None:
    """Check that an entry (by its leaf hash) is in the tree with this root.

    Raises:
        EvidenceRefused: `inserted`: the proof does not show it.
    """
    where = f"entry {proof.leaf_index} of {proof.tree_size}"
    try:
        rule, _ = _inclusion_path_layout(proof.leaf_index + 1, proof.tree_size)
        path = [leaf, *_read(proof.audit_path)]
        LibraryInclusion("sha256", True, proof.tree_size, proof.leaf_index + 1, rule, path).verify(leaf, root)
    except (InvalidProof, ValueError, IndexError):
        raise EvidenceRefused(
            "the proof does not show that the tree holds it", where, "ask for a proof of this checkpoint", "inserted"
        ) from None


def prove_consistency(leaves: Sequence[bytes] | Tree, first: int, second: int | None = None) -> ConsistencyProof:
    """A proof that the tree over the first `second` leaf hashes (all by default) continues that over `first`.

    Args:
        leaves: leaf hashes; a `Tree` of them where many proofs are wanted, since it remembers its inner hashes.

    Raises:
        ValueError: there are no such trees.
    """
    tree = leaves if isinstance(leaves, Tree) else Tree(leaves)
    second = tree.get_size() if second is None else second
    if not 0 < first <= second <= tree.get_size():
        raise ValueError("no such trees")
    if first == second:
        return ConsistencyProof(first=first, second=second, consistency=[])
    proof = tree.prove_consistency(first, second)
    path = list(proof.path)
    if proof.subset[0] == 0:
        # where the smaller tree ends with a complete subtree, the library goes down to the leaf right of it; the RFC
        # names the subtree itself, then the root of all that lies right of it, and leaves out what the verifier has
        right = proof.subset.index(1)
        subtree = [] if first & (first - 1) == 0 else [path[right]]
        path = [*subtree, reduce(node_hash, path[:right]), *path[right + 1 :]]
    return ConsistencyProof(first=first, second=second, consistency=_written(path))


def verify_consistency(proof: ConsistencyProof, first_root: bytes, second_root: bytes) -> None:
    """Check that a tree with one root continues a smaller tree with the other.

    Raises:
        EvidenceRefused: `forked`: the proof does not show it.
    """
    try:
        path = _read(proof.consistency)
        if proof.first == proof.second:
            good = not path and first_root == second_root
        else:
            good = _consistent(proof.first, proof.second, path, first_root, second_root)
    except (InvalidProof, ValueError, IndexError):
        good = False
    if not good:
        raise EvidenceRefused(
            "the proof does not show that it continues the smaller tree", f"tree of {proof.second}",
            f"compare it with the checkpoint of size {proof.first}", "forked",
        )  # fmt: skip


def _consistent(first: int, second: int, path: list[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Hand the RFC's path to the library: over subtrees of the size of the smaller tree's last complete one, instead of
    leaves, the two forms are the same path, but for the order of the first two hashes."""
    if first > second:
        return False
    block = first & -first
    if first == block:
        path = [first_root, *path]
    prior, later = first // block, -(-second // block)
    rule, subset, _ = _consistency_path_layout(prior, later)
    if subset[0] == 0:
        path[0], path[1] = path[1], path[0]
    LibraryConsistency("sha256", True, later, prior, rule, subset, path).verify(first_root, second_root)
    return True


def _written(path: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(node).decode() for node in path]


def _read(path: Iterable[str]) -> list[bytes]:
    nodes = [base64.b64decode(text, validate=True) for text in path]
    if _written(nodes) != list(path):
        raise ValueError("base64 in another spelling")
    return nodes
