"""Does any alteration of the evidence escape verification, and does any unaltered evidence fail it?

    python benchmarks/audit_tampering.py [--small]

1. An exported bundle of 100 runs: one bit is flipped at every byte of every entry, and at every byte of the manifest
   file beside it. The affected entry is verified: strict parsing, gate with signature, inclusion proof. The count says
   which of the three saw it first. Flips outside of the entries (headers, padding, proofs, notes) are verified on the
   whole bundle, at random places.
2. A log of 10,000 entries with a checkpoint every 20, the last one published: random edits, deletions, exchanges,
   moves, insertions, repetitions, merges, truncations, roll-backs and rewritten histories, each verified whole. A
   mutation counts as detected only if the verdict is broken and a finding of its kind names it. The tree and the gate's
   judgement are computed anew each time; what parsing and the signature check said of bytes that were seen before is
   remembered.
3. False alarms: the same log untouched, at every stage of its growth between two checkpoints, and single entries.

Prints a table, every mutation that escaped, and ends with one line of JSON. About 6 CPU minutes; --small 4 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from securesystemslib.signer import CryptoSigner  # noqa: E402

from domainlm.audit.proof.bundle import ENTRIES, Bundle, verify_bundle  # noqa: E402
from domainlm.audit.proof.bundle_export import export  # noqa: E402
from domainlm.audit.proof.cross_checks import is_entered  # noqa: E402
from domainlm.audit.proof.reading import Checked, check_chunk  # noqa: E402
from domainlm.audit.proof.verification import Verification, verify_entries  # noqa: E402
from domainlm.digests import digest_json  # noqa: E402
from domainlm.errors import EvidenceRefused  # noqa: E402
from domainlm.ledger import entries  # noqa: E402
from domainlm.ledger.acts import Read  # noqa: E402
from domainlm.ledger.anchors import Published  # noqa: E402
from domainlm.ledger.checkpoints import Checkpoint  # noqa: E402
from domainlm.ledger.envelopes import Envelope  # noqa: E402
from domainlm.ledger.findings import BROKEN, GOOD  # noqa: E402
from domainlm.ledger.merkle import Frontier, leaf_hash, prove_inclusion, verify_inclusion  # noqa: E402
from domainlm.ledger.run.manifest import COMPLETED, ModelRecord, RunManifest, StepEntry  # noqa: E402
from domainlm.ledger.run.provenance import MANIFEST, entry_of  # noqa: E402
from domainlm.ledger.trust.gate import Gate, Member, Policy, Rules, present  # noqa: E402

ORIGIN, OTHER = "bank/models", "bank/cards"
START = datetime(2026, 11, 1, 9, tzinfo=UTC)
SHOWN_ESCAPES = 20


@dataclass
class Log:
    """A log with the keys of everybody, in memory.

    Args:
        raws: the entries' bytes, the first is the policy.
        notes: signed checkpoints.
    """

    raws: list[bytes]
    notes: list[str]
    keys: dict[str, CryptoSigner]
    origin: str

    @property
    def root_keyids(self) -> frozenset[str]:
        return frozenset({self.keys["root"].public_key.keyid})

    @property
    def published(self) -> list[Published]:
        return [Published("the other volume", self.notes[-1])]


def made(origin: str, statements: Sequence[tuple[str, dict[str, str], dict]], every: int, keys: dict) -> Log:
    """A log of machine-made entries, a second apart, with a checkpoint after each batch.

    Args:
        statements: kind, subjects and content of each.
        every: entries in a batch.
    """
    policy = Policy(
        version=1,
        ledger=origin,
        keys={signer.public_key.keyid: signer.public_key.to_dict() for signer in keys.values()},
        members={name: Member(keys=[key.public_key.keyid], roles=[name]) for name, key in keys.items()},
        rules=Rules(production=True),
    )
    first = entries.statement(
        entries.POLICY, origin, "root", {"policy": "0" * 64}, policy.model_dump(mode="json"), START
    )
    log = Log([Envelope.sign(first, keys["root"]).to_bytes()], [], keys, origin)
    for number, (kind, subjects, content) in enumerate(statements, 1):
        moment = START + timedelta(seconds=number)
        statement = entries.statement(kind, origin, "recorder", subjects, content, moment)
        log.raws.append(Envelope.sign(statement, keys["recorder"]).to_bytes())
    log.notes = checkpoints(log.raws, origin, keys["log"], every)
    return log


def checkpoints(raws: Sequence[bytes], origin: str, signer: CryptoSigner, every: int) -> list[str]:
    """Signed notes after every batch and at the end."""
    frontier, notes = Frontier(), []
    for start in range(0, len(raws), every):
        frontier = frontier.extended(leaf_hash(raw) for raw in raws[start : start + every])
        notes.append(Checkpoint(origin, frontier.size, frontier.root).signed(signer).note)
    return notes


def new_keys() -> dict[str, CryptoSigner]:
    """One key for each role of a service, and the root's."""
    return {role: CryptoSigner.generate_ed25519() for role in ("root", "recorder", "log")}


def run(number: int) -> RunManifest:
    """A compact manifest as a run leaves it: steps with digests of what they consumed and made, a model, metrics."""
    digests = {part: digest_json([part, number]) for part in
               ("adapter", "base", "tokenizer", "data", "configuration", "evaluation")}  # fmt: skip
    steps = [
        StepEntry(name="prepare", status=COMPLETED, outputs={"prepared_records": digests["data"]}),
        StepEntry(name="train", status=COMPLETED, parameters={"seed": number, "learning_rate": 2e-4},
                  inputs={"records": digests["data"]}, outputs={"adapter": digests["adapter"]}),
    ]  # fmt: skip
    return RunManifest(
        run_id=f"00000000-0000-4000-8000-{number:012d}", run_name=f"finetuning-{number}", pipeline="finetuning",
        status=COMPLETED, started="2026-11-01T09:00:00.000Z", ended="2026-11-01T09:05:00.000Z", steps=steps,
        code={"commit": digest_json(number)[:40], "dirty": False}, metrics={"headline_accuracy": 0.5 + number / 1000},
        model=ModelRecord(name="domainlm-finance", version=str(number), identity=digest_json(digests),
                          digests=digests, verdict="shown"),
    ).sealed()  # fmt: skip


class Count:
    """Mutations, and which of them were detected by what."""

    def __init__(self) -> None:
        self.by_kind: dict[str, Counter[str]] = {}
        self.escaped: list[str] = []

    def add(self, kind: str, how: str, where: str) -> None:
        """`how` saw it; empty where nothing did."""
        self.by_kind.setdefault(kind, Counter())[how or "escaped"] += 1
        if not how:
            self.escaped.append(f"{kind}: {where}")

    @property
    def mutations(self) -> int:
        return sum(sum(counts.values()) for counts in self.by_kind.values())


def flips(count: Count, folder: Path, runs: int, elsewhere: int, draw: random.Random) -> dict[str, float]:
    """One flipped bit at every byte of the entries and manifests of a bundle, and at random bytes elsewhere in it.

    Returns:
        Sizes, for the report.
    """
    manifests = [run(number) for number in range(1, runs + 1)]
    log = made(ORIGIN, [(entries.RUN, *entry_of(manifest)) for manifest in manifests], 20, new_keys())
    path = folder / "bundle.tar"
    export(path, enumerate(log.raws), log.notes, log.published, ORIGIN)
    data = bytearray(path.read_bytes())
    with open(path, "rb") as stream:
        bundle = Bundle(stream, path.name)
        member = bundle.members[ENTRIES]
        lines = bundle.open(ENTRIES).read().split(b"\n")[:-1]
        head = Checkpoint.parse(bundle.open("checkpoint").read().decode(), "checkpoint")
    leaves = [leaf_hash(raw) for raw in lines]
    gate = Gate(ORIGIN, log.root_keyids)
    for number, raw in enumerate(lines):
        before, proof = gate.state, prove_inclusion(leaves, number)
        for place in range(len(raw)):
            count.add(
                "flip in an entry", seen_by(flipped(raw, place), number, gate, proof, head), f"{number}, byte {place}"
            )
            gate.state = before
        gate.admit(number, Envelope.parse(raw, ""))
    written = [(json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
               for manifest in manifests]  # fmt: skip
    for number, raw in enumerate(written, 1):
        entered = Envelope.parse(lines[number], "").statement["predicate"][MANIFEST]
        assert is_entered(raw, entered)
        for place in range(len(raw)):
            same = is_entered(flipped(raw, place), entered)
            count.add("flip in a manifest file", "" if same else "comparison", f"{number}, byte {place}")
    outside = [*range(member.offset), *range(member.offset + member.size, len(data))]
    for place in draw.sample(outside, min(elsewhere, len(outside))):
        (folder / "flipped.tar").write_bytes(flipped(data, place))
        found = verify_bundle(folder / "flipped.tar", log.root_keyids, log.published)
        count.add("flip elsewhere in the bundle", _named(found, None), f"byte {place}")
    return {
        "bundle_entries": len(lines),
        "entry_bytes_mean": round(sum(map(len, lines)) / len(lines)),
        "manifest_bytes_mean": round(sum(map(len, written)) / len(written)),
    }


def flipped(raw: bytes | bytearray, place: int) -> bytes:
    """The same bytes with one bit of one byte turned; which one goes round with the place."""
    changed = bytearray(raw)
    changed[place] ^= 1 << (place % 8)
    return bytes(changed)


def seen_by(raw: bytes, number: int, gate: Gate, proof: object, head: Checkpoint) -> str:
    """What refuses an entry first: "parsing", "gate" (its signature, mostly) or "tree"; empty where nothing does."""
    try:
        envelope = Envelope.parse(raw, "")
    except EvidenceRefused:
        return "parsing"
    try:
        gate.take(number, present(envelope, "", gate.keys))
    except EvidenceRefused:
        return "gate"
    try:
        verify_inclusion(proof, leaf_hash(raw), head.root)
    except EvidenceRefused:
        return "tree"
    return ""


@dataclass
class Altered:
    """An altered log, and the codes of findings that name what was done to it."""

    raws: list[bytes]
    notes: list[str]
    codes: set[str]
    where: str


def alterations(log: Log, other: Log, draw: random.Random) -> dict[str, Callable[[], Altered]]:
    """Ways to alter a log; none of them with the key of the log, but for the last."""
    size, notes = len(log.raws), log.notes

    def spare(origin: str = ORIGIN) -> bytes:
        moment = START + timedelta(seconds=size)
        statement = entries.statement(entries.READ, origin, "recorder", {"page": "0" * 64}, reading(0), moment)
        return Envelope.sign(statement, log.keys["recorder"]).to_bytes()

    def edit() -> Altered:
        place = draw.randrange(1, size)
        raw = flipped(log.raws[place], draw.randrange(len(log.raws[place])))
        return Altered(_with(log.raws, place, [raw]), notes, {"edited"}, f"entry {place}")

    def replace() -> Altered:  # by somebody who has the recorder's key
        place = draw.randrange(1, size)
        return Altered(_with(log.raws, place, [spare()]), notes, {"edited"}, f"entry {place}")

    def delete() -> Altered:
        start = draw.randrange(1, size)
        stop = min(size, start + draw.choice([1, 1, 1, 5, 100]))
        codes = {"truncated", "deleted"} if stop > size - 20 else {"deleted"}
        return Altered(log.raws[:start] + log.raws[stop:], notes, codes, f"entries {start} to {stop - 1}")

    def exchange() -> Altered:
        first, second = sorted(draw.sample(range(1, size), 2))
        raws = list(log.raws)
        raws[first], raws[second] = raws[second], raws[first]
        return Altered(raws, notes, {"reordered"}, f"entries {first} and {second}")

    def move() -> Altered:
        first, second = draw.sample(range(1, size), 2)
        raws = list(log.raws)
        raws.insert(second, raws.pop(first))
        return Altered(raws, notes, {"reordered"}, f"entry {first} to {second}")

    def insert() -> Altered:
        place = draw.randrange(1, size)
        return Altered(_with(log.raws, place, [spare(), log.raws[place]]), notes, {"inserted"}, f"before {place}")

    def repeat() -> Altered:
        place, other_place = draw.randrange(1, size), draw.randrange(1, size)
        raws = _with(log.raws, place, [log.raws[other_place], log.raws[place]])
        return Altered(raws, notes, {"duplicate"}, f"entry {other_place} again at {place}")

    def merge() -> Altered:
        place, start = draw.randrange(1, size), draw.randrange(1, len(other.raws) - 1)
        part = other.raws[start : start + draw.choice([1, 10, 200])]
        return Altered(log.raws[:place] + part + log.raws[place:], notes, {"foreign-entry"}, f"{len(part)} at {place}")

    def truncate() -> Altered:
        stop = draw.randrange(1, size)
        return Altered(log.raws[:stop], notes, {"truncated"}, f"after {stop}")

    def roll_back() -> Altered:
        stop = draw.randrange(1, size)
        kept = [note for note in notes if int(note.split("\n")[1]) <= stop]
        # with the checkpoints of that time: only the published one knows of more
        return Altered(log.raws[:stop], kept, {"rolled-back"}, f"to {stop}")

    def no_checkpoints() -> Altered:
        place = draw.randrange(1, size)
        raws = log.raws[:place] + log.raws[place + 1 :]
        return Altered(raws, [], {"rolled-back", "forked", "deleted"}, f"entry {place} and all checkpoints")

    def checkpoint() -> Altered:
        index = draw.randrange(len(notes))
        raw = flipped(notes[index].encode(), draw.randrange(len(notes[index].encode())))
        changed = _with(notes, index, [raw.decode("utf-8", "replace")])
        return Altered(
            log.raws, changed, {"malformed", "bad-signature", "foreign-entry", "unknown-key"}, f"note {index}"
        )

    def rewrite() -> Altered:  # by somebody who has the recorder's and the log's keys, but not what was published
        place = draw.randrange(1, size)
        raws = _with(log.raws, place, [spare()])
        return Altered(raws, checkpoints(raws, ORIGIN, log.keys["log"], 20), {"forked"}, f"entry {place}, signed anew")

    return {
        "edit": edit, "replace": replace, "delete": delete, "exchange": exchange, "move": move, "insert": insert,
        "repeat": repeat, "merge": merge, "truncate": truncate, "roll back": roll_back,
        "delete with checkpoints": no_checkpoints, "edit a checkpoint": checkpoint, "rewrite": rewrite,
    }  # fmt: skip


def _with(items: list, place: int, instead: list) -> list:
    return [*items[:place], *instead, *items[place + 1 :]]


def reading(number: int) -> dict:
    """The content of a small entry."""
    return Read(person="anna", page="models", subject=f"domainlm-finance/{number}").model_dump(mode="json")


class Remembering:
    """Parsing and signature checks, each byte string once; what a third party's verification does every time."""

    def __init__(self) -> None:
        self._known: dict[bytes, Checked] = {}

    def __call__(self, raws: Sequence[bytes], keys: dict[str, bytes]) -> list[Checked]:
        if not keys:  # the first entry: what it brings is not known yet
            return check_chunk(raws, keys)
        new = [raw for raw in raws if raw not in self._known]
        if len(self._known) + len(new) > 50_000:
            self._known.clear()
            new = list(raws)
        self._known.update(zip(new, check_chunk(new, keys), strict=True))
        return [self._known[raw] for raw in raws]


def whole_logs(count: Count, size: int, mutations: int, draw: random.Random) -> tuple[Log, Remembering]:
    """Alterations of a log, each verified whole."""
    statements = [(entries.READ, {"page": "0" * 64}, reading(number)) for number in range(1, size)]
    log = made(ORIGIN, statements, 20, new_keys())
    other = made(OTHER, statements[:500], 20, new_keys())
    check = Remembering()
    kinds = alterations(log, other, draw)
    for number in range(mutations):
        kind = list(kinds)[number % len(kinds)]
        altered = kinds[kind]()
        found = verify(log, altered.raws, altered.notes, log.published, check)
        count.add(f"log: {kind}", _named(found, altered.codes), f"{altered.where}: {_told(found)}")
    return log, check


def verify(
    log: Log, raws: Sequence[bytes], notes: Sequence[str], published: Sequence[Published], check: Remembering
) -> Verification:
    """Verify in this process, with numbers that fit whatever was done."""
    return verify_entries(enumerate(raws), notes, published, ORIGIN, log.root_keyids, processes=1, check=check)


def _named(found: Verification, codes: set[str] | None) -> str:
    """The code that names what was done, where the verdict is broken; any code will do where none is asked for."""
    broken = {finding.code for finding in found.findings if finding.severity == "broken"}
    named = broken if codes is None else broken & codes
    return min(named) if found.verdict == BROKEN and named else ""


def _told(found: Verification) -> str:
    return f"{found.verdict}, {sorted({finding.code for finding in found.findings})}"


def untouched(log: Log, check: Remembering, times: int, draw: random.Random) -> Iterator[str]:
    """Verifies what nobody altered; yields a word for each alarm.

    A tenth is the whole log, two tenths are the log at some earlier moment with what was published before that moment,
    the rest are single entries of it.
    """
    head = Checkpoint.parse(log.notes[-1], "head")
    leaves = [leaf_hash(raw) for raw in log.raws]
    gate = Gate(ORIGIN, log.root_keyids)
    gate.admit(0, Envelope.parse(log.raws[0], ""))
    for number in range(times):
        if number % 10 == 0:
            found = verify(log, log.raws, log.notes, log.published, check)
            if found.verdict != GOOD or found.findings:
                yield f"the whole log: {_told(found)}"
        elif number % 10 in (1, 2):
            index = draw.randrange(1, len(log.notes))
            then = [Published("then", log.notes[draw.randrange(index)])]
            size = Checkpoint.parse(log.notes[index], "").size
            found = verify(log, log.raws[:size], log.notes[: index + 1], then, check)
            if found.verdict != GOOD or {finding.code for finding in found.findings} - {"stale-anchor"}:
                yield f"growth to {size}: {_told(found)}"
        else:
            place = draw.randrange(1, len(log.raws))
            before = gate.state
            envelope = Envelope.parse(log.raws[place], "")
            try:
                gate.take(place, present(envelope, "", gate.keys))
                verify_inclusion(prove_inclusion(leaves, place), leaves[place], head.root)
            except EvidenceRefused as error:
                yield f"entry {place}: {error.code}"
            gate.state = before


def tampering(small: bool) -> dict:
    """All of it.

    Returns:
        `mutations`, `detected`, `false_alarms`, `verified_untouched`, `by_kind` (kind -> what saw it -> how often),
        sizes and CPU seconds.
    """
    draw, count, started = random.Random(5), Count(), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        sizes = flips(count, Path(place), 3 if small else 100, 60 if small else 1000, draw)
    log, check = whole_logs(count, 400 if small else 10_000, 78 if small else 1000, draw)
    times = 60 if small else 1000
    alarms = list(untouched(log, check, times, draw))
    for escaped in count.escaped[:SHOWN_ESCAPES]:
        print(f"escaped: {escaped}")
    for alarm in alarms[:SHOWN_ESCAPES]:
        print(f"false alarm: {alarm}")
    return {
        "mutations": count.mutations,
        "detected": count.mutations - len(count.escaped),
        "false_alarms": len(alarms),
        "verified_untouched": times,
        "log_entries": len(log.raws),
        **sizes,
        "by_kind": {kind: dict(counts) for kind, counts in count.by_kind.items()},
        "cpu_s": round(time.process_time() - started, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes: fewer entries and mutations")
    given = parser.parse_args()
    os.environ.setdefault("DOMAINLM_PROJECT", str(ROOT))
    found = tampering(given.small)
    print(f"{'what was done':<32}{'times':>8}  seen by")
    for kind, counts in found["by_kind"].items():
        told = ", ".join(f"{how} {times}" for how, times in sorted(counts.items()))
        print(f"{kind:<32}{sum(counts.values()):>8}  {told}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
