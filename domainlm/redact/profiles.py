"""Jurisdiction profiles: what a law asks of redaction, as data of the domain pack, and how several laws combine.

    profiles = Profiles.load(resolve("domains/finance/jurisdictions"))
    profiles.of("us,kr").entities["KR_RRN"].operator  # the strictest that either asks for

Nothing here is heavy: a profile is read in milliseconds, before any engine is built.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from domainlm.digests import digest_json
from domainlm.errors import ConfigurationError, nearest
from domainlm.redact.settings import ENTITIES, OPERATORS
from domainlm.reports import Settings
from domainlm.yaml_lines import Fault, Lines, at, model_faults, read_yaml

JOINED = " + "  # between the titles of a combination
UNREADABLE = "??"  # stands for a code that is none: what the cell holds instead may be anything, so it is not repeated
MOST_CACHED = 1024
_CODE = re.compile(r"[a-z]{2}")


class Law(Settings):
    """A law, or a part of one, that rules serve."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="what rules call it: pipa-24-2")
    title: str = Field(min_length=3, description="with its own name where that is not English")
    article: str = Field(min_length=1, description="articles, sections or parts that the demand is taken from")
    date: datetime.date = Field(description="ISO; since when the cited text applies, or the version that was read")
    demands: str = Field(min_length=10, description="what it asks for, in one plain sentence of our own")


class Rule(Settings):
    """What happens to one kind of value."""

    threshold: float = Field(gt=0, le=1, description="least score of a finding that is replaced")
    operator: str = Field(description="what becomes of it: remove, placeholder, surrogate, vault or mask")
    context: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="language -> words that announce the value, in the law's own languages"
    )
    retention_days: int = Field(
        ge=0, le=3650, description="for how long quarantine and vault may keep what leads back to the value"
    )
    laws: tuple[str, ...] = Field(min_length=1, description="ids of the laws that the rule serves")

    @field_validator("operator")
    @classmethod
    def _known_operator(cls, value: str) -> str:
        if value not in OPERATORS:
            raise ValueError(f"unknown operator '{value}': {nearest(value, OPERATORS)}")
        return value

    @field_validator("context")
    @classmethod
    def _plain_words(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for language, words in value.items():
            if not _CODE.fullmatch(language):
                raise ValueError(f"'{language}' is no ISO 639-1 code of a language")
            if any(len(word.strip()) < 2 or word != word.strip() for word in words):
                raise ValueError(f"a context word ({language}) is shorter than two characters or has spaces around it")
        return {language: tuple(sorted(set(words))) for language, words in sorted(value.items()) if words}

    @field_validator("laws")
    @classmethod
    def _sorted_laws(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(value)))


class Profile(Settings):
    """The rules of one jurisdiction, or the strictest combination of several.

    Sets and lists are kept in order, so that equal profiles are equal values with equal digests.
    """

    jurisdiction: str = Field(pattern=r"^[a-z]{2}(,[a-z]{2})*$", description="its code; of a combination, all of them")
    title: str = Field(min_length=2)
    codes: tuple[str, ...] = Field(default=(), description="further codes that it answers to, such as member states")
    laws: tuple[Law, ...] = Field(min_length=1)
    entities: dict[str, Rule] = Field(min_length=1, description="entity -> what happens to it")
    name_canary_rate: float = Field(ge=0, le=1, description="least share of the planted names that must be found")
    risk_threshold: float = Field(
        gt=0, le=1, description="a record with something left standing at or above this score is quarantined"
    )
    max_quarantined_share: float = Field(ge=0, le=1, description="a run that quarantines more fails")
    retention_days: int = Field(ge=0, le=3650, description="for how long a quarantined record may be kept")
    unknown: tuple[str, ...] = Field(
        default=(), description="codes without a profile, for whose sake the strictest of all was taken"
    )

    @field_validator("codes")
    @classmethod
    def _plain_codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [code for code in value if not _CODE.fullmatch(code)]:
            raise ValueError(f"'{wrong[0]}' is no two-letter code in small letters")
        return tuple(sorted(set(value)))

    @field_validator("laws")
    @classmethod
    def _sorted_laws(cls, value: tuple[Law, ...]) -> tuple[Law, ...]:
        return tuple(sorted(value, key=lambda law: law.id))

    @field_validator("entities")
    @classmethod
    def _sorted_entities(cls, value: dict[str, Rule]) -> dict[str, Rule]:
        for name in value:
            if name not in ENTITIES:
                raise ValueError(f"unknown entity '{name}': {nearest(name, ENTITIES)}")
        return {name: value[name] for name in ENTITIES if name in value}

    @classmethod
    def strictest(cls, profiles: Iterable[Profile]) -> Profile:
        """The strictest combination: whatever satisfies it, satisfies each of them. Order and grouping do not matter.

        Args:
            profiles: at least one.
        """
        profiles = list(profiles)
        laws = {law.id: law for profile in profiles for law in profile.laws}
        codes = {code for profile in profiles for code in profile.jurisdiction.split(",")}
        return cls(
            jurisdiction=",".join(sorted(codes)),
            title=JOINED.join(sorted({title for profile in profiles for title in profile.title.split(JOINED)})),
            codes=tuple(code for profile in profiles for code in profile.codes),
            laws=tuple(laws.values()),
            entities={
                name: _strictest_rule([profile.entities[name] for profile in profiles if name in profile.entities])
                for name in ENTITIES
                if any(name in profile.entities for profile in profiles)
            },
            name_canary_rate=max(profile.name_canary_rate for profile in profiles),
            risk_threshold=min(profile.risk_threshold for profile in profiles),
            max_quarantined_share=min(profile.max_quarantined_share for profile in profiles),
            retention_days=min(profile.retention_days for profile in profiles),
            unknown=tuple(sorted({code for profile in profiles for code in profile.unknown})),
        )

    def cited(self, entity: str) -> list[Law]:
        """The laws that the rule of an entity serves."""
        by_id = {law.id: law for law in self.laws}
        return [by_id[name] for name in self.entities[entity].laws]


def _strictest_rule(rules: list[Rule]) -> Rule:
    languages = sorted({language for rule in rules for language in rule.context})
    return Rule(
        threshold=min(rule.threshold for rule in rules),
        operator=min((rule.operator for rule in rules), key=OPERATORS.index),
        context={name: tuple(word for rule in rules for word in rule.context.get(name, ())) for name in languages},
        retention_days=min(rule.retention_days for rule in rules),
        laws=tuple(law for rule in rules for law in rule.laws),
    )


class Profiles:
    """The profiles of a domain pack, by jurisdiction.

    Args:
        profiles: one a jurisdiction.
    """

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self._by_name = {
            profile.jurisdiction: profile for profile in sorted(profiles, key=lambda one: one.jurisdiction)
        }
        if not self._by_name:
            raise ConfigurationError("there is no profile", "jurisdictions", "write one YAML a jurisdiction")
        self._names = {code: name for name, profile in self._by_name.items() for code in (name, *profile.codes)}
        self._combined: dict[tuple[str, ...], Profile] = {}

    @classmethod
    def load(cls, folder: Path) -> Profiles:
        """Read the profiles of a folder: `kr.yaml` holds the profile of kr.

        Raises:
            ConfigurationError: all faults of all files at once, each with file, line, key and the nearest right name.
        """
        files = sorted(folder.glob("*.yaml"))
        if not files:
            raise ConfigurationError(
                "there is no profile", str(folder), "write one YAML a jurisdiction, such as kr.yaml"
            )
        told: list[str] = []
        found: dict[Path, tuple[dict[str, Any], Lines]] = {file: read_yaml(file) for file in files}
        for file, (content, lines) in found.items():
            faults = _faults(content, file.stem)
            told += [f"{file}{at(lines, where)}: {'.'.join(map(str, where))}: {what}" for where, what in faults]
        if told:
            raise _unusable(told)
        profiles = {file: Profile(**content) for file, (content, _) in found.items()}
        for file, where, what in _disagreements(profiles, {file: content for file, (content, _) in found.items()}):
            told.append(f"{file}{at(found[file][1], where)}: {'.'.join(map(str, where))}: {what}")
        if told:
            raise _unusable(told)
        return cls(profiles.values())

    def of(self, jurisdictions: str) -> Profile:
        """The strictest combination of the profiles that a record's jurisdictions name.

        Args:
            jurisdictions: codes joined by commas ("us,kr"). None at all, or one without a profile, get the strictest of
                all profiles: a record must not escape by a code that nobody wrote rules for. `unknown` says which.
        """
        codes = sorted({code.strip().lower() for code in jurisdictions.split(",")} - {""})
        names = sorted({self._names[code] for code in codes if code in self._names})
        unknown = sorted({code if _CODE.fullmatch(code) else UNREADABLE for code in codes if code not in self._names})
        key = (*names, "", *unknown)
        if key not in self._combined:
            if len(self._combined) >= MOST_CACHED:
                self._combined.clear()
            chosen = list(self._by_name) if unknown or not names else names
            profile = Profile.strictest(self._by_name[name] for name in chosen)
            self._combined[key] = profile.model_copy(update={"unknown": tuple(unknown)})
        return self._combined[key]

    @property
    def jurisdictions(self) -> tuple[str, ...]:
        """The jurisdictions that have a profile."""
        return tuple(self._by_name)

    def to_json(self) -> dict[str, Any]:
        """All profiles as plain JSON, fit for a parameter of a step: there they are part of its cache key."""
        return {name: profile.model_dump(mode="json") for name, profile in self._by_name.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Profiles:
        """What `to_json` wrote.

        Raises:
            ConfigurationError: it is something else.
        """
        try:
            return cls(Profile.model_validate(profile) for profile in content.values())
        except (ValidationError, AttributeError):
            raise ConfigurationError(
                "the profiles cannot be read back", "jurisdictions", "start the run again, so that they are read anew"
            ) from None

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of all profiles: comments and the order of keys do not count."""
        return digest_json(self.to_json())


def _unusable(told: list[str]) -> ConfigurationError:
    return ConfigurationError("\n".join(["the jurisdictions cannot be used:", *told]), "", "nothing was read")


def _faults(content: dict[str, Any], stem: str) -> list[Fault]:
    """What is wrong with one file by itself."""
    entities = content.get("entities")
    entities = entities if isinstance(entities, dict) else {}
    faults: list[Fault] = [
        (("entities", name), f"unknown entity; {nearest(str(name), ENTITIES)}")
        for name in entities
        if name not in ENTITIES
    ]
    known = {name: rule for name, rule in entities.items() if name in ENTITIES}
    faults += model_faults(Profile, content | ({"entities": known} if entities else {}), ())
    if faults:
        return faults
    if content["jurisdiction"] != stem:
        faults.append((("jurisdiction",), f"the file is called {stem}.yaml: call it by its jurisdiction"))
    if JOINED in content["title"]:
        faults.append((("title",), f"must not hold '{JOINED}', which stands between the titles of a combination"))
    if content.get("unknown"):
        faults.append((("unknown",), "is filled in where profiles combine; leave it out"))
    ids = [law["id"] for law in content["laws"]]
    for number, name in enumerate(ids):
        if name in ids[:number]:
            faults.append((("laws", number, "id"), f"the law '{name}' is listed twice"))
    for entity, rule in known.items():
        for number, name in enumerate(rule["laws"]):
            if name not in ids:
                faults.append(
                    (("entities", entity, "laws", number), f"'{name}' is not among the laws; {nearest(name, ids)}")
                )
    return faults


def _disagreements(
    profiles: Mapping[Path, Profile], contents: Mapping[Path, dict[str, Any]]
) -> Iterable[tuple[Path, tuple[str | int, ...], str]]:
    """What files say against each other: a code that two of them claim, a law that two of them tell differently."""
    owners: dict[str, Path] = {}
    laws: dict[str, tuple[Path, Law]] = {}
    for file, profile in profiles.items():
        for code in (profile.jurisdiction, *profile.codes):
            if code in owners:
                yield file, ("codes",), f"'{code}' already belongs to {owners[code].name}"
            owners.setdefault(code, file)
        for number, content in enumerate(contents[file]["laws"]):
            law = Law(**content)
            other, told = laws.setdefault(law.id, (file, law))
            if told != law:
                yield (
                    file,
                    ("laws", number),
                    f"'{law.id}' is told otherwise in {other.name}: use one text, or another id",
                )
