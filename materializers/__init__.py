"""How artifacts are stored: Arrow, safetensors and JSON only, each with a content digest that is checked on load."""

from materializers.arrow_records import ArrowRecordsMaterializer
from materializers.folder import FolderMaterializer
from materializers.report import ReportMaterializer

__all__ = ["ArrowRecordsMaterializer", "FolderMaterializer", "ReportMaterializer"]
