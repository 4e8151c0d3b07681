"""The access log: each look of a signed-in person at evidence becomes an entry of the ledger, behind the page's back.

A look is first written to a file beside the ledger (on the disk before the page is shown), then handed to the recorder
in batches by a thread, so that no page waits for the signer. What a crash leaves in the file is entered at the next
start, and what was entered already is known again by its nonce: each look is one entry. While the recorder cannot take
them, no further evidence is shown.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from domainlm.errors import ArtifactError, DomainLMError
from domainlm.ledger.acts import Read

Noted = tuple[str, Read]  # (nonce of the entry to be, look)
BATCH = 500
EVERY_S = 2.0


class ReadLog:
    """Looks on their way into the ledger.

    Args:
        folder: where the file lies; made with mode 0700.
        record: enters a batch of (nonce of the entry, look); raises `DomainLMError` where it cannot.
        entered: the nonces of the looks in the ledger; asked where a batch is handed on again.
    """

    def __init__(
        self, folder: Path, record: Callable[[Sequence[Noted]], None], entered: Callable[[], frozenset[str]]
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file, self._sending = folder / "reads.jsonl", folder / "reads.sending.jsonl"
        self._record, self._entered = record, entered
        self._lock, self._drain_lock = threading.Lock(), threading.Lock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="access log", daemon=True)
        self.fault: DomainLMError | None = None

    def start(self) -> None:
        """Begin to hand looks on, those first that an earlier process left."""
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """Hand on what there is, and end."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=30)
        self.drain()

    def note(self, *looks: Read) -> None:
        """Note looks, before the page is shown.

        Raises:
            ArtifactError: they cannot be recorded, so the page must not be shown.
        """
        if self.fault is not None:
            raise ArtifactError(
                "the access log cannot be written, so no evidence is shown", "access log", "see to the signer"
            ) from self.fault
        # a line that a crash tore stands alone, since each begins a line of its own; its page was never shown
        noted = [{"nonce": secrets.token_hex(8), "look": look.model_dump(mode="json")} for look in looks]
        lines = "".join(f"\n{json.dumps(one)}\n" for one in noted).encode()
        try:
            with self._lock:
                descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with open(descriptor, "wb") as stream:
                    stream.write(lines)
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError as error:
            raise ArtifactError(
                f"the access log cannot be written ({type(error).__name__}), so no evidence is shown",
                str(self._file), "see to the disk",
            ) from None  # fmt: skip
        self._wake.set()

    def drain(self) -> None:
        """Hand on what was noted so far; what cannot be handed on stays, and `fault` says why."""
        with self._drain_lock:
            try:
                while (again := self._take()) is not None:
                    known = self._entered() if again else frozenset()
                    looks = [one for one in _looks(self._sending.read_bytes()) if one[0] not in known]
                    for start in range(0, len(looks), BATCH):
                        self._record(looks[start : start + BATCH])
                    self._sending.unlink()
            except DomainLMError as error:
                self.fault = error
            except OSError as error:
                self.fault = ArtifactError(f"cannot be handed on ({type(error).__name__})", str(self._sending))
            else:
                self.fault = None

    def _take(self) -> bool | None:
        """Put what was noted aside for handing on. Whether that was tried before; None where there is nothing."""
        with self._lock:
            if self._sending.exists():
                return True
            if not self._file.exists():
                return None
            os.replace(self._file, self._sending)
            return False

    def _work(self) -> None:
        while not self._stop.is_set():
            # a fault is tried again by itself: looks wait for the signer, not for the next reader
            self._wake.wait(None if self.fault is None else EVERY_S)
            self._wake.clear()
            self.drain()
            self._stop.wait(EVERY_S)


def _looks(raw: bytes) -> Iterator[Noted]:
    for line in raw.split(b"\n"):
        try:
            found = json.loads(line)
            yield found["nonce"], Read(**found["look"])
        except (ValueError, TypeError, KeyError):  # empty, or torn
            continue
