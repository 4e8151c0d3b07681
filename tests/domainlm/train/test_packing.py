"""Packing: rows end to end, each of which sees itself alone; an architecture that cannot do it is refused."""

from __future__ import annotations

import itertools

import pytest
import small_models

from domainlm.errors import TrainingError
from domainlm.models.attention import attend_within_rows, bounds_mask, keep_rows_apart, prove_apart
from domainlm.train.batching import EndToEnd, RightPadding, Rows, most_tokens

PACKABLE = (
    "falcon",
    "falcon_grouped",
    "llama",
    "mistral",
    "mistral_window",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "opt",
    "cohere",
    "granite",
)
ROWS = [([5, 6, 7, 9, 11], [8, 2]), ([4], [9, 2, 17, 30, 31, 32, 33, 34, 35, 36]), ([12, 13], [2])]


def _taught(name: str):
    model = small_models.make(name).eval()
    keep_rows_apart(model)
    return model


@pytest.mark.parametrize("name", PACKABLE)
def test_packed_rows_have_the_logits_and_gradients_that_they_have_alone(name: str) -> None:
    import torch

    model = _taught(name)
    prove_apart(model)
    batch = EndToEnd()([Rows(ROWS)[number] for number in range(len(ROWS))])
    packed = model(**{key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")}).logits[0]
    alone = torch.cat([model(input_ids=torch.tensor([head + tail])).logits[0] for head, tail in ROWS])
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)
    gradients = [
        torch.autograd.grad(logits.square().sum(), list(model.parameters()), allow_unused=True)
        for logits in (packed, alone)
    ]
    for left, right in zip(*gradients, strict=True):
        assert (left is None) == (right is None)
        if left is not None:
            torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4 * max(1.0, right.abs().max().item()))


@pytest.mark.parametrize("name", PACKABLE)
def test_no_row_gives_a_gradient_to_another(name: str) -> None:
    """Exact, whatever the arithmetic's rounding: what a row does not read has a slope of nought."""
    import torch

    model = _taught(name)
    batch = EndToEnd()([Rows(ROWS)[number] for number in range(len(ROWS))])
    embedded = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    positions = {key: batch[key] for key in ("attention_mask", "position_ids")}
    logits = model(inputs_embeds=embedded, **positions).logits
    bounds = batch["attention_mask"][0, 0, 0].tolist()
    for start, end in itertools.pairwise(bounds):
        (slope,) = torch.autograd.grad(logits[0, start:end].square().sum(), embedded, retain_graph=True)
        assert slope[0, start:end].abs().max() > 0
        assert slope[0, :start].abs().sum() == slope[0, end:].abs().sum() == 0


@pytest.mark.parametrize("name", ["bloom", "falcon_alibi", "gemma2", "mamba"])
def test_an_architecture_that_cannot_keep_rows_apart_is_refused(name: str) -> None:
    model = small_models.make(name)
    with pytest.raises(TrainingError, match=r"packing leaks for architecture|packed attention knows no"):
        keep_rows_apart(model)
        prove_apart(model)


@pytest.mark.parametrize("name", ["falcon", "llama"])
def test_a_leak_that_goes_unnoticed_by_types_and_shapes_is_seen_in_the_logits(name: str, monkeypatch) -> None:
    """An attention that takes the flat line for one row, as Falcon's own does with position ids that begin anew."""
    from domainlm.models import attention

    model = _taught(name)
    prove_apart(model)
    within = attention.attend_within_rows

    def leaking(query, key, value, mask, *options):
        return within(query, key, value, bounds_mask([query.shape[2]]), *options)

    monkeypatch.setattr(attention, "attend_within_rows", leaking)
    with pytest.raises(TrainingError, match=r"packing leaks for architecture.*when another row is changed"):
        prove_apart(model)


def test_falcon_itself_leaks_when_only_position_ids_begin_anew() -> None:
    """The fault that the guard is for: should transformers mend it, this test says so."""
    import torch

    model = small_models.make("falcon").eval()
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    first = model(input_ids=torch.tensor([[5, 6, 7, 8, 9, 10]]), position_ids=positions).logits
    other = model(input_ids=torch.tensor([[55, 66, 77, 8, 9, 10]]), position_ids=positions).logits
    assert not torch.allclose(first[:, 3:], other[:, 3:], atol=1e-4)


def test_padded_batches_and_generation_are_as_before_on_a_model_that_was_taught() -> None:
    import torch

    for name in ("falcon", "llama"):
        plain, taught = small_models.make(name).eval(), _taught(name)
        ids = torch.tensor([[2, 2, 7, 9, 11], [4, 9, 2, 17, 30]])
        mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
        left, right = (
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
            for model in (plain, taught)
        )
        assert torch.equal(left, right)
        left, right = (model(input_ids=ids, attention_mask=mask).logits for model in (plain, taught))
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_within_rows_is_a_masked_attention_over_the_whole_line(key_heads: int, window: int | None) -> None:
    """Against the definition: a [tokens, tokens] mask with a block for each row."""
    import torch

    torch.manual_seed(1)
    lengths = [4, 1, 9, 6]
    total = sum(lengths)
    query = torch.randn(1, 4, total, 8)
    key, value = torch.randn(2, 1, key_heads, total, 8)
    row = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    distance = torch.arange(total)[:, None] - torch.arange(total)
    seen = (row[:, None] == row) & (distance >= 0) & (distance < (window or total))
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=0.3, enable_gqa=True
    )
    found = attend_within_rows(query, key, value, bounds_mask(lengths), scaling=0.3, window=window)
    torch.testing.assert_close(found, wanted.transpose(1, 2))


def test_a_packed_batch_says_what_its_rows_say_alone() -> None:
    """Bounds, positions, and for each answer token the place before it; weights count a record as one."""
    batch = EndToEnd(by_record=True)([Rows(ROWS)[number] for number in range(len(ROWS))])
    line = [token for head, tail in ROWS for token in head + tail]
    assert batch["input_ids"].tolist() == [line]
    assert batch["position_ids"].tolist() == [[*range(7), *range(11), *range(3)]]
    assert batch["attention_mask"].shape == (1, 1, 11, 4)
    assert batch["attention_mask"][0, 0].unique(dim=0).tolist() == [[0, 7, 18, 21]]
    lines, places, wanted = batch["targets"].tolist()
    assert set(lines) == {0} and wanted == [token for _, tail in ROWS for token in tail]
    assert [line[place + 1] for place in places[:-1]] == wanted[:-1] and places[-1] == -2
    assert batch["weights"].tolist() == pytest.approx([1 / 2] * 2 + [1 / 10] * 10 + [1])
    assert batch["index"] == [0, 1, 2]


def test_a_padded_batch_asks_only_for_the_completion_and_its_eos() -> None:
    batch = RightPadding(pad=1)([Rows(ROWS)[0], Rows(ROWS)[2]])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 9, 11, 8, 2], [12, 13, 2, 1, 1, 1, 1]]
    assert batch["targets"].tolist() == [[0, 0, 1], [-3, -2, -6], [8, 2, 2]]
    assert "attention_mask" not in batch and "weights" not in batch
    masked = RightPadding(pad=1, masked=True)([Rows(ROWS)[0], Rows(ROWS)[2]])
    assert masked["attention_mask"].tolist() == [[1] * 7, [1, 1, 1, 0, 0, 0, 0]]


def test_the_first_token_of_a_row_is_never_asked_for() -> None:
    """Nothing stands before it; in a packed line another record's end does."""
    rows = Rows([([3], [4]), ([], [5, 6])])
    for collator in (EndToEnd(), RightPadding(0)):
        assert collator([rows[0], rows[1]])["targets"][2].tolist() == [4, 6]


def test_the_most_tokens_of_a_pass_bound_every_batch_that_is_drawn() -> None:
    import random

    lengths = [random.Random(seed).randrange(2, 40) for seed in range(30)]
    rows = Rows([([1], [2] * (length - 1)) for length in lengths])
    for packed, collator in ((True, EndToEnd()), (False, RightPadding(0))):
        bound = most_tokens(lengths, 4, packed)
        drawn = [random.Random(seed).sample(range(30), 4) for seed in range(200)]
        sizes = [collator([rows[number] for number in numbers])["input_ids"].numel() for numbers in drawn]
        assert max(sizes) <= bound
        largest = sorted(range(30), key=lambda number: -lengths[number])[:4]
        assert collator([rows[number] for number in largest])["input_ids"].numel() == bound


def test_packing_an_architecture_that_leaks_ends_before_the_first_step(tune, tiny_base, tmp_path) -> None:
    from domainlm.artifacts import TokenizerFolder
    from domainlm.models import load_tokenizer, resolve_base

    tokenizer = load_tokenizer(tiny_base)
    small_models.make("bloom", vocab_size=len(tokenizer)).save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    base = resolve_base(str(tmp_path / "bloom"), tmp_path / "card")
    plain = TokenizerFolder(tmp_path / "plain")
    tokenizer.save_pretrained(plain.path)
    plain.write_card(new_tokens={}, base_digest=base.card["digest"])
    with pytest.raises(TrainingError, match="packing leaks for architecture 'bloom'") as caught:
        tune(tokenizer=plain, base=base, method="lora", batching="packed")
    assert "grouped" in str(caught.value)
    assert not list(tmp_path.glob("run/work/checkpoint-*"))


@pytest.mark.parametrize("old_torch", [False, True])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 3])
def test_the_gpu_kernel_is_called_as_it_is_documented(key_heads: int, window: int | None, old_torch: bool, monkeypatch):
    """No GPU here: in the kernel's place stands what its documentation says of layout, window and heads."""
    import torch
    from torch.nn.attention import varlen

    from domainlm.models import attention

    def documented(query, key, value, bounds, _, longest, __, *, scale=None, window_size=(-1, -1), enable_gqa=False):
        """Packed [tokens, heads, size]; (W, 0) sees W tokens before the query and the query itself, -1 all of them."""
        assert query.shape[1] == key.shape[1] or enable_gqa
        assert bounds.dtype is torch.int32 and bounds.is_contiguous() and query.is_contiguous()
        assert longest == max(end - start for start, end in itertools.pairwise(bounds.tolist()))
        found = []
        for start, end in itertools.pairwise(bounds.tolist()):
            parts = [part[start:end].transpose(0, 1)[None] for part in (query, key, value)]
            distance = torch.arange(end - start)[:, None] - torch.arange(end - start)
            seen = (distance >= -window_size[1]) & ((window_size[0] < 0) | (distance <= window_size[0]))
            attended = torch.nn.functional.scaled_dot_product_attention(
                *parts, attn_mask=seen, scale=scale, enable_gqa=True
            )
            found.append(attended[0].transpose(0, 1))
        return torch.cat(found)

    def without_groups(query, key, value, bounds, _, longest, __, *, scale=None, window_size=(-1, -1)):
        return documented(query, key, value, bounds, _, longest, __, scale=scale, window_size=window_size)

    monkeypatch.setattr(varlen, "varlen_attn", without_groups if old_torch else documented)
    torch.manual_seed(1)
    lengths = [4, 1, 9, 6]
    query = torch.randn(1, 4, sum(lengths), 8)
    key, value = torch.randn(2, 1, key_heads, sum(lengths), 8)
    mask = bounds_mask(lengths)
    found = attention._flash(query, key, value, mask[0, 0, 0], mask.shape[2], 0.3, window)
    wanted = attend_within_rows(query, key, value, mask, scaling=0.3, window=window)
    torch.testing.assert_close(found, wanted)


def test_attention_within_rows_computes_in_the_type_of_mixed_precision() -> None:
    """Rotary embeddings in 32 bits lift queries and keys; the kernel wants all three alike, in 16 bits."""
    import torch

    mask = bounds_mask([3, 2])
    query, key, value = torch.randn(3, 1, 2, 5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attend_within_rows(query, key, value.bfloat16(), mask).dtype is torch.bfloat16


@pytest.mark.parametrize("name", ["falcon", "llama", "mistral_window"])
def test_the_guard_holds_in_sixteen_bits_too(name: str, monkeypatch) -> None:
    """Rounding passes it, a leak does not."""
    import torch

    from domainlm.models import attention

    model = _taught(name).to(torch.bfloat16)
    prove_apart(model)
    within = attention.attend_within_rows
    monkeypatch.setattr(
        attention,
        "attend_within_rows",
        lambda query, key, value, mask, *options: within(query, key, value, bounds_mask([query.shape[2]]), *options),
    )
    with pytest.raises(TrainingError, match="packing leaks"):
        prove_apart(model)
