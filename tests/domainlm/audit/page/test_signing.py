"""The signing dialogue: what is shown is what is signed, and the gate has the last word."""

from __future__ import annotations

import base64
import html
import re

import pytest
from page_desks import page_of
from rich_runs import rich_run
from small_ledgers import small_ledger

from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Condition
from domainlm.ledger.envelopes import Envelope

IDENTITY = rich_run(1).model.identity


@pytest.fixture
def small(tmp_path):
    made = small_ledger(tmp_path / "ledger")
    made.enter_run(rich_run(1))
    return made


@pytest.fixture
def page(small):
    with page_of(small) as made:
        yield made


def prepared(page, **fields):
    """The page of a statement, and its unsigned envelope."""
    answer = page.post(f"/models/{IDENTITY}/decide", **({"decision": "approve"} | fields))
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]
    unsigned = page.client.get(f"{where}/statement.json")
    assert unsigned.headers["content-disposition"].startswith("attachment")
    return where, Envelope.parse(unsigned.content, "the download")


def decisions(small):
    return [(stated.header.by, stated.act.decision) for stated in small.evidence().of_kind(entries.APPROVAL)]


def test_a_signature_of_the_browser_is_entered(page, small):
    page.sign_in("anna")
    where, unsigned = prepared(page, reason="Examined.", until="2099-01-31")
    signature = small.keys["anna"].sign(unsigned.pae).signature
    answer = page.post(where, signature=signature)
    assert answer.headers["location"] == f"/models/{IDENTITY}"
    assert decisions(small) == [("anna", "approve")]
    text = page.client.get(f"/models/{IDENTITY}").text
    assert "is in the ledger as entry" in text and "Examined." in text and "2099-01-31" in text
    assert "is in the ledger as entry" not in page.client.get(f"/models/{IDENTITY}").text
    assert page.client.get(where).status_code == 404  # a statement is handed in once


def test_an_uploaded_envelope_is_entered(page, small):
    page.sign_in("victor")
    where, unsigned = prepared(page)
    signed = Envelope.sign(unsigned.statement, small.keys["victor"])
    answer = page.post(where, files={"upload": ("signed.json", signed.to_bytes() + b"\n")})
    assert answer.status_code == 303
    assert decisions(small) == [("victor", "approve")]


def test_what_is_shown_is_what_is_signed(page):
    page.sign_in("anna")
    where, unsigned = prepared(page, reason="<b>&amp;</b>")
    text = page.client.get(where).text
    shown = html.unescape(re.search(r'id="shown">(.*?)</pre>', text, re.DOTALL)[1])
    payload = base64.b64decode(re.search(r'data-payload="([^"]+)"', text)[1])
    assert payload == unsigned.payload
    import json

    assert json.loads(shown) == unsigned.statement
    assert unsigned.statement["predicate"]["reason"] == "<b>&amp;</b>" and "<b>&amp;</b>" not in text


def test_another_persons_signature_is_refused(page, small):
    page.sign_in("anna")
    where, unsigned = prepared(page)
    answer = page.post(where, signature=small.keys["olga"].sign(unsigned.pae).signature)
    assert answer.status_code == 422 and "Not entered" in answer.text
    signed = Envelope.sign(unsigned.statement, small.keys["olga"])
    assert page.post(where, files={"upload": ("signed.json", signed.to_bytes())}).status_code == 422
    assert decisions(small) == []


@pytest.mark.parametrize("signature", ["", "zz", "00" * 64, "00" * 63, "é"])
def test_what_is_no_signature_is_refused(page, small, signature):
    page.sign_in("anna")
    where, _ = prepared(page)
    assert page.post(where, signature=signature).status_code == 422
    assert decisions(small) == []


def test_an_upload_of_another_statement_is_refused(page, small):
    page.sign_in("anna")
    where, unsigned = prepared(page, decision="reject", reason="no")
    changed = {**unsigned.statement, "predicate": {**unsigned.statement["predicate"], "decision": "approve"}}
    for content in (Envelope.sign(changed, small.keys["anna"]).to_bytes(), b"{}", b"\xff\xfe", unsigned.to_bytes()):
        assert page.post(where, files={"upload": ("signed.json", content)}).status_code == 422
    assert decisions(small) == []


def test_a_statement_belongs_to_its_session(page, small):
    page.sign_in("anna")
    where, unsigned = prepared(page)
    page.post("/sign-out")
    page.sign_in("olga")
    assert page.client.get(where).status_code == 404
    assert page.post(where, signature=small.keys["anna"].sign(unsigned.pae).signature).status_code == 404


def test_who_wrote_it_cannot_approve_it(small):
    own = rich_run(2)
    authors = own.authors.model_copy(update={"code": small.policy.members["anna"].identities})
    small.enter_run(own.model_copy(update={"authors": authors}))
    with page_of(small) as page:
        page.sign_in("anna")
        answer = page.post(f"/models/{own.model.identity}/decide", decision="approve")
        assert answer.status_code == 422 and "four eyes" in answer.text


def test_a_trainer_cannot_sign(page):
    page.sign_in("tina")
    assert page.post(f"/models/{IDENTITY}/decide", decision="approve").status_code == 403


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"decision": ""}, "decision"),
        ({"decision": "promote"}, "decision"),
        ({"decision": "reject"}, "reason"),
        ({"decision": "revoke"}, "reason"),
        ({"until": "2020-01-01"}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "20990131"}, "until"),
        ({"reason": "x" * 2001}, "reason"),
        ({"condition-1": "measure it"}, "condition-1"),
        ({"condition-2": "measure it", "due-2": "2020-01-01"}, "condition-2"),
        ({"due-3": "2099-01-01"}, "condition-3"),
        ({"decision": "reject", "reason": "no", "condition-1": "x", "due-1": "2099-01-01"}, "decision"),
    ],
)
def test_a_form_that_does_not_fit_says_where(page, fields, field):
    page.sign_in("anna")
    answer = page.post(f"/models/{IDENTITY}/decide", **({"decision": "approve"} | fields))
    assert answer.status_code == 422
    assert f'id="{field}-problem"' in answer.text
    for name, value in fields.items():
        if name != "decision" and value:
            assert html.escape(value) in answer.text  # what was typed is kept


def test_a_condition_is_stated_met_by_another_statement(page, small):
    page.sign_in("olga")
    where, unsigned = prepared(page, **{"condition-1": "measure the bias", "due-1": "2099-01-31"})
    page.post(where, signature=small.keys["olga"].sign(unsigned.pae).signature)
    approval = next(iter(small.evidence().of_kind(entries.APPROVAL)))
    assert approval.act.conditions == [Condition(id="condition-1", text="measure the bias", due="2099-01-31")]
    assert "State that it is met" in page.client.get(f"/models/{IDENTITY}").text
    for wrong in ({"approval": "0" * 64}, {"condition": "condition-9"}, {"evidence": " "}):
        fields = {"approval": approval.digest, "condition": "condition-1", "evidence": "report 7"} | wrong
        assert page.post(f"/models/{IDENTITY}/condition", **fields).status_code == 422
    answer = page.post(
        f"/models/{IDENTITY}/condition", approval=approval.digest, condition="condition-1", evidence="report 7"
    )
    where = answer.headers["location"]
    unsigned = Envelope.parse(page.client.get(f"{where}/statement.json").content, "the download")
    assert page.post(where, signature=small.keys["olga"].sign(unsigned.pae).signature).status_code == 303
    met = next(iter(small.evidence().of_kind(entries.CONDITION_MET)))
    assert (met.act.approval, met.act.evidence) == (approval.digest, "report 7")
    assert "State that it is met" not in page.client.get(f"/models/{IDENTITY}").text


def test_two_approvals_are_what_the_verdict_waits_for(page, small):
    page.sign_in("anna")
    assert "may not be promoted" in page.client.get(f"/models/{IDENTITY}").text
    run = small.evidence().run(rich_run(1).run_id).digest
    for who in ("olga", "victor"):
        small.state(
            who, entries.APPROVAL,
            Approval(model="domainlm-finance/1", identity=IDENTITY, run=run, decision="approve"), {"model": IDENTITY},
        )  # fmt: skip
    text = page.client.get(f"/models/{IDENTITY}").text
    assert "may not be promoted" not in text and "may be promoted" in text
    assert "yes" in text and "(officer)" in text and "(validator)" in text


def test_a_signer_that_is_away_is_said_and_nothing_is_lost(small):
    from domainlm.errors import ArtifactError

    def away(_):
        raise ArtifactError("the signer cannot be reached", "the socket", "start it")

    with page_of(small, submit=away) as page:
        page.sign_in("anna")
        where, unsigned = prepared(page)
        answer = page.post(where, signature=small.keys["anna"].sign(unsigned.pae).signature)
        assert answer.status_code == 503 and "the signer cannot be reached" in answer.text
        assert page.client.get(where).status_code == 200  # the statement waits
