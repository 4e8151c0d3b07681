"""Checkpoints published outside, so that a ledger that was rolled back or rewritten shows."""

from __future__ import annotations

from dataclasses import dataclass

from domainlm.ledger.settings import AnchorSettings


@dataclass(frozen=True)
class Published:
    """A checkpoint that lies outside of the ledger.

    Args:
        place: where, for messages.
        note: the signed note.
    """

    place: str
    note: str


def publish(note: str, anchors: tuple[AnchorSettings, ...]) -> list[Published]:
    """Publish a checkpoint at every place."""
    raise NotImplementedError


def published(anchors: tuple[AnchorSettings, ...]) -> list[Published]:
    """Every checkpoint that was published at any of the places."""
    raise NotImplementedError
