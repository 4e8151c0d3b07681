"""What a training cost: seconds of all attempts, energy where a counter gives it, money where a price is known."""

from __future__ import annotations

import json
import shutil
import sys
from types import SimpleNamespace

import pytest

from domainlm.train.watch import energy, meter
from domainlm.train.watch.cost import ATTEMPTS, FILE, price_of, read

DEVICE = "AMD EPYC 9554 64-Core Processor"


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """A processor of a known name, without RAPL."""
    monkeypatch.setattr(meter, "device_name", lambda: DEVICE)
    monkeypatch.setattr("domainlm.train.watch.cost.device_name", lambda: DEVICE)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")


def test_seconds_tokens_and_memory_are_written_beside_the_checkpoints(tune, tmp_path, cpu) -> None:
    _, report = tune(max_steps=4)
    found = read(tmp_path / "run" / "work")
    assert found["device"] == DEVICE and found["devices"] == found["attempts"] == 1
    assert 0 < found["train_seconds"] <= found["seconds"] == found["device_seconds"]
    stage = report.stages[0]
    assert found["tokens"] == pytest.approx(stage.tokens_per_epoch * stage.epochs, rel=0.15)
    rounding = 0.005 * found["tokens_per_second"]  # of the seconds: these few steps may take less than a tenth of one
    told = found["tokens_per_second"] * found["train_seconds"]
    assert told == pytest.approx(found["tokens"], rel=1e-3, abs=1.01 * rounding)
    assert found["supervised_tokens_per_second"] < found["tokens_per_second"] < found["padded_tokens_per_second"]
    assert found["peak_gb"] == found["peak_process_gb"] > 0.1
    assert "gpu_seconds" not in found and "cost" not in found and "energy_kwh" not in found
    assert "mfu" not in found and "not known" in found["mfu_missing"]
    assert found["energy_missing"]["gpu"] == "no GPU is used"
    assert found["energy_missing"]["cpu"] == "this machine shows no RAPL counter"


def test_samples_are_no_time_of_training(tune, tmp_path, cpu, monkeypatch) -> None:
    from domainlm.train.watch import samples

    clock, answer = SimpleNamespace(now=0.0), samples.generate

    def slow(*given):
        clock.now += 1000
        return answer(*given)

    monkeypatch.setattr(meter.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(samples, "generate", slow)
    tune(max_steps=4, save_steps=2, sample_prompts=2)
    found = read(tmp_path / "run" / "work")
    assert clock.now == 2000 == found["seconds"] and found["train_seconds"] == 0


def test_nothing_of_it_is_in_the_report(tune, tmp_path, cpu) -> None:
    _, first = tune("a")
    _, second = tune("b", prices={"EPYC": 3.0})
    assert second.digest != first.digest  # the recipe is in it, prices too
    assert second.model_copy(update={"recipe": first.recipe}).digest == first.digest


def test_a_price_by_the_device_s_name_becomes_a_cost_with_its_currency(tune, tmp_path, cpu) -> None:
    tune(max_steps=2, prices={"H100": 3.5, "epyc": 360.0}, currency="KRW")
    found = read(tmp_path / "run" / "work")
    assert (found["price_per_hour"], found["currency"]) == (360.0, "KRW")
    assert found["cost"] == pytest.approx(found["seconds"] / 10, abs=0.02)


def test_the_longest_fitting_name_sets_the_price() -> None:
    prices = {"H100": 3.0, "h100 80gb": 4.0, "A100": 1.0}
    assert price_of("NVIDIA H100 80GB HBM3", prices) == 4.0
    assert price_of("NVIDIA H100 PCIe", prices) == 3.0
    assert price_of("NVIDIA L4", prices) is None


def test_attempts_that_were_stopped_are_charged_too(tune, tmp_path, cpu, monkeypatch) -> None:
    from domainlm.train.stopping import StopOnSignal

    whole, _ = tune("whole", max_steps=6)

    def fail(self, args, state, control, **_):
        if state.global_step == 5:
            raise RuntimeError("the node is gone")

    monkeypatch.setattr(StopOnSignal, "on_step_end", fail)
    with pytest.raises(RuntimeError):
        tune("run", max_steps=6)
    monkeypatch.undo()
    work = tmp_path / "run" / "work"
    assert not (work / FILE).exists()
    (killed,) = json.loads((work / ATTEMPTS).read_text())
    assert killed["tokens"] > 0
    resumed, _ = tune("run", max_steps=6)
    found = read(work)
    assert found["attempts"] == 2 and resumed.digest == whole.digest
    assert found["seconds"] > killed["seconds"]
    # steps 1 to 4, and then 5 and 6: no token is counted twice, none is lost but those of the step that was
    assert found["tokens"] == read(tmp_path / "whole" / "work")["tokens"]


@pytest.fixture
def rapl(tmp_path, monkeypatch):
    """Two processor packages and what lies beside them in the kernel's folder; the counters begin anew at 1,000 J."""
    folder = tmp_path / "powercap"
    for name, joules in (("intel-rapl:0", 990), ("intel-rapl:1", 10), ("intel-rapl:0:0", 5), ("intel-rapl", 7)):
        (folder / name).mkdir(parents=True)
        (folder / name / "energy_uj").write_text(f"{joules * 1_000_000}\n")
        (folder / name / "max_energy_range_uj").write_text("1000000000\n")
    monkeypatch.setattr(energy, "POWERCAP", folder)
    return lambda zone, joules: (folder / zone / "energy_uj").write_text(f"{joules * 1_000_000}\n")


def test_processors_are_counted_by_package_over_the_end_of_their_counters(rapl) -> None:
    found = energy.Energy()
    assert "cpu" not in found.missing
    rapl("intel-rapl:0", 30)  # 40 J later
    rapl("intel-rapl:1", 25)
    rapl("intel-rapl:0:0", 900)  # a part of package 0, which is counted there
    assert found.joules() == {"cpu": pytest.approx(55)}
    rapl("intel-rapl:1", 26)
    assert found.joules() == {"cpu": pytest.approx(56)}


def test_the_peak_is_of_this_training_and_not_of_what_the_process_did_before() -> None:
    from pathlib import Path

    import numpy as np

    from domainlm.train.watch.meter import forget_peaks, memory

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this kernel does not forget peaks")

    held = np.ones(300 * 2**20, dtype=np.uint8)
    before = memory()["peak_process_gb"]
    del held
    forget_peaks()
    assert memory()["peak_process_gb"] < before - 0.2


def test_energy_reaches_the_account(tune, tmp_path, rapl, monkeypatch) -> None:
    from domainlm.train.settings import TrainSettings
    from domainlm.train.watch.cost import Account

    account = Account(tmp_path, TrainSettings())
    rapl("intel-rapl:1", 370)
    found = account.close()
    assert found["energy_cpu_wh"] == pytest.approx(0.1) and found["energy_kwh"] == pytest.approx(1e-4)
    assert found["energy_missing"] == {"gpu": "no GPU is used"}


@pytest.fixture
def nvml(monkeypatch):
    """Two cards that CUDA sees in another order than NVML; one process uses the first."""
    import torch

    spent = {"GPU-aaaa": 5_000.0, "GPU-bbbb": 9_000.0}
    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: spent[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid="bbbb" if number == 0 else "aaaa")
    )
    return spent, library


def test_gpus_are_counted_by_uuid_one_a_process(nvml, monkeypatch, tmp_path) -> None:
    spent, _ = nvml
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    found = energy.Energy()
    spent["GPU-bbbb"] += 2_500  # millijoules
    spent["GPU-aaaa"] += 9_999
    assert found.joules() == {"gpu": pytest.approx(2.5)}
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    both = energy.Energy()
    spent["GPU-aaaa"] += 1_000
    spent["GPU-bbbb"] += 1_000
    assert both.joules() == {"gpu": pytest.approx(2.0)}


def test_a_card_without_a_counter_is_not_measured_and_says_why(nvml, monkeypatch, tmp_path) -> None:
    class NVMLError_NotSupported(Exception):
        pass

    def refuse(handle):
        raise NVMLError_NotSupported

    nvml[1].nvmlDeviceGetTotalEnergyConsumption = refuse
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    found = energy.Energy()
    assert found.missing["gpu"] == "NVML gives none (NVMLError_NotSupported)"
    assert found.joules() == {}


def test_several_processes_and_nodes_are_counted_and_named(cpu, monkeypatch, tmp_path) -> None:
    from domainlm.train.processes.distributed import DDP, World
    from domainlm.train.settings import TrainSettings
    from domainlm.train.watch import cost

    monkeypatch.setattr(cost, "world", lambda: World(0, 8, 0, 4, DDP))
    account = cost.Account(tmp_path, TrainSettings(prices={"EPYC": 1.0}))
    found = account.close()
    assert (found["world_size"], found["devices"], found["wrapper"]) == (8, 2, "DDP")  # two machines
    assert found["energy_missing"]["nodes"] == "the other nodes' devices are not read"
    held = {"peak_process_gb": 1.0, "peak_allocated_gb": 2.0, "peak_reserved_gb": 3.0}
    monkeypatch.setattr(cost, "memory", lambda: held)
    monkeypatch.setattr(cost, "device_name", lambda: "NVIDIA H100 80GB HBM3")
    account.add(cost.Counted(tokens=1e6, flops=8 * 989e12, hardware_flops=10 * 989e12, seconds=2.0))
    found = account.close()
    assert found["devices"] == 8 and found["gpu_seconds"] == found["device_seconds"]
    assert (found["mfu"], found["hfu"], found["peak_gb"]) == (0.5, 0.625, 2.0)


def test_what_others_leave_for_the_record_is_taken_up(tune, tmp_path, cpu) -> None:
    tune("first", max_steps=2)
    work = tmp_path / "run" / "work"
    work.mkdir(parents=True)
    (work / "plan.json").write_text(json.dumps({"micro_batch": 4}))
    shutil.copy(tmp_path / "first" / "work" / "belongs.json", work)
    tune("run", max_steps=2, fit_memory="off")
    assert read(work)["plan"] == {"micro_batch": 4}
