"""Checkpoints published outside: never overwritten, all read back, nothing hidden."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner
from small_ledgers import small_ledger

from domainlm.audit.proof.verification import verify_entries
from domainlm.errors import ArtifactError, ConfigurationError, EvidenceRefused
from domainlm.ledger import anchors
from domainlm.ledger.anchors import Published, printed, publish, published, read_printed
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.settings import AnchorSettings

ORIGIN = "bank/models"
KEY = CryptoSigner.generate_ed25519()


def note(size: int, origin: str = ORIGIN, salt: str = "", key: CryptoSigner = KEY) -> str:
    root = hashlib.sha256(f"{size}{salt}".encode()).digest()
    return Checkpoint(origin, size, root).signed(key).note


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture(params=["folder", "git", "bare git", "memory", "file"])
def anchor(request: pytest.FixtureRequest, tmp_path: Path) -> AnchorSettings:
    """An empty place of each kind."""
    place = tmp_path / "place"
    place.mkdir()
    if "git" in request.param:
        git(place, "init", "-q", *(["--bare"] if "bare" in request.param else []))
        return AnchorSettings(git=str(place))
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        return AnchorSettings(object_store="memory://anchors")
    return AnchorSettings(folder=str(place)) if request.param == "folder" else AnchorSettings(
        object_store=f"file://{place}/deep/"
    )  # fmt: skip


def notes(anchor: AnchorSettings, origin: str = "") -> set[str]:
    return {item.note for item in published([anchor], origin)}


def test_what_was_published_is_read_back(anchor: AnchorSettings) -> None:
    assert published([anchor]) == []
    made = [note(size) for size in (3, 12, 11)]
    for item in made:
        (done,) = publish(item, [anchor])
        assert done.note == item and done.problem == "" and done.place
    assert notes(anchor) == notes(anchor, ORIGIN) == set(made)
    assert len({item.place for item in published([anchor])}) == 3


def test_the_same_note_again_changes_nothing(anchor: AnchorSettings) -> None:
    first = publish(note(3), [anchor])
    assert publish(note(3), [anchor]) == first and len(published([anchor])) == 1


def test_another_history_of_a_published_size_is_refused(anchor: AnchorSettings) -> None:
    publish(note(3), [anchor])
    with pytest.raises(EvidenceRefused) as refused:
        publish(note(3, salt="other"), [anchor])
    assert refused.value.code == "forked"
    assert notes(anchor) == {note(3)}


def test_a_checkpoint_signed_by_a_newer_key_is_the_same_checkpoint(anchor: AnchorSettings) -> None:
    newer = note(3, key=CryptoSigner.generate_ed25519())
    publish(note(3), [anchor])
    (done,) = publish(newer, [anchor])
    assert done.note in (newer, note(3)) and note(3) in notes(anchor)


def test_ledgers_share_a_place_and_do_not_meet(anchor: AnchorSettings) -> None:
    of = {origin: note(3, origin) for origin in ("bank/models", "bank/tests", "bank.models", "bank:models")}
    for item in of.values():
        publish(item, [anchor])
    for origin, item in of.items():
        assert notes(anchor, origin) == {item}
    assert notes(anchor) == set(of.values())
    assert notes(anchor, "bank") == set()  # the folder above two of them is no ledger


def test_what_is_no_checkpoint_is_not_published(anchor: AnchorSettings) -> None:
    with pytest.raises(EvidenceRefused):
        publish("hello\n", [anchor])
    assert published([anchor]) == []


def test_several_places_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    places = [AnchorSettings(folder=str(tmp_path / name)) for name in "ab"]
    assert len(publish(note(5), places)) == 2 and [item.note for item in published(places)] == [note(5)] * 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    publish(note(5), [AnchorSettings(folder=str(place))])
    return place


def only_problem(anchor: AnchorSettings) -> Published:
    """The one item with a problem, beside the good one."""
    found = published([anchor], ORIGIN)
    (bad,) = (item for item in found if item.problem)
    assert bad.note == "" and bad.place
    assert all(item.note == note(5) for item in found if not item.problem)
    return bad


def test_files_of_a_folder_are_read_only_and_named_by_their_content(folder: Path) -> None:
    (path,) = (folder / "bank" / "models").iterdir()
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.name == f"000000000005-{hashlib.sha256(note(5).encode()).hexdigest()[:16]}.checkpoint"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda place: (place / "zz").write_bytes(b"\xff\xfe"),
        lambda place: (place / "zz").symlink_to("/etc/hostname"),
        lambda place: (place / "zz").symlink_to(place / "nowhere"),
        lambda place: os.mkfifo(place / "zz"),
    ],
)
def test_what_cannot_be_read_in_a_folder_is_said(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder / "bank" / "models")
    bad = only_problem(AnchorSettings(folder=str(folder)))
    assert bad.place.endswith("zz")


def test_text_that_is_no_checkpoint_is_handed_on_and_judged_by_the_verification(folder: Path) -> None:
    (folder / "bank" / "models" / "zz").write_text("hello")
    assert {item.note for item in published([AnchorSettings(folder=str(folder))])} == {note(5), "hello"}


def test_a_draft_of_a_process_that_died_is_no_checkpoint(folder: Path) -> None:
    (folder / "bank" / "models" / ".draft-1").write_text(note(6)[:40])
    (folder / "bank" / "models" / f".draft-{os.getpid()}").write_text("of an earlier process of this number")
    anchor = AnchorSettings(folder=str(folder))
    publish(note(6), [anchor])
    assert notes(anchor) == {note(5), note(6)}


def test_a_volume_that_is_not_mounted_is_said_and_not_written(tmp_path: Path) -> None:
    anchor = AnchorSettings(folder=str(tmp_path / "nowhere"))
    (found,) = published([anchor])
    assert "mounted" in found.problem and found.note == ""
    with pytest.raises(ArtifactError, match="mounted"):
        publish(note(5), [anchor])
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_the_notes_place_is_not_overwritten(folder: Path) -> None:
    (path,) = (folder / "bank" / "models").iterdir()
    path.chmod(0o600)
    path.write_text(note(5)[:50])
    with pytest.raises(EvidenceRefused) as refused:
        publish(note(5), [AnchorSettings(folder=str(folder))])
    assert refused.value.code == "malformed" and path.read_text() == note(5)[:50]


@pytest.mark.parametrize("anchor", ["folder", "git", "bare git", "file"], indirect=True)
def test_a_place_on_the_ledgers_own_volume_is_refused_unless_told(anchor: AnchorSettings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    ledger.touch()
    with pytest.raises(ArtifactError, match="own volume"):
        publish(note(5), [anchor], ledger)
    assert notes(anchor) == set()
    allowed = anchor.model_copy(update={"same_volume": True})
    publish(note(5), [allowed], ledger)
    assert notes(anchor) == {note(5)}


def test_a_layer_over_a_folder_does_not_hide_its_volume(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    ledger.touch()
    with pytest.raises(ArtifactError, match="own volume"):
        publish(note(5), [AnchorSettings(object_store=f"simplecache::file://{tmp_path}/store")], ledger)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("anchor", ["memory"], indirect=True)
def test_a_store_without_a_volume_is_taken(anchor: AnchorSettings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    ledger.touch()
    publish(note(5), [anchor], ledger)
    assert notes(anchor) == {note(5)}


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no second volume here")
def test_a_place_on_another_volume_is_taken(tmp_path: Path) -> None:
    import tempfile

    ledger = tmp_path / "ledger.sqlite"
    ledger.touch()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        if os.stat(place).st_dev == ledger.stat().st_dev:
            pytest.skip("there is no second volume here")
        git(Path(place), "init", "-q")
        for anchor in (AnchorSettings(git=place), AnchorSettings(object_store=f"file://{place}/store")):
            publish(note(5), [anchor], ledger)
            assert notes(anchor) == {note(5)}
        folder = AnchorSettings(folder=f"{place}/folder")
        Path(folder.folder).mkdir()
        publish(note(5), [folder], ledger)
        assert notes(folder) == {note(5)}
        git(tmp_path, "init", "-q", f"--separate-git-dir={tmp_path / 'tags'}", f"{place}/linked")
        with pytest.raises(ArtifactError, match="own volume"):
            publish(note(5), [AnchorSettings(git=f"{place}/linked")], ledger)  # its tags lie elsewhere


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "-q")
    publish(note(5), [AnchorSettings(git=str(place))])
    return place


def test_a_tag_is_annotated_and_holds_the_note_for_people_too(repository: Path) -> None:
    assert git(repository, "tag", "--list").split() == ["domainlm/bank/models/5"]
    assert git(repository, "cat-file", "-t", "domainlm/bank/models/5").strip() == "tag"
    assert git(repository, "cat-file", "tag", "domainlm/bank/models/5").endswith(note(5))
    assert git(repository, "cat-file", "blob", "domainlm/bank/models/5^{}") == note(5)


def test_tags_travel_to_a_clone(repository: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(remote))
    git(repository, "push", "-q", str(remote), "refs/tags/domainlm/*:refs/tags/domainlm/*")
    assert notes(AnchorSettings(git=str(remote))) == {note(5)}


def test_other_tags_are_no_anchors_and_odd_ones_of_ours_are_said(repository: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "a commit")
    git(repository, "tag", "v1")
    assert notes(AnchorSettings(git=str(repository)), ORIGIN) == {note(5)}
    git(repository, "tag", "domainlm/bank/models/9")
    assert only_problem(AnchorSettings(git=str(repository))).place.endswith("domainlm/bank/models/9")


def test_a_tag_whose_content_is_gone_is_said(repository: Path) -> None:
    blob = git(repository, "rev-parse", "domainlm/bank/models/5^{}").strip()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    (found,) = published([AnchorSettings(git=str(repository))], ORIGIN)
    assert found.problem and found.note == ""


def test_a_folder_within_a_repository_is_no_repository(repository: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    for place in (inner, repository / "nowhere"):
        (found,) = published([AnchorSettings(git=str(place))])
        assert "git refuses" in found.problem
        with pytest.raises(ArtifactError, match="git refuses"):
            publish(note(7), [AnchorSettings(git=str(place))])


def test_the_repository_of_a_hook_is_not_mistaken_for_the_named_one(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as git sets it for a hook
    publish(note(8), [AnchorSettings(git=str(repository))])
    assert notes(AnchorSettings(git=str(repository))) == {note(5), note(8)}


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[AnchorSettings, Path]:
    """A repository whose configuration names commands, and the file that any of them would make."""
    ran, place = tmp_path / "ran", tmp_path / "hostile.git"
    hook = tmp_path / "hooks" / "reference-transaction"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o700)
    git(tmp_path, "init", "-q", "--bare", str(place))
    for key, value in {
        "core.repositoryFormatVersion": "1", "extensions.partialClone": "origin", "remote.origin.promisor": "true",
        "remote.origin.url": str(tmp_path / "nowhere"), "remote.origin.uploadpack": f"touch {ran}; false",
        "core.hooksPath": str(hook.parent), "core.fsmonitor": str(hook), "core.sshCommand": str(hook),
        "tag.gpgSign": "true", "tag.forceSignAnnotated": "true", "gpg.program": str(hook),
    }.items():  # fmt: skip
        git(place, "config", key, value)
    return AnchorSettings(git=str(place)), ran


@pytest.mark.parametrize("url", ["", "ssh://host/x", "ext::touch %s"])
def test_a_hostile_repository_runs_nothing_when_it_is_read(
    hostile: tuple[AnchorSettings, Path], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor, ran = hostile
    place = Path(anchor.git)
    tag = place / "refs" / "tags" / "domainlm" / "bank" / "models" / "5"
    tag.parent.mkdir(parents=True)
    tag.write_text("1" * 40 + "\n")
    if url:
        git(place, "config", "remote.origin.url", url.replace("%s", str(ran)))
        git(place, "config", "protocol.ext.allow", "always")
    subprocess.run(["git", "-C", anchor.git, "cat-file", "-e", "1" * 40], capture_output=True, timeout=60, check=False)
    assert ran.exists(), "this git runs it when it is not forbidden to"
    ran.unlink()
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file:ssh:ext")
    (found,) = published([anchor], ORIGIN)
    assert found.problem and not ran.exists()


def test_a_hostile_repository_runs_nothing_when_it_is_written(hostile: tuple[AnchorSettings, Path]) -> None:
    anchor, ran = hostile
    publish(note(5), [anchor])
    assert notes(anchor) == {note(5)} and not ran.exists()


def test_a_store_without_driver_or_reach_is_said_without_its_password() -> None:
    url = "nosuch://somebody:hush@store/anchors"
    (found,) = published([AnchorSettings(object_store=url)])
    assert found.problem and "hush" not in found.place + found.problem
    with pytest.raises(ConfigurationError) as refused:
        publish(note(5), [AnchorSettings(object_store=url)])
    assert "hush" not in str(refused.value)


def test_a_store_that_loses_what_it_took_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setattr(anchors._ObjectStore, "write", lambda *_: None)
    with pytest.raises(ArtifactError, match="does not give back"):
        publish(note(5), [AnchorSettings(object_store="memory://anchors")])


def test_bytes_in_a_store_that_are_no_text_are_said() -> None:
    system = fsspec.filesystem("memory")
    system.store.clear()
    anchor = AnchorSettings(object_store="memory://anchors")
    publish(note(5), [anchor])
    system.pipe_file("/anchors/bank/models/zz", b"\xff")
    assert only_problem(anchor).place.endswith("zz")


def test_an_anchor_is_one_place() -> None:
    for wrong in ({}, {"folder": "a", "git": "b"}, {"folder": "a", "same": True}):
        with pytest.raises(ValidationError):
            AnchorSettings(**wrong)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\n  " + text.replace("\n", "  \n\n   "),
        lambda text: text.replace("— ", "- "),
        lambda text: text.replace("— ", "–  "),
        lambda text: text[:-40] + "\n" + text[-40:],  # a signature that the page broke
        lambda text: text[:-80] + "\n " + text[-80:-30] + "\n " + text[-30:],
        lambda text: text.replace(f"— {KEY.public_key.keyid} ", f"— {KEY.public_key.keyid}\n"),
    ],
)
def test_a_note_from_paper_is_read_as_it_was_signed(change: Callable[[str], str], tmp_path: Path) -> None:
    assert printed(change(note(5)), "paper") == Published("paper", note(5))
    (tmp_path / "typed.txt").write_text(change(note(5)), newline="")
    assert read_printed(tmp_path / "typed.txt").note == note(5)


def test_paper_with_other_text_is_no_checkpoint(tmp_path: Path) -> None:
    for text in ("", "hello", note(5).replace("5", "6"), "\n".join(note(5).split("\n")[1:])):
        item = printed(text, "paper")
        with pytest.raises(EvidenceRefused):
            found = Checkpoint.parse(item.note, item.place)
            if not found.verified_by({KEY.public_key.keyid: KEY.public_key}):
                raise EvidenceRefused("bears no signature of ours", item.place)
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert read_printed(tmp_path / "picture.jpg").problem and read_printed(tmp_path / "missing").problem


def test_an_anchor_that_cannot_be_read_takes_the_good_verdict_away(tmp_path: Path) -> None:
    made = small_ledger(tmp_path)
    good = Published("the safe", made.ledger.latest_checkpoint())
    hidden = Published("the share", "", "is not there: is the volume mounted?")
    for outside, expected in (([good], "good"), ([good, hidden], "unanchored"), ([hidden], "unanchored")):
        found = verify_entries(
            made.ledger.raw(), made.ledger.checkpoints(), outside, made.ledger.origin, made.root_keyids, processes=1
        )
        assert found.verdict == expected
        said = [finding.where for finding in found.findings if finding.code == "unreadable-anchor"]
        assert said == (["the share"] if hidden in outside else [])
