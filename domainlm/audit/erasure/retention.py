"""Retention: the data of artifacts whose time is over are deleted; what the ledger says of them stays.

Kept in spite of their age are what a champion is served from or could be restored from (its base, tokenizer and
adapter), and whatever a legal hold covers. As with an erasure, the intent comes first, and a kill is finished by the
next call.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from domainlm.audit.erasure import holds
from domainlm.audit.erasure.at_rest import at_rest
from domainlm.audit.erasure.stored import Store, Version, is_erased, tombstone
from domainlm.audit.erasure.suppression import ErasureRegister
from domainlm.audit.erasure.traces import RECORDS_SUFFIX, WEIGHTS, finder, rows_naming
from domainlm.audit.evidence import Evidence, Stated
from domainlm.ledger import acts, entries

PARTS = ("adapter", "base", "tokenizer")  # of a champion


@dataclass
class Retained:
    """What was done: deleted versions by artifact name, one sentence for each that stays beyond its time, and the
    number of the last entry (None where nothing was due)."""

    deleted: Counter[str] = field(default_factory=Counter)
    kept: list[str] = field(default_factory=list)
    entry: int | None = None


class Retention:
    """Deletes what is due on a day.

    Args:
        home: folder of everything that runs make.
        store: the artifact versions.
        register: tells whom legal holds protect, and what was begun.
        evidence: reads the ledger.
        submit: adds an entry (`domainlm.ledger.client.submit`).
        days: artifact name -> days after which its data go.
        today: the day to take.
    """

    def __init__(
        self,
        home: Path,
        store: Store,
        register: ErasureRegister,
        evidence: Callable[[], Evidence],
        submit: Callable[[str, dict[str, str], dict[str, Any]], Any],
        days: Mapping[str, int],
        today: date | None = None,
    ) -> None:
        self.home, self.store, self.register, self.evidence, self.submit = home, store, register, evidence, submit
        self.days, self.today = days, today or date.today()

    def delete(self) -> Retained:
        """Delete what is due, after finishing what was interrupted.

        Raises:
            PlaceTaken: a run is at work.
            ConfigurationError, ArtifactError, EvidenceRefused: a store, the register or the ledger cannot be used.
        """
        done = Retained()
        with at_rest(self.home, "retention"):
            evidence = self.evidence()
            versions = {version.id: version for version in self.store.versions()}
            for act, plan in self.register.planned_retentions().items():
                mine = [versions[name] for name in plan["versions"] if name in versions]
                self._carry_out(act, plan, mine, evidence, done)
            due = self._due(list(versions.values()), evidence, done)
            if due:
                plan = {
                    "versions": [version.id for version in due],
                    "rule": ", ".join(f"{name}: {self.days[name]} days" for name in sorted({v.name for v in due})),
                }
                act = secrets.token_hex(32)
                self.register.plan_retention(act, plan)
                self._carry_out(act, plan, due, evidence, done)
        return done

    def _due(self, versions: list[Version], evidence: Evidence, done: Retained) -> list[Version]:
        needed = _champions(evidence)
        due = []
        for version in versions:
            days = self.days.get(version.name)
            if days is None or date.fromisoformat(version.created) + timedelta(days=days) > self.today:
                continue
            if not version.digest or is_erased(self.store, version):
                continue
            what = f"{version.name} {version.digest[:12]}…"
            if version.digest in needed:
                done.kept.append(f"{what}: the champion {needed[version.digest]} needs it")
            elif hold := self._held(version, evidence):
                done.kept.append(f"{what}: held by {hold.header.by}, case {hold.act.case}: {hold.act.reason}")
            else:
                due.append(version)
        return due

    def _held(self, version: Version, evidence: Evidence) -> Stated | None:
        """A legal hold on the version, or on a person whom one of its files names."""
        persons: dict[str, Stated] = {}
        for stated in holds.standing(evidence):
            if stated.act.data:
                if stated.act.data == version.digest:
                    return stated
            elif (subject := self.register.held(stated.act.commitment)) is None:
                return stated  # whom it protects cannot be told any more
            else:
                persons[subject] = stated
        find = finder(persons)
        for file in self.store.files(version) if persons else ():
            if file.endswith(RECORDS_SUFFIX):
                with self.store.open(version, file) as stream:
                    for row in rows_naming(stream, frozenset(persons), self.register.keys):
                        return persons[row.subject]
            if Path(file).suffix not in WEIGHTS:
                with self.store.open(version, file) as stream:
                    for subject in find(stream):
                        return persons[subject]
        return None

    def _carry_out(
        self, act: str, plan: dict[str, Any], versions: list[Version], evidence: Evidence, done: Retained
    ) -> None:
        if held := [version for version in versions if self._held(version, evidence)]:  # since the day of the plan
            versions = [version for version in versions if version not in held or is_erased(self.store, version)]
        self.store.forget_caches(versions)
        for version in versions:
            self.store.erase(version, tombstone(entries.RETENTION, act, version, self.today))
        known = [stated for stated in evidence.of_kind(entries.RETENTION) if _subject(stated) == act]
        if known:
            done.entry = known[0].number
        elif versions:
            stated = acts.Retention(
                deleted={version.digest: version.name for version in versions}, rule=plan["rule"]
            ).model_dump(mode="json")
            done.entry = self.submit(entries.RETENTION, {"retention": act}, stated).number
        self.register.retained(act)
        done.deleted.update(version.name for version in versions)


def _champions(evidence: Evidence) -> dict[str, str]:
    """Digest of each artifact that a champion of now consists of -> NAME/VERSION."""
    names = {stated.act.model.rpartition("/")[0] for stated in evidence.of_kind(entries.PROMOTION)}
    found = {}
    for name in names:
        champion = evidence.champion(name)
        run = evidence.models().get(champion.act.identity) if champion else None
        for step in run.act.steps if run else ():
            for part, digest in (*step.outputs.items(), *step.inputs.items()):
                if part in PARTS:
                    found[digest] = champion.act.model
    return found


def _subject(stated: Stated) -> str:
    return entries.subjects(stated.envelope).get("retention", "")
