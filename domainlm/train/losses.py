"""The loss of a training, computed inside the model's own forward and without ever building all logits.

For a vocabulary of 128,000 and 4,096 tokens the logits alone are 2 GB in 32 bits, and as much again for their gradient.
Here the last hidden states are cut to the supervised positions, and logits are made for a few of them at a time
(`loss_chunk_tokens`): the same idea as Liger's fused linear cross-entropy (Hsu et al. 2024) and Cut Cross-Entropy
(Wijmans et al. 2024), in plain PyTorch, so it runs on a CPU and with any output layer: quantized, adapted, tied.

It happens inside the model's forward because DistributedDataParallel and FSDP look at nothing else: what is computed
outside misses their hooks.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from domainlm.models.attention import inner, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE_TOKENS = 8


def put_inside(model: Any, chunk: int | None) -> str:
    """Let `model(**batch)` give the loss of a batch that has `targets` (see `domainlm.train.batching`).

    The output's `loss` is the sum over the supervised tokens, each times its weight; whoever trains divides it by what
    the whole optimizer step holds. Without `targets` the model gives logits as before.

    Args:
        model: a causal language model, with or without peft around it; called twice, the second call counts.
        chunk: supervised tokens whose logits are made at a time; None: the model's own forward makes all logits.

    Returns:
        A note for people where logits cannot be made from hidden states for this architecture: then all are made at
        once. Empty where they can.
    """
    causal = inner(model)
    causal.forward = types.MethodType(_with_loss(type(causal).forward), causal)
    for wrapper in model.modules():
        if wrapper is causal:
            break
        if getattr(vars(wrapper).get("forward"), "__self__", None) is causal:  # peft's LLaMA-Adapter keeps a copy
            wrapper.forward = causal.forward
    causal.loss_chunk, causal.head_learns = chunk, True
    if chunk is None:
        return ""
    known, causal.head_learns = _look_at_head(causal)
    if known:
        return ""
    causal.loss_chunk = None
    return (
        f"the output layer of architecture '{causal.config.model_type}' does more than is known here:"
        " all logits are made at once (loss_chunk_tokens has no effect)"
    )


def _with_loss(original: Callable) -> Callable:
    @functools.wraps(original)  # generation asks for the signature
    def forward(self, *arguments, targets=None, weights=None, **inputs):
        from transformers.modeling_outputs import CausalLMOutput

        if targets is None:
            return original(self, *arguments, **inputs)
        if self.loss_chunk is None:
            logits = original(self, *arguments, **inputs).logits
            return CausalLMOutput(loss=_summed(_supervised(logits, targets), targets[2], weights))
        hidden = _backbone(self)(*arguments, **inputs)[0]
        return CausalLMOutput(
            loss=chunked_loss(
                _supervised(hidden, targets),
                targets[2],
                weights,
                functools.partial(logits_of, self),
                self.loss_chunk,
                self.head_learns,
            )
        )

    return forward


def _backbone(causal: PreTrainedModel) -> torch.nn.Module:
    return getattr(causal, causal.base_model_prefix)


def _supervised(values: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """[lines, tokens, size] -> [supervised, size], without asking the device how many there are."""
    width = values.shape[1]
    return values.flatten(0, 1).index_select(0, targets[0] * width + targets[1] + width)


def _summed(logits: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    losses = cross_entropy(logits.float(), wanted, reduction="none")
    return (losses if weights is None else losses * weights).sum()


def logits_of(causal: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of last hidden states, with what some architectures do to them: Cohere and Granite scale, Gemma caps."""
    config = causal.config
    logits = causal.get_output_embeddings()(hidden)
    if (factor := getattr(config, "logit_scale", None)) is not None:
        logits = logits * factor
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def _look_at_head(causal: PreTrainedModel) -> tuple[bool, bool]:
    """Whether logits from hidden states are this model's own, and whether its output layer learns.

    Asked of a forward pass, since tied, wrapped or shared parameters stand in no list.
    """
    if causal.get_output_embeddings() is None or not hasattr(causal, causal.base_model_prefix):
        return False, True
    ids = torch.arange(_PROBE_TOKENS, device=next(causal.parameters()).device)[None]
    with quiet(causal):
        wanted = causal(input_ids=ids, use_cache=False).logits.float()
        hidden = _backbone(causal)(input_ids=ids, use_cache=False)[0]
        with torch.enable_grad():
            found = logits_of(causal, hidden)
    same = found.shape == wanted.shape and torch.allclose(
        found.detach().float(), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item()
    )
    return same, found.requires_grad


def chunked_loss(
    hidden: torch.Tensor,
    wanted: torch.Tensor,
    weights: torch.Tensor | None,
    head: Callable[[torch.Tensor], torch.Tensor],
    chunk: int,
    head_learns: bool,
) -> torch.Tensor:
    """The weighted sum of cross-entropies, with logits for `chunk` positions at a time.

    Where the output layer is frozen, each chunk's gradient is taken while its logits are there, so nothing is computed
    twice and nothing but the gradient of the hidden states is kept. Where it learns (method full, LoRA on it, new
    tokens), its logits are computed again in the backward pass, so that its parameters get their gradients as they
    always do, whoever wraps them.

    Args:
        hidden: [supervised, size].
        wanted: [supervised], token ids.
        weights: [supervised], or None for 1 each.
        head: from hidden states to logits.
        chunk: positions at a time.
        head_learns: whether the output layer has parameters that are trained.
    """
    if not torch.is_grad_enabled() or not head_learns:
        return _FrozenHead.apply(hidden, wanted, weights, head, chunk)
    from torch.utils.checkpoint import checkpoint

    total = hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, len(hidden), chunk):
        part = slice(start, start + chunk)
        total = total + checkpoint(
            lambda piece, part=part: _summed(head(piece), wanted[part], None if weights is None else weights[part]),
            hidden[part],
            use_reentrant=False,
        )
    return total


class _FrozenHead(torch.autograd.Function):
    """Loss and gradient of a frozen output layer in one pass over chunks."""

    @staticmethod
    @torch.compiler.disable
    def forward(ctx, hidden, wanted, weights, head, chunk):
        needed = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if needed else None
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            with torch.set_grad_enabled(needed):
                piece = hidden[part].detach().requires_grad_(needed)
                logits = head(piece)
            with torch.no_grad():
                scores = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
                losses = -scores.gather(1, wanted[part, None])[:, 0]
                total += (losses if weights is None else losses * weights[part]).sum()
                if needed:  # of the cross-entropy: probability less one where the token was wanted
                    slope = scores.exp_()
                    slope.scatter_add_(1, wanted[part, None], slope.new_full((len(slope), 1), -1.0))
                    if weights is not None:
                        slope *= weights[part, None]
            if needed:
                with torch.autocast(hidden.device.type, enabled=False):
                    (gradient[part],) = torch.autograd.grad(logits, piece, slope.to(logits.dtype))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        # in 32 bits: a factor of 16 bits would be wrong by up to 0.4 %, for every token alike
        return (gradient.float() * upstream).to(gradient.dtype), None, None, None, None
