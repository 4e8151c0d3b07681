"""Handling classes: who may see a text, and so who may see a model that learnt from it.

    public < internal < confidential < mnpi

`mnpi` is material non-public information ("inside information"): whoever trades on it, or passes it on outside of their
duty, breaks Art. 8, 10 and 14 of Regulation (EU) 596/2014 with the definition of its Art. 7, Regulation FD
(17 CFR 243.100 ff.) with Rule 10b-5 (17 CFR 240.10b-5), or Art. 174 of Korea's Financial Investment Services and
Capital Markets Act. A model may repeat what it was trained on, so a record inherits the class of its source, whatever
is made of several records inherits the strictest, and so does the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from domainlm.errors import ArtifactError, DomainLMError, nearest

if TYPE_CHECKING:
    from datasets import Dataset

Handling = Literal["public", "internal", "confidential", "mnpi"]
PUBLIC, INTERNAL, CONFIDENTIAL, MNPI = "public", "internal", "confidential", "mnpi"
CLASSES: tuple[str, ...] = (PUBLIC, INTERNAL, CONFIDENTIAL, MNPI)  # the strictest last


class HandlingError(DomainLMError):
    """A handling class that is unknown, missing, or not allowed here."""


def strictest(classes: Iterable[str]) -> str:
    """The strictest of some handling classes.

    Raises:
        HandlingError: there is none, or one that nobody knows: no class at all must not pass for a low one.
    """
    ranks = [_rank(name) for name in classes]
    if not ranks:
        raise HandlingError("there is no handling class to inherit", "", f"state one of {', '.join(CLASSES)}")
    return CLASSES[max(ranks)]


def _rank(name: str) -> int:
    if name not in CLASSES:
        # Not quoted: where a class should stand, a cell of the data may have ended up.
        raise HandlingError("unknown handling class", "", nearest("", CLASSES))
    return CLASSES.index(name)


def handling_of(records: Dataset) -> str:
    """The class that a model inherits from its records: the strictest that any of them has.

    Reads the one column, without the texts.

    Raises:
        ArtifactError: the records are of a time before the column, so that nobody knows their class.
        HandlingError: there are no records, or one has an unknown class.
    """
    if "handling" not in records.column_names:
        raise ArtifactError("the records have no column 'handling'", "", "run again from ingest, without the cache")
    return strictest(str(name) for name in records.unique("handling"))
