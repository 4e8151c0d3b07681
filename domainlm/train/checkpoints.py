"""Checkpoints that can be trusted: each is written aside, sealed with a digest of every file, and named in one rename.

What a killed process leaves under `checkpoint-N` is therefore whole; what it was writing lies beside it under another
name and counts for nothing. A file that was damaged later does not fit its digest, and an older checkpoint is used.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from domainlm.digests import digest_file
from domainlm.errors import DomainLMError, TrainingError
from domainlm.train.processes.copying import files_below
from domainlm.train.processes.distributed import exchange, world

MARKER = "complete.json"
UNFINISHED, REMOVED = ".unfinished-", ".removed-"
STATE, LOSS = "trainer_state.json", "loss_since_log.json"
KEPT = 2  # the older one is the way back where the newer one is damaged

_log = logging.getLogger(__name__)


def newest(work: Path) -> Path | None:
    """The newest checkpoint that is as it was written, and whose best weights (early stopping) are there too."""
    for step, folder in sorted(_checkpoints(work).items(), reverse=True):
        if not is_whole(folder):
            _log.warning("checkpoint %d is damaged and is not used", step)
            continue
        best = json.loads((folder / STATE).read_text()).get("best_global_step") if (folder / STATE).is_file() else None
        if best in (None, step) or is_whole(work / folder_name(best)):
            return folder
        _log.warning("checkpoint %d is not used: the best weights before it are damaged", step)
    return None


def folder_name(step: int) -> str:
    """What the Trainer calls the checkpoint of a step."""
    return f"checkpoint-{step}"


def _checkpoints(work: Path) -> dict[int, Path]:
    found = {}
    for folder in work.glob("checkpoint-*"):
        if match := re.fullmatch(r"checkpoint-(\d+)", folder.name):
            found[int(match[1])] = folder
    return found


def is_whole(folder: Path) -> bool:
    """Whether every file of a checkpoint has the size and the SHA-256 that its marker names."""
    try:
        files = json.loads((folder / MARKER).read_text())
        sizes_fit = all((folder / name).stat().st_size == size for name, (size, _) in files.items())
        return sizes_fit and all(digest_file(folder / name) == digest for name, (_, digest) in files.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def seal(folder: Path) -> None:
    """Write the marker, last, and make sure that everything has reached the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {}
    for path in files:
        _to_disk(path)
        content[path.relative_to(folder).as_posix()] = (path.stat().st_size, digest_file(path))
    (folder / MARKER).write_text(json.dumps(content, sort_keys=True))
    for path in (folder / MARKER, *(path for path in folder.rglob("*") if path.is_dir()), folder):
        _to_disk(path)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(draft: Path, folder: Path) -> None:
    """Give a sealed folder its name, in one rename; what had the name before leaves."""
    if folder.exists():
        remove(folder)
    os.rename(draft, folder)
    _to_disk(folder.parent)


def remove(folder: Path) -> None:
    """Remove a checkpoint; its name goes first, so that half of one is never taken for one."""
    gone = folder.with_name(f"{REMOVED}{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def rotate(work: Path, step: int, best: int | None) -> None:
    """Keep the checkpoint of this step, the one before it and the best one; all else goes, leftovers of kills too."""
    found = _checkpoints(work)
    kept = {*sorted(number for number in found if number <= step)[-KEPT:], best}
    for number, folder in found.items():
        if number not in kept:
            remove(folder)
    tidy(work)


def tidy(work: Path) -> None:
    """Remove what killed processes were writing or removing."""
    for pattern in (f"{UNFINISHED}*", f"{REMOVED}*"):
        for folder in work.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


class SealedCheckpoints:
    """Makes a Trainer save in this way: `class OurTrainer(SealedCheckpoints, Trainer)`.

    All processes of a training share one work folder; the first seals what all have written. Where nodes share no
    folder, they first exchange what they have written, so that each has the same whole checkpoint.
    """

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save aside, seal, publish, and drop older checkpoints only then.

        Raises:
            TrainingError: weights are not finite, or the folder cannot be written (a full disk, mostly).
        """
        work, step = Path(self.args.output_dir), self.state.global_step
        self._check_weights(step)
        draft = work / f"{UNFINISHED}{step}"
        try:
            if world().writes:
                shutil.rmtree(draft, ignore_errors=True)
            self._all_here()
            self.args.output_dir = str(draft)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = str(work)
            loss = self.accelerator.gather(self._tr_loss.reshape(1)).mean().item()
            best = self.state.best_global_step
            self.state.best_model_checkpoint = str(work / folder_name(best)) if best else None
            self._all_here()
            written = draft / folder_name(step)
            exchange(written, [name for name in files_below(written) if name != STATE])
            if self.is_world_process_zero():
                self.state.save_to_json(str(written / STATE))  # once more: the best checkpoint has its name by now
                # the Trainer forgets what it has summed since the last point of the curve
                (written / LOSS).write_text(json.dumps({"loss": loss, "logged": self._globalstep_last_logged}))
                seal(written)
            exchange(written, [STATE, LOSS, MARKER], source=0)
            if world().writes:
                publish(written, work / folder_name(step))
                rotate(work, step, best)
            self._all_here()
        except DomainLMError:
            raise
        except Exception as error:
            shutil.rmtree(draft, ignore_errors=True)
            free = shutil.disk_usage(work).free
            raise TrainingError(
                f"the checkpoint of step {step} could not be written ({type(error).__name__};"
                f" {free / 1e9:.2f} GB are free)",
                str(work),
                "make room and run again: it goes on from the newest complete checkpoint",
            ) from None

    def _check_weights(self, step: int) -> None:
        """A checkpoint with broken weights would break every run that goes on from it."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not getattr(parameter, "_local_tensor", parameter).isfinite().all():
                raise TrainingError(
                    f"weights are not finite after step {step}", name, "lower learning_rate or max_grad_norm"
                )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """With the random state also the loss since the last point of the curve: a resumed curve is the same."""
        super()._load_rng_state(checkpoint)
        if checkpoint and (Path(checkpoint) / LOSS).is_file():
            since = json.loads((Path(checkpoint) / LOSS).read_text())
            self._tr_loss += since["loss"]
            self._globalstep_last_logged = since["logged"]

    def _init_training_state(self, *given: Any) -> Any:
        """The best checkpoint is found by its step: the path in an older state is of where the folder was then."""
        found = super()._init_training_state(*given)
        best = self.state.best_global_step
        self.state.best_model_checkpoint = str(Path(self.args.output_dir) / folder_name(best)) if best else None
        return found

    def _all_here(self) -> None:
        if self.args.world_size > 1:
            self.accelerator.wait_for_everyone()
