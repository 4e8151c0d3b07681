"""A zone in a store: fsspec's memory, and S3 served by rclone on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from cluster_services import free_port, s3_server
from small_zones import SETTLE_S, Desk, feed

from domainlm.reading import locate
from domainlm.retrain.batches import LANDED, WITHDRAWN
from domainlm.retrain.book import Book
from domainlm.retrain.settings import DetectSettings
from domainlm.retrain.zone import Zone, ZoneUnreachable
from domainlm.retrain.zone.places import Found, Store, Unstable

IDENTITY, SECRET = "olga", "not-a-real-secret"


class Bucket:
    """A zone's files where the store's own server sees them."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.store, self.root = fsspec.core.url_to_fs(uri)
        if uri.startswith("memory:"):  # has folders, unlike S3
            self.store.makedirs(self.root)

    def write(self, path: str, data: bytes) -> None:
        self.store.pipe_file(f"{self.root}/{path}", data)
        self.store.invalidate_cache()

    def delete(self, path: str) -> None:
        self.store.rm_file(f"{self.root}/{path}")
        self.store.invalidate_cache()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    (folder / "data" / "zones").mkdir(parents=True)  # a bucket
    service = s3_server(folder, port, IDENTITY, SECRET)
    try:
        service.wait()
        yield f"http://127.0.0.1:{port}"
    finally:
        service.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """URI of an empty zone, with the client's variables set."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": server, "AWS_ACCESS_KEY_ID": IDENTITY, "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    return f"s3://zones/{uuid4().hex}/landing"


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    return Bucket(request.getfixturevalue("s3") if request.param == "s3" else f"memory://{uuid4().hex}/landing")


@pytest.fixture
def far(bucket: Bucket, book: Book) -> Desk:
    folders = feed("drops", "drops/*/*.csv", batch="folder")
    settings = DetectSettings(zone=bucket.uri, feeds=(feed(), folders), settle_s=SETTLE_S)
    return Desk(Path("/nowhere"), book, settings)


def test_files_of_a_store_land_once_and_can_be_opened_by_their_uris(far: Desk, bucket: Bucket) -> None:
    assert far.scan().lines() == [], "a zone into which nothing was ever put is empty, not broken"
    bucket.write("news/a.csv", b"text,label\nRates rise,up\n")
    assert far.scan().settling == ["news/a.csv"]
    (batch,) = far.settle().landed
    (file,) = batch.files
    assert file.uri == f"{bucket.uri}/news/a.csv" and len(locate(file.uri)) == 1
    with fsspec.open(file.uri, "rb") as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == file.sha256
    far.pass_time(60)
    again = far.settle()
    assert again.lines() == [] and again.digested_bytes == 0 and again.files == 1


def test_marker_and_checksum_count_in_a_store_too(far: Desk, bucket: Bucket) -> None:
    bucket.write("drops/1/a.csv", b"a")
    bucket.write("drops/1/b.csv", b"b")
    assert far.settle().landed == []
    bucket.write("drops/1/_SUCCESS", b"")
    bucket.write("news/a.csv", b"sum")
    bucket.write("news/a.csv.sha256", hashlib.sha256(b"sum").hexdigest().encode())
    assert [batch.name for batch in far.scan().landed] == ["drops/1", "news/a.csv"]


def test_changes_removals_and_renames_in_a_store(far: Desk, bucket: Bucket) -> None:
    for name in "abc":
        bucket.write(f"news/{name}.csv", name.encode() * 3)
    first = {batch.name: batch.id for batch in far.settle().landed}
    bucket.write("news/a.csv", b"xyz")  # the same size
    bucket.delete("news/b.csv")
    bucket.delete("news/c.csv")
    bucket.write("news/d.csv", b"ccc")
    scan = far.settle()
    assert (scan.changed, scan.removed, scan.renamed) == (
        ["news/a.csv"], ["news/b.csv"], ["news/c.csv -> news/d.csv"],
    )  # fmt: skip
    states = {batch.id: batch.state for batch in far.book.batches()}
    assert [states[first[f"news/{name}.csv"]] for name in "abc"] == [WITHDRAWN, WITHDRAWN, LANDED]
    assert far.settle().lines() == []


def test_an_object_that_changes_while_it_is_read_does_not_land(
    far: Desk, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write("news/a.csv", b"first" * 1000)
    far.scan()
    far.pass_time(SETTLE_S)
    from domainlm.retrain.zone import places

    original = places._read

    def meddled(stream: object, algorithms: object) -> object:
        read = original(stream, algorithms)
        bucket.write("news/a.csv", b"other" * 2000)
        return read

    with monkeypatch.context() as patched:
        patched.setattr(places, "_read", meddled)
        scan = far.scan()
    assert scan.landed == [] and scan.settling == ["news/a.csv"]
    assert [batch.files[0].size_bytes for batch in far.settle().landed] == [10_000]


def test_an_object_that_is_gone_is_unstable(bucket: Bucket) -> None:
    with pytest.raises(Unstable):
        Store(bucket.uri).read(Found("news/never.csv", 5, 1, ""))


def test_a_store_that_is_down_is_unreachable_and_comes_back(
    s3: str, book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    (tmp_path / "other/data/bucket").mkdir(parents=True)
    service = s3_server(tmp_path / "other", port, IDENTITY, SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    fsspec.filesystem("s3").clear_instance_cache()
    settings = DetectSettings(zone="s3://bucket/landing", feeds=(feed(),), settle_s=0)
    zone = Zone(settings, book)
    try:
        service.wait()
        Bucket(settings.zone).write("news/a.csv", b"a")
        assert len(zone.scan().landed) == 1
        service.stop()
        with pytest.raises(ZoneUnreachable) as error:
            zone.scan()
        assert SECRET not in str(error.value) and "s3://bucket/landing" in str(error.value)
        service = s3_server(tmp_path / "other", port, IDENTITY, SECRET)
        service.wait()
        scan = zone.scan()
        assert scan.lines() == [] and scan.files == 1
    finally:
        service.stop()


def test_a_bucket_that_is_not_there_or_a_wrong_secret_is_unreachable_not_empty(
    s3: str, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = DetectSettings(zone="s3://there-is-no-such-bucket/landing", feeds=(feed(),))
    with pytest.raises(ZoneUnreachable):
        Zone(missing, book).scan()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(ZoneUnreachable):
        Zone(DetectSettings(zone=s3, feeds=(feed(),)), book).scan()


def test_a_prefix_that_was_emptied_is_held(s3: str, book: Book) -> None:
    bucket = Bucket(s3)
    far = Desk(Path("/nowhere"), book, DetectSettings(zone=s3, feeds=(feed(),), settle_s=SETTLE_S))
    bucket.write("news/a.csv", b"a")
    far.settle()
    bucket.delete("news/a.csv")
    scan = far.scan()
    assert scan.removed == [] and scan.held
