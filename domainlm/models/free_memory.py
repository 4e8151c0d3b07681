"""How much memory this process may still take, on a GPU or on the host, also inside a container."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_NO_LIMIT = 2**60  # version 1 of control groups says "no limit" by a number near 2^63


class Memory(NamedTuple):
    """Free memory of a device.

    Args:
        device: its name.
        gpu: whether it is one.
        bytes: what is free; None where nobody says.
    """

    device: str
    gpu: bool
    bytes: int | None


def free_memory(sharing: int = 1) -> Memory:
    """What is free for a training: this process's GPU, or the host's memory within its container's limits.

    Args:
        sharing: processes of this training on this machine; on a CPU they share its memory.
    """
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()  # held by the allocator, for us
        return Memory(torch.cuda.get_device_name(), True, free + unused)
    free = free_host_bytes()
    return Memory("cpu", False, None if free is None else free // sharing)


def free_host_bytes(root: Path = Path("/")) -> int | None:
    """Free memory of the host: what the kernel could give, or what a control group's limit leaves, whichever is less.

    Args:
        root: where /proc and /sys lie.
    """
    known = [_available(root / "proc/meminfo"), *_groups(root)]
    return min((found for found in known if found is not None), default=_physical())


def _available(meminfo: Path) -> int | None:
    try:
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _groups(root: Path) -> list[int | None]:
    """What each control group that this process is in leaves, in version 2 and version 1 of their file system."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            place, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            place = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # a limit may stand on any group above; inside a container only the group itself may be seen, as the root
        inner = path.strip("/")
        above = [inner, *map(str, Path(inner).parents)] if inner else [""]
        found += [_left(place / group, *names) for group in above]
    return found


def _left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        most, used = int((group / limit).read_text()), int((group / usage).read_text())
    except (OSError, ValueError):  # no such group here, or the word "max"
        return None
    if most >= _NO_LIMIT:
        return None
    return max(0, most - used + _statistic(group / "memory.stat", cache))


def _statistic(file: Path, name: str) -> int:
    """File cache counts as used, but the kernel drops it when somebody asks for memory."""
    try:
        return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.split()[0] == name)
    except (OSError, StopIteration, ValueError, IndexError):
        return 0


def _physical() -> int | None:
    """All memory that is built in: the best that a system without /proc can say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
