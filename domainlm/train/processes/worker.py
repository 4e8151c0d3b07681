"""One process of a training over several, started by torchrun or DeepSpeed:

python -m domainlm.train.processes.worker PLACE
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from domainlm.errors import DomainLMError

LAUNCHED_BY = "DOMAINLM_LAUNCHED_BY"  # the process id of whoever called the launcher
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LOOK_S = 2.0


def die_with_parent() -> None:
    """Linux kills this process when the one that started it is gone, however that ended: no GPU stays taken."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with(process: int) -> None:
    """End this process soon after another one: DeepSpeed's launcher puts one more between, which outlives its own."""

    def watch() -> None:
        while True:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                os._exit(1)
            time.sleep(_LOOK_S)

    threading.Thread(target=watch, daemon=True).start()


def work(place: Path, rank: int) -> None:
    """Run this rank of the job in `place`; why it fails stands in `errors/RANK.json` before it is raised."""
    from domainlm.train.processes.job import Job

    job = Job(place)
    job.note_process(rank)
    try:
        job.run(rank)
    except BaseException as error:
        job.note_error(rank, error)
        raise


def main(place: str) -> int:
    """The process's life; 1 when it failed. The message of a library's error stays here, unless it is asked for."""
    die_with_parent()
    if launcher := os.environ.get(LAUNCHED_BY):
        die_with(int(launcher))
    rank = int(os.environ["RANK"])
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("domainlm").setLevel(logging.INFO if rank == 0 else logging.ERROR)
    if not os.environ.get("DOMAINLM_DEBUG"):  # what libraries warn of, each process would say again
        logging.captureWarnings(True)
        for chatty in ("py.warnings", "bitsandbytes"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        work(Path(place), rank)
    except BaseException as error:
        if os.environ.get("DOMAINLM_DEBUG") and not isinstance(error, DomainLMError):
            logging.getLogger(__name__).exception("process %d failed", rank)
        _leave(1)
    return 0


def _leave(code: int) -> None:
    """End at once: an orderly end waits for processes that may be waiting for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1]))
