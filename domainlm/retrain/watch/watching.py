"""The watcher: notices what lands, hands the heavy work to children, and outlives whatever goes wrong around it.

One thread looks and decides; others only ring its bell: the kernel's word of a change, a child that ended, a signal.
Every pause is by the monotonic clock, so that no change of the wall clock makes it hang or hurry.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from domainlm.errors import DomainLMError
from domainlm.retrain.batches import LANDED
from domainlm.retrain.deciding.decision import URGENT
from domainlm.retrain.rounds import Round, answer_of, said_of
from domainlm.retrain.watch.bell import Bell, Interrupted, Signals
from domainlm.retrain.watch.health import Pulse, notify_systemd
from domainlm.retrain.watch.launching import BUSY, Child, Children, LaunchFailed, OnStop
from domainlm.retrain.watch.noticing import Changes
from domainlm.retrain.watch.outages import TOLD_AFTER_S, Outages
from domainlm.retrain.watch.patience import KEPT, Patience

if TYPE_CHECKING:
    from domainlm.retrain.batches import Decision
    from domainlm.retrain.book import AcceptedResult
    from domainlm.retrain.notices import Notice
    from domainlm.retrain.zone import Scan

DECIDE_S = 60.0  # a decision is taken anew so often without anything new: ages grow, cool-downs end
SAFETY_S = 30.0  # where the kernel tells of changes, a look of one's own so often all the same
GAP_S = 0.1  # between two looks, however often the bell rings
SETTLE_LEAST_S = 0.02  # before a look at what settles
SHARE = 0.003  # looks, and decisions, without a cause take at most this share of a core each: large ones come seldom
POLL_SHARE = 0.05  # and where nothing tells of changes
BATCHES_OF_CHILD = 100  # looked into by one child
UNUSABLE_S = 3600.0  # people are told at most so often of files that cannot be used, of all since then at once
CHECK_CONFIGURATION_S = 1.0
NEVER_S = float("inf")
FOLLOW_S = 3600.0  # what is still open of earlier runs is looked after so often: a person's approval may have come
ACCEPT, PROBE, RETRAIN, FOLLOW = "accept", "probe", "retrain", "follow"
# Seconds after which a child is ended with all that it started. A training has none: its lease and its steps have.
LIMITS_S = {ACCEPT: 3600.0, PROBE: 6 * 3600.0, FOLLOW: 1800.0}
SHORT_OF = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


class Tell(NamedTuple):
    """What people are told beside the log; the kinds are those of `domainlm.retrain.notices`."""

    kind: str
    cause: str
    next_action: str
    key: str


class Setup(NamedTuple):
    """What a configuration makes of the watcher.

    Args:
        round: the look, with book and zone.
        folder: the zone, where the kernel may tell of its changes; None where somebody must look.
        poll_s: seconds between two looks where nothing tells of changes.
        accept: the command that looks into batches, given their ids.
        probe: the command that asks the champion about what landed since; empty for none.
        retrain: the command that trains; empty where nothing may be started.
        follow: the command that looks after what is open of earlier runs; empty for none.
    """

    round: Round
    folder: Path | None
    poll_s: float
    accept: Callable[[Sequence[str]], list[str]]
    probe: Sequence[str] = ()
    retrain: Sequence[str] = ()
    follow: Sequence[str] = ()


class _Work(NamedTuple):
    """What a child was started for.

    Args:
        key: what its failures are counted under: grounds or a model, so that a new batch is no new beginning.
        batches: ids of those that it was to answer.
        answered: the newest claim of the lane before it; 0 for none.
        grounds: of the decision that it follows from.
    """

    key: str
    batches: frozenset[str]
    answered: int = 0
    grounds: frozenset[str] = frozenset()


class Watcher:
    """Looks until it is told to stop.

    Args:
        load: reads the configuration and makes a setup of it; called again when it is told to, or the file changed.
        changed: says something else when the configuration's file is another one.
        logs: folder of the children's output.
        pulse: shows others that it lives.
        say: a line for the log.
        tell: a notice for people; must not raise.
        on_stop: what SIGTERM does to a training that is at work.
        told_after_s: so long a trouble must last before people are told of it.
    """

    def __init__(
        self,
        load: Callable[[], Setup],
        changed: Callable[[], object],
        logs: Path,
        pulse: Pulse,
        say: Callable[[str], None],
        tell: Callable[[Tell], None],
        on_stop: OnStop = "stop",
        told_after_s: float = TOLD_AFTER_S,
    ) -> None:
        self._load, self._changed, self._pulse = load, changed, pulse
        self._say, self._tell, self._on_stop = say, tell, on_stop
        self._bell = Bell()
        self._signals = Signals(self._bell)
        self._children = Children(logs, self._bell.ring, say)
        self._rung = False
        self._work: dict[str, _Work] = {}  # kind of child -> what it was started for last
        self._went_well: dict[str, _Work] = {}
        self._said: dict[str, frozenset[str]] = {}
        self._away, self._feeds = Outages(told_after_s), Outages(told_after_s)
        self._unusable: list[tuple[str, str]] = []  # files of which people were not told yet
        self._next_unusable = 0.0
        self._refused: object = None  # the stamp of a configuration that people were told of
        self._newest: AcceptedResult | None = None  # when the training began
        self._trouble = self._looks = 0
        self._last_look = self._cost_s = 0.0
        self._held_s = NEVER_S  # until the next batch may be looked into again
        self._answer = ""
        self._decided = time.monotonic()

    def run(self) -> None:
        """Look until SIGTERM or SIGINT.

        Raises:
            DomainLMError: the configuration cannot be used at the start.
        """
        with self._signals:
            setup = self._load()
            self._stamp, self._stamp_at = self._changed(), time.monotonic()
            self._take(setup)
            try:
                with self._pulse:
                    notify_systemd("READY=1", f"STATUS=watching {self._zone}")
                    while not self._signals.stop:
                        self._pass()
                    notify_systemd("STOPPING=1")
            finally:
                self._changes.stop()
                self._children.stop(self._on_stop)

    def _take(self, setup: Setup) -> None:
        self._setup = setup
        self._patience = {name: Patience(setup.round.book, name) for name in (ACCEPT, PROBE, RETRAIN)}
        self._answer, self._how = "", ""
        now = time.monotonic()
        self._next_look = self._next_decision = now
        self._next_follow = now + FOLLOW_S
        self._changes = self._new_changes()

    def _new_changes(self) -> Changes:
        return Changes(self._setup.folder, self._setup.round.terms.detect.ignore, self._ring, self._bell.ring).start()

    def _ring(self) -> None:
        self._rung = True
        self._bell.ring()

    def _pass(self) -> None:
        self._pulse.touch(state="trouble" if self._trouble else "watching", zone=self._zone, looks=self._looks)
        self._say_how()
        self._reread()
        now = time.monotonic()
        if self._rung:
            self._rung = False
            self._next_look = min(self._next_look, max(now, self._last_look + max(GAP_S, self._cost_s)))
        self._children.end_overdue(LIMITS_S)
        for name, child in self._children.ended():
            self._next_decision = now
            self._after(name, child)
        if now >= min(self._next_look, self._next_decision, self._next_follow):
            self._try(now)
        due = min(self._next_look, self._next_decision, self._next_follow, self._stamp_at + CHECK_CONFIGURATION_S)
        if not self._signals.stop:
            self._bell.wait(due - time.monotonic())

    # ------------------------------------------------------------------------------------------ a round, in parts

    def _try(self, now: float) -> None:
        """A look and what follows from it. What keeps us from it is waited out, longer each time."""
        from domainlm.retrain.book import BookUnavailable
        from domainlm.retrain.zone import ZoneUnreachable

        try:
            if now >= self._next_look:
                self._look()
            self._look_into()
            self._decide()
            self._follow()
        except Interrupted:
            return
        except ZoneUnreachable as error:
            self._wait_out("zone-unreachable", "the zone cannot be reached", error)
        except BookUnavailable as error:
            self._wait_out("book-unavailable", "the book cannot be reached", error)
        except LaunchFailed as error:
            self._wait_out("child-failing", "no child can be started", error)
        except DomainLMError as error:  # such as a ledger that does not pass its gate: nothing is decided then
            self._wait_out("child-failing", "nothing can be decided", error)
        except OSError as error:
            if error.errno not in SHORT_OF:
                raise
            self._wait_out("machine", "the machine is short of something", error)
        else:
            if self._trouble:
                self._say(f"it goes on after {self._trouble} vain tries")
                self._trouble = 0
                self._away.over()
                self._changes.stop()  # the folder may be another one of the same name
                self._changes = self._new_changes()

    def _look(self) -> None:
        spent = time.process_time()
        self._signals.may_interrupt = True
        try:
            scan = self._setup.round.zone.scan()
        finally:
            self._signals.may_interrupt = False
        self._last_look = time.monotonic()
        self._looks += 1
        self._cost_s = time.process_time() - spent
        self._say_scan(scan)
        self._tell_scan(scan)
        if scan.landed or scan.changed or scan.removed:
            self._next_decision = self._last_look
        if self._changes.told:
            pause = max(SAFETY_S, self._cost_s / SHARE)
        else:
            pause = max(self._setup.poll_s, self._cost_s / POLL_SHARE)
        if (settles := self._setup.round.zone.next_settle_s) is not None:
            pause = min(pause, max(settles, SETTLE_LEAST_S, self._cost_s))
        self._next_look = self._last_look + pause

    def _look_into(self) -> None:
        """A child for the batches that nobody looked into; one that ended a child is left alone for a while."""
        if ACCEPT in self._children:
            return
        first = self._setup.round.landed(limit=KEPT + BATCHES_OF_CHILD)  # no more of them can be held
        held = {batch.id: self._patience[ACCEPT].held_s(batch.id) for batch in first}
        self._held_s = min((left for left in held.values() if left), default=NEVER_S)
        if due := [id for id, left in held.items() if not left][:BATCHES_OF_CHILD]:
            self._children.start(ACCEPT, self._setup.accept(due), due)

    def _decide(self) -> None:
        now = time.monotonic()
        if now < self._next_decision:
            return
        if PROBE in self._children or RETRAIN in self._children:
            self._next_decision = now + DECIDE_S  # it rings when it has ended
            return
        if ACCEPT in self._children and now < self._decided + DECIDE_S:
            self._next_decision = self._decided + DECIDE_S  # what it finds comes first, but a feed that never rests
            return  # holds up no decision
        self._decided = now
        self._once("left out", self._setup.round.left_out())
        spent = time.process_time()
        decision = self._setup.round.decide()
        pause = max(DECIDE_S, (time.process_time() - spent) / SHARE)
        self._next_decision = now + min(pause, self._held_s)
        self._say_decision(decision)
        if not decision.retrain:
            if not decision.barred:  # whatever the last training was for is answered
                self._look_back(RETRAIN, None)
            self._ask_champion(decision)
            return
        if not self._setup.retrain:
            self._once("dry", ["a training would start now; this is a dry run"])
            return
        work = _Work(
            answer_of(decision), frozenset(batch.id for batch in self._setup.round.waiting()),
            self._setup.round.newest_claim(), frozenset(one.code for one in decision.reasons if one.holds),
        )  # fmt: skip
        self._look_back(RETRAIN, work)
        if left := self._patience[RETRAIN].held_s(work.key):
            self._next_decision = now + min(pause, self._held_s, left)
        else:
            child = self._start(RETRAIN, self._setup.retrain, work)
            self._say(f"a training begins: process {child.pid}, log {child.log}")
            self._newest = self._newest_result()

    def _ask_champion(self, decision: Decision) -> None:
        """A child for what landed since: a decay of its score may turn this "no" into a "yes"."""
        if not self._setup.probe or not (fresh := self._setup.round.to_probe(decision)):
            return
        work = _Work("champion", frozenset(batch.id for batch in fresh))
        self._look_back(PROBE, work)
        if not self._patience[PROBE].held_s(work.key):
            child = self._start(PROBE, self._setup.probe, work)
            self._say(f"the champion is asked about {len(fresh)} batches: process {child.pid}, log {child.log}")

    def _start(self, name: str, command: Sequence[str], work: _Work) -> Child:
        child = self._children.start(name, command, [work.key])
        self._work[name] = work
        return child

    def _look_back(self, name: str, asked: _Work | None) -> None:
        """Work that is asked for again right after it went well: nothing came of it, and it is left alone as if it had
        failed. So neither a disagreement between this decision and the run's own nor a ground that no training answers
        becomes a hot loop.

        Args:
            asked: for now; None where nothing is.
        """
        if not (before := self._went_well.pop(name, None)):
            return
        if asked is None or not _unanswered(name, before, asked):
            self._patience[name].succeeded(before.key)
        else:
            self._patience[name].failed(asked.key)
            pause = self._patience[name].held_s(asked.key)
            self._say(f"{name} went well, and the same is asked for again; next try in {pause:.0f} s")

    def _follow(self) -> None:
        now = time.monotonic()
        if now < self._next_follow:
            return
        self._next_follow = now + FOLLOW_S
        if not self._setup.follow or FOLLOW in self._children or RETRAIN in self._children:
            return
        if self._setup.round.has_open_result():
            self._children.start(FOLLOW, self._setup.follow)

    # ------------------------------------------------------------------------------------------ after a child

    def _after(self, name: str, child: Child) -> None:
        if name == ACCEPT:
            self._say_seen(child)
        if child.code == BUSY:
            self._say(f"{name} has to wait: another runner is at work, or something is away; log {child.log}")
            self._next_decision += DECIDE_S
        elif child.code:
            self._failed(name, child)
        elif name == RETRAIN:
            brought = self._outcome()
            self._say(f"the training's command ended well after {child.seconds:.0f} s: {brought}; log {child.log}")
            self._went_well[name] = self._work[name]
        elif name == PROBE:
            self._went_well[name] = self._work[name]
        else:
            child.forget_log()  # it says nothing that the book does not
            if name == ACCEPT:
                self._keep(lambda: self._patience[ACCEPT].succeeded(*child.keys))

    def _newest_result(self) -> AcceptedResult | None:
        round = self._setup.round
        results = self._keep(lambda: round.book.results(round.terms.lane))
        return results[-1] if results else None

    def _outcome(self) -> str:
        """What a training brought: a result that counts, or none, where it decided otherwise with the claim in hand."""
        newest, before = self._newest_result(), self._newest
        if newest is None or (before is not None and newest.run_id == before.run_id):
            return "no new result"
        return f"{newest.version or 'a result'} of run {newest.run_id[:12]}"

    def _say_seen(self, child: Child) -> None:
        """What became of the batches that a child looked into."""
        book = self._setup.round.book
        for batch in self._keep(lambda: [book.batch(id) for id in child.keys]) or []:
            if batch.state != LANDED:
                self._say(said_of(batch))

    def _failed(self, name: str, child: Child) -> None:
        if name == FOLLOW:
            self._say(f"what follows earlier runs could not be looked after ({child.told()}); log {child.log}")
            return
        what, keys = "the training" if name == RETRAIN else "asking the champion", child.keys
        if name == ACCEPT:
            left = self._keep(lambda: {batch.id for batch in self._setup.round.landed(only=child.keys)}) or set()
            keys = tuple(one for one in child.keys if one in left) or keys[:1]
            if child.code < 0:  # it goes in order of landing: the first that it left is the one that ended it
                keys = keys[:1]
            what = f"the look into {'batch' if len(keys) == 1 else f'{len(keys)} batches from'} {keys[0][:12]}"
        times = self._keep(lambda: self._patience[name].failed(*keys)) or 1
        pause = self._patience[name].held_s(keys[0])
        self._say(f"{what} {child.told()}, {times} times by now; next try in {pause:.0f} s; log {child.log}")
        # a batch is told of once; grounds and a champion fail again another time
        key = f"{name}/{keys[0]}" if name == ACCEPT else f"{name}/{keys[0]}/{datetime.now(UTC).date().isoformat()}"
        self._tell(Tell("child-failing", f"{what} {child.told()}", f"read {child.log}", key))

    def _keep(self, act: Callable[[], Any]) -> Any:
        """Do what the book has to remember; where it is away, what this process remembers must do."""
        from domainlm.retrain.book import BookUnavailable

        try:
            return act()
        except BookUnavailable:
            return None

    # ------------------------------------------------------------------------------------------ trouble, words

    def _wait_out(self, kind: str, what: str, error: Exception) -> None:
        """Jitter over the upper half of an exponential pause: many watchers do not come back at one moment."""
        self._trouble += 1
        longest = self._setup.round.terms.detect.backoff_max_s
        pause = min(longest, max(self._setup.poll_s, 1.0) * 2 ** min(self._trouble - 1, 20)) * random.uniform(0.5, 1.0)
        self._next_look = self._next_decision = time.monotonic() + pause
        self._next_follow = max(self._next_follow, self._next_look)
        ours = isinstance(error, DomainLMError)
        said = str(error) if ours else os.strerror(getattr(error, "errno", 0) or 0)
        if self._away.met(kind):
            cause, remedy = (error.what, error.remedy) if ours else (said, "")  # type: ignore[attr-defined]
            todo = f"{remedy or 'read the log of the watcher'}; it goes on by itself when this is over"
            self._tell(Tell(kind, f"{what}: {cause}", todo, f"{kind}/{datetime.now(UTC).date().isoformat()}"))
        self._say(f"{what}; try {self._trouble}, the next in {pause:.1f} s: {said}")

    def _tell_scan(self, scan: Scan) -> None:
        """Of feeds that cannot be asked for a while, and of files that cannot be used."""
        from domainlm.retrain.notices import feed_failing, unreadable

        for feed, reason in scan.failing:
            if self._feeds.met(feed):
                self._tell_of(feed_failing(feed, reason))
        self._feeds.over(but={feed for feed, _ in scan.failing})
        self._unusable += self._setup.round.unusable(scan)
        if self._unusable and (now := time.monotonic()) >= self._next_unusable:
            self._tell_of(unreadable(self._unusable))
            self._unusable, self._next_unusable = [], now + UNUSABLE_S

    def _tell_of(self, notice: Notice) -> None:
        self._tell(Tell(notice.kind, notice.cause, notice.next_action, notice.key))

    def _say_scan(self, scan: Scan) -> None:
        self._once("scan", [*scan.lines(), *(f"belongs to no feed: {one}" for one in scan.unknown)])

    def _say_decision(self, decision: Decision) -> None:
        first, *reasons = decision.lines()
        barred = f" (barred: {', '.join(decision.barred)})" if decision.barred else ""
        line = "; ".join([f"{first}{barred}", *(one[2:] for one in reasons if one.startswith("+"))])
        if line != self._answer:
            self._say(line)
        self._answer = line

    def _say_how(self) -> None:
        how = "the kernel tells of changes"
        if not self._changes.told:
            how = f"looks every {self._setup.poll_s:g} s: {self._changes.why}"
        if how != self._how:
            self._how = how
            self._say(f"watching {self._zone}; {how}")
            self._next_look = time.monotonic()

    def _once(self, what: str, lines: Sequence[str]) -> None:
        """Say the lines that were not among the last of their kind."""
        for line in lines:
            if line not in self._said.get(what, ()):
                self._say(line)
        self._said[what] = frozenset(lines)

    @property
    def _zone(self) -> str:
        return self._setup.round.shown_zone

    def _reread(self) -> None:
        """Take a changed configuration; one that cannot be used is refused, and the old one stays in force."""
        now = time.monotonic()
        if not self._signals.reload and now < self._stamp_at + CHECK_CONFIGURATION_S:
            return
        self._stamp_at, before, self._stamp = now, self._stamp, self._changed()
        if not self._signals.reload and self._stamp == before:
            return
        self._signals.reload = False
        same = self._stamp == before
        notify_systemd("RELOADING=1")
        try:
            setup = self._load()
        except DomainLMError as error:
            self._say(f"the changed configuration is refused, the old one stays in force: {error}")
            if self._refused is None or self._refused != self._stamp:
                self._refused = self._stamp
                cause, remedy = "it cannot be used; the old one stays in force", "mend it: the watcher's log says where"
                moment = datetime.now(UTC).isoformat(timespec="seconds")
                self._tell(Tell("configuration-refused", cause, remedy, f"configuration/{moment}"))
        else:
            self._changes.stop()
            self._take(setup)
            self._refused = None
            told = "the configuration was read again and is in force; its file is the same"
            self._say(told if same else "the changed configuration is in force")
        notify_systemd("READY=1", f"STATUS=watching {self._zone}")


def _unanswered(name: str, before: _Work, asked: _Work) -> bool:
    """Whether work that went well is to be done once more. An urgent ground passes the cool-down, so that it must not
    hold again at once, whatever else landed meanwhile."""
    if name == PROBE:
        return bool(before.batches & asked.batches)
    if asked.answered == before.answered:  # the run claimed nothing
        return True
    return before[:2] == asked[:2] or bool(before.grounds & asked.grounds & URGENT)
