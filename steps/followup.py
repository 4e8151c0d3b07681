"""What follows a retraining whose run is in the ledger: a standing approval promotes its model, or a person is told.

Called again and again, by several processes at once too: the ledger adds one promotion, and a notice is sent once.
"""

from __future__ import annotations

from collections.abc import Callable

from domainlm.audit.decisions.candidates import candidates, ended_without
from domainlm.audit.evidence import Evidence
from domainlm.candidacy import BY_STANDING, CHAMPION, NOT_ENTERED, OVERTAKEN, PROMOTED, Candidate
from domainlm.errors import DomainLMError
from domainlm.ledger.client import evidence_entries, new_gate
from domainlm.ledger.run.entering import has_ledger
from domainlm.retrain import outcomes
from domainlm.retrain.book import Book
from domainlm.retrain.book.rows import AcceptedResult
from domainlm.retrain.notices import tell
from domainlm.retrain.outcomes import Outcome
from domainlm.retrain.settings import SettleSettings
from steps.promoting import promote_in_stack

Promote = Callable[[str, str], object]


def follow_up(book: Book, lane: str, settings: SettleSettings, promote: Promote = promote_in_stack) -> list[Outcome]:
    """Promote what may be promoted by itself, and tell people of the rest; one outcome for each model of which there is
    something to say.

    Args:
        lane: the registered name.
        promote: makes NAME, VERSION the champion, or raises.

    Raises:
        EvidenceRefused: the ledger holds an entry that does not pass the gate; nothing was done.
        BookUnavailable: the book is away.
    """
    results = [result for result in book.results(lane) if result.version.rpartition("/")[0] == lane]
    if all(result.promoted_at for result in results):
        return []
    may_stand = settings.promote == "standing"
    found = _followed(book, lane, results, may_stand, promote) if has_ledger() else [outcomes.no_ledger(results[-1])]
    for outcome in found:
        if outcome.notice is not None:
            tell(book, outcome.notice)
    return found


def _followed(book: Book, lane: str, results: list[AcceptedResult], may_stand: bool, promote: Promote) -> list[Outcome]:
    evidence = Evidence(evidence_entries(), new_gate())
    versions, found = [(result.version, result.identity) for result in results], []
    for result, candidate in zip(results, candidates(evidence, lane, versions), strict=True):
        if candidate.state in (CHAMPION, PROMOTED):
            if not result.promoted_at:
                book.promoted(result.identity)
                found.append(outcomes.promoted(result, "it was promoted"))
        elif candidate.state == NOT_ENTERED:
            ended = ended_without(evidence, result.run_id)
            found.append(outcomes.cut_off(result, ended) if ended else outcomes.not_entered(result))
        elif candidate.state != OVERTAKEN:
            found.append(_newest(book, result, candidate, may_stand, promote))
    return found


def _newest(book: Book, result: AcceptedResult, candidate: Candidate, may_stand: bool, promote: Promote) -> Outcome:
    # the book's own word on its batches, beside the manifest's on its sources
    untrusted = bool(candidate.untrusted) or any(not book.batch(one).trusted for one in result.batches)
    if candidate.state != BY_STANDING or untrusted or not may_stand:
        return outcomes.waiting(result, candidate, untrusted, may_stand)
    try:
        promote(*result.version.rsplit("/", 1))
    except DomainLMError as error:
        return outcomes.refused(result, type(error).__name__)
    book.promoted(result.identity)
    return outcomes.promoted(result, "a standing approval promoted it")
