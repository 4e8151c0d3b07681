"""One training over several processes: who they are, what they agree on, and how a model is shared among them.

`train()` starts processes (`domainlm.train.processes.launchers`), each of which runs `train()` again inside
`joined()`. From then on the code is the same for one process and for many: with one, every function here does nothing.

Sharding is our own use of `torch.distributed.fsdp.fully_shard` (FSDP2). The Trainer's `fsdp` option runs
DistributedDataParallel on a CPU without a word, and cannot be tested without GPUs; this runs on both, also with a 4-bit
base.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from domainlm.errors import DomainLMError, ModelError, TrainingError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Found = TypeVar("Found")
DDP, FSDP2, DEEPSPEED, RAY, ALONE = "ddp", "fsdp2", "deepspeed", "ray", "alone"
WRAPPERS = {ALONE: "none", DDP: "DDP", RAY: "DDP", FSDP2: "FSDP2", DEEPSPEED: "DeepSpeed"}
APART = "DOMAINLM_NODES_APART"  # set to 1 where the nodes share no folder
SILENCE = timedelta(minutes=30)  # a process that waits longer for the others gives up; also torch's own default

_log = logging.getLogger(__name__)


class World(NamedTuple):
    """This process among those of its training."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    strategy: str = ALONE
    apart: bool = False

    @property
    def first(self) -> bool:
        """The first process writes what is written once."""
        return self.rank == 0

    @property
    def writes(self) -> bool:
        """The one process that completes what all write into a folder: one for all nodes, or one for each."""
        return self.local_rank == 0 if self.apart else self.first

    @property
    def wrapper(self) -> str:
        """What must stand around the model."""
        return WRAPPERS[self.strategy]


_here = World()
_writers: Any = None  # the processes that write, where the nodes are apart


def world() -> World:
    """This process among those of its training."""
    return _here


@contextmanager
def joined(strategy: str) -> Iterator[World]:
    """Be one process of several, by the variables that torchrun, DeepSpeed and Ray Train set (RANK, WORLD_SIZE, ...).

    Tensors on a GPU travel by NCCL, all others by gloo.

    Raises:
        TrainingError: the others cannot be reached.
    """
    global _here, _writers
    import torch
    import torch.distributed as dist

    number = {name: int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    here = World(
        number["RANK"],
        number["WORLD_SIZE"],
        number["LOCAL_RANK"],
        int(os.environ.get("LOCAL_WORLD_SIZE", number["WORLD_SIZE"])),
        strategy,
        os.environ.get(APART) == "1",
    )
    if torch.cuda.is_available():
        torch.cuda.set_device(here.local_rank)
    begun = not dist.is_initialized()  # Ray Train has begun it already
    if begun:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            dist.init_process_group(backend, timeout=SILENCE)
        except Exception as error:
            raise TrainingError(
                f"process {here.rank} of {here.size} does not reach the others ({type(error).__name__})",
                f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}",
                "check MASTER_ADDR, the port and the network between the nodes",
            ) from None
    if here.apart:
        _writers = dist.new_group(list(range(0, here.size, here.local_size)), timeout=SILENCE, backend="gloo")
    _here = here
    try:
        yield here
    finally:
        _here, _writers = World(), None
    if begun:  # only after a good end: taking leave of processes that failed may take for ever
        dist.destroy_process_group()


def on_first(function: Callable[..., Found], *given: Any) -> Found:
    """What the first process finds, in every process; its error is raised in all, so that none waits for the others."""
    if _here.size == 1:
        return function(*given)
    import torch
    import torch.distributed as dist

    message: list[Any] = [None, None]
    if _here.first:
        try:
            message[0] = function(*given)
        except DomainLMError as error:
            message[1] = error
    dist.broadcast_object_list(message, src=0, device=torch.device("cpu"))
    if message[1] is not None:
        raise message[1]
    return message[0]


def exchange(folder: Path, names: Iterable[str], source: int | None = None) -> None:
    """Files of a folder that every node has for itself: afterwards each has those of all. Nothing where one is shared.

    Args:
        folder: this node's.
        names: this node's files, relative to it.
        source: only this process's files; none: those of every node.
    """
    if not _here.apart or not _here.writes:
        return
    from domainlm.train.processes.copying import spread

    for sender in range(0, _here.size, _here.local_size) if source is None else [source]:
        spread(folder, names, sender, _writers)


@contextmanager
def loading(quantized: bool) -> Iterator[None]:
    """Around the loading of a base that will be sharded.

    In 16 or 32 bits it may be larger than a GPU: it is loaded into the host's memory and moved from there layer by
    layer, by one process of a node after another, so that the host holds it once. A quantized one is made on the GPU.
    """
    import torch

    if _here.strategy != FSDP2 or quantized or not torch.cuda.is_available():
        yield
        return
    import torch.distributed as dist

    from domainlm.models.runtime import on_cpu

    for _ in range(_here.local_rank):
        dist.barrier()
    with on_cpu():
        yield
    for _ in range(_here.local_size - _here.local_rank):
        dist.barrier()


def shard(model: PreTrainedModel) -> None:
    """Spread all weights over the processes (FSDP2); each layer is gathered when it computes and freed after it.

    Frozen weights stay in the type they are stored in, trained ones in float32. A 4-bit weight is stored in bytes,
    which FSDP2 cannot hold: pairs of the same bytes are taken for bfloat16. Its scales stay whole in every process
    (.13 bits a weight with double quantization).

    Raises:
        ModelError: the model has no blocks to shard by, or weights in 8 bits (their scales would be lost).
    """
    if _here.strategy != FSDP2:
        return
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (_here.size,))
    _as_floats(model)
    names = set(getattr(model, "_no_split_modules", None) or ())
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    if not blocks:
        raise ModelError(
            "this architecture does not say which of its modules are blocks, so it cannot be sharded",
            f"architecture {model.config.model_type}",
            "use strategy: ddp",
        )
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model._is_fsdp_managed_module = True  # transformers' mark: the Trainer then asks us when gradients are exchanged
    register_fsdp_forward_method(model, "generate")  # peft's goes past its own forward, which would gather the rest
    # now, not at the first forward pass: a part of the model may be asked before the whole (the probe of the loss)
    model._get_fsdp_state()._lazy_init()
    # what is gathered first under torch.inference_mode (a look at the development split) could never be trained through
    for module in (*blocks, model):
        module.unshard()
        module.reshard()


def _as_floats(model: PreTrainedModel) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for name, module in model.named_modules():
        if isinstance(module, Linear8bitLt):
            raise ModelError("8-bit weights cannot be sharded", name, "use 4 or 16 bits, or strategy: ddp")
        if isinstance(module, Linear4bit):
            module.quant_state = module.weight.quant_state  # bitsandbytes finds it here when the parameter is replaced
            module.quant_storage = torch.bfloat16
            stored = module.weight.data.flatten().view(torch.bfloat16).unsqueeze(1)
            module.weight = torch.nn.Parameter(stored, requires_grad=False)


@contextmanager
def whole(model: PreTrainedModel) -> Iterator[None]:
    """Gather what no block holds (embedding, last norm, output layer): for code that calls parts of a sharded model."""
    if _here.strategy != FSDP2:
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def gathered(model: PreTrainedModel, everything: bool) -> dict[str, torch.Tensor] | None:
    """Whole tensors of a sharded model (FSDP2, ZeRO 3) for the first process to save; None where nothing is sharded.

    All processes must call it. The others get an empty dict.

    Args:
        model: what `shard` was given.
        everything: also the frozen weights; else only what was trained.
    """
    zero3 = any(hasattr(parameter, "ds_id") for parameter in model.parameters())  # DeepSpeed's mark
    if _here.strategy != FSDP2 and not zero3:
        return None
    found: dict[str, torch.Tensor] = {}
    by_identity: dict[int, torch.Tensor] = {}  # tied weights have two names and one tensor
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not (everything or parameter.requires_grad):
            continue
        if id(parameter) not in by_identity:
            by_identity[id(parameter)] = _whole_of(parameter)
        found[name] = by_identity[id(parameter)]
    return found if _here.first else {}


def _whole_of(parameter: torch.Tensor) -> torch.Tensor:
    """The whole of one tensor on the host, for the first process; an empty one for the others."""
    from torch.distributed.tensor import DTensor

    if hasattr(parameter, "ds_id"):
        from deepspeed.zero import GatheredParameters

        with GatheredParameters([parameter]):
            return parameter.detach().cpu().clone() if _here.first else parameter.new_empty(0)
    value = parameter.detach()
    full = value.full_tensor() if isinstance(value, DTensor) else value
    return full.cpu() if _here.first else full.new_empty(0)


def trainer_options(deepspeed_config: str | None) -> dict[str, Any]:
    """What the Trainer is told besides when it was launched."""
    if _here.strategy == ALONE:
        return {}
    found: dict[str, Any] = {
        "ddp_find_unused_parameters": False,  # all that is trained takes part in each pass
        "ddp_broadcast_buffers": False,  # constants, the same everywhere
        "ddp_timeout": int(SILENCE.total_seconds()),
    }
    return found | ({"deepspeed": deepspeed_config} if _here.strategy == DEEPSPEED else {})


def over_processes(trainer: type) -> type:
    """The Trainer class for this process: itself when it is alone."""
    if _here.strategy == ALONE:
        return trainer
    from domainlm.train.processes.distributed_trainer import ManyProcesses

    return type(f"Distributed{trainer.__name__}", (ManyProcesses, trainer), {})


def wrapper_of(model: Any) -> str:
    """What really stands around a model: DDP, FSDP2, DeepSpeed or none. Never asked of the settings."""
    from torch.distributed.fsdp import FSDPModule
    from torch.nn.parallel import DistributedDataParallel

    if isinstance(model, DistributedDataParallel):
        return "DDP"
    if isinstance(model, FSDPModule):
        return "FSDP2"
    return "DeepSpeed" if type(model).__module__.startswith("deepspeed.") else "none"


def check_wrapper(model: Any) -> str:
    """Make sure that the model is wrapped as asked, and log it.

    Raises:
        TrainingError: libraries fell back to something else; every process would then train a model of its own.
    """
    found = wrapper_of(model)
    if found != _here.wrapper:
        raise TrainingError(
            f"the model is wrapped by {found}; strategy {_here.strategy} means {_here.wrapper}",
            "steps.train.parameters.strategy",
            "choose another strategy, and report this as a fault of domainlm.train.processes.distributed",
        )
    if _here.first:
        _log.info("%d processes, strategy %s, wrapper %s", _here.size, _here.strategy, found)
    return found
