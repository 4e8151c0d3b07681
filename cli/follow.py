"""`domainlm follow`: a run on a cluster from wherever it stands to its end; and what `domainlm run -s kubernetes` does
once it has submitted.

Exit code 0 means that the run completed, and nothing else: a run that failed, was stopped, was left to itself or was
lost sight of ends with 1.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console

from cli.environment import LOG_FILE, enter_project, from_here, quiet_libraries
from cli.interrupts import Interrupts, OnInterrupt
from cli.launch import Finished, evidence_of, show_card
from cli.steps_table import StepsTable, table
from domainlm.cluster.following import (
    CLUSTER,
    COMPLETED,
    FAILED,
    LOST,
    STOPPED,
    ZENML,
    Course,
    Limits,
    Outcome,
    Row,
)
from domainlm.cluster.logs import LastWords, reason_of, shown
from domainlm.cluster.memory import EXCEPTION, VAGUE
from domainlm.cluster.pods import MAIN, ORCHESTRATOR, Cluster, name_of
from domainlm.cluster.polling import Polling
from domainlm.cluster.reasons import Reason
from domainlm.cluster.settings import StackFile, find_stack
from domainlm.cluster.stopping import NotStopped, stop
from domainlm.cluster.timing import Timing
from domainlm.errors import ConfigurationError, DomainLMError, places_of
from domainlm.project import home

if TYPE_CHECKING:
    from domainlm.ledger.run.collecting import Finished as Collected
    from steps.followed import Followed

LOG_LINES, SHOWN_LINES = 400, 12  # read of a failing pod's log, and printed of what may be shown of it
DRAW_S = 0.2
NODE_S = Limits().node_s
ASKED_TO_STOP = Outcome(STOPPED, {ORCHESTRATOR: Reason("Stopped", "asked for")}, stop=True)
LEFT = "left"  # to itself: beside what an `Outcome` knows


class Manner(NamedTuple):
    """How a run is followed.

    Args:
        wait_for_node_s: how long a pod may wait for a node or a quota before the run is stopped.
        on_interrupt: what an interruption does where nobody can be asked.
    """

    wait_for_node_s: float = NODE_S
    on_interrupt: OnInterrupt = OnInterrupt.LEAVE


WaitForNode = Annotated[
    float,
    typer.Option(
        "--wait-for-node", min=0, help="On a cluster: seconds that a pod may wait for a node; then it is stopped."
    ),
]
StackOfRun = Annotated[
    str | None,
    typer.Option(
        "-s",
        "--stack",
        help="A stack file such as kubernetes, or a ZenML stack; by default the active one.",
        callback=from_here,
    ),
]
WhenInterrupted = Annotated[
    OnInterrupt, typer.Option("--on-interrupt", help="On a cluster, without a terminal: what SIGINT or SIGTERM does.")
]


def follow(
    run: Annotated[str, typer.Argument(help="A run's id or name, or the beginning of one.")],
    stack: Annotated[
        str, typer.Option("-s", "--stack", help="The stack that it works on.", callback=from_here)
    ] = "kubernetes",
    stopped: Annotated[bool, typer.Option("--stop", help="Stop it, and leave nothing of it on the cluster.")] = False,
    wait_for_node: WaitForNode = NODE_S,
    on_interrupt: WhenInterrupted = OnInterrupt.LEAVE,
) -> None:
    """Follow a run on a cluster to its end: its steps, their pods, and the reason where it fails."""
    enter_project()
    found = find_stack(stack)
    if not found.remote:
        raise ConfigurationError("its runs end with the command that started them", str(found.path))
    found.enter()
    quiet_libraries()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    from domainlm.cluster.services import require_server

    require_server(found)
    from steps.followed import find_run

    started = time.monotonic()
    followed = find_run(run, found.settings.name)
    attending = Attending(followed, found, Manner(wait_for_node, on_interrupt), console)
    with Interrupts() as interrupts:
        finished = attending.stopped(interrupts) if stopped else attending.followed(interrupts)
    sys.exit(0 if finished is not None and show_card(finished, console, started) else 1)


class Attending:
    """Follows one run on the terminal, and says how it ended.

    Args:
        run: the run, as ZenML's server has it.
        stack: the stack that it works on; this process has entered it.
        manner: how it is followed.
        console: where everything is shown.
        began: when it was submitted, by the monotonic clock; None where another process did that.
    """

    def __init__(
        self, run: Followed, stack: StackFile, manner: Manner, console: Console, began: float | None = None
    ) -> None:
        self._run, self._stack, self._manner, self._console = run, stack, manner, console
        assert stack.settings.cluster is not None
        self._cluster = Cluster(stack.settings.cluster.namespace, stack.context())
        now = time.monotonic()
        self._course = Course(Limits(node_s=manner.wait_for_node_s), now)
        self._words = LastWords(self._log)
        self._timing = Timing(str(run.id), run.name, now if began is None else began)

    def followed(self, interrupts: Interrupts) -> Finished | None:
        """Follow it to its end; None where it did not complete, which has then been said."""
        again = f"domainlm follow {self._run.id}"
        self._console.print(f"run {self._run.name}; from elsewhere: {again}", soft_wrap=True)
        outcome = self._watched(interrupts)
        if outcome.status == LEFT:
            self._console.print(f"[yellow]the run goes on[/] without this command\n  follow it: {again}\n"
                                f"  stop it:   {again} --stop", soft_wrap=True)  # fmt: skip
            return None
        return self._end(outcome, interrupts)

    def stopped(self, interrupts: Interrupts) -> Finished | None:
        """Stop it, and collect its evidence; None, since it did not complete."""
        with suppress(Exception):  # only to know its pods before they are deleted
            self._look()
            self._course.hear(self._run.state(), time.monotonic())
        return self._end(ASKED_TO_STOP, interrupts)

    def _watched(self, interrupts: Interrupts) -> Outcome:
        """Look until it is over, or somebody wants to leave or to stop it."""
        ask = {CLUSTER: self._ask_cluster, ZENML: self._run.state}
        with StepsTable(self._console) as drawn, Polling(ask, self._pace) as polling:
            while True:
                self._take(polling)
                now = time.monotonic()
                rows = self._course.rows(now)
                self._timing.note(self._course, now)
                drawn.tell(self._course.waiting(), self._course.mishaps())
                drawn.show(rows, self._course.silent(now), self._status(rows, now))
                if found := self._course.outcome(now):
                    return found
                if interrupts.taken():
                    drawn.pause()
                    answer = interrupts.ask(self._console, self._manner.on_interrupt)
                    if answer is OnInterrupt.STOP:
                        return ASKED_TO_STOP
                    if answer is OnInterrupt.LEAVE:
                        return Outcome(LEFT, {})
                    drawn.go_on()

    def _take(self, polling: Polling) -> None:
        for answer in polling.answers(DRAW_S):
            now = time.monotonic()
            if answer.error is not None:
                self._course.miss(answer.server, _why(answer.error))
                if answer.server == CLUSTER and getattr(answer.error, "status", None) == 401:
                    self._cluster.forget()  # a token that has expired since may have been renewed
            elif answer.server == CLUSTER:
                self._course.see(answer.value, now)
            else:
                self._course.hear(answer.value, now)

    def _ask_cluster(self) -> Any:
        """A look, and what the pods that ended since said last: a later look may come when they are gone. It is read in
        the thread that looks, so that a log that is slow to come keeps nobody from drawing or stopping."""
        look = self._cluster.look(str(self._run.id), self._course.wants_a_closer_look(time.monotonic()))
        self._course.memory.words |= self._words.of(look)
        return look

    def _look(self) -> None:
        self._course.see(self._cluster.look(str(self._run.id), closely=True), time.monotonic())

    def _pace(self) -> float:
        """A second while something changes; a run that is quiet for minutes is asked after less often."""
        quiet = time.monotonic() - self._timing.changed
        return 1.0 if quiet < 60 else 2.0 if quiet < 600 else 5.0

    def _status(self, rows: list[Row], now: float) -> str:
        done = sum(row.state in ("completed", "cached") for row in rows)
        return f"{done} of {len(rows)} steps, {now - self._timing.began:.0f} s; Ctrl-C to stop or to leave"

    def _end(self, outcome: Outcome, interrupts: Interrupts) -> Finished | None:
        console = self._console
        if outcome.status != LOST:
            outcome = self._explained(outcome)
        if outcome.stop:
            outcome = self._stop(outcome, interrupts)
        self._timing.write(self._course, outcome, time.monotonic())
        if console.is_terminal:
            console.print(table(self._course.rows(time.monotonic())))
        from domainlm.ledger.run.manifest import DECLINED

        found = None if outcome.status == LOST else self._collect(outcome)
        declined = found is not None and found.manifest.status == DECLINED
        if outcome.status != COMPLETED and not declined:
            self._say(outcome)
        path, evidence = (found.path, self._evidence(found)) if found else (None, "")
        if (outcome.status == COMPLETED or declined) and path:
            return Finished(str(self._run.id), path, evidence)
        if outcome.status == COMPLETED:
            console.print("[yellow]the run completed, but nothing states it yet[/]")
        if path:
            console.print(f"manifest: {path}\nevidence: {evidence}", soft_wrap=True)
        return None

    def _explained(self, outcome: Outcome) -> Outcome:
        """With what the logs say of pods that ended without a word to ZenML, where no look was in time to read them."""
        reasons = dict(outcome.reasons)
        for step, why in reasons.items():
            pods = self._course.memory.by_step().get(step)
            if why.code in (*VAGUE, "OrchestratorFailed") and pods:
                image = next(one["image"] for one in pods[-1]["spec"]["containers"] if one["name"] == MAIN)
                if said := reason_of(self._log(name_of(pods[-1])), image):
                    reasons[step] = said._replace(pod=name_of(pods[-1]))
        return outcome._replace(reasons=reasons)

    def _stop(self, outcome: Outcome, interrupts: Interrupts) -> Outcome:
        console, status = self._console, STOPPED if outcome.status == STOPPED else FAILED
        console.print("stopping what is left of it on the cluster ... (Ctrl-C: leave it to itself)", soft_wrap=True)
        why = "; ".join(f"{step}: {one.code}" if step else one.code for step, one in outcome.reasons.items())
        try:
            stop(
                self._run, self._cluster, status, why, whole=status == STOPPED, seen=self._seen, pause=interrupts.pause
            )  # fmt: skip
        except KeyboardInterrupt:
            console.print("[yellow]left while it is being stopped[/]", soft_wrap=True)
        except NotStopped as error:
            console.print(f"[bold red]it could not be stopped wholly[/]: {error}", soft_wrap=True)
        except Exception as error:
            again = f"domainlm follow {self._run.id} --stop"
            _logged(error)
            console.print(f"[bold red]it could not be stopped[/]: {_why(error)}\n  -> {again}", soft_wrap=True)
        else:
            console.print("nothing of it is at work any more")
        with suppress(Exception):
            self._course.hear(self._run.state(), time.monotonic())
        return outcome._replace(stop=False)

    def _seen(self, look: Any) -> None:
        self._course.see(look, time.monotonic())

    def _say(self, outcome: Outcome) -> None:
        """Why it did not complete, and what may be shown of the failing pods' logs."""
        console = self._console
        if outcome.status == STOPPED:
            console.print("[yellow]the run was stopped[/]; the next run goes on from what is complete")
            return
        if outcome.status == LOST:
            console.print("[bold red]the run cannot be followed any more[/]; whether it goes on is not known")
        for step, why in outcome.reasons.items() or {ORCHESTRATOR: Reason("Unknown", "nobody says why")}.items():
            if outcome.status != LOST:
                console.print(f"[bold red]the run failed{f' in step {step}' if step else ''}[/]")
            console.print(f"  {why}".replace("\n", "\n  "), markup=False, soft_wrap=True)
            if outcome.status != LOST:
                self._show_log(step, why.pod)
        if outcome.status == LOST:
            console.print(f"  follow it again: domainlm follow {self._run.id}", soft_wrap=True)

    def _show_log(self, step: str, pod: str) -> None:
        """The last lines of the pod's log; where it is gone, of the traceback that ZenML keeps."""
        said = self._course.state.steps.get(step)
        found = shown(self._log(pod) if pod else "")
        if found.lines or found.withheld:
            title = f"last lines of {pod}"
            if found.withheld:
                title += f"; {found.withheld} others may quote data and are withheld"
            title += f" (kubectl -n {self._cluster.namespace} logs {pod})"
        elif said and said.trace:
            found, title = shown(said.trace), "last lines of its traceback; its pod and log are gone"
        else:
            return
        self._console.print(f"  {title}", markup=False, soft_wrap=True)
        for line in found.lines[-SHOWN_LINES:]:
            self._console.print(f"    {line}", markup=False, soft_wrap=True)

    def _log(self, pod: str) -> str:
        try:
            return self._cluster.log(pod, LOG_LINES)
        except Exception:  # a log that cannot be read must not hide the reason
            return ""

    def _evidence(self, found: Collected) -> str:
        if self._stack.settings.evidence == "cluster":
            return found.entered.line(anchored=False)
        return evidence_of(str(self._run.id), self._console)

    def _collect(self, outcome: Outcome) -> Collected | None:
        from domainlm.ledger.run.manifest import Failure
        from steps.collected import collect

        failure = None
        if outcome.status == FAILED:
            told = next(((step, why) for step, why in outcome.reasons.items() if why.code != EXCEPTION), None)
            if told is None and self._course.state.status != FAILED:  # ZenML calls it stopped, or even completed
                told = next(iter(outcome.reasons.items()), None)
            failure = Failure(step=told[0], error=told[1].code, message=told[1].what) if told else None
        try:
            settings = self._stack.settings
            return collect(self._run.id, self._course.facts(), failure, settings.name, settings.evidence == "cluster")
        except DomainLMError as error:
            why = str(error)
        except Exception as error:  # a fault of ours: the evidence lies where it is
            why = f"it cannot be collected now ({_why(error)}; where: {_logged(error)})"
        again = f"domainlm follow {self._run.id}"
        self._console.print(f"[yellow]its evidence waits[/]: {why}\n  -> {again}", soft_wrap=True)
        return None


def _why(error: Exception) -> str:
    """An error of a client in a line, without what it may quote: its type, and the server's status."""
    status = getattr(error, "status", None)
    words = {401: "it does not know the credentials any more", 403: "it forbids"}
    return words.get(status, f"{type(error).__name__}{f' ({status})' if status else ''}")  # type: ignore[arg-type]


def _logged(error: Exception) -> Path:
    """Write types and places of an error into the log, without what it says; the log's file."""
    logging.getLogger(__name__).warning("%s", places_of(error))
    return home() / "logs" / LOG_FILE
