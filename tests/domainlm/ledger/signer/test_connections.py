"""Who connects to the signer and says nothing, or not all, keeps nobody else from being heard."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger.signer import protocol
from domainlm.ledger.signer import server as signer
from domainlm.ledger.signer.protocol import Answer, Request

OTHER, THIRD, STRANGER = 4711, 4712, 4713
WAIT_S = 30
PING = protocol.frame(Request(do="ping"))
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Desk:
    """Answers with how many it was asked at once; while it is held, nobody gets an answer."""

    def __init__(self) -> None:
        self.service = self.ledger = self
        self.go = threading.Event()
        self.go.set()
        self.asked: list[int] = []

    def answer(self, asked: Sequence[tuple[Request, int]]) -> list[Answer]:
        self.asked += [uid for _, uid in asked]
        assert self.go.wait(WAIT_S)
        return [Answer(size=len(asked)) for _ in asked]

    def close(self) -> None:
        """As the ledger's."""


class Site:
    """A server in this process, whose clients are who they say."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.desk = path, Desk()
        self._uids: list[int] = []
        self._kept: list[asyncio.StreamWriter] = []
        self.server = signer.Server(self.desk, path, frozenset({OTHER, THIRD}))  # type: ignore[arg-type]
        monkeypatch.setattr(signer, "peer_uid", lambda _: self._uids.pop(0))

    async def connect(self, uid: int, said: bytes = b"") -> Connection:
        self._uids.append(uid)
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        self._kept.append(writer)  # one that is forgotten is closed
        writer.write(said)
        while self._uids:  # until it is accepted
            await asyncio.sleep(0.001)
        return reader, writer

    async def ask(self, uid: int) -> Answer:
        return await heard(await self.connect(uid, PING))

    async def asked(self, *uids: int) -> None:
        """Until the desk has been asked by these, in this order."""
        while self.desk.asked != list(uids):
            await asyncio.sleep(0.001)

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        async def told() -> None:
            ready = asyncio.Event()
            serving = asyncio.create_task(self.server.serve(ready.set))
            try:
                async with asyncio.timeout(WAIT_S):
                    await ready.wait()
                    await story()
            finally:
                self.desk.go.set()
                os.kill(os.getpid(), signal.SIGTERM)
                await serving

        asyncio.run(told())


async def heard(connection: Connection) -> Answer:
    """The answer on a connection."""
    head = await connection[0].readexactly(protocol.LENGTH.size)
    raw = await connection[0].readexactly(protocol.LENGTH.unpack(head)[0])
    return protocol.read_answer(io.BytesIO(head + raw).read).checked()


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield Site(tmp_path_factory.mktemp("s") / "in" / "s", monkeypatch)


@pytest.mark.parametrize("said", [b"", PING[:2], PING[:-1]], ids=["silent", "half a length", "half a request"])
def test_a_hundred_connections_that_do_not_finish_keep_nobody_out(site: Site, said: bytes) -> None:
    async def story() -> None:
        for _ in range(100):
            await site.connect(os.getuid(), said)
        for uid in (os.getuid(), OTHER):
            assert (await site.ask(uid)).size == 1

    site.run(story)


def test_another_user_has_eight_connections_and_others_theirs(site: Site) -> None:
    async def story() -> None:
        first = await site.connect(OTHER)
        for _ in range(signer.OTHER_CONNECTIONS - 1):
            await site.connect(OTHER)
        with pytest.raises(ArtifactError, match="8 connections"):
            await heard(await site.connect(OTHER))
        while site.server._connections[OTHER] > signer.OTHER_CONNECTIONS:  # until that one is closed
            await asyncio.sleep(0.001)
        for uid in (THIRD, os.getuid()):
            assert (await site.ask(uid)).size == 1
        first[1].close()
        while site.server._connections[OTHER] == signer.OTHER_CONNECTIONS:
            await asyncio.sleep(0.001)
        assert (await site.ask(OTHER)).size == 1

    site.run(story)


def test_a_user_who_is_not_allowed_takes_no_place(site: Site) -> None:
    async def story() -> None:
        for _ in range(20):
            with pytest.raises(EvidenceRefused, match="not allowed"):
                await heard(await site.connect(STRANGER))
        assert (await site.ask(OTHER)).size == 1
        while site.server._connections[STRANGER]:  # until all are closed
            await asyncio.sleep(0.001)
        assert len(site.server._open) == 1

    site.run(story)


def test_what_is_begun_and_not_ended_is_cut_off_and_what_is_silent_may_wait(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer, "FRAME_S", 0.05)

    async def story() -> None:
        silent = await site.connect(os.getuid())
        for said in (PING[:2], PING[:-1]):
            reader, _ = await site.connect(os.getuid(), said)
            assert await reader.read() == b""
        silent[1].write(PING)
        assert (await heard(silent)).size == 1

    site.run(story)


def test_other_users_never_take_the_slots_of_the_signers_own(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "BATCH_REQUESTS", 1)
    site.server._slots[False] = asyncio.Semaphore(2)
    site.desk.go.clear()

    async def story() -> None:
        waiting = [await site.connect(uid, PING) for uid in (OTHER, OTHER, OTHER, THIRD, THIRD)]
        await site.asked(OTHER)
        while site.server._queue.qsize() < 1:
            await asyncio.sleep(0.001)
        own = await site.connect(os.getuid(), PING)
        while site.server._queue.qsize() < 2:
            await asyncio.sleep(0.001)
        site.desk.go.set()
        assert (await heard(own)).size == 1
        for connection in waiting:
            await heard(connection)
        assert site.desk.asked == [OTHER, OTHER, os.getuid(), OTHER, THIRD, THIRD]

    site.run(story)
