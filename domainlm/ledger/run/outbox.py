"""What a pod leaves behind for a run's evidence: sealed JSON in the artifact store.

A pod has neither ledger nor signing key, and its disk is gone when it ends. So it writes what only it knows below

    evidence-outbox/RUN_ID/places/STEP.ATTEMPT.json      where, on which code and machine a step began
    evidence-outbox/RUN_ID/failures/STEP.ATTEMPT.json    why it ended, in domainlm's own words
    evidence-outbox/RUN_ID/manifest.json                 the manifest as the step `record` saw it

and whoever holds ledger and signer collects it when the run is over (`steps.collected`). Every file bears a seal of the
project's key ring over its place and its content (`domainlm.ledger.seals`): whoever can write into the store alone can
remove a file, which is noticed, but can neither change one nor move it to another run, step or attempt.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, Protocol

from domainlm.digests import digest_json
from domainlm.errors import ArtifactError, DomainLMError
from domainlm.keys import KeyRing
from domainlm.ledger.run.manifest import Failure, Place, now
from domainlm.ledger.seals import Keys, check
from domainlm.reports import Report

FOLDER = "evidence-outbox"
PLACES, FAILURES, MANIFEST = "places", "failures", "manifest"
SEAL = "evidence outbox"  # use of the key
PLACE_VARIABLE, POD = "DOMAINLM_PLACE", "pod"
MOST_FILES = 1000  # of a kind that are read where nobody says how many there may be
MOST_BYTES = 16 * 2**20  # a manifest of a hundred steps has 1 MB; what is larger was not written by a step
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
# of the pod, by the downward API (`configs/kubernetes.yaml`)
_VARIABLES = {
    "pod": "DOMAINLM_POD", "uid": "DOMAINLM_POD_UID", "node": "DOMAINLM_NODE", "namespace": "DOMAINLM_NAMESPACE",
    "image": "DOMAINLM_IMAGE",
}  # fmt: skip


class Files(Protocol):
    """A store of files below one root, such as the stack's artifact store."""

    def read(self, path: str, most_bytes: int) -> bytes:
        """The first bytes of a file; raises FileNotFoundError."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole."""

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder; none where there is no such folder."""


class Begun(Report):
    """What a pod says when a step begins in it.

    Fields:
        step, attempt: of the run; the first attempt is 1.
        code: as in a manifest: commit, dirty flag, lock file's digest, and the digest of every file.
        environment: as in a manifest: Python, platform, processor, packages.
        place: what the pod knows of itself; the digest of its image it cannot know.
    """

    step: str
    attempt: int
    code: dict[str, Any]
    environment: dict[str, Any]
    place: Place


class Broke(Report):
    """What a pod says when a step failed in it: `message` is filled for domainlm's own errors only."""

    step: str
    attempt: int
    failure: Failure
    at: str


def says_pod() -> bool:
    """Whether this process was told that it is a step of a cluster's run; `steps.place` says whether to believe it."""
    return os.environ.get(PLACE_VARIABLE, "") == POD


def own_place(hardware: Mapping[str, Any]) -> Place:
    """What this pod knows of where it is."""
    known = {name: os.environ.get(variable, "") for name, variable in _VARIABLES.items()}
    return Place(host=socket.gethostname(), hardware=dict(hardware), started=now(), sealed=True, **known)


def attempt_name(step: str, attempt: int) -> str:
    """The name of a file about an attempt at a step."""
    return f"{step}.{attempt}"


class Outbox:
    """The outbox of one run.

    Args:
        files: where it lies.
        run_id: ZenML's id of the run.
        load: gives the key ring that seals.
    """

    def __init__(self, files: Files, run_id: str, load: Keys = KeyRing.load) -> None:
        self._files, self._run, self._load = files, _named(run_id), load

    def put(self, kind: str, content: dict[str, Any], name: str = "") -> None:
        """Seal and write a file; one of the same name is replaced.

        Raises:
            SecretError: the key is missing; nothing is written then.
        """
        mark = self._load().keyed_id(SEAL, self._run, kind, name, digest_json(content))
        self._files.write(self._path(kind, name), json.dumps({"content": content, "seal": mark}).encode())

    def get(self, kind: str, name: str = "") -> dict[str, Any] | None:
        """A file's content; None where it is missing.

        Raises:
            ArtifactError: it is none of ours.
            EvidenceRefused: it bears no seal of this project's key, or that of another content or place.
            SecretError: the key is missing.
        """
        path = self._path(kind, name)
        try:
            raw = self._files.read(path, MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            raise ArtifactError("is not a file of the outbox", path, "look who made it") from None
        try:
            if len(raw) > MOST_BYTES:
                raise ValueError("too long")
            found = json.loads(raw)
            content, mark = found["content"], str(found["seal"])
            digest = digest_json(content)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ArtifactError("is not a file of the outbox", path, "look who wrote it") from None
        check(self._load, mark, SEAL, self._run, kind, name, digest)
        return content

    def all(self, kind: str, most: int = MOST_FILES) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Every file of a kind: name -> content, and name -> why it is refused.

        Args:
            most: how many are read; those beyond it are refused in one line.

        Raises:
            SecretError: the key is missing.
        """
        good: dict[str, dict[str, Any]] = {}
        bad: dict[str, str] = {}
        self._load()
        files = self._files.names(f"{FOLDER}/{self._run}/{kind}")
        if len(files) > most:
            bad[f"(and {len(files) - most:,} more)"] = "are more files than a run leaves, and were not read"
        for file in files[:most]:
            name = file.removesuffix(".json")
            try:
                if not file.endswith(".json") or not _NAME.fullmatch(name):
                    raise ArtifactError("is not a file of the outbox", kind)
                if (content := self.get(kind, name)) is not None:
                    good[name] = content
            except DomainLMError as error:
                bad[name if _NAME.fullmatch(name) else "(a name that no step has)"] = error.what
        return good, bad

    def _path(self, kind: str, name: str) -> str:
        return "/".join([FOLDER, self._run, kind, _named(name)] if name else [FOLDER, self._run, kind]) + ".json"


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ArtifactError("is no name of a run or a step", FOLDER)
    return name
