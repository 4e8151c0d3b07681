"""What holds for one record: the strictest profile of its jurisdictions, or the settings where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from domainlm.redact.settings import PLACEHOLDER, VAULT, RedactSettings

if TYPE_CHECKING:
    from domainlm.redact.profiles import Profile, Profiles


@dataclass(frozen=True)
class Rules:
    """The rules of some records.

    Args:
        least: entity to the least score at which it is replaced; an entity that is not in it stays.
        operators: entity to what becomes of it.
        retention_days: entity to the days for which the vault may keep a value.
        risk_threshold: a record with something left standing at or above this score is quarantined.
        name_canary_rate: least share of the planted names that must be found.
        max_quarantined_share: share of the records that may be quarantined.
        profile: the combined profile; None without profiles.
    """

    least: Mapping[str, float]
    operators: Mapping[str, str]
    retention_days: Mapping[str, int]
    risk_threshold: float
    name_canary_rate: float
    max_quarantined_share: float
    profile: Profile | None

    @cached_property
    def floor(self) -> dict[str, float]:
        """Entity to the least score that makes a record risky: at most the score at which it would be replaced."""
        return {entity: min(score, self.risk_threshold) for entity, score in self.least.items()}


class RuleBook:
    """The rules of every jurisdiction that a record may state.

    Args:
        settings: what holds without profiles, and entities beyond those of the profiles.
        profiles: of the domain pack; None to go by the settings alone.
    """

    def __init__(self, settings: RedactSettings, profiles: Profiles | None) -> None:
        self.settings, self.profiles = settings, profiles
        self._known: dict[str, Rules] = {}

    def of(self, jurisdictions: str) -> Rules:
        """The rules of a record.

        Args:
            jurisdictions: codes as the record states them, joined by commas; none or an unknown one get the strictest
                combination of all profiles.
        """
        if jurisdictions not in self._known:
            self._known[jurisdictions] = self._rules(jurisdictions)
        return self._known[jurisdictions]

    def _rules(self, jurisdictions: str) -> Rules:
        settings = self.settings
        if self.profiles is None:
            wanted = settings.wanted
            return Rules(
                dict.fromkeys(wanted, settings.threshold), dict.fromkeys(wanted, PLACEHOLDER), {},
                settings.risk_threshold, 0.0, settings.max_quarantined_share, None,
            )  # fmt: skip
        profile = self.profiles.of(jurisdictions)
        more = [entity for entity in settings.entities if entity not in profile.entities]
        rules = profile.entities
        return Rules(
            {entity: rule.threshold for entity, rule in rules.items()} | dict.fromkeys(more, settings.threshold),
            {entity: rule.operator for entity, rule in rules.items()} | dict.fromkeys(more, PLACEHOLDER),
            {entity: rule.retention_days for entity, rule in rules.items()},
            min(profile.risk_threshold, settings.risk_threshold),
            profile.name_canary_rate,
            min(profile.max_quarantined_share, settings.max_quarantined_share),
            profile,
        )

    @cached_property
    def strictest(self) -> Rules:
        """What holds for a record that states no jurisdiction."""
        return self.of("")

    @property
    def reveals(self) -> bool:
        """Whether any jurisdiction lets values be revealed again; a combination never adds to that."""
        codes = ("", *(self.profiles.jurisdictions if self.profiles else ()))
        return any(VAULT in self.of(code).operators.values() for code in codes)

    @cached_property
    def scanner_settings(self) -> RedactSettings:
        """Settings for a scanner that serves all jurisdictions: every entity, at the lowest score that matters."""
        strictest = self.strictest
        lowest = min(strictest.floor.values())
        return self.settings.model_copy(update={"entities": tuple(strictest.least), "threshold": lowest})

    @cached_property
    def context(self) -> dict[str, tuple[str, ...]]:
        """Context words of the profiles, of all their languages: a wrong language column must not hide a value."""
        if self.strictest.profile is None:
            return {}
        words = {
            entity: tuple(dict.fromkeys(word for words in rule.context.values() for word in words))
            for entity, rule in self.strictest.profile.entities.items()
        }
        return {entity: found for entity, found in words.items() if found}
