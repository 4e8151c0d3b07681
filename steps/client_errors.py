"""What clients of ZenML's server and of stores raise, told from faults of our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from domainlm.errors import ArtifactError, DomainLMError

_OWN = {"domainlm", "steps", "pipelines", "materializers", "cli"}
_CLIENTS = {"zenml", "requests", "urllib3", "s3fs", "gcsfs", "adlfs", "fsspec", "botocore", "aiobotocore", "aiohttp",
            "sqlalchemy"}  # fmt: skip


@contextmanager
def reading(run: str) -> Iterator[None]:
    """Whatever a server's or a store's client raises becomes one error of ours: its own text may name what it was
    asked for. A fault of this package's own code passes as it is: it will not be better later.

    Args:
        run: what is read about.

    Raises:
        ArtifactError: ZenML's server or the store cannot be read.
    """
    try:
        yield
    except DomainLMError:
        raise
    except Exception as error:
        if not _of_a_client(error):
            raise
        what = f"ZenML's server or the artifact store of the run cannot be read ({type(error).__name__})"
        raise ArtifactError(what, run, "collect it again later") from None


def _of_a_client(error: Exception) -> bool:
    """Whether a client, or the system, raised it: of the frames of clients and of our own, the innermost decides."""
    if isinstance(error, OSError):
        return True
    rooms = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    return next((room in _CLIENTS for room in reversed(rooms) if room in _CLIENTS | _OWN), False)
