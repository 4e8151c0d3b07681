"""The evidence of a run whose steps were pods: what they left in the outbox, joined with what ZenML's store and the
cluster say, becomes the run's manifest here, where the ledger and the signer are.

It fails closed. A file of the outbox whose seal is wrong, or a statement in ZenML's store that is not what the pods
saw, is named, and the run waits until a person has looked (`domainlm audit signer flush --run RUN_ID`). A file that is
missing is named too, and code that nobody stated, or that differed between two pods, counts as changed ("dirty"): then
four eyes know no author of it. Every run ends in a manifest, also one whose image could not be pulled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from pydantic import ValidationError
from zenml.artifacts.utils import load_artifact_store
from zenml.client import Client
from zenml.enums import ExecutionStatus, StackComponentType
from zenml.models import PipelineRunResponse

from domainlm.errors import ArtifactError, DomainLMError, SecretError
from domainlm.keys import KeyRing
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.checkout import changed_files
from domainlm.ledger.run.entering import Entered, enter, receipt_of
from domainlm.ledger.run.manifest import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    UNKNOWN,
    Collected,
    Failure,
    Place,
    RunManifest,
    StepEntry,
)
from domainlm.ledger.run.outbox import FAILURES, MANIFEST, PLACES, Begun, Broke, Outbox, attempt_name
from domainlm.ledger.run.submission import check_stated
from domainlm.names import RECORD
from steps.keys import load_keys
from steps.outbox import StoreFiles
from steps.rows import with_rows
from steps.run_view import manifest_of

if TYPE_CHECKING:
    from domainlm.cluster.pods import PodFacts

EVERY_ROW = 2**63
# What `record` saw must still be what ZenML's store says. Its own place, the end and the authors are known only later.
SEEN_BY_RECORD = (
    "run_id", "run_name", "pipeline", "started", "steps", "configuration", "sources", "base", "verdicts", "metrics",
    "intervals", "model",
)  # fmt: skip
_STOPPED = (ExecutionStatus.STOPPED, ExecutionStatus.STOPPING, ExecutionStatus.CANCELLED, ExecutionStatus.CANCELLING)
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


def collect(
    run_id: UUID | str, pods: Mapping[str, Sequence[PodFacts]] | None = None, failure: Failure | None = None
) -> Finished:
    """Write the manifest of a run that has ended, and enter it; a run that has its entry is not touched again.

    Args:
        run_id: ZenML's id of the run.
        pods: what the cluster said of each step's pods, as far as anybody asked while they were there.
        failure: why the run failed, where whoever followed it knows; a run that ZenML holds for running has then ended
            as well (its orchestrator is gone).

    Raises:
        ArtifactError: the run is still at work, or its artifact store cannot be read.
        SecretError: the key that seals are checked with is missing.
    """
    run = Client().get_pipeline_run(UUID(str(run_id)), hydrate=True)
    path = manifests.manifest_folder() / f"{run.id}.json"
    if (known := receipt_of(str(run.id))) is not None and path.exists():
        return Finished(manifests.read(path), path, known)
    if failure is None and not run.status.is_finished:
        raise ArtifactError("the run is still at work", run.name, "wait for its end, or stop it")
    load_keys()  # without the key no seal can be told from a wrong one
    try:
        left = _Left(run, Outbox(StoreFiles(_store(run)), str(run.id), load_keys))
    except DomainLMError:
        raise
    except Exception as error:  # whatever a store's client raises; its text may name what it was asked for
        raise ArtifactError(
            f"the artifact store of the run cannot be read ({type(error).__name__})", run.name, "collect it again later"
        ) from None
    found = _manifest(run, left, pods or {}, failure)
    found.collected = left.said(found)
    if found.collected.refused:
        return _finished(manifests.write(found, _no_seal))
    written = manifests.write(found, load_keys)
    if not found.rows:
        most = {"most_rows": EVERY_ROW} if found.status == COMPLETED else {}
        written = manifests.write(with_rows(found, **most), load_keys)
    return _finished(written)


def _finished(path: Path) -> Finished:
    manifest = manifests.read(path)
    return Finished(manifest, path, enter(manifest, load_keys))


def _no_seal() -> KeyRing:
    raise SecretError("what is refused is not sealed", "collect")


def _store(run: PipelineRunResponse) -> Any:
    parts = run.stack.components.get(StackComponentType.ARTIFACT_STORE, []) if run.stack else []
    if not parts:
        raise ArtifactError("ZenML no longer knows the artifact store of the run", run.name, "restore the stack")
    return load_artifact_store(parts[0].id)


class _Left:
    """What the pods of a run left behind, each file held against its seal and against the run."""

    def __init__(self, run: PipelineRunResponse, outbox: Outbox) -> None:
        self.refused: list[str] = []
        self._attempts = {name: step.version for name, step in run.steps.items()}
        self._cached = {name for name, step in run.steps.items() if step.status == ExecutionStatus.CACHED}
        self._ended_well = {name for name, step in run.steps.items() if step.status == ExecutionStatus.COMPLETED}
        self.begun = self._read(outbox, PLACES, Begun)
        self.broke = self._read(outbox, FAILURES, Broke)
        self.record = self._recorded(outbox)
        try:
            check_stated(run.config.extra, load_keys)
        except DomainLMError as error:
            self.refused.append(f"submission: {error.what}")

    def _read(self, outbox: Outbox, kind: str, shape: type) -> dict[str, Any]:
        found, bad = outbox.all(kind)
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
        if edited or self.mixed():
            begun.code |= {"changed": sorted(edited), "dirty": True}
        begun.code["dirty"] = bool(begun.code["dirty"] or self.missing() or any(one.code["dirty"] for one in said))
        return begun

    def in_order(self) -> list[Begun]:
        """Every attempt that told of itself, the earliest first."""
        return sorted(self.begun.values(), key=lambda one: (one.place.started, one.step, one.attempt))

    def mixed(self) -> list[str]:
        """Steps that ran with other code or other packages than the first one: two images in one run."""
        said = self.in_order()
        return sorted({one.step for one in said if _version(one) != _version(said[0])})

    def missing(self) -> list[str]:
        """What a pod must have written where everything went well, and what is not there."""
        wanted = [
            attempt_name(name, attempt)
            for name, attempts in self._attempts.items()
            if name not in self._cached
            for attempt in range(1, attempts + 1)
        ]
        found = [f"{PLACES}/{name}" for name in wanted if name not in self.begun]
        if RECORD in self._ended_well and self.record is None:
            found.append(MANIFEST)
        return sorted(found)

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
        if step is None or (said := self.broke.get(attempt_name(step.name, self._attempts[step.name]))) is None:
            return None
        return said.failure

    def said(self, found: RunManifest) -> Collected:
        """How it came together; `found` is compared with what `record` saw."""
        refused = list(self.refused)
        if self.record is not None:
            refused += [f"{MANIFEST}: ZenML's store now says another {name}" for name in _differs(self.record, found)]
        return Collected(
            record=self.record.digest if self.record else "",
            missing=self.missing(), refused=refused, mixed=self.mixed(),
        )  # fmt: skip


def _manifest(
    run: PipelineRunResponse, left: _Left, pods: Mapping[str, Sequence[PodFacts]], failure: Failure | None
) -> RunManifest:
    if run.status in _STOPPED:
        status = INTERRUPTED
    else:
        status = COMPLETED if run.status == ExecutionStatus.COMPLETED and failure is None else FAILED
    found = manifest_of(run.id, status=status, begun=left.first())
    if left.record is not None:
        found.key_id = left.record.key_id  # the key may have been rotated since
    for step in found.steps:
        step.places = [] if step.cached else left.places(step.name, pods.get(step.name, ()))
        if step.status not in (COMPLETED, FAILED):
            step.status = FAILED if status == FAILED else INTERRUPTED  # nobody is at it any more
    if status == COMPLETED:
        return found
    broken = next((step for step in found.steps if step.status == FAILED), None)
    if status == INTERRUPTED:
        found.failure = Failure(step="", error=INTERRUPTED, message="the run was stopped")
    else:
        found.failure = failure or left.failure(broken) or _of_cluster(pods) or found.failure
    found.failure = found.failure or Failure(step=broken.name if broken else "", error=UNKNOWN)
    return found


def _of_cluster(pods: Mapping[str, Sequence[PodFacts]]) -> Failure | None:
    """Why the cluster ended a pod whose step could say nothing any more."""
    for step, ones in pods.items():
        for pod in reversed(ones):
            if pod.phase == "Failed" and pod.reason:
                return Failure(step=step, error=pod.reason, message=_BY_THE_CLUSTER)
    return None


def _version(one: Begun) -> tuple[Any, ...]:
    return (
        one.code.get("commit"), one.code.get("lock"), one.code.get("files"), one.environment.get("python"),
        one.environment.get("packages"),
    )  # fmt: skip


def _differs(record: RunManifest, found: RunManifest) -> list[str]:
    """Names of the fields in which a manifest is not what `record` saw."""
    one, other = (manifest.model_dump(mode="json") for manifest in (record, found))
    for whole in (one, other):
        for step in whole["steps"]:
            step.pop("places", None)
    return [name for name in SEEN_BY_RECORD if one.get(name) != other.get(name)]
