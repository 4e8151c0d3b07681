"""What became of models that wait to become champion: who is it already, who was overtaken, what the newest lacks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from domainlm.audit.decisions.approvals import decide, label_of, registrations
from domainlm.audit.evidence import Evidence
from domainlm.candidacy import (
    APPROVED,
    BY_STANDING,
    CHAMPION,
    NOT_ENTERED,
    OVERTAKEN,
    PROMOTED,
    WAITS,
    Candidate,
)
from domainlm.errors import ArtifactError
from domainlm.ledger import entries
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.machine import process_gone
from domainlm.ledger.run.manifest import FAILED, INTERRUPTED, RUNNING


def candidates(
    evidence: Evidence, name: str, versions: Sequence[tuple[str, str]], today: date | None = None
) -> list[Candidate]:
    """How each version of a registered name stands.

    Args:
        name: the registered name.
        versions: (NAME/VERSION, identity), the oldest first.
        today: for dates of approvals; the present day by default.
    """
    champion = evidence.champion(name)
    promoted = {
        stated.act.identity
        for stated in evidence.of_kind(entries.PROMOTION)
        if stated.act.model.rpartition("/")[0] == name
    }
    last = max((place for place, (_, identity) in enumerate(versions) if identity in promoted), default=-1)
    found = []
    for place, (label, identity) in enumerate(versions):
        if identity in promoted:
            state = CHAMPION if champion is not None and champion.act.identity == identity else PROMOTED
            found.append(Candidate(label=label, identity=identity, state=state))  # type: ignore[arg-type]
        elif place < last or place < len(versions) - 1:
            found.append(Candidate(label=label, identity=identity, state=OVERTAKEN))
        else:
            found.append(_newest(evidence, name, label, identity, today))
    return found


def ended_without(evidence: Evidence, run: str) -> str:
    """How a run ended, `failed` or `interrupted`, that cannot make its model a candidate any more; empty where it may
    still, or nobody here knows.

    Args:
        run: its id.
    """
    if (stated := evidence.run(run)) is not None:
        status = stated.act.status
    else:  # it may have been killed, which the next run on its machine notes
        try:
            found = manifests.read(manifests.manifest_folder() / f"{run}.json")
        except ArtifactError:  # it is another machine's, or verification names it
            return ""
        status = INTERRUPTED if found.status == RUNNING and process_gone(found.environment) else found.status
    return status if status in (FAILED, INTERRUPTED) else ""


def _newest(evidence: Evidence, name: str, label: str, identity: str, today: date | None) -> Candidate:
    runs = registrations(evidence, identity, name)
    if label not in {label_of(run) for run in runs}:
        return Candidate(label=label, identity=identity, state=NOT_ENTERED)
    decision = decide(evidence, identity, today, name)
    state = WAITS if not decision.allowed else BY_STANDING if decision.standing else APPROVED
    untrusted = sorted({source.name for run in runs for source in run.act.sources if source.trusted is False})
    # what is missing names people who could give it, after a colon: not for a notice
    missing = [said.partition(" is missing")[0].partition(" are missing")[0] for said in decision.missing
               if said.startswith("the approval")]  # fmt: skip
    return Candidate(
        label=label, identity=identity, state=state, untrusted=untrusted,  # type: ignore[arg-type]
        missing=missing if len(missing) == len(decision.missing) else [],
    )  # fmt: skip
