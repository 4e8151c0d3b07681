"""What the collector could not do, in words that quote nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from domainlm.errors import DomainLMError, places_of


class Missed(NamedTuple):
    """A run that could not be collected, and why; the next round tries again."""

    run_id: str
    why: str


def tried(run_id: str, do: Callable[[], Any]) -> Any:
    """What a call gives, or that its run was missed."""
    try:
        return do()
    except DomainLMError as error:
        return Missed(run_id, str(error))
    except Exception as error:  # a fault of ours; its text may quote what it choked on
        logging.getLogger(__name__).warning("run %s: %s", run_id, places_of(error))
        return Missed(run_id, f"a fault of domainlm ({type(error).__name__}); the log says where")
