"""Loading bases and adapters, generating text and scoring completions: what several stages share about models.

Nothing heavy is imported before a function is called.
"""

from domainlm.models.bases import resolve_base
from domainlm.models.encoding import completion_lengths, encode
from domainlm.models.inference import (
    Generation,
    bits_per_character,
    completion_log_likelihoods,
    first_characters,
    generate,
)
from domainlm.models.loading import load_adapter, load_base, load_tokenizer

__all__ = [
    "Generation",
    "bits_per_character",
    "completion_lengths",
    "completion_log_likelihoods",
    "encode",
    "first_characters",
    "generate",
    "load_adapter",
    "load_base",
    "load_tokenizer",
    "resolve_base",
]
