"""Which runs of a cluster's stack have ended without a manifest here: one round of the collector."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from zenml.artifacts.utils import load_artifact_store
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import StackResponse
from zenml.utils.pagination_utils import depaginate

from domainlm.errors import ArtifactError, DomainLMError, places_of
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.entering import enter_waiting, waiting_manifests
from domainlm.ledger.run.metrics import State
from domainlm.ledger.run.outbox import FOLDER
from domainlm.pod_facts import PodFacts
from steps.collected import Finished, collect, gone, require_stack
from steps.keys import load_keys
from steps.store_files import StoreFiles, reading

MOST_STRAYS = 100  # outboxes without a run that one round looks at
_RUN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# gives the pods of a run, by step, as far as the cluster still knows them
PodsOf = Callable[[str], Mapping[str, Sequence["PodFacts"]]]


class Missed(NamedTuple):
    """A run that could not be collected, and why; the next round tries again."""

    run_id: str
    why: str


def round_of(stack: str, pods_of: PodsOf, state: State) -> Iterator[Finished | Missed]:
    """Collect every run of a stack that has ended and has no manifest here, and enter what waits.

    A run of another stack is another tenant's: its seals are of another key, and it is not looked at, unless its outbox
    lies in this stack's store. A manifest that is refused stays as it is until a person looks.

    Args:
        stack: the stack's name.
        pods_of: asks the cluster.
        state: is brought up to date.

    Yields:
        Each run's end, or that it was missed: one run keeps no other from being collected.

    Raises:
        ArtifactError: the stack is not there.
        Whatever ZenML's client raises where its server cannot be asked.
    """
    whole, working, known = True, [], set()
    ours = _stack(stack)
    for run in depaginate(Client().list_pipeline_runs, stack_id=ours.id, sort_by="asc:created"):
        known.add(str(run.id))
        if not run.status.is_finished:
            working.append(run.created)
        elif not _has_manifest(str(run.id)):
            found = _tried(str(run.id), lambda run=run: collected(run.id, pods_of, state, stack))
            whole &= not isinstance(found, Missed)
            yield found
    state.stray = 0
    for found in _left_behind(ours, known):
        whole, state.stray = False, state.stray + 1
        state.refused += isinstance(found, Finished)
        yield found
    enter_waiting(load_keys)
    state.waiting, state.began = len(waiting_manifests()), working
    if whole:
        state.passes, state.last_success_unix_s = state.passes + 1, time.time()
    else:
        state.broken_passes += 1


def _left_behind(ours: StackResponse, known: set[str]) -> Iterator[Finished | Missed]:
    """Outboxes in the stack's store whose runs its list does not have: deleted runs, or those of a stack that was
    deleted or is another one."""
    store = StoreFiles(load_artifact_store(ours.components[StackComponentType.ARTIFACT_STORE][0].id))
    with reading(ours.name):
        names = store.names(FOLDER)
    strays = [name for name in names if _RUN.fullmatch(name) and name not in known and not _has_manifest(name)]
    for name in strays[:MOST_STRAYS]:
        found = _tried(name, lambda name=name: _stray(name, ours, store))
        if found is not None:
            yield found
    if len(strays) > MOST_STRAYS:
        yield Missed(f"(and {len(strays) - MOST_STRAYS:,} more)", "outboxes in the store of runs that ZenML has not")


def _stray(run_id: str, ours: StackResponse, store: StoreFiles) -> Finished | Missed | None:
    try:
        run = Client().get_pipeline_run(UUID(run_id), hydrate=True)
    except KeyError:
        return gone(run_id, store) or Missed(
            run_id, "its outbox lies in the store, ZenML knows no such run, and nothing in it is sealed by this project"
        )
    if run.stack is not None and run.stack.id == ours.id:
        return None  # it was submitted since: the next round sees it
    require_stack(run, ours.name)
    return None


def _tried(run_id: str, do: Callable[[], Any]) -> Any:
    try:
        return do()
    except DomainLMError as error:
        return Missed(run_id, str(error))
    except Exception as error:  # a fault of ours; its text may quote what it choked on
        logging.getLogger(__name__).warning("run %s: %s", run_id, places_of(error))
        return Missed(run_id, f"a fault of domainlm ({type(error).__name__}); the log says where")


def _stack(name: str) -> StackResponse:
    try:
        return Client().get_stack(name, allow_name_prefix_match=False)
    except KeyError:
        raise ArtifactError(
            "ZenML's server has no such stack, so which runs are to be collected is not known", name,
            "look who renamed or deleted it; `domainlm stack apply` registers it",
        ) from None  # fmt: skip


def _has_manifest(run_id: str) -> bool:
    return (manifests.manifest_folder() / f"{run_id}.json").exists()


def collected(run_id: UUID | str, pods_of: PodsOf, state: State, stack: str) -> Finished:
    """Collect one run of a stack and count it."""
    finished = collect(run_id, pods_of(str(run_id)), stack=stack)
    state.runs[finished.manifest.status] = state.runs.get(finished.manifest.status, 0) + 1
    state.refused += bool(finished.manifest.collected and finished.manifest.collected.refused)
    return finished
