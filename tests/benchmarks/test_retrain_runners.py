"""benchmarks/retraining/runners.py counts what goes wrong: a batch without a result, one that was accepted twice."""

from __future__ import annotations

from pathlib import Path

from benchmarks.retraining import runners
from domainlm.retrain.batches import Result
from domainlm.retrain.book import open_book


def test_what_is_lost_or_accepted_twice_is_counted(tmp_path: Path) -> None:
    url, diary = f"sqlite:///{tmp_path / 'book.sqlite'}", tmp_path / "diary"
    book = open_book(url)
    ids = runners.fill(book, 4)
    for batch in ids[:3]:
        slow = book.claim(runners.LANE, "slow", 60, batches=[batch], exclusive=False)
        book.give_up(slow, "too slow")
        claim = book.claim(runners.LANE, "quick", 60, batches=[batch], exclusive=False)
        book.accept_result(claim, Result(run_id="r", identity=batch))
    diary.write_text(
        f"start {ids[0]} 1\naccepted {ids[0]} 2\naccepted {ids[1]} 4\naccepted {ids[1]} 3\nrefused {ids[2]} 5\n"
    )
    found = runners._counted(url, ids, diary)
    assert found == {"batches": 4, "trained_once": 2, "lost": 1, "duplicate_starts": 3, "refused": 1}


def test_the_quick_figures_have_the_names_that_programs_read(tmp_path: Path) -> None:
    found = runners.play(f"sqlite:///{tmp_path / 'book.sqlite'}", tmp_path, batches=20, limit_s=120)
    assert {"batches", "trained_once", "lost", "duplicate_starts", "kills", "seconds"} <= set(found)
    assert (found["batches"], found["trained_once"], found["lost"]) == (20, 20, 0)
