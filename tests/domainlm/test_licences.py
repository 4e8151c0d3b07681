"""The licence gate: what may be joined, for what, and with which duties; whatever is unknown stays out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from domainlm.errors import ConfigurationError, LicenceRefused
from domainlm.licences import LICENCES_FILE, UNSTATED, LicenceTable, judge, licence_gate, read_licences

PACK = Path(__file__).resolve().parents[2] / "domains" / "finance"
TRAINING, COMMERCIAL, RESEARCH = "model-training", "commercial", "research"


@pytest.fixture(scope="module")
def table() -> LicenceTable:
    return read_licences(PACK)


def refusal(table: LicenceTable, *arguments) -> str:
    with pytest.raises(LicenceRefused) as caught:
        licence_gate(*arguments, table)
    assert "->" in str(caught.value)  # a remedy
    return str(caught.value)


@pytest.mark.parametrize(
    ("base", "data", "purpose", "word"),
    [
        ("CC0-1.0", ["CC0-1.0"], TRAINING, "allowed"),
        ("apache-2.0", ["CC-BY-4.0", "MIT"], TRAINING, "allowed"),  # attribution is owed when the model is handed on
        ("apache-2.0", ["CC-BY-4.0", "MIT"], COMMERCIAL, "allowed with duties"),
        ("apache-2.0", ["proprietary"], TRAINING, "allowed with duties"),
        ("llama3.1", ["CC0-1.0"], TRAINING, "allowed with duties"),
        ("bigscience-bloom-rail-1.0", ["CC0-1.0"], TRAINING, "allowed with duties"),
        ("cc-by-nc-4.0", ["CC0-1.0"], RESEARCH, "allowed"),
        ("cc-by-nc-4.0", ["CC0-1.0"], TRAINING, "refused"),
        ("Apache-2.0", ["CC-BY-NC-SA-3.0"], TRAINING, "refused"),  # the Financial PhraseBank in a bank
        ("Apache-2.0", ["CC-BY-ND-4.0"], RESEARCH, "refused"),
        ("Apache-2.0", ["GPL-3.0-only"], TRAINING, "allowed"),
        ("Apache-2.0", ["GPL-3.0-only"], COMMERCIAL, "allowed with duties"),
        ("Apache-2.0", ["GPL-3.0-only", "CC-BY-SA-4.0"], COMMERCIAL, "refused"),
        ("llama3", ["CC-BY-SA-4.0"], TRAINING, "allowed with duties"),
        ("llama3", ["CC-BY-SA-4.0"], COMMERCIAL, "refused"),
        ("gemma", ["proprietary"], COMMERCIAL, "allowed with duties"),
        ("qwen-research", ["CC0-1.0"], TRAINING, "refused"),
    ],
)
def test_the_join_of_base_data_and_purpose(table, base, data, purpose, word) -> None:
    assert judge(base, data, purpose, table).word == word


@pytest.mark.parametrize("stated", ["unknown", "other", "", "none", "Beer-License", "MIT OR Apache-2.0", "llama4"])
def test_a_licence_that_nobody_knows_is_refused_for_base_and_data_and_any_purpose(table, stated) -> None:
    for purpose in table.purposes:
        assert "base: " in refusal(table, stated, ["CC0-1.0"], purpose)
        assert "data: " in refusal(table, "CC0-1.0", ["CC0-1.0", stated], purpose)


def test_the_remedy_says_where_a_licence_is_stated(table) -> None:
    assert "README.md" in refusal(table, "unknown", ["MIT"], TRAINING)
    assert "`licence:` of the source" in refusal(table, "MIT", ["other"], TRAINING)
    assert "did you mean 'Apache-2.0'?" in refusal(table, "Apache-2", ["MIT"], TRAINING)


def test_the_mark_of_an_unverified_licence_opens_nothing(table) -> None:
    """It is the catalogue's word on a base; data have no catalogue, and no mark makes a licence known or kinder."""
    assert "base: " in refusal(table, "Beer?", ["MIT"], TRAINING)
    assert "unknown" in refusal(table, "unknown?", ["MIT"], TRAINING) and "unknown" in refusal(
        table, "?", ["MIT"], TRAINING
    )
    assert "data: licence 'MIT?'" in refusal(table, "MIT", ["MIT?"], TRAINING)
    assert "does not allow" in refusal(table, "CC-BY-NC-4.0?", ["MIT"], TRAINING)
    assert "each wants the model" in refusal(table, "llama3?", ["CC-BY-SA-4.0"], COMMERCIAL)
    verdict = licence_gate("CC0-1.0, Apache-2.0?", ["MIT"], TRAINING, table)
    assert verdict.base == ["Apache-2.0", "CC0-1.0"] or verdict.base == ["CC0-1.0", "Apache-2.0"]
    assert [duty.partition(":")[0] for duty in verdict.duties] == ["base Apache-2.0"]


def test_a_row_that_was_not_held_against_its_text_asks_to_read_it(table) -> None:
    for key, licence in table.licences.items():
        duties = judge("CC0-1.0", [key], RESEARCH, table).duties
        assert any("read its text" in duty for duty in duties) == (not licence.verified_from), key
    assert not table.licences["falcon-llm-license"].verified_from  # only the text of an earlier version could be read
    assert not table.licences[
        "KOGL-1.0"
    ].verified_from  # the anchor it takes its permissions from is verified, it is not


def test_two_licences_of_one_maker_are_two(table) -> None:
    """Tongyi Qianwen (2023) forbids what Qwen (2024) allows: to improve another model with its answers."""
    duties = {key: " ".join(judge(key, ["CC0-1.0"], COMMERCIAL, table).duties) for key in ("qwen", "tongyi-qianwen")}
    assert "improve another language model" in duties["tongyi-qianwen"]
    assert "improve another" not in duties["qwen"] and "Built with Qwen" in duties["qwen"]


def test_a_model_is_no_data_for_the_community_data_licences(table) -> None:
    """CDLA-Permissive-2.0 (3.1) and CDLA-Sharing-1.0 (3.5) put no obligation on results."""
    for key in ("CDLA-Permissive-2.0", "CDLA-Sharing-1.0"):
        licence = table.licences[key]
        assert not licence.share_alike and not licence.duties_on_distribution
    assert judge("llama3", ["CDLA-Sharing-1.0"], COMMERCIAL, table).allowed


def test_no_data_licence_at_all_is_no_licence(table) -> None:
    assert "data: " in refusal(table, "MIT", [], TRAINING)


@pytest.mark.parametrize(
    ("purpose", "said"),
    [
        ("model_training", "did you mean 'model-training'?"),
        ("", "unknown"),
        ([], "no purpose"),
        ([TRAINING, RESEARCH], "different purposes"),
    ],
)
def test_an_unclear_purpose_is_refused(table, purpose, said) -> None:
    assert said in refusal(table, "MIT", ["MIT"], purpose)


def test_every_licence_of_a_base_made_from_several_must_allow_it(table) -> None:
    assert judge("CC0-1.0, MIT", ["MIT"], TRAINING, table).base == ["CC0-1.0", "MIT"]
    assert "CC-BY-NC-4.0" in refusal(table, "CC0-1.0, CC-BY-NC-4.0", ["MIT"], TRAINING)
    assert "unknown" in refusal(table, "CC0-1.0,", ["MIT"], TRAINING)


def test_all_refusals_are_told_at_once(table) -> None:
    said = refusal(table, "qwen-research", ["CC-BY-NC-4.0", "Beer-License"], TRAINING)
    assert all(name in said for name in ("qwen-research", "CC-BY-NC-4.0", "Beer-License"))


def test_duties_name_the_licence_that_asks_for_them_and_grow_when_the_model_is_handed_on(table) -> None:
    inside = licence_gate("llama3", ["CC-BY-4.0"], TRAINING, table)
    outside = licence_gate("llama3", ["CC-BY-4.0"], COMMERCIAL, table)
    assert len(inside.duties) < len(outside.duties)
    assert any("700 million" in duty for duty in inside.duties)
    assert not any("Built with Meta Llama 3" in duty for duty in inside.duties)
    assert any(duty.startswith("base llama3: show 'Built with Meta Llama 3'") for duty in outside.duties)
    assert any(duty.startswith("data CC-BY-4.0: ") for duty in outside.duties)


def test_the_verdict_is_the_same_whatever_the_order_and_the_spelling(table) -> None:
    first = judge("APACHE-2.0", ["mit", "gpl-3.0", "MIT"], COMMERCIAL, table)
    again = judge("apache-2.0", iter(["GPL-3.0-or-later", "MIT"]), {COMMERCIAL}, table)
    assert first.model_dump()["base"] == ["Apache-2.0"] and again.data == ["GPL-3.0-only", "MIT"]
    assert set(first.duties) == set(again.duties)
    assert (
        judge("MIT", ["MIT", "CC0-1.0"], TRAINING, table).digest
        == judge("MIT", ["CC0-1.0", "MIT"], TRAINING, table).digest
    )


def test_each_licence_of_the_table_reaches_the_verdict_its_own_fields_call_for(table) -> None:
    for purpose, wanted in table.purposes.items():
        for key, licence in table.licences.items():
            for role in (judge(key, ["CC0-1.0"], purpose, table), judge("CC0-1.0", [key], purpose, table)):
                assert role.allowed == all(getattr(licence, need) != "refused" for need in wanted.needs)
            assert table.key(key.upper()) == key
            assert all(table.key(alias) == key for alias in licence.aliases)


def test_the_licences_that_the_contracts_clear_are_known_to_the_table(table) -> None:
    """One list names what a record may carry, the other what it allows: they must not drift apart."""
    import json

    for path in (PACK / "contracts").glob("*.json"):
        for entry in json.loads(path.read_text())["expectations"]:
            if entry["kwargs"].get("column") == "licence":
                assert all(table.key(name) for name in entry["kwargs"]["value_set"])
            if entry["kwargs"].get("column") == "purpose":
                assert set(entry["kwargs"]["value_set"]) <= set(table.purposes)


FREE = {"name": "A", "kind": "permissive", "commercial": "allowed", "derivatives": "allowed", "distribution": "allowed"}


@pytest.mark.parametrize(
    ("licences", "said"),
    [
        ({"A": FREE | {"commercial": "conditional"}}, "`condition` must say"),
        ({"A": FREE | {"comercial": "allowed"}}, "did you mean 'commercial'?"),
        ({"A": {key: value for key, value in FREE.items() if key != "commercial"}}, "Field required"),
        ({"A": FREE, "B": FREE | {"aliases": ["a"]}}, "means two licences"),
        ({"A": FREE | {"aliases": ["Other"]}}, "states no licence"),
    ],
)
def test_a_faulty_table_is_named_with_its_fault(tmp_path, licences, said) -> None:
    content = {
        "version": 1,
        "checked": "2026-11",
        "purposes": {"research": {"meaning": "to look", "needs": ["derivatives"]}},
        "licences": licences,
    }
    (tmp_path / LICENCES_FILE).write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationError) as caught:
        read_licences(tmp_path)
    assert said in str(caught.value) and LICENCES_FILE in str(caught.value)


def test_a_pack_without_a_table_lets_nothing_pass(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="of no licence what it allows"):
        read_licences(tmp_path)


def test_nothing_that_states_no_licence_can_be_entered(table) -> None:
    assert all(table.key(word) is None for word in UNSTATED)


# ----------------------------------------------------------------------------------- before anything is started


SOURCE = """
        - name: NAME
          uri: corpus/*.md
          form: documents
          language: en
          licence: LICENCE
          consent: public
          purpose: PURPOSE
          jurisdiction: us
"""


def checked(tmp_path: Path, base: str = "embedded", licence="CC0-1.0", purpose=TRAINING, corpus="CC0-1.0") -> str:
    """What the check of a run configuration says; empty if it passes."""
    from domainlm.config import RunConfiguration

    def source(name: str, licence: str, purpose: str) -> str:
        return SOURCE.replace("NAME", name).replace("LICENCE", licence).replace("PURPOSE", purpose)

    path = tmp_path / "config.yaml"
    path.write_text(
        f"parameters:\n  base: {base}\nsteps:\n"
        f"  base_ingest:\n    parameters:\n      sources:{source('corpus', corpus, TRAINING)}"
        f"  ingest:\n    parameters:\n      sources:{source('texts', licence, purpose)}"
    )
    try:
        RunConfiguration.load(path)
    except ConfigurationError as error:
        return str(error)
    return ""


def test_a_configuration_with_sound_licences_passes(tmp_path) -> None:
    assert checked(tmp_path) == ""
    assert checked(tmp_path, base="tiiuae/falcon-7b@main", licence="proprietary") == ""
    assert checked(tmp_path, base="meta-llama/Llama-3.1-8B", purpose=COMMERCIAL) == ""
    assert checked(tmp_path, base="Qwen/Qwen2.5-3B", licence="CC-BY-NC-4.0", purpose=RESEARCH) == ""


def test_a_source_whose_licence_refuses_is_named_with_its_line(tmp_path) -> None:
    said = checked(tmp_path, licence="CC-BY-NC-4.0")
    assert "config.yaml:22: steps.ingest.parameters.sources.0.licence: data CC-BY-NC-4.0" in said
    assert "steps.base_ingest.parameters.sources.0.licence" in checked(tmp_path, corpus="CC-BY-ND-4.0")
    assert "'Beer' is not in the table" in checked(tmp_path, licence="Beer")


def test_a_base_whose_licence_refuses_is_named_before_it_is_fetched(tmp_path) -> None:
    assert "parameters.base: base qwen-research" in checked(tmp_path, base="Qwen/Qwen2.5-3B")
    assert "parameters.base: base: its licence is unknown" in checked(tmp_path, base="ProsusAI/finbert")


def test_a_local_base_must_state_its_licence(tmp_path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    assert "its licence is unknown" in checked(tmp_path, base=str(folder))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert checked(tmp_path, base=str(folder)) == ""


def test_a_purpose_that_another_source_does_not_share_is_refused(tmp_path) -> None:
    assert "different purposes" in checked(tmp_path, purpose=COMMERCIAL)  # the corpus is for model-training
    assert "purpose 'fun' is unknown" in checked(tmp_path, purpose="fun")
