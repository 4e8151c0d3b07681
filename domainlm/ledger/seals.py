"""Which of the files that wait for the ledger this project wrote itself.

The recorder signs what waits without asking anybody, so a file that somebody else put into the queue would become
evidence. Each waiting file is therefore sealed: a keyed id (HMAC-SHA-256) of its content under the project's key ring,
carried through every rotation as all ids are. Whoever has the key, a retired one too, can seal; whoever only may write
into the folder cannot.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

from domainlm.errors import DomainLMError, EvidenceRefused, SecretError
from domainlm.keys import ID_HEX_DIGITS, KeyRing

Keys = Callable[[], KeyRing]
_MARK = re.compile(f"[0-9a-f]{{{ID_HEX_DIGITS}}}")


def seal(load: Keys, use: str, *values: str) -> str:
    """The seal of what is about to wait; "" where the key is missing, so that it is written all the same and waits."""
    try:
        return load().keyed_id(use, *values)
    except DomainLMError:
        return ""


def no_key() -> KeyRing:
    """In place of a key ring for what shall wait unsealed, until a person vouches for it."""
    raise SecretError("what is refused is not sealed", "seal")


def check(load: Keys, found: str, use: str, *values: str) -> None:
    """Let through what the project's key, or one before it, sealed.

    Raises:
        EvidenceRefused: it bears no seal, or not that of its content.
        SecretError: the key is missing.
    """
    keys = load()
    # what is no mark at all, a lone surrogate say, is not even compared
    if not _MARK.fullmatch(found) or not hmac.compare_digest(keys.carried(use, found), keys.keyed_id(use, *values)):
        raise EvidenceRefused(
            "was not sealed by this project's key, so it is not entered" if found else "bears no seal of this project",
            "what waits", "look who wrote it; a run that is yours: `domainlm audit signer flush --run RUN_ID`",
        )  # fmt: skip
