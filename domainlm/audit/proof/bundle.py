"""The exported bundle: what a third party verifies with the root's public key and nothing else.

One file, a tar archive with one spelling (`domainlm.audit.proof.tarball`), of

    bundle.json         canonical JSON: `Contents`, with the SHA-256 of every other file
    checkpoint          the signed note (C2SP tlog-checkpoint) that the bundle ends at
    checkpoints.jsonl   whole ledger: all signed notes, each as a JSON string
    entries.jsonl       one DSSE envelope a line, exactly the bytes that the ledger's tree holds
    proofs.jsonl        one model: for each entry its inclusion proof (RFC 6962) to the checkpoint
    consistency.jsonl   one model: from each published checkpoint a consistency proof to the checkpoint
    published.jsonl     {"note", "place"}: where checkpoints were published, as the exporter says
    artifacts/SHA256    files of a model (reports, manifests), as `Contents.artifacts` names them

`published.jsonl` says where to look. It does not anchor the bundle: who made it could have left the latest out. What
anchors it are the notes that the verifier fetched there and hands in.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import Field, ValidationError, field_validator

from domainlm.audit import sealing
from domainlm.audit.evidence import Evidence
from domainlm.audit.proof import tarball
from domainlm.audit.proof.collected import Findings
from domainlm.audit.proof.notes import outside_notes
from domainlm.audit.proof.tarball import Part
from domainlm.audit.proof.verification import Verification, examine
from domainlm.digests import parse_canonical
from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.anchors import Published
from domainlm.ledger.checkpoints import ORIGIN, Checkpoint
from domainlm.ledger.envelopes import MAX_ENTRY_BYTES, Envelope
from domainlm.ledger.findings import verdict
from domainlm.ledger.merkle import (
    ConsistencyProof,
    InclusionProof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from domainlm.ledger.trust.gate import LOG, Gate
from domainlm.reports import Report

FORMAT, VERSION = "domainlm.bundle", 1
MAX_CONTENTS_BYTES, MAX_LINE_BYTES = 4 << 20, 1 << 20  # of bundle.json; of a line that holds a note or a proof
MAX_PUBLISHED = 10_000  # copies of published checkpoints
CONTENTS, CHECKPOINT, CHECKPOINTS = "bundle.json", "checkpoint", "checkpoints.jsonl"
ENTRIES, PROOFS, CONSISTENCY, PUBLISHED = "entries.jsonl", "proofs.jsonl", "consistency.jsonl", "published.jsonl"
WHOLE = {CHECKPOINT, CHECKPOINTS, ENTRIES, PUBLISHED}
ONE_MODEL = {CHECKPOINT, ENTRIES, PROOFS, CONSISTENCY, PUBLISHED}
ARTIFACT = re.compile(r"artifacts/([0-9a-f]{64})")
Kind = TypeVar("Kind", bound=Report)


class Contents(Report):
    """What `bundle.json` says.

    Fields:
        format, version: of the bundle.
        origin: the ledger's name.
        size: entries that the bundle's checkpoint covers.
        model: identity of the one model that it is about; empty for the whole ledger.
        files: name -> SHA-256 of each other file.
        artifacts: what a person calls an artifact -> its SHA-256.
    """

    format: str
    version: int
    origin: str
    size: int = Field(ge=0)
    model: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    files: dict[str, str]
    artifacts: dict[str, str] = Field(default_factory=dict)

    @field_validator("origin")
    @classmethod
    def _is_a_name(cls, origin: str) -> str:
        if not ORIGIN.fullmatch(origin):  # it is printed in the verdict
            raise ValueError("no ledger has this name")
        return origin


def verify_bundle(
    path: Path,
    root_keyids: frozenset[str],
    published: Sequence[Published] = (),
    *,
    identity: Path | None = None,
    passphrase: str = "",
) -> Verification:
    """Verify a bundle; see `examine_bundle`."""
    return examine_bundle(path, root_keyids, published, identity=identity, passphrase=passphrase)[0]


def examine_bundle(
    path: Path,
    root_keyids: frozenset[str],
    published: Sequence[Published] = (),
    *,
    identity: Path | None = None,
    passphrase: str = "",
) -> tuple[Verification, Evidence]:
    """Verify a bundle, and give what its entries say. What the file holds makes nothing raise.

    Args:
        path: the file.
        root_keyids: ids of the pinned root keys.
        published: checkpoints that the verifier fetched where they were published.
        identity, passphrase: open an encrypted bundle.

    Raises:
        ArtifactError: the file cannot be read.
        SecretError: it is encrypted, and no key for it was given.
    """
    try:
        stream: BinaryIO = open(path, "rb")
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})", str(path), "check the path") from None
    with ExitStack() as stack:
        stack.enter_context(stream)
        origin = str(path.name)
        try:
            if sealing.is_sealed(stream):
                stream = stack.enter_context(sealing.unseal(stream, str(path), identity, passphrase))
            bundle = Bundle(stream, path.name)
            origin = bundle.contents.origin
            found, evidence = bundle.examine(root_keyids, published)
        except EvidenceRefused as error:
            findings = Findings()
            findings.refused(error)
            return _refused(origin, findings), Evidence((), Gate(origin, root_keyids))
    return found, evidence


def _refused(origin: str, findings: Findings) -> Verification:
    found = findings.all()
    return Verification(
        verdict=verdict(found, False), origin=origin, size=0, root="", anchored=0, entries=0, findings=found
    )


class Bundle:
    """A bundle that is open for reading; its files stay within it.

    Args:
        stream: seekable.
        where: what an error names.

    Raises:
        EvidenceRefused: `path-trick`, `too-large`, `unknown-version`, `malformed`: the archive or `bundle.json`.
    """

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream, self.where = stream, where
        self.members = tarball.read(stream, where)
        self.contents = self._contents()
        expected = (ONE_MODEL if self.contents.model else WHOLE) | {
            f"artifacts/{digest}" for digest in self.contents.artifacts.values()
        }
        there = set(self.members) - {CONTENTS}
        if there != set(self.contents.files) or there != expected:
            odd = min((there ^ expected) | (there ^ set(self.contents.files)))
            raise EvidenceRefused(f"'{odd[:100]}' is missing, or not named in {CONTENTS}", where, "", "malformed")

    def open(self, name: str) -> io.BufferedReader:
        """One of its files."""
        return io.BufferedReader(Part(self._stream, self.members[name]), 1 << 20)

    def examine(self, root_keyids: frozenset[str], published: Sequence[Published]) -> tuple[Verification, Evidence]:
        """Verify all of it."""
        findings = Findings()
        for name, digest in self.contents.files.items():
            actual = digest_of(self.open(name))
            if actual != digest:
                findings.add("edited", name, f"is not the file that {CONTENTS} names")
            if (match := ARTIFACT.fullmatch(name)) and match[1] != actual:
                called = ", ".join(sorted(n for n, d in self.contents.artifacts.items() if d == match[1]))
                findings.add("replaced-artifact", called or name, "differs from the digest that the bundle names")
        said = list(self._published(findings))
        examine_it = self._examine_model if self.contents.model else self._examine_whole
        verification, evidence = examine_it(root_keyids, published, said, findings)
        if not published:
            for item in said[-5:]:
                findings.add("unanchored", item.place, "look there, and give what you find as --anchor", "note")
        changes = {"findings": [*findings.all(), *verification.findings], "model": self.contents.model}
        whole = verification.model_copy(update=changes)
        return whole.with_findings((), len(self.contents.artifacts)), evidence

    def _contents(self) -> Contents:
        if CONTENTS not in self.members:
            raise EvidenceRefused(f"holds no {CONTENTS}", self.where, "ask for it again", "malformed")
        if self.members[CONTENTS].size > MAX_CONTENTS_BYTES:
            raise EvidenceRefused(f"its {CONTENTS} is too large", self.where, "", "too-large")
        try:
            found = parse_canonical(self.open(CONTENTS).read())
            version = found["version"] if found["format"] == FORMAT else None
            if version == VERSION and version is not True:
                return Contents(**found)
        except (ValueError, TypeError, KeyError, ValidationError):
            raise EvidenceRefused(f"its {CONTENTS} is not one", self.where, "ask for it again", "malformed") from None
        if version is None:
            raise EvidenceRefused("is no bundle", self.where, "ask for it again", "malformed")
        raise EvidenceRefused(
            f"is of version {version!r:.20}, known: {VERSION}", self.where, "use a newer domainlm", "unknown-version"
        )

    def _examine_whole(
        self, root_keyids: frozenset[str], published: Sequence[Published], said: list[Published], findings: Findings
    ) -> tuple[Verification, Evidence]:
        notes = [self._note(line, CHECKPOINTS, findings) for line in self._read_lines(CHECKPOINTS, MAX_LINE_BYTES)]
        head = self._head()
        if head.note not in notes or any(_size_of(note) > head.size for note in notes):
            findings.add("malformed", CHECKPOINT, f"is not the largest in {CHECKPOINTS}")
        if head.size != self.contents.size:
            findings.add("edited", CONTENTS, f"says {self.contents.size} entries, and {CHECKPOINT} covers {head.size}")
        # the copies of published notes in the bundle must fit it, but they anchor nothing
        beside = [*notes, *(item.note for item in said)]
        numbered = enumerate(self._read_lines(ENTRIES, MAX_ENTRY_BYTES))
        return examine(numbered, beside, published, self.contents.origin, root_keyids)

    def _examine_model(
        self, root_keyids: frozenset[str], published: Sequence[Published], said: list[Published], findings: Findings
    ) -> tuple[Verification, Evidence]:
        origin, head = self.contents.origin, self._head()
        evidence = Evidence((), Gate(origin, root_keyids))
        proofs = self._read_lines(PROOFS, MAX_LINE_BYTES)
        count = passed = 0
        before = -1
        for raw in self._read_lines(ENTRIES, MAX_ENTRY_BYTES):
            where = f"line {count + 1} of {ENTRIES}"
            count += 1
            try:
                proof = _proof(InclusionProof, next(proofs, b""), f"line {count} of {PROOFS}")
                where = f"entry {proof.leaf_index}"
                if proof.leaf_index <= before:
                    raise EvidenceRefused("stands out of order", where, "", "reordered")
                before = proof.leaf_index
                if proof.tree_size != head.size:
                    raise EvidenceRefused("its proof is for another checkpoint", where, "", "malformed")
                verify_inclusion(proof, leaf_hash(raw), head.root)
                evidence.extend([(proof.leaf_index, Envelope.parse(raw, where))])
                passed += 1
            except EvidenceRefused as error:
                findings.add(error.code, where, error.what)
        if next(proofs, None) is not None:
            findings.add("deleted", ENTRIES, f"has fewer entries than {PROOFS} has proofs")
        if count == 0:
            findings.add("untrusted-root", ENTRIES, "holds no entry, not even a policy")
        anchored = self._anchor_model(head, evidence, published, said, findings)
        if self.contents.model not in evidence.models():
            findings.add("deleted", f"model {self.contents.model[:16]}", "no entry here registered it")
        if evidence.stated and not evidence.policy.rules.production:
            findings.add("development-key", origin, "its keys were made by set-up on one machine", "warning")
        return Verification(
            verdict=verdict(findings.all(), anchored > 0), origin=origin, size=head.size, root=head.root.hex(),
            anchored=anchored, entries=passed,
        ), evidence  # fmt: skip

    def _anchor_model(
        self,
        head: Checkpoint,
        evidence: Evidence,
        published: Sequence[Published],
        said: list[Published],
        findings: Findings,
    ) -> int:
        """Size of the largest checkpoint from outside that the bundle's own continues; faults go to `findings`."""
        origin = self.contents.origin
        keys = {
            keyid: key for stated in evidence.of_kind(entries.POLICY) for keyid, key in stated.act.keys_of(LOG).items()
        }
        in_force = evidence.policy.keys_of(LOG, in_force=True) if evidence.stated else {}
        if head.origin != origin or head.size != self.contents.size:
            findings.add("edited", CONTENTS, f"names another ledger or size than {CHECKPOINT}")
        if not head.verified_by(in_force):
            findings.add("no-checkpoint", CHECKPOINT, "bears no signature of the log's key in force")
        proofs = {}
        for index, line in enumerate(self._read_lines(CONSISTENCY, MAX_LINE_BYTES)):
            try:
                proof = _proof(ConsistencyProof, line, f"line {index + 1} of {CONSISTENCY}")
                proofs[proof.first, proof.second] = proof
            except EvidenceRefused as error:
                findings.refused(error)
        anchored = 0
        inside = [(item.note, f"the checkpoint published at {item.place}", False) for item in said]
        readable = outside_notes(published, findings)
        for text, where, outside in (*inside, *readable):
            try:
                note = Checkpoint.parse(text, where)
                if note.origin != origin:
                    findings.add("foreign-entry", where, "is of another ledger", "warning")
                    continue
                if not note.verified_by(keys):
                    raise EvidenceRefused("bears no signature of the log's key", where, "", "bad-signature")
                if note.size > head.size:
                    raise EvidenceRefused(
                        f"covers {note.size} entries, the bundle {head.size}: ask for a newer one", where, "",
                        "rolled-back",
                    )  # fmt: skip
                proof = proofs.get((note.size, head.size))
                if note.size == head.size:
                    proof = ConsistencyProof(first=note.size, second=head.size, consistency=[])
                if proof is None:
                    findings.add(
                        "stale-anchor", where, "cannot be compared: the bundle has no consistency proof from it",
                        "warning",
                    )  # fmt: skip
                    continue
                verify_consistency(proof, note.root, head.root)
                anchored = max(anchored, note.size if outside else 0)
            except EvidenceRefused as error:
                findings.add(error.code, where, error.what)
        if not published:
            findings.add(
                "unanchored", self.where, "no published checkpoint was given: an older copy would not show", "warning"
            )
        elif 0 < anchored < head.size:
            findings.add(
                "stale-anchor", f"entries {anchored} to {head.size - 1}", "stand after the last published checkpoint",
                "warning",
            )  # fmt: skip
        # the checkpoint that would show a roll-back may be the one that cannot be read
        return anchored if len(readable) == len(published) else 0

    def _head(self) -> Checkpoint:
        return Checkpoint.parse(_text(self.open(CHECKPOINT).read(MAX_LINE_BYTES)), CHECKPOINT)

    def _published(self, findings: Findings) -> Iterator[Published]:
        for index, line in enumerate(self._read_lines(PUBLISHED, MAX_LINE_BYTES)):
            where = f"line {index + 1} of {PUBLISHED}"
            if index == MAX_PUBLISHED:
                findings.add("too-large", where, f"at most {MAX_PUBLISHED} are allowed")
                return
            try:
                found = parse_canonical(line)
                place, note = found["place"], found["note"]
                if set(found) != {"place", "note"} or not isinstance(place, str) or not isinstance(note, str):
                    raise ValueError("other fields")
                yield Published(f"{place[:200]} (the bundle's copy)", note)
            except (ValueError, TypeError, KeyError):
                findings.add("malformed", where, "does not name a place and a note")

    def _note(self, line: bytes, name: str, findings: Findings) -> str:
        try:
            found = parse_canonical(line)
        except ValueError:
            found = None
        if not isinstance(found, str):
            findings.add("malformed", name, "holds a line that is no note")
            return ""
        return found

    def _read_lines(self, name: str, limit: int) -> Iterator[bytes]:
        """The lines of a file; of one that is longer than the limit, as much as shows it."""
        stream = self.open(name)
        while line := stream.readline(limit + 2):
            if line.endswith(b"\n"):
                yield line[:-1]
                continue
            yield line + b"\n"  # too long, or without its end: no reader takes this for what it should be
            while line and not line.endswith(b"\n"):
                line = stream.readline(1 << 20)


def _proof(kind: type[Kind], line: bytes, where: str) -> Kind:
    try:
        return kind(**parse_canonical(line))
    except (ValueError, TypeError, ValidationError):
        raise EvidenceRefused("is no proof", where, "ask for it again", "malformed") from None


def _size_of(note: str) -> int:
    try:
        return Checkpoint.parse(note, "").size
    except EvidenceRefused:
        return 0


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def digest_of(stream: BinaryIO) -> str:
    total = hashlib.sha256()
    stream.seek(0) if stream.seekable() else None
    while block := stream.read(1 << 20):
        total.update(block)
    return total.hexdigest()
