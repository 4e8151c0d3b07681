"""The evidence of a run whose steps were pods: what they left in the outbox, joined with what ZenML's store and the
cluster say, becomes one manifest.

It fails closed. A file of the outbox whose seal is wrong, or a statement in ZenML's store that is not what the pods
saw, is named, and the run waits until a person has looked (`domainlm audit signer flush --run RUN_ID`). So does a run
that ZenML's store calls completed and the pods do not: what `record` saw is not there, or a step's last word or last
pod is a failure. A file that is missing is named too. Code that nobody stated, or that differed between two pods,
counts as changed ("dirty") and has an author whom nobody knows: where a policy asks for four eyes, its model is not
promoted. Every run ends in a manifest, also one whose image could not be pulled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from domainlm.digests import digest_json
from domainlm.errors import DomainLMError
from domainlm.ledger.run.checkout import changed_files, not_as_committed
from domainlm.ledger.run.entering import Entered
from domainlm.ledger.run.history import NOBODY_KNOWS
from domainlm.ledger.run.manifest import (
    COMPLETED,
    DECLINED,
    FAILED,
    INTERRUPTED,
    UNKNOWN,
    Authors,
    Collected,
    Failure,
    Place,
    RunManifest,
    StepEntry,
)
from domainlm.ledger.run.outbox import FAILURES, MANIFEST, PLACES, Begun, Broke, Outbox, attempt_name
from domainlm.ledger.run.submission import Stated, check_stated, stated_of
from domainlm.ledger.seals import Keys
from domainlm.names import RECORD
from domainlm.pod_facts import PodFacts
from domainlm.project import SOURCE_ROOT

# What `record` saw must still be what ZenML's store says. Its own place, the end and the authors are known only later.
SEEN_BY_RECORD = (
    "run_id", "run_name", "pipeline", "started", "steps", "configuration", "sources", "base", "verdicts", "metrics",
    "intervals", "model",
)  # fmt: skip
FILES_AN_ATTEMPT = 10  # a pod writes one of a kind; what a flood of others says is not read
GONE = "gone from ZenML"
_BY_THE_CLUSTER = "the cluster ended a pod of this step"


class Finished(NamedTuple):
    """What became of a run's evidence.

    Args:
        manifest: as it was written; `collected` names what is missing or refused.
        path: where it lies.
        entered: what became of its entry in the ledger.
    """

    manifest: RunManifest
    path: Path
    entered: Entered


class Left:
    """What the pods of a run left behind, each file held against its seal and against the run.

    Args:
        attempts: how often each step was tried that no cache served, as ZenML's store says; the first is 1.
        recorded: whether the step `record` ended well.
        extra: of the run, where its submission may have said who it is.
        outbox: of the run.
        load: gives the key ring that its seals are checked with.

    Raises:
        SecretError: the key is missing.
    """

    def __init__(
        self, attempts: Mapping[str, int], recorded: bool, extra: Mapping[str, Any], outbox: Outbox, load: Keys
    ) -> None:
        self.refused: list[str] = []
        self._attempts, self._ended_well = attempts, recorded
        self.begun = self._read(outbox, PLACES, Begun)
        self.broke = self._read(outbox, FAILURES, Broke)
        self.record = self._recorded(outbox)
        self.stated: Stated | None = None  # what the submission said, where it bears our seal
        try:
            check_stated(extra, load)
            self.stated = stated_of(extra)
        except DomainLMError as error:
            self.refused.append(f"submission: {error.what}")

    def _read(self, outbox: Outbox, kind: str, shape: type) -> dict[str, Any]:
        found, bad = outbox.all(kind, FILES_AN_ATTEMPT * (1 + sum(self._attempts.values())))
        self.refused += [f"{kind}/{name}: {why}" for name, why in sorted(bad.items())]
        good = {}
        for name, content in found.items():
            try:
                said = shape(**content)
            except (ValidationError, TypeError):
                self.refused.append(f"{kind}/{name}: is none of this version")
                continue
            if attempt_name(said.step, said.attempt) != name or said.attempt > self._attempts.get(said.step, 0):
                self.refused.append(f"{kind}/{name}: ZenML's store knows no such attempt")
                continue
            good[name] = said
        return good

    def _recorded(self, outbox: Outbox) -> RunManifest | None:
        try:
            content = outbox.get(MANIFEST)
            found = RunManifest(**content) if content is not None else None
            if found is not None:
                found.verify()
            return found
        except (DomainLMError, ValidationError, TypeError) as error:
            why = error.what if isinstance(error, DomainLMError) else "is none of this version"
            self.refused.append(f"{MANIFEST}: {why}")
            return None

    def first(self) -> Begun:
        """What the run began with. Where the pods' code or packages differ it counts as changed."""
        said = self.in_order()
        if not said:
            return Begun(
                step="", attempt=0, code={"commit": "", "dirty": True, "lock": "", "files": {}}, environment={},
                place=Place(),
            )  # fmt: skip
        begun = said[0].model_copy(deep=True)
        begun.place.hardware = max((one.place.hardware for one in said), key=lambda one: len(one.get("gpus", ())))
        edited = {path for one in said for path in changed_files(begun.code["files"], one.code["files"])}
        edited |= self.uncommitted
        if edited or self.mixed():
            begun.code |= {"changed": sorted(edited), "dirty": True}
        begun.code["dirty"] = bool(begun.code["dirty"] or self.unknown() or any(one.code["dirty"] for one in said))
        return begun

    def in_order(self) -> list[Begun]:
        """Every attempt that told of itself, the earliest first."""
        return sorted(self.begun.values(), key=lambda one: (one.place.started, one.step, one.attempt))

    def mixed(self) -> list[str]:
        """Steps that ran with other code or other packages than the first one: two images in one run."""
        said = self.in_order()
        return sorted({one.step for one in said if _version(one) != _version(said[0])})

    @cached_property
    def uncommitted(self) -> set[str]:
        """Files of some pod that are other in the commit which it named, as this checkout or image has that: a pod has
        its commit from its image, where whoever makes the image can write another one."""
        stated = {digest_json(one.code): one.code for one in self.begun.values()}.values()
        return {path for code in stated for path in not_as_committed(SOURCE_ROOT, code["commit"], code["files"])}

    def unknown(self) -> bool:
        """Whether nobody can say what code made some step's outputs: the attempt that made them left no place."""
        return any(attempt_name(name, attempts) not in self.begun for name, attempts in self._attempts.items())

    def missing(self) -> list[str]:
        """What a pod must have written where everything went well, and what is not there."""
        wanted = [
            attempt_name(name, attempt)
            for name, attempts in self._attempts.items()
            for attempt in range(1, attempts + 1)
        ]
        found = [f"{PLACES}/{name}" for name in wanted if name not in self.begun]
        return sorted(found)

    def against(self, found: RunManifest, pods: Mapping[str, Sequence[PodFacts]]) -> list[str]:
        """What speaks against a run that ZenML's store calls completed: its word alone makes none."""
        refused = []
        if not self._ended_well:
            refused.append(f"the step {RECORD}: did not end well, and the run is called completed")
        if self.record is None and not any(line.startswith(f"{MANIFEST}:") for line in self.refused):
            refused.append(f"{MANIFEST}: is not there, and the run is called completed")
        for step in [step.name for step in found.steps if not step.cached] + [RECORD]:
            if attempt_name(step, self._attempts.get(step, 0)) in self.broke:
                refused.append(f"the step {step}: is called completed, and its last attempt said that it failed")
            if (ones := pods.get(step, ())) and ones[-1].phase == "Failed":
                refused.append(f"the step {step}: is called completed, and its last pod failed")
        return refused

    def places(self, step: str, pods: Sequence[PodFacts]) -> list[Place]:
        """A step's pods in their order: what they said themselves, with what only the cluster knows."""
        told = {one.place.uid or one.place.pod: one.place for one in self.in_order() if one.step == step}
        found = []
        for pod in pods:
            place = told.pop(pod.uid, None) or told.pop(pod.pod, None) or Place()
            by_cluster = {name: getattr(pod, name) for name in ("pod", "uid", "node", "image", "image_digest", "reason",
                          "started", "ended", "restarts")}  # fmt: skip
            found.append(place.model_copy(update={name: value for name, value in by_cluster.items() if value}))
        return sorted([*told.values(), *found], key=lambda place: place.started or "~")

    def failure(self, step: StepEntry | None) -> Failure | None:
        """What the failing step said in its last attempt."""
        said = self.broke.get(attempt_name(step.name, self._attempts.get(step.name, 0))) if step else None
        return said.failure if said else None

    def said(self, found: RunManifest, pods: Mapping[str, Sequence[PodFacts]]) -> Collected:
        """How it came together; `found` is compared with what `record` and the cluster saw."""
        refused = list(self.refused)
        if found.status == COMPLETED:
            refused += self.against(found, pods)
        if self.record is not None:
            refused += [f"{MANIFEST}: ZenML's store now says another {name}" for name in _differs(self.record, found)]
        return Collected(
            record=self.record.digest if self.record else "",
            missing=self.missing(), refused=refused, mixed=self.mixed(),
        )  # fmt: skip


def complete(
    found: RunManifest, left: Left, pods: Mapping[str, Sequence[PodFacts]], failure: Failure | None
) -> RunManifest:
    """Give a manifest its places, the reason of its end, and how all of it came together.

    Args:
        found: as ZenML's store tells the run, with the code and the machine of `left.first()`.
        left: what the pods left.
        pods: what the cluster said of each step's pods.
        failure: why the run failed, where whoever followed it knows.
    """
    if left.record is not None:
        found.key_id = left.record.key_id  # the key may have been rotated since
    for step in found.steps:
        step.places = [] if step.cached else left.places(step.name, pods.get(step.name, ()))
        if step.status not in (COMPLETED, FAILED) and found.status != DECLINED:
            step.status = INTERRUPTED if found.status == INTERRUPTED else FAILED  # nobody is at it any more
    broken = next((step for step in found.steps if step.status == FAILED), None)
    if found.status == INTERRUPTED:
        found.failure = Failure(step="", error=INTERRUPTED, message="the run was stopped")
    elif found.status == FAILED:
        found.failure = failure or left.failure(broken) or _of_cluster(pods) or found.failure
        found.failure = found.failure or Failure(step=broken.name if broken else "", error=UNKNOWN)
    found.collected = left.said(found, pods)
    if others := _other_images(found):
        found.collected.mixed = sorted({*found.collected.mixed, *others})
        found.code["dirty"] = True
    if found.collected.mixed or left.unknown() or left.uncommitted:
        found.authors.code = sorted({*found.authors.code, NOBODY_KNOWS})
    return found


def _other_images(found: RunManifest) -> set[str]:
    """Steps of which a pod ran other bytes than the first one under its image's name: the tag was moved meanwhile."""
    placed = sorted(
        ((place.started or "~", step.name, place) for step in found.steps for place in step.places),
        key=lambda one: one[:2],
    )
    first: dict[str, str] = {}
    ran = [(step, place) for _, step, place in placed if place.image and place.image_digest]
    return {step for step, place in ran if first.setdefault(place.image, place.image_digest) != place.image_digest}


def of_a_run_that_is_gone(run_id: str, outbox: Outbox, load: Keys) -> RunManifest | None:
    """The manifest of a run that was deleted from ZenML's server before anybody collected it: what its pods sealed. How
    it ended nobody can say any more, so it is refused until a person has looked.

    Returns:
        None where nothing in the outbox bears this project's seal: then it is no run of ours.

    Raises:
        SecretError: the key is missing.
    """
    attempts: dict[str, int] = {}
    for name in outbox.all(PLACES)[0]:
        step, _, number = name.rpartition(".")
        if number.isascii() and number.isdecimal() and len(number) < 4:
            attempts[step] = max(attempts.get(step, 0), int(number))
    left = Left(attempts, False, {}, outbox, load)
    if not left.begun and left.record is None:
        return None
    begun, unknown = left.first(), [NOBODY_KNOWS]
    found = left.record or RunManifest(
        run_id=run_id, run_name="", pipeline="", status=INTERRUPTED, started=begun.place.started,
        code=begun.code, environment=begun.environment, hardware=begun.place.hardware,
        steps=[StepEntry(name=step, status=INTERRUPTED) for step in sorted(attempts)],
        authors=Authors(code=unknown, configuration=unknown, data=unknown),
    )  # fmt: skip
    found.status, found.failure = INTERRUPTED, Failure(step="", error=GONE, message="ZenML's server has lost the run")
    for step in found.steps:
        step.places = left.places(step.name, ())
    refused = [*left.refused, "the run: was deleted from ZenML's server, and nobody can say how it ended"]
    record = left.record.digest if left.record else ""
    found.collected = Collected(record=record, missing=left.missing(), refused=refused, mixed=left.mixed())
    return found


def _of_cluster(pods: Mapping[str, Sequence[PodFacts]]) -> Failure | None:
    """Why the cluster ended a pod whose step could say nothing any more."""
    for step, ones in pods.items():
        for pod in reversed(ones):
            if pod.phase == "Failed" and pod.reason:
                return Failure(step=step, error=pod.reason, message=_BY_THE_CLUSTER)
    return None


def _version(one: Begun) -> tuple[Any, ...]:
    # 2.13.0+cpu and 2.13.0 are two builds of one version: a GPU step has another image than the steps before it
    packages = {name: version.partition("+")[0] for name, version in one.environment.get("packages", {}).items()}
    return (
        one.code.get("commit"), one.code.get("lock"), one.code.get("files"), one.environment.get("python"), packages,
    )  # fmt: skip


def _differs(record: RunManifest, found: RunManifest) -> list[str]:
    """Names of the fields in which a manifest is not what `record` saw."""
    one, other = (manifest.model_dump(mode="json") for manifest in (record, found))
    for whole in (one, other):
        for step in whole["steps"]:
            step.pop("places", None)
    return [name for name in SEEN_BY_RECORD if one.get(name) != other.get(name)]
