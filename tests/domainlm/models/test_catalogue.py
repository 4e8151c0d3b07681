"""The catalogue of bases: complete, in step with what is published, and honest about what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from domainlm.errors import ConfigurationError, ModelError
from domainlm.licences import LICENCES_FILE, NOT_VERIFIED, UNKNOWN, UNVERIFIED, judge, read_licences
from domainlm.models.architectures import ARCHITECTURES, TARGET_MODULES, context_of, is_target, target_modules
from domainlm.models.bases import licence_of_folder, resolve_base
from domainlm.models.catalogue import (
    BASES_FILE,
    PICKLED,
    VERIFIABLE,
    BaseEntry,
    entry_of,
    load_catalogue,
    need,
    stated_licence,
)
from domainlm.train.settings import TrainSettings

PACK = Path(__file__).resolve().parents[3] / "domains" / "finance"
RECIPES = {4: TrainSettings(), 8: TrainSettings(method="lora", bits=8), 16: TrainSettings(method="lora")}


@pytest.fixture(scope="module")
def catalogue() -> dict[str, BaseEntry]:
    return load_catalogue(PACK)


def test_the_families_that_the_issue_names_are_there(catalogue) -> None:
    architectures = {entry.architecture for entry in catalogue.values()}
    assert {"falcon", "llama", "bloom", "gpt_neox", "mistral", "qwen2", "qwen3", "bert"} <= architectures
    families = {entry.family for entry in catalogue.values()}
    assert {"Falcon", "Llama 2", "Llama 3", "BLOOM", "GPT-NeoX", "Mistral", "FinBERT"} <= families
    assert any("ko" in entry.languages for entry in catalogue.values())


def test_each_shape_gives_the_published_number_of_parameters(catalogue) -> None:
    """Two independent statements about one model: a wrong digit in either tears them apart."""
    with_formula = {key: shape for key, entry in catalogue.items() if (shape := entry.shape)}
    assert len(with_formula) >= len(catalogue) - 10
    for key, shape in with_formula.items():
        assert shape.parameters / 1e9 == pytest.approx(catalogue[key].parameters_b, rel=0.005), key


def test_each_architecture_of_the_catalogue_has_its_modules_and_a_context(catalogue) -> None:
    for entry in catalogue.values():
        assert entry.architecture in ARCHITECTURES, entry.id
        assert (entry.context or 0) >= 512, entry.id
    assert catalogue["bigscience/bloom-7b1"].context == 2048  # under a key of its own
    assert catalogue["FacebookAI/roberta-base"].context == 512  # of 514 positions


def test_each_licence_is_in_the_table_or_says_that_it_is_unknown(catalogue) -> None:
    table = read_licences(PACK)
    for entry in catalogue.values():
        known = table.get(entry.licence)
        assert (known is None) == (entry.licence == UNKNOWN)
        assert entry.commercial_use == (known.commercial if known else UNKNOWN)
        assert bool(entry.condition) == (entry.commercial_use == "conditional")


def test_the_weights_of_a_base_shrink_with_their_bits(catalogue) -> None:
    assert catalogue["tiiuae/falcon-7b"].memory_gb[16] == pytest.approx(2 * 6.9217e9 / 2**30, rel=1e-3)
    for entry in catalogue.values():
        sizes = entry.memory_gb
        if entry.parameters_b > 2 and entry.quantizable and entry.shape:
            assert sizes[4] < sizes[8] < sizes[16]


def test_a_training_needs_more_than_the_weights_and_less_with_recomputation(catalogue) -> None:
    for key in ("tiiuae/falcon-7b", "meta-llama/Meta-Llama-3-8B", "google-bert/bert-large-uncased"):
        for bits, recipe in RECIPES.items():
            found = need(catalogue[key], recipe, 512)
            assert catalogue[key].memory_gb[bits] < found.least_gb <= found.plain_gb
            assert found.verdict(found.plain_gb) == "fits"
            assert found.verdict(found.least_gb - 0.1) == "too large"
            if found.least_gb < found.plain_gb:
                assert found.verdict(found.least_gb) == "recompute"


def test_what_cannot_be_trained_says_why(catalogue) -> None:
    long = need(catalogue["tiiuae/falcon-7b"], RECIPES[4], 4096)
    assert long.verdict(80) == "refused" and "2,048" in long.why_not
    experts = need(catalogue["mistralai/Mixtral-8x7B-v0.1"], RECIPES[4], 512)
    assert experts.verdict(80) == "refused" and "experts" in experts.why_not
    unknown = need(catalogue["answerdotai/ModernBERT-base"], RECIPES[16], 512)
    assert unknown.verdict(24) == "unknown" and unknown.verdict(0.1) == "too large"


def test_known_faults_come_from_base_publication_and_architecture(catalogue) -> None:
    falcon = " ".join(catalogue["tiiuae/falcon-rw-1b"].known_faults)
    assert all(word in falcon for word in ("ALiBi", "pad token", "FalconLinear"))
    assert PICKLED in catalogue["ProsusAI/finbert"].known_faults


def test_a_base_is_found_by_its_id_with_or_without_a_revision(catalogue) -> None:
    assert entry_of("TIIUAE/Falcon-7B@main", catalogue) is catalogue["tiiuae/falcon-7b"]
    assert entry_of("tiiuae/falcon", catalogue) is None
    assert stated_licence("tiiuae/falcon-11B", PACK) == "falcon-llm-license"
    assert stated_licence("nobody/no-such-model", PACK) == UNKNOWN


# ------------------------------------------------------------------------------------------ what is known, and how


def test_each_entry_says_which_fields_were_verified_and_from_whose_words(catalogue) -> None:
    for entry in catalogue.values():
        assert bool(entry.verified) == bool(entry.verified_from)
        assert set(entry.verified) | set(entry.unverified) == set(VERIFIABLE)
        assert not set(entry.verified) & set(entry.unverified)
        assert not ("released" in entry.verified and entry.released == UNKNOWN), entry.id
        assert entry.stated_licence.endswith(UNVERIFIED) == (
            "licence" in entry.unverified and entry.licence != UNKNOWN
        ), entry.id


def test_the_page_counts_what_was_verified_as_the_catalogue_does(catalogue) -> None:
    page = (PACK.parents[1] / "docs" / "bases.md").read_text()
    titles = {"released": "month of release", "availability": "open or gated", "training_data": "training data"}
    for field in VERIFIABLE:
        counted = sum(field in entry.verified for entry in catalogue.values())
        assert f"\n| {titles.get(field, field)} | {counted}" in page, field
    for entry in catalogue.values():
        if "licence" in entry.unverified:
            assert entry.id in page


def test_what_the_cards_corrected_stays_corrected(catalogue) -> None:
    """Each of these stood wrong in the catalogue while it was written from memory."""
    contexts = {"tiiuae/Falcon3-1B-Base": 4096, "tiiuae/Falcon3-3B-Base": 8192, "tiiuae/Falcon3-7B-Base": 32768}
    assert {key: catalogue[key].context for key in contexts} == contexts
    assert catalogue["mistralai/Mistral-Small-24B-Base-2501"].availability == "gated"
    assert "sv" not in catalogue["tiiuae/falcon-11B"].languages
    for key in ("tiiuae/falcon-rw-1b", "microsoft/deberta-v3-base", "google/electra-base-discriminator"):
        assert catalogue[key].weights == "pickle" and PICKLED in catalogue[key].known_faults


def _pack(tmp_path: Path, of_family: dict | None = None, **changes) -> Path:
    entry = {
        "id": "a/b", "family": "F", "parameters_b": 0.1, "licence": "MIT", "purpose": "general", "weights": "unknown",
        "availability": "open", "training_data": "text", "languages": ["en"], "released": "2024-01", "developer": "A",
        "config": {"model_type": "llama", "hidden_size": 64},
    } | changes  # fmt: skip
    content = {"version": 1, "checked": "2026-11", "families": {"F": of_family or {}}, "bases": [entry]}
    (tmp_path / BASES_FILE).write_text(yaml.safe_dump(content))
    (tmp_path / LICENCES_FILE).write_text((PACK / LICENCES_FILE).read_text())
    return tmp_path


def test_a_sound_entry_of_another_pack_is_read(tmp_path) -> None:
    assert load_catalogue(_pack(tmp_path))["a/b"].commercial_use == "allowed"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "G"}, "no family 'G'"),
        ({"licence": "beer"}, "not in licences.yaml"),
        ({"commercial_use": "allowed"}, "follows from the licence"),
        ({"config": {"hidden_size": 64}}, "model_type"),
        ({"released": "yesterday"}, "released"),
        ({"lisence": "MIT"}, "lisence"),
        ({"verified": ["licence"]}, "need each other"),
        ({"verified_from": "its model card"}, "need each other"),
        ({"verified": ["beauty"], "verified_from": "its model card"}, "verified"),
    ],
)
def test_a_faulty_entry_is_named_with_its_line(tmp_path, changes, said) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_catalogue(_pack(tmp_path, **changes))
    assert said in str(caught.value) and f"{BASES_FILE}:" in str(caught.value)


def test_what_is_verified_of_a_family_does_not_cover_what_a_base_says_itself(tmp_path) -> None:
    family = {"verified": ["licence", "context", "released"], "verified_from": "the card of the family"}
    own = {"verified": ["languages"], "verified_from": "its own card"}
    entry = load_catalogue(_pack(tmp_path, family, **own))["a/b"]  # licence, released and languages are its own words
    assert entry.verified == ("context", "languages")
    assert entry.verified_from == "the card of the family; its own card"
    assert entry.stated_licence == "MIT?" == stated_licence("a/b", tmp_path)


def test_a_licence_that_nobody_verified_counts_and_becomes_a_duty(tmp_path) -> None:
    table = read_licences(PACK)
    assumed = load_catalogue(_pack(tmp_path))["a/b"]
    verdict = judge(assumed.stated_licence, ["CC0-1.0"], "model-training", table)
    assert verdict.word == "allowed with duties" and verdict.base == ["MIT"]
    assert verdict.duties == [f"base MIT: read the licence on the model's own card: {NOT_VERIFIED}"]
    known = load_catalogue(_pack(tmp_path, verified=["licence"], verified_from="its model card"))["a/b"]
    assert judge(known.stated_licence, ["CC0-1.0"], "model-training", table).word == "allowed"


def test_a_pack_without_a_catalogue_is_named(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="no catalogue"):
        load_catalogue(tmp_path)


# ------------------------------------------------------------------------------------ the licence of a base's files


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# A", "apache-2.0"),
        ("---\nlanguage: en\nlicense: other\nlicense_name: falcon-llm-license\n---\n", "falcon-llm-license"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("---\nlicense: unknown\n---\n", UNKNOWN),
        ("---\nlicense: other\n---\n", UNKNOWN),
        ("---\nlicense: [mit\n---\n", UNKNOWN),
        ("# A model\nlicense: mit\n", UNKNOWN),  # in the text anybody may say anything
        ("", UNKNOWN),
    ],
)
def test_the_front_matter_of_a_readme_states_the_licence(tmp_path, readme, licence) -> None:
    (tmp_path / "README.md").write_text(readme)
    assert licence_of_folder(tmp_path) == licence


def test_a_base_that_this_project_made_carries_its_licence_in_its_card(tiny_base) -> None:
    assert licence_of_folder(tiny_base.path) == "CC0-1.0"


def test_the_catalogue_speaks_only_where_the_files_are_silent(tiny_base, tmp_path) -> None:
    import shutil

    folder = tmp_path / "published"
    shutil.copytree(tiny_base.path, folder)
    (folder / "domainlm.json").unlink()
    assert resolve_base(str(folder), tmp_path / "a").card["licence"] == UNKNOWN
    assert resolve_base(str(folder), tmp_path / "b", "MIT").card["licence"] == "MIT"
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    assert resolve_base(str(folder), tmp_path / "c").card["licence"] == "cc-by-nc-4.0"
    assert resolve_base(str(folder), tmp_path / "d", "CC-BY-NC-4.0").card["licence"] == "cc-by-nc-4.0"
    with pytest.raises(ModelError, match="the catalogue says 'MIT'"):
        resolve_base(str(folder), tmp_path / "e", "MIT")


def test_the_mark_of_an_unverified_licence_stays_only_where_the_files_are_silent(tiny_base, tmp_path) -> None:
    import shutil

    folder = tmp_path / "published"
    shutil.copytree(tiny_base.path, folder)
    (folder / "domainlm.json").unlink()
    assert resolve_base(str(folder), tmp_path / "a", "MIT?").card["licence"] == "MIT?"
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert resolve_base(str(folder), tmp_path / "b", "MIT?").card["licence"] == "mit"  # that is the model's own card
    with pytest.raises(ModelError, match="the catalogue says"):
        resolve_base(str(folder), tmp_path / "c", "Apache-2.0?")


# ---------------------------------------------------------------------------------------------- architectures


@pytest.mark.parametrize("architecture", sorted(name for name, known in ARCHITECTURES.items() if known.encoder))
def test_the_modules_of_an_encoder_are_in_its_blocks_and_never_in_its_head(architecture) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from domainlm.models.architectures import linear_paths

    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(architecture))
    modules, note = target_modules(model, ("auto",))
    adapted = [path for path in linear_paths(model) if is_target(path, modules)]
    assert not note and sorted(TARGET_MODULES[architecture]) == modules
    layers = model.config.num_hidden_layers
    assert len(adapted) % layers == 0 and len(adapted) // layers >= 4
    assert not [path for path in adapted if "classifier" in path or "pooler" in path or path.startswith("head")]


def test_the_context_of_a_configuration_is_found_under_its_own_key() -> None:
    assert context_of({"model_type": "mpt", "max_seq_len": 2048}) == 2048
    assert context_of({"model_type": "roberta", "max_position_embeddings": 514}) == 512
    assert context_of({"model_type": "gpt2", "n_positions": 1024}) == 1024
    assert context_of({"model_type": "brand-new"}) is None
