"""What a submission says of itself in the run's `extra`, since others than who submits record a run on a cluster.

Which configuration file it was, whether values came by hand, and who submitted, under a seal of the project's key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from domainlm.digests import digest_json
from domainlm.errors import EvidenceRefused
from domainlm.ledger.run.asked import Asked
from domainlm.ledger.seals import Keys, check
from domainlm.ledger.trust.policy import identity

EXTRA = "domainlm"  # key of the run's `extra`
SEAL = "submission"  # use of the key


class Stated(NamedTuple):
    """What a submission said; `by`: the identities of whoever submitted, as `identity` makes them."""

    asked: Asked
    by: tuple[str, ...]


def state(said: Asked, by: Sequence[str], load: Keys) -> dict[str, Any]:
    """What a submission puts into the `extra` of its run.

    Args:
        said: the configuration file, as the manifest shall show it (`checkout.shown`), and whether values came by hand.
        by: names of whoever submits, as `authorship.whoever_runs` gives them.
        load: gives the key ring.

    Raises:
        SecretError: the key is missing.
    """
    content = {"file": said.file, "overridden": said.overridden, "by": [identity(name) for name in by]}
    return {EXTRA: content | {"seal": load().keyed_id(SEAL, digest_json(content))}}


def stated_of(extra: Mapping[str, Any]) -> Stated | None:
    """What a submission said; None where nothing can be read. `check_stated` says whether to believe it."""
    try:
        found = extra[EXTRA]
        digest_json(_content(found))  # what has no canonical form, such as a lone surrogate, could not be recorded
        return Stated(Asked(str(found["file"]), bool(found["overridden"])), tuple(str(one) for one in found["by"]))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def check_stated(extra: Mapping[str, Any], load: Keys) -> None:
    """Let through what a submission sealed, and a run whose submission said nothing: its configuration then counts as
    given by hand.

    Raises:
        EvidenceRefused: it was changed, or sealed by another key.
        SecretError: the key is missing.
    """
    if EXTRA not in extra:
        return
    if stated_of(extra) is None:
        raise EvidenceRefused("is no statement of a submission", "the run's extra")
    check(load, str(extra[EXTRA].get("seal", "")), SEAL, digest_json(_content(extra[EXTRA])))


def _content(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in ("file", "overridden", "by")}
