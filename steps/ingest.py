"""First stage: what text there is, where, under which licence; no text leaves it."""

from __future__ import annotations

from typing import Annotated

from zenml import log_metadata

from domainlm.ingest import ingest as inspect_sources
from domainlm.ingest.settings import IngestSettings
from domainlm.names import INGEST
from domainlm.sources import SourceManifest
from steps.stage import stage_step


@stage_step(INGEST, cached=False)
def ingest(settings: IngestSettings) -> Annotated[SourceManifest, "source_manifest"]:
    """Read every source once, strictly, and note its files, digests, rows, columns and licence.

    Raises:
        SourceError: a file is missing, empty, malformed or contradicts itself.
    """
    manifest = inspect_sources(settings)
    log_metadata(manifest.summary())
    return manifest
