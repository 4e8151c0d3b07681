"""A training as a folder, so that several processes can run it: inputs go in, adapter, report or error come out.

records/            the records, as Arrow; every process maps the same file
job.json            settings, tasks, where base, tokenizer, checkpoints and the start lie
pids/RANK           the process of each rank on this node
errors/RANK.json    why a rank ended: a DomainLMError as it was, of any other error its kind and place only
adapter/  report.json
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm import errors
from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import DomainLMError, StageFailed, TrainingError
from domainlm.tasks import Task
from domainlm.train.report import TrainingReport
from domainlm.train.settings import TrainSettings
from domainlm.train.watch import progress

if TYPE_CHECKING:
    from datasets import Dataset

INTERRUPTED = "KeyboardInterrupt"
_OF_LOST_PROCESSES = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "TCPStore")


class Job:
    """One training over several processes.

    Args:
        place: its folder; on several nodes one that all of them see.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def write(
        self,
        records: Dataset,
        tokenizer: TokenizerFolder,
        base: BaseCheckpoint,
        settings: TrainSettings,
        tasks: dict[str, Task],
        work: Path,
        strategy: str,
        start: AdapterFolder | None = None,
    ) -> None:
        """Begin anew: what an earlier attempt left goes, its checkpoints in `work` stay."""
        from datasets import disable_progress_bars

        shutil.rmtree(self.place, ignore_errors=True)
        for name in ("pids", "errors"):
            (self.place / name).mkdir(mode=0o700, parents=True)
        disable_progress_bars()
        records.save_to_disk(str(self.place / "records"))
        content = {
            "settings": settings.model_dump(mode="json"),
            "tasks": {name: task.model_dump(mode="json") for name, task in tasks.items()},
            "tokenizer": str(tokenizer.path.resolve()),
            "base": str(base.path.resolve()),
            "work": str(work.resolve()),
            "strategy": strategy,
            "start": str(start.path.resolve()) if start is not None else "",
        }
        draft = self.place / "job.json.draft"
        draft.write_text(json.dumps(content, sort_keys=True))
        os.replace(draft, self.place / "job.json")

    def move(self, places: dict[str, Path]) -> None:
        """Name other folders for `tokenizer`, `base`, `work` and `start`: the job was copied to another node."""
        content = self.content()
        content |= {name: str(path.resolve()) for name, path in places.items() if content[name]}
        (self.place / "job.json").write_text(json.dumps(content, sort_keys=True))

    def content(self) -> dict[str, Any]:
        """What `write` has written.

        Raises:
            TrainingError: nothing has.
        """
        try:
            return json.loads((self.place / "job.json").read_text())
        except (OSError, ValueError) as error:
            raise TrainingError(
                "holds no training", str(self.place), "start it on node 0, on a file system that all nodes see"
            ) from error

    def run(self, rank: int) -> None:
        """Train as one of its processes; the environment says which one.

        Raises:
            DomainLMError: whatever `train` raises.
        """
        from datasets import load_from_disk

        from domainlm.train.finetuning import train
        from domainlm.train.processes.distributed import joined

        content = self.content()
        if rank == 0:
            progress.listeners.append(progress.Written(self.progress))
        with joined(content["strategy"]):
            _, report = train(
                load_from_disk(str(self.place / "records")),
                TokenizerFolder(Path(content["tokenizer"])),
                BaseCheckpoint(Path(content["base"])),
                TrainSettings(**content["settings"]),
                {name: Task(**task) for name, task in content["tasks"].items()},
                self.place / "adapter",
                Path(content["work"]),
                start=AdapterFolder(Path(content["start"])) if content["start"] else None,
            )
        if rank == 0:
            (self.place / "report.json").write_text(report.model_dump_json())

    @property
    def progress(self) -> Path:
        """Where the first process says how far it is, for the listeners of the one that started it."""
        return self.place / "progress.json"

    # ---- how it ended

    def note_process(self, rank: int) -> None:
        """Say which process of which node this rank is, so that signals reach it."""
        draft = self.place / "pids" / f"{rank}.draft"
        draft.write_text(f"{os.getpid()} {socket.gethostname()}")
        os.replace(draft, draft.with_suffix(""))

    def processes(self) -> dict[int, int]:
        """Process ids of this job on this node by rank, as far as they have begun."""
        found = {}
        for path in (self.place / "pids").glob("[0-9]*"):
            process, _, node = path.read_text().partition(" ")
            if path.name.isdigit() and node == socket.gethostname():
                found[int(path.name)] = int(process)
        return found

    def note_error(self, rank: int, error: BaseException) -> None:
        """Say why a rank ended. What a library says is left out, since it may quote the data."""
        if isinstance(error, DomainLMError):
            said = {"kind": type(error).__name__, "what": error.what, "where": error.where, "remedy": error.remedy}
        elif isinstance(error, KeyboardInterrupt):
            said = {"kind": INTERRUPTED}
        else:
            frames = traceback.extract_tb(error.__traceback__)
            where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
            said = {"kind": type(error).__name__, "where": where, "foreign": True}
        self.note(said | {"rank": rank, "time": time.time(), "lost": _lost_others(error)})

    def note(self, said: dict[str, Any]) -> None:
        """Keep what a rank of this or another node said of its end."""
        draft = self.place / "errors" / f"{said['rank']}.draft"
        draft.write_text(json.dumps(said))
        os.replace(draft, draft.with_suffix(".json"))

    def noted(self) -> list[dict[str, Any]]:
        """What the ranks said of their ends."""
        return [json.loads(path.read_text()) for path in (self.place / "errors").glob("*.json")]

    def has_said(self, rank: int) -> bool:
        """Whether a process noted why it ended."""
        return (self.place / "errors" / f"{rank}.json").is_file()

    def raise_error(self, lost: bool = False) -> None:
        """Raise what the processes noted: the first DomainLMError as itself, else the first other error by its place.

        When one process ends, the others fail at reaching it, often sooner than it is known to have ended: what they
        say of that is raised with `lost` only, and last.
        """
        noted = [said for said in self.noted() if lost or not said["lost"]]
        noted.sort(key=lambda said: (said["lost"], said.get("foreign", False), said["time"]))
        if not noted:
            return
        first = noted[0]
        if first["kind"] == INTERRUPTED:
            raise KeyboardInterrupt
        if not first.get("foreign"):
            kind = getattr(errors, first["kind"], TrainingError)
            raise kind(first["what"], first["where"], first["remedy"])
        raise StageFailed(
            f"{first['kind']} in process {first['rank']}; its message is withheld, since it may quote data",
            first["where"],
            "repeat the run with DOMAINLM_DEBUG=1 (or --debug) to see it",
        )

    def result(self, folder: Path) -> tuple[AdapterFolder, TrainingReport]:
        """The adapter, moved to `folder`, and the report.

        Raises:
            TrainingError: the processes left no report, or the adapter is not the one of their report.
        """
        if not (self.place / "report.json").is_file():
            raise TrainingError("all processes ended without a report", str(self.place), "see their log above")
        report = TrainingReport.model_validate_json((self.place / "report.json").read_text())
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.place / "adapter").iterdir():
            shutil.move(str(path), folder / path.name)
        adapter = AdapterFolder(folder)
        if adapter.digest != report.adapter_digest:
            raise TrainingError("the adapter is not the one of its report", str(folder), "run again")
        return adapter, report

    def remove(self) -> None:
        """Leave no second copy of the records behind."""
        shutil.rmtree(self.place, ignore_errors=True)


def _lost_others(error: BaseException) -> bool:
    """Whether an error comes of not reaching another process; ours hide it in their context."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, RuntimeError) and any(word in str(at) for word in _OF_LOST_PROCESSES):
            return True
        at = at.__cause__ or at.__context__
    return False
