"""What people are told of a training that failed: run, step, cause and what to do, out of its manifest."""

from __future__ import annotations

from datetime import UTC, datetime

from domainlm.ledger.run import manifest as manifests
from domainlm.retrain.notices.notice import Notice


def failed(run: str) -> Notice:
    """Of a run, or of none: where it failed before it began here, no other run's words are told.

    Args:
        run: its id; empty where none began.
    """
    path = manifests.manifest_folder() / f"{run}.json"
    failure = manifests.read(path).failure if run and path.exists() else None
    step, cause = (failure.step, f"{failure.error}: {failure.message}") if failure else ("", "it did not begin here")
    if run and not failure:
        cause = "its manifest does not say why"
    remedy = "mend the cause (domainlm.log says more); the next round tries again"
    key = f"failed/{run}" if run else f"failed/unknown/{datetime.now(UTC).date().isoformat()}"
    return Notice(kind="failed", run=run, step=step, cause=cause, next_action=remedy, key=key)
