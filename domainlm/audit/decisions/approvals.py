"""Who approved a model, what is still missing, and whether it may become the champion.

The rules are the policy's (`domainlm.ledger.trust.gate.Rules`), the acts are the ledger's; nothing else is asked, no
environment variable, no file, no registry. Whatever cannot be decided counts against the model.

A person's later act on a model replaces the earlier one; `last_acts` says which is the later. Four eyes are counted
against everybody who wrote the code, the configuration or the data of any run that registered the model, and whoever
ran it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from pydantic import Field

from domainlm.audit.evidence import Evidence, Stated
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Bound, Condition, ContestBound, StandingApproval
from domainlm.ledger.findings import Finding
from domainlm.ledger.run.manifest import COMPLETED, RunManifest
from domainlm.ledger.trust import gate as trust
from domainlm.ledger.trust.gate import OFFICER, VALIDATOR, Policy
from domainlm.names import CONTEST
from domainlm.reports import Report
from domainlm.risk import BETTER, EQUAL, HIGHEST, LOWEST, NO_CHAMPION

DECIDERS = (OFFICER, VALIDATOR)
SHOWN = "shown"  # an evaluation's verdict (`domainlm.register`)
OWN = "tuned"  # how the name of a metric that is the model's own ends (`domainlm.evaluate`)


class OpenCondition(Condition):
    """A condition that nobody has met yet, and the approval (by its entry's digest) and person that it belongs to."""

    approval: str
    person: str


class Decision(Report):
    """Whether a model may be promoted, and why.

    Fields:
        missing: what stands against it, one sentence each, with who could give it; empty where it is allowed.
        approvals: digests of the approval entries that count.
        standing: digest of the standing approval that allows it; empty where people did.
        counted: person -> the one role in which they count.
        excluded: person -> why they do not count.
        open_conditions: of the approvals that count: still to be met, and not overdue.
        unusable: digest of a standing approval for this name -> why it does not serve.
    """

    identity: str
    allowed: bool
    missing: list[str] = Field(default_factory=list)
    approvals: list[str] = Field(default_factory=list)
    standing: str = ""
    counted: dict[str, str] = Field(default_factory=dict)
    excluded: dict[str, str] = Field(default_factory=dict)
    open_conditions: list[OpenCondition] = Field(default_factory=list)
    unusable: dict[str, str] = Field(default_factory=dict)


def decide(evidence: Evidence, identity: str, today: date | None = None, name: str = "") -> Decision:
    """Whether a model may be promoted by what the ledger says.

    Args:
        evidence: the ledger.
        identity: of the model, 64 hexadecimal digits.
        today: the present day, UTC. A day before the latest entry's is not believed: that entry's day is taken, so that
            a clock that is set back brings no expired approval to life.
        name: the registered name that it shall be champion of; by default the first that it was registered under.
    """
    return _decided(evidence, identity, day_of(evidence, today), name)


def _decided(
    evidence: Evidence, identity: str, today: date, name: str, rests_on: frozenset[str] | None = None
) -> Decision:
    """`decide`, where `rests_on` is said by these approvals and standing approvals alone."""
    runs = registrations(evidence, identity, name)
    barred = bars(evidence, identity, name)
    if not runs:
        return Decision(identity=identity, allowed=False, missing=barred)
    judge = _Judge(evidence, runs, today, rests_on)
    judge.hear_people(identity)
    closed, short = barred + judge.strangers(), judge.shortfall()
    usable, unusable = judge.standing_approvals()
    standing = usable[0] if usable and short and not closed else ""
    missing = closed + ([] if standing else short)
    return Decision(
        identity=identity, allowed=not missing, missing=missing, standing=standing, unusable=unusable,
        approvals=[stated.digest for stated in judge.approvals.values()],
        counted=judge.counted(), excluded=judge.excluded, open_conditions=judge.open_conditions,
    )  # fmt: skip


def registrations(evidence: Evidence, identity: str, name: str = "") -> list[Stated]:
    """The entries of the completed runs that registered a model, in order.

    A run that was entered again later counts as its latest entry says.

    Args:
        name: only under this registered name; by default under the first that it was registered under.
    """
    found = [
        stated
        for stated in evidence.registered(identity)
        if stated.act.status == COMPLETED and evidence.run(stated.act.run_id).act.status == COMPLETED
    ]
    name = name or (found[0].act.model.name if found else "")
    return [stated for stated in found if stated.act.model.name == name]


def bars(evidence: Evidence, identity: str, name: str = "") -> list[str]:
    """What no approval can outweigh: no completed run, data erased since, a rejection that stands."""
    found = []
    if not registrations(evidence, identity, name):
        found.append(f"no completed run registered the model {identity[:12]}" + (f" as {name}" if name else ""))
    if (erasure := erased_since(evidence, identity)) is not None:
        found.append(f"it learnt from data that were erased since (entry {erasure.number}): train it again")
    for person, stated in last_acts(evidence, identity).items():
        # a rejection outlives its author's time as a member: only they, or the root by a new policy, can lift it
        if stated.act.decision == "reject" and _roles(evidence.policy, person):
            found.append(f"{person} rejected it (entry {stated.number}): only {person} can revoke that, or approve")
    return found


def erased_since(evidence: Evidence, identity: str) -> Stated | None:
    """The first erasure of data that a model learnt from."""
    return next((stated for stated in evidence.of_kind(entries.ERASURE) if identity in stated.act.models), None)


def last_acts(evidence: Evidence, subject: str) -> dict[str, Stated]:
    """Person -> the latest believed act that counts on a model, or on a standing approval (by its entry's digest).

    The log's order decides, and what a person signed may be entered days later, by anybody. So what opens the gate
    counts only where it was also signed last: an `approve` after all else of that person that stands before it, a
    `revoke` after the rejections that it would lift. What closes the gate counts whatever time it bears.
    """
    found: dict[str, Stated] = {}
    latest: dict[str, datetime] = {}  # by person: of their acts so far, and of their rejections
    rejected: dict[str, datetime] = {}
    for stated in _believed(evidence, subject):
        person, moment = _person(evidence.policy, stated), entries.parse_time(stated.header.time)
        decision, last = stated.act.decision, found.get(person)
        if decision == "approve":
            counts = person not in latest or moment > latest[person]
        else:
            lifts = decision == "revoke" and last is not None and last.act.decision == "reject"
            counts = not lifts or moment > rejected[person]
        latest[person] = max(moment, latest.get(person, moment))
        if decision == "reject":
            rejected[person] = max(moment, rejected.get(person, moment))
        if counts:
            found[person] = stated
    return found


def why_not(evidence: Evidence, identity: str, person: str, today: date | None = None) -> str:
    """Why nothing that a person does about a model would count; empty where it would."""
    return _Judge(evidence, registrations(evidence, identity), day_of(evidence, today), None).barred(person)


def check_promotion(evidence: Evidence, stated: Stated) -> Finding | None:
    """Whether a promotion was allowed at its place in the ledger.

    Returns:
        None where it was. `unapproved` (broken) where it was not, or rests on other approvals than it says, or does not
        follow the champion before it. `revoked-key` (a warning) where it was allowed then, and a key that it rests on
        was declared stolen since, from a time before the approval on.
    """
    where, act = f"entry {stated.number}", stated.act

    def unapproved(what: str) -> Finding:
        return Finding(code="unapproved", severity="broken", where=where, what=what)

    before = evidence.until(stated.number)
    name = act.model.rpartition("/")[0]
    champion = before.champion(name)
    if act.follows not in (None, stated.number):
        return unapproved(f"the promotion of {act.model} was decided upon other entries than stand before it")
    if act.previous != (champion.act.identity if champion else ""):
        return unapproved(f"the promotion of {act.model} follows another champion than the ledger had")
    if act.model not in {label_of(run) for run in registrations(before, act.identity, name)}:
        return unapproved(f"the promotion of {act.model} names a version that no completed run registered so")
    rests_on = frozenset({*act.approvals, act.standing})
    decision = _decided(before, act.identity, stated.clock.date(), name, rests_on)
    if not decision.allowed:
        return unapproved(f"the promotion of {act.model} by what it rests on was not allowed: {decision.missing[0]}")
    if act.standing != decision.standing or set(act.approvals) != set(decision.approvals):
        return unapproved(f"the promotion of {act.model} rests on other approvals than it says")
    for digest in (*act.approvals, act.standing):
        approval = evidence.entry(digest)
        if approval is not None and not _believes(evidence.policy, approval):
            what = f"the promotion of {act.model} rests on an approval by {approval.header.by} whose key counts no more"
            return Finding(code="revoked-key", severity="warning", where=where, what=what)
    return None


class _Judge:
    """Counts the approvals of one model."""

    def __init__(self, evidence: Evidence, runs: list[Stated], today: date, rests_on: frozenset[str] | None) -> None:
        self.evidence, self.policy, self.runs, self.today = evidence, evidence.policy, runs, today
        self.rests_on = rests_on
        self.approvals: dict[str, Stated] = {}  # those that count, by person
        self.excluded: dict[str, str] = {}
        self.open_conditions: list[OpenCondition] = []
        self.authors = {
            author
            for run in runs
            for authors in (run.act.authors,)
            for author in (*authors.code, *authors.configuration, *authors.data, authors.trained_by)
        }
        self.nobody_named = sorted(
            {part for run in runs for part in ("configuration", "data") if not getattr(run.act.authors, part)}
        )

    def hear_people(self, identity: str) -> None:
        for stated in self.evidence.about(identity, entries.APPROVAL):
            if not _believes(self.policy, stated):
                self.excluded[stated.header.by] = "signed with a key that counts no more"
            elif not _person(self.policy, stated):
                self.excluded[stated.header.by] = "is no member of the policy in force"
        for person, stated in last_acts(self.evidence, identity).items():
            self.excluded.pop(person, None)
            if stated.act.decision != "approve":
                self.excluded[person] = "rejected it" if stated.act.decision == "reject" else "took their decision back"
            elif why := self._against(person, stated):
                self.excluded[person] = why
            elif self.rests_on is None or stated.digest in self.rests_on:
                self.approvals[person] = stated
                self.open_conditions += self._open(person, stated)

    def _against(self, person: str, stated: Stated) -> str:
        """Why an approval does not count; empty where it does."""
        act: Approval = stated.act
        if why := self.barred(person):
            return why
        run = next((run for run in self.runs if run.digest == act.run), None)
        if run is None or act.model != label_of(run):
            return "approved another run or version than the one that registered this model"
        given = entries.parse_time(stated.header.time).date()
        last = _parsed(act.until) if act.until else given + timedelta(self.policy.rules.approval_days)
        if last is None or self.today > last:
            return f"approved it until {act.until or last}, which has passed" if last else "gave no readable date"
        for condition in act.conditions:
            due, met = _parsed(condition.due), self._met(stated.digest, condition.id)
            if due is None:
                return f"gave the condition '{condition.id}' no readable date"
            if (met or self.today) > due:
                return f"approved it on the condition '{condition.id}' by {condition.due}, which was not met"
        return ""

    def barred(self, person: str) -> str:
        """Why nothing that a person does about this model counts; empty where it may."""
        member = self.policy.members.get(person)
        if member is None or not _roles(self.policy, person):
            return "is no officer or validator of the policy in force"
        if member.until and self.today.isoformat() > member.until:
            return f"was a member until {member.until}"
        if not any(_in_force(self.policy, keyid) for keyid in member.keys):
            return "has no key in force"
        if self.policy.rules.four_eyes:
            if not member.identities:
                return "has no identity in the policy, so that four eyes cannot be counted"
            if self.authors & set(member.identities):
                return "wrote its code, configuration or data, or ran its training (four eyes)"
        return ""

    def strangers(self) -> list[str]:
        """Authors that nobody knows: they might be anybody, an approver too."""
        if not self.policy.rules.four_eyes:
            return []
        known = {identity for member in self.policy.members.values() for identity in member.identities}
        unknown = (self.authors - known - set(self.policy.rules.outside)) | (self.authors & {""})
        found = [f"the run names no author of its {part}: four eyes cannot be counted" for part in self.nobody_named]
        if unknown:
            count = "an author" if len(unknown) == 1 else f"{len(unknown)} authors"
            found.append(
                f"{count} of its code, configuration, data or training cannot be told"
                f" ({', '.join(sorted(author[:19] or 'not named' for author in unknown))}): the root must name"
                " them in the policy, as a member's identity or as outside"
            )
        return found

    def counted(self) -> dict[str, str]:
        """Person -> role. Whoever has both roles takes the one that is short."""
        roles = {person: _roles(self.policy, person) for person in self.approvals}
        found = {person: has[0] for person, has in roles.items() if len(has) == 1}
        officers, validators = self._wanted()
        for person in roles:
            if person not in found:
                short = sum(role == OFFICER for role in found.values()) < officers
                enough = sum(role == VALIDATOR for role in found.values()) >= validators
                found[person] = OFFICER if short or enough else VALIDATOR
        return found

    def shortfall(self) -> list[str]:
        """One sentence for each role of which approvals are missing, with who could give them."""
        counted, found = self.counted(), []
        for role, wanted in zip((OFFICER, VALIDATOR), self._wanted(), strict=True):
            short = wanted - sum(has == role for has in counted.values())
            if short > 0:
                able = [
                    person
                    for person in self.policy.members
                    if role in _roles(self.policy, person) and person not in counted and not self.barred(person)
                ]
                many = f"the approval of an {role}" if role == OFFICER else f"the approval of a {role}"
                many = many if short == 1 else f"the approvals of {short} {role}s"
                given = f"{', '.join(able)} could give it" if able else "nobody of the policy could give it"
                found.append(f"{many} is missing: {given}" if short == 1 else f"{many} are missing: {given}")
        return found

    def standing_approvals(self) -> tuple[list[str], dict[str, str]]:
        """Digests of those that allow this model, and why each other one for its name does not."""
        usable, unusable = [], {}
        for stated in self.evidence.of_kind(entries.STANDING):
            here = self.rests_on is None or stated.digest in self.rests_on
            if here and stated.act.model == self.runs[0].act.model.name:
                why = self._against_standing(stated)
                if why:
                    unusable[stated.digest] = why
                else:
                    usable.append(stated.digest)
        return usable, unusable

    def _against_standing(self, stated: Stated) -> str:
        act: StandingApproval = stated.act
        giver = _person(self.policy, stated)
        if not _believes(self.policy, stated):
            return f"{stated.header.by} signed it with a key that counts no more"
        if OFFICER not in _roles(self.policy, giver):
            return f"{giver or stated.header.by} is no officer of the policy in force"
        if why := self.barred(giver):
            return f"{giver} {why}"
        for taken in _believed(self.evidence, stated.digest):
            if taken.act.decision == "revoke" and _person(self.policy, taken) == giver:
                return f"{giver} took it back"
        if self._withheld(stated, giver):
            return f"{giver} signed it before they took one back or rejected one, and it was entered after that"
        for person, last in last_acts(self.evidence, stated.digest).items():
            if last.act.decision == "reject" and _roles(self.policy, person):
                return f"{person} rejected it"
        until = _parsed(act.until)
        if until is None or self.today > until:
            return f"it ended on {act.until}"
        used = sum(promotion.act.standing == stated.digest for promotion in self.evidence.of_kind(entries.PROMOTION))
        if used >= act.uses:
            return f"it was used {used} times, and is for {act.uses}"
        return next((why for run in self.runs if (why := self._out_of_bounds(act, run))), "")

    def _withheld(self, stated: Stated, giver: str) -> bool:
        """Whether its officer turned against a standing approval of this name after signing this one, unentered then.

        They could not take back what did not stand in the ledger, so it must not come to life behind their back.
        """
        signed = entries.parse_time(stated.header.time)
        return any(
            taken.number < stated.number
            and taken.act.decision != "approve"
            and _person(self.policy, taken) == giver
            and entries.parse_time(taken.header.time) >= signed
            for other in self.evidence.of_kind(entries.STANDING)
            if other.act.model == stated.act.model
            for taken in _believed(self.evidence, other.digest)
        )

    def _out_of_bounds(self, act: StandingApproval, run: Stated) -> str:
        manifest = run.act
        champion = self.evidence.champion(manifest.model.name)
        before = champion and next(iter(registrations(self.evidence, champion.act.identity)), None)
        if why := self._too_risky(act, manifest) or _contest_lost(manifest, champion):
            return why
        if before and not self._of_before(manifest) and (why := _contest_eased(act, manifest, before.act)):
            return why
        if manifest.model.verdict != SHOWN:
            return "the evaluation did not show the model's headline claim"
        if manifest.code.get("dirty") is not False:
            return "the model was made from a work tree with uncommitted changes"
        if not act.base or manifest.model.digests.get("base") != act.base:
            return "the model has another base"
        sources = {source.name for source in manifest.sources}
        if not sources or sources - set(act.sources):
            return "the model learnt from sources that it does not name" if sources else "the run names no source"
        if not any(bound != Bound() for bound in act.metrics.values()):
            return "it bounds no metric"
        for metric, bound in sorted(act.metrics.items()):
            value = manifest.metrics.get(metric, math.nan)
            gain = value - (before.act.metrics.get(metric, math.nan) if before else math.nan)
            # written so that a value that is not a number is out of bounds
            if not math.isfinite(value):
                return f"the run has no {metric}"
            if bound.low is not None and not value >= bound.low:
                return f"{metric} is {value:g}, below {bound.low:g}"
            if bound.high is not None and not value <= bound.high:
                return f"{metric} is {value:g}, above {bound.high:g}"
            if bound.over_champion is not None and not gain >= bound.over_champion:
                return f"{metric} is not {bound.over_champion:g} above the champion's"
        return ""

    def _too_risky(self, act: StandingApproval, manifest: RunManifest) -> str:
        """Why nobody may leave this model to a standing approval, or not to this one.

        What was signed before there were tiers serves no model any more; a promotion that it once allowed, of a run
        from before manifests said whom they trust, stays as right as it was.
        """
        stated = manifest.model.tier is not None or any(source.trusted is not None for source in manifest.sources)
        if act.tier is None and not stated and self.rests_on is not None:
            return ""
        if act.tier is None:
            return "it names no risk tier: its officer gives a new one that does"
        if unsure := sorted({source.name for source in manifest.sources if source.trusted is None}):
            return f"the run does not say whether its source {unsure[0]} is trusted"
        if strangers := sorted({source.name for source in manifest.sources if not source.trusted}):
            return f"the model learnt from {strangers[0]}, an untrusted source: people decide on it"
        if manifest.model.trusted is None and not self._of_before(manifest):
            return "the run does not say whether what its model went on from is trusted"
        if manifest.model.trusted is False:
            return "the model went on from one that learnt from an untrusted source, or from one of which nobody knows"
        # of old, a run's word sufficed; whoever writes the configuration can make no model harmless now
        unnamed = LOWEST if self._of_before(manifest) else HIGHEST
        tier = min(manifest.model.tier or HIGHEST, self.policy.rules.tiers.get(manifest.model.name, unnamed))
        if tier < act.tier:
            return f"the model is of risk tier {tier}, and it covers tier {act.tier} and lower risks"
        return ""

    def _of_before(self, manifest: RunManifest) -> bool:
        """Whether an old promotion is judged, of a run from before runs stated whom their whole model trusts.

        It stays as right as it was; no promotion of today rests on such a run.
        """
        return self.rests_on is not None and manifest.model.trusted is None

    def _wanted(self) -> tuple[int, int]:
        """Officers and validators asked for; a policy that asks for nobody gets one officer."""
        officers, validators = self.policy.rules.officers, self.policy.rules.validators
        return (officers, validators) if officers + validators else (1, 0)

    def _open(self, person: str, stated: Stated) -> list[OpenCondition]:
        return [
            OpenCondition(**condition.model_dump(), approval=stated.digest, person=person)
            for condition in stated.act.conditions
            if self._met(stated.digest, condition.id) is None
        ]

    def _met(self, approval: str, condition: str) -> date | None:
        """The first day, by the ledger's clock, on which somebody entitled and no author said that it is fulfilled."""
        return next(
            (
                stated.clock.date()
                for stated in self.evidence.of_kind(entries.CONDITION_MET)
                if (stated.act.approval, stated.act.condition) == (approval, condition)
                and _believes(self.policy, stated)
                and not self.barred(_person(self.policy, stated))
            ),
            None,
        )


def _believed(evidence: Evidence, subject: str) -> list[Stated]:
    """Acts on a model or a standing approval whose key is believed, of members of the policy in force, in order."""
    return [
        stated
        for stated in evidence.about(subject, entries.APPROVAL)
        if _believes(evidence.policy, stated) and _person(evidence.policy, stated)
    ]


def _believes(policy: Policy, stated: Stated) -> bool:
    """Whether the policy in force still believes what was signed then; a retired key's old signatures it does.

    By the ledger's clock, not by the time that the entry claims: whoever stole a key would set that back.
    """
    revoked = policy.revoked.get(stated.envelope.signatures[0][0])
    return revoked is None or stated.clock < entries.parse_time(revoked.since)


def _in_force(policy: Policy, keyid: str) -> bool:
    return keyid not in policy.revoked


def _person(policy: Policy, stated: Stated) -> str:
    """The present owner of the key that signed; empty where it is nobody's any more."""
    return policy.owner(stated.envelope.signatures[0][0])


def _roles(policy: Policy, person: str) -> list[str]:
    """Which of a member's roles may approve, in one order."""
    member = policy.members.get(person)
    return [role for role in DECIDERS if member and role in member.roles]


def label_of(run: Stated) -> str:
    """NAME/VERSION of the model that a run registered."""
    return f"{run.act.model.name}/{run.act.model.version}"


def day_of(evidence: Evidence, today: date | None = None) -> date:
    """The day that counts: today, and never one before the latest entry's."""
    last = evidence.stated[-1].clock.date() if evidence.stated else date.min
    return max(today or trust.now().date(), last)


def _contest_lost(manifest: RunManifest, champion: Stated | None) -> str:
    """Why a run's contest asks for people; empty where it had none, or did not lose to the present champion."""
    found = manifest.verdicts.get(CONTEST)
    if found is None:
        return "its contest has no verdict" if any(step.name == CONTEST for step in manifest.steps) else ""
    if found.get("champion", "") != (champion.act.identity if champion else ""):
        return "its contest was not against the present champion"
    if found.get("verdict") not in ((BETTER, EQUAL) if champion else (NO_CHAMPION,)):
        return f"its contest with the champion ended: {found.get('verdict') or 'no verdict'}"
    return ""


def _contest_eased(act: StandingApproval, manifest: RunManifest, champion: RunManifest) -> str:
    """Why a run's contest was judged more easily than the approval bears; empty where it was not, or had none."""
    found = manifest.verdicts.get(CONTEST)
    if found is None:
        return ""
    bound = act.contest or ContestBound()
    tolerance, groups, confidence = (found.get(name) for name in ("tolerance", "min_groups", "confidence"))
    # written so that a value that is no number is out of bounds
    if not isinstance(tolerance, (int, float)) or not tolerance <= bound.tolerance:
        return f"its contest bore a loss of {tolerance}, at most {bound.tolerance:g} may be borne"
    if not isinstance(groups, (int, float)) or not groups >= bound.min_groups:
        return f"its contest rested on {groups} groups or more, at least {bound.min_groups} are needed"
    if not isinstance(confidence, (int, float)) or not confidence >= bound.confidence:
        return f"its contest had intervals of {confidence}, at least {bound.confidence:g} is needed"
    compared = set(_spelled(str(found.get("tasks", "")).split(", ")))
    if missing := [task for task in _spelled(bound.tasks or _scored(champion)) if task not in compared]:
        return f"its contest left out the task {missing[0]}"
    return ""


def _scored(manifest: RunManifest) -> set[str]:
    """The tasks that a run's model was scored on, by the names of its metrics."""
    parts = [metric.split("/") for metric in manifest.metrics]
    evaluated = {part[0] for part in parts if len(part) == 4 and part[0] != CONTEST and part[-1] == OWN}
    return evaluated | {part[2] for part in parts if len(part) == 4 and part[0] == CONTEST and part[-1] == "challenger"}


def _spelled(tasks: Iterable[str]) -> list[str]:
    """As they stand in names of metrics."""
    return sorted(task.replace(" ", "-") for task in tasks)


def _parsed(day: str) -> date | None:
    try:
        return date.fromisoformat(day)
    except ValueError:
        return None
