"""Which stack a run worked on: its runs alone are collected, for those of another are another tenant's."""

from __future__ import annotations

from zenml.client import Client
from zenml.models import PipelineRunResponse, StackResponse

from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger.run.submission import CLUSTER, check_stated, stated_of
from steps.keys import load_keys


def stack_named(name: str) -> StackResponse:
    """The stack of exactly this name.

    Raises:
        ArtifactError: there is none.
    """
    try:
        return Client().get_stack(name, allow_name_prefix_match=False)
    except KeyError:
        raise ArtifactError(
            "ZenML's server has no such stack, so which runs are to be collected is not known", name,
            "look who renamed or deleted it; `domainlm stack apply` registers it",
        ) from None  # fmt: skip


def entered_elsewhere(run: PipelineRunResponse, evidence: str) -> bool:
    """Whether another collector than that of a stack file's `evidence` enters a run, as its sealed statement says. A
    schedule's runs have nobody who follows them: the cluster enters them. What bears no seal of ours is anybody's: it
    will be refused by name.

    Raises:
        SecretError: the key is missing.
    """
    try:
        check_stated(run.config.extra, load_keys)
    except EvidenceRefused:
        return False
    stated = stated_of(run.config.extra)
    if stated is None or (evidence == CLUSTER and run.schedule is not None):
        return False
    return stated.evidence != evidence


def require_stack(run: PipelineRunResponse, stack: str) -> None:
    """Whether a run worked on the stack whose evidence is collected.

    Args:
        run: as ZenML's server has it.
        stack: the stack's name; "" asks only that there is one.

    Raises:
        ArtifactError: it did not, or its stack was deleted.
    """
    if run.stack is None:
        raise ArtifactError(
            "the run's stack was deleted from ZenML's server, which cannot say any more where its evidence lies",
            run.name, "look in the store's evidence-outbox, and who deleted the stack",
        )  # fmt: skip
    if stack and run.stack.name != stack:
        raise ArtifactError(
            f"the run worked on the stack '{run.stack.name}', not on '{stack}'", run.name, "name its own stack file"
        )
