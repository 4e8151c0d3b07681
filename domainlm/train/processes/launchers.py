"""Starting the processes of one training: torchrun for DDP and FSDP2, DeepSpeed's launcher, or Ray Train.

One node: `train()` does it all. Several: `train()` runs on node 0 with MASTER_ADDR set, and each other node joins it
(`domainlm.train.processes.nodes`).

No process outlives its launcher: each asks the kernel to be killed with its parent, and a launcher that can still
act when it ends does it itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import ConfigurationError, TrainingError, TrainingStopped
from domainlm.project import SOURCE_ROOT
from domainlm.tasks import Task
from domainlm.train.processes import nodes
from domainlm.train.processes.distributed import ALONE, DDP, DEEPSPEED, FSDP2, RAY, world
from domainlm.train.processes.job import Job
from domainlm.train.processes.worker import LAUNCHED_BY, die_with_parent
from domainlm.train.report import TrainingReport
from domainlm.train.settings import CLASSIFICATION, LORA_METHODS, TrainSettings
from domainlm.train.watch import progress

if TYPE_CHECKING:
    from datasets import Dataset

WORKER = "domainlm.train.processes.worker"
GRACE_S = 600  # after a signal, for the step in hand and its checkpoint
FAREWELL_S = 10  # after SIGTERM, before SIGKILL
SHARDED_METHODS = LORA_METHODS | {"full"}
WHOLE_TENSOR_OPTIMIZERS = frozenset({"adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "adafactor"})
_SAID_BY_WORKER = re.compile(r"\[\D*\d+\]:(.*)", re.DOTALL)  # torchrun puts the rank before a worker's lines
# torchrun's summary of processes that failed
_DEATH = re.compile(r"local_rank: (\d+)\)\s+exitcode\s*: (-?\d+)")

_log = logging.getLogger(__name__)


def many(settings: TrainSettings) -> bool:
    """Whether a launcher is to start this training, and has not yet; DeepSpeed and Ray start one process too."""
    launched = settings.processes * settings.nodes > 1 or settings.strategy in (DEEPSPEED, RAY)
    return launched and world().strategy == ALONE


def launch(
    records: Dataset,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
    settings: TrainSettings,
    tasks: dict[str, Task],
    folder: Path,
    work: Path,
    start: AdapterFolder | None = None,
) -> tuple[AdapterFolder, TrainingReport]:
    """`domainlm.train.train` over several processes; arguments and errors are its own.

    Raises:
        ConfigurationError: what was asked cannot be run here.
        TrainingError: a process died without a word (a kill for memory, mostly), or what `train` raises.
        TrainingStopped: SIGTERM stopped all processes, after a checkpoint.
    """
    strategy = chosen(settings, base)
    check(settings, strategy)
    job = Job(work / "processes")
    job.write(records, tokenizer, base, settings, tasks, work, strategy, start)
    number = f"{settings.processes} processes on {settings.nodes} nodes"
    _log.info("starting %s by %s, strategy %s", number, launcher(strategy), strategy)
    try:
        with progress.followed(job.progress):
            LAUNCH[strategy](job, settings)
        return job.result(folder)
    finally:
        job.remove()


def chosen(settings: TrainSettings, base: BaseCheckpoint) -> str:
    """The strategy; `auto` is DDP where each GPU holds the whole training, else FSDP2 where the method allows it."""
    if settings.strategy != "auto":
        return settings.strategy
    if settings.quantization == "int8" or settings.method not in SHARDED_METHODS:
        return DDP
    if settings.objective == CLASSIFICATION:  # an encoder is small, and its head is saved whole
        return DDP
    from domainlm.models.free_memory import free_memory
    from domainlm.models.memory import GB, estimate
    from domainlm.models.shapes import Shape

    there = free_memory(settings.processes)
    free_gb = settings.memory_gb or (there.bytes / GB if there.bytes else math.inf)
    shape = Shape.of_folder(base.model_path)
    longest = min(settings.max_length, shape.context or settings.max_length)
    needed = estimate(shape, settings, 1, longest, True, gpu=there.gpu).total_gb
    _log.info("one process needs %.1f GB at the least, %.1f GB are free for each", needed, free_gb)
    return DDP if needed <= free_gb else FSDP2


def launcher(strategy: str) -> str:
    """The program that starts the processes."""
    return {DEEPSPEED: "deepspeed", RAY: "Ray Train"}.get(strategy, "torchrun")


def check(settings: TrainSettings, strategy: str) -> None:
    """Say what cannot work before anything is loaded.

    Raises:
        ConfigurationError: named below, each with its remedy.
    """
    where = "steps.train.parameters"
    if nodes.number() != 0:
        raise ConfigurationError(
            f"{nodes.NODE_RANK} is not 0, and the pipeline runs on node 0 only",
            where + ".nodes",
            "join from this node with: python -m domainlm.train.processes.nodes",
        )
    if settings.nodes > 1 and strategy != RAY and not os.environ.get(nodes.MASTER_ADDRESS):
        raise ConfigurationError(
            f"{settings.nodes} nodes need {nodes.MASTER_ADDRESS}",
            where + ".nodes",
            "set it to node 0's name on every node",
        )
    if strategy == FSDP2:
        _check_fsdp2(settings, where)
    elif strategy == DEEPSPEED:
        check_deepspeed(settings)
    elif strategy == RAY and importlib.util.find_spec("ray") is None:
        raise ConfigurationError("strategy: ray needs the package ray", where, "pip install 'domainlm[ray]'")
    _check_gpus(settings, strategy, where)


def _check_fsdp2(settings: TrainSettings, where: str) -> None:
    if settings.method not in SHARDED_METHODS:
        raise ConfigurationError(
            f"method '{settings.method}' cannot be sharded", where + ".strategy", "use strategy: ddp, or a LoRA method"
        )
    if settings.quantization == "int8":
        raise ConfigurationError("8-bit weights cannot be sharded", where + ".bits", "use 4 or 16, or strategy: ddp")
    if settings.optimizer in WHOLE_TENSOR_OPTIMIZERS:
        raise ConfigurationError(
            f"optimizer '{settings.optimizer}' needs whole tensors, and fsdp2 shards them",
            where + ".optimizer",
            "use adamw_torch_fused: sharded over n processes its states take an n-th",
        )
    if settings.compute_dtype == "float16":
        raise ConfigurationError(
            "float16 needs a gradient scaler that knows shards", where + ".compute_dtype", "use bfloat16 or float32"
        )


def _check_gpus(settings: TrainSettings, strategy: str, where: str) -> None:
    if strategy == RAY:
        return
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < settings.processes:
        raise ConfigurationError(
            f"{settings.processes} processes want a GPU each, this node has {torch.cuda.device_count()}",
            where + ".processes",
            "lower processes, or hide the GPUs to train on the CPU",
        )


def check_deepspeed(settings: TrainSettings) -> dict[str, Any]:
    """DeepSpeed's own configuration, which must leave to us what is ours.

    Returns:
        What its file says.

    Raises:
        ConfigurationError: DeepSpeed is not installed, the file is missing, or it contradicts the recipe.
    """
    where = str(settings.deepspeed_config)
    try:
        content = json.loads(Path(where).read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"is not a readable JSON file ({type(error).__name__})", where, "name DeepSpeed's configuration"
        ) from None
    if "zero_optimization" not in content:
        raise ConfigurationError("has no zero_optimization", where, 'add "zero_optimization": {"stage": 2}')
    total = settings.processes * settings.nodes
    ours = {
        "train_micro_batch_size_per_gpu": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "train_batch_size": settings.batch_size * settings.gradient_accumulation * total,
        "gradient_clipping": settings.max_grad_norm,
    }
    for key, value in ours.items():
        if content.get(key, "auto") not in ("auto", value):
            what = f"{key} is {content[key]}, the recipe's is {value}"
            raise ConfigurationError(what, where, f'write "{key}": "auto"')
    stage = content["zero_optimization"].get("stage", 0)
    if stage == 3 and settings.quantization != "none":
        raise ConfigurationError("ZeRO 3 cannot shard quantized weights", where, "use stage 2, or strategy: fsdp2")
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigurationError("strategy: deepspeed needs the package deepspeed", where, "pip install deepspeed")
    return content


# ---- torchrun and DeepSpeed: programs that start programs


def torchrun_command(place: Path, processes: int, machines: int = 1) -> list[str]:
    """torchrun's command line on this node; on a single node all of it stays on loopback."""
    if machines == 1:
        meeting = ["--standalone", "--local-addr", "127.0.0.1"]
    else:
        meeting = [
            *("--nnodes", str(machines), "--node-rank", str(nodes.number())),
            *("--master-addr", os.environ[nodes.MASTER_ADDRESS], "--master-port", _port()),
        ]
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)),
        *meeting,
        *("--max-restarts", "0", "--shutdown-timeout", str(FAREWELL_S)),
        *("--log-dir", str(place / "log"), "--tee", "3"),
        *("-m", WORKER, str(place)),
    ]


def _port() -> str:
    return os.environ.get(nodes.MASTER_PORT, str(nodes.DEFAULT_PORT))


def deepspeed_command(place: Path, processes: int, machines: int = 1) -> list[str]:
    """DeepSpeed's launcher on one node; over several, torchrun: DeepSpeed's would need ssh between them."""
    if machines > 1:
        return torchrun_command(place, processes, machines)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # which this launcher takes away and ignores unless told
    cards = ["--include", f"localhost:{','.join(visible.split(',')[:processes])}"] if visible else []
    return [
        *(sys.executable, "-m", "deepspeed.launcher.runner"),
        *(cards or ["--num_gpus", str(processes)]),
        *("--master_addr", "127.0.0.1", "--master_port", _port()),
        *("--no_local_rank", "--module", WORKER, str(place)),
    ]


def _by_torchrun(job: Job, settings: TrainSettings) -> None:
    _supervised(torchrun_command(job.place, settings.processes, settings.nodes), job, settings)


def _by_deepspeed(job: Job, settings: TrainSettings) -> None:
    _supervised(deepspeed_command(job.place, settings.processes, settings.nodes), job, settings)


def _supervised(command: list[str], job: Job, settings: TrainSettings) -> None:
    variables = environment(settings.threads, settings.nodes)
    if settings.nodes == 1:
        supervise(command, job, variables)
        return
    with nodes.opened(job, settings) as others:
        supervise(command, job, variables | others.variables, others.gather_errors)


def environment(threads: int, machines: int = 1) -> dict[str, str]:
    """What the processes find: this code, their threads, loopback where nobody else is met, and the open MLflow run."""
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCE_ROOT), found.get("PYTHONPATH")]))
    found["OMP_NUM_THREADS"] = str(threads)
    found["TOKENIZERS_PARALLELISM"] = "false"
    found[LAUNCHED_BY] = str(os.getpid())
    if machines == 1 and sys.platform.startswith("linux"):
        found.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and (run := mlflow.active_run()) is not None:
        found |= {"MLFLOW_RUN_ID": run.info.run_id, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    return found


def supervise(
    command: list[str], job: Job, variables: dict[str, str], ended: Callable[[Job, int], None] | None = None
) -> None:
    """Run a launcher to its end: pass its processes' lines on, and signals to them; raise what they raised.

    Args:
        command: the launcher.
        job: what its processes run.
        variables: their environment.
        ended: is given the exit code before anything is raised, to add what other nodes know.

    Raises:
        DomainLMError, KeyboardInterrupt: what a process noted.
        TrainingError: one died without a word.
    """
    program = subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C comes to us alone; we pass it on
        preexec_fn=die_with_parent,
    )
    by_torchrun = "torch.distributed.run" in command  # it marks its processes' lines; its own repeat our error
    told: deque[str] = deque(maxlen=200)  # lines
    try:
        with passing_signals_on(job.processes, lambda: _end(program)) as received:
            for line in program.stdout:
                if said := _SAID_BY_WORKER.match(line):
                    sys.stderr.write(said[1])
                elif not by_torchrun:
                    sys.stderr.write(line)
                told.append(line)
            code = program.wait()
    finally:
        _end(program)
    if ended:
        ended(job, code)
    job.raise_error()
    if code != 0 and not received:
        _raise_death(_DEATH.findall("".join(told)), job)
    job.raise_error(lost=True)
    if code == 0:
        return
    if received:
        raise TrainingStopped(
            "stopped before the first step, or before all processes had saved", str(job.place), "run again to go on"
        )
    raise TrainingError(f"the launcher ended with code {code}", " ".join(command[:3]), "see its log above")


def _raise_death(deaths: list[tuple[str, str]], job: Job) -> None:
    """Name a process that ended without a word; one that torchrun ended after it (SIGTERM) last."""
    first = nodes.number() * len(job.processes())
    codes = [(int(rank), int(code)) for rank, code in deaths]
    for local_rank, code in sorted(codes, key=lambda found: found[1] == -signal.SIGTERM):
        if job.has_said(first + local_rank):
            continue
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise TrainingError(
            f"process {first + local_rank} ended {how} and left no word",
            str(job.place),
            "run again to go on from the newest checkpoint; SIGKILL mostly means that memory ran out: lower batch_size",
        )


@contextlib.contextmanager
def passing_signals_on(processes: Callable[[], dict[int, int]], end: Callable[[], None]) -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C go to every process, which then saves and ends by itself, or after `GRACE_S`, or at a second
    Ctrl-C, is ended. Yields the signals that came. Only the main thread can take signals over."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    deadline = threading.Timer(GRACE_S, end)
    deadline.daemon = True

    def pass_on(number: int, frame: Any) -> None:
        if number == signal.SIGINT and signal.SIGINT in received:
            end()
            raise KeyboardInterrupt
        if not received:
            deadline.start()
        received.append(number)
        for process in processes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        deadline.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(program: subprocess.Popen) -> None:
    """End a launcher and whatever it has started."""
    if program.poll() is not None:
        return
    program.terminate()
    try:
        program.wait(2 * FAREWELL_S)
    except subprocess.TimeoutExpired:
        program.kill()  # its processes go with it (see worker.die_with_parent)
        program.wait(FAREWELL_S)


# ---- Ray Train


def _by_ray(job: Job, settings: TrainSettings) -> None:
    """One Ray Train worker a process; on a machine of its own unless `ray_address` names a cluster.

    Raises:
        TrainingError: Ray cannot be started, or a worker failed without a word.
    """
    import ray
    import torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    workers, gpus = settings.processes * settings.nodes, torch.cuda.is_available()
    started = not ray.is_initialized()
    if started:
        _start_ray(settings, workers)
    trainer = TorchTrainer(
        ray_worker,
        train_loop_config={"place": str(job.place)},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": 1, **({"GPU": 1} if gpus else {})}
        ),
        run_config=RunConfig(name="ray", storage_path=str(job.place), failure_config=FailureConfig(max_failures=0)),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo"),
    )
    received: list[int] = []
    try:
        # Ray runs the training beside a worker's main thread, where no signal can be taken over: it ends at once
        with passing_signals_on(job.processes, ray.shutdown) as received:
            trainer.fit()
    except Exception as error:
        job.raise_error(lost=True)
        if received:
            raise TrainingStopped("stopped by a signal", str(job.place), "run again to go on") from None
        raise TrainingError(
            f"Ray Train failed ({type(error).__name__})", settings.ray_address or "this machine", "see Ray's log"
        ) from None
    finally:
        if started:
            ray.shutdown()
    job.raise_error()


def _start_ray(settings: TrainSettings, workers: int) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    variables = environment(settings.threads)
    options["runtime_env"] = {
        "env_vars": {name: variables[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")}
    }
    try:
        if settings.ray_address:
            ray.init(address=settings.ray_address, **options)
        else:  # one CPU more than workers: Ray's own controller wants one, and waits for ever without;
            # "local": never somebody else's cluster on this machine
            ray.init("local", num_cpus=workers + 1, include_dashboard=False, _node_ip_address="127.0.0.1", **options)
    except Exception as error:
        raise TrainingError(
            f"Ray cannot be started ({type(error).__name__})",
            settings.ray_address or "this machine",
            "check ray_address, or use strategy: ddp",
        ) from None


def ray_worker(config: dict[str, str]) -> None:
    """What each Ray Train worker runs."""
    from ray.train import get_context

    from domainlm.train.processes.worker import work

    context = get_context()
    os.environ |= {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
    }
    work(Path(config["place"]), context.get_world_rank())


LAUNCH: dict[str, Callable[[Job, TrainSettings], None]] = {
    DDP: _by_torchrun,
    FSDP2: _by_torchrun,
    DEEPSPEED: _by_deepspeed,
    RAY: _by_ray,
}
