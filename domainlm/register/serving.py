"""The registered model as MLflow loads it: texts in, texts out, through domainlm's own loader.

MLflow's transformers flavour would load a PEFT adapter onto the plain base: without the rows of the new tokens, without
Falcon's 4-bit layers, and with a copy of a base of any size. This loader is the one that evaluation used, and nothing
in the version is a pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder

ADAPTER, TOKENIZER, BASE = "adapter", "tokenizer", "base"
MAX_NEW_TOKENS = 64


class RegisteredModel:
    """A tuned model behind MLflow's `predict`.

    Args:
        folder: the version's data: adapter, tokenizer, and the base or the card that refers to it.
    """

    def __init__(self, folder: Path) -> None:
        from domainlm.models import load_adapter

        adapter = AdapterFolder(folder / ADAPTER)
        self._model, self._tokenizer = load_adapter(
            BaseCheckpoint(folder / BASE), TokenizerFolder(folder / TOKENIZER), adapter
        )
        self._classifies = adapter.card.get("objective") == "classification"

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[str]:
        """Greedy answers to rendered prompts, given as a list, a series or a frame of one column.

        An encoder is given bare texts, and answers with the likeliest label of each.
        """
        from domainlm.models import generate
        from domainlm.models.classifiers import label_log_likelihoods

        texts: Sequence[str] = model_input.iloc[:, 0].tolist() if hasattr(model_input, "iloc") else list(model_input)
        if self._classifies:
            found = label_log_likelihoods(self._model, self._tokenizer, texts)
            return [max(scores, key=scores.__getitem__) for scores in found]
        budget = int((params or {}).get("max_new_tokens", MAX_NEW_TOKENS))
        return [text.strip() for text, _ in generate(self._model, self._tokenizer, texts, budget)]


def _load_pyfunc(data_path: str) -> RegisteredModel:
    """MLflow's entry point (`loader_module`)."""
    return RegisteredModel(Path(data_path))
