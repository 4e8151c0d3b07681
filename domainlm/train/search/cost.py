"""What a search cost: the time of all its trials in whatever process, and the energy and peak memory of this one.

As with a training, none of it is in the report; it goes to `throughput.json` in the work folder, and from there to the
step's metadata, the run's manifest and the card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from domainlm.train.settings import TrainSettings
from domainlm.train.watch.cost import FILE, price_of
from domainlm.train.watch.energy import JOULES_PER_WH, Energy
from domainlm.train.watch.meter import device_name, memory


class SearchAccount:
    """Counts while a search runs.

    Args:
        work: the search's work folder.
        recipe: prices and their currency.
    """

    def __init__(self, work: Path, recipe: TrainSettings) -> None:
        self._work, self._recipe, self._energy, self._peak = work, recipe, Energy(), 0.0

    def note(self) -> None:
        """After each trial: peaks are forgotten when the next begins."""
        held = memory()
        self._peak = max(self._peak, held.get("peak_allocated_gb", held["peak_process_gb"]))
        self._energy.joules()

    def close(self, seconds: float, processes: int) -> dict[str, Any]:
        """The whole account, also written down.

        Args:
            seconds: time that all trials took, those of earlier processes included.
            processes: how many processes searched, one after another.
        """
        device = device_name()
        found: dict[str, Any] = {
            "device": device,
            "devices": 1,
            "attempts": processes,
            "seconds": round(seconds, 2),
            "device_seconds": round(seconds, 2),
            "peak_gb": round(self._peak, 3),
        }
        missing = dict(self._energy.missing)
        if processes > 1:
            missing["earlier"] = "processes that died took their counters along"
        joules = self._energy.joules()
        if joules:
            found |= {f"energy_{kind}_wh": round(value / JOULES_PER_WH, 3) for kind, value in joules.items()}
            found["energy_kwh"] = round(sum(joules.values()) / JOULES_PER_WH / 1000, 6)
        if missing:
            found["energy_missing"] = missing
        if (price := price_of(device, self._recipe.prices)) is not None:
            found |= {
                "price_per_hour": price,
                "currency": self._recipe.currency,
                "cost": round(price * seconds / 3600, 6),
            }
        (self._work / FILE).write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return found
