"""The signer: a process of its own that holds the service keys, so that they never enter a training.

    python -m domainlm.ledger.signer.server --once       one request from standard input, its answer to standard output
    domainlm audit signer serve --socket PATH            answers on a Unix socket until it is told to stop

What arrives while a batch is being written forms the next batch: one transaction, one fsync, one checkpoint. An answer
is sent when the entries are on the disk. The user at the other end of a connection is asked of the kernel
(`SO_PEERCRED`): the signer's own user may record everything, users named with `--allow-uid` only runs and what people
signed, all others nothing.

Connections are counted by that user, and a request takes a slot only when the whole of it is read: who connects and
says nothing, or not all, keeps nobody else out, and other users never take the slots of the signer's own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import stat
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from domainlm.errors import ArtifactError, ConfigurationError, DomainLMError, EvidenceRefused, PlaceTaken
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.settings import AuditSettings, keys_folder, root_keyids
from domainlm.ledger.signer import protocol
from domainlm.ledger.signer.memory import Memory
from domainlm.ledger.signer.protocol import Answer, Request
from domainlm.ledger.signer.service import SigningService
from domainlm.ledger.trust.gate import CLOCK_TOLERANCE_S, MACHINE_MADE, RECORDER, now
from domainlm.ledger.trust.signing import load_key

RECORDER_KEY, LOG_KEY, MEMORY = "recorder.pem", "log.pem", "signer-memory.json"
BATCH_REQUESTS = 256
OWN_CONNECTIONS = 256  # open at once, of the signer's own user
OTHER_CONNECTIONS = 8  # the same of each other user; each may hold a request of 16 MiB
OWN_SLOTS, OTHER_SLOTS = 48, 16  # whole requests that are worked on at once; all other users share theirs
BACKLOG = 128
IDLE_S = 60.0  # a connection that says nothing for so long is closed
FRAME_S = 5.0  # the same from a request's first byte to its last
SETTLE_S = 0.05
MAX_SOCKET_PATH_BYTES = 107  # Linux, unix(7)
_PEER = struct.Struct("3i")  # pid, uid, gid: unix(7)


def local_service(passphrase: Callable[[Path], str] = lambda _: "") -> SigningService:
    """The service over the project's ledger with the keys of this machine.

    Args:
        passphrase: asks for that of a sealed key file.

    Raises:
        SecretError: keys or root are missing, or cannot be opened.
    """
    settings, folder = AuditSettings.load(), keys_folder()
    recorder, log = (load_key(folder / name, passphrase(folder / name)) for name in (RECORDER_KEY, LOG_KEY))
    roots = root_keyids()
    memory = Memory(folder / MEMORY, log, settings.origin, roots)
    ledger = Ledger(settings.ledger_url, settings.origin)
    return SigningService(ledger, roots, recorder, log, RECORDER, memory)


class Desk:
    """Answers requests, several under one checkpoint.

    Args:
        service: adds the entries.
        own_uid: the user who may record every machine-made kind; others only runs. This process's by default.
    """

    def __init__(self, service: SigningService, own_uid: int | None = None) -> None:
        self.service, self.own_uid = service, os.getuid() if own_uid is None else own_uid

    def answer(self, asked: Sequence[tuple[Request, int]]) -> list[Answer]:
        """The answer to each (request, user id), in order."""
        answers: list[Answer | None] = [None] * len(asked)
        wanted: list[tuple[int, list[Envelope]]] = []
        for place, (request, uid) in enumerate(asked):
            try:
                if request.do == "ping":
                    answers[place] = Answer(size=self.service.ready())
                else:
                    wanted.append((place, self._envelopes(request, uid)))
            except Exception as error:
                answers[place] = Answer.of(error)
        if wanted:
            try:
                outcomes = self.service.enter([envelopes for _, envelopes in wanted])
            except Exception as error:
                outcomes = [error] * len(wanted)
            for (place, _), outcome in zip(wanted, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    answers[place] = Answer.of(outcome)
                else:
                    request = asked[place][0]
                    answers[place] = Answer(receipts=outcome[-len(request.acts or request.envelopes) :])
        return [answer for answer in answers if answer is not None]

    def _envelopes(self, request: Request, uid: int) -> list[Envelope]:
        if request.do == "add":
            found = [Envelope.parse(text.encode(), f"envelope {place}") for place, text in enumerate(request.envelopes)]
            found = [*self._received(found), *found]
        else:
            found = [self._recorded(act, uid) for act in request.acts]
        if not found:
            raise EvidenceRefused("names no entry", "request to the signer", "name one", "malformed")
        return found

    def _received(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """What says that acts which people signed a while ago were received now.

        It moves the log's clock to the present before they are judged: a stolen key's owner must not look as if she had
        signed before it was stolen, only because nothing else was entered meanwhile. Policies go without, since one of
        them may bring the very key that the recorder signs this with.
        """
        moment, late = now(), []
        for place, envelope in enumerate(envelopes):
            header = entries.header(envelope, f"envelope {place}")
            age = moment - entries.parse_time(header.time)
            if header.kind != entries.POLICY and age > timedelta(seconds=CLOCK_TOLERANCE_S):
                late += [] if self.service.holds(envelope) else [envelope]
        if not late:
            return []
        content = {"person": "signer", "page": "received", "subject": late[0].digest}
        subjects = {f"received/{place}": envelope.digest for place, envelope in enumerate(late)}
        statement = entries.statement(
            entries.READ, self.service.ledger.origin, self.service.recorder_name, subjects, content, moment
        )
        return [self.service.recorded(statement)]

    def _recorded(self, act: protocol.Act, uid: int) -> Envelope:
        if act.kind not in entries.KINDS:
            raise EvidenceRefused(f"has the unknown kind {act.kind!r:.40}", "request to the signer", "", "unknown-kind")
        if act.kind not in MACHINE_MADE or (uid != self.own_uid and act.kind != entries.RUN):
            who = "ask as the signer's own user" if act.kind in MACHINE_MADE else "let a person sign it"
            raise EvidenceRefused(
                f"is a {act.kind}, which the recorder does not sign for you", "request to the signer", who, "wrong-role"
            )
        try:
            statement = entries.statement(
                act.kind, self.service.ledger.origin, self.service.recorder_name, act.subjects, act.content,
                nonce=act.nonce,
            )  # fmt: skip
            return self.service.recorded(statement)
        except (ValueError, TypeError, RecursionError):
            raise EvidenceRefused("has no canonical form", "request to the signer", "", "malformed") from None


class Server:
    """A desk behind a Unix socket.

    Args:
        desk: answers.
        path: of the socket.
        allowed: user ids that may ask besides the signer's own.
    """

    def __init__(self, desk: Desk, path: Path, allowed: frozenset[int] = frozenset()) -> None:
        self.desk, self.path, self.allowed = desk, path, allowed
        self._queue: asyncio.Queue[tuple[Request, int, asyncio.Future[Answer]]] = asyncio.Queue()
        self._slots = {True: asyncio.Semaphore(OWN_SLOTS), False: asyncio.Semaphore(OTHER_SLOTS)}
        self._connections: Counter[int] = Counter()  # by user
        self._open: dict[asyncio.StreamWriter, tuple[asyncio.StreamReader, asyncio.Task[None] | None]] = {}

    async def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Answer until SIGTERM or SIGINT; what was asked before is answered first.

        Raises:
            PlaceTaken: another signer serves this socket.
            ConfigurationError: the path is too long, or others may write its folder.
        """
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        with _listening(self.path, bool(self.allowed)) as listener:
            # a frame's limit holds in `_one`; this one is how much asyncio buffers before it lets the client wait
            server = await asyncio.start_unix_server(self._connected, sock=listener, limit=1 << 20)
            worker = asyncio.create_task(self._work())
            ready()
            await stop.wait()
            server.close()
            await asyncio.sleep(SETTLE_S)  # a connection that was just accepted becomes a task some turns later
            for writer, (reader, _) in self._open.items():  # what came whole is answered; nothing more is read
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                reader.feed_eof()
            if tasks := [task for _, task in self._open.values() if task]:
                await asyncio.wait(tasks, timeout=IDLE_S)
            await self._queue.join()
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
        self.desk.service.ledger.close()

    async def _work(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_REQUESTS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            answers = await asyncio.to_thread(self.desk.answer, [(request, uid) for request, uid, _ in batch])
            for (_, _, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
            await asyncio.sleep(0)  # lets the answers go out before `join` sees an empty queue
            for _ in batch:
                self._queue.task_done()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer.get_extra_info("socket"))
        self._open[writer] = reader, asyncio.current_task()
        self._connections[uid] += 1
        try:
            if (refusal := self._refusal(uid)) is not None:
                await _send(writer, Answer.of(refusal))
                return
            while (answer := await self._one(reader, uid)) is not None:
                await _send(writer, answer)
                if answer.code in ("too-large", "malformed"):
                    return  # where the next frame begins is not known
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone; what it had asked whole is in the ledger all the same
        finally:
            del self._open[writer]
            self._connections[uid] -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _refusal(self, uid: int) -> DomainLMError | None:
        """Why a connection that a user just opened is not served."""
        if uid != os.getuid() and uid not in self.allowed:
            return EvidenceRefused("is not allowed here", f"user {uid}", "serve with --allow-uid", "wrong-role")
        most = OWN_CONNECTIONS if uid == os.getuid() else OTHER_CONNECTIONS
        if self._connections[uid] > most:
            return ArtifactError(f"has {most} connections to the signer already", f"user {uid}", "repeat it later")
        return None

    async def _one(self, reader: asyncio.StreamReader, uid: int) -> Answer | None:
        try:
            async with asyncio.timeout(IDLE_S):
                head = await reader.read(1)
            if not head:
                return None
            async with asyncio.timeout(FRAME_S):
                head += await reader.readexactly(protocol.LENGTH.size - 1)
                raw = await reader.readexactly(protocol.check_length(protocol.LENGTH.unpack(head)[0]))
            request = protocol.read_request(raw)
        except DomainLMError as error:
            return Answer.of(error)
        async with self._slots[uid == os.getuid()]:
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            await self._queue.put((request, uid, future))
            return await future


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the kernel says."""
    return int(_PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])


def once(service: Callable[[], SigningService], raw: bytes) -> Answer:
    """The answer to one frame that came from the process which started this one."""
    try:
        size = protocol.LENGTH.unpack_from(raw)[0] if len(raw) >= protocol.LENGTH.size else -1
        protocol.check_length(size)
        if len(raw) != protocol.LENGTH.size + size:
            raise EvidenceRefused("is cut off", "request to the signer", "repeat it")
        request = protocol.read_request(raw[protocol.LENGTH.size :])
        return Desk(service()).answer([(request, os.getuid())])[0]
    except Exception as error:
        return Answer.of(error)


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(protocol.frame(answer))
    async with asyncio.timeout(IDLE_S):
        await writer.drain()


@contextlib.contextmanager
def _listening(path: Path, others: bool) -> Iterator[socket.socket]:
    """A socket that listens at a path, and its end; only one process at a time has it.

    Args:
        path: of the socket.
        others: whether users besides the signer's own may come up to it; who they are the kernel says later.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigurationError("is too long for a socket", str(path), f"at most {MAX_SOCKET_PATH_BYTES} bytes")
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True)
        path.parent.chmod(0o711 if others else 0o700)
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o022:
        raise ConfigurationError(
            "lies in a folder that others may write, who could put a socket of their own there", str(path),
            "name one in a folder of mode 0700",
        )  # fmt: skip
    with open(os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600), "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PlaceTaken("another signer serves this socket", str(path), "stop it, or name another") from None
        path.unlink(missing_ok=True)  # of a signer that was killed: nobody holds the lock
        with socket.socket(socket.AF_UNIX) as listener:
            mask = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            if others:
                path.chmod(0o666)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            try:
                yield listener
            finally:
                path.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """`--once`: what `domainlm.ledger.client` starts where no socket is configured."""
    parser = argparse.ArgumentParser(prog="python -m domainlm.ledger.signer.server")
    parser.add_argument("--once", action="store_true", required=True)
    parser.parse_args(arguments)
    raw = sys.stdin.buffer.read(protocol.LENGTH.size + protocol.MAX_FRAME_BYTES + 1)
    sys.stdout.buffer.write(protocol.frame(once(local_service, raw)))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
