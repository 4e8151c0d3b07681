"""The map from law to evidence: its data lead somewhere, its page is up to date, its answers follow the evidence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from full_runs import Reported, full_run, reported
from typer.main import get_command

from cli.main import app
from domainlm.audit.regulation import (
    ANSWERED,
    FILE,
    MISSING,
    NOT_COVERED,
    PARTLY,
    Answer,
    Checklist,
    answer,
    path_fault,
    read_checklist,
    to_markdown,
)
from domainlm.errors import ConfigurationError
from domainlm.ledger.run.manifest import RunManifest

ROOT = Path(__file__).resolve().parents[3]
PACK = ROOT / "domains" / "finance"
WANTED = {  # what the issue asks the checklist to speak of
    "efta", "efsr", "pipa", "ai-basic-act", "ai-basic-decree", "fsc-2021", "fsc-2026", "gdpr", "ai-act", "sr-26-2",
    "nist-rmf", "nist-600-1", "iso-42001",
}  # fmt: skip


@pytest.fixture(scope="module")
def checklist() -> Checklist:
    return read_checklist(PACK)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return reported(tmp_path_factory.mktemp("ledger"))


def answers(checklist: Checklist, ledger: Reported, manifest: RunManifest | None = None) -> dict[str, Answer]:
    evidence = ledger.made.evidence()
    manifest = manifest or evidence.models()[ledger.identity].act
    return {found.item.id: found for found in answer(checklist, manifest, evidence)}


def paths(checklist: Checklist) -> list[str]:
    return sorted({path for item in checklist.items for path in item.answers})


def pack_with(folder: Path, change) -> Path:
    """The pack's checklist, changed, as a pack of its own."""
    content = yaml.safe_load((PACK / FILE).read_text(encoding="utf-8"))
    change(content)
    (folder / FILE).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return folder


def test_every_law_of_the_issue_has_a_dated_source_and_items(checklist: Checklist) -> None:
    assert set(checklist.sources) == WANTED
    for key, source in checklist.sources.items():
        assert checklist.of(key)
        assert source.consulted == "2026-11" and source.read and source.applies and source.number


def test_every_path_leads_to_a_field_an_existing_file_or_a_command(checklist: Checklist) -> None:
    for path in paths(checklist):
        assert path_fault(path) is None
        if path.startswith(("docs/", "domains/")):
            assert (ROOT / path).is_file(), f"{path} is not there"
        elif path.startswith("domainlm "):
            command = get_command(app)
            for name in path.split()[1:]:
                assert name in command.commands, f"{path} is no command"  # type: ignore[attr-defined]
                command = command.commands[name]  # type: ignore[attr-defined]


def test_the_words_after_a_plain_mapping_are_those_that_runs_write(checklist: Checklist) -> None:
    """`verdicts.redaction` resolves for any name: so the names are held against a run that states everything."""
    manifest = full_run().model_dump(mode="json")
    for path in paths(checklist):
        value = manifest
        parts = path.rstrip("?").split(".")
        if parts[0] != "manifest":
            continue
        for part in parts[1:]:
            value = value[part.removesuffix("[]")]
            if part.endswith("[]"):
                value = next((item for item in value if item.get(parts[-1])), value[0])
        assert value not in ("", {}, []), path


def test_an_item_without_an_answer_says_why_in_both_languages(checklist: Checklist) -> None:
    for item in checklist.items:
        assert item.answers or (item.gap and item.gap_ko)
        assert re.search("[가-힣]", item.asks_ko), item.id
        assert not re.search("[가-힣]", item.asks + item.gap), item.id


def test_no_item_claims_compliance(checklist: Checklist) -> None:
    words = " ".join(item.asks + item.gap for item in checklist.items).lower()
    assert "complies" not in words and "compliant" not in words
    assert "**It is no legal advice and no claim of compliance**" in " ".join(to_markdown(checklist).split())


def test_the_page_in_docs_is_the_generated_one(checklist: Checklist) -> None:
    assert (ROOT / "docs" / "regulation.md").read_text(encoding="utf-8") == to_markdown(checklist), (
        "make it again: domainlm audit checklist > docs/regulation.md"
    )


def test_a_full_run_answers_everything_that_something_can_answer(checklist: Checklist, ledger: Reported) -> None:
    found = answers(checklist, ledger)
    assert {one.state for one in found.values()} == {ANSWERED, PARTLY, NOT_COVERED}
    for one in found.values():  # an answer beside a stated gap is never a whole one
        assert (one.state == PARTLY) == bool(one.item.answers and one.item.gap)
    assert found["pipa-37-2"].state == NOT_COVERED
    assert "CC-BY-4.0, proprietary" in found["n600-ip"].value
    assert found["iso-5-3"].where == ["evidence.policy.members"]


def test_a_source_without_a_licence_is_missing_here_and_named(checklist: Checklist, ledger: Reported) -> None:
    whole = ledger.made.evidence().models()[ledger.identity].act
    sources = [whole.sources[0].model_copy(update={"licence": ""}), *whole.sources[1:]]
    found = answers(checklist, ledger, whole.model_copy(update={"sources": sources}))
    assert found["n600-ip"].state == MISSING
    assert found["n600-ip"].lacking == ["manifest.sources[].licence"]
    assert found["gdpr-5-1-b"].state == ANSWERED


def test_a_run_that_states_nothing_lacks_every_field_but_no_document(checklist: Checklist, ledger: Reported) -> None:
    bare = RunManifest(run_id="none", run_name="none", pipeline="p", status="completed")
    found = answers(checklist, ledger, bare)
    for one in found.values():
        asked = [path for path in one.item.answers if not path.startswith(("docs/", "domainlm ", "evidence."))]
        assert set(asked) <= set(one.lacking), one.item.id
        assert not [path for path in one.lacking if path.startswith(("docs/", "domainlm "))]


def test_an_entry_that_need_not_exist_is_no_lack_and_a_needed_one_is(
    checklist: Checklist, tmp_path: Path, ledger: Reported
) -> None:
    unapproved = answers(checklist, reported(tmp_path, approved=False))
    assert unapproved["fsc26-assistive"].lacking == ["evidence.approval"]
    assert unapproved["gdpr-17-1"].state == PARTLY  # nobody was erased
    assert "2 x approval" in answers(checklist, ledger)["fsc26-assistive"].value


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda all: all["items"][0].update(sorce="efta"), "did you mean 'source'"),
        (lambda all: all["items"][0].update(source="eftta"), "did you mean 'efta'"),
        (lambda all: all["items"][0].update(answers=["manifest.sorces[].licence"]), "did you mean 'sources'"),
        (lambda all: all["items"][0].update(answers=["manifest.sources[].license"]), "did you mean 'licence'"),
        (lambda all: all["items"][0].update(answers=["manifest.sources.licence"]), "write sources[]"),
        (lambda all: all["items"][0].update(answers=["evidence.aproval"]), "did you mean 'approval'"),
        (lambda all: all["items"][0].update(answers=["evidence.approval.condition"]), "did you mean 'conditions'"),
        (lambda all: all["items"][0].update(answers=["somewhere"]), "neither a field"),
        (lambda all: all["items"][1].update(gap="", gap_ko=""), "say in `gap` why"),
        (lambda all: all["items"][0].update(gap_ko=""), "must both stand there"),
        (lambda all: all["items"].append(all["items"][0]), "stands there twice"),
        (lambda all: all["sources"].update(spare=all["sources"]["gdpr"]), "no item names this source"),
        (lambda all: all["sources"]["gdpr"].update(version="May 2018"), "should match pattern"),
    ],
)
def test_a_fault_in_the_data_names_its_line_and_the_nearest_right_name(tmp_path: Path, change, told: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_checklist(pack_with(tmp_path, change))
    assert told in str(raised.value)
    assert re.search(rf"{FILE}:\d+", str(raised.value))


def test_a_pack_without_a_checklist_and_a_law_that_is_not_there_are_refused(
    tmp_path: Path, checklist: Checklist
) -> None:
    with pytest.raises(ConfigurationError, match="no map from law"):
        read_checklist(tmp_path)
    with pytest.raises(ConfigurationError, match="did you mean 'gdpr'"):
        checklist.of("gpdr")


def test_a_summary_shortens_digests_and_long_lists(checklist: Checklist, ledger: Reported) -> None:
    for one in answers(checklist, ledger).values():
        assert not re.search("[0-9a-f]{40}", one.value), one.item.id
        assert len(one.value) <= 130 * max(1, len(one.where))
