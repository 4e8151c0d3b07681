"""When a run on a cluster is over, and what is said then: hours of it, played in milliseconds."""

from __future__ import annotations

import pytest
from small_pods import job, killed, look, pod, unscheduled, waiting

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
    RunState,
    StepState,
)
from domainlm.cluster.reasons import Reason

ORDER = ("ingest", "train")
LIMITS = Limits(node_s=600, start_s=120, never_s=10, lost_s=300, settle_s=45)


def says(status: str, **steps: str | StepState) -> RunState:
    return RunState(
        status, {name: one if isinstance(one, StepState) else StepState(one) for name, one in steps.items()}, ORDER
    )


class Played:
    """A course that is told the same again and again, as polling does, until it decides."""

    def __init__(self) -> None:
        self.now = 0.0
        self.course = Course(LIMITS, 0.0)

    def tell(
        self, *things: dict, state: RunState | None = None, events: list | None = None, lasts: float = 1.0
    ) -> None:
        """What cluster and ZenML say for so many seconds."""
        end = self.now + lasts
        while self.now < end and self.outcome() is None:
            self.now += 1.0
            self.course.see(look(*things, events=events), self.now)
            if state:
                self.course.hear(state, self.now)

    def outcome(self) -> Outcome | None:
        return self.course.outcome(self.now)

    def row(self, step: str):
        return next(row for row in self.course.rows(self.now) if row.step == step)


@pytest.fixture
def run() -> Played:
    return Played()


ORCHESTRATOR = (job("run"), pod("run"))


def test_a_run_goes_through_its_states_and_completes(run: Played) -> None:
    run.tell(*ORCHESTRATOR, state=says("initializing"))
    assert [(row.step, row.state, row.pod) for row in run.course.rows(run.now)] == [
        ("ingest", "waits", ""), ("train", "waits", "")
    ]  # fmt: skip
    ingest = job("ingest-1", "ingest")
    run.tell(*ORCHESTRATOR, ingest, pod("ingest-1", "Pending"), state=says("running"))
    assert run.row("ingest").state == "starting"
    run.tell(*ORCHESTRATOR, ingest, pod("ingest-1"), state=says("running"))
    assert run.row("ingest").state == "loading", "the pod imports; ZenML has not heard of the step"
    run.tell(*ORCHESTRATOR, ingest, pod("ingest-1"), state=says("running", ingest="running"), lasts=10)
    assert run.row("ingest")[1:5] == ("running", "ingest-1-0", "node1", 0)
    assert run.row("ingest").seconds == 11.0, "from the first sight of the pod"
    done = job("ingest-1", "ingest", "Complete")
    run.tell(*ORCHESTRATOR, done, state=says("running", ingest="completed", train="running"), lasts=100)
    assert run.row("ingest").seconds == 12.0, "its time stopped when it ended"
    train = job("train-1", "train", "Complete")
    assert run.outcome() is None
    run.tell(*ORCHESTRATOR, done, train, state=says("completed", ingest="completed", train="completed"))
    assert run.outcome() == Outcome(COMPLETED, {})


def test_the_operators_pod_is_shown_and_not_the_one_that_launched_it(run: Played) -> None:
    launcher, operator = job("train-1", "train"), job("train-2", "train", operator=True)
    run.tell(*ORCHESTRATOR, launcher, pod("train-1"), operator, pod("train-2"), state=says("running", train="running"))
    assert run.row("train").pod == "train-2-0"
    assert run.row("train").restarts == 0


def test_a_second_pod_of_a_job_is_a_restart(run: Played) -> None:
    train = job("train-1", "train")
    run.tell(*ORCHESTRATOR, train, killed("train-1"), pod("train-1", number=1), state=says("running", train="running"))
    assert (run.row("train").pod, run.row("train").restarts) == ("train-1-1", 1)
    assert run.outcome() is None


def test_cached_steps_have_no_pod_and_no_time(run: Played) -> None:
    run.tell(*ORCHESTRATOR, state=says("running", ingest="cached"))
    assert run.row("ingest")[1:6] == ("cached", "", "", 0, None)


def test_out_of_memory_is_told_also_where_zenml_knows_no_exception(run: Played) -> None:
    train = job("train-1", "train", operator=True)
    run.tell(*ORCHESTRATOR, train, pod("train-1"), state=says("running", train="running"), lasts=60)
    oom, ended = killed("train-1", "OOMKilled", 137), job("train-1", "train", "Failed", operator=True)
    run.tell(*ORCHESTRATOR, ended, oom, state=says("running", train="running"), lasts=5)
    assert run.outcome() is None, "ZenML has not heard of it yet"
    run.tell(*ORCHESTRATOR, ended, oom, state=says("failed", train="failed"))
    status, reasons, stop = run.outcome()
    assert (status, stop) == (FAILED, False)
    assert reasons["train"].what == "asked 4Gi, and needed more memory"
    assert reasons["train"].remedy == (
        "raise steps.train.settings.step_operator.domainlm.pod_settings.resources.limits.memory"
    )


def test_a_step_that_failed_for_good_ends_a_run_of_which_zenml_has_not_heard(run: Played) -> None:
    # ZenML 0.98: a pod that is killed before its step begins ends no other branch, whatever the execution mode
    killed_twice = [killed("ingest-1", "OOMKilled", 137, number=number) for number in (0, 1)]
    branch = (job("pretrain-1", "pretrain"), pod("pretrain-1"))
    run.tell(*ORCHESTRATOR, job("ingest-1", "ingest"), *killed_twice[:1], *branch, state=says("running"), lasts=100)
    assert run.outcome() is None, "there is another try"
    assert run.row("ingest").state == "OOMKilled"
    assert run.course.mishaps()["ingest-1-0"][1].what == "asked 4Gi, and needed more memory"
    over = job("ingest-1", "ingest", "Failed")
    run.tell(*ORCHESTRATOR, over, *killed_twice, *branch, state=says("running"), lasts=40)
    assert run.outcome() is None, "ZenML may hear of it"
    run.tell(*ORCHESTRATOR, over, *killed_twice, *branch, state=says("running"), lasts=40)
    assert (run.outcome().status, run.outcome().stop) == (FAILED, True)
    assert run.outcome().reasons["ingest"].code == "OOMKilled"


def test_a_run_that_failed_without_a_word_of_the_step_is_explained_at_once(run: Played) -> None:
    over = (job("ingest-1", "ingest", "Failed"), killed("ingest-1", "OOMKilled", 137))
    run.tell(job("run", end="Complete"), *over, state=says("failed"))
    assert run.outcome().reasons["ingest"].code == "OOMKilled"


def test_who_comes_later_takes_the_times_of_zenml(run: Played) -> None:
    ended = StepState("completed", "2026-11-21T14:35:12.798", "2026-11-21T14:35:16.048")
    run.tell(*ORCHESTRATOR, job("ingest-1", "ingest", "Complete"), pod("ingest-1", "Succeeded"),
             state=says("running", ingest=ended), lasts=9)  # fmt: skip
    assert run.row("ingest").seconds == 3.25


def test_a_training_that_is_launched_again_ends_nothing(run: Played) -> None:
    launcher = (job("train-1", "train"), killed("train-1"), pod("train-1", number=1))
    first, second = job("a", "train", "Failed", operator=True), job("b", "train", operator=True, made=9)
    run.tell(*ORCHESTRATOR, *launcher, first, state=says("running", train="retrying"), lasts=100)
    assert run.outcome() is None
    run.tell(*ORCHESTRATOR, *launcher, first, second, state=says("running", train="running"), lasts=100)
    assert run.outcome() is None


def test_the_trainings_end_goes_before_what_its_launching_pod_says(run: Played) -> None:
    launcher, operator = job("train-1", "train", "Failed"), job("train-2", "train", "Failed", operator=True)
    said = StepState("failed", error="RuntimeError: its message is withheld, since it may quote data")
    run.tell(
        launcher, killed("train-1"), operator, killed("train-2", "OOMKilled", 137), state=says("failed", train=said)
    )
    assert run.outcome().reasons["train"].code == "OOMKilled"


WORD = Reason("Unreachable", "from the pod the store http://store:9000 cannot be reached", "see", "ingest-1-0")


def test_what_a_log_says_is_told_where_the_pods_are_gone_and_zenml_knows_nothing(run: Played) -> None:
    ended = killed("ingest-1"), killed("ingest-1", number=1)
    run.course.memory.words["pod-ingest-1-0"] = WORD
    run.tell(*ORCHESTRATOR, job("ingest-1", "ingest"), *ended, state=says("running"))
    assert run.outcome() is None, "another pod may reach it"
    assert run.course.mishaps() == {"ingest-1-0": ("ingest", WORD)}, "told at once"
    run.tell(*ORCHESTRATOR, state=says("failed", ingest="failed"))
    assert run.outcome().reasons == {"ingest": WORD}, "of the newest pod whose log said anything"


def test_what_the_step_itself_said_goes_before_a_log(run: Played) -> None:
    said = StepState("failed", error="domainlm.errors.SourceError: glossary.csv: is empty")
    run.course.memory.words["pod-ingest-1-0"] = WORD
    run.tell(job("ingest-1", "ingest", "Failed"), killed("ingest-1"), state=says("failed", ingest=said))
    assert run.outcome().reasons["ingest"].what == said.error


def test_an_exception_in_a_log_is_no_loss_of_the_pod(run: Played) -> None:
    run.course.memory.words["pod-ingest-1-0"] = Reason("Exception", "KeyError: its message is withheld")
    run.tell(*ORCHESTRATOR, job("ingest-1", "ingest"), killed("ingest-1"), state=says("running"))
    assert run.course.mishaps() == {}


def no_python(of: str, message: str = 'exec: "python": executable file not found in $PATH: unknown') -> dict:
    ended = {"exitCode": 128, "reason": "StartError", "message": f"unable to start container process: {message}"}
    return pod(of, "Failed", state={"terminated": ended})


@pytest.mark.parametrize("name", ["run", "ingest-1"])
def test_an_image_without_python_is_not_tried_again(run: Played, name: str) -> None:
    run.tell(*ORCHESTRATOR, job("ingest-1", "ingest"), no_python(name), state=says("running"))
    status, reasons, stop = run.outcome()
    assert (status, stop, run.now) == (FAILED, True, 1.0), "at the first look"
    (why,) = reasons.values()
    assert (why.code, why.what, why.pod) == ("StartError", "the image has no 'python'", f"{name}-0")


def test_a_node_that_could_not_start_a_container_is_not_the_images_fault(run: Played) -> None:
    ill = no_python("ingest-1", "error closing exec fds: too many open files")
    run.tell(*ORCHESTRATOR, job("ingest-1", "ingest"), ill, state=says("running"), lasts=100)
    assert run.outcome() is None


def test_an_image_without_a_module_is_not_tried_again_but_a_pod_that_was_ended_is(run: Played) -> None:
    lacks = Reason("ImageWithoutPackage", "the image x has no 'steps'")
    run.course.memory.words |= {"pod-ingest-1-0": lacks, "pod-ingest-1-1": lacks}
    ingest = job("ingest-1", "ingest")
    run.tell(*ORCHESTRATOR, ingest, killed("ingest-1", "Error", 143), state=says("running"), lasts=100)
    assert run.outcome() is None, "its end was not its own"
    run.tell(*ORCHESTRATOR, ingest, pod("ingest-1", number=1), state=says("running"), lasts=100)
    assert run.outcome() is None, "the newest pod works"
    run.tell(*ORCHESTRATOR, ingest, killed("ingest-1", number=1), state=says("running"))
    assert run.outcome() == Outcome(FAILED, {"ingest": lacks}, stop=True)


def test_an_exception_of_the_step_is_told_with_its_pod(run: Played) -> None:
    said = StepState("failed", error="domainlm.errors.SourceError: glossary.csv: is empty")
    run.tell(job("ingest-1", "ingest", "Failed"), killed("ingest-1"), state=says("failed", ingest=said))
    reason = run.outcome().reasons["ingest"]
    assert (reason.code, reason.what, reason.pod) == ("Exception", said.error, "ingest-1-0")


def test_a_run_that_zenml_calls_completed_fails_where_a_job_failed(run: Played) -> None:
    run.tell(job("train-1", "train", "Failed"), state=says("completed", ingest="cached", train="completed"))
    assert run.outcome().status == FAILED
    assert "train-1" in run.outcome().reasons["train"].what


def test_a_failed_job_counts_no_more_when_another_one_took_its_place(run: Played) -> None:
    first, second = job("a", "train", "Failed", operator=True), job("b", "train", "Complete", operator=True, made=9)
    run.tell(second, first, state=says("completed", ingest="cached", train="completed"))
    assert run.outcome() == Outcome(COMPLETED, {})


def test_a_completed_run_waits_for_its_last_job_but_not_for_ever(run: Played) -> None:
    state = says("completed", ingest="cached", train="completed")
    run.tell(job("train-1", "train"), pod("train-1"), state=state, lasts=40)
    assert run.outcome() is None, "the pod is about to end"
    run.tell(job("train-1", "train"), pod("train-1"), state=state, lasts=40)
    assert run.outcome().status == FAILED and run.outcome().stop


def test_a_dead_orchestrator_ends_a_run_that_zenml_calls_running(run: Played) -> None:
    train = (job("train-1", "train"), pod("train-1"))
    run.tell(*ORCHESTRATOR, *train, state=says("running", train="running"))
    dead = (job("run", end="Failed"), killed("run", "OOMKilled", 137))
    run.tell(*dead, *train, state=says("running", train="running"), lasts=40)
    assert run.outcome() is None, "ZenML may still hear of it"
    run.tell(*dead, *train, state=says("running", train="running"), lasts=40)
    status, reasons, stop = run.outcome()
    assert (status, stop) == (FAILED, True), "its steps go on, and nobody looks after them"
    assert reasons[""].remedy.endswith("orchestrator_pod_settings.resources.limits.memory")


def test_an_orchestrator_that_is_replaced_ends_nothing(run: Played) -> None:
    run.tell(job("run"), killed("run"), state=says("running"))
    run.tell(job("run"), killed("run"), pod("run", number=1), state=says("running"), lasts=200)
    assert run.outcome() is None


def test_a_run_whose_jobs_were_deleted_has_failed(run: Played) -> None:
    run.tell(*ORCHESTRATOR, state=says("running"))
    run.tell(state=says("running"), lasts=60)
    assert run.outcome().reasons[""].code == "JobGone"


def test_a_step_whose_pod_was_deleted_is_not_shown_at_work(run: Played) -> None:
    run.tell(*ORCHESTRATOR, job("train-1", "train"), pod("train-1"), state=says("running"))
    run.tell(*ORCHESTRATOR, state=says("running"))
    assert run.row("train").state == "gone"


def test_a_node_is_waited_for_and_that_is_told_meanwhile(run: Played) -> None:
    train = job("train-1", "train", operator=True)
    run.tell(*ORCHESTRATOR, train, unscheduled("train-1"), state=says("running", train="running"), lasts=590)
    assert run.outcome() is None
    assert run.row("train").state == "Unschedulable"
    assert run.course.waiting()["train"].what == "no node with nvidia.com/gpu free"
    assert run.course.wants_a_closer_look(run.now)
    run.tell(*ORCHESTRATOR, train, unscheduled("train-1"), state=says("running", train="running"), lasts=20)
    status, reasons, stop = run.outcome()
    assert (status, stop) == (FAILED, True)
    assert "waited 60" in reasons["train"].what


def test_a_node_that_comes_ends_the_waiting(run: Played) -> None:
    train = job("train-1", "train", operator=True)
    run.tell(*ORCHESTRATOR, train, unscheduled("train-1"), state=says("running", train="running"), lasts=590)
    run.tell(*ORCHESTRATOR, train, pod("train-1"), state=says("running", train="running"), lasts=590)
    assert run.outcome() is None
    assert run.course.waiting() == {}
    assert not run.course.wants_a_closer_look(run.now)


@pytest.mark.parametrize(
    ("reason", "lasts"), [("ImagePullBackOff", 121), ("CreateContainerConfigError", 121), ("InvalidImageName", 11)]
)
def test_what_should_be_there_is_waited_for_less(run: Played, reason: str, lasts: int) -> None:
    things = (job("run"), waiting("run", reason, 'secret "s" not found'))
    run.tell(*things, state=says("initializing"), lasts=lasts - 2)
    assert run.outcome() is None
    run.tell(*things, state=says("initializing"), lasts=5)
    assert (run.outcome().status, run.outcome().stop) == (FAILED, True)
    assert run.outcome().reasons[""].code == reason


def test_reasons_that_take_turns_are_one_wait(run: Played) -> None:
    for number in range(70):
        reason = "ErrImagePull" if number % 2 else "ImagePullBackOff"
        run.tell(job("run"), waiting("run", reason), state=says("initializing"), lasts=2)
    assert run.outcome().status == FAILED


def test_the_reason_is_kept_when_the_orchestrator_deletes_the_job(run: Played) -> None:
    ingest = job("ingest-1", "ingest")
    run.tell(*ORCHESTRATOR, ingest, waiting("ingest-1", "ErrImagePull", "not found"), state=says("running"))
    run.tell(*ORCHESTRATOR, state=says("failed", ingest="failed"), lasts=60)
    assert run.outcome().reasons["ingest"].code == "ErrImagePull"


def test_events_tell_where_the_job_was_deleted_between_two_looks(run: Played) -> None:
    ingest = job("ingest-1", "ingest")
    run.tell(*ORCHESTRATOR, ingest, state=says("running"))
    event = {"involvedObject": {"kind": "Pod", "name": "ingest-1-abcde", "uid": "gone"}, "reason": "Failed",
             "message": 'Failed to pull image "registry.bank.example/domainlm:1": not found'}  # fmt: skip
    run.tell(*ORCHESTRATOR, state=says("failed", ingest="failed"), events=[event], lasts=60)
    assert run.outcome().reasons["ingest"].what == (
        "the image registry.bank.example/domainlm:1 cannot be had: the registry has no such image or tag"
    )


def test_a_stopped_run_waits_for_its_pods(run: Played) -> None:
    run.tell(*ORCHESTRATOR, job("train-1", "train"), pod("train-1"), state=says("stopped", train="stopped"), lasts=10)
    assert run.outcome() is None
    run.tell(*ORCHESTRATOR, state=says("stopped", train="stopped"), lasts=60)
    assert (run.outcome().status, run.outcome().stop) == (STOPPED, False)


@pytest.mark.parametrize("server", [CLUSTER, ZENML])
def test_a_server_that_is_away_too_long_is_named(run: Played, server: str) -> None:
    run.tell(*ORCHESTRATOR, state=says("running"))
    for _ in range(299):
        run.now += 1
        run.course.miss(server, "ConnectionError")
        if server == CLUSTER:
            run.course.hear(says("running"), run.now)
        else:
            run.course.see(look(*ORCHESTRATOR), run.now)
    assert run.outcome() is None
    assert run.course.silent(run.now) == [f"{server} has not answered for 299 s: ConnectionError"]
    run.now += 2
    found = run.outcome()
    assert (found.status, found.stop) == (LOST, False), "what goes on there is left alone"
    assert server in found.reasons[""].what


def test_a_server_that_comes_back_is_forgiven(run: Played) -> None:
    run.tell(*ORCHESTRATOR, state=says("running"))
    run.now += 250
    run.course.miss(ZENML, "x")
    run.tell(*ORCHESTRATOR, state=says("running"), lasts=100)
    assert run.outcome() is None
    assert run.course.silent(run.now) == []
