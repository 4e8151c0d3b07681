"""Outboxes in a stack's store whose runs the stack does not have: deleted runs, and those of a stack that was deleted
or renamed. They are found where they lie, since ZenML does not know them any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

from zenml.artifacts.utils import load_artifact_store
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import StackResponse

from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.collecting import Finished, of_a_run_that_is_gone
from domainlm.ledger.run.entering import enter
from domainlm.ledger.run.outbox import FOLDER, Outbox
from domainlm.ledger.seals import no_key
from steps.client_errors import reading
from steps.keys import load_keys
from steps.missed import Missed, tried
from steps.stacks import require_stack
from steps.store_files import StoreFiles

MOST_STRAYS = 100  # outboxes without a run that one round looks at
_RUN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def left_behind(ours: StackResponse, known: set[str]) -> Iterator[Finished | Missed]:
    """What becomes of each outbox in a stack's store that is of none of its known runs."""
    store = StoreFiles(load_artifact_store(ours.components[StackComponentType.ARTIFACT_STORE][0].id))
    with reading(ours.name):
        names = store.names(FOLDER)
    strays = [name for name in names if _RUN.fullmatch(name) and name not in known and not has_manifest(name)]
    for name in strays[:MOST_STRAYS]:
        found = tried(name, lambda name=name: _stray(name, ours, store))
        if found is not None:
            yield found
    if len(strays) > MOST_STRAYS:
        yield Missed(f"(and {len(strays) - MOST_STRAYS:,} more)", "outboxes in the store of runs that ZenML has not")


def _stray(run_id: str, ours: StackResponse, store: StoreFiles) -> Finished | Missed | None:
    try:
        run = Client().get_pipeline_run(UUID(run_id), hydrate=True)
    except KeyError:
        return _gone(run_id, store) or Missed(
            run_id, "its outbox lies in the store, ZenML knows no such run, and nothing in it is sealed by this project"
        )
    if run.stack is not None and run.stack.id == ours.id:
        return None  # it was submitted since: the next round sees it
    require_stack(run, ours.name)
    return None


def _gone(run_id: str, store: StoreFiles) -> Finished | None:
    """Write the manifest of a run that ZenML's server does not know any more, for a person to look at; None where its
    outbox has nothing that this project sealed."""
    with reading(run_id):
        found = of_a_run_that_is_gone(run_id, Outbox(store, run_id, load_keys), load_keys)
        if found is None:
            return None
        path = manifests.write(found, no_key)
        return Finished(found := manifests.read(path), path, enter(found, load_keys))


def has_manifest(run_id: str) -> bool:
    """Whether a run was collected here."""
    return (manifests.manifest_folder() / f"{run_id}.json").exists()
