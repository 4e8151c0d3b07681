"""Who sees what: a trainer models alone, a validator all but the access log, an officer all."""

from __future__ import annotations

import time

import pytest
from page_desks import page_of
from rich_runs import failed_run, rich_run
from small_ledgers import small_ledger

from domainlm.audit.page.app import PAGES
from domainlm.audit.page.visit import RIGHTS
from domainlm.ledger import entries
from domainlm.ledger.trust.gate import PERSONAL

IDENTITY = rich_run(1).model.identity
FOR_ALL = ("/models", f"/models/{IDENTITY}", "/runs", f"/runs/{failed_run(9).run_id}", "/compare", "/verification",
           f"/compare?before={IDENTITY}&after={rich_run(2).model.identity}", "/verification/status",
           "/search?q=domainlm")  # fmt: skip
NOT_FOR_TRAINERS = ("/entries", "/entries/1", "/entries/1/envelope.json", "/people", f"/models/{IDENTITY}/decide",
                    f"/models/{IDENTITY}/report.html")  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    made = small_ledger(tmp_path_factory.mktemp("rights"))
    for number in (1, 2):
        made.enter_run(rich_run(number))
    made.enter_run(failed_run(9))
    return made


def page_with_report(small):
    return page_of(small, reports={"html": lambda *_: b"<!doctype html>"})


def verified(page):
    """Wait for the first verification."""
    for _ in range(200):
        if page.app.state.office.watch.latest.verification is not None:
            return
        time.sleep(0.05)
    raise AssertionError("no verification")


@pytest.mark.parametrize("who", ["anna", "victor", "tina", "olga"])
def test_each_role_opens_its_pages_and_no_other(small, who):
    with page_with_report(small) as page:
        page.sign_in(who)
        verified(page)
        for path in FOR_ALL:
            assert page.client.get(path).status_code == 200, path
        for path in NOT_FOR_TRAINERS:
            assert page.client.get(path).status_code == (403 if who == "tina" else 200), path
        assert page.client.get("/access").status_code == (200 if who in ("anna", "olga") else 403)


def test_nobody_opens_anything_without_a_session(small):
    with page_of(small) as page:
        for path, method, _view, right in PAGES:
            assert right, path
            plain = path.replace(":path", "")
            filled = plain.format(identity=IDENTITY, run="x", draft="x", number=1, ending="html")
            if method == "GET":
                answer = page.client.get(filled)
                assert answer.status_code in (303, 401) and IDENTITY not in answer.text.replace(filled, ""), path
            else:
                assert page.post(filled).status_code == 401, path


def test_every_personal_role_has_its_rights():
    assert set(RIGHTS) == set(PERSONAL)


def test_a_trainer_sees_no_personal_data_findings(small):
    with page_of(small) as page:
        page.sign_in("tina")
        text = page.client.get(f"/models/{IDENTITY}").text
        assert "Korean resident registration numbers" not in text and "decide?" not in text
        assert 'href="/entries' not in text and 'href="/access' not in text
        compared = page.client.get(f"/compare?before={IDENTITY}&after={rich_run(2).model.identity}").text
        assert "entities" not in compared and 'id="h-verdicts"' not in compared
        page.post("/sign-out")
        page.sign_in("victor")
        assert "Korean resident registration numbers" in page.client.get(f"/models/{IDENTITY}").text


def test_a_validator_sees_no_look_of_others_anywhere(small):
    with page_of(small) as page:
        page.sign_in("anna")
        page.client.get(f"/models/{IDENTITY}")
        page.app.state.office.reads.drain()
        number = small.ledger.frontier.size - 1
        assert page.client.get(f"/entries/{number}").status_code == 200
        assert page.client.get("/entries?kind=read").text.count('href="/entries/') > 0
        page.post("/sign-out")
        page.sign_in("victor")
        assert small.evidence().stated[number].header.kind == entries.READ
        assert page.client.get(f"/entries/{number}").status_code == 403
        assert page.client.get(f"/entries/{number}/envelope.json").status_code == 403
        for path in ("/entries?kind=read", "/entries?kind=all", f"/search?q={number}"):
            assert f'href="/entries/{number}"' not in page.client.get(path).text


def test_what_is_not_there_is_not_found(small):
    with page_of(small) as page:
        page.sign_in("anna")
        for path in (
            "/models/none", f"/models/{IDENTITY[:12]}", f"/models/{IDENTITY}/report.exe", "/runs/none",
            "/entries/999999", "/entries/-1", "/entries/\u0663", "/entries/" + "9" * 5000, "/statements/none",
            "/compare?before=a&after=b",
        ):  # fmt: skip
            assert page.client.get(path).status_code == 404, path
