"""What may still stand in a redacted text, said so that an officer can weigh it."""

from __future__ import annotations

from collections import Counter

from domainlm.redact.report import LabelledQuality, NameCanaries, Rate
from domainlm.redact.settings import MASK, SURROGATE, VAULT

CUED_LANGUAGES = ("en", "ko")
WEAK = 0.95  # recall below which an entity is named


def residual_risk(
    languages: Counter[str],
    operators: Counter[str],
    quarantined: int,
    name_canaries: list[NameCanaries],
    quality: LabelledQuality | None,
) -> list[str]:
    """One sentence a remaining risk.

    Args:
        languages: records by language.
        operators: values replaced, by operator.
        quarantined: records that were sealed away.
        name_canaries: the planted names.
        quality: precision and recall on the labelled set; None where there was none.
    """
    said = []
    if quality is None:
        said.append("No labelled set was given, so how much this configuration finds was not measured in this run.")
    else:
        said.append(
            f"On the domain pack's {quality.texts} labelled texts this configuration left at least one personal value"
            f" legible in {_percent(quality.leaking)} of the texts that hold any. They are synthetic, and rules have"
            " been mended on sentences like them: expect more on text of your own, and label some of it."
        )
        weak = sorted((row.recall.rate, row.entity, row.language) for row in quality.rows if row.recall.rate < WEAK)
        if weak:
            told = "; ".join(f"{entity} ({language}) {rate:.0%}" for rate, entity, language in weak)
            said.append(f"Found there least often: {told}.")
    for canary in name_canaries:
        said.append(
            f"Of the planted names ({canary.language}), {_percent(canary.found)} were found. A name that nothing around"
            " it announces, and that the tagger does not recognize, stays in the text."
        )
    if not name_canaries:
        said.append("Names of persons were not looked for.")
    if others := {name: count for name, count in languages.items() if name not in CUED_LANGUAGES}:
        told = ", ".join(f"{name or 'no valid code'}: {count}" for name, count in sorted(others.items()))
        said.append(
            f"Words that announce a value are known in English and Korean, beside the context words of the profiles."
            f" Records in other languages ({told}) were searched with these."
        )
    if operators[SURROGATE]:
        said.append(
            f"{operators[SURROGATE]} values were replaced by made-up ones: the text does not show which are real."
        )
    if operators[VAULT]:
        said.append(
            f"{operators[VAULT]} values can be revealed again by whoever holds the vault and its key; each access is"
            " logged."
        )
    if operators[MASK]:
        said.append(f"{operators[MASK]} values were masked: their last digits still stand in the text.")
    if quarantined:
        records = "1 record was" if quarantined == 1 else f"{quarantined} records were"
        said.append(f"{records} not passed on; what is sealed away waits for somebody who decides about it.")
    said.append(
        "A person may also be recognized by what is told about him or her (a rare job, a place, an event); no rule here"
        " looks for that. Images and scanned pages are not read."
    )
    return said


def _percent(rate: Rate) -> str:
    return f"{rate.rate:.1%} (95 % interval {rate.low:.1%} to {rate.high:.1%})"
