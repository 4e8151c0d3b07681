"""Which runs of a cluster's stack have ended without a manifest here: one round of the collector."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from zenml.client import Client
from zenml.utils.pagination_utils import depaginate

from domainlm.errors import DomainLMError, places_of
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.entering import enter_waiting, waiting_manifests
from domainlm.ledger.run.metrics import State
from domainlm.pod_facts import PodFacts
from steps.collected import Finished, collect
from steps.keys import load_keys

# gives the pods of a run, by step, as far as the cluster still knows them
PodsOf = Callable[[str], Mapping[str, Sequence["PodFacts"]]]


class Missed(NamedTuple):
    """A run that could not be collected, and why; the next round tries again."""

    run_id: str
    why: str


def round_of(stack: str, pods_of: PodsOf, state: State) -> Iterator[Finished | Missed]:
    """Collect every run of a stack that has ended and has no manifest here, and enter what waits.

    A run of another stack is another tenant's: its seals are of another key, and it is not looked at. A manifest that
    is refused stays as it is until a person looks.

    Args:
        stack: the stack's name.
        pods_of: asks the cluster.
        state: is brought up to date.

    Yields:
        Each run's end, or that it was missed: one run keeps no other from being collected.

    Raises:
        Whatever ZenML's client raises where its server cannot be asked.
    """
    whole, working = True, []
    for run in depaginate(Client().list_pipeline_runs, stack=stack, sort_by="asc:created"):
        if not run.status.is_finished:
            working.append(run.created)
        elif not (manifests.manifest_folder() / f"{run.id}.json").exists():
            try:
                finished = collected(run.id, pods_of, state)
            except DomainLMError as error:
                whole = False
                yield Missed(str(run.id), str(error))
            except Exception as error:  # a fault of ours; its text may quote what it choked on
                whole = False
                logging.getLogger(__name__).warning("run %s: %s", run.id, places_of(error))
                yield Missed(str(run.id), f"a fault of domainlm ({type(error).__name__}); the log says where")
            else:
                yield finished
    enter_waiting(load_keys)
    state.waiting, state.began = len(waiting_manifests()), working
    if whole:
        state.passes, state.last_success_unix_s = state.passes + 1, time.time()
    else:
        state.broken_passes += 1


def collected(run_id: UUID | str, pods_of: PodsOf, state: State) -> Finished:
    """Collect one run and count it."""
    finished = collect(run_id, pods_of(str(run_id)))
    state.runs[finished.manifest.status] = state.runs.get(finished.manifest.status, 0) + 1
    state.refused += bool(finished.manifest.collected and finished.manifest.collected.refused)
    return finished
