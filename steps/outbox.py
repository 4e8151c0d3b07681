"""The evidence outbox in the stack's artifact store, and what the hooks of a pod write into it.

A step's pod knows its code, its machine and its failure; it has no ledger, no signing key, and no disk that lasts
(`domainlm.ledger.run.outbox`). What it could not write is missing, and the manifest then says so.
"""

from __future__ import annotations

from typing import Any

from zenml import get_step_context

from domainlm.errors import DomainLMError
from domainlm.ledger.run.machine import environment_state, hardware_state
from domainlm.ledger.run.manifest import Failure, RunManifest, now
from domainlm.ledger.run.outbox import FAILURES, MANIFEST, PLACES, Begun, Broke, Outbox, attempt_name, own_place
from steps.keys import load_keys
from steps.run_view import code_of
from steps.store_files import StoreFiles


def outbox_of(run_id: Any) -> Outbox:
    """The outbox of a run in the active stack's artifact store."""
    return Outbox(StoreFiles(), str(run_id), load_keys)


def tell_begun() -> None:
    """A step begins in this pod: where, on which code, on which machine."""
    context = get_step_context()
    run, step = context.pipeline_run, context.step_run
    said = Begun(
        step=step.name, attempt=step.version, code=code_of(run), environment=environment_state(),
        place=own_place(hardware_state()),
    )  # fmt: skip
    outbox_of(run.id).put(PLACES, said.model_dump(mode="json"), attempt_name(step.name, step.version))


def tell_failed(error: BaseException) -> None:
    """A step failed in this pod. Only our own errors' messages are known to quote no data."""
    context = get_step_context()
    step = context.step_run
    failure = Failure(
        step=step.name, error=type(error).__name__, message=str(error) if isinstance(error, DomainLMError) else ""
    )
    said = Broke(step=step.name, attempt=step.version, failure=failure, at=now())
    outbox_of(context.pipeline_run.id).put(
        FAILURES, said.model_dump(mode="json"), attempt_name(step.name, step.version)
    )


def tell_recorded(manifest: RunManifest) -> None:
    """The step `record` has checked every artifact: this is what it saw."""
    outbox_of(manifest.run_id).put(MANIFEST, manifest.model_dump(mode="json"))
