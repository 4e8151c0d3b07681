"""Files from one node to all others over the network that they train over, where no folder is shared.

The list of files travels first (JSON, never pickle), then each file in pieces; whoever receives compares its SHA-256.
Neither list nor files are encrypted or signed on their way, as gradients are not: only the training's own nodes may
reach each other (docs/many-gpus.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from domainlm.digests import digest_file
from domainlm.errors import TrainingError

if TYPE_CHECKING:
    import torch

PIECE_BYTES = 64 << 20  # held in memory once by each node


def files_below(folder: Path) -> list[str]:
    """The files of a folder, relative to it and in order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def spread(folder: Path, names: Iterable[str], source: int, group: Any = None, keep: bool = True) -> None:
    """Copy files of one process into the same places below the folders of all others of its group, who call it too.

    Args:
        folder: where they lie, or go, here.
        names: which ones, relative to it; only the source's count.
        source: rank of the process that has them.
        group: the processes that take part; all by default.
        keep: whether they are wanted here; all must read what is sent. A file that is here already stays as it is.

    Raises:
        TrainingError: a file did not arrive as it was sent, or cannot be read or written here.
    """
    import torch.distributed as dist

    sends = dist.get_rank() == source
    try:
        listed = [[name, (folder / name).stat().st_size, digest_file(folder / name)] for name in names] if sends else []
        for name, size, digest in json.loads(_told(json.dumps(listed).encode(), source, group)):
            if sends:
                _send(folder / name, size, source, group)
            else:
                _receive(folder / _inside(name), size, digest, source, group, keep)
    except OSError as error:
        raise TrainingError(
            f"a file could not be handed from node to node ({type(error).__name__})",
            str(folder),
            "make room on every node, then run again",
        ) from error


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise TrainingError("a node sends a file that would lie outside its folder", name, "do not trust that node")
    return path


def _told(message: bytes, source: int, group: Any) -> bytes:
    """The source's bytes, in every process of the group."""
    import torch
    import torch.distributed as dist

    length = torch.tensor([len(message)])
    dist.broadcast(length, src=source, group=group)
    content = _tensor(message) if dist.get_rank() == source else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(content, src=source, group=group)
    return bytes(content.numpy())


def _send(path: Path, size: int, source: int, group: Any) -> None:
    import torch.distributed as dist

    with open(path, "rb") as stream:
        for at in range(0, size, PIECE_BYTES):
            dist.broadcast(_tensor(stream.read(min(PIECE_BYTES, size - at))), src=source, group=group)


def _receive(path: Path, size: int, digest: str, source: int, group: Any, keep: bool) -> None:
    import torch
    import torch.distributed as dist

    keep = keep and not path.exists()
    draft = path.with_name(f"{path.name}.draft")
    total = hashlib.sha256()
    if keep:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
    for at in range(0, size, PIECE_BYTES):
        piece = torch.empty(min(PIECE_BYTES, size - at), dtype=torch.uint8)
        dist.broadcast(piece, src=source, group=group)
        if keep:
            total.update(piece.numpy())
            with open(draft, "ab") as stream:
                stream.write(piece.numpy())
    if keep and total.hexdigest() != digest:
        draft.unlink()
        raise TrainingError("a file did not arrive as it was sent", str(path), "run again; check the nodes' network")
    if keep:
        draft.rename(path)


def _tensor(content: bytes) -> torch.Tensor:
    import torch

    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
