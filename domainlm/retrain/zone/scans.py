"""What one look at the zone found."""

from __future__ import annotations

from dataclasses import dataclass, field

from domainlm.retrain.batches import Batch

LISTED = 1000  # names of one kind that a scan keeps; all are counted


@dataclass
class Scan:
    """What is new since the scan before it. Names are printable (`names.shown`), and no value of the data is in any.

    Fields:
        landed: batches that the book has now and had not before, or has again, in order of landing.
        changed, removed, duplicates: files; of a removed batch that no training saw, `withdrawn` tells.
        renamed: "old -> new": the same content, so no new batch.
        withdrawn: (batch id, reason).
        settling: what is not complete yet. The same names stand in every scan until they are.
        unreadable: (name, reason) of what became unusable since the scan before; said once for each reason.
        failing: (feed, reason) of queries whose database does not answer or whose result is none; in every scan.
        unknown: files that no feed's pattern fits; in every scan.
        held: why something that is gone is not taken for removed yet.
        counts: of settling, unreadable (also those that were said before) and unknown, where lists are cut.
        more: there was more than one scan takes in; the next one goes on at once.
        files: of feeds, in the listing.
        digested_bytes: read for digests.
    """

    landed: list[Batch] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    withdrawn: list[tuple[str, str]] = field(default_factory=list)
    settling: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    failing: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"settling": 0, "unreadable": 0, "unknown": 0})
    more: bool = False
    files: int = 0
    digested_bytes: int = 0
    seconds: float = 0.0

    def tell(self, kind: str, name: str) -> None:
        """Count a name of `settling` or `unknown`, and keep it where there is room."""
        self.counts[kind] += 1
        names = getattr(self, kind)
        if len(names) < LISTED:
            names.append(name)

    def add(self, later: Scan) -> None:
        """Take in a later scan: news are joined, what stands in every scan is the later one's."""
        for name in ("landed", "changed", "removed", "renamed", "duplicates", "withdrawn", "unreadable"):
            getattr(self, name).extend(getattr(later, name))
        for name in ("settling", "failing", "unknown", "held", "counts", "more", "files"):
            setattr(self, name, getattr(later, name))
        self.digested_bytes += later.digested_bytes
        self.seconds += later.seconds

    def lines(self) -> list[str]:
        """For people: one line for each thing that is new, or that somebody should see to."""
        return [
            *(f"landed {one.id[:12]} {one.name} ({len(one.files)} files)" for one in self.landed),
            *(f"changed {name}" for name in self.changed),
            *(f"removed {name}" for name in self.removed),
            *(f"renamed {name}" for name in self.renamed),
            *(f"same content again: {name}" for name in self.duplicates),
            *(f"withdrawn {id[:12]}: {reason}" for id, reason in self.withdrawn),
            *(f"not used: {name}: {reason}" for name, reason in self.unreadable),
            *(f"feed {name}: {reason}" for name, reason in self.failing),
            *self.held,
        ]
