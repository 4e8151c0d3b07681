"""The book against a model of it: any order of calls, any passing of time."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domainlm.errors import BookRefused, LeaseLost
from domainlm.retrain.batches import Claim, Result
from domainlm.retrain.book import open_book
from domainlm.retrain.book.states import FOLLOWS

from .conftest import HandClock, batch_of

BATCHES = [batch_of(number) for number in range(4)]
BATCH = st.sampled_from(BATCHES).map(lambda batch: batch.id)
LEASE_S = 10


class BookMachine(RuleBasedStateMachine):
    """What the book says, and what it should say."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.book = open_book(f"sqlite:///{self.folder / 'book.sqlite'}")
        connection = self.book.engine.raw_connection()  # what the disk syncs shows nothing here
        connection.cursor().execute("PRAGMA synchronous=OFF")
        connection.close()
        self.book.clock = self.clock = HandClock()
        self.state: dict[str, str] = {}
        self.before: dict[str, str] = {}  # of a withdrawn batch
        self.person: set[str] = set()  # withdrawn by one
        self.claims: dict[int, Claim] = {}
        self.exclusive: dict[int, bool] = {}
        self.renewed: dict[int, float] = {}  # of claims that have not ended
        self.results: dict[str, int] = {}
        self.settled: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.book.close()
            shutil.rmtree(self.folder)

    def alive(self) -> set[int]:
        return {token for token, at in self.renewed.items() if self.clock.time - at < LEASE_S}

    def held(self) -> dict[str, int]:
        """Batch -> the living claim on it."""
        return {batch: token for token in sorted(self.alive()) for batch in self.claims[token].batches}

    def change(self, batch: str, after: str, act) -> bool:
        """Do it, and expect a refusal exactly where the table says so."""
        if after in FOLLOWS.get(self.state.get(batch), frozenset()):
            act()
            self.state[batch] = after
            return True
        with pytest.raises(BookRefused):
            act()
        return False

    @rule(batch=st.sampled_from(BATCHES))
    def land(self, batch) -> None:
        self.book.land(batch)
        if self.state.setdefault(batch.id, "landed") == "withdrawn" and batch.id not in self.person:
            self.state[batch.id] = self.before[batch.id]

    @rule(batch=BATCH)
    def accept(self, batch: str) -> None:
        if self.state.get(batch) in ("accepted", "trained", "promoted"):
            self.book.accept(batch, 5)
        elif self.state.get(batch) in (None, "quarantined", "withdrawn"):  # only a person lets those go on
            with pytest.raises(BookRefused):
                self.book.accept(batch, 5)
        else:
            self.change(batch, "accepted", lambda: self.book.accept(batch, 5))

    @rule(batch=BATCH)
    def quarantine(self, batch: str) -> None:
        if self.state.get(batch) == "quarantined":
            self.book.quarantine(batch, "late")
        elif self.state.get(batch) == "withdrawn" or (self.state.get(batch) == "accepted" and batch in self.held()):
            with pytest.raises(BookRefused):
                self.book.quarantine(batch, "late")
        else:
            self.change(batch, "quarantined", lambda: self.book.quarantine(batch, "late"))

    @rule(batch=BATCH, by=st.sampled_from(["", "anna"]))
    def withdraw(self, batch: str, by: str) -> None:
        now = self.state.get(batch)
        if now == "withdrawn":
            self.book.withdraw(batch, "gone", by)
        elif by and now in ("trained", "promoted"):
            assert all(file.removed for file in self.book.withdraw(batch, "case 7", by).files)
        elif self.change(batch, "withdrawn", lambda: self.book.withdraw(batch, "gone", by)):
            self.before[batch] = now
            self.person.discard(batch)
        if by and self.state.get(batch) == "withdrawn":
            self.person.add(batch)
            for token in [one for one in self.renewed if batch in self.claims[one].batches]:
                del self.renewed[token]

    @rule(batch=BATCH, again=st.booleans())
    def release(self, batch: str, again: bool) -> None:
        if self.state.get(batch) not in ("quarantined", "withdrawn"):
            with pytest.raises(BookRefused):
                self.book.release(batch, "olga", again)
        else:
            self.state[batch] = self.book.release(batch, "olga", again).state
            assert self.state[batch] in ("landed", "accepted")

    @rule(exclusive=st.booleans(), limit=st.sampled_from([None, 1, 2]), empty=st.booleans())
    def claim(self, exclusive: bool, limit: int | None, empty: bool) -> None:
        held, alive = self.held(), self.alive()
        order = [batch.id for batch in self.book.batches()]
        free = [one for one in order if self.state[one] == "accepted" and one not in held][:limit]
        busy = bool(alive) if exclusive else any(self.exclusive[token] for token in alive)
        claim = self.book.claim("lane", "tina", LEASE_S, limit=limit, exclusive=exclusive, allow_empty=empty)
        if busy or not (free or empty):
            assert claim is None
            return
        assert claim.batches == tuple(free) and claim.token > max(self.claims, default=0)
        for token in set(self.renewed) - alive:
            if exclusive or self.exclusive[token] or set(free) & set(self.claims[token].batches):
                del self.renewed[token]
        self.claims[claim.token], self.renewed[claim.token] = claim, self.clock.time
        self.exclusive[claim.token] = exclusive

    @rule(data=st.data())
    def renew(self, data) -> None:
        if claim := self.any_claim(data):
            if claim.token in self.renewed:
                self.book.renew(claim)
                self.renewed[claim.token] = self.clock.time
            else:
                with pytest.raises(LeaseLost):
                    self.book.renew(claim)

    @rule(data=st.data())
    def give_up(self, data) -> None:
        if claim := self.any_claim(data):
            self.book.give_up(claim, "stopped")
            self.renewed.pop(claim.token, None)

    @rule(data=st.data())
    def accept_result(self, data) -> None:
        claim = self.any_claim(data)
        if claim is None:
            return
        outcome = Result(run_id=f"run-{claim.token}", identity=f"{claim.token:064x}")
        fine = {"accepted", "withdrawn"}
        taken_back = [one for one in claim.batches if self.state[one] not in fine or one in self.taken_back()]
        if claim.token in self.settled:
            self.book.accept_result(claim, outcome)
        elif claim.token not in self.renewed:
            with pytest.raises(LeaseLost):
                self.book.accept_result(claim, outcome)
        elif taken_back:
            with pytest.raises(BookRefused):
                self.book.accept_result(claim, outcome)
        else:
            self.book.accept_result(claim, outcome)
            for batch in claim.batches:
                assert batch not in self.results
                self.results[batch], self.state[batch] = claim.token, "trained"
            self.settled.add(claim.token)
            del self.renewed[claim.token]

    def taken_back(self) -> set[str]:
        return {one for one in self.person if self.state[one] == "withdrawn"}

    @rule(data=st.data())
    def promote(self, data) -> None:
        if claim := self.any_claim(data):
            due = {one for one, token in self.results.items() if token == claim.token and self.state[one] == "trained"}
            assert set(self.book.promoted(f"{claim.token:064x}")) == due
            self.state.update(dict.fromkeys(due, "promoted"))

    @rule(seconds=st.sampled_from([1, 6, 11]))
    def wait(self, seconds: int) -> None:
        self.clock.time += seconds

    def any_claim(self, data) -> Claim | None:
        return data.draw(st.sampled_from(list(self.claims.values()))) if self.claims else None

    @invariant()
    def the_book_says_what_the_model_says(self) -> None:
        if not hasattr(self, "state"):
            return
        assert {batch.id: batch.state for batch in self.book.batches()} == self.state
        assert {one: kept.token for kept in self.book.results("lane") for one in kept.batches} == self.results
        for batch, state in self.state.items():
            history = self.book.transitions(batch)
            assert [one.before for one in history] == ["", *(one.after for one in history[:-1])]
            assert history[-1].after == state
        assert {start.token for start in self.book.claims() if start.alive} == self.alive()
        assert self.book.starts()["lost"] == 0


BookMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBook = BookMachine.TestCase
