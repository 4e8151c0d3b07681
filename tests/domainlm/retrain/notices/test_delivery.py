"""Notices reach people once, by every channel, through real servers; and a dead channel holds up nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from email import message_from_string
from pathlib import Path

import pytest
from notice_servers import Endpoint, certificate, endpoint, mail_server, silent_server
from pydantic import ValidationError

from domainlm.errors import BookUnavailable, ConfigurationError, NoticeNotSent, SecretError
from domainlm.retrain.batches import Batch, LandedFile
from domainlm.retrain.book import open_book
from domainlm.retrain.book import outbox as outboxes
from domainlm.retrain.notices import Courier, Notice, deliver, quarantined, tell
from domainlm.retrain.notices import delivery as deliveries
from domainlm.retrain.notices import mail as mails
from domainlm.retrain.notices import notice as notices
from domainlm.retrain.notices import webhook as webhooks
from domainlm.retrain.settings import EmailSettings, SettleSettings, WebhookSettings

FAILED = Notice(
    kind="failed", run="r1", step="train", cause="out of memory", next_action="see the log", key="failed/r1"
)
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
HOOK = SettleSettings(webhook=WebhookSettings(url_variable="HOOK_URL", secret_variable="HOOK_KEY"))


@pytest.fixture
def book(tmp_path: Path):
    made = open_book(f"sqlite:///{tmp_path / 'book.sqlite'}", patience_s=0.2)
    yield made
    made.close()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A certificate that this process trusts."""
    files = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    monkeypatch.setenv("HOOK_KEY", SECRET)
    return files


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A next try is due at once."""
    monkeypatch.setattr(outboxes, "FIRST_PAUSE_S", 0.0)


def point(monkeypatch: pytest.MonkeyPatch, made: Endpoint, scheme: str = "https", host: str = "localhost") -> None:
    monkeypatch.setenv("HOOK_URL", f"{scheme}://{host}:{made.port}/hook?token=abc")


# --- webhook ---


def test_a_webhook_gets_the_notice_signed_and_with_an_id(book, trusted, monkeypatch):
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        assert tell(book, FAILED) and deliver(book, HOOK) == []
        ((path, headers, body),) = made.got
    assert path == "/hook?token=abc" and headers["webhook-id"] == headers["idempotency-key"] == FAILED.id
    signed = f"{FAILED.id}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    said = json.loads(body)
    assert said["format"] == "domainlm.notice/1" and said["kind"] == "failed" and said["step"] == "train"
    assert said["text"].splitlines()[0] == "domainlm: a run failed" and "next action: see the log" in said["text"]


def test_a_webhooks_text_acts_nowhere_and_its_fields_are_as_they_are(book, trusted, monkeypatch):
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        assert tell(book, Notice(kind="failed", cause="<!channel> *x*")) and deliver(book, HOOK) == []
        ((_, _, body),) = made.got
    said = json.loads(body)
    assert said["cause"] == "<!channel> *x*" and not set("<>*") & set(said["text"])


def test_the_signature_is_that_of_the_standards_own_example():
    """Standard Webhooks, specification, "Signature scheme": its example of key, id, time and body."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = webhooks.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', key)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_endpoint_that_refuses_gets_it_again_under_the_same_id(book, trusted, monkeypatch, at_once):
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        made.answers = [500, 204]
        tell(book, FAILED)
        assert len(deliver(book, HOOK)) == 1 and deliver(book, HOOK) == [] and len(made.got) == 2
        ids = {headers["webhook-id"] for _, headers, _ in made.got}
    assert ids == {FAILED.id}


def test_a_channel_that_failed_is_not_tried_again_in_the_same_delivery(book, trusted, monkeypatch):
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        made.answers = [503]
        for number in range(5):
            tell(book, Notice(kind="failed", run=str(number)))
        assert deliver(book, HOOK) == ["webhook: the endpoint answered 503 (HOOK_URL)"]
        assert len(made.got) == 1
        for tries in range(2, 6):  # the others, one a delivery, while the first waits
            assert len(deliver(book, HOOK)) == 1 and len(made.got) == tries
        assert deliver(book, HOOK) == [] and len(made.got) == 5 and 0 < book.next_notice_s() <= 31


def test_a_redirection_is_refused(book, trusted, monkeypatch):
    with endpoint(trusted) as elsewhere, endpoint(trusted) as made:
        point(monkeypatch, made)
        made.answers, made.location = [307], f"https://localhost:{elsewhere.port}/"
        tell(book, FAILED)
        assert "redirects elsewhere" in deliver(book, HOOK)[0]
        assert elsewhere.got == []


def test_a_server_that_nobody_vouches_for_gets_nothing(book, tmp_path, trusted, monkeypatch):
    (tmp_path / "other").mkdir()
    for files, host in (
        (certificate(tmp_path / "other"), "localhost"),
        (certificate(tmp_path, "bank.example"), "localhost"),
    ):
        with endpoint(files) as made:
            point(monkeypatch, made, host=host)
            with pytest.raises(NoticeNotSent, match="cannot be reached"):
                webhooks.post(FAILED, 0.0, HOOK.webhook)
            assert made.got == []


@pytest.mark.parametrize(
    "url", ["http://bank.example/hook", "ftp://localhost/", "https://u:p@bank.example/", "hook", ""]
)
def test_an_address_that_is_no_https_one_is_refused_without_being_quoted(url, trusted, monkeypatch):
    monkeypatch.setenv("HOOK_URL", url)
    with pytest.raises((ConfigurationError, SecretError)) as refused:
        webhooks.post(FAILED, 0.0, HOOK.webhook)
    assert not url or url not in str(refused.value)


def test_plain_http_goes_to_this_machine(book, trusted, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # which nobody is asked for here
    with endpoint() as made:
        point(monkeypatch, made, "http", "127.0.0.1")
        tell(book, FAILED)
        assert deliver(book, HOOK) == [] and len(made.got) == 1


@pytest.mark.parametrize("key", ["short", "whsec_" + base64.b64encode(b"k" * 23).decode(), "whsec_!!!"])
def test_a_key_that_is_too_short_signs_nothing(key, trusted, monkeypatch):
    monkeypatch.setenv("HOOK_URL", "https://localhost:1/")
    monkeypatch.setenv("HOOK_KEY", key)
    with pytest.raises(SecretError) as refused:
        webhooks.post(FAILED, 0.0, HOOK.webhook)
    assert key not in str(refused.value)


def test_no_error_says_where_the_hook_is(book, trusted, monkeypatch):
    monkeypatch.setenv("HOOK_URL", "https://localhost:1/services/secret-token")
    tell(book, FAILED)
    (line,) = deliver(book, HOOK)
    assert "secret-token" not in line and "HOOK_URL" in line


# --- mail ---


def email(made, **changes) -> SettleSettings:
    fields = {"host": "localhost", "port": made.port, "sender": "domainlm@bank.example",
              "recipients": ("anna@bank.example", "olga@bank.example")} | changes  # fmt: skip
    return SettleSettings(email=EmailSettings(**fields))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_goes_encrypted_to_everybody(book, trusted, monkeypatch, security):
    monkeypatch.setenv("MAIL_PASSWORD", "open sesame")
    with mail_server(trusted, security == "tls") as made:
        made.password = "open sesame"
        tell(book, FAILED)
        assert deliver(book, email(made, security=security, user="domainlm", password_variable="MAIL_PASSWORD")) == []
        ((sender, recipients, text, encrypted, user),) = made.got
    assert (sender, recipients) == ("domainlm@bank.example", ["anna@bank.example", "olga@bank.example"])
    assert encrypted and user == "domainlm"
    found = message_from_string(text)
    assert found["Subject"] == "[domainlm] a run failed" and found["Message-ID"] == f"<{FAILED.id}@bank.example>"
    assert found["Auto-Submitted"] == "auto-generated" and "cause: out of memory" in found.get_payload()


def test_a_mail_server_that_offers_no_tls_gets_nothing(book, trusted, monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "open sesame")
    with mail_server(trusted) as made:
        made.offers_tls = False
        tell(book, FAILED)
        (line,) = deliver(book, email(made, user="domainlm", password_variable="MAIL_PASSWORD"))
        assert "did not take it (SMTPNotSupportedError)" in line and made.got == []


def test_a_mail_server_that_nobody_vouches_for_gets_nothing(book, tmp_path, trusted):
    (tmp_path / "other").mkdir()
    with mail_server(certificate(tmp_path / "other")) as made:
        tell(book, FAILED)
        assert "did not take it" in deliver(book, email(made))[0] and made.got == []


def test_a_wrong_password_is_not_repeated_to_anybody(book, trusted, monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "wrong")
    with mail_server(trusted) as made:
        made.password = "open sesame"
        tell(book, FAILED)
        (line,) = deliver(book, email(made, user="domainlm", password_variable="MAIL_PASSWORD"))
    assert "SMTPAuthenticationError 535" in line and "wrong" not in line and made.got == []


def test_a_recipient_that_is_refused_is_counted_and_not_named(book, trusted):
    with mail_server(trusted) as made:
        made.refused = ("olga@bank.example",)
        with pytest.raises(NoticeNotSent, match="refused 1 of 2 recipients") as refused:
            mails.mail(FAILED, 0.0, email(made).email)
        assert "olga" not in str(refused.value) and made.got[0][1] == ["anna@bank.example"]


def test_plain_mail_goes_to_this_machine_alone(book, trusted):
    with mail_server(trusted) as made:
        tell(book, FAILED)
        assert deliver(book, email(made, security="none", host="127.0.0.1")) == [] and not made.got[0][3]
    for changes in ({"security": "none", "host": "mail.bank.example"}, {"user": "x"}, {"password_variable": "X"},
                    {"security": "none", "user": "x", "password_variable": "X"}):  # fmt: skip
        with pytest.raises(ValidationError):
            email(made, **changes)


# --- the outbox ---


def test_a_notice_is_told_once_whoever_tells_it(book, trusted, monkeypatch):
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        told = [tell(book, FAILED) for _ in range(3)]
        threads = [threading.Thread(target=deliver, args=(book, HOOK)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told == [True, False, False] and len(made.got) == 1
        assert not tell(book, FAILED) and deliver(book, HOOK) == [] and len(made.got) == 1
        book.unnotice(FAILED.about)  # it was over, and began again
        assert tell(book, FAILED) and deliver(book, HOOK) == [] and len(made.got) == 2


def test_each_channel_gets_it_once_however_long_the_other_is_dead(book, trusted, monkeypatch, at_once):
    said = []
    both = HOOK.model_copy(update={"slack": True})
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        made.answers = [500]
        tell(book, FAILED)
        monkeypatch.setattr(deliveries, "DELIVERY_S", 0.2)
        assert deliver(book, both, said.append) == ["webhook: the endpoint answered 500 (HOOK_URL)"]
        assert deliver(book, both, said.append) and len(said) == 1
        made.answers = [204]
        assert deliver(book, both, said.append) == [] and len(said) == 1 and book.next_notice_s() is None
    assert said == ["\n".join(FAILED.lines())]


def test_what_is_for_slack_waits_for_a_process_that_can_post_there(book, at_once, monkeypatch):
    tell(book, FAILED)
    slack = SettleSettings(slack=True)
    assert deliver(book, slack) == [] and book.next_notice_s() is not None
    said = []
    assert deliver(book, slack, said.append) == [] and len(said) == 1 and book.next_notice_s() is None


def test_pauses_double_and_end_at_an_hour(book, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(outboxes.time, "time", lambda: now[0])
    tell(book, FAILED)
    pauses = []
    for _ in range(10):
        assert book.take_notice() is not None and book.take_notice() is None
        pauses.append(book.next_notice_s())
        now[0] += pauses[-1]
    assert pauses[:4] == [30, 60, 120, 240] and pauses[-1] == 3600


def test_a_clock_that_is_set_back_holds_no_notice_for_days(book, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(outboxes.time, "time", lambda: now[0])
    tell(book, FAILED)
    assert book.take_notice() is not None
    now[0] -= 30 * 86400
    assert book.take_notice() is not None


def test_a_notice_that_nobody_takes_for_a_week_is_dropped(book, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(outboxes.time, "time", lambda: now[0])
    tell(book, FAILED)
    now[0] += outboxes.KEPT_S + 1
    assert book.take_notice() is None and book.next_notice_s() is None and not tell(book, FAILED)


def test_a_server_that_never_answers_is_given_up(book, trusted, monkeypatch):
    monkeypatch.setattr(deliveries, "SEND_S", 0.3)
    with silent_server() as port:
        monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{port}/")
        tell(book, FAILED)
        (line,) = deliver(book, HOOK)
        assert "did not end within" in line
        said = []
        tell(book, Notice(kind="promoted"))
        assert len(deliver(book, HOOK.model_copy(update={"slack": True}), said.append)) == 1 and len(said) == 1


def test_where_no_channel_is_configured_notices_wait(book):
    tell(book, FAILED)
    assert deliver(book, SettleSettings()) == [] and book.next_notice_s() == 0.0


def test_a_channel_that_is_switched_on_gets_what_is_still_to_do_and_nothing_that_is_over(
    book, trusted, monkeypatch, at_once
):
    """For a day nobody listened; what happened just now is told in any case."""
    for sign, state in (("a", "waits"), ("b", "released")):
        file = LandedFile(path=state, uri=f"/zone/{state}", sha256=sign * 64, size_bytes=1)
        one = Batch(id=sign * 64, number=0, feed="news", name=state, files=(file,), landed="2026-11-21")
        book.land(one)
        tell(book, quarantined(book.quarantine(one.id, "has no label")))
    book.release("b" * 64, "anna")
    for kind, key in (("zone-unreachable", "z"), ("machine", "m"), ("child-failing", "accept/x"),
                      ("waits-for-person", "waits/1"), ("failed", "failed/1")):  # fmt: skip
        tell(book, Notice(kind=kind, key=key))
    assert deliver(book, SettleSettings()) == []
    real = time.time
    monkeypatch.setattr(outboxes.time, "time", lambda: real() + 3600)
    for kind, key in (("waits-for-person", "waits/2"), ("failed", "failed/2")):
        tell(book, Notice(kind=kind, key=key))
    monkeypatch.setattr(outboxes.time, "time", lambda: real() + 7200)
    tell(book, Notice(kind="zone-unreachable", key="now"))
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        assert deliver(book, HOOK) == []
        got = [json.loads(body) for _, _, body in made.got]
        assert [(one["kind"], one["cause"][:22]) for one in got if one["cause"]] == [
            ("landed-quarantined", "batch aaaaaaaaaaaa of ")
        ]
        assert sorted(one["kind"] for one in got) == [
            "failed", "landed-quarantined", "waits-for-person", "zone-unreachable",
        ]  # fmt: skip
        tell(book, Notice(kind="machine", key="later"))
        assert deliver(book, HOOK) == [] and len(made.got) == 5  # told as ever from now on


# --- the courier of a long-lived process ---


def wait_for(what) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)


def test_a_courier_returns_at_once_and_delivers_beside(book, trusted, monkeypatch):
    tell(book, Notice(kind="decided", key="from before"))
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        courier = Courier(book, lambda: HOOK).start()
        courier.post(FAILED)
        courier.post(FAILED)
        wait_for(lambda: len(made.got) == 2)
        courier.stop()
    assert {headers["webhook-id"] for _, headers, _ in made.got} == {
        FAILED.id,
        Notice(kind="decided", key="from before").id,
    }


def test_where_the_book_is_away_a_courier_sends_by_itself_and_once(book, trusted, monkeypatch):
    away = threading.Event()
    away.set()
    real = type(book).post_notice

    def post_notice(self, key, notice):
        if away.is_set():
            raise BookUnavailable("the batch book refuses", "x", "y")
        return real(self, key, notice)

    monkeypatch.setattr(type(book), "post_notice", post_notice)
    down = Notice(kind="book-unavailable", cause="the book cannot be reached", key="book-unavailable")
    with endpoint(trusted) as made:
        point(monkeypatch, made)
        courier = Courier(book, lambda: HOOK).start()
        courier.post(down)
        wait_for(lambda: made.got)
        away.clear()
        courier.post(FAILED)
        wait_for(lambda: len(made.got) == 2)
        courier.stop()
        assert [headers["webhook-id"] for _, headers, _ in made.got] == [down.dated().id, FAILED.id]
    assert not tell(book, down), "the book knows that it was told"


def test_a_trouble_that_comes_back_is_told_once_a_day_and_under_one_id(book, monkeypatch):
    down = Notice(kind="zone-unreachable", cause="away", key="zone-unreachable")
    monkeypatch.setattr(notices.time, "gmtime", lambda *given: time.struct_time((2026, 11, 21, 0, 0, 0, 5, 325, 0)))
    assert tell(book, down) and not tell(book, down)
    first = Notice(**book.take_notice().notice)
    monkeypatch.setattr(notices.time, "gmtime", lambda *given: time.struct_time((2026, 11, 22, 0, 0, 0, 6, 326, 0)))
    assert first.dated() == first and first.key == "zone-unreachable/2026-11-21"
    assert tell(book, down) and not tell(book, down)
    failed = Notice(kind="failed", key="failed/r1")
    assert failed.dated() == failed


def test_a_courier_says_once_that_a_channel_is_dead(book, trusted, monkeypatch):
    monkeypatch.setenv("HOOK_URL", "https://localhost:1/")
    said = []
    courier = Courier(book, lambda: HOOK, say=said.append).start()
    courier.post(FAILED)
    wait_for(lambda: said)
    courier.post(Notice(kind="promoted"))
    wait_for(lambda: len(courier._direct) == 0)
    courier.stop()
    assert len(said) == 1 and "is tried again" in said[0]
