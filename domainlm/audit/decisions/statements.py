"""What a person signs: an act made from the ledger's own words, checked before it is signed, and shown in plain words.

The command line and the officer's page both make acts here, so that what is signed and what is shown cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from domainlm.audit.decisions.approvals import OWN, day_of, decide, label_of, registrations, why_not
from domainlm.audit.evidence import Evidence, Stated
from domainlm.errors import ApprovalRefused, ConfigurationError
from domainlm.ledger import entries
from domainlm.ledger.acts import MAX_WORDS, Approval, Bound, Condition, ConditionMet, ContestBound, StandingApproval
from domainlm.ledger.trust.gate import MAY_SIGN

Act = Approval | ConditionMet | StandingApproval
KINDS = {Approval: entries.APPROVAL, ConditionMet: entries.CONDITION_MET, StandingApproval: entries.STANDING}
MIN_DIGITS = 8  # of a digest, where a person types one


def subject_of(evidence: Evidence, text: str) -> Stated:
    """The completed run of a model, or the standing approval, that a person means.

    Args:
        text: NAME/VERSION, an identity, or the digest of a standing approval's entry; 8 digits or more of a digest.

    Raises:
        ApprovalRefused: there is none, or there are several.
    """
    found: dict[str, Stated] = {}
    for stated in evidence.of_kind(entries.RUN):
        model = stated.act.model
        if model is not None and (text in (model.identity, label_of(stated)) or _starts(model.identity, text)):
            for run in registrations(evidence, model.identity, model.name):
                if "/" not in text or label_of(run) == text:
                    found[model.identity] = run
    for stated in evidence.of_kind(entries.STANDING):
        if text == stated.digest or _starts(stated.digest, text):
            found[stated.digest] = stated
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise ApprovalRefused(
            "more than one model bears this name: " + ", ".join(digest[:16] for digest in found), text,
            "name it by its identity",
        )  # fmt: skip
    raise ApprovalRefused(
        "the ledger holds no completed run that registered it, and no such standing approval", text,
        "see `domainlm audit approvals`",
    )  # fmt: skip


def approval(
    evidence: Evidence,
    about: Stated,
    decision: str,
    reason: str = "",
    until: str = "",
    conditions: Sequence[Condition] = (),
    today: date | None = None,
) -> Approval:
    """A decision about what `subject_of` found.

    Raises:
        ApprovalRefused: it lacks its reason, bears a date that has passed or is none, or cannot be about this.
    """
    standing = about.header.kind == entries.STANDING
    if decision in ("reject", "revoke") and not reason.strip():
        raise ApprovalRefused(f"a {decision} needs its reason", "--reason", "say why; whoever made the model reads it")
    if decision == "approve" and standing:
        raise ApprovalRefused("a standing approval cannot be approved", about.digest[:16], "an officer gives a new one")
    if decision != "approve" and (until or conditions):
        raise ApprovalRefused(f"a {decision} has no date and no conditions", "--until", "leave them out")
    first = day_of(evidence, today)
    for name, day in [("--until", until), *((f"condition '{one.id}'", one.due) for one in conditions)]:
        if day:
            _check_day(day, first, name)
    ids = [condition.id for condition in conditions]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise ApprovalRefused("two conditions have one name", min(twice), "give each its own")
    _check_words("--reason", reason)
    name = about.act.model if standing else label_of(about)
    identity = about.digest if standing else about.act.model.identity
    return Approval(
        model=name, identity=identity, run=about.digest, decision=decision,  # type: ignore[arg-type]
        reason=reason.strip(), until=until, conditions=list(conditions),
    )  # fmt: skip


def condition(text: str) -> Condition:
    """A condition as it is typed: "id: what must be done: 2026-12-31".

    Raises:
        ConfigurationError: it has another shape.
    """
    match = re.fullmatch(r"\s*([a-z0-9][a-z0-9-]{0,39})\s*:\s*(.*\S)\s*:\s*(\d{4}-\d{2}-\d{2})\s*", text, re.DOTALL)
    if match is None:
        raise ConfigurationError("is no condition", text[:60], 'write "short-name: what must be done: 2026-12-31"')
    _check_words("condition", match[2])
    return Condition(id=match[1], text=match[2], due=match[3])


def condition_met(evidence: Evidence, approval_entry: str, name: str, shown_by: str) -> ConditionMet:
    """That a condition is fulfilled.

    Args:
        approval_entry: number or digest (8 digits or more) of the approval's entry.
        name: the condition's id.
        shown_by: by what, for people.

    Raises:
        ApprovalRefused: there is no such approval or condition, or nothing is said.
    """
    for stated in evidence.of_kind(entries.APPROVAL):
        if (
            str(stated.number) == approval_entry
            or stated.digest == approval_entry
            or _starts(stated.digest, approval_entry)
        ):
            if name not in {found.id for found in stated.act.conditions}:
                known = ", ".join(found.id for found in stated.act.conditions) or "none"
                raise ApprovalRefused(f"has no condition '{name}'", f"entry {stated.number}", f"it has: {known}")
            if not shown_by.strip():
                raise ApprovalRefused("it is not said by what it is met", name, "give --evidence")
            _check_words("--evidence", shown_by)
            return ConditionMet(approval=stated.digest, condition=name, evidence=shown_by.strip())
    raise ApprovalRefused("is no approval of this ledger", approval_entry, "see `domainlm audit approvals MODEL`")


def standing_approval(evidence: Evidence, file: Path, today: date | None = None) -> StandingApproval:
    """The standing approval that a YAML file describes.

    Raises:
        ConfigurationError: a field is missing, unknown or of another kind.
        ApprovalRefused: it bounds nothing, or its date has passed.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        act = StandingApproval(**{name: _plain(value) for name, value in content.items()})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"cannot be read as a standing approval: {type(error).__name__}", str(file), "see docs/approvals.md"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"{where}: {first['msg']}", str(file), f"fields: {', '.join(StandingApproval.model_fields)}"
        ) from None
    _check_day(act.until, day_of(evidence, today), "until")
    if not any(bound != Bound() for bound in act.metrics.values()):
        raise ApprovalRefused("bounds no metric", str(file), "name at least one with low, high or over_champion")
    if act.tier is None:
        raise ApprovalRefused("names no risk tier", str(file), "say tier: 1, 2 or 3, the highest risk that it covers")
    if not act.sources or not re.fullmatch(r"[0-9a-f]{64}", act.base):
        raise ApprovalRefused("names no base digest or no source", str(file), "see the run that it shall be like")
    return act


def statement(evidence: Evidence, person: str, act: Act, today: date | None = None) -> dict[str, Any]:
    """The unsigned entry of a person's act.

    Raises:
        ApprovalRefused: the person's role does not allow it, or it would not count.
    """
    kind = KINDS[type(act)]
    member = evidence.policy.members.get(person)
    if member is None:
        raise ApprovalRefused("is no member of the policy in force", person, "the root adds people")
    if not set(member.roles) & set(MAY_SIGN[kind]):
        raise ApprovalRefused(
            f"has the roles {', '.join(member.roles)}", person, f"it takes one of: {', '.join(MAY_SIGN[kind])}"
        )
    if (
        isinstance(act, Approval)
        and act.decision == "approve"
        and (why := why_not(evidence, act.identity, person, today))
    ):
        raise ApprovalRefused(f"{why}; the approval would not count", person, "let somebody else approve")
    digests = {"model": act.identity} if isinstance(act, Approval) else (
        {"approval": act.approval} if isinstance(act, ConditionMet) else {"base": act.base}
    )  # fmt: skip
    return entries.statement(kind, evidence.gate.origin, person, digests, act.model_dump(mode="json"))


def shown(evidence: Evidence, person: str, act: Act) -> list[str]:
    """What a person is about to sign, in a few lines; control characters are made visible."""
    if isinstance(act, ConditionMet):
        lines = [f"condition met: {act.condition} of the approval {act.approval[:16]}…", f"by: {act.evidence}"]
    elif isinstance(act, StandingApproval):
        lines = _standing_lines(act)
    else:
        lines = _approval_lines(evidence, act)
    return [printable(line) for line in [*lines, f"signed by: {person}, in the ledger '{evidence.gate.origin}'"]]


def told(evidence: Evidence, about: Stated) -> tuple[list[str], bool]:
    """Who decided what about a model or a standing approval, what is missing, and whether it may be promoted.

    Args:
        about: what `subject_of` found.
    """
    standing = about.header.kind == entries.STANDING
    identity = about.digest if standing else about.act.model.identity
    lines = _standing_lines(about.act) if standing else [f"model: {label_of(about)} ({identity})"]
    for stated in evidence.about(identity, entries.APPROVAL):
        reason = f": {stated.act.reason}" if stated.act.reason else ""
        lines.append(
            f"entry {stated.number}, {stated.header.time[:10]}: {stated.header.by}: {stated.act.decision}{reason}"
        )
    if standing:
        return [printable(line) for line in lines], True
    decision = decide(evidence, identity, name=about.act.model.name)
    lines += [f"counts: {person} as {role}" for person, role in decision.counted.items()]
    lines += [f"does not count: {person} {why}" for person, why in decision.excluded.items()]
    lines += [f"open condition: {one.id} of {one.person}, by {one.due}: {one.text}" for one in decision.open_conditions]
    lines += [f"standing approval {digest[:16]} does not serve: {why}" for digest, why in decision.unusable.items()]
    lines += [f"standing approval {decision.standing[:16]} serves"] if decision.standing else []
    lines += [f"missing: {sentence}" for sentence in decision.missing]
    lines.append("may be promoted" if decision.allowed else "may not be promoted")
    return [printable(line) for line in lines], decision.allowed


def overview(evidence: Evidence) -> list[str]:
    """A line for each model that a completed run registered, and for each standing approval."""
    lines = []
    for identity in evidence.models():
        for run in registrations(evidence, identity)[:1]:
            decision = decide(evidence, identity)
            champion = evidence.champion(run.act.model.name)
            state = "may be promoted" if decision.allowed else f"{len(decision.missing)} missing"
            if champion is not None and champion.act.identity == identity:
                state = "the champion"
            lines.append(f"{label_of(run)}  {identity[:16]}  {state}")
    for stated in evidence.of_kind(entries.STANDING):
        lines.append(f"standing approval {stated.digest[:16]} by {stated.header.by} for {stated.act.model}")
    return [printable(line) for line in lines] or ["no run has registered a model yet"]


def printable(text: str) -> str:
    """Text without control characters, which could rewrite a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _approval_lines(evidence: Evidence, act: Approval) -> list[str]:
    lines = [f"{act.decision}: {act.model}", f"identity: {act.identity}"]
    about = evidence.entry(act.run)
    if about is not None and about.header.kind == entries.RUN:
        run = about.act
        lines += [
            f"run: {run.run_name} of {run.started[:10]} ({run.run_id}), entry {about.number}",
            f"code: commit {str(run.code.get('commit', ''))[:12] or 'unknown'}"
            + ("" if run.code.get("dirty") is False else ", with uncommitted changes"),
            f"risk tier: {run.model.tier or 'not stated'}",
            *(f"untrusted source: {source.name}" for source in run.sources if source.trusted is False),
            f"evaluation: {run.model.verdict or 'no verdict'}",
            *(f"{gate}: {_said(found)}" for gate, found in sorted(run.verdicts.items())),
            *_metric_lines(run.metrics),
        ]
    else:
        lines.append("it is a standing approval")
    lines += [f"reason: {act.reason}"] if act.reason else []
    if act.decision == "approve":
        days = evidence.policy.rules.approval_days
        lines.append(f"counts until: {act.until or f'{days} days from now'}")
    return lines + [f"condition {one.id}, by {one.due}: {one.text}" for one in act.conditions]


def _standing_lines(act: StandingApproval) -> list[str]:
    bound = act.contest or ContestBound()
    tasks = f"the tasks {', '.join(bound.tasks)}" if bound.tasks else "every task that the champion was scored on"
    lines = [
        f"standing approval for: {act.model}, {act.uses} promotions until {act.until}",
        f"only models of risk tier {act.tier} and lower risks" if act.tier else "no risk tier: it serves no more",
        f"only on the base: {act.base}",
        f"only from the sources: {', '.join(act.sources)}",
        f"only with a contest that bears a loss of {bound.tolerance:g} at most (confidence {bound.confidence:g}, "
        f"{bound.min_groups} groups or more), on {tasks}",
    ]
    for metric, bound in sorted(act.metrics.items()):
        sides = [f"{name} {value:g}" for name, value in bound.model_dump().items() if value is not None]
        lines.append(f"only with {metric}: {', '.join(sides) or 'any value'}")
    return [
        *lines,
        "only from a clean work tree, from trusted sources, with its evaluation's claim shown and no lost contest",
        f"reason: {act.reason}",
    ]


def _said(verdict: Mapping[str, Any]) -> str:
    """A gate's word; all that it says where it has none."""
    return str(verdict.get("verdict") or ", ".join(f"{name} {value}" for name, value in verdict.items()))


def _metric_lines(metrics: Mapping[str, float]) -> list[str]:
    """The model's own scores; those of baselines and controls are counted."""
    own = {name: value for name, value in metrics.items() if name.endswith(f"/{OWN}")} or metrics
    lines = [f"{name}: {value:.6g}" for name, value in sorted(own.items())]
    if rest := len(metrics) - len(own):
        lines.append(f"and {rest} scores of baselines and controls: `domainlm audit report` shows them")
    return lines


def _starts(digest: str, text: str) -> bool:
    return len(text) >= MIN_DIGITS and digest.startswith(text)


def _plain(value: Any) -> Any:
    """YAML reads an unquoted day as a date."""
    return value.isoformat() if isinstance(value, date) else value


def _check_words(where: str, text: str) -> None:
    if len(text.strip()) > MAX_WORDS:
        raise ApprovalRefused(f"has {len(text)} characters, at most {MAX_WORDS} are kept", where, "name a document")


def _check_day(day: str, first: date, where: str) -> None:
    try:
        found = date.fromisoformat(day)
        fits = found.isoformat() == day
    except ValueError:
        fits, found = False, date.min
    if not fits:
        raise ApprovalRefused("is no day", where, "write it as 2026-12-31")
    if found < first:
        raise ApprovalRefused(f"lies before {first}", where, "name a later day")
