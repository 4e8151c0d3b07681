"""Decisions, scores, notices that were sent, and small facts."""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa

from domainlm.errors import BookRefused
from domainlm.retrain.batches import Decision
from domainlm.retrain.book.clock import stamp
from domainlm.retrain.book.connection import Connected
from domainlm.retrain.book.rows import RecordedDecision, Score
from domainlm.retrain.book.store import DECISIONS, NOTICES, SCORES, VALUES


class Notes(Connected):
    """What the book keeps beside batches and claims."""

    def record_decision(self, decision: Decision, run_id: str = "") -> None:
        """Keep a decision. One that says what the last one said is counted there: asking often is cheap."""

        def work(connection: sa.Connection) -> None:
            last = connection.execute(sa.select(DECISIONS).order_by(DECISIONS.c.number.desc()).limit(1)).one_or_none()
            if last is None or (last.id, last.run_id) != (decision.id, run_id):
                values = {"id": decision.id, "run_id": run_id, "decision": decision.model_dump(mode="json")}
                connection.execute(sa.insert(DECISIONS).values(**values, times=1, last=decision.decided))
            elif last.last != decision.decided:
                again = {"times": last.times + 1, "last": decision.decided}
                connection.execute(sa.update(DECISIONS).where(DECISIONS.c.number == last.number).values(**again))

        self._write(work)

    def decisions(self, limit: int | None = 20) -> list[RecordedDecision]:
        """The newest first."""
        rows = self._read(
            lambda connection: connection.execute(
                sa.select(DECISIONS).order_by(DECISIONS.c.number.desc()).limit(limit)
            ).all()
        )
        return [
            RecordedDecision(
                decision=Decision.model_validate(row.decision), run_id=row.run_id, times=row.times, last=row.last
            )
            for row in rows
        ]

    def score(
        self,
        identity: str,
        batch: str,
        task: str,
        value: float,
        low: float | None = None,
        high: float | None = None,
        items: int = 0,
    ) -> None:
        """Keep a model's score on a batch's fresh labelled rows; a later one of the same takes its place.

        Args:
            batch: empty for its score at registration.

        Raises:
            BookRefused: it is no number.
        """
        if not all(math.isfinite(one) for one in (value, low or 0.0, high or 0.0)):
            raise BookRefused("is no finite number", f"score of {task}", "a score that cannot be computed is not kept")
        key = {"identity": identity, "batch": batch, "task": task}
        self._put(SCORES, key, {"value": value, "low": low, "high": high, "items": items, "time": stamp(self.now())})

    def scores(self, identity: str) -> list[Score]:
        """Scores of a model, the oldest first."""
        rows = self._read(
            lambda connection: connection.execute(
                sa.select(SCORES).where(SCORES.c.identity == identity).order_by(SCORES.c.time, SCORES.c.task)
            ).mappings().all()
        )  # fmt: skip
        return [Score(**row) for row in rows]

    def noticed(self, key: str) -> bool:
        """True the first time, so that a notice is sent once, whoever else would send it."""

        def work(connection: sa.Connection) -> bool:
            if connection.execute(sa.select(NOTICES).where(NOTICES.c.key == key)).first() is not None:
                return False
            connection.execute(sa.insert(NOTICES).values(key=key, time=stamp(self.now())))
            return True

        return self._write(work)

    def unnotice(self, key: str) -> None:
        """The notice did not get through: the next call of `noticed` says True again."""
        self._write(lambda connection: connection.execute(sa.delete(NOTICES).where(NOTICES.c.key == key)))

    def value(self, name: str, default: str = "") -> str:
        """A small fact."""
        found = self._read(
            lambda connection: connection.execute(sa.select(VALUES.c.value).where(VALUES.c.name == name)).scalar()
        )
        return default if found is None else found

    def values(self, prefix: str) -> dict[str, str]:
        """Small facts whose names begin so."""
        query = sa.select(VALUES.c.name, VALUES.c.value).where(VALUES.c.name.startswith(prefix, autoescape=True))
        return {name: value for name, value in self._read(lambda connection: connection.execute(query).all())}

    def set_value(self, name: str, value: str) -> None:
        """Keep a small fact."""
        self._put(VALUES, {"name": name}, {"value": value})

    def _put(self, table: sa.Table, key: dict[str, str], values: dict[str, Any]) -> None:
        same = sa.and_(*(table.c[name] == value for name, value in key.items()))

        def work(connection: sa.Connection) -> None:
            if connection.execute(sa.update(table).where(same).values(**values)).rowcount == 0:
                connection.execute(sa.insert(table).values(**key, **values))

        self._write(work)
