"""The steps that make a training a retraining: what landed, whether it is reason enough, and that its result counts."""

from __future__ import annotations

from typing import Annotated

from zenml import log_metadata

from domainlm.errors import BookRefused, LeaseLost
from domainlm.evaluate.contest_report import ContestReport
from domainlm.names import DECISION, DETECT, RETRAIN
from domainlm.register import Registration
from domainlm.retrain.batches import Detection, LandedData, RetrainingPlan, Settlement
from domainlm.retrain.book import open_book
from domainlm.retrain.book.claims import RESULT_PATIENCE_S
from domainlm.retrain.deciding.plan import make_plan
from domainlm.retrain.settings import DecideSettings, DetectSettings, SettleSettings
from steps import claims
from steps.compiled import compiled
from steps.deciding import decided, note_scores, result_of
from steps.declined import decline, told
from steps.detecting import look
from steps.marks import mark_superseded
from steps.pod_claims import lease_of_run
from steps.stage import stage_step


@stage_step(RETRAIN, cached=False)
def detect(settings: DetectSettings) -> Annotated[Detection, "detection"]:
    """Look into the landing zone, and hold what landed against the contract of its feed; raises ZoneUnreachable or
    BookUnavailable where nothing is known: the next run looks again."""
    found = look(open_book(), settings, compiled())
    log_metadata(found.summary())
    return found


@stage_step(RETRAIN, cached=False)
def decide(
    detection: Detection, settings: DecideSettings
) -> tuple[Annotated[RetrainingPlan, "plan"], Annotated[LandedData, "landed"]]:
    """Decide with reasons, and claim what shall be trained on; a "no" ends the run well.

    Raises:
        Declined: nothing is to be trained; book and manifest have the reasons.
    """
    book, run = open_book(), compiled()
    decision, claim = decided(book, settings, run, lease_of_run(settings.lease_s))
    log_metadata({DECISION: told(decision)})
    book.record_decision(decision, run.run_id)
    if claim is None:
        decline(decision)
    claims.hold(book, claim)
    there = run.settings(DETECT)
    plan = make_plan(book, claim, decision, settings, there.feeds, there.zone)
    log_metadata({"token": claim.token, "batches": len(claim.batches), "trusted": plan.trusted})
    return plan, plan.landed()


@stage_step(RETRAIN, cached=False)
def settle(
    plan: RetrainingPlan, registration: Registration, contest: ContestReport, settings: SettleSettings
) -> Annotated[Settlement, "settlement"]:
    """Have the book accept what came of the claim, as the last thing that can fail: a run that failed after it would
    count all the same. Promotion and notices come when the run is in the ledger.

    Raises:
        LeaseLost, BookRefused: another result counts, or a batch was taken back; the version is marked.
    """
    book, result = open_book(patience_s=RESULT_PATIENCE_S), result_of(registration, contest, compiled())
    found = Settlement(token=plan.claim.token, lane=plan.claim.lane, batches=plan.claim.batches, result=result)
    log_metadata(found.summary())
    note_scores(book, result.identity, contest)
    try:
        claims.settle(book, plan.claim, result)
    except (LeaseLost, BookRefused) as error:
        if result.identity not in {one.identity for one in book.results(plan.claim.lane)}:
            mark_superseded(registration.name, registration.version, error.what)
        raise
    return found
