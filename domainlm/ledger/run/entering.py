"""Each run's manifest into the ledger, exactly once, whatever is down meanwhile.

The manifests' folder is the queue: a manifest of a run that has ended and of which the ledger knows nothing is entered
by the next run that finds it. A receipt beside the ledger (`.domainlm/evidence/receipts/RUN_ID.json`) says that it was;
where a receipt was lost, the ledger itself is asked. Only what this project wrote is entered: each manifest has a seal
of the key ring beside it (`domainlm.ledger.seals`); one without waits, and is named, until a person vouches for it.
A missing entry never changes how a run ends: the card says it in one line, and `domainlm audit verify` names the run
until it is there.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

from domainlm.digests import digest_bytes
from domainlm.errors import ArtifactError, DomainLMError
from domainlm.keys import MODE_VARIABLE, PRODUCTION, KeyRing, write_secret_file
from domainlm.ledger import client, entries
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.log import Ledger
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.machine import process_alive
from domainlm.ledger.run.manifest import RUNNING, RunManifest
from domainlm.ledger.run.provenance import entry_of
from domainlm.ledger.seals import Keys
from domainlm.ledger.settings import AuditSettings, evidence_folder, root_file
from domainlm.ledger.signer import calls
from domainlm.ledger.signer.protocol import Act, Request
from domainlm.locks import alone
from domainlm.project import home
from domainlm.reports import Report

ENTERED, WAITING, NO_LEDGER, ELSEWHERE = "entered", "waiting", "no ledger", "elsewhere"
PATIENCE_S = 60.0
RUNS_AT_ONCE = 16  # of some 0.2 MB each
_BEFORE_THE_RUN = timedelta(hours=1)  # no entry of a run is older than the run; clocks differ by less
_BLOCK = 100
_HEAD_CHARACTERS = 1000  # the status of a manifest's file stands before its first step


class Entered(Report):
    """What became of a run's manifest.

    Fields:
        state: `entered`, `waiting` for a ledger or signer that is down, or `no ledger`: the project has none,
            or `elsewhere`: the cluster's collector enters it into its own.
        number: of the entry, from 0.
        entry: its digest.
        size: of the signed checkpoint that covers it; 0 where the entry was found in the ledger without one.
        reason: why it waits.
    """

    run_id: str
    state: Literal["entered", "waiting", "no ledger", "elsewhere"]
    number: int = -1
    entry: str = ""
    size: int = 0
    reason: str = ""

    def line(self, anchored: bool) -> str:
        """As the card shows it.

        Args:
            anchored: whether checkpoints are published at a place outside.
        """
        if self.state == NO_LEDGER:
            return "none: the project has no ledger (domainlm audit init)"
        if self.state == ELSEWHERE:
            return "the cluster's collector enters it into its own ledger; nothing is entered here"
        if self.state == WAITING:
            return f"not in the ledger yet, the next run tries again: {self.reason}"
        covered = f"checkpoint of {self.size:,} entries, " if self.size else ""
        outside = "published outside" if anchored else "unanchored: no checkpoint is published outside"
        return f"entry {self.number:,}, {covered}{outside}"


def has_ledger() -> bool:
    """Whether the project's evidence has been set up: its root is pinned."""
    return root_file().is_file()


def require_ledger(mode: str = "") -> None:
    """In production no run starts that could not be entered.

    Args:
        mode: as the pipeline's parameter; `DOMAINLM_MODE` counts as well.

    Raises:
        SecretError: there is no signer, or no ledger.
        EvidenceRefused, ArtifactError: the ledger cannot be read or goes on from no signed checkpoint.
    """
    if PRODUCTION in (mode, os.environ.get(MODE_VARIABLE, "")):
        client.ping()


def enter(manifest: RunManifest, load: Keys = KeyRing.load) -> Entered:
    """Enter the manifest of a run that has ended, as `manifest.write` wrote it; a second call finds the first one's
    entry.

    Args:
        manifest: as it was read.
        load: gives the key ring that its seal is checked with.

    Raises nothing of domainlm's own: what stands in the way is the reason of a `waiting`.
    """
    return _enter([manifest], load)[0]


def enter_waiting(load: Keys = KeyRing.load) -> list[Entered]:
    """Enter every manifest of a run that has ended and has no entry yet; what another process is about to enter is left
    to it, since it may have more to say of the run's end."""
    if not has_ledger():
        return []
    client.flush_spool(load=load)  # other acts that wait
    found = [manifest for path in waiting_manifests() if (manifest := _readable(path)) and not _at_work(manifest)]
    foreign = [manifest for manifest in found if _why_foreign(manifest, load)]
    ours = [manifest for manifest in found if manifest not in foreign]
    done = [enter(manifest, load) for manifest in foreign]  # each alone: it keeps none of ours out
    for start in range(0, len(ours), RUNS_AT_ONCE):
        batch = ours[start : start + RUNS_AT_ONCE]
        became = _enter(batch, load)
        if len(batch) > 1 and any(one.state == WAITING for one in became):
            became = [enter(one, load) for one in batch]  # one that is refused keeps none of the others out
        done += became
        if all(one.state == WAITING for one in became):  # the others would wait as well
            break
    return done


def waiting_manifests() -> list[Path]:
    """Manifests of runs that have ended and of which there is no receipt; by their heads, since there may be many."""
    found = []
    for path in sorted(manifests.manifest_folder().glob("*.json")):
        if not (_receipts() / path.name).exists():
            with open(path, encoding="utf-8", errors="replace") as stream:
                if f'"status": "{RUNNING}"' not in stream.read(_HEAD_CHARACTERS):
                    found.append(path)
    return found


def receipt_of(run_id: str) -> Entered | None:
    """What is known of a run's entry without asking the ledger."""
    try:
        return Entered(**json.loads((_receipts() / f"{run_id}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def seen_folder() -> Path:
    """Where manifests lie that were made to be looked at: `.domainlm/seen/`; nobody enters them."""
    folder = home() / "seen"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def anchored() -> bool:
    """Whether the configuration names a place outside where checkpoints are published."""
    return bool(AuditSettings.load().anchors)


def _at_work(manifest: RunManifest) -> bool:
    process = manifest.environment.get("process", {})
    elsewhere = process.get("host") != socket.gethostname()
    return not elsewhere and process.get("pid") != os.getpid() and process_alive(int(process.get("pid", 0)))


def _receipts() -> Path:
    folder = evidence_folder() / "receipts"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _readable(path: Path) -> RunManifest | None:
    try:
        return manifests.read(path)
    except DomainLMError:  # it was changed: verification names it
        return None


def _why_foreign(manifest: RunManifest, load: Keys) -> str:
    """Why a manifest cannot be said to be this project's; "" where it is."""
    try:
        manifests.check_seal(manifest, load)
    except DomainLMError as error:
        return error.what
    return ""


def _enter(runs: Sequence[RunManifest], load: Keys) -> list[Entered]:
    if not has_ledger():
        return [Entered(run_id=run.run_id, state=NO_LEDGER) for run in runs]
    done: dict[str, Entered] = {}
    reason = ""
    try:
        with alone(_receipts(), PATIENCE_S) as free:
            if not free:
                raise ArtifactError("another process is at it", str(_receipts()))
            for run in runs:
                if known := receipt_of(run.run_id) or _found(run):
                    done[run.run_id] = _recorded(known)
            ours = []
            for run in runs:
                if run.run_id in done:
                    continue
                if foreign := _why_foreign(run, load):
                    done[run.run_id] = Entered(run_id=run.run_id, state=WAITING, reason=foreign)
                else:
                    ours.append(run)
            for entered in _submitted(ours):
                done[entered.run_id] = _recorded(entered)
    except (DomainLMError, OSError, ValueError, KeyError, TypeError) as error:
        reason = error.what if isinstance(error, DomainLMError) else type(error).__name__
    return [done.get(run.run_id) or Entered(run_id=run.run_id, state=WAITING, reason=reason) for run in runs]


def _recorded(found: Entered) -> Entered:
    write_secret_file(_receipts() / f"{found.run_id}.json", found.model_dump(mode="json"), replace=True)
    return found


def _submitted(runs: Sequence[RunManifest]) -> list[Entered]:
    """One request to the signer for all; it enters all or none."""
    if not runs:
        return []
    acts = []
    for run in runs:
        subjects, content = entry_of(run)
        # one nonce a run, so that whoever repeats an act is known again
        nonce = digest_bytes(run.run_id.encode())[:16]
        acts.append(Act(kind=entries.RUN, subjects=subjects, content=content, nonce=nonce))
    return [
        Entered(
            run_id=run.run_id, state=ENTERED, number=receipt.number, entry=receipt.entry,
            size=Checkpoint.parse(receipt.checkpoint, "the signer's answer").size,
        )
        for run, receipt in zip(runs, calls.ask(Request(do="record", acts=acts)).receipts, strict=True)
    ]  # fmt: skip


def _found(manifest: RunManifest) -> Entered | None:
    """The run's entry, where an earlier call was heard by the ledger but its receipt was never written."""
    try:
        ledger = client.open_ledger()
    except DomainLMError:  # only the signer may reach it; then the receipt is all there is
        return None
    mark = f'"run_id":"{manifest.run_id}"'.encode()
    begun = manifests.moment_of(manifest.started)
    for number, raw in _backwards(ledger):
        payload = base64.b64decode(json.loads(raw)["payload"])
        if mark in payload:
            return Entered(run_id=manifest.run_id, state=ENTERED, number=number, entry=digest_bytes(raw))
        made = entries.parse_time(json.loads(payload)["predicate"][entries.ENTRY]["time"])
        if begun is not None and made < begun - _BEFORE_THE_RUN:
            return None
    return None


def _backwards(ledger: Ledger) -> Iterator[tuple[int, bytes]]:
    stop = ledger.frontier.size
    while stop > 0:
        start = max(0, stop - _BLOCK)
        yield from reversed(list(ledger.raw(start, stop)))
        stop = start
