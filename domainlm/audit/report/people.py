"""Who decided, in which role, under which conditions, and who made the model."""

from __future__ import annotations

from datetime import timedelta

from domainlm.audit.evidence import Stated
from domainlm.audit.report.document import Block, Facts, Listing, Notice, Paragraph, Section, Table, plain
from domainlm.audit.report.subject import Subject
from domainlm.ledger import entries


def approvals(subject: Subject) -> Section:
    """The decisions of people on this model, and what they rest on."""
    words, rules = subject.words, subject.policy.rules
    eyes = words("approvals.eyes" if rules.four_eyes else "approvals.no-eyes")
    blocks: list[Block] = [
        Paragraph(words("approvals.rules", officers=rules.officers, validators=rules.validators, eyes=eyes))
    ]
    stated = subject.evidence.about(subject.model.identity, entries.APPROVAL)
    if stated:
        columns = ("who", "roles", "decision", "reason", "when", "until", "counts", "entry")
        blocks.append(
            Table(
                words("approvals.table"), tuple(words(f"approvals.{column}") for column in columns),
                tuple(_line(subject, one) for one in stated), numeric=(7,),
            )
        )  # fmt: skip
    else:
        blocks.append(Notice("caution", words("tone.caution"), words("approvals.nobody")))
    if subject.decision.excluded:
        told = tuple(f"{plain(who)}: {plain(why)}" for who, why in sorted(subject.decision.excluded.items()))
        blocks.append(Listing(words("approvals.excluded"), told))
    if standing := subject.evidence.entry(subject.decision.standing) if subject.decision.standing else None:
        act = standing.act
        blocks.append(
            Paragraph(words("approvals.standing", number=standing.number, until=plain(act.until), uses=act.uses))
        )
    if conditions := _conditions(subject):
        columns = ("condition", "who", "due", "state")
        head = tuple(words(f"approvals.{column}") for column in columns)
        blocks.append(Table(words("approvals.conditions"), head, tuple(conditions)))
    blocks.append(Facts(_authors(subject), words("approvals.authors")))
    return Section("approvals", words("approvals"), tuple(blocks))


def _line(subject: Subject, stated: Stated) -> tuple[str, ...]:
    words, act, who = subject.words, stated.act, stated.header.by
    member = subject.policy.members.get(who)
    roles = ", ".join(words.name("role", role) for role in member.roles) if member else ""
    counts = stated.digest in subject.decision.approvals
    until = act.until
    if not until and act.decision == "approve":  # as `domainlm.audit.decisions.approvals` counts
        given = entries.parse_time(stated.header.time).date()
        until = (given + timedelta(days=subject.policy.rules.approval_days)).isoformat()
    role = subject.decision.counted.get(who, "")
    return (
        plain(who), roles, words.name("decision", act.decision), plain(act.reason), stated.header.time[:10],
        plain(until), words.name("role", role) if counts and role else words("no"), str(stated.number),
    )  # fmt: skip


def _conditions(subject: Subject) -> list[tuple[str, ...]]:
    words = subject.words
    met = {(one.act.approval, one.act.condition): one for one in subject.evidence.of_kind(entries.CONDITION_MET)}
    still_open = {(condition.approval, condition.id) for condition in subject.decision.open_conditions}
    found = []
    for stated in subject.evidence.about(subject.model.identity, entries.APPROVAL):
        for condition in stated.act.conditions:
            place = (stated.digest, condition.id)
            done = None if place in still_open else met.get(place)
            state = words("approvals.met", number=done.number) if done else words("approvals.open")
            found.append((plain(condition.text), plain(stated.header.by), plain(condition.due), state))
    return found


def _authors(subject: Subject) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
    words, authors = subject.words, subject.manifest.authors
    rows: list[tuple[str, str | tuple[str, ...]]] = []
    groups = {"code": authors.code, "configuration": authors.configuration, "data": authors.data}
    for group, identities in (*groups.items(), ("trained_by", [authors.trained_by])):
        names = sorted({subject.person(identity) for identity in identities} - {""})
        outsiders = sum(1 for identity in set(identities) if identity and not subject.person(identity))
        told = [plain(name) for name in names]
        if outsiders:
            told.append(words("approvals.outsiders", count=outsiders))
        if not identities or "" in identities:
            told.append(words("approvals.unknown-author"))
        rows.append((words(f"approvals.authors-of.{group}"), ", ".join(told)))
    return tuple(rows)
