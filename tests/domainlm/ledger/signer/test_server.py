"""The signer as a process: its socket, its clients, what it survives; and the child that stands in for it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import CryptoSigner
from small_ledgers import small_run

from domainlm.errors import ArtifactError, ConfigurationError, DomainLMError, EvidenceRefused, SecretError
from domainlm.keys import create_development_key
from domainlm.ledger import client, entries
from domainlm.ledger.client import Spooled, flush_spool, submit, submit_or_spool
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.run.provenance import entry_of
from domainlm.ledger.settings import AuditSettings, keys_folder, root_file, spool_folder
from domainlm.ledger.signer import calls, protocol
from domainlm.ledger.signer import server as signer
from domainlm.ledger.signer.protocol import Act, Answer, Request
from domainlm.ledger.trust import bootstrap
from domainlm.ledger.trust.gate import Gate, Member, now
from domainlm.ledger.trust.signing import load_key

NOWHERE = {"page": "0" * 64}
SERVE = "from cli.main import app; app()"
WAIT_S = 60

LOOK = {"person": "p", "page": "q"}


def act(page: str = "a") -> Act:
    return Act(kind=entries.READ, subjects=NOWHERE, content={"person": "p", "page": page}, nonce=secrets.token_hex(8))


def ask(path: Path, request: Request) -> Answer:
    return calls._by_socket(str(path), request, WAIT_S).checked()


@pytest.fixture
def ledger(home: Path) -> Iterator[Path]:
    """A project with a ledger; a folder short enough for a socket."""
    assert bootstrap.bootstrap() == bootstrap.MADE
    yield home


@contextlib.contextmanager
def serving(path: Path, *arguments: str, typed: str = "") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "audit", "signer", "serve", "--socket", str(path), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdin is not None
        process.stdin.write(typed)
        process.stdin.flush()
        line = process.stdout.readline()
        assert line.startswith("ready"), line + process.communicate(timeout=WAIT_S)[1]
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WAIT_S)


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "keep" / "s.sock"


def admitted() -> int:
    """How many entries the ledger holds; each passes the gate."""
    gate, count = client.new_gate(), 0
    for number, envelope in client.evidence_entries():
        gate.admit(number, envelope)
        count += 1
    return count


def test_without_a_socket_a_child_signs_and_the_key_stays_out_of_this_process(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a private key was read here")

    monkeypatch.setattr("domainlm.ledger.trust.signing.load_key", never)
    monkeypatch.setattr("domainlm.ledger.signer.server.load_key", never)
    receipt = submit(entries.READ, NOWHERE, LOOK)
    assert receipt.number == 1
    assert client.ping() == 2 == admitted()


def test_the_child_answers_refusals_by_their_own_class(ledger: Path) -> None:
    for kind in (entries.HOLD, entries.APPROVAL, entries.STANDING, entries.POLICY):
        with pytest.raises(EvidenceRefused) as refused:
            submit(kind, NOWHERE, {})
        assert refused.value.code == "wrong-role"
    with pytest.raises(EvidenceRefused) as refused:
        submit("wish", NOWHERE, {})
    assert refused.value.code == "unknown-kind"
    (keys_folder() / signer.RECORDER_KEY).unlink()
    with pytest.raises(SecretError, match="missing"):
        submit(entries.READ, NOWHERE, LOOK)
    assert admitted() == 1


def test_in_production_no_child_reads_the_key(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_MODE", "production")
    for attempt in (client.ping, lambda: submit(entries.READ, NOWHERE, LOOK)):
        with pytest.raises(ConfigurationError, match="signer that runs by itself"):
            attempt()
    assert admitted() == 1


def test_a_child_that_takes_too_long_or_dies_is_said(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="did not answer"):
        submit(entries.READ, NOWHERE, LOOK, timeout_s=0.001)
    monkeypatch.setattr(calls, "_CHILD", "import os; os._exit(3)")
    with pytest.raises(ArtifactError, match="not known"):
        submit(entries.READ, NOWHERE, LOOK)


def test_nothing_in_the_current_folder_is_imported_by_the_child(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "domainlm", "rfc8785"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    assert submit(entries.READ, NOWHERE, LOOK).number == 1


def test_a_served_signer_records_adds_and_stops_when_it_is_told_to(
    ledger: Path, short: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(short) as process:
        assert short.stat().st_mode & 0o777 == 0o600 and short.parent.stat().st_mode & 0o777 == 0o700
        configured = tmp_path / "audit.yaml"
        configured.write_text(json.dumps({"signer": str(short)}))
        monkeypatch.setenv("DOMAINLM_AUDIT", str(configured))
        assert AuditSettings.load().signer == str(short)
        monkeypatch.setattr(calls, "_by_child", None)
        assert submit(entries.READ, NOWHERE, LOOK).number == 1
        assert client.ping() == 2
        root = load_key(keys_folder() / bootstrap.ROOT_KEY)
        statement = entries.statement(entries.HOLD, "domainlm", "root", NOWHERE, {})
        with pytest.raises(EvidenceRefused) as refused:
            client.submit_signed(Envelope.sign(statement, root))
        assert refused.value.code == "wrong-role"
        with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as halfway:
            for connection in (silent, halfway):
                connection.connect(str(short))
            halfway.sendall(b"\0\0")
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=WAIT_S) == ("stopped\n", "")
        assert process.returncode == 0 and not short.exists()
        with pytest.raises(ArtifactError, match="cannot be reached"):
            client.ping()
    assert admitted() == 2


def test_eight_clients_at_once_lose_nothing_and_share_checkpoints(ledger: Path, short: Path) -> None:
    numbers: list[int] = []
    faults: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(15):
                numbers.extend(one.number for one in ask(short, Request(do="record", acts=[act(), act()])).receipts)
        except BaseException as error:
            faults.append(error)

    with serving(short):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert not faults and sorted(numbers) == list(range(1, 241))
    assert admitted() == 241
    assert len(client.open_ledger().checkpoints()) < 121  # fewer than requests: several went into one


def test_of_many_requests_at_once_a_bad_one_is_refused_alone(ledger: Path, short: Path) -> None:
    outcomes: dict[int, str] = {}

    def work(place: int) -> None:
        bad = Act(kind=entries.HOLD, subjects=NOWHERE, content={}, nonce="0" * 16)
        try:
            ask(short, Request(do="record", acts=[act(), bad] if place % 2 else [act()]))
            outcomes[place] = ""
        except EvidenceRefused as error:
            outcomes[place] = error.code

    with serving(short):
        threads = [threading.Thread(target=work, args=(place,)) for place in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert outcomes == {place: "wrong-role" if place % 2 else "" for place in range(10)}
    assert admitted() == 6


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "too-large"),
        (struct.pack(">I", 0xFFFFFFFF), "too-large"),
        (struct.pack(">I", protocol.MAX_FRAME_BYTES + 1), "too-large"),
        (struct.pack(">I", 5) + b"\xff\x00\x01\x02\x03", "malformed"),
        (struct.pack(">I", 2) + b"[]", "malformed"),
        (struct.pack(">I", 16) + b'{"do":"destroy"}', "malformed"),
        (struct.pack(">I", 15) + b'{"do":"record"}', "malformed"),
        (struct.pack(">I", 200_000) + b"[" * 200_000, "malformed"),
        (struct.pack(">I", 0), "malformed"),
        (b"\x00\x00", ""),
        (struct.pack(">I", 100) + b'{"do":"record"', ""),
        (b"", ""),
    ],
)
def test_garbage_and_cut_off_messages_are_refused_and_the_next_client_is_served(
    served: Path, sent: bytes, code: str
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_S)
        connection.connect(str(served))
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            raw = stream.read()
    if code:
        assert protocol.read_answer(_reader(raw)).code == code
    else:
        assert raw == b""
    assert ask(served, Request(do="ping")).size >= 1


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One signer for the tests that only throw things at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOMAINLM_HOME", str(tmp_path_factory.mktemp("served")))
        patch.setenv("DOMAINLM_PROJECT", str(Path(__file__).resolve().parents[4]))
        assert bootstrap.bootstrap() == bootstrap.MADE
        path = tmp_path_factory.mktemp("s") / "keep" / "s.sock"
        with serving(path):
            yield path


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"subjects": {"x": "no digest"}}, "malformed"),
        ({"content": {"number": 1e400}}, "malformed"),
        ({"content": {"number": 2**60}}, "malformed"),
        ({"content": {"text": "\ud800"}}, "malformed"),
        ({"kind": "x" * 100_000}, "unknown-kind"),
        ({"nonce": "zz"}, "malformed"),
        ({"subjects": {}}, "malformed"),
    ],
)
def test_an_act_that_has_no_canonical_form_is_refused(served: Path, change: dict[str, object], code: str) -> None:
    raw = json.dumps({"do": "record", "acts": [act().model_dump() | change]}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_S)
        connection.connect(str(served))
        connection.sendall(protocol.LENGTH.pack(len(raw)) + raw)
        with connection.makefile("rb") as stream:
            answer = protocol.read_answer(stream.read)
    assert answer.code == code and bool(answer.receipts) == (not code)
    assert ask(served, Request(do="ping")).size >= 1


def test_an_entry_beyond_the_limit_is_refused_before_it_is_read(served: Path) -> None:
    huge = Act(kind=entries.READ, subjects=NOWHERE, content={"page": "x" * protocol.MAX_FRAME_BYTES}, nonce="0" * 16)
    with pytest.raises(EvidenceRefused) as refused:
        ask(served, Request(do="record", acts=[huge]))
    assert refused.value.code == "too-large"
    large = huge.model_copy(update={"content": {"page": "x" * (7 << 20)}})  # as base64 it is too large an entry
    with pytest.raises(EvidenceRefused) as refused:
        ask(served, Request(do="record", acts=[large]))
    assert refused.value.code == "too-large"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_turned_away_unless_named_and_may_then_only_have_runs_recorded(ledger: Path) -> None:
    subjects, content = entry_of(small_run())
    run = act().model_copy(update={"kind": entries.RUN, "subjects": subjects, "content": content})
    with tempfile.TemporaryDirectory() as place, serving(path := Path(place) / "in" / "s", "--allow-uid", "4711"):
        Path(place).chmod(0o711)
        assert _as_user(4711, path, Request(do="record", acts=[run])).receipts
        assert _as_user(4711, path, Request(do="record", acts=[act()])).code == "wrong-role"
        assert _as_user(4712, path, Request(do="record", acts=[run])).what == "is not allowed here"
        assert ask(path, Request(do="record", acts=[act()])).receipts
    assert admitted() == 3


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_signer_that_is_stopped_or_killed_lost_nothing_that_it_had_acknowledged(
    ledger: Path, short: Path, how: signal.Signals
) -> None:
    acknowledged: list[tuple[int, str]] = []
    for _ in range(3):
        with serving(short) as process:
            stop = threading.Timer(0.15, process.send_signal, [how])
            stop.start()
            with contextlib.suppress(DomainLMError):
                while True:
                    receipt = ask(short, Request(do="record", acts=[act()])).receipts[0]
                    acknowledged.append((receipt.number, receipt.entry))
            stop.cancel()
    held = {number: envelope.digest for number, envelope in client.evidence_entries()}
    assert acknowledged and all(held[number] == digest for number, digest in acknowledged)
    assert submit(entries.READ, NOWHERE, LOOK).number == len(held) == admitted() - 1


def test_eight_children_at_once_lose_nothing(ledger: Path) -> None:
    receipts: list[int] = []
    threads = [
        threading.Thread(target=lambda: receipts.append(submit(entries.READ, NOWHERE, LOOK).number)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(receipts) == list(range(1, 9)) and admitted() == 9


def test_what_was_signed_a_while_ago_is_entered_behind_the_time_at_which_it_was_received(ledger: Path) -> None:
    policy, digest = bootstrap.policy_in_force(client.open_ledger(), client.new_gate())
    anna, root = CryptoSigner.generate_ed25519(), load_key(keys_folder() / bootstrap.ROOT_KEY)
    keys = policy.keys | {anna.public_key.keyid: anna.public_key.to_dict()}
    members = policy.members | {"anna": Member(keys=[anna.public_key.keyid], roles=["officer"])}
    later = policy.model_copy(update={"version": 2, "previous": digest, "keys": keys, "members": members})
    moment = now()
    signed_policy = Envelope.sign(bootstrap.policy_statement(later, "root", moment - timedelta(days=3)), root)
    assert client.submit_signed(signed_policy).number == 1  # goes without: it may be what brings the recorder's key

    def hold(days: int) -> Envelope:
        time = moment - timedelta(days=days)
        content = {"data": "0" * 64, "case": "2026-7", "reason": "litigation"}
        return Envelope.sign(entries.statement(entries.HOLD, "domainlm", "anna", NOWHERE, content, time), anna)

    signed = hold(3)
    for _ in range(2):  # repeated, it is there already
        assert client.submit_signed(signed).number == 3
    (received,) = [envelope for number, envelope in client.evidence_entries() if number == 2]
    assert entries.subjects(received) == {"received/0": signed.digest}
    assert entries.parse_time(entries.header(received, "").time) > moment - timedelta(seconds=1)
    assert entries.content(received) == {"person": "signer", "page": "received", "subject": signed.digest}
    assert client.submit_signed(hold(0)).number == 4
    with pytest.raises(EvidenceRefused) as refused:
        client.submit_signed(hold(8))
    assert refused.value.code == "clock-set-back" and admitted() == 5


def test_sealed_service_keys_are_opened_once_by_a_served_signer_and_by_no_child(ledger: Path, short: Path) -> None:
    for name in (signer.RECORDER_KEY, signer.LOG_KEY):
        path = keys_folder() / name
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        path.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"correct horse battery"),
        ))  # fmt: skip
    with pytest.raises(SecretError, match="passphrase"):
        submit(entries.READ, NOWHERE, LOOK)
    with pytest.raises(AssertionError, match="cannot be opened"), serving(short, typed="wrong\nwrong\n"):
        pass
    with serving(short, typed="correct horse battery\n" * 2):
        assert ask(short, Request(do="record", acts=[act()])).receipts[0].number == 1
    assert admitted() == 2


def test_a_second_signer_on_the_same_socket_and_unsafe_places_are_refused(
    ledger: Path, short: Path, tmp_path: Path
) -> None:
    with serving(short):
        with pytest.raises(AssertionError, match="another signer serves"), serving(short):
            pass
        assert ask(short, Request(do="ping")).size == 1
    with pytest.raises(ConfigurationError, match="too long"), signer._listening(tmp_path / ("x" * 120), False):
        pass
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(ConfigurationError, match="others may write"), signer._listening(open_to_all / "s", False):
        pass


def test_what_no_signer_took_waits_in_the_spool_and_is_entered_once(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_development_key()
    assert not isinstance(submit_or_spool(entries.READ, NOWHERE, LOOK | {"page": "a"}), Spooled)
    assert list(spool_folder().iterdir()) == []
    with monkeypatch.context() as away:
        away.setenv("DOMAINLM_SIGNER_KEYS", "/nowhere")
        waiting = [submit_or_spool(entries.READ, NOWHERE, LOOK | {"page": page}) for page in "bc"]
        assert all(isinstance(one, Spooled) and "missing" in one.why for one in waiting)
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in spool_folder().iterdir())
        assert [one.path for one in flush_spool().waiting] == [one.path for one in waiting]
    done = flush_spool()
    assert [receipt.number for receipt in done.receipts] == [2, 3] and not done.waiting
    pages = [entries.content(envelope).get("page") for _, envelope in client.evidence_entries()]
    assert pages[1:] == ["a", "b", "c"]
    assert flush_spool() == client.Flushed((), ())


def test_what_was_entered_and_not_heard_of_is_not_entered_again(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_development_key()
    enter = calls.submit

    def unheard(*arguments: object) -> None:
        enter(*arguments)  # type: ignore[arg-type]
        raise ArtifactError("the signer ended without an answer")

    with monkeypatch.context() as cut:
        cut.setattr(calls, "submit", unheard)
        assert isinstance(submit_or_spool(entries.READ, NOWHERE, LOOK | {"page": "a"}), Spooled)
    assert admitted() == 2
    assert [receipt.number for receipt in flush_spool().receipts] == [1]
    assert admitted() == 2 and not list(spool_folder().iterdir())


def test_one_spooled_file_that_cannot_be_entered_does_not_hold_up_the_others(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_development_key()
    with monkeypatch.context() as away:
        away.setenv("DOMAINLM_SIGNER_KEYS", "/nowhere")
        for kind in (entries.HOLD, entries.READ):
            submit_or_spool(kind, NOWHERE, LOOK)
    (spool_folder() / "0-garbage.json").write_text("{")
    done = flush_spool()
    assert len(done.receipts) == 1 and len(done.waiting) == 2


def test_what_somebody_put_into_the_spool_is_not_signed(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_development_key()
    with monkeypatch.context() as away:
        away.setenv("DOMAINLM_SIGNER_KEYS", "/nowhere")
        genuine = submit_or_spool(entries.READ, NOWHERE, LOOK | {"page": "a"})
    assert isinstance(genuine, Spooled)
    found = json.loads(genuine.path.read_text())
    for name, fields in (("0-copied", found), ("1-bare", {key: found[key] for key in found if key != "seal"})):
        changed = fields | {"nonce": "0" * 16, "content": LOOK | {"page": "b"}}
        (spool_folder() / f"{name}.json").write_text(json.dumps(changed))
    done = flush_spool()
    assert [receipt.number for receipt in done.receipts] == [1]
    assert ["seal" in one.why for one in done.waiting] == [True, True] and admitted() == 2


def test_bootstrap_is_repeated_completed_and_never_overwrites(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:  # before the policy was entered

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        killed.setattr("domainlm.ledger.trust.bootstrap.policy_statement", dies)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.bootstrap()
    keys = {path.name: path.read_bytes() for path in keys_folder().glob("*.pem")}
    assert bootstrap.bootstrap() == bootstrap.MADE
    assert bootstrap.bootstrap() == bootstrap.STANDS
    assert {path.name: path.read_bytes() for path in keys_folder().glob("*.pem")} == keys
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys_folder().iterdir())
    policy, _ = bootstrap.policy_in_force(client.open_ledger(), client.new_gate())
    assert not policy.rules.production and Gate("domainlm", client.root_keyids()).policy is None
    root_file().unlink()
    with pytest.raises(SecretError, match="pinned root is missing"):
        bootstrap.bootstrap()


def test_a_ledger_that_vanished_is_not_begun_anew_under_the_same_keys(ledger: Path) -> None:
    shutil.rmtree(ledger / "evidence")
    with pytest.raises(EvidenceRefused) as refused:
        bootstrap.bootstrap()
    assert refused.value.code == "rolled-back"
    shutil.rmtree(ledger / "evidence")
    shutil.rmtree(keys_folder())
    assert bootstrap.bootstrap() == bootstrap.MADE


def test_two_set_ups_at_once_make_one_ledger(home: Path) -> None:
    command = [sys.executable, "-c", "from domainlm.ledger.trust.bootstrap import bootstrap; print(bootstrap())"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outcomes = sorted(process.communicate(timeout=WAIT_S)[0].strip() for process in started)
    assert outcomes.count("made") == 1 and set(outcomes) == {"made", "stands"}
    assert admitted() == 1


def _reader(raw: bytes) -> Callable[[int], bytes]:
    rest = [raw]

    def read(count: int) -> bytes:
        found, rest[0] = rest[0][:count], rest[0][count:]
        return found

    return read


def _as_user(uid: int, path: Path, request: Request) -> Answer:
    """What the signer answers to another user: a child that has become that user says it byte by byte."""
    code = (
        "import os, socket, sys\n"
        f"os.setgid({uid}); os.setuid({uid})\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(sys.argv[1])\n"
        "try: s.sendall(sys.stdin.buffer.read())\n"
        "except BrokenPipeError: pass\n"  # it is turned away before it has said anything
        "sys.stdout.buffer.write(s.recv(1 << 20))\n"
    )
    done = subprocess.run(
        ["/usr/bin/env", "-i", sys.executable, "-I", "-S", "-c", code, str(path)], input=protocol.frame(request),
        capture_output=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return protocol.read_answer(_reader(done.stdout))
