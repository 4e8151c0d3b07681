"""The Merkle tree of the ledger (RFC 6962, section 2.1): SHA-256, leaves prefixed by 0x00, inner nodes by 0x01.

Proofs are made and checked by pymerkle; `Frontier` computes the root while entries are appended, without the tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pymerkle import BaseMerkleTree

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
