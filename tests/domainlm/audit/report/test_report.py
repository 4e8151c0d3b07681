"""The report of a model: what it says and in which order, that nothing in it runs or loads, and that it can be kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pikepdf
import pytest
import yaml
from full_runs import NOON, ORIGIN, Reported, document, full_run, full_sources, hostile, reported
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.audit.proof.verification import verify_entries
from domainlm.audit.report import build, read_checkpoint, save, to_html, to_pdf
from domainlm.audit.report.document import plain
from domainlm.audit.report.words import FOLDER, LANGUAGES
from domainlm.errors import ArtifactError, ConfigurationError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Bound, Erasure, Hold, HoldRelease, Promotion, StandingApproval
from domainlm.ledger.anchors import Published
from domainlm.ledger.findings import Finding
from domainlm.ledger.run.manifest import FAILED, Authors
from domainlm.ledger.trust.gate import Rules, identity

ROOT = Path(__file__).resolve().parents[4]
WORDS_A_MINUTE, MINUTES = 230, 10


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return reported(tmp_path_factory.mktemp("ledger"))


def text_of(html: str) -> str:
    """What a reader sees, in order."""
    told: list[str] = []

    class Reader(HTMLParser):
        skip = ""

        def handle_starttag(self, tag: str, attrs: list) -> None:
            self.skip = tag if tag in ("style", "script", "title") else self.skip

        def handle_endtag(self, tag: str) -> None:
            self.skip = "" if tag == self.skip else self.skip

        def handle_data(self, data: str) -> None:
            if not self.skip:
                told.append(data)

    Reader().feed(html)
    return " ".join(" ".join(told).split())


def headline(ledger: Reported, **changes) -> tuple[str, str]:
    found = document(ledger, **changes)
    return found.tone, found.headline


def test_the_verdict_stands_first_and_the_proof_last(ledger: Reported) -> None:
    found = document(ledger)
    assert (found.tone, found.headline) == ("good", "Approved, and the evidence is intact.")
    assert [section.id for section in found.sections] == [
        "use", "data", "privacy", "contract", "training", "evaluation", "approvals", "lineage", "limits", "law",
        "proof",
    ]  # fmt: skip
    told = text_of(to_html(found))
    assert told.index(found.headline) < told.index("What it is") < told.index("Proof and how to check it")


def test_it_is_read_in_ten_minutes(ledger: Reported) -> None:
    told = text_of(to_html(document(ledger)))
    words = [word for word in told.split() if re.search("[A-Za-z]", word) and not re.fullmatch("[0-9a-f]{40,}", word)]
    assert len(words) < WORDS_A_MINUTE * MINUTES, f"{len(words)} words"


def test_it_says_what_an_officer_asks_for(ledger: Reported) -> None:
    told = text_of(to_html(document(ledger)))
    for wanted in (
        "domainlm-finance/2", ledger.identity, "confidential, for those who need it", "internal-use",
        "CC-BY-4.0: name the authors", "customer-messages", "contract clause 7", "customer-service", "4,840",
        "A share of labelled test texts still leaks", "PERSON 1,502", "The data keep their contract", "commit b9491778",
        "Intel Xeon, 4 cores, 16 GiB", "0.12 USD", "0.732 [0.701, 0.761]", "+0.010", "numeric answers not shown",
        "victor validator approved", "2027-02-18", "add the model card to the inventory", "met, entry 7", "tina",
        "champion of domainlm-finance is domainlm-finance/1", "What the model memorised", "General Data Protection",
        "no legal advice", "domainlm audit verify --bundle", "not entered in the ledger",
    ):  # fmt: skip
        assert wanted in told, wanted


@pytest.mark.parametrize(
    ("verdict", "anchored", "tone", "said"),
    [
        ("good", 9, "good", "Approved, and the evidence is intact."),
        ("good", 2, "caution", "Approved and anchored, with reservations."),
        ("unanchored", 0, "caution", "no published checkpoint was at hand"),
        ("broken", 9, "bad", "Do not rely on this model."),
    ],
)
def test_the_headline_follows_the_verification(
    ledger: Reported, verdict: str, anchored: int, tone: str, said: str
) -> None:
    fault = [Finding(code="edited", severity="broken", where="entry 3", what="was changed")] * (verdict == "broken")
    changed = ledger.verification().model_copy(update={"verdict": verdict, "anchored": anchored, "findings": fault})
    found = headline(ledger, verification=changed)
    assert found[0] == tone and said in found[1]


def test_without_a_published_checkpoint_it_never_says_intact(ledger: Reported) -> None:
    told = text_of(to_html(document(ledger, verification=ledger.verification([]))))
    assert "The evidence is intact" not in told and "no published checkpoint was at hand" in told
    assert "no checkpoint was published" not in told  # one may lie elsewhere: only that none was given is known


@pytest.mark.parametrize(
    ("gate", "said", "notice"),
    [
        ("redaction", {"verdict": "failed"}, "The redaction did not pass."),
        ("base_redaction", {"verdict": "failed"}, "The redaction did not pass."),
        ("redaction", {}, "Treat the model as if it had learnt from personal data."),
        ("validation", {"verdict": "broken"}, "The data break their contract."),
        ("licence", {"allowed": False, "verdict": "refused"}, "No licence gate is recorded that allows this use"),
    ],
)
def test_a_gate_that_did_not_open_stands_in_the_verdict(tmp_path: Path, gate: str, said: dict, notice: str) -> None:
    ledger = reported(tmp_path, verdicts=full_run(2).verdicts | {gate: said})
    found = document(ledger)
    assert (found.tone, found.headline) == ("caution", "Approved and anchored, with reservations.")
    assert [one.tone for one in found.notices if notice in one.text] == ["bad"]


def test_what_broken_evidence_says_is_never_in_green(ledger: Reported) -> None:
    broken = ledger.verification().model_copy(update={"verdict": "broken"})
    assert {one.tone for one in document(ledger, verification=broken).notices} == {"bad", "plain"}


def test_what_is_missing_stands_below_the_verdict(tmp_path: Path) -> None:
    ledger = reported(tmp_path, approved=False)
    found = document(ledger)
    assert found.tone == "bad" and found.headline.startswith("Not approved. What is missing: ")
    assert found.sections[0].id == "missing"
    told = text_of(to_html(found))
    for sentence in ledger.decision().missing:
        assert sentence in told


def test_a_rejection_an_erasure_and_a_development_policy_are_said(tmp_path: Path) -> None:
    ledger = reported(tmp_path, rules=Rules(production=False))
    assert headline(ledger)[1] == "Approved and anchored, with reservations."
    ledger.made.state(
        "anna", entries.APPROVAL,
        Approval(model="domainlm-finance/2", identity=ledger.identity, run="0" * 64, decision="reject", reason="bias"),
        time=NOON.replace(hour=14),
    )  # fmt: skip
    assert headline(ledger)[1].startswith("Not approved")
    ledger.made.state(
        "recorder", entries.ERASURE,
        Erasure(commitment="c" * 64, data=["d" * 64], models=[ledger.identity], counts={"rows": 3}, by="op",
                reason="request"),
        time=NOON.replace(hour=15),
    )  # fmt: skip
    assert headline(ledger) == ("bad", "This model must be trained again. Data that it learnt from were erased.")
    told = text_of(to_html(document(ledger)))
    assert "anna officer rejected bias" in told
    assert "one for development" in told and "were erased since" in told


def test_a_champion_is_compared_with_the_one_before_and_a_hold_is_said(tmp_path: Path) -> None:
    ledger = reported(tmp_path)
    approvals = ledger.decision().approvals
    before = ledger.made.evidence().champion("domainlm-finance")
    assert before is not None
    promotion = Promotion(
        model="domainlm-finance/2", identity=ledger.identity, previous=before.act.identity, approvals=approvals
    )
    ledger.made.state("recorder", entries.PROMOTION, promotion, time=NOON.replace(hour=14))
    hold = Hold(commitment="c" * 64, case="2026-7", reason="claim")
    ledger.made.state("anna", entries.HOLD, hold, time=NOON.replace(hour=15))
    told = text_of(to_html(document(ledger)))
    assert "This model is the champion of domainlm-finance, since entry 9." in told
    assert "0.722 +0.010" in told and "Legal holds in force: 1." in told
    release = HoldRelease(hold=ledger.made.evidence().stated[-1].digest, reason="settled")
    ledger.made.state("anna", entries.HOLD_RELEASE, release, time=NOON.replace(hour=16))
    assert "Legal holds in force" not in text_of(to_html(document(ledger)))


def test_a_standing_approval_and_those_who_do_not_count_are_named(tmp_path: Path) -> None:
    ledger = reported(tmp_path, approved=False)
    manifest = ledger.made.evidence().models()[ledger.identity].act
    standing = StandingApproval(
        model="domainlm-finance", base=manifest.model.digests["base"],
        sources=[source.name for source in manifest.sources],
        metrics={"headlines/headlines/accuracy/tuned": Bound(low=0.5)}, until="2026-12-31", uses=2, reason="nightly",
        tier=1,
    )  # fmt: skip
    ledger.made.state("olga", entries.STANDING, standing, time=NOON.replace(hour=14))
    act = Approval(
        model="domainlm-finance/2", identity=ledger.identity, run="0" * 64, decision="approve", reason="wrong run"
    )
    ledger.made.state("victor", entries.APPROVAL, act, time=NOON.replace(hour=15))
    found = document(ledger)
    told = text_of(to_html(found))
    assert ledger.decision().standing and found.notices[1].text == "Approved by a standing approval, within its bounds."
    assert "Standing approval used: entry 6, until 2026-12-31, bounded to 2 promotions." in told
    assert "Who does not count, and why: victor: approved another run" in told


def test_an_author_whom_nobody_knows_and_outsiders_are_counted_not_named(tmp_path: Path) -> None:
    authors = Authors(code=[identity("tina@bank.example"), identity("stranger@elsewhere.example")], data=[""])
    told = text_of(to_html(document(reported(tmp_path, authors=authors))))
    assert "code tina, 1 outside of the policy" in told and "data an author whom nobody knows" in told
    assert identity("stranger@elsewhere.example") not in told


def test_a_run_that_states_little_gives_a_report_that_says_so(tmp_path: Path) -> None:
    bare = {"sources": [], "rows": [], "verdicts": {}, "metrics": {}, "intervals": {}, "steps": [], "base": {},
            "hardware": {}, "code": {}, "configuration": {}, "status": FAILED}  # fmt: skip
    ledger = reported(tmp_path, approved=False, **bare)
    told = text_of(to_html(document(ledger)))
    for said in ("names no source", "Treat the model as if it had learnt from personal data", "No contract result",
                 "No metric is recorded", "not recorded for this run", "did not complete", "missing here"):  # fmt: skip
        assert said in told, said
    assert to_pdf(to_html(document(ledger))).startswith(b"%PDF-")


def test_a_finding_is_shown_with_its_code_and_place(ledger: Reported) -> None:
    faults = [
        Finding(code="stale-anchor", severity="warning", where="entry 5", what="lies after the last checkpoint"),
        Finding(code="edited", severity="broken", where="entry 3", what="differs from the tree"),
    ]
    changed = ledger.verification().model_copy(update={"verdict": "broken", "findings": faults})
    told = text_of(to_html(document(ledger, verification=changed)))
    assert told.index("broken edited entry 3") < told.index("warning stale-anchor entry 5")


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    html = to_html(document(hostile(tmp_path)))
    tags: set[str] = set()
    attributes: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list) -> None:
            tags.add(tag)
            attributes.update(name for name, _ in attrs)

    Reader().feed(html)
    assert not tags & {"script", "img", "iframe", "object", "link", "base", "form", "input"}
    assert not {name for name in attributes if name.startswith("on")}
    assert html.count("</style>") == 1 and "\u202e" not in html and "\x00" not in html
    assert "[U+202E]gpj.exe[U+0000]" in html and "{{7*7}}" in html
    assert to_pdf(html).startswith(b"%PDF-")


def test_it_loads_nothing_and_runs_nothing(ledger: Reported) -> None:
    html = to_html(document(ledger))
    assert "default-src 'none'" in html
    for loading in ("<script", "<link", "<img", "@import", "url(", "src=", "http-equiv=refresh"):
        assert loading not in html
    assert set(re.findall(r'href="([^"]+)"', html)) == {f"#{one.id}" for one in document(ledger).sections}
    assert set(re.findall(r"https?://[^\"'< ]+", html)) <= {"http://www.w3.org/2000/svg"}


def test_pages_are_marked_up_for_screen_readers(ledger: Reported) -> None:
    html = to_html(document(ledger))
    assert '<html lang="en">' in html
    assert re.findall(r"<h(\d)", html)[0] == "1" and set(re.findall(r"<h(\d)", html)) == {"1", "2"}
    for table in re.findall(r"<table class=\"grid\">.*?</table>", html, re.DOTALL):
        assert "<caption>" in table and 'scope="col"' in table and 'scope="row"' in table
    assert '<svg xmlns="http://www.w3.org/2000/svg" role="img"' in html and "<title>15 steps from 4 sources" in html


def test_korean_and_english_have_the_same_words_and_the_same_places_for_values() -> None:
    texts = {one: yaml.safe_load((FOLDER / f"{one}.yaml").read_text(encoding="utf-8")) for one in LANGUAGES}
    assert set(texts["en"]) == set(texts["ko"])
    for key, text in texts["en"].items():
        assert sorted(re.findall(r"{(\w+)}", text)) == sorted(re.findall(r"{(\w+)}", texts["ko"][key])), key


def test_the_korean_report_speaks_korean(ledger: Reported) -> None:
    html = to_html(document(ledger, "ko"))
    told = text_of(html)
    assert '<html lang="ko">' in html and "승인되었고 증거가 온전합니다." in told
    assert "준법감시 담당자" in told and "개인정보 보호법" in told and "대외비" in told
    english = text_of(to_html(document(ledger)))
    assert "officer" in english and not re.search("[가-힣]", english.replace("\n", "").split("Laws and standards")[0])


def test_an_unknown_language_and_an_unknown_model_are_refused(ledger: Reported) -> None:
    with pytest.raises(ConfigurationError, match="no language of the report"):
        document(ledger, "de")
    with pytest.raises(EvidenceRefused) as raised:
        build(ledger.made.evidence(), "f" * 64, ledger.verification(), ledger.decision())
    assert raised.value.code == "missing-manifest"


def test_the_same_evidence_gives_the_same_bytes_in_another_process(ledger: Reported, tmp_path: Path) -> None:
    html = to_html(document(ledger))
    assert html == to_html(document(ledger))
    page = tmp_path / "report.html"
    page.write_text(html, encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from domainlm.audit.report import to_pdf;"
        "Path(sys.argv[2]).write_bytes(to_pdf(Path(sys.argv[1]).read_text(encoding='utf-8')))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(page), str(tmp_path / "other.pdf")], check=True, timeout=120, cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Seoul"},
    )  # fmt: skip
    assert (tmp_path / "other.pdf").read_bytes() == to_pdf(html)


@pytest.fixture(scope="module", params=LANGUAGES)
def pdf(request: pytest.FixtureRequest, ledger: Reported) -> tuple[str, bytes]:
    return request.param, to_pdf(to_html(document(ledger, request.param)))


def test_the_pdf_has_what_pdf_a_asks_for(pdf: tuple[str, bytes], ledger: Reported) -> None:
    language, content = pdf
    with pikepdf.open(BytesIO(content)) as found:
        assert not found.is_encrypted
        with found.open_metadata() as metadata:
            assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "B")
            assert "domainlm-finance/2" in metadata["dc:title"]
            assert metadata["xmp:CreateDate"] == document(ledger).created
        intent = found.Root.OutputIntents[0]
        assert intent.S == "/GTS_PDFA1" and intent.DestOutputProfile.read_bytes()
        assert str(found.Root.Lang) == language and found.Root.MarkInfo.Marked and found.Root.StructTreeRoot
        assert found.Root.ViewerPreferences.DisplayDocTitle
        assert "/JavaScript" not in found.Root.get("/Names", {}) and "/OpenAction" not in found.Root
        assert found.trailer["/ID"] and not found.Root.get("/AcroForm")
        for one in found.objects:
            if isinstance(one, pikepdf.Dictionary) and one.get("/Type") == "/Font" and one.get("/Subtype") != "/Type0":
                descriptor = one.get("/FontDescriptor")
                assert any(key in descriptor for key in ("/FontFile", "/FontFile2", "/FontFile3")), "not embedded"
            if isinstance(one, pikepdf.Dictionary):
                assert one.get("/S") not in ("/JavaScript", "/Launch", "/ImportData"), "an action"


def written_letters(content: bytes) -> bytes:
    """The maps from glyphs to characters of all fonts: UTF-16 in hexadecimal digits."""
    with pikepdf.open(BytesIO(content)) as found:
        fonts = [one for one in found.objects if isinstance(one, pikepdf.Dictionary) and "/ToUnicode" in one]
        return b"".join(font.ToUnicode.read_bytes() for font in fonts).lower()


def test_the_pdf_of_a_korean_report_embeds_hangul(ledger: Reported) -> None:
    letters = written_letters(to_pdf(to_html(document(ledger, "ko"))))
    for letter in "승인증거":
        assert letter.encode("utf-16-be").hex().encode() in letters


def test_figures_and_headings_are_tagged(pdf: tuple[str, bytes]) -> None:
    kinds: set[str] = set()
    alternatives = []
    with pikepdf.open(BytesIO(pdf[1])) as found:
        for one in found.objects:
            if isinstance(one, pikepdf.Dictionary) and one.get("/Type") == "/StructElem":
                kinds.add(str(one.S))
                if one.S == "/Figure":
                    alternatives.append(str(one.get("/Alt", "")))
    assert {"/H1", "/H2", "/P", "/Table", "/TR", "/TH", "/TD", "/Figure", "/LI"} <= kinds
    assert alternatives and all(alternatives)


def test_a_character_that_no_font_has_becomes_a_box_and_is_said(tmp_path: Path) -> None:
    sources = [full_sources()[0].model_copy(update={"name": "hieroglyph \U00013000 source"})]
    html = to_html(document(reported(tmp_path, sources=sources)))
    assert "\U00013000" in html
    letters = written_letters(to_pdf(html))
    assert b"d80cdc00" not in letters  # U+13000 in UTF-16
    assert b"25a1" in letters  # the box


def test_without_a_font_for_hangul_the_korean_pdf_is_refused_and_the_html_is_not(
    ledger: Reported, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    page.write_text(to_html(document(ledger, "ko")), encoding="utf-8")
    fonts = tmp_path / "fonts.conf"
    folder = next((path for path in Path("/usr/share/fonts").rglob("*DejaVu*.ttf")), None)
    if folder is None:
        pytest.skip("no DejaVu fonts on this machine")
    fonts.write_text(
        f'<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>{folder.parent}</dir>'
        f"<cachedir>{tmp_path}</cachedir></fontconfig>"
    )
    program = (
        "import sys; from pathlib import Path; from domainlm.audit.report import to_pdf\n"
        "from domainlm.errors import ConfigurationError\n"
        "try: to_pdf(Path(sys.argv[1]).read_text(encoding='utf-8'))\n"
        "except ConfigurationError as error: print(error.what)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(page)], check=True, timeout=120, cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"FONTCONFIG_FILE": str(fonts)},
    )  # fmt: skip
    assert "no font of this machine has Hangul" in done.stdout


def test_the_report_is_a_published_checkpoint_that_shows_a_roll_back(tmp_path: Path) -> None:
    ledger = reported(tmp_path)
    html = to_html(document(ledger))
    notes = {read_checkpoint(html.encode()), read_checkpoint(to_pdf(html))}
    assert notes == {ledger.note}
    kept = list(ledger.made.ledger.raw())
    anchors = [Published("report.pdf", notes.pop())]

    def verdict(raw: list) -> tuple[str, set[str]]:
        checkpoints = [note for note in ledger.made.ledger.checkpoints() if int(note.split("\n")[1]) <= len(raw)]
        found = verify_entries(raw, checkpoints, anchors, ORIGIN, ledger.made.root_keyids)
        return found.verdict, {finding.code for finding in found.findings}

    assert verdict(kept)[0] == "good"
    assert verdict(kept[:-2])[0] == "broken" and "rolled-back" in verdict(kept[:-2])[1]


def test_a_checkpoint_that_is_not_the_ledgers_is_not_printed(ledger: Reported, tmp_path: Path) -> None:
    other = reported(tmp_path)
    with pytest.raises(EvidenceRefused) as raised:
        document(ledger, checkpoint=other.note)
    assert raised.value.code == "bad-signature"
    with pytest.raises(EvidenceRefused) as raised:
        document(ledger, checkpoint=ledger.note.replace(ORIGIN, "another/ledger", 1))
    assert raised.value.code == "foreign-entry"
    early = document(ledger, checkpoint=ledger.made.ledger.checkpoints()[0])
    assert "No signed checkpoint covers this entry yet." in text_of(to_html(early))
    with pytest.raises(EvidenceRefused, match="prints no checkpoint"):
        read_checkpoint(to_html(early).encode())
    with pytest.raises(EvidenceRefused, match="no checkpoint attached"):
        read_checkpoint(to_pdf(to_html(early)))
    with pytest.raises(EvidenceRefused, match="no checkpoint attached"):
        read_checkpoint(b"%PDF-1.7 torn")


def test_only_a_page_of_a_report_becomes_a_pdf() -> None:
    with pytest.raises(ArtifactError, match="no page of a report"):
        to_pdf("<html><body>hello</body></html>")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_plain_text_never_hides_turns_or_breaks_anything(text: str) -> None:
    shown = plain(text)
    assert len(shown) <= 300 and shown.isprintable() and "\n" not in shown


def test_a_report_is_saved_whole_private_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    save(path, b"one")
    save(path, b"two")
    assert path.read_bytes() == b"two" and path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["report.pdf"]
    with pytest.raises(ArtifactError, match="cannot be written"):
        save(tmp_path / "nowhere" / "report.pdf", b"x")


def test_importing_the_report_loads_no_heavy_library() -> None:
    program = (
        "import sys, domainlm.audit.report, domainlm.audit.regulation\n"
        "print([name for name in sys.argv[1:] if name in sys.modules])"
    )
    heavy = "weasyprint jinja2 networkx pikepdf torch transformers datasets mlflow zenml".split()
    done = subprocess.run(
        [sys.executable, "-c", program, *heavy], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
