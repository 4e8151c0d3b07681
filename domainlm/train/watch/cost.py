"""What a training cost: device-seconds, energy, money, speed and memory, over all attempts at it.

None of it is in the report, whose digest is a cache key: it goes to `throughput.json` in the work folder, from there to
the step's metadata, the run's manifest and the card.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from domainlm.train.processes.distributed import world
from domainlm.train.settings import TrainSettings
from domainlm.train.watch.energy import JOULES_PER_WH, Energy
from domainlm.train.watch.flops import peak_flops
from domainlm.train.watch.meter import Counted, device_name, forget_peaks, memory

FILE, ATTEMPTS = "throughput.json", "attempts.json"
NOTES = {"plan": "plan.json"}  # what others leave in the work folder for the record, by the key it gets


class Account(TrainerCallback):
    """Counts while a training runs, and remembers earlier attempts that were killed or stopped.

    It is written down at each checkpoint, so a killed attempt is charged up to its last one.

    Args:
        work: the training's work folder.
        settings: prices and their currency.
    """

    def __init__(self, work: Path, settings: TrainSettings) -> None:
        self._work, self._prices, self._currency = work, settings.prices, settings.currency
        self._started = time.monotonic()
        self._energy = Energy()
        forget_peaks()
        self._counted = Counted()
        self._earlier = _read(work / ATTEMPTS)

    def add(self, counted: Counted) -> None:
        """Take what was trained since the last point of the curve."""
        self._counted += counted
        self._energy.joules()

    def on_save(self, args, state, control, **_):
        """Write down what this attempt has cost so far."""
        if state.is_world_process_zero:
            _write(self._work / ATTEMPTS, [*self._earlier, self._attempt()])

    def _attempt(self) -> dict[str, Any]:
        return {
            **self._counted._asdict(),
            "seconds": time.monotonic() - self._started,
            "train_seconds": self._counted.seconds,
            "joules": self._energy.joules(),
        }

    def close(self) -> dict[str, Any]:
        """The whole account, also written to `throughput.json`.

        Returns:
            Figures by name; seconds are wall time. `energy_missing` says what was not measured and why, and where no
            price is known there is no `cost`.
        """
        attempts = [*self._earlier, self._attempt()]
        seconds = sum(attempt["seconds"] for attempt in attempts)
        counted = Counted(*(sum(attempt[name] for attempt in attempts) for name in Counted._fields[:-1]))
        counted = counted._replace(seconds=sum(attempt["train_seconds"] for attempt in attempts))
        here, device = world(), device_name()
        on_gpu = "peak_allocated_gb" in (held := memory())
        devices = here.size if on_gpu else here.size // here.local_size  # processes on one machine's CPU share it
        peak = peak_flops(device)
        found: dict[str, Any] = {
            "device": device,
            "devices": devices,
            "world_size": here.size,
            "wrapper": here.wrapper,
            "attempts": len(attempts),
            "seconds": round(seconds, 2),
            "train_seconds": round(counted.seconds, 2),
            "device_seconds": round(seconds * devices, 2),
            "tokens": round(counted.tokens),
        }
        if on_gpu:
            found["gpu_seconds"] = found["device_seconds"]
        figures = counted.figures(peak * devices if peak else None)
        found |= {name: float(f"{value:.4g}") for name, value in figures.items()}
        if peak is None:
            found["mfu_missing"] = "the peak of this device is not known"
        found |= {name: round(value, 3) for name, value in held.items()}
        found["peak_gb"] = round(held.get("peak_allocated_gb", held["peak_process_gb"]), 3)
        for kind in ("gpu", "cpu"):
            used = [attempt["joules"][kind] for attempt in attempts if kind in attempt["joules"]]
            if used:
                found[f"energy_{kind}_wh"] = round(sum(used) / JOULES_PER_WH, 3)
        joules = sum(sum(attempt["joules"].values()) for attempt in attempts)
        if joules:
            found["energy_kwh"] = round(joules / JOULES_PER_WH / 1000, 6)
        missing = self._energy.missing
        if here.size > here.local_size:
            missing = missing | {"nodes": "the other nodes' devices are not read"}
        if missing:
            found["energy_missing"] = missing
        if (price := price_of(device, self._prices)) is not None:
            found |= {
                "price_per_hour": price,
                "currency": self._currency,
                "cost": round(price * seconds * devices / 3600, 6),
            }
        for name, file in NOTES.items():
            if (self._work / file).is_file():
                found[name] = json.loads((self._work / file).read_text())
        if here.first:
            _write(self._work / ATTEMPTS, attempts)
            _write(self._work / FILE, found)
        return found


def price_of(device: str, prices: dict[str, float]) -> float | None:
    """The price of an hour: the longest key that is a part of the device's name, whatever its case."""
    fitting = [name for name in prices if name.lower() in device.lower()]
    return prices[max(fitting, key=len)] if fitting else None


def read(work: Path) -> dict[str, Any]:
    """What a training in this folder cost; empty where it did not come to its end."""
    return _read(work / FILE) or {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return []


def _write(path: Path, content: Any) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    os.replace(draft, path)
