"""Second stage: personal data out of the text; what it hands on is the first text that is stored."""

from __future__ import annotations

from typing import Annotated, Any

from datasets import Dataset
from zenml import log_metadata

from domainlm.errors import SecretError
from domainlm.names import REDACT
from domainlm.project import home
from domainlm.redact import Policy, RedactionReport, Redactor
from domainlm.redact.settings import RedactSettings
from domainlm.sources import SourceManifest
from steps.erased import erased_subjects
from steps.keys import load_keys
from steps.stage import stage_step


@stage_step(REDACT)
def redact(
    sources: SourceManifest, policy: dict[str, Any], key_id: str, erased: str, settings: RedactSettings
) -> tuple[Annotated[Dataset, "redacted_records"], Annotated[RedactionReport, "redaction_report"]]:
    """Replace personal data by placeholders; quarantine what stays risky.

    Args:
        sources: where the raw text lies, each file with its digest.
        policy: the domain pack's jurisdictions, and the digests of its tagger and labelled set, read when the run was
            compiled, so that a changed rule runs again.
        key_id: the key that keyed ids are made with, behind the retired ones before it; part of the cache key.
        erased: mark of the erasure register when the run was compiled; part of the cache key, so that no redaction
            from before an erasure is served.
        settings: entities, thresholds, quarantine rules.

    Raises:
        SecretError: the key at hand is not the one that the run was compiled for.
        ConfigurationError: the erasure register at hand is not.
        RedactionIncomplete: a planted canary survived, too few planted names were found, or too much went to
            quarantine.
    """
    keys = load_keys()
    if keys.lineage != key_id:
        raise SecretError(
            f"the key at hand is '{keys.lineage}', the run wants '{key_id}'", "redact", "mount the run's key"
        )
    rules = Policy.of(policy)
    redactor = Redactor(
        settings, keys, home() / "quarantine", profiles=rules.profiles, labelled=rules.labelled,
        erased=erased_subjects(keys, erased),
    )  # fmt: skip
    redacted, report = redactor.run(sources)
    log_metadata(report.summary())
    return redacted, report
