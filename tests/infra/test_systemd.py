"""The unit of the watcher: systemd itself takes it, and what it promises is what the code does."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from domainlm.retrain.watch.health import BEAT_S, STALE_S
from domainlm.retrain.watch.launching import GRACE_S

UNIT = Path(__file__).resolve().parents[2] / "infra" / "systemd" / "domainlm-watch.service"
ANALYZE = shutil.which("systemd-analyze")


def service() -> dict[str, str]:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read(UNIT, encoding="utf-8")
    return dict(parsed["Service"])


def on_this_machine(folder: Path) -> Path:
    """The unit with a command, a folder and a manual that are here: systemd looks for them."""
    text = UNIT.read_text(encoding="utf-8")
    text = text.replace("/srv/domainlm/.venv/bin/domainlm", "/bin/true").replace("User=domainlm", "User=daemon")
    text = text.replace("Group=domainlm", "Group=daemon").replace("/srv/domainlm", str(folder))
    copy = folder / UNIT.name
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(on_this_machine(tmp_path))],
        capture_output=True,
        text=True,
        timeout=120,
    )
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_a_wrong_unit_is_seen(tmp_path: Path) -> None:
    copy = on_this_machine(tmp_path)
    copy.write_text(copy.read_text().replace("Type=notify", "Type=notifyy"))
    done = subprocess.run([str(ANALYZE), "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=120)
    assert "Type=" in done.stderr or "notifyy" in done.stderr


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_calls_it_hardened(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--no-pager", str(on_this_machine(tmp_path))],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "offline" in done.stderr and done.returncode:
        pytest.skip("this systemd rates only loaded units")
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert found and float(found[1]) <= 2.5, done.stdout[-2000:] + done.stderr  # 0 is best, 10 is no protection at all


def test_it_is_given_the_time_that_the_watcher_takes() -> None:
    said = service()
    assert int(said["TimeoutStopSec"]) > GRACE_S
    assert int(said["WatchdogSec"]) >= 2 * BEAT_S and int(said["WatchdogSec"]) <= STALE_S
    assert (said["Type"], said["KillMode"], said["Restart"]) == ("notify", "mixed", "on-failure")


def test_no_secret_and_no_root_in_it() -> None:
    said = service()
    assert said["User"] not in ("root", "0") and said["CapabilityBoundingSet"] == ""
    assert "PASSWORD" not in UNIT.read_text(encoding="utf-8").upper()
    assert not any(line.startswith("Environment=") for line in UNIT.read_text(encoding="utf-8").splitlines())
