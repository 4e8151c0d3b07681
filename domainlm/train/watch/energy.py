"""Energy that this node's devices used: NVML's counter of each GPU, RAPL's of each processor where it may be read."""

from __future__ import annotations

import os
import re
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
JOULES_PER_WH = 3600.0


class Energy:
    """Counts from its making on. What it counts belongs to the whole device, whoever else works on it.

    `missing` says why a kind of device is not measured.
    """

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}
        self._counters = _gpu_counters(self.missing) | _cpu_counters(self.missing)
        self._last = {name: read() for name, (read, _) in self._counters.items()}
        self._joules = dict.fromkeys(self._counters, 0.0)

    def joules(self) -> dict[str, float]:
        """Joules so far by kind, `gpu` and `cpu`; ask at least each half hour, since RAPL's counters begin anew."""
        for name, (read, span) in self._counters.items():
            now = read()
            self._joules[name] += (now - self._last[name]) % span if span else now - self._last[name]
            self._last[name] = now
        found: dict[str, float] = {}
        for name, value in self._joules.items():
            kind = name.partition(" ")[0]
            found[kind] = found.get(kind, 0.0) + value
        return found


def _gpu_counters(missing: dict[str, str]) -> dict:
    """The total energy counter of each GPU that a process of this node uses, in joules (NVML counts millijoules)."""
    import torch

    if not torch.cuda.is_available():
        missing["gpu"] = "no GPU is used"
        return {}
    try:
        import pynvml

        pynvml.nvmlInit()
        counters = {}
        for number in range(min(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count())):
            # by UUID, since NVML numbers the cards of the machine and CUDA those that it may see
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(number).uuid}")
            counters[f"gpu {number}"] = (lambda of=handle: pynvml.nvmlDeviceGetTotalEnergyConsumption(of) / 1e3, None)
            counters[f"gpu {number}"][0]()  # cards before Volta have no counter and say so here
        return counters
    except Exception as error:  # pynvml's errors, its absence, a driver that is older than the bindings
        missing["gpu"] = f"NVML gives none ({type(error).__name__})"
        return {}


def _cpu_counters(missing: dict[str, str]) -> dict:
    """Each processor package's counter, in joules (RAPL counts microjoules up to a maximum, then begins anew)."""
    counters = {}
    try:
        for zone in sorted(POWERCAP.iterdir()):
            # AMD's processors have the same name; deeper zones are parts of a package
            if re.fullmatch(r"intel-rapl:\d+", zone.name):
                span = int((zone / "max_energy_range_uj").read_text()) / 1e6
                _microjoules(zone)
                counters[f"cpu {zone.name}"] = (lambda of=zone: _microjoules(of) / 1e6, span)
    except OSError as error:
        kept = isinstance(error, PermissionError)
        missing["cpu"] = "only root may read RAPL's counters here" if kept else "this machine shows no RAPL counter"
        return {}
    if not counters:
        missing["cpu"] = "this machine shows no RAPL counter"
    return counters


def _microjoules(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())
