"""First stage: what text there is, where, under which licence; no text leaves it."""

from __future__ import annotations

from typing import Annotated

from zenml import log_metadata

from domainlm.ingest import ingest as inspect_sources
from domainlm.ingest import require_as_accepted, with_landed
from domainlm.ingest.settings import IngestSettings
from domainlm.names import INGEST
from domainlm.retrain.batches import LandedData
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


@stage_step(INGEST, cached=False)
def ingest_landed(landed: LandedData, settings: IngestSettings) -> Annotated[SourceManifest, "source_manifest"]:
    """Read the configured sources and, in the order of their landing, the files that a retraining works on.

    Raises:
        SourceError: as `ingest`, or a file is not what was accepted.
        ConfigurationError: a feed and a source have one name.
    """
    manifest = inspect_sources(with_landed(settings, landed.sources))
    require_as_accepted(manifest, landed.digests)
    log_metadata(manifest.summary() | {"landed_files": len(landed.digests)})
    return manifest
