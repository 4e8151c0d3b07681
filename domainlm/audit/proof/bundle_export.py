"""Writing a bundle (`bundle` says what is in one): the whole ledger, or what concerns one model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from domainlm.audit import sealing
from domainlm.audit.evidence import Evidence
from domainlm.audit.proof import tarball
from domainlm.audit.proof.bundle import (
    CHECKPOINT,
    CHECKPOINTS,
    CONSISTENCY,
    CONTENTS,
    ENTRIES,
    FORMAT,
    MAX_PUBLISHED,
    PROOFS,
    PUBLISHED,
    VERSION,
    Contents,
    digest_of,
)
from domainlm.digests import canonical_json
from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.anchors import Published
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.merkle import Tree, leaf_hash, prove_consistency, prove_inclusion

MAX_PROOFS = MAX_PUBLISHED  # consistency proofs in one model's bundle, each about 1 kB


def about(evidence: Evidence, identity: str) -> set[int]:
    """Numbers of the entries that concern a model: its runs, every act on it, what those rest on, and all policies.

    With them go the other promotions of its name, and the runs of the champion before it: a promotion is judged by what
    it follows, and a standing approval may ask for a gain over that champion.

    Raises:
        EvidenceRefused: no run registered it.
    """
    names = {
        stated.act.model.name
        for stated in evidence.of_kind(entries.RUN)
        if stated.act.model is not None and stated.act.model.identity == identity
    }
    if not names:
        raise EvidenceRefused("no run in the ledger registered it", f"model {identity[:16]}", "check the identity")
    promotions = [
        stated for stated in evidence.of_kind(entries.PROMOTION) if stated.act.model.rpartition("/")[0] in names
    ]
    models = {identity} | {stated.act.previous for stated in promotions if stated.act.identity == identity}
    runs = {
        stated.act.run_id
        for stated in evidence.of_kind(entries.RUN)
        if stated.act.model is not None and stated.act.model.identity in models
    }
    chosen = {stated.digest for stated in (*evidence.about(identity), *promotions)}
    rests_on = {getattr(stated.act, "standing", "") for stated in promotions if stated.act.identity == identity} - {""}
    found = set()
    for stated in evidence.stated:
        # conditions that were met, standing approvals that served, and what was said of these
        refers = {getattr(stated.act, name, "") for name in ("approval", "identity", "standing")} - {""}
        if (
            stated.header.kind == entries.POLICY
            or (stated.header.kind == entries.RUN and stated.act.run_id in runs)
            or stated.digest in chosen | rests_on
            or refers & (chosen | rests_on)
        ):
            found.add(stated.number)
    return found


def export(
    path: Path,
    read: Iterable[tuple[int, bytes]],
    checkpoints: Sequence[str],
    published: Sequence[Published],
    origin: str,
    *,
    model: str = "",
    numbers: set[int] | None = None,
    anchored: Collection[int] = (),
    artifacts: Mapping[str, Path] | None = None,
    recipients: Sequence[str] = (),
    passphrase: str = "",
) -> Contents:
    """Write a bundle whole or not at all, mode 0600; the same ledger gives the same bytes.

    Args:
        path: of the file; one that is there is replaced.
        read: (number, bytes) as stored, in order.
        checkpoints: signed notes beside them; the bundle ends at the largest.
        published: notes that were published, as far as the exporter knows; the last 10,000 are put in.
        origin: the ledger's name.
        model: identity of the model that it is about; empty for the whole ledger.
        numbers: of the entries to put in, for a model (`about`).
        anchored: sizes of the checkpoints that entries say were published, for a model: they lie where the exporter
            may not be able to read, and whoever verifies may.
        artifacts: what a person calls it -> file.
        recipients, passphrase: encrypts the bundle (`domainlm.audit.sealing`).

    Raises:
        EvidenceRefused: `no-checkpoint`; `deleted`: an entry that the checkpoint covers is missing (for a model only: a
            whole ledger is exported as it is, so that others see what is wrong with it).
        ArtifactError: an artifact cannot be read.
    """
    if not checkpoints:
        raise EvidenceRefused("has no signed checkpoint", origin, "let the signer sign one", "no-checkpoint")
    parsed = [Checkpoint.parse(note, "a checkpoint") for note in checkpoints]
    head = max(parsed, key=lambda found: found.size)
    with ExitStack() as stack:
        files = {CHECKPOINT: _spool(stack, [head.note.encode()])}
        files[PUBLISHED] = _lines(
            stack, (canonical_json({"note": p.note, "place": p.place}) for p in published[-MAX_PUBLISHED:])
        )
        covered = (item for item in read if item[0] < head.size)
        if model:
            outside = [Checkpoint.parse(item.note, item.place) for item in published]
            known = {found.size for found in outside if found.origin == origin} | set(anchored)
            sizes = proven_sizes({found.size for found in parsed}, known, head.size)
            files |= _one_model(stack, covered, numbers or set(), head, sizes)
        else:
            files[ENTRIES] = _lines(stack, (raw for _, raw in covered))
            files[CHECKPOINTS] = _lines(stack, (canonical_json(note) for note in checkpoints))
        named = {}
        for name, source in sorted((artifacts or {}).items()):
            spooled = _spool(stack, _read_file(source))
            named[name] = digest_of(spooled)
            files[f"artifacts/{named[name]}"] = spooled
        contents = Contents(
            format=FORMAT, version=VERSION, origin=origin, size=head.size, model=model,
            files={name: digest_of(stream) for name, stream in files.items()}, artifacts=named,
        )  # fmt: skip
        files[CONTENTS] = _spool(stack, [canonical_json(contents.model_dump(mode="json"))])
        with _replacing(path) as target:
            if recipients or passphrase:
                plain = stack.enter_context(tempfile.TemporaryFile())
                tarball.write(plain, files.items())
                plain.seek(0)
                sealing.seal(plain, target, recipients, passphrase)
            else:
                tarball.write(target, files.items())
    return contents


def proven_sizes(signed: Collection[int], published: Collection[int], size: int) -> list[int]:
    """Of which checkpoints a model's bundle proves that its own, of `size` entries, continues them; in order.

    A proof needs the size alone. Any signed checkpoint may have been published by somebody else, so all of them are
    proven; of more than 10,000 those that are known to be published, then others at even steps.
    """
    must = sorted({size} | {found for found in published if 0 < found <= size})[-MAX_PROOFS:]
    others = sorted({found for found in signed if 0 < found <= size} - set(must))
    room = MAX_PROOFS - len(must)
    if len(others) > room:
        others = [others[index * len(others) // room] for index in range(room)]
    return sorted([*must, *others])


def _one_model(
    stack: ExitStack, read: Iterable[tuple[int, bytes]], numbers: set[int], head: Checkpoint, sizes: Sequence[int]
) -> dict[str, BinaryIO]:
    leaves, chosen = [], []
    for number, raw in read:
        if number != len(leaves):
            break
        leaves.append(leaf_hash(raw))
        if number in numbers:
            chosen.append((number, raw))
    if len(leaves) != head.size:
        raise EvidenceRefused(f"lacks entry {len(leaves)}", head.origin, "run `domainlm audit verify`", "deleted")
    tree = Tree(leaves)
    proofs = (prove_inclusion(leaves, number, head.size) for number, _ in chosen)
    consistent = (prove_consistency(tree, size, head.size) for size in sizes)
    return {
        ENTRIES: _lines(stack, (raw for _, raw in chosen)),
        PROOFS: _lines(stack, (canonical_json(proof.model_dump()) for proof in proofs)),
        CONSISTENCY: _lines(stack, (canonical_json(proof.model_dump()) for proof in consistent)),
    }


def _lines(stack: ExitStack, lines: Iterable[bytes]) -> BinaryIO:
    return _spool(stack, (line + b"\n" for line in lines))


def _spool(stack: ExitStack, parts: Iterable[bytes]) -> BinaryIO:
    stream = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=16 << 20))
    for part in parts:
        stream.write(part)
    stream.seek(0)
    return stream  # type: ignore[return-value]


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                yield block
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})", str(path), "check the path") from None


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file of mode 0600 that takes its place when the block ends well, and leaves nothing when it does not."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
