"""Both languages say everything, and nothing of a name can hide or escape."""

from __future__ import annotations

import re
from string import Formatter
from urllib.parse import quote

import pytest
from markupsafe import Markup
from page_desks import page_of
from rich_runs import HOSTILE, failed_run, hostile_run, rich_run
from small_ledgers import small_ledger

from domainlm.audit.decisions.approvals import decide
from domainlm.audit.page.visit import _environment, download
from domainlm.audit.page.words import FOLDER, LANGUAGES, cut, preferred, translated, visible, words
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Condition, Erasure, StandingApproval
from domainlm.ledger.findings import CODES
from domainlm.ledger.trust.gate import MAY_SIGN

TEMPLATES = FOLDER.parent / "templates"


def test_the_languages_have_the_same_keys_and_places():
    english = words("en")
    for language in LANGUAGES:
        other = words(language)
        assert list(other) == list(english)
        for key, sentence in other.items():
            assert isinstance(sentence, str) and sentence.strip(), key
            places = {field for _, field, _, _ in Formatter().parse(sentence) if field}
            assert places == {field for _, field, _, _ in Formatter().parse(english[key]) if field}, key


def test_every_code_kind_and_role_has_its_words():
    known = words("en")
    wanted = {f"finding.{code}" for code in CODES} | {f"kind.{kind}" for kind in entries.KINDS}
    wanted |= {f"role.{role}" for roles in MAY_SIGN.values() for role in roles}
    assert not wanted - set(known)


def test_every_key_that_a_template_or_view_names_is_there():
    sources = [*TEMPLATES.glob("*.html"), *FOLDER.parent.rglob("*.py")]
    named = {key for path in sources for key in re.findall(r"""\bt\(["']([a-z_]+\.[\w -]+)["']""", path.read_text())}
    named |= {key for path in sources for key in re.findall(r"""m\.badge\(t, "([a-z_]+\.\w+)\"""", path.read_text())}
    assert len(named) > 200
    named = {key for key in named if not key.endswith("_")}  # the rest is made up at run time
    assert not named - set(words("en"))


def test_no_key_is_left_over():
    text = "\n".join(path.read_text() for path in [*TEMPLATES.glob("*.html"), *FOLDER.parent.rglob("*.py"),
                                                   *FOLDER.parent.glob("static/*.js")])  # fmt: skip
    made = ("finding.", "kind.", "role.", "field.", "value.", "state.", "verdict.", "severity.", "decision.", "error.",
            "lineage.", "documents.", "verification.words_", "model.ledger_", "decide.", "compare.", "nav.",
            "redaction.", "validation.", "evaluation.", "licence.")  # fmt: skip
    unused = [
        key for key in words("en") if not key.startswith(made) and f'"{key}"' not in text and f"'{key}'" not in text
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [("ko", "en", "ko"), (None, "ko-KR,ko;q=0.9,en;q=0.5", "ko"), (None, "fr,de", "en"), ("xx", "", "en"),
     (None, "\x00,;;,ko," * 50, "ko"), ("../../etc", "en-GB", "en")],
)  # fmt: skip
def test_the_language_is_the_one_that_was_wished_for(cookie, accepted, language):
    assert preferred(cookie, accepted) == language


def test_hidden_characters_are_shown():
    assert visible("a\u202egnp.exe") == "a⟨U+202E⟩gnp.exe"
    assert visible("\x00\x1b[31m\u200b\u2066\ud800") == "⟨U+0000⟩⟨U+001B⟩[31m⟨U+200B⟩⟨U+2066⟩⟨U+D800⟩"
    assert visible("한국어 日本 é\n\tx") == "한국어 日本 é\n\tx"
    assert visible(Markup("<b>")) == "<b>" and visible(None) == ""


def test_a_long_text_says_how_much_is_missing():
    assert cut("x" * 120) == "x" * 120
    assert cut("x" * 1000, 10) == "x" * 9 + "… (+991)"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_of_a_file_stays_in_its_header(name):
    header = download(b"", name, "text/plain").headers["content-disposition"]
    assert re.fullmatch(r"attachment; filename=\"[A-Za-z0-9._-]{0,100}\"; filename\*=UTF-8''[A-Za-z0-9._~%-]*", header)


@pytest.mark.parametrize("name", HOSTILE)
def test_templates_escape_everywhere(name):
    for source in ("{{ x }}", '<a title="{{ x }}">', "<a title='{{ x }}'>"):
        made = _environment().from_string(source).render(x=name)
        assert not re.search(r"<script|<img|<svg|</title", made)
        assert made.count('"') <= 2


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    made = small_ledger(tmp_path_factory.mktemp("words"))
    made.enter_run(rich_run(1))
    made.enter_run(rich_run(2))
    made.enter_run(failed_run(3))
    for number, name in enumerate(HOSTILE, 10):
        made.enter_run(hostile_run(number, name))
    return made


def pages_of(page):
    book = page.app.state.office.book
    identities = list(book.models)
    return [
        "/models", "/runs", "/entries", "/people", "/access", "/verification", "/search?q=hostile", "/compare",
        *(f"/models/{identity}" for identity in identities),
        *(f"/models/{identity}/decide" for identity in identities[:3]),
        *(f"/runs/{quote(run, safe='')}" for run in book.runs if "\n" not in run),
        *(f"/compare?before={identities[0]}&after={identity}" for identity in identities[1:]),
        *(f"/entries/{number}" for number in range(book.size)),
        "/nothing",
    ]  # fmt: skip


def test_korean_pages_speak_korean(small):
    """No English sentence of ours stands on a Korean page, and no key does; the differences show reports' own words."""
    sentences = {
        sentence for key, sentence in words("en").items()
        if len(sentence) > 11 and "{" not in sentence and not key.startswith("value.") and words("ko")[key] != sentence
    }  # fmt: skip
    with page_of(small) as page:
        page.sign_in("anna")
        assert page.post("/language", language="ko", next="/models").headers["location"] == "/models"
        for path in pages_of(page):
            if path.startswith(("/entries/",)) or "hostile" in path:
                continue
            text = page.client.get(path).text
            assert '<html lang="ko">' in text
            shown = re.sub(r"<[^>]*>", "\n", re.sub(r'lang="en">.*?</(p|ul|td|span|div)>', "", text, flags=re.DOTALL))
            left = [sentence for sentence in sentences if f"\n{sentence}\n" in shown]
            assert left == [], path
            assert not re.search(r">\s*(nav|base|model|models|status)\.[a-z_]+\s*<", text), path


def test_hostile_names_are_text_on_every_page(small):
    """Parsed as a browser does it, no page holds an element or attribute that a name brought."""
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert tag not in ("img", "iframe", "object", "embed", "style", "base"), tag
            names = [name for name, _ in attributes]
            assert not [name for name in names if name.startswith("on") or name == "style"], names
            assert len(names) == len(set(names)), names
            assert not [value for name, value in attributes
                        if name in ("href", "src", "action") and value and not re.match(r"[/#]", value)]  # fmt: skip
            if tag == "script":
                assert dict(attributes)["src"] == "/static/page.js"

    with page_of(small) as page:
        page.sign_in("anna")
        for path in pages_of(page):
            answer = page.client.get(path)
            # a run's id is a UUID; one that leads out of its folder leads nowhere
            missing = path == "/nothing" or "..%2F" in path
            assert answer.status_code == (404 if missing else 200), path
            assert "\u202e" not in answer.text and "\x00" not in answer.text and "\x1b" not in answer.text
            Reader().feed(answer.text)
            assert answer.text.count("<script") == 1


def test_what_the_decision_says_is_said_in_korean(tmp_path):
    """Every kind of sentence that `decide` makes has its Korean, with names and numbers in their places."""
    small = small_ledger(tmp_path / "ledger")
    runs = {number: small.enter_run(rich_run(number)).entry for number in (1, 2, 3, 4)}

    def decide_as(who, number, decision="approve", **fields):
        model = rich_run(number).model
        act = Approval(**({"model": f"{model.name}/{model.version}", "identity": model.identity, "run": runs[number],
                           "decision": decision} | fields))  # fmt: skip
        small.state(who, entries.APPROVAL, act, {"model": model.identity})

    decide_as("victor", 1, "reject", reason="no")
    decide_as("anna", 1, until="2020-01-01")
    decide_as("anna", 2, run="0" * 64)
    decide_as("olga", 2, conditions=[Condition(id="late", text="do it", due="2020-01-01")])
    decide_as("victor", 2, until="never")
    decide_as("anna", 3)
    decide_as("anna", 3, "revoke", reason="no")
    for number, changes in (
        (5, {"code": ["sha256:" + "0" * 64], "data": []}),
        (6, {"code": [""], "configuration": []}),
        (7, {"code": list(small.policy.members["anna"].identities + small.policy.members["olga"].identities)}),
    ):
        rich = rich_run(number)
        small.enter_run(rich.model_copy(update={"authors": rich.authors.model_copy(update=changes)}))
    small.state(
        "recorder", entries.ERASURE,
        Erasure(commitment="0" * 64, data=[], models=[rich_run(4).model.identity], counts={}, by="root", reason="x"),
    )  # fmt: skip
    good = {"model": "domainlm-finance", "base": rich_run(1).model.digests["base"], "until": "2099-01-01", "uses": 1,
            "sources": ["headlines", "콜센터 상담", "filings"], "metrics": {"headline_accuracy": {"low": 0.1}},
            "reason": "x", "tier": 1}  # fmt: skip
    for changes in ({"tier": None}, {"tier": 2}, {"until": "2020-01-01"}, {"base": "0" * 64}, {"sources": []},
                    {"metrics": {}}, {"metrics": {"unheard_of": {"low": 1}}},
                    {"metrics": {"headline_accuracy": {"low": 0.9}}},
                    {"metrics": {"headline_accuracy": {"high": 0.1}}},
                    {"metrics": {"headline_accuracy": {"over_champion": 0.5}}}):  # fmt: skip
        small.state("anna", entries.STANDING, StandingApproval(**(good | changes)))
    evidence = small.evidence()
    said = set()
    for number in (*range(1, 8), 99):
        found = decide(evidence, rich_run(number).model.identity)
        said |= {*found.missing, *found.excluded.values(), *found.unusable.values()}
    assert len(said) >= 20
    for sentence in said:
        korean = translated("ko", sentence)
        assert 'lang="en"' not in korean, sentence
        for name in re.findall(r"\d+|anna|olga|victor", sentence):
            assert name in korean or "2020-01-01" in sentence, (sentence, korean)


def test_a_sentence_that_nobody_translated_stays_and_says_so():
    assert translated("ko", "something new") == '<bdi lang="en">something new</bdi>'
    assert translated("en", "<b>") == '<bdi lang="en">&lt;b&gt;</bdi>'
    hostile = "<script>alert(1)</script> rejected it (entry 3): only x can revoke that, or approve"
    assert "<script>" not in translated("ko", hostile) and "항목 3" in translated("ko", hostile)
    assert "{0.__class__}" in translated("ko", "was a member until {0.__class__}")
