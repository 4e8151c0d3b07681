"""What is looked for, one file a family. A new recognizer is a subclass of `CuedRecognizer` and a name below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domainlm.redact.recognizers.base import CuedRecognizer
    from domainlm.redact.settings import RedactSettings


def recognizers(
    language: str, settings: RedactSettings, context: Mapping[str, tuple[str, ...]] | None = None
) -> list[CuedRecognizer]:
    """Every recognizer, for one language of Presidio's; which of them run is decided text by text.

    All read all languages: a Korean message holds English names, and a wrong language column must not hide a value.

    Args:
        language: code of the language that Presidio's registry files them under.
        settings: time-outs, threshold, regions.
        context: further words that count as a cue, by entity.
    """
    from domainlm.redact.recognizers.accounts import (
        BicRecognizer,
        BrokerageRecognizer,
        IbanRecognizer,
        KoreanAccountInEnglishRecognizer,
        KoreanAccountRecognizer,
        RoutingNumberRecognizer,
        UsAccountRecognizer,
    )
    from domainlm.redact.recognizers.announced import AnnouncedAddressRecognizer, AnnouncedNameRecognizer
    from domainlm.redact.recognizers.cards import CardRecognizer
    from domainlm.redact.recognizers.contact import EmailRecognizer, IpRecognizer, PhoneRecognizer
    from domainlm.redact.recognizers.documents import DriverLicenseRecognizer, PassportRecognizer
    from domainlm.redact.recognizers.english_names import EnglishNameRecognizer
    from domainlm.redact.recognizers.identity import (
        DateOfBirthRecognizer,
        NhsRecognizer,
        NinoRecognizer,
        ResidentRegistrationRecognizer,
        SsnRecognizer,
    )
    from domainlm.redact.recognizers.korean_names import KoreanNameRecognizer
    from domainlm.redact.recognizers.names_nearby import NearbyNameRecognizer
    from domainlm.redact.recognizers.places import AddressRecognizer
    from domainlm.redact.recognizers.secrets import SecretRecognizer
    from domainlm.redact.recognizers.tables import cell_recognizers

    kinds = (
        EmailRecognizer, PhoneRecognizer, IpRecognizer, CardRecognizer, IbanRecognizer, BicRecognizer,
        AnnouncedNameRecognizer, AnnouncedAddressRecognizer,
        BrokerageRecognizer, PassportRecognizer, DriverLicenseRecognizer, SecretRecognizer,
        RoutingNumberRecognizer, UsAccountRecognizer, KoreanAccountRecognizer, KoreanAccountInEnglishRecognizer,
        SsnRecognizer, ResidentRegistrationRecognizer, NhsRecognizer, NinoRecognizer, DateOfBirthRecognizer,
        EnglishNameRecognizer, KoreanNameRecognizer, AddressRecognizer, NearbyNameRecognizer,
        *cell_recognizers(),
    )  # fmt: skip
    if settings.name_engine == "tagger":
        from domainlm.redact.recognizers.tagged_names import TaggedNameRecognizer, TaggedPlaceRecognizer

        kinds += (TaggedNameRecognizer, TaggedPlaceRecognizer)
    words = context or {}
    return [kind(language, settings, tuple(words.get(kind.ENTITY, ()))) for kind in kinds]
