"""A policy as people write it: YAML with names, PEM files, e-mail addresses; and back.

    ledger: bank/models
    root_threshold: 2
    members:
      root-anna: {roles: [root], keys: [root-anna.pem]}        # a PEM file beside this one, or a key id that is known
      anna: {roles: [officer], keys: [anna.pem], identities: [anna@bank.example], until: 2027-06-30}
    revoked:
      0a1b2c3d: {since: now, reason: the laptop was stolen}     # the first 8 digits or more of a key id
    rules: {officers: 1, validators: 1, production: true}

E-mail addresses and system user names become SHA-256 on the way in and do not stand in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from domainlm.errors import ConfigurationError, nearest
from domainlm.ledger import entries
from domainlm.ledger.trust.bootstrap import read_roots
from domainlm.ledger.trust.gate import Member, Policy, Revocation, Role, Rules, identity
from domainlm.reports import Settings

_KEYID = re.compile(r"[0-9a-f]{8,64}")
NOW = "now"


class _Member(Settings):
    roles: list[Role] = Field(default_factory=list)
    keys: list[str] = Field(default_factory=list)
    identities: list[str] = Field(default_factory=list)
    until: str = ""


class _Revocation(Settings):
    since: str
    reason: str = Field(min_length=3)


class _File(Settings):
    ledger: str
    root_threshold: int = 1
    members: dict[str, _Member]
    revoked: dict[str, _Revocation] = Field(default_factory=dict)
    rules: Rules = Field(default_factory=Rules)


def read_policy(path: Path, before: Policy | None, previous: str, moment: datetime) -> Policy:
    """The policy that a file asks for, as the successor of the one in force.

    Args:
        path: the YAML file.
        before: the policy in force; None for a first one.
        previous: digest of its entry; empty for a first one.
        moment: what `since: now` means.

    Raises:
        ConfigurationError: a key or value that no policy can have.
        SecretError: a key's file is missing or holds no ed25519 public key.
    """
    try:
        # BaseLoader takes every value as it is written: a key's first digits may look like a number
        found = _File(**(yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) or {}))
    except OSError:
        raise ConfigurationError("there is no such file", str(path), "see docs/trust.md for its form") from None
    except (ValidationError, TypeError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {}
        key = ".".join(str(part) for part in first.get("loc", ()))
        raise ConfigurationError(
            f"{key}: {first.get('msg', 'is no mapping')}", str(path), f"known: {', '.join(_File.model_fields)}"
        ) from None
    keys: dict[str, dict[str, Any]] = dict(before.keys) if before else {}
    members = {
        name: Member(
            keys=[_key(text, path, keys) for text in member.keys],
            roles=member.roles,
            identities=[_identity(text) for text in member.identities],
            until=member.until,
        )
        for name, member in found.members.items()
    }
    revoked = {
        _key(text, path, keys): Revocation(since=_since(item.since, moment, path), reason=item.reason)
        for text, item in found.revoked.items()
    }
    rules = found.rules.model_copy(update={"outside": [_identity(text) for text in found.rules.outside]})
    return Policy(
        version=before.version + 1 if before else 1,
        ledger=found.ledger,
        keys=keys,
        members=members,
        root_threshold=found.root_threshold,
        revoked=(before.revoked if before else {}) | revoked,
        rules=rules,
        previous=previous,
    )


def write_policy(policy: Policy) -> str:
    """A policy as YAML that `read_policy` reads again; keys by their ids, identities by their digests."""
    content = policy.model_dump(mode="json", exclude={"version", "keys", "previous"})
    for member in content["members"].values():
        for name in [name for name in ("identities", "until") if not member[name]]:
            del member[name]
    if not content["revoked"]:
        del content["revoked"]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def changes(before: Policy | None, policy: Policy) -> list[str]:
    """What a person who is to sign must see: one line for each difference."""
    lines = []
    old = before.members if before else {}
    for name in sorted(set(old) | set(policy.members)):
        was, now = old.get(name), policy.members.get(name)
        if was is None and now is not None:
            lines.append(f"new member {name}: {_spelled(now)}")
        elif now is None:
            lines.append(f"member {name} is gone")
        elif was is not None and was != now:
            lines.append(f"member {name}: {_spelled(was)} -> {_spelled(now)}")
    for keyid, revocation in sorted(policy.revoked.items()):
        if before is None or before.revoked.get(keyid) != revocation:
            owner = policy.owner(keyid) or "nobody"
            lines.append(f"key {keyid[:12]} of {owner} revoked since {revocation.since}: {revocation.reason}")
    for part in ("root_threshold", "rules"):
        if before is None or getattr(before, part) != getattr(policy, part):
            lines.append(f"{part.replace('_', ' ')}: {_plain(getattr(policy, part))}")
    return lines


def _key(text: str, path: Path, keys: dict[str, dict[str, Any]]) -> str:
    """The id of the key that a text names: a known one by its first digits, else a PEM file's, which becomes known."""
    if _KEYID.fullmatch(text):
        found = [keyid for keyid in keys if keyid.startswith(text)]
        if len(found) == 1:
            return found[0]
        raise ConfigurationError(
            f"{'no key' if not found else 'more than one key'} begins with {text[:12]}", str(path),
            nearest(text, keys) if len(text) == 64 else "give more digits, or its PEM file",
        )  # fmt: skip
    named = path.parent / Path(text).expanduser()
    read = read_roots([named])
    if len(read) != 1:
        raise ConfigurationError("holds several keys", str(named), "one file a key")
    keys[read[0].keyid] = read[0].to_dict()
    return read[0].keyid


def _identity(text: str) -> str:
    return text if text.startswith("sha256:") else identity(text)


def _since(text: str, moment: datetime, path: Path) -> str:
    try:
        found = moment if text == NOW else datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError("no time zone")
        return entries.spell_time(found)
    except ValueError:
        raise ConfigurationError(
            f"revoked: '{text:.40}' is no moment", str(path), "now, or such as 2026-11-20T09:00:00Z"
        ) from None


def _spelled(member: Member) -> str:
    keys = ", ".join(keyid[:12] for keyid in member.keys) or "no key"
    until = f", until {member.until}" if member.until else ""
    return f"{', '.join(member.roles) or 'no role'} with {keys}, {len(member.identities)} identities{until}"


def _plain(value: Any) -> str:
    if isinstance(value, Rules):
        return ", ".join(f"{name} {_listed(one)}" for name, one in value.model_dump(mode="json").items())
    return str(value)


def _listed(value: Any) -> str:
    return str(len(value)) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else str(value)
