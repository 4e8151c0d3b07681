"""An outbox in a dictionary, and what the pods of a small run leave in it."""

from __future__ import annotations

from typing import Any

from domainlm.keys import KeyRing
from domainlm.ledger.run.manifest import Place
from domainlm.ledger.run.outbox import PLACES, Begun, Outbox, attempt_name

RUN = "00000000-0000-4000-8000-000000000001"
CODE = {"commit": "a" * 40, "dirty": False, "lock": "b" * 64, "files": {"steps/train.py": "c" * 64}}
ENVIRONMENT = {"python": "3.11.7", "platform": "Linux", "processor": "EPYC", "packages": {"torch": "2.13.0"}}


class Dictionary:
    """Files of a store in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read(self, path: str, most_bytes: int) -> bytes:
        try:
            return self.files[path][:most_bytes]
        except KeyError:
            raise FileNotFoundError(path) from None

    def write(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def names(self, folder: str) -> list[str]:
        return sorted(path.removeprefix(f"{folder}/") for path in self.files if path.startswith(f"{folder}/"))


class Unreachable(Dictionary):
    """A store that is away; its client's text names what it was asked for."""

    def write(self, path: str, data: bytes) -> None:
        raise PermissionError("AccessDenied: AKIAEXAMPLE may not write")


def begun(step: str, attempt: int = 1, code: dict[str, Any] | None = None, **place: Any) -> Begun:
    """What a pod says when a step begins in it."""
    known = {
        "pod": f"{step}-x7k2p", "uid": f"uid-of-{step}-{attempt}", "node": "node-1", "namespace": "domainlm",
        "host": f"{step}-x7k2p", "image": "registry.bank.example/domainlm:0.1.0-cpu",
        "started": f"2026-11-20T10:0{attempt}:00.000Z", "sealed": True,
    }  # fmt: skip
    return Begun(
        step=step, attempt=attempt, code=code or dict(CODE), environment=dict(ENVIRONMENT), place=Place(**known | place)
    )


def leave(files: Dictionary, keys: KeyRing, *said: Begun) -> Outbox:
    """Write what pods say into a store."""
    outbox = Outbox(files, RUN, lambda: keys)
    for one in said:
        outbox.put(PLACES, one.model_dump(mode="json"), attempt_name(one.step, one.attempt))
    return outbox
