"""The page in a real browser: signing with WebCrypto, the keyboard alone, hostile names, every width and scheme."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import page_desks
import pytest
from page_desks import key_file, served
from rich_runs import HOSTILE, failed_run, hostile_run, rich_run
from small_ledgers import small_ledger

from domainlm.audit.page.challenges import Challenge
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Condition, Promotion
from domainlm.ledger.envelopes import Envelope

CHROMIUM = "/usr/bin/chromium"
CHECKS = (Path(page_desks.__file__).parent / "page_checks.js").read_text(encoding="utf-8").split("\n", 1)[1]
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).is_file() or shutil.which("chromium") is None,
                                reason="there is no /usr/bin/chromium on this machine")  # fmt: skip
IDENTITY = rich_run(2).model.identity
PAGES = {
    "models": "/models",
    "model": f"/models/{IDENTITY}",
    "decide": f"/models/{rich_run(3).model.identity}/decide?decision=approve",
    "runs": "/runs",
    "run": f"/runs/{failed_run(20).run_id}",
    "compare": f"/compare?before={rich_run(1).model.identity}&after={IDENTITY}",
    "verification": "/verification",
    "entries": "/entries",
    "entry": "/entries/3",
    "people": "/people",
    "access": "/access",
    "search": "/search?q=domainlm",
}
VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "korean": {"viewport": {"width": 1280, "height": 900}, "locale": "ko-KR"},
    "narrow": {"viewport": {"width": 400, "height": 800}},
    "zoomed": {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2},  # 1,280 pixels at 200 %
}


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=60_000)
        yield made
        made.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    made = small_ledger(tmp_path_factory.mktemp("browser"))
    runs = {number: made.enter_run(rich_run(number)).entry for number in range(1, 7)}
    made.enter_run(failed_run(20))

    def decide(who, number, **fields):
        model = rich_run(number).model
        act = Approval(**({"model": f"{model.name}/{model.version}", "identity": model.identity, "run": runs[number],
                           "decision": "approve"} | fields))  # fmt: skip
        return made.state(who, entries.APPROVAL, act, {"model": model.identity}).entry

    approvals = [decide("olga", 1), decide("victor", 1)]
    made.state(
        "recorder", entries.PROMOTION,
        Promotion(model="domainlm-finance/1", identity=rich_run(1).model.identity, approvals=approvals),
    )  # fmt: skip
    decide("anna", 2, conditions=[Condition(id="bias", text="Measure the bias on Korean complaints", due="2099-01-31")])
    decide("victor", 2, decision="reject", reason="The test split holds two sources of the training split.")
    decide("victor", 3, reason="Examined; the gain is beyond its interval.", until="2099-03-31")
    return made


@pytest.fixture(scope="module")
def url(small):
    with served(small) as made:
        yield made


@contextmanager
def window(browser, expected=(), **options):
    """A fresh window; ends with an error where the console showed one that was not expected, or a dialog opened."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: (told.append(f"dialog {dialog.message}"), dialog.dismiss()))
    try:
        yield page
        assert [one for one in told if not any(words in one for words in expected)] == []
    finally:
        context.close()


def sign_in(page, small, url, who="anna"):
    page.goto(url)
    page.set_input_files("#key", key_file(small, who, small.folder / "keys"))
    page.click("#key-form button")
    page.wait_for_url(f"{url}/models")


def measured(page, check):
    """What a function of `page_checks.js` says of the page."""
    return page.evaluate(f"({CHECKS}).{check}()")


def keep(page, tmp_path, name):
    """A screenshot of the whole page, for people to look at."""
    folders = [
        tmp_path,
        *([Path(os.environ["DOMAINLM_SCREENSHOTS"])] if os.environ.get("DOMAINLM_SCREENSHOTS") else []),
    ]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        assert (folder / f"{name}.png").stat().st_size > 5_000


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_sound_in_every_view(browser, small, url, tmp_path, view):
    """Nothing sticks out, contrast is 4.5 or more, the structure is there, the console stays silent."""
    with window(browser, **VIEWS[view]) as page:
        page.goto(url)
        keep(page, tmp_path, f"{view}-sign-in")
        assert (
            measured(page, "contrast") == [] and measured(page, "structure") == [] and measured(page, "overflow") == []
        )
        sign_in(page, small, url)
        for name, path in PAGES.items():
            page.goto(url + path)
            keep(page, tmp_path, f"{view}-{name}")
            assert measured(page, "contrast") == [], name
            assert measured(page, "structure") == [], name
            assert measured(page, "overflow") == [], name
        assert page.evaluate("document.documentElement.lang") == ("ko" if view == "korean" else "en")


def test_a_person_signs_in_and_approves_in_the_browser(browser, small, url, tmp_path):
    model = rich_run(4).model.identity
    with window(browser, **VIEWS["light"]) as page:
        sign_in(page, small, url, "olga")
        page.goto(f"{url}/models/{model}")
        page.click("text=Approve")
        assert page.is_checked("input[value=approve]")
        page.fill("#reason", "Examined <b>all</b> of it.")
        page.fill("#until", "2099-12-31")
        page.fill("#condition-1", "Measure it again in spring")
        page.fill("#due-1", "2099-06-30")
        page.click("text=Show the statement")
        assert "Examined <b>all</b> of it." in page.inner_text("#shown")
        keep(page, tmp_path, "light-statement")
        page.set_input_files("#key", key_file(small, "olga", small.folder / "keys"))
        page.click("#sign-form button")
        page.wait_for_url(f"{url}/models/{model}")
        assert "is in the ledger as entry" in page.inner_text(".message")
        keep(page, tmp_path, "light-signed")
    act = small.evidence().about(model, entries.APPROVAL)[-1]
    assert act.header.by == "olga" and act.act.reason == "Examined <b>all</b> of it."
    assert act.act.conditions[0].due == "2099-06-30" and act.act.until == "2099-12-31"


def test_a_key_that_does_not_fit_is_named_and_nothing_is_sent(browser, small, url, tmp_path):
    from cryptography.hazmat.primitives import serialization

    sealed = tmp_path / "sealed.pem"
    sealed.write_bytes(
        small.keys["anna"]._private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )  # fmt: skip
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with window(browser) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method) if request.method == "POST" else None)
        page.goto(url)
        for path, words in ((sealed, "passphrase"), (nonsense, "no ed25519 key")):
            page.set_input_files("#key", path)
            page.click("#key-form button")
            page.wait_for_selector("#key-problem:not([hidden])")
            assert words in page.inner_text("#key-problem")
        assert sent == []
        sign_in(page, small, url, "anna")
        page.goto(f"{url}/models/{rich_run(5).model.identity}/decide?decision=approve")
        page.click("text=Show the statement")
        page.set_input_files("#key", key_file(small, "olga", small.folder / "keys"))
        page.click("#sign-form button")
        page.wait_for_selector("#key-problem:not([hidden])")
        assert "not the key that you signed in with" in page.inner_text("#key-problem")


def test_no_key_leaves_the_browser(browser, small, url):
    """What is sent holds no byte of the private key, in no spelling."""
    import base64

    raw = small.keys["victor"]._private_key.private_bytes_raw()
    with window(browser) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(f"{request.url} {request.post_data or ''}"))
        sign_in(page, small, url, "victor")
    everything = "\n".join(sent)
    assert "token=" in everything
    for spelling in (raw.hex(), base64.b64encode(raw).decode()[:40], base64.urlsafe_b64encode(raw).decode()[:40]):
        assert spelling not in everything
    assert "PRIVATE" not in everything


def test_everything_works_without_a_script(browser, small, url):
    """Sign in and approve by the way of the command line, with scripts switched off."""
    model = rich_run(6).model.identity
    with window(browser, java_script_enabled=False, accept_downloads=True) as page:
        page.goto(url)
        assert page.locator("#key-form").is_hidden()
        challenge = Challenge.parse(page.inner_text("pre.command").split()[-1])
        page.fill("#token", challenge.answered(small.keys["olga"]))
        page.click("#token-form button")
        page.wait_for_url(f"{url}/models")
        page.goto(f"{url}/models/{model}/decide?decision=approve")
        page.click("text=Show the statement")
        with page.expect_download() as download:
            page.click("text=Download the statement")
        unsigned = Envelope.parse(Path(download.value.path()).read_bytes(), "the download")
        signed = Envelope.sign(unsigned.statement, small.keys["olga"])
        upload = {"name": "signed.json", "mimeType": "application/json", "buffer": signed.to_bytes()}
        page.set_input_files("#upload", upload)
        page.click("text=Hand in >> nth=-1")
        page.wait_for_url(f"{url}/models/{model}")
        page.click("button[value=ko]")
        assert page.get_attribute("html", "lang") == "ko"
    assert small.evidence().about(model, entries.APPROVAL)[-1].header.by == "olga"


def test_the_keyboard_alone_reaches_everything(browser, small, url):
    """Tab visits every link, field and box in the order of the page, each time with a visible focus; Enter follows."""
    with window(browser, **VIEWS["light"]) as page:
        sign_in(page, small, url)
        page.goto(f"{url}/models/{IDENTITY}")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        wanted = measured(page, "stops")
        seen = []
        for _ in range(wanted):
            page.keyboard.press("Tab")
            seen.append(measured(page, "focus"))
        assert [one for one in seen if not (one[0] and one[1])] == []
        assert len({one[2] for one in seen}) > 40
        page.goto(f"{url}/models/{IDENTITY}")
        page.focus("a.node.step")
        page.keyboard.press("Enter")
        assert page.url.split("#")[1].startswith(("step-", "source-"))
        page.goto(f"{url}/models")
        page.focus("#q")
        page.keyboard.type("finance/3")
        page.keyboard.press("Enter")
        page.wait_for_url("**/models?q=**")
        assert page.locator("tbody tr").count() == 1


def test_a_screen_reader_is_told_what_is_there(browser, small, url):
    with window(browser) as page:
        sign_in(page, small, url)
        page.goto(f"{url}/models/{IDENTITY}")
        told = page.locator("body").aria_snapshot()
        for words in ('heading "domainlm-finance/2" [level=1]', 'navigation "Pages"', "main:", 'link "Skip to',
                      "status:", 'columnheader "Licence"', 'rowheader', 'heading "Approvals" [level=2]',
                      'link "Step: train, completed"', 'link "Model: domainlm-finance/2', 'searchbox'):  # fmt: skip
            assert words in told, words
        page.goto(f"{url}/models/{IDENTITY}/decide")
        told = page.locator("main").aria_snapshot()
        for words in ('group "Decision"', 'radio "Approve', 'textbox "Reason"', 'button "Show the statement"'):
            assert words in told, words


def test_the_status_line_tells_a_new_verdict(browser, small, tmp_path):
    """A page that is open says that the ledger broke, without a reload, and keeps no session alive by it."""
    from domainlm.audit.proof.verification import Verification

    def verification(verdict):
        return Verification(verdict=verdict, origin="bank/models", size=3, root="a" * 64, anchored=3, entries=3)

    verdict = ["good"]
    with served(small, verify=lambda: verification(verdict[0])) as url, window(browser) as page:
        sign_in(page, small, url)
        page.goto(f"{url}/verification")
        page.wait_for_function("() => document.getElementById('status-text').textContent === 'Sound'")
        verdict[0] = "broken"
        page.click("text=Verify now")
        page.wait_for_function("() => document.querySelector('.verdict-box.broken') !== null")
        assert page.inner_text("#status-text") == "Broken"


def test_an_old_verdict_does_not_pass_for_a_new_one(browser, small):
    """A page whose session or server is gone says so."""
    with served(small) as url, window(browser, expected=("401", "ERR_FAILED")) as page:
        sign_in(page, small, url)
        page.goto(f"{url}/verification")
        page.context.clear_cookies()
        page.wait_for_function("() => document.getElementById('status-detail').textContent.includes('signed out')")
        assert page.get_attribute("#status-text", "class") == "badge never"
        page.route("**/verification/status", lambda route: route.abort())
        page.wait_for_function("() => document.getElementById('status-detail').textContent.includes('does not answer')")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    made = small_ledger(tmp_path_factory.mktemp("hostile"))
    made.enter_run(rich_run(1))
    for number, name in enumerate(HOSTILE, 10):
        made.enter_run(hostile_run(number, name))
    return made


@pytest.mark.parametrize("width", [400, 1280])
def test_hostile_names_do_nothing_and_break_nothing(browser, hostile, tmp_path, width):
    """No dialog, no console error, no request elsewhere, no layout that bursts."""
    with served(hostile) as url, window(browser, viewport={"width": width, "height": 900}) as page:
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(url) else None)
        sign_in(page, hostile, url)
        found = hostile.evidence().models()
        paths = ["/models", "/runs", "/search?q=hostile", "/entries", *(f"/models/{one}" for one in found),
                 *(f"/compare?before={rich_run(1).model.identity}&after={one}" for one in found),
                 *(f"/entries/{number}" for number in range(1, 11))]  # fmt: skip
        for place, path in enumerate(paths):
            page.goto(url + path)
            assert measured(page, "overflow") == [], path
            assert page.evaluate("document.documentElement.scrollHeight") < 60_000, path
            if place in (0, 6, 12):
                keep(page, tmp_path, f"hostile-{width}-{place}")
        for link in page.locator("main a[href]").all()[:5]:
            assert re.match(r"[/#]", link.get_attribute("href"))
        page.goto(f"{url}/models/{list(found)[1]}/decide?decision=reject")
        page.fill("#reason", HOSTILE[0])
        page.click("text=Show the statement")
        assert HOSTILE[0] in page.inner_text("#shown").replace('\\"', '"')
        assert elsewhere == []
