"""The outbox of notices, in both databases, by processes that race and by one that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import sqlalchemy as sa

from domainlm.retrain.book import Book, open_book
from domainlm.retrain.book.store import OUTBOX


def take_all(url: str, pipe) -> None:
    """As a process that delivers: take, and note that it was sent."""
    book, taken = open_book(url), []
    while (waiting := book.take_notice()) is not None:
        taken.append(waiting.key)
        book.notice_sent(waiting.key, ("webhook",), done=True)
    book.close()
    pipe.send(taken)


def take_and_hang(url: str, pipe) -> None:
    """As a process that dies between taking and sending."""
    pipe.send(open_book(url).take_notice().key)
    time.sleep(600)


def post_all(url: str, pipe) -> None:
    """As several watchers that see the same trouble."""
    book = open_book(url)
    pipe.send(sum(book.post_notice(f"k{number}", {"kind": "failed"}) for number in range(20)))
    book.close()


def at_once(work, url: str, count: int = 4) -> list:
    """What each of some processes found."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(count):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(url, there), daemon=True)
        process.start()
        pipes.append(here)
        processes.append(process)
    found = []
    for pipe in pipes:
        assert pipe.poll(120), "a process did not answer"
        found.append(pipe.recv())
    for process in processes:
        process.join(60)
    return found


def make_due(book: Book) -> None:
    book._beside(lambda connection: connection.execute(sa.update(OUTBOX).values(next_try=time.time() - 1)))


def test_several_processes_post_a_notice_once_and_take_it_once(url: str) -> None:
    book = open_book(url)
    assert sum(at_once(post_all, url)) == 20, "each key by one of them"
    taken = [key for keys in at_once(take_all, url) for key in keys]
    assert sorted(taken) == sorted(f"k{number}" for number in range(20)), "each by one, none twice, none lost"
    assert book.take_notice() is None and book.next_notice_s() is None
    book.close()


def test_a_process_that_is_killed_after_taking_one_leaves_it_to_the_next(url: str) -> None:
    book = open_book(url)
    assert book.post_notice("k", {"kind": "failed"})
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=take_and_hang, args=(url, there), daemon=True)
    process.start()
    assert here.poll(120) and here.recv() == "k"
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert book.take_notice() is None, "its pause holds"
    make_due(book)
    again = book.take_notice()
    assert again is not None and again.key == "k" and again.tries == 2
    book.close()


def test_what_some_channels_took_is_kept_for_the_others(book: Book) -> None:
    book.post_notice("k", {"kind": "failed"})
    first = book.take_notice()
    assert first is not None and first.sent == ()
    book.notice_sent("k", ("webhook",), done=False)
    make_due(book)
    second = book.take_notice()
    assert second is not None and second.sent == ("webhook",) and second.notice == {"kind": "failed"}
    assert second.since == first.since
    book.notice_sent("k", ("webhook", "slack"), done=True)
    assert book.next_notice_s() is None and not book.post_notice("k", {"kind": "failed"})


def test_the_longest_due_one_comes_first(book: Book) -> None:
    for number in range(5):
        book.post_notice(f"k{number}", {"kind": "failed"})
    assert [book.take_notice().key for _ in range(5)] == [f"k{number}" for number in range(5)]
