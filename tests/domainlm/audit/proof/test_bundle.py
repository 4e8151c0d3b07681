"""A bundle is the same bytes each time, verifies with the root's key alone, and shows every flipped byte."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pyrage
import pytest
from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run

from domainlm.audit.proof import bundle_export, tarball
from domainlm.audit.proof.bundle import CONTENTS, ENTRIES, PROOFS, Contents, examine_bundle, verify_bundle
from domainlm.audit.proof.bundle_export import about, export
from domainlm.audit.proof.verification import Verification
from domainlm.digests import canonical_json, digest_bytes, digest_json
from domainlm.errors import ArtifactError, EvidenceRefused, SecretError
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Condition, ConditionMet, Promotion, StandingApproval
from domainlm.ledger.anchors import Published
from domainlm.ledger.checkpoints import Checkpoint

IDENTITY = small_run(2).model.identity


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallLedger:
    """A policy, 6 runs, an approval with a condition that is met, and a promotion; only read."""
    made = small_ledger(tmp_path_factory.mktemp("ledger"))
    runs = [made.enter_run(small_run(number)) for number in range(6)]
    approval = made.state(
        "anna", entries.APPROVAL,
        Approval(model="domainlm-finance/2", identity=IDENTITY, run=runs[2].entry, decision="approve",
                 conditions=[Condition(id="watch", text="watch the errors", due="2030-01-01")]),
    )  # fmt: skip
    made.state("victor", entries.CONDITION_MET,
               ConditionMet(approval=approval.entry, condition="watch", evidence="report 3"))  # fmt: skip
    made.state("recorder", entries.PROMOTION,
               Promotion(model="domainlm-finance/2", identity=IDENTITY, approvals=[approval.entry]))  # fmt: skip
    made.enter_run(small_run(7))
    return made


@pytest.fixture(scope="module")
def whole(made: SmallLedger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole ledger as a bundle."""
    path = tmp_path_factory.mktemp("bundles") / "ledger.tar"
    write(made, path)
    return path


@pytest.fixture(scope="module")
def one_model(made: SmallLedger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model's bundle, with a report."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "report.html").write_text("<p>good</p>")
    path = folder / "model.tar"
    write(made, path, model=IDENTITY, numbers=about(made.evidence(), IDENTITY),
          artifacts={"report.html": folder / "report.html"})  # fmt: skip
    return path


def write(made: SmallLedger, path: Path, **changes) -> Contents:
    return export(path, made.ledger.raw(), made.ledger.checkpoints(), published(made), ORIGIN, **changes)


def published(made: SmallLedger) -> list[Published]:
    notes = made.ledger.checkpoints()
    return [Published("the share", notes[3]), Published("git", notes[-1])]


def verify(made: SmallLedger, path: Path, anchors: list[Published] | None = None, **changes) -> Verification:
    outside = published(made) if anchors is None else anchors
    return verify_bundle(path, changes.pop("root", made.root_keyids), outside, **changes)


def codes(found: Verification, severity: str = "broken") -> set[str]:
    return {finding.code for finding in found.findings if finding.severity == severity}


def files(path: Path) -> dict[str, bytes]:
    data = io.BytesIO(path.read_bytes())
    return {name: io.BufferedReader(tarball.Part(data, member)).read() for name, member in
            tarball.read(data, "").items()}  # fmt: skip


def rewritten(path: Path, folder: Path, honest: bool = True, **changes: bytes | None) -> Path:
    """A bundle with other files, whose contents file names their digests as a forger would (or not)."""
    found = files(path)
    for name, data in changes.items():
        name = {"contents": CONTENTS, "entries": ENTRIES, "proofs": PROOFS}.get(name, name)
        found.pop(name) if data is None else found.__setitem__(name, data)
    if honest and CONTENTS in found:
        contents = json.loads(found[CONTENTS])
        contents["files"] = {name: digest_bytes(data) for name, data in found.items() if name != CONTENTS}
        found[CONTENTS] = canonical_json(contents)
    out = folder / "rewritten.tar"
    with open(out, "wb") as stream:
        tarball.write(stream, [(name, io.BytesIO(data)) for name, data in found.items()])
    return out


def test_a_bundle_of_the_whole_ledger_is_good_with_the_root_s_key_and_an_anchor(made: SmallLedger, whole: Path) -> None:
    found = verify(made, whole)
    assert (found.verdict, found.size, found.entries, found.anchored) == ("good", 11, 11, 11)
    assert found.findings == [] and found.model == ""
    assert whole.stat().st_mode & 0o777 == 0o600


def test_what_the_bundle_itself_says_was_published_anchors_nothing(
    made: SmallLedger, whole: Path, one_model: Path
) -> None:
    for path in (whole, one_model):
        found = verify(made, path, [])
        assert (found.verdict, found.anchored) == ("unanchored", 0)
        told = [finding.where for finding in found.findings if finding.severity == "note"]
        assert told == ["the share (the bundle's copy)", "git (the bundle's copy)"]


def test_one_model_s_bundle_holds_what_concerns_it_and_no_more(made: SmallLedger, one_model: Path) -> None:
    found, evidence = examine_bundle(one_model, made.root_keyids, published(made))
    assert (found.verdict, found.size, found.entries, found.anchored) == ("good", 11, 5, 11)
    assert found.model == IDENTITY and found.artifacts == 1
    assert [stated.number for stated in evidence.stated] == [0, 3, 7, 8, 9]
    assert set(evidence.models()) == {IDENTITY}
    raw = one_model.read_bytes()
    assert not any(small_run(number).run_id.encode() in raw for number in (0, 1, 3, 4, 5, 7))


def test_one_model_is_anchored_by_any_checkpoint_that_its_own_continues(made: SmallLedger, one_model: Path) -> None:
    notes = made.ledger.checkpoints()
    older = verify(made, one_model, [Published("the share", notes[3])])
    assert (older.verdict, older.anchored, codes(older, "warning")) == ("good", 4, {"stale-anchor"})
    unknown = verify(made, one_model, [Published("paper", notes[5])])  # the exporter did not know of that place
    assert (unknown.verdict, unknown.anchored) == ("good", 6)
    fork = Checkpoint(ORIGIN, 4, bytes(32)).signed(made.keys["log"]).note
    assert codes(verify(made, one_model, [Published("x", fork)])) == {"forked"}
    same_size = Checkpoint(ORIGIN, 11, bytes(32)).signed(made.keys["log"]).note
    assert codes(verify(made, one_model, [Published("x", same_size)])) == {"forked"}
    later = Checkpoint(ORIGIN, 12, bytes(32)).signed(made.keys["log"]).note
    assert codes(verify(made, one_model, [Published("x", later)])) == {"rolled-back"}
    unsigned = Checkpoint(ORIGIN, 4, bytes(32)).signed(made.keys["anna"]).note
    assert codes(verify(made, one_model, [Published("x", unsigned)])) == {"bad-signature"}
    unreadable = verify(made, one_model, [*published(made), Published("share", "", "is not mounted")])
    assert unreadable.verdict == "unanchored" and "unreadable-anchor" in codes(unreadable, "warning")


def test_of_many_checkpoints_those_that_are_known_to_be_published_are_proven_and_others_at_even_steps(
    made: SmallLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundle_export.proven_sizes(range(30), {4, 25, 40}, 29) == [*range(1, 26), 26, 27, 28, 29]
    monkeypatch.setattr(bundle_export, "MAX_PROOFS", 6)
    assert bundle_export.proven_sizes(range(31), {7, 40}, 30) == [1, 7, 9, 16, 23, 30]
    assert bundle_export.proven_sizes(range(31), set(range(12)), 30) == [7, 8, 9, 10, 11, 30]
    monkeypatch.setattr(bundle_export, "MAX_PROOFS", 2)
    notes, path = made.ledger.checkpoints(), tmp_path / "model.tar"
    numbers = about(made.evidence(), IDENTITY)
    export(path, made.ledger.raw(), notes, [], ORIGIN, model=IDENTITY, numbers=numbers, anchored={6})
    said = verify(made, path, [Published("git", notes[5])])
    assert (said.verdict, said.anchored) == ("good", 6)
    thinned = verify(made, path, [Published("git", notes[4])])
    assert (thinned.verdict, codes(thinned, "warning")) == ("unanchored", {"stale-anchor"})


def test_a_standing_approval_goes_with_what_it_rests_on(tmp_path: Path) -> None:
    made = small_ledger(tmp_path)
    first, second, third = (small_run(number) for number in (1, 2, 3))
    for run in (first, second, third):
        made.enter_run(run)
    standing = made.state(
        "anna", entries.STANDING,
        StandingApproval(model="domainlm-finance", base=digest_json(["base"]), sources=[], metrics={}, reason="nightly",
                         until="2030-01-01", uses=3),
    )  # fmt: skip
    before = made.state("recorder", entries.PROMOTION, Promotion(
        model="domainlm-finance/1", identity=first.model.identity, approvals=[], standing=standing.entry))  # fmt: skip
    made.state("recorder", entries.PROMOTION, Promotion(
        model="domainlm-finance/2", identity=second.model.identity, previous=first.model.identity, approvals=[],
        standing=standing.entry))  # fmt: skip
    found = about(made.evidence(), second.model.identity)
    assert found == {0, 1, 2, 4, before.number, 6}  # without the third model's run
    with pytest.raises(EvidenceRefused, match="no run"):
        about(made.evidence(), "0" * 64)


def test_the_same_ledger_gives_the_same_bytes(made: SmallLedger, whole: Path, tmp_path: Path) -> None:
    write(made, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.tar"]


@pytest.mark.parametrize("which", ["whole", "one_model"])
def test_every_flipped_byte_shows(
    made: SmallLedger, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = request.getfixturevalue(which).read_bytes()
    draw = random.Random(3)
    every = [*range(512), *draw.sample(range(512, len(data)), 300)]  # the first header whole
    for place in every:
        flipped = bytearray(data)
        flipped[place] ^= 1 << draw.randrange(8)
        (tmp_path / "flipped.tar").write_bytes(flipped)
        found = verify(made, tmp_path / "flipped.tar")
        assert found.verdict == "broken", place
        assert all(finding.what and finding.where for finding in found.findings)


def test_a_changed_entry_is_named_even_where_the_forger_mends_the_contents(
    made: SmallLedger, whole: Path, tmp_path: Path
) -> None:
    lines = files(whole)[ENTRIES].split(b"\n")
    edited = b"\n".join([*lines[:5], lines[5][:300] + b"A" + lines[5][301:], *lines[6:]])
    found = verify(made, rewritten(whole, tmp_path, entries=edited))
    assert {"edited"} <= codes(found) and any("entry 5" in finding.where for finding in found.findings)
    swapped = b"\n".join([*lines[:5], lines[6], lines[5], *lines[7:]])
    assert "reordered" in codes(verify(made, rewritten(whole, tmp_path, entries=swapped)))
    short = b"\n".join([*lines[:5], *lines[6:]])
    assert "deleted" in codes(verify(made, rewritten(whole, tmp_path, entries=short)))
    unnamed = verify(made, rewritten(whole, tmp_path, honest=False, entries=edited))
    assert any((finding.code, finding.where) == ("edited", ENTRIES) for finding in unnamed.findings)


def test_a_model_s_bundle_with_other_entries_or_proofs_is_refused(
    made: SmallLedger, one_model: Path, tmp_path: Path
) -> None:
    found = files(one_model)
    lines, proofs = found[ENTRIES].split(b"\n")[:-1], found[PROOFS].split(b"\n")[:-1]

    def of(some: list[bytes], some_proofs: list[bytes]) -> set[str]:
        data = {"entries": b"".join(x + b"\n" for x in some), "proofs": b"".join(x + b"\n" for x in some_proofs)}
        return codes(verify(made, rewritten(one_model, tmp_path, **data)))

    assert of(lines, proofs) == set()
    assert "inserted" in of([*lines[:2], lines[3], lines[2], lines[4]], proofs)
    assert "reordered" in of([*lines[:2], lines[3], lines[2], lines[4]], [*proofs[:2], proofs[3], proofs[2], proofs[4]])
    assert "malformed" in of([*lines, lines[1]], proofs)
    assert "deleted" in of(lines[:-1], proofs)
    assert "reordered" in of([*lines, lines[-1]], [*proofs, proofs[-1]])
    assert "deleted" in of([lines[0]], [proofs[0]])  # not even the run that registered it
    assert "untrusted-root" in of(lines[1:], proofs[1:])
    assert "untrusted-root" in of([], [])
    other = json.loads(proofs[1]) | {"tree_size": 10}
    assert "malformed" in of(lines, [proofs[0], canonical_json(other), *proofs[2:]])


def test_another_root_or_a_checkpoint_by_another_key_is_refused(
    made: SmallLedger, whole: Path, one_model: Path, tmp_path: Path
) -> None:
    for path in (whole, one_model):
        found = verify(made, path, root=frozenset({"1" * 64}))
        assert found.verdict == "broken" and "untrusted-root" in codes(found)
    head = Checkpoint.parse(files(one_model)["checkpoint"].decode(), "")
    forged = Checkpoint(head.origin, head.size, head.root).signed(made.keys["recorder"]).note.encode()
    assert "no-checkpoint" in codes(verify(made, rewritten(one_model, tmp_path, checkpoint=forged)))


def test_a_replaced_artifact_is_named(made: SmallLedger, one_model: Path, tmp_path: Path) -> None:
    name = next(name for name in files(one_model) if name.startswith("artifacts/"))
    found = verify(made, rewritten(one_model, tmp_path, **{name: b"<p>better</p>"}))
    assert [f.where for f in found.findings if f.code == "replaced-artifact"] == ["report.html"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 2}, "unknown-version"), ({"version": True}, "unknown-version"),
        ({"version": "1"}, "unknown-version"),
        ({"format": "other"}, "malformed"), ({"more": 1}, "malformed"), ({"model": "x"}, "malformed"),
        ({"size": -1}, "malformed"), ({"files": []}, "malformed"), ({"artifacts": {"x": "0" * 64}}, "malformed"),
        ({"artifacts": {"x": "../../x"}}, "malformed"), ({"origin": "bank/cards"}, "foreign-entry"),
        ({"size": 12}, "edited"), ({"origin": "x" * 300}, "malformed"), ({"origin": "good: a b"}, "malformed"),
    ],
)  # fmt: skip
def test_contents_of_another_version_or_form_are_refused_by_name(
    made: SmallLedger, whole: Path, tmp_path: Path, change: dict, code: str
) -> None:
    contents = json.loads(files(whole)[CONTENTS]) | change
    found = verify(made, rewritten(whole, tmp_path, honest=False, contents=canonical_json(contents)))
    assert found.verdict == "broken" and code in codes(found)


def test_hostile_files_are_refused_by_name(made: SmallLedger, whole: Path, tmp_path: Path) -> None:
    deep = b"[" * 100_000
    huge = canonical_json({"files": {}, "x": "y" * (5 << 20)})
    for change, code in (
        ({"contents": deep}, "malformed"), ({"contents": b"{ }"}, "malformed"), ({"contents": huge}, "too-large"),
        ({"contents": b""}, "malformed"), ({"contents": None}, "malformed"), ({"more.txt": b""}, "malformed"),
        ({"published.jsonl": None}, "malformed"), ({"published.jsonl": b"{}\n"}, "malformed"),
        ({"published.jsonl": deep + b"\n"}, "malformed"),
        ({"published.jsonl": b'{"note":1,"place":"x"}\n'}, "malformed"),
        ({"published.jsonl": b'{"note":"","place":"x"}\n' * 10_001}, "too-large"),
        ({"checkpoint": b"\xff"}, "malformed"), ({"checkpoints.jsonl": b"1\n"}, "malformed"),
        ({"entries": b"x" * (9 << 20) + b"\n"}, "too-large"), ({"entries": b"\n" * 20}, "malformed"),
        ({"entries": b""}, "untrusted-root"),
    ):  # fmt: skip
        honest = set(change) <= {"entries", "published.jsonl", "checkpoint", "checkpoints.jsonl"}
        found = verify(made, rewritten(whole, tmp_path, honest=honest and None not in change.values(), **change))
        assert found.verdict == "broken" and code in codes(found), change


@pytest.mark.parametrize("raw", [b"", b"x", b"PK\x03\x04", b"\x1f\x8b\x08", b"age-encryption.org/v1\n", bytes(10240)])
def test_what_is_no_bundle_is_refused(made: SmallLedger, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x").write_bytes(raw)
    found = verify(made, tmp_path / "x", identity=_identity(tmp_path)[0])
    assert found.verdict == "broken" and codes(found) == {"malformed"}


def test_a_file_that_cannot_be_read_is_an_error(made: SmallLedger, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ArtifactError, match="cannot be read"):
            verify(made, path)


def _identity(folder: Path) -> tuple[Path, str]:
    identity = pyrage.x25519.Identity.generate()
    path = folder / "identity.txt"
    path.write_text(str(identity))
    path.chmod(0o600)
    return path, str(identity.to_public())


def test_an_encrypted_bundle_opens_with_its_key_alone(made: SmallLedger, tmp_path: Path) -> None:
    identity, recipient = _identity(tmp_path)
    path = tmp_path / "ledger.age"
    write(made, path, recipients=[recipient])
    assert path.read_bytes().startswith(b"age-encryption.org/v1") and path.stat().st_mode & 0o777 == 0o600
    assert verify(made, path, identity=identity).verdict == "good"
    with pytest.raises(SecretError, match="--identity"):
        verify(made, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert codes(verify(made, path, identity=identity)) == {"malformed"}


def test_an_export_that_fails_leaves_what_was_there(made: SmallLedger, tmp_path: Path) -> None:
    path = tmp_path / "ledger.tar"
    path.write_text("before")
    with pytest.raises(SecretError):
        write(made, path, recipients=["age1nonsense"])
    with pytest.raises(ArtifactError):
        write(made, path, artifacts={"x": tmp_path / "none"})
    with pytest.raises(EvidenceRefused) as raised:
        export(path, made.ledger.raw(), [], [], ORIGIN)
    assert raised.value.code == "no-checkpoint"
    gap = [item for item in made.ledger.raw() if item[0] != 4]
    with pytest.raises(EvidenceRefused) as raised:
        export(path, gap, made.ledger.checkpoints(), [], ORIGIN, model=IDENTITY, numbers={0, 3})
    assert raised.value.code == "deleted"
    assert path.read_text() == "before" and [found.name for found in tmp_path.iterdir()] == ["ledger.tar"]


def test_a_broken_ledger_is_exported_as_it_is(made: SmallLedger, tmp_path: Path) -> None:
    gap = [item for item in made.ledger.raw() if item[0] != 4]
    export(tmp_path / "broken.tar", gap, made.ledger.checkpoints(), [], ORIGIN)
    assert "deleted" in codes(verify(made, tmp_path / "broken.tar"))


def test_nothing_is_written_where_a_bundle_is_read(made: SmallLedger, whole: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle_export.tempfile, "tempdir", str(tmp_path))
    verify(made, whole)
    assert list(tmp_path.iterdir()) == []
