"""What a notice may say: no personal data, no address, nothing that rewrites a terminal or a header.

The first line of defence is where the words come from: our own errors and typed fields, which name places and never
quote a value of the data. This is the second one, for the places: the name of a file that somebody landed may be a
person's, and an address may hold a password. File names become 8 digits of their SHA-256, by which whoever sees the
zone finds the file; addresses, e-mail addresses and long numbers are left out. A path counts from the project, and a
home folder, which bears its user's name, is `~`. A person's name in plain words would pass: it must not be put into a
message in the first place.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from domainlm.errors import ConfigurationError
from domainlm.project import project_root
from domainlm.reading import FORMATS

MAX_CHARACTERS = 500
_DATA = "|".join(sorted((re.escape(suffix) for suffix in (*FORMATS, ".sha256", ".md5", ".parquet")), reverse=True))
_SUFFIX = rf"(?:{_DATA})(?:\.(?:gz|bz2|xz|zst|zip))?"
# what an error says first is its place, up to a colon or a comma: there a file's name may hold spaces
_FIRST_PLACE = re.compile(rf"^(?P<name>[^:,]*?{_SUFFIX})(?=$|[\s:,;)'\"])", re.IGNORECASE)
_PLACE = re.compile(rf"(?P<name>[^\s:,;'\"()]*{_SUFFIX})(?=$|[\s:,;)'\".])", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?P<scheme>[a-z][a-z0-9+.-]{1,30})://[^\s'\"<>]*", re.IGNORECASE)
_HOME = re.compile(r"(?<![\w.~-])/(?:home|Users|var/home)/[^/\s:,;'\"()]+")
_WHOLE = r"(?<![\w.~-])%s(?![\w.-])"  # a folder, not the beginning of another one's name
_EMAIL = re.compile(r"[^\s<>@,;:]+@[^\s<>@,;:]+")
_NUMBER = re.compile(r"(?<![\w-])\+?\d(?:[ ./-]?\d){6,}(?![\w-])")  # accounts, telephone and registration numbers
_MARKUP = {ord(sign): chr(ord(sign) + 0xFEE0) for sign in "*~`|[]@\\"}  # full-width forms of ASCII (Unicode FF01 ff.)
_EDGE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_BARE_LINK = re.compile(r"\bwww\.", re.IGNORECASE)
_HARMLESS = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,3}\.\d+")  # a day, a decimal
_DIGEST = re.compile(
    r"\b(?:file|folder) (?=\d{8}(?![\w-]| ?\d))"
)  # what `named` made, where all its digits are decimal


def plain(text: str, most: int = MAX_CHARACTERS) -> str:
    """Words that may leave the house: on one line, printable, of bounded length.

    >>> plain("landing/news/Hong Gildong.csv, row 3: has no label")
    'file 62b3f5be, row 3: has no label'
    """
    words = " ".join(text.split())
    words = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    words = _ADDRESS.sub(lambda found: f"[an address of {found['scheme'].lower()}]", words)
    for place, name in _places():
        words = place.sub(name, words)
    words = _HOME.sub("~", words)
    words = _EMAIL.sub("[an e-mail address]", words)
    words = _FIRST_PLACE.sub(_named, words)
    words = _PLACE.sub(_named, words)
    digests = {found.end() for found in _DIGEST.finditer(words)}
    words = _NUMBER.sub(
        lambda found: found[0] if found.start() in digests or _HARMLESS.fullmatch(found[0]) else "[a number]", words
    )
    return words if len(words) <= most else words[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def inert(text: str) -> str:
    """Text in which nothing acts where a chat takes it for markup: Slack's mrkdwn, or Markdown (CommonMark, GFM).

    Signs of markup become their full-width forms, which nobody mentions, links or formats by; `_` within a word stays.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").translate(_MARKUP)
    return _BARE_LINK.sub("www\N{FULLWIDTH FULL STOP}", _EDGE.sub("\N{FULLWIDTH LOW LINE}", text))


def named(path: str, what: str = "file") -> str:
    """A file (or what else lies there) by the first digits of the SHA-256 of its last name, which may be a person's."""
    return f"{what} {hashlib.sha256(path.rsplit('/', 1)[-1].encode(errors='surrogatepass')).hexdigest()[:8]}"


def _named(found: re.Match[str]) -> str:
    return named(found["name"])


def _places() -> Iterator[tuple[re.Pattern[str], str]]:
    """Folders, and what stands for them."""
    if home := os.environ.get("DOMAINLM_HOME", "").rstrip("/"):
        yield re.compile(_WHOLE % re.escape(home)), ".domainlm"
    with suppress(ConfigurationError):  # outside a project
        root = re.escape(str(project_root()))
        yield re.compile(rf"(?<![\w.~-]){root}/(?=[\w.])"), ""
        yield re.compile(_WHOLE % root), "the project"
    if (user := str(Path.home())) != "/":
        yield re.compile(_WHOLE % re.escape(user)), "~"
