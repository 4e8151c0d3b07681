"""The run manifest: one JSON file a run, also for a run that failed or that the cache served whole.

It names every input and output by content digest, every parameter, every version, the commit and whether the work tree
was dirty. It holds no text of the data; the message of a foreign exception is left out too, because libraries like to
quote the value that they choke on.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, model_serializer

from domainlm.digests import digest_json
from domainlm.errors import ArtifactError
from domainlm.keys import KeyRing
from domainlm.ledger.seals import Keys, check, seal
from domainlm.project import home
from domainlm.risk import Tier

FORMAT = "domainlm.run/2"
RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "failed", "interrupted"
DECLINED = "declined"  # a retraining that decided that nothing should be trained: no fault, and no model
SEAL = "run manifest"  # use of the key
UNKNOWN = "unknown"  # the cause of a failure that no hook was told
_OF_FEW_STEPS = ("measured", "chosen", "places")


class Place(BaseModel):
    """Where a step was at work, in a run whose steps are pods. What is empty is not known, and left out.

    Args:
        pod, uid, node, namespace: as Kubernetes names them.
        host: what the machine called itself.
        image: the image that was asked for; `image_digest`: `sha256:...` of what really ran, as the node says.
        hardware: processor, cores, memory in bytes, GPUs.
        started, ended: when its container ran, or when its step began there.
        restarts: pods of the same Job before it, and restarts of its container.
        reason: Kubernetes' word for how it ended, such as OOMKilled.
        sealed: whether the pod itself told of it, under the project's key; else the cluster's API alone.
    """

    pod: str = ""
    uid: str = ""
    node: str = ""
    namespace: str = ""
    host: str = ""
    image: str = ""
    image_digest: str = ""
    hardware: dict[str, Any] = Field(default_factory=dict)
    started: str = ""
    ended: str = ""
    restarts: int = 0
    reason: str = ""
    sealed: bool = False

    @model_serializer(mode="wrap")
    def _without_what_is_not_known(self, write: Any) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value}


class StepEntry(BaseModel):
    """One step of a run: what went in, with which parameters, and what came out, all by content digest.

    Args:
        measured: what the step cost: device, seconds, speed, memory, energy, money. It varies from run to run. A cached
            step has that of the run that made its outputs.
        chosen: the values that a search chose.
        places: the pods that were at work for it, in their order; none in a run of one machine.
    """

    name: str
    status: str
    cached: bool = False
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    outputs: dict[str, str] = Field(default_factory=dict)
    code: str = ""
    started: str = ""
    ended: str = ""
    measured: dict[str, Any] = Field(default_factory=dict)
    chosen: dict[str, Any] = Field(default_factory=dict)
    places: list[Place] = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _without_what_few_steps_have(self, write: Any) -> dict[str, Any]:
        """Left out where empty: so manifests from before these fields keep their digest."""
        return {name: value for name, value in write(self).items() if value or name not in _OF_FEW_STEPS}


class Collected(BaseModel):
    """How the evidence of a run's pods came together (`steps.collected`); a run of one machine has none of it.

    Args:
        record: digest of the manifest that the step `record` made in its pod.
        missing: files that the pods should have left and did not.
        refused: files, or statements in ZenML's store, that cannot be what the pods wrote, each with the reason: the
            run waits for a person.
        mixed: steps that ran with other code or packages than the first one, or with other bytes of one image's name.
    """

    record: str = ""
    missing: list[str] = Field(default_factory=list)
    refused: list[str] = Field(default_factory=list)
    mixed: list[str] = Field(default_factory=list)


class Failure(BaseModel):
    """Why a run failed. `message` is filled for domainlm's own errors only, since those never quote the data."""

    step: str
    error: str
    message: str = ""


class Source(BaseModel):
    """One source of raw text, as `ingest` found it: never its text.

    Args:
        stage: the step that read it: `ingest`, or `base_ingest` for the text of an embedded base.
        files: relative name -> SHA-256.
        jurisdictions: rows by the law that they are under; a row may name another than its source does.
        languages: rows by language, in the same way.
        steward: SHA-256 of the address of whoever answers for it, as `identity` makes it; "" where none is stated.
        trusted: false for text that strangers can write; None, and left out, in manifests from before it was stated.
    """

    name: str
    uri: str
    stage: str = "ingest"
    files: dict[str, str] = Field(default_factory=dict)
    rows: int = 0
    steward: str = ""
    licence: str = ""
    consent: str = ""
    purpose: str = ""
    jurisdiction: str = ""
    language: str = ""
    handling: str = ""
    jurisdictions: dict[str, int] = Field(default_factory=dict)
    languages: dict[str, int] = Field(default_factory=dict)
    trusted: bool | None = None

    @model_serializer(mode="wrap")
    def _without_unstated_trust(self, write: Any) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None or name != "trusted"}


class ModelRecord(BaseModel):
    """The version that a run registered.

    Args:
        identity: digest over all of `digests`: what an approval approves, and nothing else.
        digests: adapter, base, tokenizer, data, configuration, evaluation; 64 hexadecimal digits each.
        tier: risk tier as the run states it (`domainlm.risk`); None, and left out, in manifests from before it.
        trusted: false where a source of the data is untrusted, or what the training went on from learnt from one, or
            nobody knows; None, and left out, in manifests from before it.
    """

    name: str
    version: str
    identity: str
    digests: dict[str, str]
    verdict: str = ""
    handling: str = ""
    licences: list[str] = Field(default_factory=list)
    tier: Tier | None = None
    trusted: bool | None = None

    @model_serializer(mode="wrap")
    def _without_what_was_not_stated(self, write: Any) -> dict[str, Any]:
        late = ("tier", "trusted")
        return {name: value for name, value in write(self).items() if value is not None or name not in late}


class RowSet(BaseModel):
    """The rows that a stage used, committed to without naming one (`domainlm.audit.lineage.index`).

    Args:
        data: content digest of the records that the rows stand in.
        use: `pretraining`, `training`, `development`, `test`.
        rows: how many.
        root: root of the Merkle tree over the rows' salted commitments, 64 hexadecimal digits.
    """

    data: str
    use: str
    rows: int
    root: str


class Authors(BaseModel):
    """Whom four eyes are counted against, each as `identity` makes it; "" stands for an author whom nobody knows.

    Args:
        code: authors of commits to the code since the champion's commit, and whoever ran it with uncommitted changes.
        configuration: the last authors of the run configuration and the pack; whoever ran it, where git does not know
            these, they were changed, or values were given by hand.
        data: stewards that the sources name, else the authors of their files where git knows them.
        trained_by: who started the run.

    `domainlm.ledger.run.authorship` fills it.
    """

    code: list[str] = Field(default_factory=list)
    configuration: list[str] = Field(default_factory=list)
    data: list[str] = Field(default_factory=list)
    trained_by: str = ""


class RunManifest(BaseModel):
    """The record of one run. `digest` is the SHA-256 of the canonical JSON of everything else.

    Args:
        sources: what `ingest` read, for the fine-tuning and for the embedded base.
        code: commit, dirty flag, lock file's digest, and `files`: path -> SHA-256 of all code and of the pack;
            `changed` names files that were edited while the run was at work.
        configuration: parameters, stack, model; `file`: the run configuration; `digest`: over everything that the run
            was told, as it was compiled; `overrides`: whether values were given by hand.
        base: name, digest, licence and location of the base model.
        hardware: processor, cores, memory in bytes, GPUs.
        verdicts: what the gates said: `redaction`, `validation`, `evaluation`, `licence`, `contest`, each a flat
            mapping; of a retraining also the `decision` and its reasons.
        metrics: the scores on the test split, by name.
        intervals: lowest and highest value of each metric that has a confidence interval.
        model: the registered version; None where the run did not come so far.
        rows: which rows were used for what.
        authors: for four eyes.
        collected: for a run whose steps were pods, and left out for every other.
    """

    format: str = FORMAT
    run_id: str
    run_name: str
    pipeline: str
    status: str
    started: str = ""
    ended: str = ""
    key_id: str = ""
    steps: list[StepEntry] = Field(default_factory=list)
    failure: Failure | None = None
    configuration: dict[str, Any] = Field(default_factory=dict)
    code: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    sources: list[Source] = Field(default_factory=list)
    base: dict[str, Any] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    verdicts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    intervals: dict[str, list[float]] = Field(default_factory=dict)
    model: ModelRecord | None = None
    rows: list[RowSet] = Field(default_factory=list)
    authors: Authors = Field(default_factory=Authors)
    collected: Collected | None = None
    digest: str = ""

    @model_serializer(mode="wrap")
    def _without_what_few_runs_have(self, write: Any) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name != "collected" or value is not None}

    def sealed(self) -> RunManifest:
        """A copy whose `digest` fits its content."""
        whole = type(self)(**self.model_dump(mode="json"))  # every field is stated now, defaults too
        return whole.model_copy(update={"digest": digest_json(whole._content())})

    def verify(self) -> None:
        """Compare the content with the digest that the manifest carries.

        Raises:
            ArtifactError: they differ, so somebody changed the manifest.
        """
        if self.digest != digest_json(self._content()):
            raise ArtifactError(
                "the content does not match the manifest's digest", self.run_name, "restore the manifest"
            )

    def _content(self) -> dict[str, Any]:
        # What is not stated does not count: a manifest from before a field was there keeps its digest.
        return self.model_dump(mode="json", exclude={"digest"}, exclude_unset=True)


def time_of(moment: datetime) -> str:
    """A moment as manifests write it: UTC, ISO 8601, milliseconds, Z; one without a zone is UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime | None:
    """Undo `time_of`; None where no time is stated. Manifests of the first format have no zone: they are UTC."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def now() -> str:
    """The present moment, as manifests write it."""
    return time_of(datetime.now(UTC))


def manifest_folder() -> Path:
    """Where manifests lie: `.domainlm/runs/`; one `RUN_ID.json` a run."""
    folder = home() / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def write(manifest: RunManifest, load: Keys = KeyRing.load, folder: Path | None = None) -> Path:
    """Write a manifest whole or not at all, and its seal (`RUN_ID.seal`) before it; an earlier one of the same run is
    replaced.

    Args:
        manifest: of a run of this project.
        load: gives the key ring; where it cannot, the manifest has no seal and waits until somebody vouches for it.
        folder: where to; what lies elsewhere than in `manifest_folder()` is entered by nobody.
    """
    path = (folder or manifest_folder()) / f"{manifest.run_id}.json"
    manifest = manifest.sealed()
    _replace(path.with_suffix(".seal"), seal(load, SEAL, manifest.run_id, manifest.digest))
    _replace(path, json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    return path


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.stem}.{os.getpid()}.draft")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)


def check_seal(manifest: RunManifest, load: Keys = KeyRing.load, folder: Path | None = None) -> None:
    """Whether `write` wrote a manifest, as it stands.

    Args:
        manifest: as it was read.
        load: gives the key ring.
        folder: where its seal lies; `manifest_folder()` by default.

    Raises:
        ArtifactError: its content was changed.
        EvidenceRefused: it bears no seal of this project's key, or another manifest's.
        SecretError: the key is missing.
    """
    manifest.verify()
    try:
        path = (folder or manifest_folder()) / f"{manifest.run_id}.seal"
        found = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        found = ""
    check(load, found, SEAL, manifest.run_id, manifest.digest)


def vouch(manifest: RunManifest, load: Keys = KeyRing.load) -> None:
    """Seal a manifest as it lies there, because a person says that it is this project's.

    Raises:
        SecretError: the key is missing.
    """
    manifest.verify()
    _replace(manifest_folder() / f"{manifest.run_id}.seal", load().keyed_id(SEAL, manifest.run_id, manifest.digest))


def read(path: Path) -> RunManifest:
    """Read a manifest and check its digest.

    Raises:
        ArtifactError: it is not a manifest, or it was changed.
    """
    try:
        manifest = RunManifest(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError("is not a run manifest", str(path), "restore it from a copy") from error
    manifest.verify()
    return manifest
