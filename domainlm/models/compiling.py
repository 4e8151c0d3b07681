"""torch.compile, one decoder layer at a time.

All layers of a model have one code, so one or two are compiled and the rest use what came out: seconds in place of the
minutes that a whole model takes, and neither the output layer's chunks nor peft's wrapper break a graph. The modules
stay what they are, so checkpoints and adapters do not change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from domainlm.errors import TrainingError
from domainlm.models.attention import inner

_TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2, "float16": 1e-2}
_NOISE = 0.5  # where dropout or noise differ from pass to pass, only a gross fault can be told


def decoder_layers(model: Any) -> list[Any]:
    """The layers of a model's stack, by their number in its configuration.

    Raises:
        TrainingError: the model has no such stack.
    """
    from torch.nn import ModuleList

    causal = inner(model)
    wanted = causal.config.num_hidden_layers
    stacks = [module for module in causal.modules() if isinstance(module, ModuleList) and len(module) == wanted]
    for stack in stacks:
        if len({type(layer) for layer in stack}) == 1 and any(True for _ in stack[0].parameters()):
            return list(stack)
    raise TrainingError(
        f"the layers of architecture '{causal.config.model_type}' are not found, so they cannot be compiled",
        "steps.train.parameters.compile",
        "set compile: false",
    )


@contextlib.contextmanager
def compiled_layers(model: Any) -> Iterator[None]:
    """A training whose passes (`compiled_pass`) run compiled; looks at the development split and samples run as ever.

    What is compiled serves batches of any size; a model that would be compiled again and again is an error, since
    PyTorch goes on without compiling and says so in a log line only.
    """
    import torch

    layers = decoder_layers(model)
    with torch.compiler.set_stance("force_eager"), torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for layer in layers:
            layer.compile(dynamic=True)
        try:
            yield
        finally:
            for layer in layers:
                layer._compiled_call_impl = None


@contextlib.contextmanager
def compiled_pass(model: Any) -> Iterator[None]:
    """One forward and backward pass through compiled layers.

    Raises:
        TrainingError: they could not be compiled.
    """
    import torch

    try:
        with torch.compiler.set_stance("default"):
            yield
    except torch._dynamo.exc.TorchDynamoException as error:
        raise TrainingError(
            f"torch.compile cannot compile the layers of architecture '{inner(model).config.model_type}'"
            f" ({type(error).__name__})",
            "steps.train.parameters.compile",
            "set compile: false",
        ) from error


def prove_followed(model: Any, inputs: dict[str, Any], loss: Any, noisy: bool) -> None:
    """Compare the loss of a compiled pass with the same pass uncompiled, before anything is learned from it.

    Args:
        model: the model, compiled.
        inputs: the batch.
        loss: what the compiled pass said.
        noisy: whether dropout or noise make two passes differ anyway.

    Raises:
        TrainingError: they differ by more than rounding.
    """
    import torch

    devices = [loss.device] if loss.is_cuda else []
    with torch.no_grad(), torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        wanted = model(**inputs).loss.item()
    found = loss.item()
    kind = loss.device.type
    computed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inner(model).dtype
    tolerance = _NOISE if noisy else _TOLERANCE[str(computed).removeprefix("torch.")]
    if not abs(found - wanted) <= tolerance * abs(wanted):
        raise TrainingError(
            f"compiled, the first pass has the loss {found:.6g}, uncompiled {wanted:.6g}",
            f"architecture {inner(model).config.model_type}",
            "set compile: false",
        )
