"""What landed, as sources beside the configured ones, and whether it is still what was accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domainlm.errors import ConfigurationError, SourceError
from domainlm.ingest.settings import IngestSettings
from domainlm.sources import SourceManifest, SourceSettings


def with_landed(settings: IngestSettings, landed: Sequence[SourceSettings]) -> IngestSettings:
    """The configured sources and, behind them, those that landed.

    Args:
        settings: as the configuration says.
        landed: one source a feed, its files in order of landing.

    Raises:
        ConfigurationError: a feed bears the name of a configured source: ids of records and rows would mix.
    """
    names = {source.name for source in settings.sources}
    if double := sorted(names & {source.name for source in landed}):
        raise ConfigurationError(
            f"a feed and a source are both called '{double[0]}'", "steps.detect.parameters.feeds", "rename the feed"
        )
    return settings.model_copy(update={"sources": (*settings.sources, *landed)})


def require_as_accepted(manifest: SourceManifest, digests: Mapping[str, str]) -> None:
    """Compare every file with what was looked into when it was accepted.

    Args:
        manifest: what `ingest` read just now.
        digests: file, as the manifest names it, -> SHA-256 of what was accepted.

    Raises:
        SourceError: a file has another content by now, or was not read.
    """
    read = {file.uri: file.sha256 for entry in manifest.sources for file in entry.files}
    if changed := sorted(file for file, digest in digests.items() if read.get(file) != digest):
        more = f" and {len(changed) - 1} others" if len(changed) > 1 else ""
        raise SourceError(
            f"{'changed' if changed[0] in read else 'was not read'} since its batch was accepted",
            changed[0] + more, "put back what was accepted, or withdraw its batch: what changed lands as a new one",
        )  # fmt: skip
