"""Small random models of several architectures, made on the spot."""

from __future__ import annotations

VOCABULARY = 300


def make(name: str, layers: int = 2, **changes):
    """A causal language model of random weights, in float32.

    Args:
        name: an architecture, or a variant of one: `falcon_alibi`, `falcon_grouped`, `mistral_window`.
        layers: hidden layers.
        changes: further keys of its configuration.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
    } | special
    gated = sizes | {"intermediate_size": 96, "num_key_value_heads": 2}
    kind, options = {
        "falcon": ("Falcon", sizes),
        "falcon_grouped": ("Falcon", sizes | {"new_decoder_architecture": True, "num_kv_heads": 2}),
        "falcon_alibi": ("Falcon", sizes | {"alibi": True}),
        "llama": ("Llama", gated),
        "mistral": ("Mistral", gated),
        "mistral_window": ("Mistral", gated | {"sliding_window": 6}),
        "qwen2": ("Qwen2", gated),
        "qwen3": ("Qwen3", gated | {"head_dim": 16}),
        "gpt_neox": ("GPTNeoX", sizes | {"intermediate_size": 96}),
        "opt": ("OPT", sizes | {"ffn_dim": 96, "word_embed_proj_dim": 64}),
        "bloom": ("Bloom", {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": layers, "n_head": 4} | special),
        "gemma2": ("Gemma2", gated | {"head_dim": 16}),
        "cohere": ("Cohere", gated),
        "granite": ("Granite", gated | {"logits_scaling": 3.0}),
        "mamba": ("Mamba", {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": layers} | special),
    }[name]
    model = {"GPTNeoX": "GPTNeoXForCausalLM"}.get(kind, f"{kind}ForCausalLM")
    return getattr(transformers, model)(getattr(transformers, f"{kind}Config")(**options | changes))
