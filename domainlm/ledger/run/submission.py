"""What a submission says of itself in the run's `extra`, since others than who submits record a run on a cluster.

Which configuration file it was, whether values came by hand, and who submitted, under a seal of the project's key. Each
statement has a number of its own and counts for what was compiled with it: whoever copies one into a submission of his
own is found out, for whoever collects a run takes down the number with what it came with (`claimed`).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from domainlm.digests import digest_json
from domainlm.errors import EvidenceRefused
from domainlm.keys import write_secret_file
from domainlm.ledger.run.asked import Asked
from domainlm.ledger.seals import Keys, check
from domainlm.ledger.settings import evidence_folder
from domainlm.ledger.trust.policy import identity

EXTRA = "domainlm"  # key of the run's `extra`
HERE, CLUSTER = "here", "cluster"  # who enters the run: whoever follows it, or the cluster's collector
SEAL = "submission"  # use of the key
_STATED = ("file", "overridden", "by", "evidence", "nonce")
_NONCE = re.compile(r"[0-9a-f]{32}")


class Stated(NamedTuple):
    """What a submission said; `by`: the identities that whoever submitted gave, as `identity` makes them; `nonce`: of
    this statement alone; `evidence`: where the run is entered."""

    asked: Asked
    by: tuple[str, ...]
    evidence: str
    nonce: str


def state(said: Asked, by: Sequence[str], load: Keys, evidence: str = HERE) -> dict[str, Any]:
    """What a submission puts into the `extra` of its run.

    Args:
        said: the configuration file, as the manifest shall show it (`checkout.shown`), and whether values came by hand.
        by: names of whoever submits, as `authorship.whoever_runs` gives them.
        load: gives the key ring.
        evidence: where the run is entered, `HERE` or `CLUSTER`: one ledger, not two.

    Raises:
        SecretError: the key is missing.
    """
    content = {
        "file": said.file, "overridden": said.overridden, "by": [identity(name) for name in by],
        "evidence": evidence, "nonce": secrets.token_hex(16),
    }  # fmt: skip
    return {EXTRA: content | {"seal": load().keyed_id(SEAL, digest_json(content))}}


def stated_of(extra: Mapping[str, Any]) -> Stated | None:
    """What a submission said; None where nothing can be read. `check_stated` says whether to believe it."""
    try:
        found = extra[EXTRA]
        digest_json(_content(found))  # what has no canonical form, such as a lone surrogate, could not be recorded
        asked = Asked(str(found["file"]), bool(found["overridden"]))
        by = tuple(str(one) for one in found["by"])
        return Stated(asked, by, str(found["evidence"]), _NONCE.fullmatch(found["nonce"])[0])
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


def claimed(nonce: str, compiled: str) -> bool:
    """Take down that a statement came with a compiled pipeline; False where it came with another before. The runs of
    one schedule are all of one compiled pipeline.

    Args:
        nonce: of a statement that was checked.
        compiled: ZenML's id of what was compiled and submitted (its snapshot).
    """
    folder = evidence_folder() / "submissions"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{nonce}.json"
    with suppress(FileExistsError):
        write_secret_file(path, compiled)
    return json.loads(path.read_text(encoding="utf-8")) == compiled


def _content(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in _STATED}
