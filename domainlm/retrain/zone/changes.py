"""What is new, changed, moved or gone is decided by content, and what is complete lands.

For each unit (a file, or a folder's files) that does not look unchanged:

| its content now | the book knows it | then |
|---|---|---|
| new | no | lands |
| as before | yes, here | the touch is noted |
| known | yes, elsewhere too | a duplicate: no batch |
| known | yes, but it lies nowhere else any more | moved or restored: its paths are updated |

A batch whose content has left the zone is withdrawn where no training has learnt from it; else its files are marked.
Of a folder that a training has learnt from only the files with other content land.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from domainlm.digests import digest_json
from domainlm.errors import BookRefused
from domainlm.retrain.batches import ACCEPTED, LANDED, QUARANTINED, WITHDRAWN, Batch, LandedFile, SeenFile
from domainlm.retrain.book import Book
from domainlm.retrain.zone.completeness import EMPTY, MISMATCH, TOO_LARGE, Completeness, Stillness, Waits
from domainlm.retrain.zone.listing import PRESENT, REMOVED, UNREADABLE, Listing, Unit, unit_of
from domainlm.retrain.zone.names import shown
from domainlm.retrain.zone.places import Found, Unreadable, Unstable
from domainlm.retrain.zone.scans import Scan

REDIGEST_S = 30.0  # a scan spends no more on files that look unchanged, so that news do not wait for them
FOLDER_WAITS = "waits for its folder"
LANDS_AS = "lands as "  # and the batch: noted before it lands, so that a batch whose file goes away in a crash is known
_CHUNK, _CHUNK_S = 500, 1.0  # landings that are written together
MOST = 10_000  # units that one scan takes in, so that a first one needs little more memory than a later one
_OPEN = (LANDED, ACCEPTED, QUARANTINED)  # no training has learnt from it


def batch_id(feed: str, digests: Iterable[str]) -> str:
    """The identity of a batch: its feed and the content of its files, not their names."""
    return digest_json({"feed": feed, "files": sorted(digests)})


class Changes:
    """Works through a listing once.

    Args:
        listing: what was found.
        root: URI of the zone, which the files' URIs begin with.
        book: is asked and written.
        completeness: takes the digests.
        stillness: kept from scan to scan.
        clock: Unix time in seconds.
        scan: what is found is put in here.
        redigest_all: read all that is due, however long it takes.
    """

    def __init__(
        self, listing: Listing, root: str, book: Book, completeness: Completeness, stillness: Stillness,
        clock: Callable[[], float], scan: Scan, redigest_all: bool,
    ) -> None:  # fmt: skip
        self._listing, self._root, self._book, self._scan = listing, root, book, scan
        self._completeness, self._stillness, self._clock = completeness, stillness, clock
        self._redigest_all = redigest_all
        self._rows: list[SeenFile] = []
        self._last_rows: list[SeenFile] = []  # of paths that a batch left: only noted when that batch is settled
        self._landing: list[Batch] = []
        self._announced: list[SeenFile] = []
        self._written = time.monotonic()
        self._read_again: dict[str, str] = {}  # path -> digest of what only looked unchanged
        self._lost: dict[str, set[str]] = {}  # batch -> paths that its content left
        self._settling: set[tuple[str, int]] = set()  # (feed, size) of files that are not complete
        self._know()

    def _know(self) -> None:
        """Read of the feeds concerned what was seen before."""
        busy = {unit.feed.name for unit in self._listing.units.values() if unit.pending or unit.missing}
        names = busy | {name for _, name, _ in self._listing.due}
        self._known = {name: {row.path: row for row in self._book.known(name)} for name in names}
        # batch -> where its content lies now: (unit, path) -> digest
        self._where: dict[str, dict[tuple[str, str], str]] = {}
        self._ever: set[str] = set()
        for name, rows in self._known.items():
            for row in rows.values():
                if row.batch:
                    self._ever.add(row.batch)
                    if row.state != REMOVED:
                        place = (unit_of(self._listing.feeds[name], row.path), row.path)
                        self._where.setdefault(row.batch, {})[place] = row.sha256
        self._withdrawn = {batch.id for batch in self._book.batches(state=WITHDRAWN)} if self._ever else set()

    def run(self) -> None:
        """Decide and write."""
        self._digest_due()
        busy = [unit for unit in self._listing.units.values() if unit.pending or unit.missing]
        busy.sort(key=lambda unit: (unit.name, unit.feed.name))
        for unit in busy:  # first all that went away, so that what came for it is seen as moved
            for path in unit.missing:
                self._leaves(unit, self._known[unit.feed.name][path])
        taken_in = 0
        for unit in busy:
            if taken_in == MOST and unit.pending:
                self._scan.more = True
                self._wait_for(unit)
                continue
            taken_in += self._evaluate(unit)
            if len(self._rows) + len(self._landing) >= _CHUNK or time.monotonic() - self._written > _CHUNK_S:
                self._write()
        for unit in busy:
            self._take_leave(unit)
        self._write()
        for id, paths in self._lost.items():
            self._settle_lost(id, paths)
        self._rows = self._last_rows
        self._write()

    def _take_leave(self, unit: Unit) -> None:
        """Note what is gone. A file of which one of equal size is settling may only have got another name: it waits."""
        for path in sorted(unit.missing):
            row = self._known[unit.feed.name][path]
            if row.batch and (row.feed, row.size_bytes) in self._settling:
                self._lost.pop(row.batch, None)
                continue
            self._last_rows.append(row._replace(state=REMOVED, note=""))
            if row.batch:
                self._scan.removed.append(shown(path))

    def _digest_due(self) -> None:
        """Read again what looks unchanged: longest ago first, within a budget."""
        end = time.monotonic() + REDIGEST_S
        for _, name, found in sorted(self._listing.due, key=lambda one: one[0]):
            if not self._redigest_all and time.monotonic() > end:
                break
            row, feed = self._known[name][found.path], self._listing.feeds[name]
            try:
                sha256 = self._completeness.read(found).sha256
            except Unstable:
                continue
            except Unreadable as error:
                self._unusable(self._listing.unit(feed, found.path), found, str(error))
                continue
            if sha256 == row.sha256:
                self._rows.append(row._replace(digested_at=self._clock()))
                continue
            self._read_again[found.path] = sha256
            self._listing.doubt(feed, found)

    def _wait_for(self, unit: Unit) -> None:
        self._settling.update((unit.feed.name, one.size_bytes) for one in unit.files if one.path in unit.pending)

    def _leaves(self, unit: Unit, row: SeenFile) -> None:
        """What a path held so far is there no longer."""
        self._doubt_landing(row)
        if row.batch:
            self._where.get(row.batch, {}).pop((unit.name, row.path), None)
            self._lost.setdefault(row.batch, set()).add(row.path)

    def _doubt_landing(self, row: SeenFile) -> None:
        """A scan died when a file was about to land, or just had."""
        if row.note.startswith(LANDS_AS):
            self._lost.setdefault(row.note.removeprefix(LANDS_AS), set()).add(row.path)

    def _announce(self, batch: Batch, unit: Unit) -> None:
        """Put a batch down to land, and its files to be noted before that."""
        self._landing.append(batch)
        files = {one.path: one for one in unit.files}
        for file in batch.files:
            row = self._known[batch.feed].get(file.path)
            if row is None or not row.batch:
                stamped = (*files[file.path].stamp, file.sha256, self._clock())
                row = SeenFile(batch.feed, file.path, *stamped, "")
            self._announced.append(row._replace(state=UNREADABLE, note=f"{LANDS_AS}{batch.id}"))

    def _evaluate(self, unit: Unit) -> bool:
        """Take a unit in as it is now; whether it was complete and usable."""
        known = self._known[unit.feed.name]
        try:
            contents = self._contents(unit)
        except Waits:
            self._scan.tell("settling", shown(unit.name))
            self._wait_for(unit)
            if unit.missing:  # the rest of a folder is looked at again although each of its files looks unchanged
                rest = [known[one.path] for one in unit.files if one.path not in unit.pending]
                self._rows += [row._replace(state=UNREADABLE, note=FOLDER_WAITS) for row in rest if row.batch]
            return False
        if not contents:
            return False
        batches = self._batches(unit, contents)
        files = {one.path: one for one in unit.files}
        for path, sha256 in contents.items():
            row, id = known.get(path), batches[path]
            if row is not None and row.batch != id:
                if row.state == PRESENT and row.sha256 != sha256:
                    self._scan.changed.append(shown(path))
                self._leaves(unit, row)
            self._where.setdefault(id, {})[unit.name, path] = sha256
            if row is None or row.batch != id or path in unit.pending:
                rows = self._last_rows if id in self._lost or (row is not None and row.batch != id) else self._rows
                rows.append(SeenFile(unit.feed.name, path, *files[path].stamp, sha256, self._clock(), id))
        return True

    def _contents(self, unit: Unit) -> dict[str, str]:
        """Path -> SHA-256 of the files of a complete unit; nothing where it holds none, or one that cannot be used.

        Raises:
            Waits: it is not complete.
        """
        known = self._known[unit.feed.name]
        pending = [one for one in unit.files if one.path in unit.pending]
        contents = {one.path: known[one.path].sha256 for one in unit.files if one.path not in unit.pending}
        folder = unit.feed.batch == "folder"
        waited = any(one.path in known and known[one.path].note == FOLDER_WAITS for one in unit.files)
        if folder and unit.files and (unit.missing or waited):
            # files that go away one by one: what is left is no batch until it stays so
            if not self._stillness.settled(Found(f"{unit.name}/", len(unit.files), 0, "")):
                raise Waits
        whole = False
        if pending:
            whole = self._completeness.covered(unit.files, unit_folder(unit), needed=folder)
            if folder and not whole:
                unread = [one for one in pending if one.path not in self._read_again]
                if not self._completeness.ready(unread):
                    raise Waits
        usable = True
        for one in pending:
            try:
                contents[one.path] = self._read_again.get(one.path) or self._completeness.digest(unit.feed, one, whole)
            except Unreadable as error:
                self._unusable(unit, one, str(error))
                usable = usable and str(error) == EMPTY
        return {path: sha256 for path, sha256 in contents.items() if sha256} if usable else {}

    def _unusable(self, unit: Unit, one: Found, reason: str) -> None:
        row = self._known[unit.feed.name].get(one.path)
        self._scan.counts["unreadable"] += 1
        told = row is not None and (row.state, row.note) == (UNREADABLE, reason)
        if told and one.stamp == (row.size_bytes, row.mtime_ns, row.etag):
            return
        if not told:
            self._scan.unreadable.append((shown(one.path), reason))
        sha256, batch = "", ""
        if row is not None and reason in (EMPTY, MISMATCH, TOO_LARGE):  # it holds something else now
            self._leaves(unit, row)
        elif row is not None:
            self._doubt_landing(row)
            sha256, batch = row.sha256, row.batch
        stamped = (*one.stamp, sha256, self._clock(), batch)
        self._last_rows.append(SeenFile(unit.feed.name, one.path, *stamped, UNREADABLE, reason))

    def _batches(self, unit: Unit, contents: dict[str, str]) -> dict[str, str]:
        """Path -> batch of its content; what the book shall have anew is put down to land."""
        feed = unit.feed
        id = batch_id(feed.name, contents.values())
        if id in self._ever:
            there = self._where.get(id, {})
            if id in self._withdrawn:
                self._announce(self._batch(unit, id, contents), unit)
            elif not there:
                self._lost.setdefault(id, set())  # it lies here now
            elif not any((unit.name, path) in there for path in contents):
                self._scan.duplicates.append(shown(unit.name))
            return dict.fromkeys(contents, id)
        learnt = self._learnt(unit, contents) if feed.batch == "folder" else {}
        rest = {path: sha256 for path, sha256 in contents.items() if path not in learnt}
        if rest:
            id = batch_id(feed.name, rest.values())
            self._ever.add(id)
            self._announce(self._batch(unit, id, rest), unit)
        return dict.fromkeys(rest, id) | learnt

    def _learnt(self, unit: Unit, contents: dict[str, str]) -> dict[str, str]:
        """Files of a folder whose content a training has learnt from: path -> that batch."""
        known = self._known[unit.feed.name]
        before = {known[path].batch for path in (*contents, *unit.missing) if path in known and known[path].batch}
        batch_of: dict[str, str] = {}
        for id in sorted(before):
            batch = self._book.batch(id)
            if batch.state not in (*_OPEN, WITHDRAWN):
                batch_of |= {file.sha256: id for file in batch.files}
        return {path: batch_of[sha256] for path, sha256 in contents.items() if sha256 in batch_of}

    def _batch(self, unit: Unit, id: str, contents: dict[str, str]) -> Batch:
        sizes = {one.path: one.size_bytes for one in unit.files}
        return Batch(
            id=id, number=0, feed=unit.feed.name, name=unit.name or ".", trusted=unit.feed.trusted,
            landed=datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            files=tuple(self._file(path, contents[path], sizes[path]) for path in sorted(contents)),
        )  # fmt: skip

    def _file(self, path: str, sha256: str, size_bytes: int) -> LandedFile:
        return LandedFile(path=path, uri=f"{self._root}/{path}", sha256=sha256, size_bytes=size_bytes)

    def _write(self) -> None:
        """Land what is complete, then note its files.

        A file is noted as present last of all: whatever a crash leaves undone is found again by the next scan, and
        what was done already changes nothing a second time.
        """
        if self._landing:
            self._book.observe(self._announced)
            self._announced = []
            self._scan.landed += [batch for batch in self._book.land_all(self._landing) if batch.state in _OPEN]
            self._landing = []
        if self._rows:
            self._book.observe(self._rows)
            self._rows = []
        self._written = time.monotonic()

    def _settle_lost(self, id: str, left: set[str]) -> None:
        """A batch whose content left a path: it lies elsewhere now, or is withdrawn, or its files are marked."""
        try:
            batch = self._book.batch(id)
        except BookRefused:  # the scan that announced it died before it landed
            return
        sizes = {file.sha256: file.size_bytes for file in batch.files}
        if here := self._whole(batch):
            files = [self._file(path, sha256, sizes[sha256]) for path, sha256 in sorted(here.items())]
            gone = {file.path for file in batch.files} - here.keys()
            if gone:
                self._book.mark_removed(id, gone)
                new = sorted(here.keys() - {file.path for file in batch.files})
                self._scan.renamed += [f"{shown(a)} -> {shown(b)}" for a, b in zip(sorted(gone), new, strict=False)]
                self._scan.removed = [name for name in self._scan.removed if name not in set(map(shown, gone))]
            if gone or any(file.removed for file in batch.files):
                self._book.land_all([batch.model_copy(update={"files": tuple(files)})])
            return
        if batch.state in _OPEN:
            reason = (
                f"its content left the zone before a training learnt from it: {shown(min(left, default=batch.name))}"
            )
            try:
                self._book.withdraw(id, reason)
                self._scan.withdrawn.append((id, reason))
            except BookRefused:  # a training was faster
                pass
        present = {path for _, path in self._where.get(id, {})}
        if gone := {file.path for file in batch.files if not file.removed and file.path not in present}:
            self._book.mark_removed(id, gone)

    def _whole(self, batch: Batch) -> dict[str, str]:
        """Path -> digest of its files in a unit that holds all its content; where it was before, if that is one."""
        units: dict[str, dict[str, str]] = {}
        for (unit, path), sha256 in self._where.get(batch.id, {}).items():
            units.setdefault(unit, {})[path] = sha256
        needed = Counter(file.sha256 for file in batch.files)
        before = {unit_of(self._listing.feeds[batch.feed], file.path) for file in batch.files}
        whole = [name for name, digests in units.items() if Counter(digests.values()) >= needed]
        return units[min(whole, key=lambda name: (name not in before, name))] if whole else {}


def unit_folder(unit: Unit) -> str:
    """The folder that a unit's marker lies in."""
    return unit.files[0].path.rpartition("/")[0]
