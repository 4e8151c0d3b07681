"""Who wrote what a model was made of: the people that four eyes are counted against (`manifest.Authors`).

All of it fails closed. An author whom nobody can name is "", and a policy that asks for four eyes lets nobody count
beside such a one. That is so for code without git, a history that was cut off (a shallow clone), a champion whose
commit is not in the history, and a file of data that git does not know and for which no steward is stated.

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
from domainlm.ledger.run.manifest import Authors
from domainlm.ledger.trust.gate import identity

NOBODY_KNOWS = ""
FIRST_COMMITS = 100  # before there is a champion: the authors of the last 100 commits to the code
PATHS_A_CALL = 500  # an argument list is bounded
CODE = (*ROOMS, LOCK, "pyproject.toml", "infra")
_PEOPLE = "%ae%n%(trailers:key=Co-authored-by,valueonly)"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ADDRESS = re.compile(r"<([^<>\s]+@[^<>\s]+)>")


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
        runner: names of whoever started the run; the first becomes `trained_by`, the others count as authors of the
            configuration, since whoever starts a run decides what it runs with.
        overridden: whether values of the configuration were given by hand.
        commit: of the code that ran; the present one by default.
    """
    uncommitted = list(runner) if _changed(code, CODE) else []
    return Authors(
        code=_identities(_since(code, champion, commit) + uncommitted),
        configuration=_identities(
            _last_of(project, configuration, runner) + list(runner if overridden else runner[1:])
        ),
        data=_identities(_stewards(project, sources, runner)),
        trained_by=identity(runner[0]) if runner else NOBODY_KNOWS,
    )


def _since(root: Path, champion: str | None, commit: str) -> list[str]:
    """Authors and co-authors of the commits to the code since the champion's."""
    if git(root, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}") is None:
        return [NOBODY_KNOWS]
    whole = git(root, "rev-parse", "--is-shallow-repository") == "false"
    lost = [] if whole else [NOBODY_KNOWS]
    if champion is not None:
        if _COMMIT.fullmatch(champion) and git(root, "merge-base", "--is-ancestor", champion, commit) is not None:
            return lost + _people(git(root, "log", f"--format={_PEOPLE}", f"{champion}..{commit}", "--", *CODE))
        lost = [NOBODY_KNOWS]
    return lost + _people(git(root, "log", f"-{FIRST_COMMITS}", f"--format={_PEOPLE}", commit, "--", *CODE))


def _last_of(root: Path, places: Sequence[str | Path], runner: Sequence[str]) -> list[str]:
    """The last author of each place; whoever runs, where git does not know it or it was changed since."""
    found: list[str] = []
    for place in places:
        people = _people(git(root, "log", "-1", f"--format={_PEOPLE}", "--", str(place)) or "")
        found += people or list(runner) or [NOBODY_KNOWS]
        if people and _changed(root, [place]):
            found += runner
    return found or list(runner)


def _stewards(root: Path, sources: Iterable[Origin], runner: Sequence[str]) -> list[str]:
    """The steward of each source, else all authors of its files; "" for a file that git does not know."""
    found: list[str] = []
    loose: list[str] = []
    for source in sources:
        if source.steward:
            found.append(source.steward)
        else:
            loose += [str(file) for file in source.files] or [NOBODY_KNOWS]
    if not loose:
        return found
    if git(root, "rev-parse", "--is-shallow-repository") != "false":
        return [*found, NOBODY_KNOWS]
    tracked = sorted(set(loose) & set((git(root, "ls-files", "-z") or "").split("\0")))
    if len(tracked) < len(set(loose)):
        found.append(NOBODY_KNOWS)
    for start in range(0, len(tracked), PATHS_A_CALL):
        part = tracked[start : start + PATHS_A_CALL]
        found += _people(git(root, "log", f"--format={_PEOPLE}", "--", *part))
        if _changed(root, part):
            found += runner
    return found


def _people(printed: str | None) -> list[str]:
    """The addresses that `_PEOPLE` printed; an unreadable co-author is one whom nobody knows."""
    if printed is None:
        return [NOBODY_KNOWS]
    found = []
    for line in (line.strip() for line in printed.splitlines()):
        if not line:
            continue
        match = _ADDRESS.search(line)
        found.append(match[1] if match else line if re.fullmatch(r"[^<>\s]+@[^<>\s]+", line) else NOBODY_KNOWS)
    return found


def _changed(root: Path, places: Iterable[str | Path]) -> bool:
    changes = git(root, "status", "--porcelain", "--untracked-files=all", "--", *(str(place) for place in places))
    return bool(changes) or changes is None


def _identities(people: Iterable[str]) -> list[str]:
    return sorted({identity(person) if person else NOBODY_KNOWS for person in people})
