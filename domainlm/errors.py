"""Errors that a person can act on: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable


class DomainLMError(Exception):
    """Base of every error that domainlm raises on purpose.

    Args:
        what: what is wrong, in one sentence, without any value taken from the data.
        where: the file, row number, key or record id concerned.
        remedy: what the reader can do about it.
    """

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)  # all three, so that the error survives pickling between processes

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  -> {self.remedy}" if self.remedy else text


class ConfigurationError(DomainLMError):
    """A configuration key or value that no stage can use."""


class SourceError(DomainLMError):
    """A source file that is missing, empty, malformed or changed."""


class SecretError(DomainLMError):
    """A secret key that is missing, readable by others, or malformed."""


class AccessRefused(DomainLMError):
    """Somebody asked for a sealed value who may not see it, or it is not there; the access log holds the request."""


class RedactionIncomplete(DomainLMError):
    """Personal data may have survived redaction."""


class ContractViolation(DomainLMError):
    """The data break their contract."""


class ArtifactError(DomainLMError):
    """An artifact whose content does not match its digest, or that cannot be read."""


class ArtifactErased(ArtifactError):
    """An artifact whose data were deleted on the record, by an erasure or because their time was over."""


class ModelError(DomainLMError):
    """A base model, tokenizer or adapter that cannot be used as asked."""


class LicenceRefused(DomainLMError):
    """A licence that is unknown, or that does not allow what the model is for."""


class TrainingError(DomainLMError):
    """A training that cannot start or must not go on."""


class PlaceTaken(DomainLMError):
    """Another run works in the same place; the two would write over each other."""


class TrainingStopped(TrainingError):
    """Somebody stopped a training between two steps; the same command goes on from its checkpoint."""


class StageFailed(DomainLMError):
    """A library raised inside a stage. What it says is withheld: libraries like to quote the value they choke on."""


class EvaluationError(DomainLMError):
    """An evaluation that could not be computed; a gate that needs it counts as failed."""


class RegistrationError(DomainLMError):
    """A model that must not be registered, or whose registration cannot be trusted."""


class EvidenceRefused(DomainLMError):
    """Evidence that must not be believed or entered: a broken signature, an unknown key, a changed or foreign entry.

    Args:
        code: the finding's name, one of `domainlm.ledger.findings.CODES`; what programs and tests compare.
    """

    def __init__(self, what: str, where: str = "", remedy: str = "", code: str = "malformed") -> None:
        super().__init__(what, where, remedy)
        self.code = code
        self.args = (what, where, remedy, code)


class ApprovalRefused(DomainLMError):
    """A promotion, an erasure or another act that lacks what the policy asks for."""


class BookUnavailable(DomainLMError):
    """The batch book's database cannot be used now: it is down, full, damaged, or of another version."""


class BookRefused(DomainLMError):
    """Something that the batch book does not do: an unknown batch, a state that cannot follow the present one."""


class LeaseLost(DomainLMError):
    """A claim on batches that another runner took over, or that ended: what came of it is not accepted."""


class NoticeNotSent(DomainLMError):
    """A channel did not take a notice; it is tried again."""


def places_of(error: BaseException) -> str:
    """Types and places of an error and its causes, for a log: never what it says, which may quote data."""
    told = []
    for one in (error, error.__cause__ or error.__context__):
        if one is not None:
            frames = reversed(traceback.extract_tb(one.__traceback__))
            told.append(f"{type(one).__name__} at {' <- '.join(f'{at.filename}:{at.lineno}' for at in frames)}")
    return "; after ".join(told)


def nearest(name: str, known: Iterable[str]) -> str:
    """A ready-made hint: the known name nearest to a misspelled one, or all of them.

    >>> nearest("epoch", ["epochs", "seed"])
    "did you mean 'epochs'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
