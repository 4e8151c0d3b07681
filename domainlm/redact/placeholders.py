"""Placeholders of one record: one person or number has one placeholder in all its texts, and none beyond it.

Short on purpose: `[PERSON_1]` costs a tokenizer little, while a pseudonym of 16 hexadecimal digits would cost more than
the name and fill the vocabulary with noise. What links records is the keyed id beside the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from domainlm.redact.settings import (
    CREDIT_CARD,
    EMAIL_ADDRESS,
    IBAN_CODE,
    PHONE_NUMBER,
    STRUCTURED,
    SWIFT_BIC,
)

if TYPE_CHECKING:
    from domainlm.redact.engine import Finding

_TAKEN = re.compile(r"\[([A-Z_]+)_(\d{1,6})\]")
_LETTERED = (EMAIL_ADDRESS, IBAN_CODE, SWIFT_BIC)


class Placeholders:
    """The placeholders of one record.

    Args:
        texts: all its texts; placeholders that they already hold are not given out a second time.
        regions: countries whose telephone numbers are known, to see that two spellings are one number.
    """

    def __init__(self, texts: Iterable[str], regions: tuple[str, ...]) -> None:
        self.regions = regions
        self._last: dict[str, int] = {}
        for text in texts:
            for entity, number in _TAKEN.findall(text):
                self._last[entity] = max(self._last.get(entity, 0), int(number))
        self._given: dict[tuple[str, str], str] = {}

    def of(self, finding: Finding) -> str:
        """The placeholder of a finding; a new value gets the next number of its entity."""
        key = finding.entity, normalise(finding.entity, finding.value, self.regions)
        if key not in self._given:
            self._last[finding.entity] = self._last.get(finding.entity, 0) + 1
            self._given[key] = f"[{finding.entity}_{self._last[finding.entity]}]"
        return self._given[key]

    @property
    def values(self) -> list[tuple[str, str]]:
        """Entity and normalised value of everything replaced so far."""
        return list(self._given)

    def replace(self, text: str, findings: list[Finding]) -> str:
        """The text with each finding replaced, by Presidio's anonymizer."""
        from presidio_anonymizer.entities import OperatorConfig, RecognizerResult

        # Numbers count from the start of the text, the anonymizer goes from its end, and an operator sees the value
        # alone: so the placeholders are given out first, and each is an entity of its own to the anonymizer.
        spans = [RecognizerResult(self.of(finding), finding.start, finding.end, finding.score) for finding in findings]
        operators = {span.entity_type: OperatorConfig("replace", {"new_value": span.entity_type}) for span in spans}
        return _anonymizer().anonymize(text, spans, operators, merge_entities_with_spaces=False).text


@cache
def _anonymizer() -> Any:
    from presidio_anonymizer import AnonymizerEngine

    return AnonymizerEngine()


def normalise(entity: str, value: str, regions: tuple[str, ...]) -> str:
    """One spelling of a value, so that its variants get one placeholder and one keyed id."""
    if entity == PHONE_NUMBER:
        return _telephone(value, regions)
    if entity in _LETTERED:
        return "".join(value.split()).replace("-", "" if entity == IBAN_CODE else "-").casefold()
    if entity == CREDIT_CARD or (entity in STRUCTURED and any(character.isdigit() for character in value)):
        return "".join(character for character in value.casefold() if character.isalnum() or character == "*")
    return " ".join(value.casefold().replace(".", " ").split())


def _telephone(value: str, regions: tuple[str, ...]) -> str:
    import phonenumbers

    if value.startswith("00"):
        value = "+" + value[2:]
    for region in (None,) if value.startswith("+") else regions:
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return "".join(character for character in value if character.isdigit())
