"""FSDP2: weights spread over two processes, 4-bit ones too, train to the same weights and leave the same folder."""

from __future__ import annotations

import os
import socket

import pytest
import torch
from many_trainings import LOSS_TOLERANCE, WEIGHTS_TOLERANCE, distance, weights

from domainlm.errors import ModelError, TrainingError
from domainlm.models.loading import load_adapter
from domainlm.train.processes import distributed


@pytest.mark.parametrize("name", ["qlora", "full", "stopped_early"])
def test_a_sharded_training_follows_the_course_of_one_process(name, one_process, outcome) -> None:
    _, report = one_process(name)
    told, wanted = outcome(f"fsdp2_{name}")["report"], report.model_dump(mode="json")
    for found, point in zip(told["curve"], wanted["curve"], strict=True):
        assert found == pytest.approx(point, rel=LOSS_TOLERANCE)
    assert told["dev_bits_per_character"] == pytest.approx(wanted["dev_bits_per_character"], rel=LOSS_TOLERANCE)
    for count in ("parameters", "trainable_parameters", "quantized_layers"):
        assert told[count] == wanted[count]


def test_the_adapter_of_a_sharded_model_is_whole_and_the_same_folder(
    two_processes, one_process, tiny_base, grown_tokenizer
) -> None:
    """With new tokens' rows, on a 4-bit base; it loads onto the base like any other."""
    from domainlm.artifacts import AdapterFolder

    one, _ = one_process("qlora")
    folder = two_processes / "fsdp2_qlora" / "adapter"
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in one.path.iterdir())
    for name in ("adapter_config.json", "domainlm.json"):
        assert (folder / name).read_text() == (one.path / name).read_text()
    assert distance(weights(folder), weights(one.path)) < WEIGHTS_TOLERANCE
    model, _ = load_adapter(tiny_base, grown_tokenizer, AdapterFolder(folder))
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.isfinite().all()


@pytest.mark.parametrize("name", ["full", "stopped_early"])
def test_a_sharded_model_answers_prompts_while_it_is_trained(name, two_processes, one_process) -> None:
    """The same answers at the same checkpoint: adapters and whole weights go different ways to `generate`."""
    one_process(name)
    said = [(two_processes / f"{run}_{name}" / "work/samples/step-4.jsonl").read_text() for run in ("fsdp2", "one")]
    assert said[0] == said[1] != ""


def test_whole_weights_of_a_sharded_model_are_saved_whole(two_processes, one_process) -> None:
    one, _ = one_process("full")
    assert distance(weights(two_processes / "fsdp2_full" / "adapter"), weights(one.path)) < WEIGHTS_TOLERANCE


def test_sharded_and_copied_models_come_to_the_very_same_weights(outcome) -> None:
    assert outcome("fsdp2_dropout")["digest"] == outcome("ddp_dropout")["digest"]


def test_a_checkpoint_of_a_sharded_model_has_shards_of_every_process(two_processes) -> None:
    checkpoint = two_processes / "fsdp2_full" / "work" / "checkpoint-6"
    for part in ("sharded_weights", "sharded_optimizer"):
        assert {path.name for path in (checkpoint / part).glob("*.distcp")} == {"__0_0.distcp", "__1_0.distcp"}


@pytest.fixture
def alone_but_sharded(monkeypatch):
    """A process group of one, which believes that it shards."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", os.environ.get("GLOO_SOCKET_IFNAME", "lo"))
    with distributed.joined(distributed.FSDP2):
        yield


def test_a_wrapper_other_than_the_wanted_one_stops_the_training(alone_but_sharded, tiny_base) -> None:
    """The Trainer's own `fsdp` option runs DDP on a CPU and says nothing."""
    from torch.nn.parallel import DistributedDataParallel

    plain = torch.nn.Linear(2, 2)
    assert distributed.wrapper_of(plain) == "none"
    copied = DistributedDataParallel(plain)
    assert distributed.wrapper_of(copied) == "DDP"
    with pytest.raises(TrainingError, match="wrapped by DDP; strategy fsdp2 means FSDP2"):
        distributed.check_wrapper(copied)


def test_four_bit_weights_compute_the_same_from_sharded_storage(alone_but_sharded, tiny_base, plain_tokenizer) -> None:
    """The bytes are taken for bfloat16, gathered, and taken for bytes again: not one logit changes."""
    from bitsandbytes.nn import Linear4bit
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    from domainlm.train.methods import prepare
    from domainlm.train.settings import TrainSettings

    model = prepare(tiny_base, plain_tokenizer, TrainSettings(method="qlora", rank=4, threads=1)).model.eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    before = model(input_ids=ids).logits.detach()
    distributed.shard(model)
    assert distributed.check_wrapper(model) == "FSDP2"
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert layers and all(isinstance(layer.weight, DTensor) for layer in layers)
    assert {layer.weight.dtype for layer in layers} == {torch.bfloat16}
    assert sum(isinstance(module, FSDPModule) for module in model.modules()) == 3  # two blocks and all of it
    for _ in range(2):
        assert torch.equal(model(input_ids=ids).logits, before)


def test_eight_bit_weights_are_refused(alone_but_sharded, tiny_base, plain_tokenizer) -> None:
    from domainlm.train.methods import prepare
    from domainlm.train.settings import TrainSettings

    model = prepare(tiny_base, plain_tokenizer, TrainSettings(method="lora", bits=8, rank=4, threads=1)).model
    with pytest.raises(ModelError, match="8-bit weights cannot be sharded"):
        distributed.shard(model)
