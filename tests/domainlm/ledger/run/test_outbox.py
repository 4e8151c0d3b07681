"""What pods leave for a run's evidence: only this project's key makes it, and it fits one place only."""

from __future__ import annotations

import json

import pytest
from small_outboxes import RUN, Dictionary, begun, leave

from domainlm.errors import ArtifactError, EvidenceRefused, SecretError
from domainlm.keys import KeyRing
from domainlm.ledger.run import outbox as outboxes
from domainlm.ledger.run.outbox import MANIFEST, PLACES, Outbox, own_place, says_pod

OURS, THEIRS = KeyRing("bank-a", b"1" * 32), KeyRing("bank-b", b"2" * 32)
PLACE = f"evidence-outbox/{RUN}/places/train.1.json"


@pytest.fixture
def files() -> Dictionary:
    store = Dictionary()
    leave(store, OURS, begun("train"))
    return store


def test_what_was_put_comes_back_and_lies_where_the_docs_say(files: Dictionary) -> None:
    found = Outbox(files, RUN, lambda: OURS)
    assert list(files.files) == [PLACE]
    assert found.get(PLACES, "train.1") == begun("train").model_dump(mode="json")
    assert found.all(PLACES) == ({"train.1": begun("train").model_dump(mode="json")}, {})
    assert found.get(MANIFEST) is None and found.get(PLACES, "train.2") is None


def test_a_changed_content_is_refused(files: Dictionary) -> None:
    files.files[PLACE] = files.files[PLACE].replace(b'"dirty": false', b'"dirty": true')
    good, bad = Outbox(files, RUN, lambda: OURS).all(PLACES)
    assert good == {} and "not sealed by this project's key" in bad["train.1"]


@pytest.mark.parametrize(
    "other",
    [
        PLACE.replace("train.1", "train.2"), PLACE.replace("train.1", "evaluate.1"),
        PLACE.replace("/places/", "/failures/"), PLACE.replace("000001/", "000002/"),
    ],
)  # fmt: skip
def test_a_file_fits_no_other_attempt_step_kind_or_run(files: Dictionary, other: str) -> None:
    files.files[other] = files.files[PLACE]
    _, run, kind, name = other.split("/")
    with pytest.raises(EvidenceRefused):
        Outbox(files, run, lambda: OURS).get(kind, name.removesuffix(".json"))


def test_another_tenants_key_neither_reads_as_ours_nor_seals_for_us(files: Dictionary) -> None:
    with pytest.raises(EvidenceRefused):
        Outbox(files, RUN, lambda: THEIRS).get(PLACES, "train.1")
    leave(files, THEIRS, begun("evaluate"))
    good, bad = Outbox(files, RUN, lambda: OURS).all(PLACES)
    assert list(good) == ["train.1"] and list(bad) == ["evaluate.1"]


def test_a_seal_stays_good_through_a_rotation(files: Dictionary) -> None:
    later = OURS.succeeded_by(KeyRing("bank-a-2027", b"3" * 32))
    assert Outbox(files, RUN, lambda: later).get(PLACES, "train.1") is not None


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{}", b'{"content": {}}', b"\xff\xfe", b'{"content": 1, "seal": 2}', b"[" * 100_000,
        b'{"content": {}, "seal": "\\ud800"}', b'{"content": {"a": "\\ud800"}, "seal": "0"}',
        b'{"content": {"a": NaN}, "seal": "x"}',
    ],
)  # fmt: skip
def test_what_is_no_file_of_ours_is_named_and_never_quoted(files: Dictionary, raw: bytes) -> None:
    files.files[PLACE] = raw
    good, bad = Outbox(files, RUN, lambda: OURS).all(PLACES)
    assert good == {} and list(bad) == ["train.1"]


def test_a_folder_in_a_files_place_is_named(files: Dictionary, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(path: str, most_bytes: int) -> bytes:
        raise IsADirectoryError(path)

    monkeypatch.setattr(files, "read", folder)
    good, bad = Outbox(files, RUN, lambda: OURS).all(PLACES)
    assert good == {} and bad == {"train.1": "is not a file of the outbox"}


def test_a_flood_of_files_is_neither_read_nor_listed_one_by_one(
    files: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.files |= {f"evidence-outbox/{RUN}/places/x{number}.1.json": b"{}" for number in range(5000)}
    read: list[str] = []
    whole = files.read
    monkeypatch.setattr(files, "read", lambda path, most: read.append(path) or whole(path, most))
    good, bad = Outbox(files, RUN, lambda: OURS).all(PLACES, most=20)
    assert list(good) == ["train.1"] and len(bad) == 20 and len(read) == 20
    assert "were not read" in bad["(and 4,981 more)"]


def test_a_huge_file_is_not_read_to_its_end(files: Dictionary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "MOST_BYTES", 100)
    with pytest.raises(ArtifactError):
        Outbox(files, RUN, lambda: OURS).get(PLACES, "train.1")


def test_names_that_lead_elsewhere_are_no_names(files: Dictionary) -> None:
    for name in ("../../../etc/passwd", "a/b", "", ".hidden", "x" * 300):
        files.files[f"evidence-outbox/{RUN}/places/{name}.json"] = b"{}"
    good, bad = Outbox(files, RUN, lambda: OURS).all(PLACES)
    assert list(good) == ["train.1"] and list(bad) == ["(a name that no step has)"]
    with pytest.raises(ArtifactError):
        Outbox(files, "../other", lambda: OURS)


def test_without_a_key_nothing_is_written_and_nothing_believed(files: Dictionary) -> None:
    def missing() -> KeyRing:
        raise SecretError("the key for keyed ids is missing", "key.json")

    with pytest.raises(SecretError):
        Outbox(files, RUN, missing).put(PLACES, {}, "prepare.1")
    with pytest.raises(SecretError):
        Outbox(files, RUN, missing).all(PLACES)
    assert list(files.files) == [PLACE]


def test_no_key_and_no_token_stands_in_a_file(files: Dictionary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_STORE_API_KEY", "ZENKEY_secret")
    monkeypatch.setenv("DOMAINLM_POD", "train-x7k2p")
    text = json.dumps(own_place({"cores": 4}).model_dump(mode="json")) + files.files[PLACE].decode()
    assert "train-x7k2p" in text and "ZENKEY" not in text and OURS.to_json()["secret"] not in text


def test_a_process_is_told_that_it_is_in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOMAINLM_PLACE", raising=False)
    assert not says_pod()
    monkeypatch.setenv("DOMAINLM_PLACE", "pod")
    assert says_pod()
