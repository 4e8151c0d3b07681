"""Files in the zone as they were last looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domainlm.retrain.batches import SeenFile
from domainlm.retrain.book.connection import Connected
from domainlm.retrain.book.store import SEEN

_MANY = 5000  # rows of one transaction, so that nobody waits long for a writer
_COLUMNS = [SEEN.c[name] for name in SeenFile._fields]


class SeenFiles(Connected):
    """What a scan compares with."""

    def known(self, feed: str) -> Iterator[SeenFile]:
        """Files of a feed, streamed: a scan reads a hundred thousand of them."""
        return map(SeenFile._make, self._streamed(sa.select(*_COLUMNS).where(SEEN.c.feed == feed), _MANY))

    def observe(self, files: Iterable[SeenFile]) -> None:
        """Keep how files look now; a row of the same feed and path takes the older one's place."""
        insert = (postgresql if self.engine.dialect.name == "postgresql" else sqlite).insert(SEEN)
        changing = [name for name in SeenFile._fields if name not in ("feed", "path")]
        statement = insert.on_conflict_do_update(
            index_elements=["feed", "path"], set_={name: insert.excluded[name] for name in changing}
        )
        rest = iter(files)
        while part := [file._asdict() for file in islice(rest, _MANY)]:
            self._beside(lambda connection, part=part: connection.execute(statement, part))
