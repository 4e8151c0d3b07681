"""The plan: which files in which order, where the new rows begin, and what it refuses."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from domainlm.errors import ConfigurationError
from domainlm.keys import KeyRing
from domainlm.reading import display
from domainlm.retrain.accepting.acceptance import Rules, accept
from domainlm.retrain.accepting.profile import Pack
from domainlm.retrain.batches import LANDED, Batch, Claim, Decision, LandedFile, Result, RetrainingPlan
from domainlm.retrain.book import Book, BookRefused, open_book
from domainlm.retrain.deciding.plan import make_plan, selected
from domainlm.retrain.settings import DecideSettings, DetectSettings, FeedSettings
from domainlm.retrain.zone import Zone
from domainlm.sources import RowStream
from domainlm.tasks import Task

LANE = "domainlm-finance"
YES = Decision(id="1" * 64, decided="2026-11-21T12:00:00+00:00", retrain=True, reasons=())
TASK = Task(name="sentiment", version=1, kind="classification", claim="c", labels=("neutral",))


def feed(name: str = "news", **given: Any) -> FeedSettings:
    stated = {
        "uri": f"{name}/*.csv", "form": "labelled", "task": "sentiment", "licence": "CC0-1.0", "consent": "public",
        "purpose": "model-training", "jurisdiction": "kr", "language": "en",
    }  # fmt: skip
    return FeedSettings(name=name, **(stated | given))


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return open_book(f"sqlite:///{tmp_path}/book.sqlite")


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    (tmp_path / "zone").mkdir()
    return tmp_path / "zone"


def landed(book: Book, zone: Path, name: str, rows: int = 2, of: str = "news", **given: Any) -> Batch:
    """An accepted batch of one file with so many rows."""
    path = f"{of}/{name}.csv"
    (zone / of).mkdir(exist_ok=True)
    (zone / path).write_text("text,label\n" + "".join(f"{name} {number},neutral\n" for number in range(rows)))
    sha256 = hashlib.sha256((zone / path).read_bytes()).hexdigest()
    file = LandedFile(path=path, uri=f"{zone}/{path}", sha256=sha256, size_bytes=1)
    stated = {"number": 0, "feed": of, "name": name, "files": (file,), "landed": "2026-11-01T00:00:00+00:00"} | given
    batch = book.land(Batch(id=hashlib.sha256(f"{of}{name}".encode()).hexdigest(), **stated))
    files = [one.model_copy(update={"rows": rows}) for one in batch.files]
    return book.accept(batch.id, rows, given.get("first_day", ""), given.get("last_day", ""), files)


def claimed(book: Book, *batches: Batch) -> Claim:
    claim = book.claim(LANE, "tina", 60, batches=[batch.id for batch in batches], allow_empty=True)
    assert claim
    return claim


def trained(book: Book, run: str, *batches: Batch) -> None:
    book.accept_result(claimed(book, *batches), Result(run_id=run, identity=hashlib.sha256(run.encode()).hexdigest()))


def plan(book: Book, zone: Path, claim: Claim, *feeds: FeedSettings, **settings: Any) -> RetrainingPlan:
    return make_plan(book, claim, YES, DecideSettings(**settings), feeds or (feed(),), str(zone))


def names(found: RetrainingPlan, place: int = 0) -> list[str]:
    return [Path(part).stem for part in found.sources[place].parts]


def test_a_first_plan_has_only_new_rows(book: Book, zone: Path) -> None:
    batches = [landed(book, zone, name) for name in ("b", "a")]
    claim = claimed(book, *batches)
    found = plan(book, zone, claim, start="champion", replay_ratio=2.0)
    assert names(found) == ["b", "a"] and found.new_after == {"news": 0} and found.claim == claim
    assert (found.start, found.replay_ratio, found.trusted, found.decision) == ("champion", 2.0, True, YES)
    # the reader finds them as they are named, each under the name that the digests have
    stream = RowStream(found.sources[0])
    assert [row.question for row in stream] == ["b 0", "b 1", "a 0", "a 1"]
    assert {file.uri: file.sha256 for file in stream.files} == found.digests
    assert found.sources[0].uri == display(str(zone)) and found.sources[0].resolved_format == "csv"


@pytest.mark.parametrize("where", ["memory://landing", "file://{}", "{}/../zone"])
def test_files_have_the_names_that_ingest_gives_them(book: Book, zone: Path, where: str) -> None:
    root = where.format(zone)
    content = b"text,label\nup,neutral\n"
    with fsspec.open(f"{root}/news/a[1].csv", "wb") as stream:
        stream.write(content)
    sha256 = hashlib.sha256(content).hexdigest()
    file = LandedFile(path="news/a[1].csv", uri=f"{root}/news/a[1].csv", sha256=sha256, size_bytes=1)
    book.land(Batch(id="a" * 64, number=0, feed="news", name="a", files=(file,), landed="2026-11-01T00:00:00+00:00"))
    rules = Rules(Pack({"sentiment": TASK}, {}), KeyRing("one", b"1" * 32))
    found = plan(book, zone, claimed(book, accept(book, book.batch("a" * 64), feed(), rules)))
    stream = RowStream(found.sources[0])
    assert [row.question for row in stream] == ["up"]
    assert {file.uri: file.sha256 for file in stream.files} == found.digests


def test_new_rows_begin_after_those_of_trained_batches_whatever_landed_first(book: Book, zone: Path) -> None:
    late, first, second = (landed(book, zone, name, rows) for name, rows in (("late", 1), ("first", 3), ("second", 5)))
    trained(book, "r1", first)
    book.promoted(hashlib.sha256(b"r1").hexdigest())
    trained(book, "r2", second)
    new = landed(book, zone, "new", 7)
    found = plan(book, zone, claimed(book, late, new))
    assert names(found) == ["first", "second", "late", "new"] and found.new_after == {"news": 8}
    assert found.rounds == {"news": ((3, 1), (8, 2))} == found.landed().rounds
    rows = [row for row in RowStream(found.sources[0]) if row.row > found.new_after["news"]]
    assert {row.question.split()[0] for row in rows} == {"late", "new"} and len(rows) == 8


def test_a_plan_without_batches_has_the_old_ones(book: Book, zone: Path) -> None:
    trained(book, "r1", landed(book, zone, "a", 4))
    landed(book, zone, "waits")
    claim = claimed(book)
    found = plan(book, zone, claim)
    assert names(found) == ["a"] and found.new_after == {"news": 4}
    assert plan(book, zone, claim, feed("none")).sources == ()


def test_what_is_no_longer_in_the_zone_is_left_out(book: Book, zone: Path) -> None:
    gone, kept = landed(book, zone, "gone", 3), landed(book, zone, "kept", 4)
    trained(book, "r1", gone, kept)
    book.mark_removed(gone.id, ["news/gone.csv"])
    found = plan(book, zone, claimed(book, landed(book, zone, "new")))
    assert names(found) == ["kept", "new"] and found.new_after == {"news": 4} and len(found.digests) == 2


def test_a_replaced_file_counts_as_the_later_batch_and_equal_content_once(book: Book, zone: Path) -> None:
    trained(book, "r1", landed(book, zone, "a", 3), landed(book, zone, "b", 4))
    later = Batch(
        id="e" * 64, number=0, feed="news", name="later", landed="2026-11-02T00:00:00+00:00",
        files=(
            LandedFile(path="news/a.csv", uri=f"{zone}/news/a.csv", sha256="5" * 64, size_bytes=1, rows=6),
            LandedFile(
                path="news/copy.csv", uri=f"{zone}/news/copy.csv", size_bytes=1, rows=4,
                sha256=hashlib.sha256((zone / "news/b.csv").read_bytes()).hexdigest(),
            ),
        ),
    )  # fmt: skip
    book.land(later)
    later = book.accept(later.id, 10, files=later.files)
    found = plan(book, zone, claimed(book, later))
    assert names(found) == ["b", "a"] and found.new_after == {"news": 4}
    assert found.digests[display(f"{zone}/news/a.csv")] == "5" * 64


def test_content_that_came_back_under_its_path_counts_again(book: Book, zone: Path) -> None:
    """X was replaced by Y and put back: by the real zone, which knows X's batch."""
    look = Zone(DetectSettings(zone=str(zone), feeds=(feed(uri="**/*.csv"),), settle_s=0), book)
    put(zone, "a", "x x", 1), put(zone, "kept", "k k", 2)
    trained(book, "r1", *accepted(book, look))
    put(zone, "a", "y y", 3)
    trained(book, "r2", *accepted(book, look))
    put(zone, "a", "x x", 4), put(zone, "new", "n n", 5)
    found = plan(book, zone, claimed(book, *accepted(book, look)), feed(uri="**/*.csv"))
    assert [row.question for row in RowStream(found.sources[0])] == ["x x", "k k", "n n"]
    assert found.new_after == {"news": 2}


def test_content_that_moved_onto_a_removed_files_path_counts(book: Book, zone: Path) -> None:
    look = Zone(DetectSettings(zone=str(zone), feeds=(feed(uri="**/*.csv"),), settle_s=0), book)
    put(zone, "q", "x x", 1)
    trained(book, "r1", *accepted(book, look))
    put(zone, "p", "y y", 2), put(zone, "kept", "k k", 3)
    trained(book, "r2", *accepted(book, look))
    (zone / "news/p.csv").unlink()
    look.scan()
    (zone / "news/q.csv").rename(zone / "news/p.csv")
    put(zone, "new", "n n", 4)
    found = plan(book, zone, claimed(book, *accepted(book, look)), feed(uri="**/*.csv"))
    assert names(found) == ["p", "kept", "new"] and found.new_after == {"news": 2}


def put(zone: Path, name: str, text: str, minute: int) -> None:
    """A file of one row, changed last in that minute."""
    (zone / "news").mkdir(exist_ok=True)
    place = zone / "news" / f"{name}.csv"
    place.write_text(f"text,label\n{text},neutral\n")
    os.utime(place, (1.7e9 + 60 * minute,) * 2)


def accepted(book: Book, look: Zone) -> list[Batch]:
    """What landed, with its one row a file."""
    for _ in range(3):  # what is new must have kept its size
        look.scan()
    return [
        book.accept(batch.id, 1, files=[file.model_copy(update={"rows": 1}) for file in batch.files])
        for batch in book.batches(state=LANDED)
    ]


def test_each_feed_has_its_own_source_and_a_feed_that_is_not_configured_is_left_out(book: Book, zone: Path) -> None:
    trained(book, "r1", landed(book, zone, "old", of="dropped"), landed(book, zone, "n1"))
    claim = claimed(book, landed(book, zone, "n2", 5), landed(book, zone, "w1", 3, of="wire"))
    found = plan(book, zone, claim, feed("wire"), feed("news"))
    assert [source.name for source in found.sources] == ["wire", "news"]
    assert found.new_after == {"wire": 0, "news": 2} and names(found, 1) == ["n1", "n2"]
    with pytest.raises(ConfigurationError, match="no feed is called 'wire' any more"):
        plan(book, zone, claim, feed("news"))


@pytest.mark.parametrize(("feed_says", "batch_says"), [(True, False), (False, True), (False, False), (True, True)])
def test_nothing_that_was_untrusted_becomes_trusted(book: Book, zone: Path, feed_says: bool, batch_says: bool) -> None:
    trained(book, "r1", landed(book, zone, "old", trusted=batch_says))
    claim = claimed(book, landed(book, zone, "new"), landed(book, zone, "w", of="wire"))
    found = plan(book, zone, claim, feed(trusted=feed_says), feed("wire"))
    assert found.trusted is (feed_says and batch_says) is found.sources[0].trusted
    assert found.sources[1].trusted


def test_files_in_two_places_are_an_error_that_names_them(book: Book, zone: Path, tmp_path: Path) -> None:
    trained(book, "r1", landed(book, zone, "a"))
    (tmp_path / "moved").mkdir()
    claim = claimed(book, landed(book, tmp_path / "moved", "b"))
    with pytest.raises(ConfigurationError, match=r"lie in several places: .*moved, .*zone"):
        plan(book, zone, claim)


def test_a_run_is_repeated_on_what_it_had(book: Book, zone: Path) -> None:
    a, b, c, d = (landed(book, zone, name) for name in "abcd")
    trained(book, "r1", a)
    trained(book, "r2", b, c)
    trained(book, "r3", d)
    claim = book.claim(LANE, "tina", 60, batches=(), allow_empty=True)
    assert claim and selected(book, DecideSettings(as_run="r2", batches=(c.id[:8],)), (feed(),)) == []
    found = plan(book, zone, claim, as_run="r2")
    assert names(found) == ["a", "b", "c"] and found.new_after == {"news": 2} and found.as_run == "r2"
    found = plan(book, zone, claim, as_run="r2", batches=(c.id[:12],))
    assert names(found) == ["a", "c"] and found.new_after == {"news": 2}
    with pytest.raises(ConfigurationError, match="run r2 had no batch"):
        plan(book, zone, claim, as_run="r2", batches=(d.id[:12],))
    with pytest.raises(ConfigurationError, match=r"did you mean 'r\d'"):
        plan(book, zone, claim, as_run="r9")


def test_a_batch_of_a_feed_that_was_taken_out_waits_on_and_holds_up_no_other(book: Book, zone: Path) -> None:
    landed(book, zone, "n"), (old := landed(book, zone, "w", of="wire"))
    waiting = selected(book, DecideSettings(), (feed(),))
    assert [one.name for one in waiting] == ["n"]
    assert names(plan(book, zone, claimed(book, *(book.batch(one.id) for one in waiting)))) == ["n"]
    assert [one.name for one in selected(book, DecideSettings(), (feed(), feed("wire")))] == ["n", "w"]
    with pytest.raises(ConfigurationError, match="no feed is called 'wire' any more"):
        selected(book, DecideSettings(batches=(old.id[:8],)), (feed(),))


def test_days_and_names_select_what_waits(book: Book, zone: Path) -> None:
    january = landed(book, zone, "jan", first_day="2024-01-02", last_day="2024-01-31")
    february = landed(book, zone, "feb", first_day="2024-02-01", last_day="2024-02-28")
    undated = landed(book, zone, "undated")
    trained(book, "r1", old := landed(book, zone, "old"))

    def chosen(**given: Any) -> list[str]:
        return [batch.name for batch in selected(book, DecideSettings(**given), (feed(),))]

    assert chosen() == ["jan", "feb", "undated"]
    assert chosen(since="2024-01-31", until="2024-01-31") == ["jan"] and chosen(until="2024-12-31") == ["jan", "feb"]
    assert chosen(batches=(february.id[:8], undated.id)) == ["feb", "undated"]
    with pytest.raises(ConfigurationError, match="no data of the days"):
        chosen(batches=(january.id[:8],), since="2024-02-01")
    with pytest.raises(ConfigurationError, match="is trained: it does not wait"):
        chosen(batches=(old.id[:8],))
    with pytest.raises(BookRefused, match="is no batch of this book"):
        chosen(batches=("ffffffff",))
