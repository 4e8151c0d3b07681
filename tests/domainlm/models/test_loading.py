"""Loading: what is in 4 bits really is, evaluation spoils no gradient, and nothing is put onto the wrong base."""

from __future__ import annotations

import shutil

import pytest
import torch

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.errors import ArtifactError, ModelError
from domainlm.models import load_base, load_tokenizer, resolve_base
from domainlm.models.architectures import TARGET_MODULES, linear_names, target_modules
from domainlm.models.loading import guard_quantized_layers, nf4_config, quantized_layers, tied


def test_every_linear_layer_of_a_falcon_is_in_four_bits(tiny_base) -> None:
    model, _ = load_base(tiny_base, None, "nf4")
    assert len(quantized_layers(model)) == 2 * len(TARGET_MODULES["falcon"])
    assert model.transformer.h[0].self_attention.query_key_value.weight.dtype is torch.uint8


def test_without_the_mend_falcon_would_silently_stay_in_full_precision(tiny_base) -> None:
    """The fault that the mend is for: when transformers repairs it, the mend can go."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        tiny_base.path, quantization_config=nf4_config(torch.float32), device_map={"": "cpu"}
    )
    assert quantized_layers(model) == []
    with pytest.raises(ModelError, match="0 layers are quantized"):
        guard_quantized_layers(model)


def _gradients(model, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_gradients_are_the_same_before_and_after_an_evaluation(tiny_base) -> None:
    """CPUs with AVX512_BF16 repack 4-bit weights in an evaluation, and backward through those is wrong."""
    from peft import LoraConfig, get_peft_model

    model, _ = load_base(tiny_base, None, "nf4")
    torch.manual_seed(0)
    model = get_peft_model(
        model, LoraConfig(r=4, target_modules=list(TARGET_MODULES["falcon"]), init_lora_weights=False)
    )
    ids = torch.randint(0, 300, (4, 24), generator=torch.Generator().manual_seed(1))
    before = _gradients(model, ids)
    with torch.inference_mode():
        model.eval()(input_ids=ids)
    after = _gradients(model, ids)
    assert before and all(torch.equal(before[name], after[name]) for name in before)


def test_four_bits_change_the_logits_but_little(tiny_base) -> None:
    exact, _ = load_base(tiny_base, None, "none")
    coarse, _ = load_base(tiny_base, None, "nf4")
    ids = torch.randint(0, 300, (4, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        difference = (exact(input_ids=ids).logits - coarse(input_ids=ids).logits).abs().mean().item()
    assert 0 < difference < 0.5


def test_pad_differs_from_eos_and_both_survive_the_extension(tiny_base, grown_tokenizer) -> None:
    for tokenizer in (load_tokenizer(tiny_base), load_tokenizer(tiny_base, grown_tokenizer)):
        assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_base_without_a_pad_token_gets_one_of_its_own(tiny_base, tmp_path) -> None:
    """As Falcon-7B and Llama are published; pad = eos would teach a model never to stop."""
    folder = tmp_path / "published"
    shutil.copytree(tiny_base.path, folder)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    base = resolve_base(str(folder), tmp_path / "card")
    model, loaded = load_base(base, None, "nf4")
    assert loaded.pad_token_id != loaded.eos_token_id
    assert model.get_input_embeddings().num_embeddings >= len(loaded)


def test_a_new_row_is_the_mean_of_its_sub_tokens_in_tied_and_untied_embeddings(
    tiny_base, grown_tokenizer, tmp_path
) -> None:
    model, tokenizer = load_base(tiny_base, grown_tokenizer, "none")
    assert tied(model)
    for token, parts in grown_tokenizer.card["new_tokens"].items():
        weight = model.get_input_embeddings().weight
        assert torch.allclose(weight[tokenizer.convert_tokens_to_ids(token)], weight[parts].mean(dim=0))
    untied, card = _untied_llama(tiny_base, tmp_path)
    grown = TokenizerFolder(tmp_path / "grown")
    shutil.copytree(grown_tokenizer.path, grown.path)
    grown.write_card(new_tokens=grown_tokenizer.card["new_tokens"], base_digest=card["digest"])
    model, tokenizer = load_base(untied, grown, "none")
    assert not tied(model)
    for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        for token, parts in grown.card["new_tokens"].items():
            assert torch.allclose(weight[tokenizer.convert_tokens_to_ids(token)], weight[parts].mean(dim=0))


def _untied_llama(tiny_base: BaseCheckpoint, place) -> tuple[BaseCheckpoint, dict]:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(tiny_base)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(place / "llama")
    tokenizer.save_pretrained(place / "llama")
    base = resolve_base(str(place / "llama"), place / "llama-card")
    return base, base.card


def test_another_architecture_is_loaded_in_four_bits_too(tiny_base, tmp_path) -> None:
    base, card = _untied_llama(tiny_base, tmp_path)
    model, _ = load_base(base, None, "nf4")
    assert len(quantized_layers(model)) == 7
    assert card["architecture"] == "llama" and card["external"]


def test_a_tokenizer_of_another_base_is_refused(tiny_base, grown_tokenizer, tmp_path) -> None:
    other, _ = _untied_llama(tiny_base, tmp_path)
    with pytest.raises(ModelError, match="made for another base"):
        load_base(other, grown_tokenizer)


def test_changed_weights_are_noticed_before_they_are_used(tiny_base, tmp_path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_base.path, folder)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="do not match their digest"):
        load_base(BaseCheckpoint(folder))


def test_random_weights_have_the_base_s_shape_and_nothing_of_its_content(tiny_base) -> None:
    trained, _ = load_base(tiny_base, None, "none")
    fresh, _ = load_base(tiny_base, None, "none", initialisation="random", seed=1)
    again, _ = load_base(tiny_base, None, "none", initialisation="random", seed=1)
    weights = [model.transformer.h[0].mlp.dense_h_to_4h.weight for model in (trained, fresh, again)]
    assert weights[0].shape == weights[1].shape
    assert torch.equal(weights[1], weights[2])
    assert torch.corrcoef(torch.stack([weights[0].flatten(), weights[1].flatten()]))[0, 1].abs() < 0.1
    with pytest.raises(ModelError, match="random weights"):
        load_base(tiny_base, None, "nf4", initialisation="random")


def test_a_base_that_does_not_exist_is_named(tmp_path) -> None:
    with pytest.raises(ModelError, match="does not exist") as caught:
        resolve_base("./models/no-such-base", tmp_path / "card")
    assert "no-such-base" in str(caught.value)


def test_a_hub_id_that_cannot_be_reached_is_named(tmp_path) -> None:
    with pytest.raises(ModelError, match="neither a folder nor a base model that the hub gives") as caught:
        resolve_base("nobody/no-such-model", tmp_path / "card")
    assert "nobody/no-such-model" in str(caught.value)


def test_a_folder_without_safetensors_is_refused(tiny_base, tmp_path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_base.path, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds no weights"):
        resolve_base(str(folder), tmp_path / "card")


def test_the_licence_of_an_external_base_comes_from_its_model_card(tiny_base, tmp_path) -> None:
    folder = tmp_path / "licensed"
    shutil.copytree(tiny_base.path, folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n")
    assert resolve_base(str(folder), tmp_path / "card").card["licence"] == "apache-2.0"


def test_target_modules_come_from_the_table_or_are_found_and_noted(tiny_base) -> None:
    model, _ = load_base(tiny_base, None, "none")
    assert target_modules(model, ("auto",)) == (sorted(TARGET_MODULES["falcon"]), "")
    model.config.model_type = "brand-new"
    found, note = target_modules(model, ("auto",))
    assert found == linear_names(model) == sorted(TARGET_MODULES["falcon"])
    assert "brand-new" in note


def test_an_unknown_target_module_is_named_with_the_nearest_one(tiny_base) -> None:
    model, _ = load_base(tiny_base, None, "none")
    with pytest.raises(ModelError, match="no linear layer 'query_key_values'") as caught:
        target_modules(model, ("query_key_values",))
    assert "did you mean 'query_key_value'?" in str(caught.value)
