"""Redact: personal data out of the text, before anything stores it.

    policy = Policy.of(read_policy("domains/finance"))
    redacted, report = Redactor(settings, keys, quarantine_folder, profiles=policy.profiles).run(manifest)

Presidio's analyzer with recognizers for finance (`recognizers/`) and a tagger of our own (`tagger/`) finds; the
jurisdictions' profiles say what becomes of it; what cannot be made safe goes into an encrypted quarantine.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Policy", "RedactionReport", "Redactor", "read_policy"]
_HOMES = {"Policy": "policy", "read_policy": "policy", "Redactor": "redactor", "RedactionReport": "report"}


def __getattr__(name: str) -> Any:
    """Import what is asked for: settings and profiles are read in milliseconds, the redactor is not."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
