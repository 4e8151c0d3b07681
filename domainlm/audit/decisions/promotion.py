"""A version becomes the champion: in the ledger first, then in both registries.

The ledger decides and remembers; the registries only show. So the order is: verify the ledger, compare what the
registries hold with it, decide, enter the promotion, move the aliases, read them back. The entry is added only if
nothing came between it and what was decided upon, so that of two promotions at once one is refused. A promotion that
was killed after its entry is finished by calling it again; the ledger's latest champion is what the aliases end at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Protocol

from pydantic import Field

from domainlm.audit.decisions.approvals import (
    Decision,
    bars,
    check_promotion,
    decide,
    erased_since,
    label_of,
    registrations,
)
from domainlm.audit.decisions.statements import printable
from domainlm.audit.evidence import Evidence, Stated
from domainlm.audit.proof.verification import Verification
from domainlm.digests import digest_json
from domainlm.errors import ApprovalRefused, EvidenceRefused, RegistrationError
from domainlm.ledger import entries
from domainlm.ledger.acts import Promotion
from domainlm.ledger.findings import BROKEN, Finding
from domainlm.ledger.log import Ledger
from domainlm.ledger.run.manifest import ModelRecord
from domainlm.ledger.trust.gate import CLOCK_TOLERANCE_S, Gate, now
from domainlm.reports import Report

OVERTAKEN = "overtaken"  # the ledger grew between the decision and the entry
TRIES = 20  # entries of others may come between; those of this name end it


class Champion(Report):
    """What a registry shows as the champion of a name: version and identity, as it states them."""

    registry: str
    name: str
    version: str
    identity: str


class RegisteredVersion(Report):
    """A version as the registries have it.

    Fields:
        label: NAME/VERSION.
        verified: whether its registration was finished.
        identities: registry -> the identity that it states.
        digests: the digests that make the identity, as stated.
        files: part -> digest of what is stored, computed now.
    """

    label: str
    verified: bool
    identities: dict[str, str]
    digests: dict[str, str]
    files: dict[str, str]


class Registries(Protocol):
    """Where champions are shown (`steps.registry`)."""

    names: Sequence[str]

    def identity(self, name: str, version: str) -> str:
        """What a version's tag says; empty where there is no such version."""

    def version(self, name: str, version: str, runs: Sequence[str]) -> RegisteredVersion:
        """A version as it lies there, registered by these runs."""

    def champions(self) -> list[Champion]:
        """Every champion that any of them shows."""

    def crown(self, name: str, version: str, runs: Sequence[str]) -> None:
        """Make a version the champion in all of them; twice is as once."""


class Promoted(Report):
    """What became of a promotion.

    Fields:
        entry: digest of its entry; empty in a dry run.
        already: nothing had to be done.
        finished: the entry was there, and the aliases were moved now.
        decision: None where the entry was there already.
    """

    label: str
    identity: str
    previous: str
    entry: str = ""
    already: bool = False
    finished: bool = False
    decision: Decision | None = None
    warnings: list[str] = Field(default_factory=list)


def promote(
    name: str,
    version: str,
    *,
    examine: Callable[[], tuple[Verification, Evidence]],
    ledger: Ledger,
    registries: Registries,
    append: Callable[[Promotion], object],
    today: date | None = None,
    dry_run: bool = False,
) -> Promoted:
    """Make a version the champion of its name.

    Args:
        examine: verifies the ledger and reads it.
        ledger: where entries that come meanwhile are read.
        registries: where champions are shown.
        append: adds the entry; the signer refuses it as `overtaken` where others came between.
        today: for tests; by default the day in two minutes, when a promotion of this minute may bear tomorrow's date.
        dry_run: decide, and change nothing.

    Raises:
        ApprovalRefused: the ledger is broken, the decision is no, the registries hold something else than the ledger
            says, or another promotion of this name came first.
        RegistrationError: a registry has no such version.
        EvidenceRefused: the signer refuses the entry.
    """
    label = f"{name}/{version}"
    verification, evidence = examine()
    if verification.verdict == BROKEN:
        first = next(finding for finding in verification.findings if finding.severity == BROKEN)
        raise ApprovalRefused(
            f"the ledger is broken: {printable(first.line())}",
            label,
            "see `domainlm audit verify`; nothing is promoted until then",
        )
    before = evidence.champion(name)  # as it was when the caller looked: one that came since was not seen
    size = _caught_up(evidence, ledger, verification.size)
    run = _run_of(evidence, registries, name, version)
    identity = run.act.model.identity
    _compare(run.act.model, registries.version(name, version, _run_ids(evidence, run)))
    warnings = [finding.line() for finding in verification.findings]
    if before is not None and (erasure := erased_since(evidence, before.act.identity)) is not None:
        warnings.append(
            f"the present champion {before.act.model} learnt from data that were erased since"
            f" (entry {erasure.number}): it must be trained again"
        )
    for _ in range(TRIES):
        champion = evidence.champion(name)
        if champion is not None and (champion.act.identity, champion.act.model) == (identity, label):
            return _finish(evidence, ledger, size, champion, registries, dry_run, warnings)
        if _digest(champion) != _digest(before):
            raise ApprovalRefused(
                f"another promotion came first: {champion.act.model if champion else 'none'} is the champion now",
                label, f"call it again if {label} shall replace that",
            )  # fmt: skip
        day = today or (now() + timedelta(seconds=CLOCK_TOLERANCE_S)).date()
        decision = decide(evidence, identity, day, name)
        if not decision.allowed:
            raise ApprovalRefused(
                "\n".join(["may not be promoted:", *(f"  - {sentence}" for sentence in decision.missing)]), label,
                "see `domainlm audit approvals " + label + "`",
            )  # fmt: skip
        previous = champion.act.identity if champion else ""
        found = Promoted(label=label, identity=identity, previous=previous, decision=decision, warnings=warnings)
        if dry_run:
            return found
        act = Promotion(
            model=label, identity=identity, previous=previous, approvals=decision.approvals,
            standing=decision.standing, follows=size,
        )  # fmt: skip
        try:
            append(act)
        except EvidenceRefused as refusal:
            if refusal.code != OVERTAKEN:
                raise
            size = _caught_up(evidence, ledger, size)
            continue
        size = _caught_up(evidence, ledger, size)
        entered = next(stated for stated in evidence.of_kind(entries.PROMOTION) if stated.act == act)
        _move(evidence, ledger, size, entered, registries)
        return found.model_copy(update={"entry": entered.digest})
    raise ApprovalRefused(f"other entries came between {TRIES} times", label, "call it again")


def alias_findings(evidence: Evidence, champions: Iterable[Champion], registries: Sequence[str]) -> list[Finding]:
    """`alias-edited`: every name of which a registry shows another champion than the ledger promoted last, or none.

    A promotion that was killed after its entry looks the same until it is called again.

    Args:
        champions: what the registries show.
        registries: those that were asked.
    """
    shown = {(champion.registry, champion.name): champion for champion in champions}
    promoted = {stated.act.model.rpartition("/")[0] for stated in evidence.of_kind(entries.PROMOTION)}
    asked = set(shown) | {(registry, name) for registry in registries for name in promoted}
    found = []
    for registry, name in sorted(asked):
        champion, ledgers = shown.get((registry, name)), evidence.champion(name)
        expected = (ledgers.act.model, ledgers.act.identity) if ledgers else ("", "")
        actual = (f"{name}/{champion.version}", champion.identity) if champion else ("", "")
        if expected == actual:
            continue
        says = f"the ledger promoted {expected[0]}" if ledgers else "the ledger promoted none"
        if champion is None:
            what = f"shows no champion of {name}; {says}"
        elif actual[0] == expected[0]:
            what = f"shows {actual[0]} as the champion, and states another identity for it than the ledger"
        else:
            what = f"shows {actual[0]} as the champion; {says}"
        found.append(Finding(code="alias-edited", severity="broken", where=f"{registry} {name}", what=what))
    return found


def stored_findings(evidence: Evidence, registries: Registries, name: str) -> list[Finding]:
    """`replaced-artifact`: the champion's files are others than those that were promoted."""
    champion = evidence.champion(name)
    if champion is None:
        return []
    label = champion.act.model
    run = next(stated for stated in registrations(evidence, champion.act.identity, name) if label_of(stated) == label)
    found = registries.version(name, label.rpartition("/")[2], _run_ids(evidence, run))
    return [
        Finding(code="replaced-artifact", severity="broken", where=label, what=f"the registry holds {what}")
        for what in _differences(run.act.model, found)
    ]


def registered_findings(evidence: Evidence, registries: Registries) -> list[Finding]:
    """`replaced-artifact`, `missing-artifact`: what the registries hold of the versions that the ledger knows.

    A version that is gone from them altogether is no finding, unless it is the champion: old ones may be removed.
    """
    versions = {
        label_of(run): run
        for identity in evidence.models()
        for name in {run.act.model.name for run in evidence.registered(identity)}
        for run in registrations(evidence, identity, name)
    }
    crowned = set()
    for name in {stated.act.model.rpartition("/")[0] for stated in evidence.of_kind(entries.PROMOTION)}:
        champion = evidence.champion(name)
        for run in registrations(evidence, champion.act.identity, name) if champion else ():
            if label_of(run) == champion.act.model:
                versions[label_of(run)] = run
                crowned.add(label_of(run))
    found = []
    for label, run in sorted(versions.items()):
        name, _, version = label.rpartition("/")
        if label not in crowned and not registries.identity(name, version):
            continue
        try:
            code, differences = (
                "replaced-artifact",
                _differences(run.act.model, registries.version(name, version, _run_ids(evidence, run))),
            )
            what = [f"the registry holds {difference}" for difference in differences]
        except RegistrationError as error:
            code, what = "missing-artifact", [error.what]
        found += [Finding(code=code, severity=BROKEN, where=label, what=said) for said in what]
    return found


def _run_of(evidence: Evidence, registries: Registries, name: str, version: str) -> Stated:
    """The completed run that registered exactly what the registry has under this version."""
    identity = registries.identity(name, version)
    for run in registrations(evidence, identity, name) if identity else ():
        if label_of(run) == f"{name}/{version}":
            return run
    raise ApprovalRefused(
        "the ledger holds no completed run that registered it" + (f" as {identity[:12]}" if identity else ""),
        f"{name}/{version}", "train it with the ledger at hand; what nobody recorded cannot be promoted",
    )  # fmt: skip


def _run_ids(evidence: Evidence, run: Stated) -> list[str]:
    model = run.act.model
    return [stated.act.run_id for stated in registrations(evidence, model.identity, model.name)]


def _compare(model: ModelRecord, found: RegisteredVersion) -> None:
    if differences := _differences(model, found):
        raise ApprovalRefused(
            f"the registry holds {differences[0]}", found.label, "somebody changed it; register it again, or restore it"
        )


def _differences(model: ModelRecord, found: RegisteredVersion) -> list[str]:
    """In which the registries differ from the ledger."""
    differences = [] if found.verified else ["a version whose registration was not finished"]
    differences += [
        f"another identity than the ledger ({registry})"
        for registry, identity in found.identities.items()
        if identity != model.identity
    ]
    if found.digests != model.digests or digest_json(found.digests) != model.identity:
        differences.append("other digests than the ledger")
    differences += [f"another {part} than was registered" for part, digest in sorted(found.files.items())
                    if digest != model.digests.get(part)]  # fmt: skip
    if "adapter" not in found.files:
        differences.append("no adapter")
    return differences


def _finish(
    evidence: Evidence,
    ledger: Ledger,
    size: int,
    champion: Stated,
    registries: Registries,
    dry_run: bool,
    warnings: list[str],
) -> Promoted:
    """The ledger has it as the champion already: see to it that the registries do."""
    label, identity = champion.act.model, champion.act.identity
    name = label.rpartition("/")[0]
    found = Promoted(
        label=label, identity=identity, previous=champion.act.previous, entry=champion.digest, warnings=warnings
    )
    if not _missing(champion, registries):
        return found.model_copy(update={"already": True})
    finding = check_promotion(evidence, champion)
    against = [finding.what] if finding is not None and finding.severity == BROKEN else bars(evidence, identity, name)
    if against:
        raise ApprovalRefused(
            f"is the ledger's champion, but may not be shown as such: {against[0]}", label, "promote another version"
        )
    if not dry_run:
        _move(evidence, ledger, size, champion, registries)
    return found.model_copy(update={"finished": True})


def _move(evidence: Evidence, ledger: Ledger, size: int, champion: Stated, registries: Registries) -> None:
    """Move the aliases to the ledger's latest champion, and look whether they got there.

    Raises:
        ApprovalRefused: somebody moved them elsewhere at once, or a later promotion took the place.
    """
    name, first = champion.act.model.rpartition("/")[0], champion
    while True:
        run = registrations(evidence, champion.act.identity, name)[0]
        registries.crown(name, champion.act.model.rpartition("/")[2], _run_ids(evidence, run))
        size = _caught_up(evidence, ledger, size)
        latest = evidence.champion(name)
        # two promotions, one after the other, may move the aliases in the other order: whoever is last sees both
        if latest is None or latest.digest == champion.digest:
            break
        champion = latest
    if champion.digest != first.digest:
        raise ApprovalRefused(
            f"was promoted, and at once replaced by {champion.act.model}", first.act.model,
            "call it again if it shall replace that",
        )  # fmt: skip
    if missing := _missing(champion, registries):
        raise ApprovalRefused(
            f"the promotion is entered, and {' and '.join(missing)} shows another champion", champion.act.model,
            "somebody else writes there; call it again, and see `domainlm promote --check`",
        )  # fmt: skip


def _missing(champion: Stated, registries: Registries) -> list[str]:
    """The registries that do not show it."""
    name, _, version = champion.act.model.rpartition("/")
    wanted = (name, version, champion.act.identity)
    shown = {found.registry for found in registries.champions()
             if (found.name, found.version, found.identity) == wanted}  # fmt: skip
    return [registry for registry in registries.names if registry not in shown]


def _caught_up(evidence: Evidence, ledger: Ledger, size: int) -> int:
    """Take in what was added since, each entry judged by a gate of its own: `examine` lent the evidence a trusting one.

    Returns:
        The ledger's size up to which the evidence goes now.
    """
    gate = Gate(evidence.gate.origin, evidence.gate.root_keyids, evidence.gate.state, remember=False)
    for number, envelope in ledger.entries(size):
        if number != size:
            raise EvidenceRefused("lacks entries", ledger.place, "restore it from a copy", "deleted")
        header = gate.admit(number, envelope)
        if header.kind == entries.READ:
            evidence.pass_over(header)
        else:
            evidence.extend([(number, envelope)])
        size = number + 1
    return size


def _digest(stated: Stated | None) -> str:
    return stated.digest if stated else ""
