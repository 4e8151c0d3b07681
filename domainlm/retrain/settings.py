"""What retraining can be told. Each class is the parameters of one step of `pipelines.retraining`."""

from __future__ import annotations

import hashlib
import re
from datetime import date
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from domainlm.reports import Settings
from domainlm.sources import SourceSettings

SQL = "sql:"  # how the uri of a feed by query begins


class FeedSettings(SourceSettings):
    """A source that grows: `uri` is a pattern below the zone, or `sql:` with a query (docs/retrain.md)."""

    batch: Literal["file", "folder"] = Field(
        "file", description="what lands as one: a file, or all files of a folder (with its marker)"
    )
    query: str = Field("", description="SQL whose new rows are a batch; the database's URL stands in `database`")
    database: str = Field(
        "", description="name of the environment variable, or of the variable with _FILE, that holds its URL"
    )
    order_column: str = Field("", description="of the query: rises with each new row; empty compares every row")
    checksum: bool = Field(False, description="each file waits for its checksum file, however long it keeps its size")
    max_file_bytes: int = Field(4 << 30, ge=1, description="a larger file is not read, and told of")

    @model_validator(mode="after")
    def _one_place(self) -> FeedSettings:
        if bool(self.query) != bool(self.database):
            raise ValueError(f"feed '{self.name}': query and database go together")
        if bool(self.query) != self.uri.startswith(SQL):
            raise ValueError(f"feed '{self.name}': a query's uri is {SQL}{self.name}.jsonl, and no other feed's is")
        if self.query and self.resolved_format != "jsonl":
            raise ValueError(f"feed '{self.name}': rows of a query are put as JSON lines: say format: jsonl")
        if self.query and (self.batch == "folder" or self.checksum):
            raise ValueError(f"feed '{self.name}': rows of a query have neither folder nor checksum")
        if self.order_column and not self.query:
            raise ValueError(f"feed '{self.name}': order_column is a query's")
        segments = self.uri.split("/")
        if not self.query and ("::" in self.uri or any(one in ("", ".", "..") for one in segments)):
            raise ValueError(f"feed '{self.name}': uri is a pattern below the zone, such as prices/**/*.csv")
        if any("**" in one and one != "**" for one in segments):
            raise ValueError(f"feed '{self.name}': '**' stands alone between two slashes: prices/**/*.csv")
        return self


class DetectSettings(Settings):
    """Where data lands, and when a file counts as complete."""

    zone: str = Field("landing", min_length=1, description="folder or fsspec URI; relative ones from the project root")
    feeds: tuple[FeedSettings, ...] = Field(min_length=1, description="what may land there, and its terms of use")
    settle_s: float = Field(
        1.0, ge=0, le=3600, description="a file without marker or checksum is complete when it kept its size so long"
    )
    marker: str = Field("_SUCCESS", description="a folder with this file is complete; empty: folders settle")
    checksum_suffixes: tuple[str, ...] = Field(
        (".sha256", ".md5"), description="news.csv.sha256 holds the digest of news.csv, which is complete when it fits"
    )
    ignore: tuple[str, ...] = Field(
        ("*.tmp", "*.part", "*.crdownload", ".*", "*~"), description="names that are no data, wherever they lie"
    )
    poll_s: float = Field(1.0, gt=0, le=86400, description="seconds between two looks where nothing tells of changes")
    redigest_h: float = Field(
        24.0, ge=0, description="hours after which an unchanged file's digest is taken again; 0: in every scan"
    )
    backoff_max_s: float = Field(300.0, gt=0, description="longest pause while the zone cannot be reached")
    spool: str = Field("", description="where new rows of a query are put, private; empty: .domainlm/retrain/landed")

    @field_validator("zone", "spool")
    @classmethod
    def _no_secret_in_it(cls, uri: str) -> str:
        if urlsplit(uri).password:
            raise ValueError("holds a password: give it to the storage client by its own variables")
        if "::" in uri:
            raise ValueError("is a chain of file systems: name the store itself")
        return uri

    @field_validator("checksum_suffixes")
    @classmethod
    def _known_digests(cls, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        for suffix in suffixes:
            if suffix[:1] != "." or suffix[1:] not in hashlib.algorithms_guaranteed or "shake" in suffix:
                raise ValueError(f"'{suffix}' names no digest: .sha256, .sha512, .md5")
        return suffixes

    @field_validator("feeds")
    @classmethod
    def _names_differ(cls, feeds: tuple[FeedSettings, ...]) -> tuple[FeedSettings, ...]:
        names = [feed.name for feed in feeds]
        if double := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two feeds are called '{min(double)}': rename one of them")
        return feeds


def day(value: object) -> str:
    """A day as `2026-11-01`, the one form in which days can be compared as text; or nothing.

    Raises:
        ValueError: it is no day.
    """
    text = value.isoformat() if isinstance(value, date) else value  # YAML makes a date of it where no quotes are
    if not isinstance(text, str) or (text and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)):
        raise ValueError("is no day such as 2026-11-01")
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise ValueError("is no day of the calendar") from None


def in_order(since: str, until: str) -> None:
    """Raises ValueError where no day can lie between two."""
    if since and until and since > until:
        raise ValueError(f"since {since} is after until {until}: no day lies between them")


Share = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[str, BeforeValidator(day)]


class DecideSettings(Settings):
    """When to train again, on what, and at which cost. A threshold of null switches its reason off."""

    new_rows: int | None = Field(200, ge=1, description="accepted rows that no training saw yet")
    max_age_days: float | None = Field(90, gt=0, description="age of the champion, where anything new was accepted")
    label_drift: Share | None = Field(
        0.1, description="Jensen-Shannon distance of new labels from known ones, beyond what chance shows, 0 to 1"
    )
    vocabulary_drift: Share | None = Field(0.25, description="the same, of words in buckets")
    term_drift: Share | None = Field(0.4, description="the same, of the pack's glossary and watched terms")
    min_drift_rows: int = Field(100, ge=1, description="fewer new rows show no drift")
    score_decay: Share | None = Field(
        0.05, description="drop of the champion's score on fresh labelled rows, below its score at registration"
    )
    on_erasure: bool = Field(True, description="a champion that learnt from data erased since is trained again")
    on_base: bool = Field(True, description="a changed base is reason enough")
    on_policy: bool = Field(True, description="so is a changed policy of redaction, or a changed contract")
    cool_down_h: float = Field(6.0, ge=0, description="hours after a training's start in which no other one begins")
    budget_hours: float | None = Field(
        100.0, gt=0, description="hours of training in a calendar month (UTC); erasure is not held up by it"
    )
    lease_s: float = Field(120.0, ge=5, description="a runner that says nothing for so long is taken for dead")
    start: Literal["base", "champion"] = Field(
        "base",
        description="champion: go on from its adapter and tokenizer, where there is one and the base is its base",
    )
    replay_ratio: float | None = Field(
        None, ge=0, description="old training rows for each new one, against forgetting; null keeps all"
    )
    since: Day = Field("", description="backfill: only batches with data of this day or later: 2026-11-01")
    until: Day = Field("", description="only batches with data of this day or earlier")
    batches: tuple[str, ...] = Field((), description="only these batches (8 digits or more of their ids)")
    as_run: str = Field("", description="replay: the run whose configuration is used again")
    asked: bool = Field(False, description="train although nothing asks for it; cool-down and budget do not hold it up")

    @model_validator(mode="after")
    def _days_in_order(self) -> DecideSettings:
        in_order(self.since, self.until)
        return self


class WebhookSettings(Settings):
    """An HTTP endpoint that is told."""

    url_variable: str = Field(min_length=1, description="environment variable (or VARIABLE_FILE) that holds its URL")
    secret_variable: str = Field("", description="variable with a key: the body is then signed with HMAC-SHA-256")


class EmailSettings(Settings):
    """Mail by SMTP."""

    host: str = Field(min_length=1)
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="none only to loopback")
    sender: str = Field(pattern=r"^[^<>\s@]+@[^<>\s@]+$")
    recipients: tuple[str, ...] = Field(min_length=1)
    user: str = Field("", description="who signs in; empty: nobody")
    password_variable: str = Field("", description="environment variable (or VARIABLE_FILE) with the password")

    @model_validator(mode="after")
    def _kept_from_others(self) -> EmailSettings:
        if self.security == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError(f"mail to {self.host} would go unencrypted: security is starttls or tls")
        if bool(self.user) != bool(self.password_variable) or (self.user and self.security == "none"):
            raise ValueError("user and password_variable go together, and over starttls or tls alone")
        return self


class SettleSettings(Settings):
    """What follows a training: whose hand promotes it, and who is told."""

    promote: Literal["person", "standing"] = Field(
        "person", description="standing: by a signed standing approval that covers it; never for an untrusted landing"
    )
    webhook: WebhookSettings | None = None
    slack: bool = Field(False, description="through the alerter of the active stack")
    email: EmailSettings | None = None
