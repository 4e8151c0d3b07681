"""What becomes of a found value in the text: placeholder, mask, nothing, a surrogate, or a placeholder with a way back.

Placeholders are short on purpose: `[PERSON_1]` costs a tokenizer little, while a pseudonym of 16 hexadecimal digits
would cost more than the name and fill the vocabulary with noise. One value has one placeholder in all texts of a record
and none beyond it; what links records is the keyed id beside the text.

Presidio's anonymizer carries all of it out, by its own operators `replace`, `mask` and `redact`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from domainlm.errors import ConfigurationError, nearest
from domainlm.keys import KeyRing
from domainlm.redact.settings import (
    ABA_ROUTING_NUMBER,
    BROKERAGE_ACCOUNT,
    CREDIT_CARD,
    EMAIL_ADDRESS,
    IBAN_CODE,
    KR_BANK_ACCOUNT,
    MASK,
    OPERATORS,
    PERSON,
    PHONE_NUMBER,
    PLACEHOLDER,
    REMOVE,
    STRUCTURED,
    SURROGATE,
    SWIFT_BIC,
    US_BANK_NUMBER,
    VAULT,
)
from domainlm.redact.surrogates import Surrogates, part_of_name

if TYPE_CHECKING:
    from domainlm.redact.engine import Finding
    from domainlm.redact.vault import Vault

# A placeholder in a text: its entity and its number.
PLACEHOLDER_FORM = re.compile(r"\[([A-Z_]+)_(\d{1,6})\]")
_LETTERED = (EMAIL_ADDRESS, IBAN_CODE, SWIFT_BIC)
# Their last digits are printed on receipts and read out at counters; of everything else a mask leaves nothing.
_KEEP_THE_END = (
    CREDIT_CARD, IBAN_CODE, US_BANK_NUMBER, ABA_ROUTING_NUMBER, KR_BANK_ACCOUNT, BROKERAGE_ACCOUNT, PHONE_NUMBER,
)  # fmt: skip
_MOST_KEPT, _MASKED = 4, "****"
REPLACE = "replace"
_EMPTY_PAIRS = (("(", ")"), ("[", "]"), ("<", ">"), ('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"))
_CLOSING = frozenset(",.;:!?)]}>%”’…，。、")
_OPENING = frozenset("([{<“‘")


class Replacer:
    """Replaces the findings of one record.

    Args:
        texts: all its texts; placeholders that they already hold are not given out a second time, and no surrogate
            equals anything in them.
        regions: countries whose telephone numbers are known, to see that two spellings are one number.
        operators: what becomes of each entity; one that is not named gets a placeholder.
        keys: chooses surrogates and makes the subject ids of the vault; placeholders, masks and removal need none.
        vault: keeps originals; needed where an entity's operator is `vault`.
        record_id: what the vault files them under. Of a record without an id, such as a canary, nothing is kept.
        retention_days: days that the vault keeps an entity's values; the vault's own number for those not named.

    Raises:
        ConfigurationError: an operator is unknown, or the vault or the key that it needs is missing.
    """

    def __init__(
        self,
        texts: Iterable[str],
        regions: tuple[str, ...],
        operators: Mapping[str, str],
        keys: KeyRing | None,
        vault: Vault | None,
        record_id: str,
        retention_days: Mapping[str, int] | None = None,
    ) -> None:
        self._texts = list(texts)
        self.regions, self.operators, self.keys = regions, operators, keys
        self.vault, self.record_id = vault, record_id
        self.retention_days = retention_days or {}
        for entity, operator in operators.items():
            if operator not in OPERATORS:
                raise ConfigurationError(f"unknown operator '{operator}'", entity, nearest(operator, OPERATORS))
            if operator == VAULT and vault is None and record_id:
                raise ConfigurationError("its originals need a vault, and there is none", entity, "give it a vault")
            if operator in (SURROGATE, VAULT) and keys is None:
                raise ConfigurationError(
                    f"the operator '{operator}' needs a key, and there is none", entity, "give it one"
                )
        self.counts: Counter[str] = Counter()
        self._last: dict[str, int] = {}
        for text in self._texts:
            for entity, number in PLACEHOLDER_FORM.findall(text):
                self._last[entity] = max(self._last.get(entity, 0), int(number))
        self._given: dict[tuple[str, str], str] = {}
        self._seen: dict[tuple[str, str], None] = {}
        self._surrogates: Surrogates | None = None
        self._made: dict[str, str] = {}

    @property
    def values(self) -> list[tuple[str, str]]:
        """Entity and normalised value of everything replaced so far."""
        return list(self._seen)

    def replace(self, text: str, findings: list[Finding]) -> str:
        """The text with each finding replaced.

        Raises:
            SecretError: the vault belongs to another key.
        """
        from presidio_anonymizer.entities import OperatorConfig, RecognizerResult

        # Numbers count from the start of the text, the anonymizer goes from its end, and an operator sees the value
        # alone: so what stands for each finding is settled first, and each is an entity of its own to the anonymizer.
        spans, operators, entries, used = [], {}, [], Counter()
        for number, finding in enumerate(findings):
            key = finding.entity, normalise(finding.entity, finding.value, self.regions)
            self._seen.setdefault(key)
            spelled = text[finding.start : finding.end]
            operator = self.operators.get(finding.entity, PLACEHOLDER)
            name, parameters = REPLACE, {}
            if operator == REMOVE:
                name = "redact"
            elif operator == MASK:
                name, parameters = _masking(finding.entity, spelled)
            elif operator == SURROGATE and (made := self._surrogate(key, finding, spelled)):
                parameters = {"new_value": made}
            else:
                operator = VAULT if operator == VAULT else PLACEHOLDER  # a surrogate that is not to be had
                parameters = {"new_value": self._placeholder(key)}
                if operator == VAULT and self.vault is not None and self.record_id:
                    entries.append((key, parameters["new_value"], finding))
            if operator in (MASK, SURROGATE):
                hidden = parameters.get("chars_to_mask", 0)
                made = parameters.get("new_value") or "*" * hidden + spelled[hidden:]
                self._made.setdefault(made, finding.entity)
            used[operator] += 1
            spans.append(RecognizerResult(str(number), finding.start, finding.end, finding.score))
            operators[str(number)] = OperatorConfig(name, parameters)
        self._keep(entries)
        done = _anonymizer().anonymize(text, spans, operators, merge_entities_with_spaces=False)
        self.counts.update(used)
        gaps = [item.start for item in done.items if item.operator == "redact"]
        return _tidied(done.text, gaps) if gaps else done.text

    def rescanned(self, text: str) -> str:
        """A replaced text as the second look shall read it: a surrogate or mask of ours looks like what it stands for,
        so a placeholder stands in its place. Everything else is what will leave."""
        if not self._made:
            return text
        longest_first = sorted(self._made, key=lambda made: (-len(made), made))
        ours = re.compile("|".join(rf"(?<![0-9A-Za-z]){re.escape(made)}(?![0-9A-Za-z])" for made in longest_first))
        return ours.sub(lambda match: f"[{self._made[match[0]]}_0]", text)

    def _placeholder(self, key: tuple[str, str]) -> str:
        """A new value gets the next number of its entity."""
        if key not in self._given:
            entity = key[0]
            self._last[entity] = self._last.get(entity, 0) + 1
            self._given[key] = f"[{entity}_{self._last[entity]}]"
        return self._given[key]

    def _surrogate(self, key: tuple[str, str], finding: Finding, spelled: str) -> str | None:
        assert self.keys is not None
        if self._surrogates is None:
            self._surrogates = Surrogates(self.keys, self._texts, self.regions)
        made = self._surrogates.of(finding.entity, finding.value, key[1])
        return part_of_name(made, finding.value, spelled) if made and finding.entity == PERSON else made

    def _keep(self, found: list[tuple[tuple[str, str], str, Finding]]) -> None:
        if not found:
            return
        from domainlm.redact.vault import Entry

        assert self.vault is not None and self.keys is not None
        first = {placeholder: (key, finding) for key, placeholder, finding in reversed(found)}
        self.vault.put(
            self.record_id,
            [
                Entry(
                    self.keys.keyed_id("subject", *key), placeholder, finding.entity, finding.value,
                    self.retention_days.get(finding.entity),
                )
                for placeholder, (key, finding) in first.items()
            ],
        )  # fmt: skip


def _masking(entity: str, spelled: str) -> tuple[str, dict[str, Any]]:
    """The anonymizer's operator and parameters of a mask: stars but for the end of a number, four characters and a
    third of it at most. Anything else becomes four stars whatever its length was, since a length tells as well."""
    kept = min(_MOST_KEPT, sum(character.isalnum() for character in spelled) // 3)
    if entity not in _KEEP_THE_END or not kept:
        return REPLACE, {"new_value": _MASKED}
    return "mask", {"masking_char": "*", "chars_to_mask": len(spelled) - kept, "from_end": False}


def _tidied(text: str, gaps: list[int]) -> str:
    """Close the gaps that removed values leave: no double space, no space before a comma, no empty brackets."""
    for gap in sorted(set(gaps), reverse=True):
        left, right = text[:gap], text[gap:]
        bare_left, bare_right = left.rstrip(" \t"), right.lstrip(" \t")
        for opening, closing in _EMPTY_PAIRS:
            if bare_left.endswith(opening) and bare_right.startswith(closing):
                left, right = bare_left[: -len(opening)], bare_right[len(closing) :]
                bare_left, bare_right = left.rstrip(" \t"), right.lstrip(" \t")
                break
        starts_line = not bare_left or bare_left[-1] in "\r\n"
        ends_line = not bare_right or bare_right[0] in "\r\n"
        if starts_line or ends_line:
            text = (bare_left if ends_line else left) + bare_right
        elif bare_right[0] in _CLOSING or bare_left[-1] in _OPENING:
            text = bare_left + bare_right
        elif left != bare_left and right != bare_right:
            text = f"{bare_left} {bare_right}"
        else:
            text = left + right
    return text


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
