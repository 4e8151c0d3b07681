"""What a configuration may say of redaction. Imports nothing heavy."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from domainlm.errors import nearest
from domainlm.reports import Settings

PERSON, EMAIL_ADDRESS, PHONE_NUMBER, IP_ADDRESS = "PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS"
CREDIT_CARD, IBAN_CODE, SWIFT_BIC = "CREDIT_CARD", "IBAN_CODE", "SWIFT_BIC"
US_BANK_NUMBER, ABA_ROUTING_NUMBER, KR_BANK_ACCOUNT = "US_BANK_NUMBER", "ABA_ROUTING_NUMBER", "KR_BANK_ACCOUNT"
US_SSN, KR_RRN, UK_NHS, UK_NINO, DATE_OF_BIRTH = "US_SSN", "KR_RRN", "UK_NHS", "UK_NINO", "DATE_OF_BIRTH"
BROKERAGE_ACCOUNT, PASSPORT, DRIVER_LICENSE, SECRET = "BROKERAGE_ACCOUNT", "PASSPORT", "DRIVER_LICENSE", "SECRET"
LOCATION = "LOCATION"

ENTITIES = (
    PERSON, EMAIL_ADDRESS, PHONE_NUMBER, IP_ADDRESS, CREDIT_CARD, IBAN_CODE, SWIFT_BIC, US_BANK_NUMBER,
    ABA_ROUTING_NUMBER, KR_BANK_ACCOUNT, BROKERAGE_ACCOUNT, US_SSN, KR_RRN, UK_NHS, UK_NINO, PASSPORT, DRIVER_LICENSE,
    DATE_OF_BIRTH, SECRET, LOCATION,
)  # fmt: skip
# Found by their form, so that none may be left in the output; names and places are found by their surroundings.
STRUCTURED = tuple(name for name in ENTITIES if name not in (PERSON, LOCATION))
# Name a bank, a place or a date rather than one person: they get a placeholder, but no subject id.
IMPERSONAL = (SWIFT_BIC, ABA_ROUTING_NUMBER, DATE_OF_BIRTH, LOCATION, SECRET)

# What may become of a value, the strictest first: the order in which several jurisdictions are combined.
REMOVE, PLACEHOLDER, SURROGATE, VAULT, MASK = "remove", "placeholder", "surrogate", "vault", "mask"
OPERATORS = (REMOVE, PLACEHOLDER, SURROGATE, VAULT, MASK)


class RedactSettings(Settings):
    """The `redact:` parameters of a run."""

    entities: tuple[str, ...] = Field(
        default=(),
        description="what is replaced beyond what the jurisdictions' profiles ask for; without profiles it is all that"
        " is replaced, and empty means every entity",
    )
    phone_regions: tuple[str, ...] = Field(
        default=("US", "GB", "KR", "DE", "FR"),
        min_length=1,
        description="countries whose national telephone numbers are known; more find more, and cost more time",
    )
    threshold: float = Field(
        default=0.4,
        gt=0,
        le=1,
        description="least score of a finding where no profile sets one; lower replaces more, amounts in the end",
    )
    risk_threshold: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="a record in which something below the threshold but at or above this score was left standing is"
        " quarantined; a profile may be stricter",
    )
    allow_mnpi: bool = Field(
        default=False, description="read sources of material non-public information; otherwise they stop the run"
    )
    max_characters: int = Field(
        default=200_000, ge=1, description="a longer single text is quarantined, so that every scan is bounded"
    )
    regex_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="time that one pattern may take on one text; beyond it the record is quarantined",
    )
    text_timeout_s: float = Field(
        default=20.0, gt=0, le=600, description="time that one text may take in all; beyond it, it is quarantined"
    )
    name_engine: Literal["tagger", "none"] = Field(
        default="tagger", description="tagger: the project's own, beside the cues; none: names by cues alone"
    )
    tagger: str = Field(default="domains/finance/tagger", description="folder of the tagger's weights and their card")
    nlp_engine: dict[str, Any] | None = Field(
        default=None,
        description="a configuration for Presidio's NlpEngineProvider, or {gliner: {model: PATH}}; models are local"
        " paths or installed packages, nothing is downloaded",
    )
    max_quarantined_share: float = Field(
        default=0.02, ge=0, le=1, description="the run fails when a larger share of the records had to be quarantined"
    )
    engine: Literal["local", "ray"] = Field(
        default="local", description="ray: the same function over Ray Data, for several nodes; one is faster without"
    )
    processes: int = Field(
        default=1, ge=1, le=1024, description="processes or Ray tasks that scan; more pay off from about 100 MB of text"
    )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The entities that are replaced where no profile decides."""
        return self.entities or ENTITIES

    @field_validator("entities")
    @classmethod
    def _known_entities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in ENTITIES:
                raise ValueError(f"unknown entity '{name}': {nearest(name, ENTITIES)}")
        return value

    @field_validator("phone_regions")
    @classmethod
    def _region_codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for region in value:
            if len(region) != 2 or not region.isascii() or not region.isupper():
                raise ValueError(f"phone region '{region}' is no ISO 3166 code such as KR (the United Kingdom is GB)")
        return value
