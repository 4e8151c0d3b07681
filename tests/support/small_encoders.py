"""Small encoders of the BERT family, with a word-piece vocabulary made of the texts at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
OPEN, CLOSE = 2, 3


def word_pieces(texts: Sequence[str]):
    """A lower-casing WordPiece tokenizer that knows each word of the texts whole, and any other by its characters.

    Made by hand and not trained: the trainer breaks ties by chance, and figures of a test would differ from run to run.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = sorted({piece for text in texts for piece in re.findall(r"\w+|[^\w\s]", text.lower())})
    letters = sorted({letter for piece in pieces for letter in piece} | set("abcdefghijklmnopqrstuvwxyz0123456789"))
    names = dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *pieces])
    vocabulary = {name: number for number, name in enumerate(names)}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", OPEN), ("[SEP]", CLOSE)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        mask_token="[MASK]",
    )  # fmt: skip


def encoder_config(kind: str, vocabulary: int, context: int = 64, **changes):
    """The configuration of a small encoder: two layers of width 64, two heads."""
    from transformers import AutoConfig

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    if kind == "distilbert":
        sizes = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128}
    if kind in ("roberta", "xlm-roberta", "camembert"):
        context += 2  # positions begin behind the pad token's
    if kind == "electra":
        sizes["embedding_size"] = 32  # smaller than the hidden size, as in the published ones
    if kind == "deberta-v2":
        sizes |= {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
    ends = {"bos_token_id": OPEN, "cls_token_id": OPEN, "eos_token_id": CLOSE, "sep_token_id": CLOSE, "pad_token_id": 0}
    return AutoConfig.for_model(
        kind, vocab_size=vocabulary, max_position_embeddings=context, **(sizes | ends | changes)
    )


def make_encoder(folder: Path, texts: Sequence[str], kind: str = "bert", steps: int = 0, licence: str = "", **changes):
    """Save a masked language model and its tokenizer, as a hub has them.

    Args:
        folder: where.
        texts: what the vocabulary is made of, and what is masked.
        kind: the architecture.
        steps: optimizer steps of masked-language training (15 % of the words masked); 0 leaves random weights.
        licence: stated in the model card's front matter.
        changes: further keys of the configuration.
    """
    import torch
    from transformers import AutoModelForMaskedLM

    tokenizer = word_pieces(texts)
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(encoder_config(kind, len(tokenizer), **changes))
    rows = tokenizer(list(texts), padding=True, return_tensors="pt")["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    draw = torch.Generator().manual_seed(0)
    for _ in range(steps):
        ids = rows[torch.randint(len(rows), (16,), generator=draw)]
        hidden = (torch.rand(ids.shape, generator=draw) < 0.15) & (ids > CLOSE)
        if not hidden.any():
            continue
        loss = model(
            input_ids=ids.masked_fill(hidden, 4),
            attention_mask=ids.ne(0).long(),
            labels=ids.masked_fill(~hidden, -100),
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A small encoder\n")
