"""Reports as canonical JSON, with an HTML page beside it where the report can draw one."""

from __future__ import annotations

import json
import os
from typing import Any, ClassVar

from pydantic import ValidationError
from zenml.enums import ArtifactType, VisualizationType

from domainlm.digests import canonical_json
from domainlm.errors import ArtifactError
from domainlm.reports import Report
from materializers.verified import VerifiedMaterializer

FILE, PAGE = "report.json", "report.html"


class ReportMaterializer(VerifiedMaterializer):
    """Stores any `Report`; the JSON follows RFC 8785, so equal reports are equal bytes."""

    SKIP_REGISTRATION = False
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Report,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: Report) -> None:
        """Write the canonical JSON."""
        with self.artifact_store.open(os.path.join(self.uri, FILE), "wb") as sink:
            sink.write(canonical_json(data.model_dump(mode="json")))

    def load(self, data_type: type[Any]) -> Report:
        """Read the report and check its digest.

        Raises:
            ArtifactError: it was changed, or an older version of domainlm wrote it.
            ArtifactErased: its data were deleted on the record.
        """
        self.refuse_erased()
        path = os.path.join(self.uri, FILE)
        try:
            with self.artifact_store.open(path, "rb") as source:
                report = data_type(**json.loads(source.read()))
        except (OSError, ValueError, ValidationError) as error:
            raise ArtifactError("is not a readable report", path, "let the step that made it run again") from error
        self.verify(report)
        return report

    def digest_of(self, data: Report) -> str:
        """SHA-256 of the canonical JSON."""
        return data.digest

    def extract_metadata(self, data: Report) -> dict[str, Any]:
        """The report's own summary."""
        return data.summary()

    def save_visualizations(self, data: Report) -> dict[str, VisualizationType]:
        """The report as a page for the dashboard, for reports that have `html()`."""
        if not hasattr(data, "html"):
            return {}
        path = os.path.join(self.uri, PAGE)
        with self.artifact_store.open(path, "w") as sink:
            sink.write(data.html())
        return {path: VisualizationType.HTML}
