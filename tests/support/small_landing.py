"""A project's home with a landing zone and a run configuration, for the commands that look into it, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from domainlm.keys import create_development_key

ROOT = Path(__file__).resolve().parents[2]
FEED = {
    "name": "news", "uri": "news/*.csv", "form": "labelled", "columns": {"text": "headline"}, "task": "sentiment",
    "language": "en", "licence": "CC0-1.0", "consent": "public", "purpose": "model-training", "jurisdiction": "us",
    "handling": "public",
}  # fmt: skip
TIMEOUT_S = 180


class SmallLanding:
    """Commands run in the checkout, with a home of the test.

    Args:
        folder: zone and configuration lie below it.
        home: the test's `.domainlm` (tests/conftest.py).
        decide: parameters of that step.
    """

    def __init__(self, folder: Path, home: Path, **decide: Any) -> None:
        self.zone, self.home, self.configuration = folder / "zone", home, folder / "retrain.yaml"
        (self.zone / "news").mkdir(parents=True)
        (home / "activate").touch()  # as the set-up leaves it; what is tested here needs no stack
        create_development_key()
        self.environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.configure(**decide)

    def configure(self, **decide: Any) -> None:
        """Write the run configuration: ours, with this zone and without the data that a first model is made of."""
        content = yaml.safe_load((ROOT / "configs" / "retrain.yaml").read_text(encoding="utf-8"))
        feeds = {"zone": str(self.zone), "feeds": [FEED], "settle_s": 0.2}
        content["steps"]["detect"] = {"parameters": feeds}
        content["steps"]["decide"] = {"parameters": decide}
        self.configuration.write_text(yaml.safe_dump(content), encoding="utf-8")

    def drop(self, name: str, *headlines: str, label: str = "neutral", header: str = "headline,label") -> Path:
        path = self.zone / "news" / name
        path.write_text(f"{header}\n" + "".join(f"{one},{label}\n" for one in headlines), encoding="utf-8")
        return path

    def start(self, command: str, *arguments: str, **given: Any) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "cli.main", command, "-c", str(self.configuration), *arguments]
        return subprocess.Popen(
            words, cwd=ROOT, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given
        )

    def do(self, command: str, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Run a command to its end; what it printed, and what it printed as errors."""
        process = self.start(command, *arguments)
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
        assert process.returncode == code, (process.returncode, out, err)
        return out, err

    def report(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        out, _ = self.do("retrain", "--json", *arguments, code=code)
        return dict(json.loads(out))
