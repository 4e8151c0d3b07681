"""What a request must be before anything looks at it, and what every answer bears."""

from __future__ import annotations

import pytest
from page_desks import URL, page_of
from small_ledgers import small_ledger, small_run

from domainlm.audit.page.guard import MAX_BODY_BYTES


@pytest.fixture
def page(tmp_path):
    small = small_ledger(tmp_path / "ledger")
    small.enter_run(small_run())
    with page_of(small) as made:
        made.sign_in("anna")
        yield made


@pytest.mark.parametrize(
    "path", ["/models", "/sign-in", "/static/page.css", "/static/page.js", "/nothing", "/static/no"]
)
def test_every_answer_forbids_the_browser_everything_but_the_page(page, path):
    headers = page.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "cache-control" in headers
    assert "server" not in headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8643", "localhost:8642", ""])
def test_a_foreign_host_reaches_nothing(page, host):
    assert page.client.get("/models", headers={"host": host}).status_code == 421
    assert page.client.get("/static/page.css", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8643", URL + ".evil.example", ""])
def test_a_form_of_another_page_is_refused(page, origin):
    assert page.post("/verification", origin=origin).status_code == 403
    assert page.post("/language", origin=origin, language="ko").status_code == 403


def test_a_form_that_states_no_origin_is_refused(page):
    assert page.client.post("/verification", data={"csrf": page.session().csrf}).status_code == 403


@pytest.mark.parametrize("path", ["/verification", "/sign-out", "/models/x/decide", "/statements/x"])
@pytest.mark.parametrize("csrf", ["", "wrong", "é"])
def test_a_form_without_the_sessions_token_is_refused(page, path, csrf):
    assert page.post(path, csrf=csrf).status_code == 403
    assert page.client.get("/models").status_code == 200  # still signed in


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(page, method):
    assert page.client.request(method, "/models").status_code == 405


def test_a_large_form_is_refused_unread(page):
    answer = page.client.post("/verification", content=b"x" * (MAX_BODY_BYTES + 1), headers={"origin": URL})
    assert answer.status_code == 413


def test_a_form_of_unknown_length_is_refused(page):
    answer = page.client.post("/verification", content=iter([b"csrf=x"]), headers={"origin": URL})
    assert answer.status_code == 411


def test_a_get_changes_nothing(page):
    size = page.small.ledger.frontier.size
    for path in ("/sign-out", "/language"):
        assert page.client.get(path).status_code in (404, 405)
    assert page.client.get("/models").status_code == 200
    assert page.small.ledger.frontier.size == size


def test_static_files_cannot_be_left(page):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"):
        assert page.client.get(path).status_code == 404
