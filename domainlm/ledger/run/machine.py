"""The machine of a run: versions of what it ran on, and its hardware."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "domainlm zenml torch transformers peft bitsandbytes accelerate datasets evaluate tokenizers presidio-analyzer "
    "presidio-anonymizer great-expectations mlflow numpy pandas scikit-learn"
).split()
NVIDIA_SMI_TIMEOUT_S = 10
PROCESS = "process"  # of a manifest's environment: host and id of the process that made the run


def environment_state() -> dict[str, Any]:
    """Python, platform, processor and package versions; digests are equal within one kind of processor only."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = ""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": versions,
    }


def hardware_state() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in bytes, and the GPUs by name.

    torch is asked only where it is loaded already, since importing it takes seconds; else `nvidia-smi`.
    """
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
    }


def process_alive(pid: int) -> bool:
    """Whether the process still runs and is a Python process (a reused process id is most likely something else)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    return b"python" in command or b"zenml" in command or b"domainlm" in command


def process_gone(environment: Mapping[str, Any]) -> bool:
    """Whether the process of a run was one of this machine, and runs no longer.

    Args:
        environment: the manifest's.
    """
    process = environment.get(PROCESS, {})
    return process.get("host") == socket.gethostname() and not process_alive(process.get("pid", 0))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda"):
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    try:
        done = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
