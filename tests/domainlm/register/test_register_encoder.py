"""A tuned encoder in the registry: head and adapter come back, and it answers texts with labels."""

from __future__ import annotations

import mlflow
import pytest
import torch
from small_encoders import make_encoder

from domainlm.artifacts import AdapterFolder, TokenizerFolder
from domainlm.models import load_adapter, load_tokenizer, resolve_base
from domainlm.models.classifiers import head, label_log_likelihoods, load_classifier
from domainlm.register import Provenance, register
from domainlm.register.settings import RegisterSettings

TEXTS = ["Haneul Bank: profit rises", "Dorvane Steel: demand slides", "Oakmere Energy: the order book climbs"] * 3
LABELS = ("good", "neither", "bad")


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_registered_encoder_says_the_labels_that_the_evaluated_one_said(tmp_path, monkeypatch, quantization) -> None:
    from peft import LoraConfig, get_peft_model

    monkeypatch.chdir(tmp_path)
    make_encoder(tmp_path / "model", TEXTS, initializer_range=0.5)  # so that the states of texts differ
    base = resolve_base(str(tmp_path / "model"), tmp_path / "card")
    tokenizer = TokenizerFolder(tmp_path / "tokenizer")
    load_tokenizer(base).save_pretrained(tokenizer.path)
    tokenizer.write_card(new_tokens={}, base_digest=base.card["digest"])
    model, _ = load_classifier(base, None, LABELS, quantization)
    for part in head(model).values():
        for weight in part.parameters():
            torch.nn.init.normal_(weight, std=0.3)  # not the head that any loading would draw
    config = LoraConfig(r=4, target_modules=["query", "value"], modules_to_save=["pooler", "classifier"],
                        init_lora_weights=False, task_type="SEQ_CLS")  # fmt: skip
    adapter = AdapterFolder(tmp_path / "adapter")
    get_peft_model(model, config).save_pretrained(adapter.path)
    adapter.write_card(
        method="lora", objective="classification", quantization=quantization, labels=list(LABELS),
        base_digest=base.card["digest"], tokenizer_digest=tokenizer.digest,
    )  # fmt: skip
    found = label_log_likelihoods(*load_adapter(base, tokenizer, adapter), TEXTS)
    expected = [max(scores, key=scores.__getitem__) for scores in found]

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    provenance = Provenance(data="d" * 64, configuration="c" * 64, evaluation="e" * 64, commit="abc", dirty=False,
                            licences=["CC0-1.0"], handling="public")  # fmt: skip
    made = register(base, tokenizer, adapter, provenance, {"sentiment/toy/accuracy/tuned": 0.7}, "shown",
                    RegisterSettings(), uri, tmp_path / "artifacts")  # fmt: skip
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    served = mlflow.pyfunc.load_model(f"models:/{made.name}@candidate")
    assert served.predict(TEXTS) == expected and len(set(expected)) > 1
    suffixes = {path.suffix for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
    assert suffixes and not suffixes & {".pkl", ".pickle", ".bin", ".pt", ".pth"}
