"""The champion that a new model is held against, as files, and how it is known that it is the champion.

An alias in a registry can be moved by whoever reaches the store. So it names the champion only where nobody knows
better: where there is a ledger, its latest promotion does; where there is none (a pod of a cluster), the identity must
be one that the batch book knows as promoted, or that whoever submitted the run stated. In any case what the registry
holds must be exactly that: the files are digested here, and the identity is made over them again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, Folder, TokenizerFolder
from domainlm.errors import RegistrationError
from domainlm.ledger.run.manifest import ModelRecord
from domainlm.register.champion import StoredVersion, champions, fetched_version, identity_of
from domainlm.register.serving import ADAPTER, BASE, TOKENIZER
from domainlm.reports import Report

LEDGER, STATED, ALIAS, NOBODY = "ledger", "stated", "alias", "nobody"


class IncumbentReport(Report):
    """Whether there is a champion, and which.

    Fields:
        label: NAME/VERSION.
        identity: what an approval approved; 64 digits.
        known_by: ledger, stated (by the batch book or the submission), alias (development: the registry alone), nobody.
        base_digest, tokenizer_digest, adapter_digest: of its parts.
        handling, licences: of what it learnt from; a model that goes on from it inherits them.
        trusted: it learnt, as far back as it goes, from trusted sources alone; inherited too. False where nobody knows.
        erased: it learnt from data that were erased since.
    """

    has: bool
    label: str = ""
    identity: str = ""
    known_by: Literal["ledger", "stated", "alias", "nobody"] = NOBODY
    base_digest: str = ""
    tokenizer_digest: str = ""
    adapter_digest: str = ""
    handling: str = ""
    licences: list[str] = Field(default_factory=list)
    trusted: bool = False
    erased: bool = False

    def against_going_on(self, base: BaseCheckpoint) -> str:
        """Why a training on this base cannot go on from the champion; empty where it can."""
        if not self.has:
            return "there is no champion"
        if self.erased:
            return "the champion learnt from data that were erased since"
        if self.base_digest != base.card["digest"]:
            return "the champion stands on another base"
        return ""


class Incumbent(NamedTuple):
    """The champion's parts; each absent (`Folder.absent`) where there is no champion."""

    adapter: AdapterFolder
    tokenizer: TokenizerFolder
    base: BaseCheckpoint
    report: IncumbentReport


class Inherited(NamedTuple):
    """What a model takes over from the one that it went on from, whose texts it may repeat."""

    handling: list[str]
    licences: list[str]
    trusted: bool


def inherited(found: IncumbentReport | None, started_from: str) -> Inherited:
    """Handling class, licences and trust of what a model went on from.

    Args:
        found: the champion.
        started_from: digest of the adapter that the training went on from; empty where it began at the base.

    Raises:
        RegistrationError: it went on from something of which nobody knows what it learnt from.
    """
    if not started_from:
        return Inherited([], [], trusted=True)
    if found is None or found.adapter_digest != started_from or not found.handling:
        raise RegistrationError(
            "nobody knows which texts the model learnt from that it went on from", started_from[:12],
            "train it from the base (steps.decide.parameters.start: base)",
        )  # fmt: skip
    return Inherited([found.handling], found.licences, found.trusted)


def none(place: Path, why: str = "there is no champion") -> Incumbent:
    """What a pipeline whose steps are fixed hands on where there is none."""
    kinds = {ADAPTER: AdapterFolder, TOKENIZER: TokenizerFolder, BASE: BaseCheckpoint}
    folders = [kind.nothing(place / part, why) for part, kind in kinds.items()]
    return Incumbent(*folders, IncumbentReport(has=False))


def of_ledger(uri: str, model: ModelRecord | None, erased: bool, place: Path) -> Incumbent:
    """The champion that the ledger names, out of MLflow.

    Args:
        uri: MLflow's store and registry.
        model: as the run registered it that the ledger promoted last; None: it promoted none.
        erased: it learnt from data that were erased since.
        place: an empty folder for its files.

    Raises:
        RegistrationError: the registry lacks it, or holds something else.
    """
    if model is None:
        return none(place)
    stored = fetched_version(uri, model.name, model.version, place)
    if stored.digests != model.digests:
        raise _changed(stored, "other digests than the ledger")
    known = stored.model_copy(
        update={"handling": model.handling, "licences": model.licences, "trusted": model.trusted is True}
    )  # as the ledger has it, which nobody who reaches the registry can write
    return _checked(known, model.identity, place, LEDGER, erased)


def of_registry(
    uri: str, name: str, place: Path, stated: Collection[str] = (), need_statement: bool = False
) -> Incumbent:
    """The champion that MLflow's alias names, where this machine has no ledger.

    Args:
        uri: MLflow's store and registry.
        name: the registered model.
        place: an empty folder for its files.
        stated: identities that somebody else knows as promoted; none where nobody said.
        need_statement: an alias alone does not suffice (a pod, or production).

    Raises:
        RegistrationError: the registry lacks the champion or holds something else, or nobody but an alias names it.
    """
    version, identity = champions(uri).get(name, ("", ""))
    if stated and identity not in stated:
        raise RegistrationError(
            f"shows {identity[:12] or 'no version'} as the champion; neither batch book nor submission knows it as one",
            f"MLflow {name}",
            "let `domainlm retrain` follow up where the ledger is, and see `domainlm promote --check` there",
        )
    if not version:
        return none(place)
    if need_statement and not stated:
        raise RegistrationError(
            "only an alias says that it is the champion, and in a pod or in production that does not do",
            f"{name}/{version}",
            "let `domainlm retrain` follow up where the ledger is, or state the champion's identity at the submission",
        )
    stored = fetched_version(uri, name, version, place)
    return _checked(stored, identity, place, STATED if stated else ALIAS, erased=False)


def _checked(stored: StoredVersion, identity: str, place: Path, by: str, erased: bool) -> Incumbent:
    """The parts, if they make exactly this identity."""
    if not stored.verified:
        raise _changed(stored, "a version whose registration was not finished")
    if stored.identity != identity or identity_of(stored.digests) != identity:
        raise _changed(stored, "another identity")
    for part, digest in stored.files.items():
        if digest != stored.digests[part]:
            raise _changed(stored, f"another {part} than was registered")
    parts: dict[str, Folder] = {
        kind: folder(place / kind)
        for kind, folder in ((ADAPTER, AdapterFolder), (TOKENIZER, TokenizerFolder), (BASE, BaseCheckpoint))
    }
    report = IncumbentReport(
        has=True, label=f"{stored.name}/{stored.version}", identity=identity, known_by=by,
        base_digest=stored.files[BASE], tokenizer_digest=stored.files[TOKENIZER],
        adapter_digest=stored.files[ADAPTER], handling=stored.handling, licences=stored.licences,
        trusted=stored.trusted, erased=erased,
    )  # fmt: skip
    return Incumbent(parts[ADAPTER], parts[TOKENIZER], parts[BASE], report)


def _changed(stored: StoredVersion, what: str) -> RegistrationError:
    return RegistrationError(
        f"the registry holds {what}", f"{stored.name}/{stored.version}", "somebody changed the champion; restore it"
    )
