"""Which runs of a cluster's stack have ended without a manifest here: one round of the collector."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from uuid import UUID

from zenml.client import Client
from zenml.utils.pagination_utils import depaginate

from domainlm.ledger.run.entering import enter_waiting, waiting_manifests
from domainlm.ledger.run.metrics import State
from domainlm.pod_facts import PodFacts
from steps.collected import Finished, collect
from steps.keys import load_keys
from steps.missed import Missed, tried
from steps.stacks import entered_elsewhere, stack_named
from steps.strays import has_manifest, left_behind

# gives the pods of a run, by step, as far as the cluster still knows them
PodsOf = Callable[[str], Mapping[str, Sequence["PodFacts"]]]


def round_of(stack: str, evidence: str, pods_of: PodsOf, state: State) -> Iterator[Finished | Missed]:
    """Collect every run of a stack that has ended and has no manifest here, and enter what waits.

    A run of another stack is another tenant's: its seals are of another key, and it is not looked at, unless its outbox
    lies in this stack's store. A manifest that is refused stays as it is until a person looks.

    Args:
        stack: the stack's name; `evidence`: as its file says, of whom the runs are.
        pods_of: asks the cluster.
        state: is brought up to date.

    Yields:
        Each run's end, or that it was missed: one run keeps no other from being collected.

    Raises:
        ArtifactError: the stack is not there.
        Whatever ZenML's client raises where its server cannot be asked.
    """
    whole, working, known = True, [], set()
    ours = stack_named(stack)
    for run in depaginate(Client().list_pipeline_runs, stack_id=ours.id, sort_by="asc:created"):
        known.add(str(run.id))
        if not run.status.is_finished:
            working.append(run.created)
        elif run.id in state.elsewhere or (not has_manifest(str(run.id)) and entered_elsewhere(run, evidence)):
            state.elsewhere.add(run.id)
        elif not has_manifest(str(run.id)):
            found = tried(str(run.id), lambda run=run: collected(run.id, pods_of, state, stack))
            whole &= not isinstance(found, Missed)
            yield found
    state.stray = 0
    for found in left_behind(ours, known):
        whole, state.stray = False, state.stray + 1
        state.refused += isinstance(found, Finished)
        yield found
    enter_waiting(load_keys)
    state.waiting, state.began = len(waiting_manifests()), working
    if whole:
        state.passes, state.last_success_unix_s = state.passes + 1, time.time()
    else:
        state.broken_passes += 1


def collected(run_id: UUID | str, pods_of: PodsOf, state: State, stack: str) -> Finished:
    """Collect one run of a stack and count it."""
    finished = collect(run_id, pods_of(str(run_id)), stack=stack)
    state.runs[finished.manifest.status] = state.runs.get(finished.manifest.status, 0) + 1
    state.refused += bool(finished.manifest.collected and finished.manifest.collected.refused)
    return finished
