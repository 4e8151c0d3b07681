"""Attention over rows that lie end to end: each token sees its own row and nothing of the others.

A packed batch is one flat line of tokens, [1, tokens], so nothing is spent on padding. What keeps its rows apart is its
attention mask: an int32 tensor [1, 1, longest, rows + 1], each line of which holds the rows' bounds (0, end of the
first, ..., tokens). Models of transformers hand a mask of four dimensions through untouched, and so does gradient
checkpointing; its height tells the longest row without asking the device. Any attention that does not know it fails
on its shape or type, and `prove_apart` looks at what a model really computes: Falcon, for one, ignores position ids
that begin anew, and would let one record read another.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from domainlm.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

IMPLEMENTATION = "domainlm_rows"
_REMEDY = "use batching: grouped, which pads and packs nothing"
# A leak moves logits by a good part of their size; arithmetic moves them by its rounding, over all layers.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}


def bounds_mask(lengths: Sequence[int]) -> torch.Tensor:
    """The attention mask of a packed batch.

    >>> bounds_mask([2, 1])[0, 0].tolist()
    [[0, 2, 3], [0, 2, 3]]
    """
    import torch

    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    return bounds.expand(1, 1, max(lengths), -1).contiguous()


def restarting_positions(lengths: Sequence[int]) -> torch.Tensor:
    """Position ids of a packed batch, [1, tokens]: each row counts from 0.

    >>> restarting_positions([2, 1]).tolist()
    [[0, 1, 0]]
    """
    import torch

    return torch.cat([torch.arange(length) for length in lengths])[None]


def is_packed(mask: Any) -> bool:
    """Whether a mask holds bounds of rows."""
    import torch

    return isinstance(mask, torch.Tensor) and mask.dtype is torch.int32 and mask.ndim == 4


def inner(model: Any) -> PreTrainedModel:
    """The model of transformers inside whatever peft has put around it."""
    from transformers import PreTrainedModel

    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def keep_rows_apart(model: Any) -> None:
    """Teach a base's attention to read packed batches; padded ones and generation go on as before.

    Args:
        model: a causal language model, with or without peft around it.

    Raises:
        TrainingError: the architecture's attention cannot be replaced.
    """
    model = inner(model)
    if model.config.model_type == "falcon" and not model.config.alibi:
        from transformers.models.falcon.modeling_falcon import FalconAttention

        for module in model.modules():
            if isinstance(module, FalconAttention):
                module.forward = types.MethodType(_falcon_forward, module)
        return
    if not model._can_set_attn_implementation():
        raise _leaks(model, "its attention cannot be told where a row ends")
    _register()
    model.set_attn_implementation(IMPLEMENTATION)


@functools.cache
def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def _attend(module, query, key, value, attention_mask, dropout=0.0, scaling=None, sliding_window=None, **options):
    """The form that transformers calls: query [batch, heads, tokens, size] in, [batch, tokens, heads, size] out."""
    if not is_packed(attention_mask):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **options)
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise TrainingError(
                f"packed attention knows no '{name}', which this architecture uses",
                "steps.train.parameters.batching",
                _REMEDY,
            )
    return attend_within_rows(query, key, value, attention_mask, dropout, scaling, sliding_window), None


def attend_within_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Causal attention inside each row of a packed batch.

    On a GPU in 16 bits this is FlashAttention's variable-length kernel, which PyTorch carries; elsewhere the rows are
    laid out as a padded batch for the attention alone. Padding on the right needs no mask there: a causal query never
    reaches it.

    Args:
        query: [1, heads, tokens, size].
        key: [1, key heads, tokens, size]; each serves heads / key heads queries.
        value: like `key`.
        mask: see `bounds_mask`.
        dropout: of the attention's weights.
        scaling: factor on the scores; 1 / sqrt(size) if None.
        window: tokens that a query sees, itself included; all before it if None.

    Returns:
        [1, tokens, heads, size]
    """
    import torch

    bounds, longest = mask[0, 0, 0], mask.shape[2]
    window = window if window is not None and window < longest else None
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # PyTorch's own attention is cast by autocast, a kernel called by name is not
        query, key, value = (part.to(torch.get_autocast_dtype(kind)) for part in (query, key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        return _flash(query, key, value, bounds, longest, scaling, window)
    return _padded(query, key, value, bounds, longest, dropout, scaling, window)


def _flash(query, key, value, bounds, longest, scaling, window):
    from torch.nn.attention.varlen import varlen_attn

    options = {}
    if key.shape[1] != query.shape[1]:
        if "enable_gqa" in inspect.signature(varlen_attn).parameters:
            options["enable_gqa"] = True
        else:  # torch before 2.12
            key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
    # the kernel takes [tokens, heads, size], and a window that leaves the query itself out of the count
    flat = [part[0].transpose(0, 1).contiguous() for part in (query, key, value)]
    bounds = bounds.contiguous()
    seen = (-1 if window is None else window - 1, 0)
    return varlen_attn(*flat, bounds, bounds, longest, longest, scale=scaling, window_size=seen, **options)[None]


def _padded(query, key, value, bounds, longest, dropout, scaling, window):
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    starts, lengths = bounds[:-1], bounds.diff()
    columns = torch.arange(longest, device=bounds.device)
    real = columns < lengths[:, None]  # [rows, longest]
    source = torch.where(real, starts[:, None] + columns, 0)  # a query behind a row's end reads token 0; it is dropped
    rows = len(starts)

    def spread(part: torch.Tensor) -> torch.Tensor:  # [1, heads, tokens, size] -> [rows, heads, longest, size]
        return part[0].index_select(1, source.flatten()).unflatten(1, (rows, longest)).transpose(0, 1)

    seen = None
    if window is not None:
        distance = columns[:, None] - columns
        seen = (distance >= 0) & (distance < window)
    found = scaled_dot_product_attention(
        spread(query),
        spread(key),
        spread(value),
        attn_mask=seen,
        is_causal=seen is None,
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    # where each token went: its row's number times `longest`, plus its place in the row
    row = torch.repeat_interleave(torch.arange(rows, device=bounds.device), lengths, output_size=query.shape[2])
    place = torch.arange(query.shape[2], device=bounds.device) - starts[row] + row * longest
    return found.transpose(1, 2).flatten(0, 1).index_select(0, place)[None]


def _falcon_forward(self, hidden_states, *, alibi, attention_mask, position_embeddings=None, **options):
    """Falcon calls no interface: the same projections and rotation, with our attention where the batch is packed."""
    if not is_packed(attention_mask):
        options |= {"alibi": alibi, "attention_mask": attention_mask, "position_embeddings": position_embeddings}
        return type(self).forward(self, hidden_states, **options)
    from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

    # three times [1, tokens, heads, size]
    query, key, value = (part.transpose(1, 2) for part in self._split_heads(self.query_key_value(hidden_states)))
    query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
    attended = attend_within_rows(query, key, value, attention_mask)
    return self.dense(attended.flatten(2)), None


def prove_apart(model: Any) -> None:
    """Look whether packing keeps this model's rows apart, before it is trained so.

    Two rows in one packed batch must have the logits that they have alone, and the second's must not move when the
    first one is changed.

    Args:
        model: the model as it will be trained, with its adapter.

    Raises:
        TrainingError: they do not, so packing would let one record read another.
    """
    import torch

    tokens = model.config.vocab_size
    first, other, second = ([(17 * at + shift) % tokens for at in range(length)] for length, shift in _PROBE)
    with quiet(model):
        try:
            packed, changed = _logits(model, [first, second]), _logits(model, [other, second])
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:  # an attention that knows no such mask
            raise _leaks(model, f"its attention cannot be told where a row ends ({type(error).__name__})") from error
        alone = [_logits(model, [row]) for row in (first, second)]
    tolerance = _TOLERANCE[str(packed.dtype).removeprefix("torch.")]
    packed, changed, wanted = packed.float(), changed.float(), torch.cat(alone, dim=1).float()
    scale = (wanted - wanted.mean()).abs().max().item()
    moved = (changed - packed)[:, len(first) :].abs().max().item()
    differs = (packed - wanted).abs().max().item()
    if not max(moved, differs) <= tolerance * scale:  # not a number is a failure too
        raise _leaks(
            model,
            f"logits differ by {differs / scale:.2g} of their range from a row alone, and by {moved / scale:.2g} when"
            f" another row is changed (allowed: {tolerance:g})",
        )


def _leaks(model: Any, how: str) -> TrainingError:
    return TrainingError(
        f"packing leaks for architecture '{model.config.model_type}': {how}", "steps.train.parameters.batching", _REMEDY
    )


_PROBE = ((24, 3), (24, 8), (9, 5))  # tokens and first token of three rows; a short row after a long one shows most


def _logits(model, rows: list[list[int]]) -> torch.Tensor:
    import torch

    lengths = [len(row) for row in rows]
    inputs = {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "position_ids": restarting_positions(lengths),
    }
    if len(rows) > 1:
        inputs["attention_mask"] = bounds_mask(lengths)
    device = next(model.parameters()).device
    return model(**{name: part.to(device) for name, part in inputs.items()}, use_cache=False).logits


@contextlib.contextmanager
def quiet(model) -> Iterator[None]:
    """Look at a model without dropout, noise or gradients, and leave it and the random state as they were."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
