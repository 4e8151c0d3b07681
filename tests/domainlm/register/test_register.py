"""The registry really used: a version is written, found, read back and served; nothing half-done counts."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.digests import digest_folder
from domainlm.errors import ArtifactError, RegistrationError
from domainlm.register import Provenance, register
from domainlm.register.settings import RegisterSettings

PROMPTS = ["##Question: What is an Index?\n##Answer:", "##Question: Why?\n##Answer:"]
METRICS = {"sentiment/headlines/accuracy/tuned": 0.7}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A small 4-bit base with two new tokens and a LoRA adapter whose weights are not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import FalconConfig, FalconForCausalLM, PreTrainedTokenizerFast

    from domainlm.models import load_base

    root = tmp_path_factory.mktemp("toy")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        PROMPTS, trainers.BpeTrainer(special_tokens=["<eos>", "<pad>"], initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", pad_token="<pad>")
    torch.manual_seed(0)
    base = BaseCheckpoint(root / "base")
    FalconForCausalLM(
        FalconConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            eos_token_id=0,
            bos_token_id=0,
            pad_token_id=1,
        )
    ).save_pretrained(base.path)
    tokenizer.save_pretrained(base.path)
    base.write_card(
        name="toy", architecture="falcon", licence="CC0-1.0", external=False, digest=digest_folder(base.path)
    )
    extended = TokenizerFolder(root / "tokenizer")
    parts = {word: tokenizer(word)["input_ids"] for word in ("EBITDA", "KOSPI")}
    tokenizer.add_tokens(list(parts))
    tokenizer.save_pretrained(extended.path)
    extended.write_card(new_tokens=parts, base_digest=base.card["digest"])
    adapter = AdapterFolder(root / "adapter")
    model, _ = load_base(base, extended, "nf4")
    torch.manual_seed(1)
    modules = ["query_key_value", "dense_h_to_4h"]
    get_peft_model(
        model, LoraConfig(r=4, target_modules=modules, init_lora_weights=False, task_type="CAUSAL_LM")
    ).save_pretrained(adapter.path)
    adapter.write_card(
        method="qlora", quantization="nf4", base_digest=base.card["digest"], tokenizer_digest=extended.digest
    )
    return SimpleNamespace(base=base, tokenizer=extended, adapter=adapter)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables in it, which take seconds to make."""
    import mlflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def registry(toy, empty_store, tmp_path, monkeypatch):
    """A registry of its own for each test: call it to register, `.client` reads it."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def call(verdict="shown", metrics=None, settings=None, base=None, adapter=None, **provenance):
        given = {
            "data": "d" * 64,
            "configuration": "c" * 64,
            "evaluation": "e" * 64,
            "commit": "abc",
            "dirty": False,
            "licences": ["CC0-1.0"],
            "handling": "confidential",
        }
        return register(
            base or toy.base,
            toy.tokenizer,
            adapter or toy.adapter,
            Provenance(**(given | provenance)),
            METRICS if metrics is None else metrics,
            verdict,
            settings or RegisterSettings(),
            uri,
            tmp_path / "artifacts",
        )

    call.client = mlflow.MlflowClient(uri, uri)
    call.uri = uri
    return call


def load(registry, uri: str):
    import mlflow

    mlflow.set_tracking_uri(registry.uri)
    mlflow.set_registry_uri(registry.uri)
    return mlflow.pyfunc.load_model(uri)


def test_a_registered_model_says_the_same_as_the_one_that_was_evaluated(registry, toy):
    from domainlm.models import generate, load_adapter

    found = registry()
    expected = [text.strip() for text, _ in generate(*load_adapter(toy.base, toy.tokenizer, toy.adapter), PROMPTS, 12)]
    assert any(expected)
    served = load(registry, f"models:/{found.name}@candidate")
    assert served.predict(PROMPTS, params={"max_new_tokens": 12}) == expected


def test_a_version_carries_every_digest_the_licences_and_the_verdict(registry, toy):
    found = registry(verdict="not shown")
    entry = registry.client.get_model_version_by_alias(found.name, "candidate")
    assert str(entry.version) == found.version == "1" and found.aliases == ["candidate"] and not found.existing
    assert entry.tags["domainlm.adapter"] == toy.adapter.digest == found.digests["adapter"]
    assert entry.tags["domainlm.base"] == toy.base.card["digest"]
    assert entry.tags["domainlm.tokenizer"] == toy.tokenizer.digest
    assert entry.tags["domainlm.data"] == "d" * 64 and entry.tags["domainlm.configuration"] == "c" * 64
    assert entry.tags["domainlm.commit"] == "abc" and entry.tags["domainlm.licences"] == "CC0-1.0"
    assert entry.tags["domainlm.handling_class"] == found.handling == "confidential"
    assert entry.tags["domainlm.verdict"] == "not shown" and entry.tags["domainlm.verified"] == "true"
    assert entry.tags["domainlm.trusted"] == "false" and found.trusted is False, "nobody said that it is"
    assert registry.client.get_run(found.run_id).data.metrics == METRICS


def test_the_same_model_is_registered_once_and_other_evidence_makes_a_new_version(registry):
    first = registry(trusted=True)
    assert first.trusted and registry.client.get_model_version(first.name, "1").tags["domainlm.trusted"] == "true"
    second = registry(commit="another commit, and a source that is untrusted by now")
    assert (second.version, second.run_id, second.existing) == (first.version, first.run_id, True)
    tagged = registry.client.get_model_version(first.name, first.version).tags
    assert tagged["domainlm.trusted"] == "false"
    third = registry(evaluation="f" * 64)
    assert third.version == "2" and not third.existing
    assert registry.client.get_model_version_by_alias(first.name, "candidate").version in (2, "2")


def test_no_file_of_a_version_is_a_pickle_and_nothing_is_left_elsewhere(registry, tmp_path):
    registry()
    names = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"mlflow.db", "artifacts"}
    suffixes = {path.suffix for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
    assert suffixes and not suffixes & {".pkl", ".pickle", ".bin", ".pt", ".pth"}


def test_an_external_base_is_referred_to_and_its_change_is_noticed(registry, toy, tmp_path):
    from domainlm.models import generate, load_adapter, resolve_base

    location = tmp_path / "elsewhere"
    shutil.copytree(toy.base.path, location)
    base = resolve_base(str(location), tmp_path / "reference")
    assert base.card["digest"] == toy.base.card["digest"]  # the same files, so the adapter fits
    found = registry(base=base)
    assert not list((tmp_path / "artifacts").rglob("base/*.safetensors"))
    served = load(registry, found.model_uri)
    expected = [text.strip() for text, _ in generate(*load_adapter(base, toy.tokenizer, toy.adapter), PROMPTS, 8)]
    assert served.predict(PROMPTS, params={"max_new_tokens": 8}) == expected
    (location / "config.json").write_text((location / "config.json").read_text().replace('"falcon"', '"bloom"'))
    with pytest.raises(ArtifactError, match="do not match their digest"):
        load(registry, found.model_uri)


@pytest.mark.parametrize("verdict", [None, "", "passed"])
def test_without_a_verdict_nothing_is_registered(registry, verdict):
    with pytest.raises(RegistrationError, match="no verdict"):
        registry(verdict=verdict)
    assert not registry.client.search_registered_models()


def test_the_gate_refuses_a_model_that_showed_nothing_and_scores_that_are_no_numbers(registry):
    with pytest.raises(RegistrationError, match="did not show"):
        registry(verdict="not shown", settings=RegisterSettings(require_shown=True))
    with pytest.raises(RegistrationError, match="'a' is not a finite number"):
        registry(metrics={"a": math.nan})
    with pytest.raises(RegistrationError, match="no metric"):
        registry(metrics={})
    assert not registry.client.search_registered_models()


def test_a_version_that_comes_back_changed_gets_no_alias_and_does_not_count(registry, monkeypatch):
    import mlflow

    honest = mlflow.artifacts.download_artifacts

    def tampered(*args, **kwargs):
        folder = honest(*args, **kwargs)
        card = next(Path(folder).rglob("adapter/domainlm.json"))
        card.write_text(card.read_text().replace("qlora", "lora"))
        return folder

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", tampered)
    with pytest.raises(ArtifactError, match="another adapter"):
        registry()
    entry = registry.client.get_model_version("domainlm-finance", "1")
    assert not entry.aliases and "domainlm.verified" not in entry.tags
    monkeypatch.undo()
    again = registry()
    assert again.version == "2" and not again.existing


def test_registering_crowns_nobody_and_cannot_be_told_to(registry):
    found = registry()
    assert set(registry.client.get_registered_model(found.name).aliases) == {"candidate"}
    with pytest.raises(ValidationError, match="`domainlm promote` alone"):
        RegisterSettings(alias="champion")


def test_mlflows_own_settings_are_as_before(registry):
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    registry()
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == before
    assert mlflow.active_run() is None
