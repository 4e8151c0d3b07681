"""The nodes of one training: how they meet, what node 0 hands to the others, and how it learns why one of them ended.

Node 0 runs the pipeline's step. Every other node runs

    MASTER_ADDR=node-0 DOMAINLM_NODE_RANK=1 python -m domainlm.train.processes.nodes

and needs nothing else: no argument, no key, no token, no access to the artifact store. (In an Indexed Job the node's
number is one more than JOB_COMPLETION_INDEX, which Kubernetes sets.) It waits at MASTER_ADDR, one port above
MASTER_PORT, for node 0's word on what is trained. Where it sees node 0's folder itself, both use that one. Where it
does not, it gets copies of records, tokenizer, base, start and checkpoints into a folder of its own, which it removes
at the end; checkpoints written later are exchanged by the processes (`domainlm.train.checkpoints`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.artifacts import BaseCheckpoint
from domainlm.digests import digest_folder
from domainlm.errors import DomainLMError, TrainingError
from domainlm.train.checkpoints import REMOVED, UNFINISHED
from domainlm.train.planner import FILE as PLAN
from domainlm.train.processes.copying import files_below, spread
from domainlm.train.processes.distributed import APART, SILENCE
from domainlm.train.processes.job import Job

if TYPE_CHECKING:
    from domainlm.train.settings import TrainSettings

NODE_RANK, INDEX = "DOMAINLM_NODE_RANK", "JOB_COMPLETION_INDEX"
MASTER_ADDRESS, MASTER_PORT = "MASTER_ADDR", "MASTER_PORT"
DEFAULT_PORT = 29500  # torchrun's own; the nodes meet one above it
PATIENCE = "DOMAINLM_NODES_WAIT_S"  # how long nodes wait for each other, in seconds
SEEN_S = 5.0  # a network file system may show a new file a moment late
LAST_WORDS_S = 20.0  # after node 0's own processes have ended
MARK = "met.json"
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "domainlm")

_log = logging.getLogger(__name__)


def number() -> int:
    """This node's number; 0 runs the pipeline."""
    if rank := os.environ.get(NODE_RANK):
        return int(rank)
    return int(os.environ[INDEX]) + 1 if INDEX in os.environ else 0


def patience_s() -> float:
    """How long nodes wait for each other: a node that has to be bought first comes late."""
    return float(os.environ.get(PATIENCE, SILENCE.total_seconds()))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in LIBRARIES}


class Meeting:
    """A store that node 0 keeps and all nodes read and write.

    Args:
        node: this node's number.

    Raises:
        TrainingError: node 0 did not come.
    """

    def __init__(self, node: int) -> None:
        from torch.distributed import TCPStore

        self.node = node
        self.address = os.environ[MASTER_ADDRESS]
        self.port = int(os.environ.get(MASTER_PORT, DEFAULT_PORT)) + 1
        self._until = time.monotonic() + patience_s()
        while True:  # a name is not known before its pod is, and the store's own patience ends there
            try:
                keeps, wait = node == 0, timedelta(seconds=max(1.0, self.left_s))
                self.store = TCPStore(self.address, self.port, None, keeps, wait, wait_for_workers=False)
                return
            except Exception as error:
                if node == 0 or self.left_s <= 0:
                    what = "cannot listen here" if node == 0 else "node 0 did not come"
                    raise TrainingError(
                        f"{what} ({type(error).__name__})",
                        f"{self.address}:{self.port}",
                        f"check {MASTER_ADDRESS}, {MASTER_PORT} + 1 and the network between the nodes",
                    ) from None
                time.sleep(1)

    @property
    def left_s(self) -> float:
        """What is left of this node's patience."""
        return self._until - time.monotonic()

    def say(self, name: str, value: Any) -> None:
        """Tell all nodes."""
        self.store.set(name, json.dumps(value))

    def hear(self, name: str, wait_s: float | None = None) -> Any:
        """What a node tells, as soon as it does; None if it does not in time."""
        try:
            self.store.wait([name], timedelta(seconds=max(0.1, self.left_s if wait_s is None else wait_s)))
        except Exception:  # torch has a class of its own for it, and another one where the connection is lost
            return None
        return json.loads(self.store.get(name))

    @contextlib.contextmanager
    def copying(self, nodes: int) -> Iterator[None]:
        """One process a node, all able to send to all."""
        import torch.distributed as dist

        dist.init_process_group(
            "gloo", store=dist.PrefixStore("copying", self.store), rank=self.node, world_size=nodes, timeout=SILENCE
        )
        try:
            yield
        finally:
            dist.destroy_process_group()


class Others:
    """The other nodes, as node 0 sees them while the training runs."""

    def __init__(self, meeting: Meeting, nodes: int, apart: bool) -> None:
        self._meeting, self._nodes, self.apart = meeting, nodes, apart

    @property
    def variables(self) -> dict[str, str]:
        """What the processes must know."""
        return {APART: "1"} if self.apart else {}

    def gather_errors(self, job: Job, code: int) -> None:
        """Note the other nodes' last words beside those of this one, once the processes here have ended."""
        if code == 0 or not self.apart:
            return
        ends = time.monotonic() + LAST_WORDS_S
        silent = []
        for node in range(1, self._nodes):
            noted = self._meeting.hear(f"ended/{node}", ends - time.monotonic())
            if noted is None:
                silent.append(node)
            for said in noted or []:
                job.note(said)
        if silent and all(said["lost"] for said in job.noted()):
            nodes = " and ".join(f"node {node}" for node in silent)
            gone = TrainingError(
                f"{nodes} ended and left no word",
                self._meeting.address,
                "see why its machine or pod ended; run again to go on from the newest checkpoint",
            )
            job.note_error(-1, gone)


@contextlib.contextmanager
def opened(job: Job, settings: TrainSettings) -> Iterator[Others]:
    """Node 0's part: wait for the others, hand them what they lack, and keep the store until the training has ended.

    Raises:
        TrainingError: a node did not come, runs other code, or only some of them see this node's folder.
    """
    meeting, nodes = Meeting(0), settings.nodes
    token = secrets.token_hex(16)
    (job.place / MARK).write_text(json.dumps(token))
    content = job.content()
    base = BaseCheckpoint(Path(content["base"])).card
    plan = {
        "place": str(job.place),
        "token": token,
        "nodes": nodes,
        "processes": settings.processes,
        "threads": settings.threads,
        "versions": _versions(),
        "weights": {name: base[name] for name in ("location", "digest")} if base.get("external") else None,
    }
    meeting.say("plan", plan)
    answers = {node: meeting.hear(f"here/{node}") for node in range(1, nodes)}
    try:
        apart, copies = _agreed(answers, nodes)
    except TrainingError as error:
        meeting.say("go", {"refused": error.what})
        raise
    meeting.say("go", {"apart": apart, "copies": copies})
    _log.info("%d nodes have met; they %s", nodes, "share no folder and get copies" if apart else "share one folder")
    if apart:
        with meeting.copying(nodes):
            _hand_over(content, job.place, Path(base["location"]) if copies else None)
    try:
        yield Others(meeting, nodes, apart)
    finally:
        meeting.say("done", True)


def _agreed(answers: dict[int, Any], nodes: int) -> tuple[bool, bool]:
    """Whether the nodes are apart, and whether an external base is copied too."""
    if missing := [node for node, answer in answers.items() if answer is None]:
        raise TrainingError(
            f"{nodes - len(missing)} of {nodes} nodes came within {patience_s():.0f} s",
            " ".join(f"node {node}" for node in missing),
            f"see why they did not start; {PATIENCE} says how long nodes wait",
        )
    if other := {node: answer["other"] for node, answer in answers.items() if answer["other"]}:
        node, libraries = next(iter(other.items()))
        what = f"its {', '.join(libraries)} is another version than node 0's"
        raise TrainingError(what, f"node {node}", "use one image for all nodes")
    seeing = [answer["sees"] for answer in answers.values()]
    if any(seeing) and not all(seeing):
        raise TrainingError(
            "some nodes see node 0's folder and others do not",
            " ".join(f"node {node}" for node, answer in answers.items() if not answer["sees"]),
            "let all of them mount it, or none",
        )
    return not all(seeing), not all(answer["weights"] for answer in answers.values())


def _hand_over(content: dict[str, Any], place: Path, weights: Path | None) -> None:
    """Send what a node needs, in the order in which `_take` reads it."""
    spread(place, ["job.json", *(f"records/{name}" for name in files_below(place / "records"))], 0)
    for name in ("tokenizer", "base", "start"):
        spread(Path(content[name]), files_below(Path(content[name])) if content[name] else (), 0)
    work = Path(content["work"])
    spread(work, _to_go_on_from(work), 0)
    if weights:
        spread(weights, files_below(weights), 0)


def _to_go_on_from(work: Path) -> list[str]:
    """Complete checkpoints and the plan that they were made by; nothing of what others draw or count."""
    incomplete = (UNFINISHED, REMOVED)
    return [
        name
        for name in files_below(work)
        if ("checkpoint-" in name or name.endswith(PLAN))
        and not any(part.startswith(incomplete) for part in name.split("/"))
    ]


# ---- the other nodes


def join() -> None:
    """Any other node's part: meet node 0, get what is missing, and run this node's processes to their end.

    Raises:
        DomainLMError: as `domainlm.train.train` does.
    """
    from domainlm.train.processes.launchers import environment, supervise, torchrun_command

    meeting = Meeting(number())
    plan = meeting.hear("plan")
    if plan is None:
        raise TrainingError("node 0 has nothing to train", meeting.address, "see why its step did not begin")
    sees = _sees(plan)
    answer = {
        "sees": sees,
        "other": [name for name, found in _versions().items() if plan["versions"].get(name) != found],
        "weights": sees or _has_weights(plan["weights"]),
    }
    meeting.say(f"here/{meeting.node}", answer)
    go = meeting.hear("go")
    if go is None or "refused" in go:
        raise TrainingError(
            f"node 0 does not begin: {go['refused'] if go else 'it is gone'}", meeting.address, "see its log"
        )
    with _place(plan, meeting, go) as place:
        job = Job(place)
        variables = environment(plan["threads"], plan["nodes"]) | ({APART: "1"} if go["apart"] else {})
        raised: DomainLMError | None = None
        try:
            command = torchrun_command(place, plan["processes"], plan["nodes"])
            supervise(command, job, variables)
        except DomainLMError as error:
            raised = error
            if all(said["lost"] for said in job.noted()):
                job.note_error(meeting.node * plan["processes"], error)
            raise
        finally:
            with contextlib.suppress(Exception):  # node 0 may be gone
                meeting.say(f"ended/{meeting.node}", job.noted())
                if raised:  # a pod that fails may take node 0's pod with it, which has yet to say why
                    meeting.hear("done", LAST_WORDS_S)


def _sees(plan: dict[str, Any]) -> bool:
    """Whether node 0's folder is here too."""
    mark, until = Path(plan["place"]) / MARK, time.monotonic() + SEEN_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(mark.read_text()) == plan["token"]
        time.sleep(0.2)
    return False


def _has_weights(weights: dict[str, str] | None) -> bool:
    """Whether an external base lies here too, in the same place and with the same content."""
    if weights is None:
        return True
    location = Path(weights["location"])
    return location.is_dir() and digest_folder(location, ignore=["domainlm.json"]) == weights["digest"]


@contextlib.contextmanager
def _place(plan: dict[str, Any], meeting: Meeting, go: dict[str, Any]) -> Iterator[Path]:
    """The training's folder on this node: node 0's own, or copies that are gone afterwards."""
    if not go["apart"]:
        yield Path(plan["place"])
        return
    from domainlm.project import home

    root = home() / "nodes" / plan["token"]
    try:
        root.mkdir(mode=0o700, parents=True)
        with meeting.copying(plan["nodes"]):
            _take(root, go["copies"])
        yield root / "processes"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _take(root: Path, weights: bool) -> None:
    """Receive what `_hand_over` sends, and let the job name the places of this node."""
    own = {name: root / name for name in ("tokenizer", "base", "start", "work")}
    place = root / "processes"
    for folder in (place, *own.values()):
        folder.mkdir(mode=0o700)
        spread(folder, (), 0)
    for name in ("pids", "errors"):
        (place / name).mkdir(mode=0o700)
    if weights:
        spread(root / "weights", (), 0)
        base = BaseCheckpoint(own["base"])
        base.write_card(**base.card | {"location": str(root / "weights")})
    Job(place).move(own)


def main() -> int:
    """Join the training that node 0 begins (see the module's text); 1 when it failed."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    if not os.environ.get(MASTER_ADDRESS) or number() < 1:
        print(f"set {MASTER_ADDRESS} to node 0's name and {NODE_RANK} to this node's number, from 1", file=sys.stderr)
        return 1
    try:
        join()
    except DomainLMError as error:
        print(f"{type(error).__name__} {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
