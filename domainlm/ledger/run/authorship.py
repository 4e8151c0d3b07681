"""Who wrote what a model was made of: the people that four eyes are counted against (`manifest.Authors`).

All of it fails closed. An author whom nobody can name is "", and a policy that asks for four eyes lets nobody count
beside such a one. That is so for code without git, a history that was cut off (a shallow clone), a champion whose
commit is not in the history, and a file of data that git does not know and for which no steward is stated. In an image
the history is what its build wrote down (`built`).

What git says is what people wrote into their commits: it is not signed. Whoever can commit under another's name can
hide as an author; sign commits and protect branches where that matters.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from domainlm.ledger.run.checkout import LOCK, ROOMS, git
from domainlm.ledger.run.history import NOBODY_KNOWS, History, history_of
from domainlm.ledger.run.manifest import Authors
from domainlm.ledger.trust.gate import identity

FIRST_COMMITS = 100  # before there is a champion: the authors of the last 100 commits to the code
_IDENTITY = re.compile(r"sha256:[0-9a-f]{64}")
CODE = (*ROOMS, LOCK, "pyproject.toml", "infra")


class Origin(NamedTuple):
    """Where a source's rows came from: its steward's e-mail address ("" for none) and its files."""

    steward: str
    files: Sequence[str | Path]


def whoever_runs(project: Path) -> list[str]:
    """The names under which this process works: the system user, and the address that git has been told, if any."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose user has no name
        user = f"uid {os.getuid()}"
    address = git(project, "config", "user.email")
    return [user, address] if address else [user]


def authors_of(
    code: Path,
    project: Path,
    configuration: Sequence[str | Path],
    sources: Iterable[Origin],
    champion: str | None,
    runner: Sequence[str],
    overridden: bool = False,
    commit: str = "HEAD",
) -> Authors:
    """The authors of one run.

    Args:
        code: checkout of the code.
        project: checkout of configuration and data; often the same.
        configuration: the run configuration file and the domain pack.
        sources: what the data came from.
        champion: commit of the champion's run; None where there is no champion yet.
        runner: names of whoever started the run, or identities that `identity` made of them elsewhere; the first
            becomes `trained_by`, the others count as authors of the configuration, since whoever starts a run decides
            what it runs with.
        overridden: whether values of the configuration were given by hand.
        commit: of the code that ran; the present one by default.
    """
    of_code, of_project = history_of(code), history_of(project)
    people = _identities(runner)
    uncommitted = people if of_code.changed(CODE) else []
    return Authors(
        code=sorted({*_since(of_code, champion, commit), *uncommitted}),
        configuration=sorted(
            {*_last_of(of_project, configuration, people), *(people if overridden else _identities(runner[1:]))}
        ),
        data=sorted(set(_stewards(of_project, sources, people))),
        trained_by=as_identity(runner[0]) if runner else NOBODY_KNOWS,
    )


def _since(history: History, champion: str | None, commit: str) -> list[str]:
    """Authors and co-authors of the commits to the code since the champion's."""
    if not history.has(commit):
        return [NOBODY_KNOWS]
    lost = [] if history.whole else [NOBODY_KNOWS]
    if champion is not None:
        found = history.since(champion, commit, CODE)
        if found is not None:
            return lost + found
        lost = [NOBODY_KNOWS]
    return lost + history.newest(commit, CODE, FIRST_COMMITS)


def _last_of(history: History, places: Sequence[str | Path], runner: Sequence[str]) -> list[str]:
    """The last author of each place; whoever runs, where git does not know it or it was changed since."""
    found: list[str] = []
    for place in (str(place) for place in places):
        people = history.last(place)
        found += people or list(runner) or [NOBODY_KNOWS]
        if people and history.changed([place]):
            found += runner
    return found or list(runner)


def _stewards(history: History, sources: Iterable[Origin], runner: Sequence[str]) -> list[str]:
    """The steward of each source, else all authors of its files; "" for a file that git does not know."""
    found: list[str] = []
    loose: set[str] = set()
    for source in sources:
        if source.steward:
            found += _identities([source.steward])
        else:
            loose |= {str(file) for file in source.files} or {NOBODY_KNOWS}
    if not loose:
        return found
    if not history.whole:
        return [*found, NOBODY_KNOWS]
    tracked = history.known(loose)
    if len(tracked) < len(loose):
        found.append(NOBODY_KNOWS)
    if tracked:
        found += history.all(sorted(tracked))
        found += runner if history.changed(sorted(tracked)) else []
    return found


def _identities(people: Iterable[str]) -> list[str]:
    return sorted({as_identity(person) for person in people})


def as_identity(person: str) -> str:
    """The identity of a name; one that is an identity already, or "", as it is."""
    return person if not person or _IDENTITY.fullmatch(person) else identity(person)
