"""What people are told of a model that came of a retraining: one line, and one notice. No person is named in either."""

from __future__ import annotations

from domainlm.candidacy import APPROVED, BY_STANDING, CHAMPION, NOT_ENTERED, WAITS, Candidate
from domainlm.reports import Report
from domainlm.retrain.book.rows import AcceptedResult
from domainlm.retrain.notices.notice import Notice

NO_LEDGER, REFUSED = "no-ledger", "refused"


class Outcome(Report):
    """How a model stands.

    Fields:
        state: of `domainlm.candidacy`, or `no-ledger`, or `refused`: its promotion was.
        notice: what people are told beside it; None for nothing.
    """

    label: str
    state: str
    told: str
    notice: Notice | None = None

    def __str__(self) -> str:
        return f"{self.label}: {self.told}"


def no_ledger(result: AcceptedResult) -> Outcome:
    """Development, or a watcher apart from the cluster's ledger, whose collector follows up."""
    told = "promotion is by people and the ledger, and there is none here (domainlm audit init makes one)"
    return Outcome(label=result.version, state=NO_LEDGER, told=told)


def not_entered(result: AcceptedResult) -> Outcome:
    """The run is not in the ledger yet."""
    told = "its run is not in the ledger yet; the next run, or `domainlm audit collect`, enters it"
    return Outcome(label=result.version, state=NOT_ENTERED, told=told)


def cut_off(result: AcceptedResult, ended: str) -> Outcome:
    """Its result counts, and its run ended before its evidence was whole: nothing promotes it, and nothing will.

    Args:
        ended: the run's status, `failed` or `interrupted`.
    """
    action = f"domainlm retrain --once --as-run {result.run_id}"
    cause = f"the run of {result.version} ended after its result was accepted ({ended}): it cannot become champion"
    notice = Notice(kind="failed", run=result.run_id, cause=cause, next_action=f"{action} trains it again",
                    key=f"cut-off/{result.run_id}")  # fmt: skip
    told = f"its run ended after its result was accepted ({ended}); {action} trains it again"
    return Outcome(label=result.version, state=NOT_ENTERED, told=told, notice=notice)


def waiting(result: AcceptedResult, candidate: Candidate, untrusted: bool, may_stand: bool) -> Outcome:
    """A person has the next word.

    Args:
        untrusted: it learnt from an untrusted source, or of a batch of one.
        may_stand: whether the configuration leaves promotions to standing approvals.
    """
    action = f"domainlm promote {candidate.label}"
    if candidate.state == WAITS and not candidate.missing:
        action = f"domainlm audit approvals {candidate.label} says what"
    elif candidate.state == WAITS or (untrusted and candidate.state == BY_STANDING):
        action = f"domainlm audit approve {candidate.label} --key KEY.pem, then {action}"
    why = _why(candidate, untrusted, may_stand)
    notice = Notice(kind="waits-for-person", run=result.run_id, cause=f"candidate {candidate.label}: {why}",
                    next_action=action, key=f"{candidate.state}/{candidate.identity}")  # fmt: skip
    return Outcome(label=candidate.label, state=candidate.state, told=f"waits for a person: {why}; {action}",
                   notice=notice)  # fmt: skip


def refused(result: AcceptedResult, kind: str) -> Outcome:
    """A promotion by itself was tried and refused: what the error says may name people, so only its kind is told."""
    action = f"domainlm promote {result.version} --dry-run says why"
    cause = f"candidate {result.version} could not be promoted by itself ({kind})"
    notice = Notice(kind="waits-for-person", run=result.run_id, cause=cause, next_action=action,
                    key=f"refused/{result.identity}/{kind}")  # fmt: skip
    return Outcome(label=result.version, state=REFUSED, told=f"was not promoted ({kind}); {action}", notice=notice)


def promoted(result: AcceptedResult, how: str) -> Outcome:
    """It is the champion, or was before another one."""
    action = f"domainlm audit approvals {result.version} shows what it rests on"
    notice = Notice(kind="promoted", run=result.run_id, cause=f"{result.version}: {how}", next_action=action,
                    key=f"promoted/{result.identity}")  # fmt: skip
    return Outcome(label=result.version, state=CHAMPION, told=how, notice=notice)


def _why(candidate: Candidate, untrusted: bool, may_stand: bool) -> str:
    if candidate.state == APPROVED:
        return "people approved it, and nobody promoted it yet"
    if untrusted:
        return "it learnt from an untrusted source, and nothing promotes it by itself"
    if candidate.state == BY_STANDING:
        return "a standing approval would allow it, and steps.settle.parameters.promote is person"
    told = " and ".join(candidate.missing) or "more than an approval"
    told += " are missing" if len(candidate.missing) > 1 else " is missing"
    return f"no standing approval serves, and {told}" if may_stand else told
