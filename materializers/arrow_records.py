"""Records as one Arrow IPC stream: memory-mapped on load, no copy, no pandas, no pickle."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import pyarrow as pa
from datasets import Dataset
from zenml.enums import ArtifactType

from domainlm.digests import digest_dataset
from domainlm.errors import ArtifactError
from materializers.verified import VerifiedMaterializer

FILE = "records.arrow"
BATCH_ROWS = 1000


class ArrowRecordsMaterializer(VerifiedMaterializer):
    """Stores a `datasets.Dataset` batch by batch, so that memory stays flat whatever its size."""

    SKIP_REGISTRATION = False
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Dataset,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Dataset) -> None:
        """Write the rows in their order (an indices mapping, as after `select`, is resolved batch by batch)."""
        arrow = data.with_format("arrow")
        with self.artifact_store.open(os.path.join(self.uri, FILE), "wb") as sink:
            with pa.ipc.new_stream(sink, data.features.arrow_schema) as writer:
                for start in range(0, len(data), BATCH_ROWS):
                    table = arrow[start : start + BATCH_ROWS]
                    writer.write_table(table.cast(data.features.arrow_schema))

    def load(self, data_type: type[Any]) -> Dataset:
        """Memory-map the rows and check their digest.

        Raises:
            ArtifactError: the file is broken, or its rows were changed.
        """
        path = self.local_folder() / FILE
        try:
            data = Dataset.from_file(str(path))
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(
                "is not a readable Arrow file", str(path), "let the step that made it run again"
            ) from error
        self.verify(data)
        return data

    def digest_of(self, data: Dataset) -> str:
        """By value: column names, types and rows in order."""
        return digest_dataset(data)

    def extract_metadata(self, data: Dataset) -> dict[str, Any]:
        """Rows and columns; nothing of what they hold."""
        return {"rows": len(data), "columns": data.column_names}
