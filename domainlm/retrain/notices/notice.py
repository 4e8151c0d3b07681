"""A notice: what happened, in which run and step, why, and what a person does next."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import Field, field_validator

from domainlm.digests import digest_json
from domainlm.errors import DomainLMError
from domainlm.reports import Report
from domainlm.retrain.batches import Batch
from domainlm.retrain.notices.words import named, plain

Kind = Literal[
    "landed-quarantined", "schema-changed", "decided", "failed", "waits-for-person", "promoted", "superseded",
    "zone-unreachable", "book-unavailable", "feed-failing", "unreadable", "machine", "configuration-refused",
    "child-failing",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
TITLES: dict[str, str] = {
    "landed-quarantined": "a batch that landed waits for a person",
    "schema-changed": "a feed has other columns than its contract says",
    "decided": "a retraining was decided on",
    "failed": "a run failed",
    "waits-for-person": "a model waits for a person's decision",
    "promoted": "a model became the champion",
    "superseded": "a result came too late and does not count",
    "zone-unreachable": "the landing zone cannot be reached",
    "book-unavailable": "the batch book cannot be reached",
    "feed-failing": "a feed cannot be asked",
    "unreadable": "something in the landing zone cannot be used",
    "machine": "the watcher's machine is short of something",
    "configuration-refused": "a changed configuration was refused",
    "child-failing": "a process of the watcher fails",
}
# how acceptance begins to say that a file's columns are others
_COLUMNS = ("has no column", "has no '", "has other columns", "its columns ")
_COLUMNS_DIFFER = "its columns are not those that its feed had; the book says which"
_WORD = 3  # letters
# troubles that end by themselves and come again: told once a day (UTC), by however many watchers
COMING_BACK = ("zone-unreachable", "book-unavailable", "feed-failing", "machine")
_QUOTED = re.compile(r" ?'[^']*'")
_NAMED = 3  # files in one notice
_DATED = re.compile(r"/\d{4}-\d{2}-\d{2}$")
_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class Notice(Report):
    """What people are told. Made of our own words alone; `domainlm.retrain.notices.words` goes over each of them.

    Fields:
        run: id of the run; empty where none is concerned.
        step: of the run.
        cause: why, in one sentence.
        next_action: what the reader does.
        key: what the notice is about: one of a key is sent once. By default over everything else.
    """

    kind: Kind
    run: str = ""
    step: str = ""
    cause: str = ""
    next_action: str = ""
    key: str = Field("", max_length=200)

    @field_validator("run", "step")
    @classmethod
    def _a_name(cls, value: str) -> str:
        return _NOT_OF_A_NAME.sub("", value)[:64]

    @field_validator("cause", "next_action")
    @classmethod
    def _plain(cls, value: str) -> str:
        return plain(value)

    @classmethod
    def of(cls, kind: Kind, error: DomainLMError, next_action: str = "", **fields: str) -> Notice:
        """Of one of our errors: what is wrong and what to do, without the place, which may name a person's file."""
        return cls(kind=kind, cause=error.what, next_action=next_action or error.remedy, **fields)

    @property
    def about(self) -> str:
        """The key, or what stands for it."""
        return self.key or digest_json(self.model_dump(mode="json", exclude={"key"}))

    @property
    def id(self) -> str:
        """By which a receiver knows a notice that came twice."""
        return digest_json(["notice", self.about])[:32]

    def dated(self) -> Notice:
        """With today in the key, where it may be told again on another day."""
        if self.kind not in COMING_BACK or _DATED.search(self.key):
            return self
        return self.model_copy(update={"key": f"{self.about[:180]}/{time.strftime('%Y-%m-%d', time.gmtime())}"})

    @property
    def title(self) -> str:
        """What happened, in a few words."""
        return TITLES[self.kind]

    def lines(self) -> list[str]:
        """For people."""
        said = {"run": self.run, "step": self.step, "cause": self.cause, "next action": self.next_action}
        return [f"domainlm: {self.title}", *(f"{name}: {text}" for name, text in said.items() if text)]


def feed_failing(feed: str, reason: str) -> Notice:
    """That a feed by query cannot be asked; without what the reason quotes, which may be a column of the data."""
    return Notice(
        kind="feed-failing", cause=f"feed {feed}: {_QUOTED.sub('', reason)}", key=f"feed/{feed}",
        next_action="mend its query, its database or its variable; it is asked again by itself",
    )  # fmt: skip


def unreadable(files: Sequence[tuple[str, str]]) -> Notice:
    """That files of the zone cannot be used as they are: (name, reason) of each; the first ones by their digests."""
    said = [f"{named(name)}: {reason}" for name, reason in files[:_NAMED]]
    more = [f"and {len(files) - _NAMED} more"] if len(files) > _NAMED else []
    return Notice(
        kind="unreadable", cause="; ".join([*said, *more]), key=f"unreadable/{digest_json(sorted(map(list, files)))}",
        next_action="domainlm retrain --once --dry-run names each: put them right, or take them away",
    )  # fmt: skip


def quarantined(batch: Batch, times: int = 1) -> Notice:
    """That a batch waits for a person: its reason, with its files and folder by a digest of their names.

    Names of columns, which somebody else chose, and what else the reason quotes stand in the book alone.

    Args:
        times: how often it was quarantined by now; each time is told.
    """
    changed = any(sign in batch.reason for sign in _COLUMNS)
    reason = _COLUMNS_DIFFER if changed else _without_names(batch)
    short = batch.id[:12]
    return Notice(
        kind="schema-changed" if changed else "landed-quarantined", cause=f"batch {short} of {batch.feed}: {reason}",
        next_action=f"domainlm batches show {short}", key=f"quarantined/{batch.id}{f'/{times}' if times > 1 else ''}",
    )  # fmt: skip


def _without_names(batch: Batch) -> str:
    reason = batch.reason
    paths = {path: named(path) for file in batch.files for path in (file.uri, file.path)}
    names = {batch.name: named(batch.name, "folder")} | paths
    names |= {name.rsplit("/", 1)[-1]: said for name, said in names.items()}
    for name in sorted(filter(None, names), key=len, reverse=True):
        # a short name may be a word of ours: it is one only where the reason begins, with its place
        before = r"(?<!\w)" if len(name) > _WORD else "^"
        reason = re.sub(rf"{before}{re.escape(name)}(?!\w)", names[name], reason)
    if reason.count("'") % 2:  # a quoted name with such a mark in it
        return re.sub(" ?'.*'", "", reason)
    return _QUOTED.sub("", reason)
