"""The signing dialogue: decide, read the statement, sign it with the own key, hand it to the gate."""

from __future__ import annotations

import base64
import json
from datetime import date

from pydantic import ValidationError
from starlette.responses import Response

from domainlm.audit.decisions import statements
from domainlm.audit.decisions.approvals import label_of
from domainlm.audit.decisions.statements import Act
from domainlm.audit.evidence import Stated
from domainlm.audit.page.drafts import Draft, draft
from domainlm.audit.page.visit import NotThere, Visit, download
from domainlm.errors import ApprovalRefused, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import Condition
from domainlm.ledger.trust.gate import now

DECISIONS = ("approve", "reject", "revoke")
CONDITIONS = 3  # fields of the form; more through the command line
MOST_REASON = 2000


def dialogue(visit: Visit) -> Response:
    """The form; none while the ledger is broken."""
    visit.need_sound()
    stated = visit.model()
    visit.note("model", stated.act.model.identity)
    wanted = visit.asked("decision")
    fields = {"decision": wanted if wanted in DECISIONS else ""}
    return _form(visit, stated, fields, {})


def prepare(visit: Visit) -> Response:
    """Turn the form into a statement, or say what is wrong with it."""
    visit.need_sound()
    stated = visit.model()
    fields = {name: visit.given(name) for name in visit.form if name != "csrf"}
    problems, conditions = _checked(fields)
    if problems:
        return _form(visit, stated, fields, problems, status=422)
    try:
        act = statements.approval(
            visit.book.evidence,
            stated,
            fields["decision"],
            fields.get("reason", ""),
            fields.get("until", ""),
            conditions,
        )
        return _keep(visit, stated, act)
    except ApprovalRefused as error:
        return _form(visit, stated, fields, {}, error, status=422)


def prepare_condition(visit: Visit) -> Response:
    """A statement that a condition is fulfilled."""
    visit.need_sound()
    stated = visit.model()
    try:
        act = statements.condition_met(
            visit.book.evidence,
            visit.given("approval", 64),
            visit.given("condition", 40),
            visit.given("evidence", 2000),
        )
        return _keep(visit, stated, act)
    except ApprovalRefused as error:
        return visit.refused(error, 422)


def statement(visit: Visit) -> Response:
    """What will be signed, letter by letter, and the two ways to sign it."""
    return _shown(visit, _draft(visit))


def sign(visit: Visit) -> Response:
    """Take a signature, or a signed envelope, to the gate."""
    visit.need_sound()
    found = _draft(visit)
    upload = visit.form.get("upload") or visit.form.get("envelope") or ""
    try:
        if upload.strip():
            envelope = found.matched(upload.encode())
        else:
            envelope = found.signed(visit.signed_in.keyid, visit.given("signature", 200))
        receipt = visit.office.desk.submit(envelope)
    except EvidenceRefused as error:
        return _shown(visit, found, error)
    visit.signed_in.drafts.pop(found.id, None)
    visit.tell("decide.entered", number=receipt.number)
    return visit.go(f"/models/{found.identity}")  # its top says so


def unsigned(visit: Visit) -> Response:
    """The unsigned statement as a file, for `domainlm audit sign`."""
    found = _draft(visit)
    return download(found.envelope.to_bytes(), _file_name(found), "application/json")


def _form(
    visit: Visit,
    stated: Stated,
    fields: dict[str, str],
    problems: dict[str, str],
    error: ApprovalRefused | None = None,
    status: int = 200,
) -> Response:
    return visit.page(
        "decide.html", status, stated=stated, model=stated.act.model, fields=fields, problems=problems, error=error,
        decisions=[name for name in DECISIONS if name != "revoke" or decided(visit, stated.act.model.identity)],
        conditions=range(1, CONDITIONS + 1), today=now().date().isoformat(),
        decision=visit.office.decision(stated.act.model.identity),
    )  # fmt: skip


def decided(visit: Visit, identity: str) -> bool:
    """Whether a decision of the person stands that they could take back."""
    own = [act.act.decision for act in visit.book.evidence.about(identity, entries.APPROVAL)
           if act.header.by == visit.person]  # fmt: skip
    return bool(own) and own[-1] != "revoke"


def _checked(fields: dict[str, str]) -> tuple[dict[str, str], list[Condition]]:
    """Field -> the key of what is wrong with it; and the conditions."""
    problems: dict[str, str] = {}
    if fields.get("decision") not in DECISIONS:
        problems["decision"] = "decide.choose"
    if fields.get("decision") in ("reject", "revoke") and not fields.get("reason"):
        problems["reason"] = "decide.reason_missing"
    if len(fields.get("reason", "")) > MOST_REASON:
        problems["reason"] = "decide.too_long"
    if fields.get("until") and not _future(fields["until"]):
        problems["until"] = "decide.date_wrong"
    conditions = []
    for number in range(1, CONDITIONS + 1):
        text, due = fields.get(f"condition-{number}", ""), fields.get(f"due-{number}", "")
        if not text and not due:
            continue
        if not text or not _future(due):
            problems[f"condition-{number}"] = "decide.condition_wrong"
            continue
        try:
            conditions.append(Condition(id=f"condition-{number}", text=text, due=due))
        except ValidationError:
            problems[f"condition-{number}"] = "decide.condition_wrong"
    if conditions and fields.get("decision") != "approve":
        problems["decision"] = "decide.conditions_only_approve"
    return problems, conditions


def _future(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text and text >= now().date().isoformat()
    except ValueError:
        return False


def _keep(visit: Visit, stated: Stated, act: Act) -> Response:
    model = stated.act.model
    made = draft(visit.signed_in, visit.book.evidence, act, model.identity, label_of(stated))
    return visit.go(f"/statements/{made.id}")


def _draft(visit: Visit) -> Draft:
    found = visit.signed_in.drafts.get(visit.request.path_params["draft"])
    if not isinstance(found, Draft):
        raise NotThere
    return found


def _shown(visit: Visit, found: Draft, error: EvidenceRefused | None = None) -> Response:
    return visit.page(
        "statement.html", 200 if error is None else 422, draft=found, error=error, file_name=_file_name(found),
        payload=base64.b64encode(found.envelope.payload).decode(),
        shown=json.dumps(found.envelope.statement, indent=2, ensure_ascii=False),
    )  # fmt: skip


def _file_name(found: Draft) -> str:
    return f"{found.kind}-{found.identity[:12]}.json"
