"""What the pages say: lists, one model, one run, differences, entries with their proof, verification, search."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from page_desks import URL, desk_of, page_of
from rich_runs import failed_run, rich_run
from small_ledgers import ORIGIN, small_ledger
from starlette.testclient import TestClient

from domainlm.audit.page.views.entries import concerns
from domainlm.audit.page.watch import Watch, Watched
from domainlm.audit.proof.verification import Verification, verify_entries
from domainlm.digests import digest_bytes
from domainlm.errors import ArtifactError
from domainlm.ledger import entries
from domainlm.ledger.acts import Anchored, Approval, Erasure, Promotion
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.findings import Finding
from domainlm.ledger.trust.gate import now

MODELS = 30


def identity(number):
    return rich_run(number).model.identity


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    made = small_ledger(tmp_path_factory.mktemp("views"))
    runs = {number: made.enter_run(rich_run(number)).entry for number in range(1, MODELS + 1)}
    made.enter_run(failed_run(99))

    def decide(who, number, decision, reason=""):
        act = Approval(
            model=f"domainlm-finance/{number}", identity=identity(number), run=runs[number], decision=decision,
            reason=reason,
        )  # fmt: skip
        return made.state(who, entries.APPROVAL, act, {"model": identity(number)}).entry

    approvals = [decide("olga", 1, "approve"), decide("victor", 1, "approve")]
    made.state(
        "recorder", entries.PROMOTION,
        Promotion(model="domainlm-finance/1", identity=identity(1), approvals=approvals), {"model": identity(1)},
    )  # fmt: skip
    decide("victor", 2, "reject", "two sources overlap")
    decide("anna", 3, "approve")
    decide("anna", 3, "revoke", "signed too early")
    return made


@pytest.fixture
def page(small):
    with page_of(small) as made:
        made.sign_in("anna")
        yield made


def models_of(text):
    return [int(number) for number in re.findall(r"<bdi>domainlm-finance</bdi>/<bdi>(\d+)</bdi></a><br>", text)]


def test_models_come_newest_first_page_by_page(page):
    first, second = page.client.get("/models").text, page.client.get("/models?page=2").text
    assert models_of(first) == list(range(30, 5, -1)) and models_of(second) == [5, 4, 3, 2, 1]
    assert "1 to 25 of 30" in first and 'rel="next"' in first and 'rel="prev"' not in first
    for far in ("99", "-1", "x", "", "٣"):
        assert page.client.get(f"/models?page={far}").status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=finance/12", [12]),
        ("q=nothing", []),
        ("state=champion", [1]),
        ("state=rejected", [2]),
        ("state=approved", [1]),
        ("state=undecided&q=finance/3", [30, 3]),
        ("state=unheard-of&q=finance/12", [12]),
        ("verdict=shown&q=finance/12", [12]),
        ("verdict=other", []),
    ],
)
def test_models_are_found(page, query, found):
    assert models_of(page.client.get(f"/models?{query}").text) == found


def test_the_filter_stays_on_the_next_page(page):
    text = page.client.get("/models?q=domainlm&state=undecided").text
    assert 'href="/models?q=domainlm&amp;state=undecided&amp;page=2"' in text


def test_a_models_page_says_all_there_is(page):
    text = page.client.get(f"/models/{identity(2)}").text
    for said in ("This model may not be promoted", "victor rejected it", "two sources overlap", "콜센터 상담",
                 "CC-BY-4.0", "contract, clause 7", "9,120", "Korean resident registration numbers", "Data contracts",
                 "headline_accuracy", "+0.0100", "9,800", "The code had uncommitted changes"):  # fmt: skip
        assert said in text, said
    assert f'href="/models/{identity(1)}"' in text  # the champion to compare with
    assert "Champion</span></h1>" not in text
    champion = page.client.get(f"/models/{identity(1)}").text
    assert "Champion</span></h1>" in champion and "This model may be promoted" in champion
    assert "There is no other champion" in champion


def test_an_approval_that_was_taken_back_does_not_count(page):
    text = page.client.get(f"/models/{identity(3)}").text
    assert "Decision taken back" in text and "took their decision back" in text


def test_every_box_of_the_picture_leads_to_a_place_on_the_page(page):
    text = page.client.get(f"/models/{identity(2)}").text
    anchors = re.findall(r'<a href="#([^"]+)" class="node', text)
    assert len(anchors) > 20
    for anchor in set(anchors) | set(re.findall(r'<li><a href="#([^"]+)"', text)):
        assert f'id="{anchor}"' in text


def test_a_failed_run_is_there_too(page):
    text = page.client.get("/runs?status=failed").text
    assert failed_run(99).run_id in text and text.count("/runs/0000") == 1
    text = page.client.get(f"/runs/{failed_run(99).run_id}").text
    assert "did not complete" in text and "2 labels are exchanged" in text and "none registered" in text


def test_differences_are_those_of_the_manifests(page):
    text = page.client.get(f"/compare?before={identity(1)}&after={identity(2)}").text
    assert "train › learning_rate" in text and "0.0001" in text and "0.0002" in text
    assert "train › seed" in text and "headline_macro_f1" in text and "dirty" in text
    same = page.client.get(f"/compare?before={identity(2)}&after={identity(2)}").text
    assert same.count("No difference.") == 8


def test_entries_show_the_signed_statement_and_prove_it(page, small):
    text = page.client.get("/entries/2").text
    assert "stands in the tree of" in text and "predicateType" in text
    stored = page.client.get("/entries/2/envelope.json").content
    assert stored == dict(small.ledger.raw())[2]
    assert Envelope.parse(stored, "x").verified_by([small.keys["recorder"].public_key])


def test_a_checkpoint_of_another_key_proves_nothing(small):
    from domainlm.ledger.checkpoints import Checkpoint

    frontier = small.ledger.frontier
    forged = Checkpoint(ORIGIN, frontier.size, frontier.root).signed(small.keys["anna"]).note
    other = Checkpoint(ORIGIN, frontier.size, b"\x07" * 32).signed(small.keys["log"]).note
    for note in (forged, other):
        with page_of(small, checkpoints=lambda note=note: [note]) as page:
            page.sign_in("anna")
            text = page.client.get("/entries/2").text
            assert "does not lead to a root" in text and "stands in the tree of" not in text
    with page_of(small, checkpoints=lambda: ["nonsense"]) as page:
        page.sign_in("anna")
        assert "No signed checkpoint covers this entry yet" in page.client.get("/entries/2").text


def test_entries_are_listed_by_kind(page):
    assert page.client.get("/entries?kind=promotion").text.count('scope="row"') == 1
    assert "Look at evidence</td>" not in page.client.get("/entries").text


@pytest.mark.parametrize(
    ("asked", "found"),
    [("finance/12", f"/models/{identity(12)}"), (identity(4)[:20], f"/models/{identity(4)}"), ("7", "/entries/7"),
     ("pipeline-99", f"/runs/{failed_run(99).run_id}"), ("victor", "/people"), ("promotion", "/entries/")],
)  # fmt: skip
def test_search_finds(page, asked, found):
    assert f'href="{found}' in page.client.get("/search", params={"q": asked}).text


def test_search_finds_nothing_for_nothing(page):
    for asked in ("", " ", "x", "nowhere at all"):
        assert 'href="/models/' not in page.client.get("/search", params={"q": asked}).text


def test_people_show_roles_keys_and_rules(page):
    text = page.client.get("/people").text
    for name in ("anna", "victor", "tina", "olga", "recorder"):
        assert f"<bdi>{name}</bdi>" in text
    assert "officer, validator" in text and "90" in text


def test_the_verification_is_shown_with_every_finding(small):
    finding = Finding(code="edited", severity="broken", where="entry 3", what="its bytes differ")
    broken = Verification(verdict="broken", origin=ORIGIN, size=9, root="a" * 64, anchored=0, entries=8,
                          findings=[finding])  # fmt: skip
    with page_of(small, verify=lambda: broken) as page:
        page.sign_in("anna")
        page.app.state.office.watch.once()
        text = page.client.get("/verification").text
        assert "An entry was edited" in text and "entry 3" in text and "its bytes differ" in text
        assert page.client.get("/verification/status").json()["verdict"] == "broken"
        text = page.client.get(f"/models/{identity(1)}").text
        assert "The ledger is broken" in text and "verdict-box good" not in text  # whatever people approved
        assert "verdict-box broken" in text and 'badge good">May be' not in page.client.get("/models").text


def test_a_broken_ledger_is_said_on_every_page_and_nobody_is_asked_to_decide(small):
    finding = Finding(code="edited", severity="broken", where="entries 2 to 3", what="its bytes differ")
    broken = Verification(verdict="broken", origin=ORIGIN, size=9, root="a" * 64, anchored=0, entries=8,
                          findings=[finding])  # fmt: skip
    with page_of(small) as page:
        page.sign_in("anna")
        sound = page.client.get(f"/models/{identity(1)}").text
        assert 'class="alarm"' not in sound and "/decide?decision=approve" in sound
        draft = page.post(f"/models/{identity(1)}/decide", decision="approve").headers["location"]
        assert draft.startswith("/statements/")
        page.app.state.office.watch.latest = Watched("broken", now(), broken)
        for path in ("/models", "/runs", "/entries", "/entries/1", "/people", f"/models/{identity(1)}"):
            text = page.client.get(path).text
            assert 'class="alarm" role="alert"' in text and "verdict-box good" not in text, path
            assert "/decide?" not in text
        text = page.client.get("/entries/3").text
        assert "An entry was edited" in text and "its bytes differ" in text
        assert "its bytes differ" not in page.client.get("/entries/4").text
        size = small.ledger.frontier.size
        for answer in (page.client.get(f"/models/{identity(1)}/decide"),
                       page.post(f"/models/{identity(1)}/decide", decision="approve"),
                       page.post(draft, signature="00")):  # fmt: skip
            assert answer.status_code in (400, 503) and "no decision is taken upon it" in answer.text
            assert "<textarea" not in answer.text
        assert size == small.ledger.frontier.size or not list(small.evidence().of_kind(entries.APPROVAL))[5:]


@pytest.mark.parametrize(
    ("where", "held"),
    [("entry 3", {3}), ("entries 3 to 5", {3, 4, 5}), ("entries 1, 3 and 6", {1, 3, 6}), ("the ledger", set()),
     ("2 entries from 4 to 6", {4, 5, 6}), ("checkpoint of 3", set()), ("entryway 3", set())],
)  # fmt: skip
def test_the_entries_that_a_finding_concerns(where, held):
    assert {number for number in range(9) if concerns(where, number)} == held


def test_a_model_that_learnt_from_erased_data_must_be_trained_again(tmp_path):
    small = small_ledger(tmp_path / "ledger")
    small.enter_run(rich_run(1))
    small.state(
        "recorder", entries.ERASURE,
        Erasure(commitment="0" * 64, data=[], models=[identity(1)], counts={}, by="root", reason="x"),
    )  # fmt: skip
    with page_of(small) as page:
        page.sign_in("anna")
        page.app.state.office.watch.once()
        text = page.client.get(f"/models/{identity(1)}").text
        box = text[text.index('id="verdict"') - 60 : text.index("</div>", text.index('id="verdict"'))]
        assert "verdict-box broken" in box and "must be trained again" in box and "entry 2" in box
        assert "button primary" not in box and "decision=reject" in box


def test_only_who_decided_can_take_it_back(page):
    assert "decision=revoke" not in page.client.get(f"/models/{identity(3)}").text  # anna took it back already
    assert 'value="revoke"' not in page.client.get(f"/models/{identity(2)}/decide").text
    page.post("/sign-out")
    page.sign_in("victor")
    assert "decision=revoke" in page.client.get(f"/models/{identity(2)}").text
    assert 'value="revoke"' in page.client.get(f"/models/{identity(2)}/decide").text


def test_the_first_metric_of_each_task_comes_first_and_an_approval_ends_on_a_day(tmp_path):
    small, rich = small_ledger(tmp_path / "ledger"), rich_run(1)
    metrics = {f"sentiment/phrase-bank/{metric}/{system}": 0.5 for metric in ("accuracy", "f1", "loss")
               for system in ("tuned", "base", "majority")}  # fmt: skip
    verdicts = rich.verdicts | {"evaluation": {"sentiment / phrase bank, accuracy, base": "shown"}}
    run = small.enter_run(rich.model_copy(update={"metrics": metrics, "verdicts": verdicts})).entry
    act = Approval(model="domainlm-finance/1", identity=identity(1), run=run, decision="approve")
    small.state("anna", entries.APPROVAL, act, {"model": identity(1)})
    stated = next(iter(small.evidence().of_kind(entries.APPROVAL)))
    day = entries.parse_time(stated.header.time).date() + timedelta(small.policy.rules.approval_days)
    with page_of(small) as page:
        page.sign_in("anna")
        text = page.client.get(f"/models/{identity(1)}").text
        part = text[text.index('<section id="metrics"') : text.index('<section id="sources"')]
        first, _, rest = part.partition("All 9 scores")
        assert first.count('scope="row"') == 2 and "accuracy/tuned" in first and "accuracy/base" in first
        assert rest.count('scope="row"') == 9
        assert f"<bdi>{day}</bdi>" in text


def test_rows_by_law_are_shown_and_a_sources_own_law_as_the_default(tmp_path):
    small, rich = small_ledger(tmp_path / "ledger"), rich_run(1)
    first = rich.sources[0].model_copy(update={"jurisdiction": "us", "jurisdictions": {"us": 79, "eu": 53}})
    second = rich.sources[1].model_copy(update={"jurisdiction": "jp"})
    small.enter_run(rich.model_copy(update={"sources": [first, second]}))
    with page_of(small) as page:
        page.sign_in("anna")
        shown = " ".join(re.sub("<[^>]*>", "", page.client.get(f"/models/{identity(1)}").text).split())
        assert "us 79, eu 53" in shown and "default jp" in shown and "default us" not in shown


def test_an_entry_that_a_checkpoint_was_published_is_named_where_none_is_at_hand(tmp_path):
    small = small_ledger(tmp_path / "ledger")
    small.enter_run(rich_run(1))
    published = Anchored(place="a shelf", size=2, note="x")
    small.state("recorder", entries.ANCHOR, published, {"checkpoint": digest_bytes(b"x")})
    with page_of(small) as page:
        page.sign_in("anna")
        page.app.state.office.watch.once()
        text = page.client.get("/verification").text
        assert "no published checkpoint was at hand" in text
        assert "Entry 2 says that one was published for size 2." in text


def test_a_code_that_nobody_translated_stands_for_itself(small):
    finding = Finding(code="brand-new", severity="note", where="entry 3", what="something")
    told = Verification(verdict="good", origin=ORIGIN, size=9, root="a" * 64, anchored=9, entries=9, findings=[finding])
    with page_of(small, verify=lambda: told) as page:
        page.sign_in("anna")
        page.app.state.office.watch.once()
        assert "brand-new" in page.client.get("/verification").text


@pytest.mark.parametrize("error", [ArtifactError("the store is away", "the store"), RuntimeError("secret detail")])
def test_a_verification_that_fails_is_never_good(error):
    def verify():
        raise error

    found = Watch(verify, 60).once()
    assert found.verdict == "failed" and found.verification is None and "secret detail" not in found.problem


def test_a_verification_can_be_asked_for(page):
    watch = page.app.state.office.watch
    watch.once()
    first = watch.latest.at
    assert page.post("/verification").status_code == 303
    for _ in range(400):
        if watch.latest.at != first:
            break
        time.sleep(0.05)
    assert watch.latest.at != first


def test_what_is_added_meanwhile_is_shown(tmp_path):
    small = small_ledger(tmp_path / "ledger")
    small.enter_run(rich_run(1))
    with page_of(small) as page:
        page.sign_in("anna")
        assert models_of(page.client.get("/models").text) == [1]
        small.enter_run(rich_run(2))
        assert models_of(page.client.get("/models").text) == [2, 1]


def test_a_ledger_that_was_rolled_back_shows_nothing(small):
    cut = [None]
    desk = desk_of(small)
    with page_of(small, size=lambda: cut[0] or desk.size()) as page:
        page.sign_in("anna")
        assert page.client.get(f"/models/{identity(1)}").status_code == 200
        cut[0] = 5
        answer = page.client.get(f"/models/{identity(1)}")
        assert answer.status_code == 503 and "rolled back" in answer.text
        cut[0] = None  # growing again does not mend it
        assert page.client.get("/models").status_code == 503
        said = page.client.get("/verification")
        assert said.status_code == 200 and "no longer shows evidence" in said.text
        assert page.client.get("/sign-in").status_code in (303, 503)


def test_an_entry_that_does_not_pass_shows_nothing(tmp_path):
    small = small_ledger(tmp_path / "ledger")
    small.enter_run(rich_run(1))
    with page_of(small) as page:
        page.sign_in("anna")
        assert page.client.get("/models").status_code == 200
        statement = entries.statement(entries.RUN, ORIGIN, "recorder", {"x": "0" * 64}, {"a": 1})
        small.ledger.append([Envelope.sign(statement, small.keys["tina"])])
        answer = page.client.get("/models")
        assert answer.status_code == 503 and "finetuning" not in answer.text


def test_a_report_is_a_file_with_a_tame_name(small):
    made = []

    def report(evidence, identity, verification, language):
        made.append((identity, verification.verdict, language))
        return b"%PDF-1.7"

    with page_of(small, reports={"pdf": report}) as page:
        page.sign_in("anna")
        page.app.state.office.watch.once()
        answer = page.client.get(f"/models/{identity(1)}/report.pdf")
        assert answer.content == b"%PDF-1.7" and answer.headers["content-type"] == "application/pdf"
        assert answer.headers["content-disposition"].startswith('attachment; filename="domainlm-finance-1.pdf"')
        assert "sandbox" in answer.headers["content-security-policy"]
    assert made == [(identity(1), "unanchored", "en")]


def test_a_report_waits_for_the_verification(small):
    def verify():
        raise ArtifactError("the store is away", "the store")

    with page_of(small, verify=verify, reports={"pdf": lambda *_: b"x"}) as page:
        page.sign_in("anna")
        page.app.state.office.watch.once()
        assert page.client.get(f"/models/{identity(1)}/report.pdf").status_code == 503


def test_the_verdict_of_the_page_is_the_verification_of_the_ledger(small):
    found = verify_entries(small.ledger.raw(), small.ledger.checkpoints(), [], ORIGIN, small.root_keyids, processes=1)
    with page_of(small) as page:
        page.sign_in("anna")
        page.app.state.office.watch.once()
        assert page.client.get("/verification/status").json()["verdict"] == found.verdict == "unanchored"
        assert json.loads(page.client.get("/verification/status").content)["running"] is False


def test_an_unforeseen_error_quotes_nothing(small, caplog):
    def decide(evidence, identity):
        raise RuntimeError("a secret of the data")

    with page_of(small, decide=decide) as page:
        page.sign_in("anna")
        answer = page.client.get("/models")
        assert answer.status_code == 500 and "secret" not in answer.text and "secret" not in caplog.text
        assert "RuntimeError" in caplog.text


def test_a_form_that_is_none_is_refused(page):
    for content, kind in (
        (b"\x00\xff" * 50, "multipart/form-data; boundary=x"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"csrf=%00", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"&".join(b"a%d=1" % number for number in range(500)), "application/x-www-form-urlencoded"),
    ):
        answer = page.client.post("/verification", content=content, headers={"origin": URL, "content-type": kind})
        assert answer.status_code in (400, 403)


def test_many_readers_at_once_while_the_ledger_grows(tmp_path):
    """Every page of every reader is whole, and every look is entered."""
    small = small_ledger(tmp_path / "ledger")
    small.enter_run(rich_run(1))
    paths = ["/models", f"/models/{identity(1)}", "/entries", "/search?q=domainlm", "/entries/1", "/verification"]
    with page_of(small) as page:
        page.sign_in("anna")
        cookies = dict(page.client.cookies)

        def read(_):
            client = TestClient(page.app, base_url=URL, cookies=cookies, follow_redirects=False)
            return [client.get(path).status_code for path in paths * 3]

        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(read, number) for number in range(4)]
            for number in range(2, 12):
                small.enter_run(rich_run(number))
            assert {status for answer in answers for status in answer.result(timeout=60)} == {200}
        assert models_of(page.client.get("/models").text) == list(range(11, 0, -1))
    looks = list(small.evidence().of_kind(entries.READ))
    assert len(looks) == 4 * 3 * 2
