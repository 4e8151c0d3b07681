"""What the pods of a run left in its stack's artifact store."""

from __future__ import annotations

from zenml.artifacts.utils import load_artifact_store
from zenml.enums import ExecutionStatus, StackComponentType
from zenml.models import PipelineRunResponse

from domainlm.ledger.run.collecting import Left
from domainlm.ledger.run.outbox import Outbox
from domainlm.ledger.run.submission import claimed
from domainlm.names import RECORD
from steps.keys import load_keys
from steps.store_files import StoreFiles


def left_of(run: PipelineRunResponse) -> Left:
    """Each file held against its seal and against the run, as ZenML's server tells it."""
    tried = {name: step.version for name, step in run.steps.items() if step.status != ExecutionStatus.CACHED}
    recorded = RECORD in run.steps and run.steps[RECORD].status == ExecutionStatus.COMPLETED
    store = load_artifact_store(run.stack.components[StackComponentType.ARTIFACT_STORE][0].id)
    left = Left(tried, recorded, run.config.extra, Outbox(StoreFiles(store), str(run.id), load_keys), load_keys)
    if left.stated and not claimed(left.stated.nonce, str(run.snapshot.id) if run.snapshot else ""):
        left.refused.append("submission: is the statement of another submission")
    return left
