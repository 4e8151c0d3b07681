"""Sign-in by personal key: who gets in, once, for how long, and who does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from page_desks import URL, page_of
from securesystemslib.signer import CryptoSigner
from small_ledgers import ORIGIN, small_ledger, small_run

from domainlm.audit.page.challenges import LIFE_S, Challenge, Challenges, member_of
from domainlm.audit.page.desk import PageSettings
from domainlm.audit.page.sessions import MOST_FAILURES, WINDOW_S, Limiter, Sessions
from domainlm.audit.page.visit import local_path
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.trust.gate import Revocation


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def small(tmp_path):
    made = small_ledger(tmp_path / "ledger")
    made.enter_run(small_run())
    return made


def next_policy(small, **changes):
    """Enter a policy that follows the one in force."""
    evidence = small.evidence()
    before = evidence.policy
    digest = [stated.digest for stated in evidence.of_kind(entries.POLICY)][-1]
    policy = before.model_copy(update={"version": before.version + 1, "previous": digest} | changes)
    small.state("root", entries.POLICY, policy)
    return policy


@pytest.mark.parametrize("who", ["anna", "victor", "tina", "olga"])
def test_members_with_a_personal_role_get_in(small, who):
    with page_of(small) as page:
        assert page.client.get("/models").headers["location"].startswith("/sign-in")
        assert page.sign_in(who).headers["location"] == "/"
        answer = page.client.get("/models")
        assert answer.status_code == 200 and f">{who}</bdi>" in answer.text


@pytest.mark.parametrize("who", ["root", "recorder", "log"])
def test_services_and_the_root_do_not_get_in(small, who):
    with page_of(small) as page:
        assert page.sign_in(who).status_code == 403
        assert page.client.get("/models").status_code == 303


def test_a_strange_key_and_another_persons_answer_do_not_get_in(small):
    with page_of(small) as page:
        assert page.sign_in("anna", CryptoSigner.generate_ed25519()).status_code == 403
        challenge = Challenge.parse(page.client.get("/sign-in").text.split("KEY.pem ")[1].split("<")[0])
        anna, _, _ = challenge.answered(small.keys["anna"]).partition(".")
        _, _, tinas = challenge.answered(small.keys["tina"]).partition(".")
        assert page.post("/sign-in", token=f"{anna}.{tinas}", nonce=challenge.nonce).status_code == 403


@pytest.mark.parametrize("token", ["", ".", "x.y", "00" * 32 + "." + "00" * 64, "é.é", "a" * 400, "\x00"])
def test_what_is_no_answer_does_not_get_in(small, token):
    with page_of(small) as page:
        challenge = Challenge.parse(page.client.get("/sign-in").text.split("KEY.pem ")[1].split("<")[0])
        assert page.post("/sign-in", token=token, nonce=challenge.nonce).status_code == 403


def test_an_answer_serves_once(small):
    with page_of(small) as page:
        challenge = Challenge.parse(page.client.get("/sign-in").text.split("KEY.pem ")[1].split("<")[0])
        token = challenge.answered(small.keys["anna"])
        assert page.post("/sign-in", token=token, nonce=challenge.nonce).status_code == 303
        page.client.cookies.delete("domainlm-session")
        assert page.post("/sign-in", token=token, nonce=challenge.nonce).status_code == 403


def test_an_answer_serves_in_the_browser_that_was_asked(small):
    with page_of(small) as page:
        challenge = Challenge.parse(page.client.get("/sign-in").text.split("KEY.pem ")[1].split("<")[0])
        page.client.cookies.clear()
        answer = page.post("/sign-in", token=challenge.answered(small.keys["anna"]), nonce=challenge.nonce)
        assert answer.status_code == 403


def test_an_answer_of_another_page_or_ledger_does_not_serve(small):
    with page_of(small) as page:
        challenge = Challenge.parse(page.client.get("/sign-in").text.split("KEY.pem ")[1].split("<")[0])
        other = challenge.model_copy(update={"page": "https://evil.example"})
        assert page.post("/sign-in", token=other.answered(small.keys["anna"]), nonce=challenge.nonce).status_code == 403


def test_a_challenge_expires():
    moment = [datetime(2026, 11, 21, tzinfo=UTC)]
    waiting = Challenges(URL, ORIGIN, lambda: moment[0])
    kept, late = waiting.ask("browser"), waiting.ask("browser")
    moment[0] += timedelta(seconds=LIFE_S)
    assert waiting.take(kept.nonce, "browser") == kept
    moment[0] += timedelta(seconds=1)
    with pytest.raises(EvidenceRefused, match="expired"):
        waiting.take(late.nonce, "browser")


def test_an_answer_to_a_challenge_is_no_signature_of_an_entry(small):
    challenge = Challenges(URL, ORIGIN).ask("browser")
    _, _, signature = challenge.answered(small.keys["anna"]).partition(".")
    envelope = Envelope(challenge.payload, ((small.keys["anna"].public_key.keyid, bytes.fromhex(signature)),))
    assert envelope.verified_by([small.keys["anna"].public_key]) == []


def test_a_signature_of_an_entry_is_no_answer(small):
    challenge = Challenges(URL, ORIGIN).ask("browser")
    anna = small.keys["anna"]
    signature = Envelope(challenge.payload, ()).pae
    token = f"{anna.public_key.keyval['public']}.{anna.sign(signature).signature}"
    with pytest.raises(EvidenceRefused) as raised:
        challenge.answered_by(token, small.policy)
    assert raised.value.code == "bad-signature"


def test_a_challenge_is_one_word_and_comes_back(small):
    challenge = Challenges(URL, ORIGIN).ask("browser")
    assert Challenge.parse(challenge.text) == challenge
    for text in ("", "x", challenge.text[:-8], "bm8="):
        with pytest.raises(EvidenceRefused):
            Challenge.parse(text)


def test_a_revoked_key_opens_nothing_and_ends_its_session(small):
    anna = small.keys["anna"].public_key.keyid
    with page_of(small) as page:
        page.sign_in("anna")
        assert page.client.get("/models").status_code == 200
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        next_policy(small, revoked={anna: Revocation(since=now, reason="lost")})
        assert page.client.get("/models").status_code == 303
        assert page.sign_in("anna").status_code == 403


def test_a_session_ends_when_the_membership_does(small):
    with page_of(small) as page:
        page.sign_in("anna")
        members = dict(small.policy.members)
        members["anna"] = members["anna"].model_copy(update={"until": "2020-01-01"})
        next_policy(small, members=members)
        assert page.client.get("/models").status_code == 303


def test_the_last_day_of_a_member_counts(small):
    members = dict(small.policy.members)
    members["anna"] = members["anna"].model_copy(update={"until": "2026-11-21"})
    policy, keyid = small.policy.model_copy(update={"members": members}), small.keys["anna"].public_key.keyid
    assert member_of(policy, keyid, datetime(2026, 11, 21, 23, 59, tzinfo=UTC))[0] == "anna"
    with pytest.raises(EvidenceRefused):
        member_of(policy, keyid, datetime(2026, 11, 22, tzinfo=UTC))


def test_a_session_ends_when_nobody_uses_it_and_in_any_case():
    clock = Clock()
    sessions = Sessions(idle_s=60, absolute_s=100, clock=clock)
    session = sessions.start("anna", "k")
    for _ in range(2):
        clock.seconds += 50
        assert sessions.find(session.id) is session
    clock.seconds += 1
    assert sessions.find(session.id) is None
    other = sessions.start("anna", "k")
    clock.seconds += 61
    assert sessions.find(other.id) is None


def test_what_a_page_asks_by_itself_keeps_no_session_alive(small):
    with page_of(small) as page:
        page.sign_in("anna")
        session = page.session()
        seen = session.seen
        assert page.client.get("/verification/status").status_code == 200
        assert session.seen == seen
        page.client.get("/models")
        assert session.seen > seen


def test_sign_out_ends_the_session_on_the_server(small):
    with page_of(small) as page:
        page.sign_in("anna")
        cookie = page.client.cookies["domainlm-session"]
        assert page.post("/sign-out").status_code == 303
        page.client.cookies.set("domainlm-session", cookie)
        assert page.client.get("/models").status_code == 303


def test_a_made_up_cookie_is_no_session(small):
    with page_of(small) as page:
        page.sign_in("anna")
        session = page.session()
        page.client.cookies.clear()
        page.client.cookies.set("domainlm-session", session.id)  # right, but not signed
        assert page.client.get("/models").status_code == 303


def test_cookies_are_out_of_reach(small):
    with page_of(small) as page:
        cookies = page.sign_in("anna").headers.get_list("set-cookie")
        assert cookies and all("HttpOnly" in one and "SameSite=strict" in one for one in cookies)
    with page_of(small, PageSettings(public_url="https://audit.bank.example")) as page:
        page.client.base_url = "https://audit.bank.example"
        answer = page.client.get("/sign-in")
        assert answer.headers["set-cookie"].startswith("__Host-domainlm-browser=")
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"]


def test_guessing_is_slow(small):
    with page_of(small) as page:
        for _ in range(MOST_FAILURES):
            assert page.sign_in("anna", CryptoSigner.generate_ed25519()).status_code == 403
        assert page.sign_in("anna").status_code == 429


def test_failures_are_forgotten_after_a_while():
    clock = Clock()
    limiter = Limiter(clock)
    for _ in range(MOST_FAILURES):
        limiter.failed("10.0.0.1")
    assert not limiter.allows("10.0.0.1") and limiter.allows("10.0.0.2")
    clock.seconds += WINDOW_S + 1
    assert limiter.allows("10.0.0.1")


@pytest.mark.parametrize(
    "text", ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "/a\nb", "", "/é", "javascript:1"]
)
def test_sign_in_leads_nowhere_else(text):
    assert local_path(text) == "/"


def test_sign_in_leads_back_to_the_page_that_was_asked_for(small):
    with page_of(small) as page:
        where = page.client.get("/models?q=x").headers["location"]
        assert 'value="/models?q=x"' in page.client.get(where).text
        assert local_path("/models?q=x") == "/models?q=x"
