"""What is stored comes back equal, and what was changed in the store does not come back at all."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import save_file
from zenml.artifact_stores import LocalArtifactStore, LocalArtifactStoreConfig
from zenml.enums import StackComponentType

from domainlm.artifacts import TOMBSTONE, AdapterFolder, Folder
from domainlm.audit.erasure.stored import Version, tombstone
from domainlm.errors import ArtifactErased, ArtifactError
from domainlm.records import features
from domainlm.reports import Report
from materializers import ArrowRecordsMaterializer, FolderMaterializer, ReportMaterializer


class Figures(Report):
    """A report for these tests."""

    count: int
    rates: dict[str, float]


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    from datetime import datetime
    from uuid import uuid4

    path = tmp_path / "store"
    path.mkdir()
    return LocalArtifactStore(
        name="test",
        id=uuid4(),
        config=LocalArtifactStoreConfig(path=str(path)),
        flavor="local",
        type=StackComponentType.ARTIFACT_STORE,
        user=None,
        created=datetime(2026, 1, 1),
        updated=datetime(2026, 1, 1),
    )


def place(kind: type, store: LocalArtifactStore, name: str, expected: str | None = None) -> Any:
    uri = os.path.join(store.path, name)
    os.makedirs(uri, exist_ok=True)
    made = kind(uri=uri, artifact_store=store)
    made.expected_content_hash = expected
    return made


def records(count: int) -> Dataset:
    row = {name: "" for name in features()} | {"row": 1, "split_bucket": 0, "subjects": ["a"]}
    row["messages"] = [{"role": "user", "content": "질문 €1,200 -3.5%"}]
    return Dataset.from_list([row | {"id": f"{n:032x}", "row": n} for n in range(count)], features=features())


def folder(path: Path) -> AdapterFolder:
    path.mkdir()
    save_file({"lora_A": torch.ones(2, 3)}, path / "adapter_model.safetensors")
    made = AdapterFolder(path)
    made.write_card(method="qlora")
    return made


def test_records_come_back_equal_and_memory_mapped(store: LocalArtifactStore) -> None:
    data = records(2500).select(range(1, 2400, 2))
    first = place(ArrowRecordsMaterializer, store, "records")
    first.save(data)
    digest = first.compute_content_hash(data)
    loaded = place(ArrowRecordsMaterializer, store, "records", digest).load(Dataset)
    assert loaded.features == data.features
    assert loaded["id"][:] == data["id"][:]
    assert loaded.cache_files, "the rows were copied into memory"
    assert loaded[7] == data[7]


def test_no_rows_come_back_as_no_rows(store: LocalArtifactStore) -> None:
    first = place(ArrowRecordsMaterializer, store, "none")
    first.save(records(1).select([]))
    loaded = place(ArrowRecordsMaterializer, store, "none", first.compute_content_hash(records(1).select([]))).load(
        Dataset
    )
    assert len(loaded) == 0 and loaded.features == features()


@pytest.mark.parametrize("position", [0.3, 0.6, 0.9])
def test_a_changed_byte_in_stored_records_is_refused(store: LocalArtifactStore, position: float) -> None:
    data = records(300)
    first = place(ArrowRecordsMaterializer, store, "records")
    first.save(data)
    path = Path(first.uri) / "records.arrow"
    content = path.read_bytes()
    at = content.index(b"%", int(len(content) * position) - 200)  # inside a text, so that the file stays readable
    path.write_bytes(content[:at] + b"!" + content[at + 1 :])
    with pytest.raises(ArtifactError, match="was changed after it was stored"):
        place(ArrowRecordsMaterializer, store, "records", first.compute_content_hash(data)).load(Dataset)


def test_a_truncated_records_file_is_refused(store: LocalArtifactStore) -> None:
    data = records(300)
    first = place(ArrowRecordsMaterializer, store, "records")
    first.save(data)
    path = Path(first.uri) / "records.arrow"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactError):
        place(ArrowRecordsMaterializer, store, "records", first.compute_content_hash(data)).load(Dataset)


def test_a_folder_comes_back_in_place_and_its_origin_stays(store: LocalArtifactStore, tmp_path: Path) -> None:
    made = folder(tmp_path / "adapter")
    first = place(FolderMaterializer, store, "adapter")
    first.save(made)
    loaded = place(FolderMaterializer, store, "adapter", made.digest).load(AdapterFolder)
    assert isinstance(loaded, AdapterFolder)
    assert loaded.card == {"method": "qlora"}
    assert loaded.path == Path(first.uri), "a local store needs no copy"
    assert (made.path / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("change", ["edit", "remove", "add"])
def test_a_changed_folder_is_refused(store: LocalArtifactStore, tmp_path: Path, change: str) -> None:
    made = folder(tmp_path / "adapter")
    first = place(FolderMaterializer, store, "adapter")
    first.save(made)
    digest, stored = made.digest, Path(first.uri)
    if change == "edit":
        save_file({"lora_A": torch.zeros(2, 3)}, stored / "adapter_model.safetensors")
    elif change == "remove":
        (stored / "adapter_model.safetensors").unlink()
    else:
        (stored / "extra.txt").write_text("x")
    with pytest.raises(ArtifactError, match="was changed"):
        place(FolderMaterializer, store, "adapter", digest).load(AdapterFolder)


def test_a_pickle_never_enters_the_store(store: LocalArtifactStore, tmp_path: Path) -> None:
    made = folder(tmp_path / "adapter")
    (made.path / "training_args.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ArtifactError, match="pickle"):
        place(FolderMaterializer, store, "adapter").save(made)


def test_a_report_comes_back_and_a_changed_one_does_not(store: LocalArtifactStore) -> None:
    made = Figures(count=3, rates={"a": 0.5})
    first = place(ReportMaterializer, store, "report")
    first.save(made)
    assert place(ReportMaterializer, store, "report", made.digest).load(Figures) == made
    path = Path(first.uri) / "report.json"
    path.write_bytes(path.read_bytes().replace(b"3", b"4"))
    with pytest.raises(ArtifactError, match="was changed"):
        place(ReportMaterializer, store, "report", made.digest).load(Figures)
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not a readable report"):
        place(ReportMaterializer, store, "report", made.digest).load(Figures)


def test_our_types_are_registered_and_none_falls_back_to_pickle() -> None:
    from zenml.materializers.materializer_registry import materializer_registry

    import materializers  # noqa: F401

    assert materializer_registry[Dataset] is ArrowRecordsMaterializer
    assert materializer_registry[AdapterFolder] is FolderMaterializer
    assert materializer_registry[Folder] is FolderMaterializer
    assert materializer_registry[Figures] is ReportMaterializer


@pytest.mark.parametrize("kind", [ArrowRecordsMaterializer, FolderMaterializer, ReportMaterializer])
def test_what_was_erased_says_so_rather_than_that_it_is_missing(store: LocalArtifactStore, kind: type) -> None:
    version = Version("1", "prepared_records", "a" * 64, "", "2026-11-01")
    made = place(kind, store, "gone", "a" * 64)
    Path(made.uri, TOMBSTONE).write_bytes(tombstone("erasure", "c" * 64, version, date(2026, 11, 21)))
    with pytest.raises(ArtifactErased, match=r"on the record \(erasure c{16}, 2026-11-21\)"):
        made.load({ArrowRecordsMaterializer: Dataset, FolderMaterializer: AdapterFolder}.get(kind, Figures))
