"""Lineage events of every run, once, to the place that `configs/audit.yaml` names; what a server does not take waits.

A run's events are made from its manifest after it has ended, so a run that was killed or that nobody could send is
sent by the next one. A server that was reached half-way hears the events again; OpenLineage allows that.
"""

from __future__ import annotations

import os

from domainlm.audit.standards.openlineage import emit
from domainlm.errors import DomainLMError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import RUNNING
from domainlm.ledger.settings import AuditSettings, evidence_folder

SENT = "openlineage"  # folder: one empty file a run that was sent


def send_waiting() -> str:
    """Send the events of every ended run that was not sent yet, the oldest first.

    Returns:
        Why some wait; empty where none does. Lineage is told, not proven: it never changes how a run ends.
    """
    try:
        if not (url := AuditSettings.load().openlineage):
            return ""
        sent = evidence_folder() / SENT
        sent.mkdir(mode=0o700, exist_ok=True)
        waiting = []
        for path in manifests.manifest_folder().glob("*.json"):
            if not (sent / path.stem).exists() and (found := manifests.read(path)).status != RUNNING:
                waiting.append(found)
        for found in sorted(waiting, key=lambda run: run.started):
            emit(found, url)
            os.close(os.open(sent / found.run_id, os.O_WRONLY | os.O_CREAT, 0o600))
    except (DomainLMError, OSError) as error:
        return error.what if isinstance(error, DomainLMError) else type(error).__name__
    return ""
