"""The access log: every look is an entry, none is lost, and without it nothing is shown."""

from __future__ import annotations

import stat
import time

import pytest
from page_desks import page_of
from rich_runs import rich_run
from small_ledgers import small_ledger

from domainlm.audit.page.reads import ReadLog
from domainlm.errors import ArtifactError
from domainlm.ledger import entries
from domainlm.ledger.acts import Read

IDENTITY = rich_run(1).model.identity


@pytest.fixture
def small(tmp_path):
    made = small_ledger(tmp_path / "ledger")
    for number in (1, 2):
        made.enter_run(rich_run(number))
    return made


def read_log(folder, record, entered=frozenset()):
    return ReadLog(folder / "page", record, lambda: entered)


def looks(small):
    return [stated.act for stated in small.evidence().of_kind(entries.READ)]


def test_each_look_becomes_an_entry(small):
    with page_of(small) as page:
        page.sign_in("anna")
        run = small.evidence().run(rich_run(1).run_id).digest
        for path in (f"/models/{IDENTITY}", f"/runs/{rich_run(1).run_id}", "/entries/0", "/entries/0/envelope.json",
                     f"/compare?before={IDENTITY}&after={rich_run(2).model.identity}", "/access"):  # fmt: skip
            assert page.client.get(path).status_code == 200
    found = looks(small)
    assert [(look.page, look.subject) for look in found] == [
        ("model", IDENTITY), ("run", run), ("entry", small.evidence().stated[0].digest),
        ("entry", small.evidence().stated[0].digest), ("compare", IDENTITY), ("compare", rich_run(2).model.identity),
        ("access", ""),
    ]  # fmt: skip
    assert {look.person for look in found} == {"anna"}


def test_what_was_refused_is_no_look(small):
    with page_of(small) as page:
        page.sign_in("tina")
        page.client.get("/entries/1")
        page.client.get("/models/none")
    assert looks(small) == []


def test_while_looks_cannot_be_entered_no_evidence_is_shown(small):
    broken = [True]
    entered = []

    def record(found):
        if broken[0]:
            raise ArtifactError("the signer is away")
        entered.extend(found)

    with page_of(small, record=record) as page:
        page.sign_in("anna")
        page.client.get(f"/models/{IDENTITY}")
        page.app.state.office.reads.drain()
        for path in (f"/models/{IDENTITY}", "/entries/0", "/access", f"/runs/{rich_run(1).run_id}"):
            answer = page.client.get(path)
            assert answer.status_code == 503 and "access log cannot be written" in answer.text
            assert "finetuning_pipeline" not in answer.text
        assert page.client.get("/verification").status_code == 200
        broken[0] = False
        page.app.state.office.reads.drain()
        assert page.client.get(f"/models/{IDENTITY}").status_code == 200
    assert [look.subject for _, look in entered] == [IDENTITY, IDENTITY]  # none lost, none of a page that was refused


def test_looks_survive_a_crash(tmp_path):
    first = read_log(tmp_path, lambda found: None)
    first.note(Read(person="anna", page="model", subject="a"), Read(person="anna", page="model", subject="b"))
    entered = []
    second = read_log(tmp_path, entered.extend)  # the first never ended
    second.drain()
    assert [look.subject for _, look in entered] == ["a", "b"]
    second.drain()
    assert len(entered) == 2


def test_what_a_crash_left_is_entered_at_the_next_start(small):
    left = read_log(small.folder, lambda found: None)
    left.note(Read(person="anna", page="model", subject=IDENTITY))
    with page_of(small):
        for _ in range(200):
            if looks(small):
                break
            time.sleep(0.05)
    assert [look.subject for look in looks(small)] == [IDENTITY]


def test_a_batch_that_a_crash_left_and_what_came_after_are_both_entered(tmp_path):
    def crash(_):
        raise ArtifactError("away")

    first = read_log(tmp_path, crash)
    first.note(Read(person="anna", page="model", subject="a"))
    first.drain()  # taken, and not entered
    second = read_log(tmp_path, crash)
    second.note(Read(person="anna", page="model", subject="b"))
    entered = []
    read_log(tmp_path, entered.extend).drain()
    assert [look.subject for _, look in entered] == ["a", "b"]


def test_a_crash_after_the_entry_enters_no_look_twice(tmp_path):
    """The first half of a batch was entered before the machine stopped; the whole batch lies there still."""
    ledger = []

    def half(found):
        ledger.extend(found[:1])
        raise ArtifactError("the machine stopped")

    first = read_log(tmp_path, half)
    first.note(Read(person="anna", page="model", subject="a"), Read(person="anna", page="model", subject="b"))
    first.drain()
    read_log(tmp_path, ledger.extend, frozenset(nonce for nonce, _ in ledger)).drain()
    assert [look.subject for _, look in ledger] == ["a", "b"]


def test_the_page_knows_the_looks_of_its_ledger(small):
    with page_of(small) as page:
        page.sign_in("anna")
        page.client.get(f"/models/{IDENTITY}")
        page.app.state.office.reads.drain()
        found = page.app.state.office.book.entered_looks()
    assert found == {stated.header.nonce for stated in small.evidence().of_kind(entries.READ)} and len(found) == 1


def test_a_torn_line_costs_no_other_look(tmp_path):
    log = read_log(tmp_path, lambda found: None)
    log.note(Read(person="anna", page="model", subject="a"))
    with open(tmp_path / "page" / "reads.jsonl", "ab") as stream:
        stream.write(b'\n{"person":"an')
    log.note(Read(person="anna", page="model", subject="b"))
    entered = []
    read_log(tmp_path, entered.extend).drain()
    assert [look.subject for _, look in entered] == ["a", "b"]


def test_a_batch_that_fails_in_its_middle_is_handed_on_again(tmp_path):
    entered, fail = [], [True]

    def record(found):
        if fail[0]:
            raise ArtifactError("away")
        entered.extend(found)

    log = read_log(tmp_path, record)
    log.note(Read(person="anna", page="model", subject="a"))
    log.drain()
    with pytest.raises(ArtifactError):
        log.note(Read(person="anna", page="model", subject="b"))
    fail[0] = False
    log.drain()
    log.note(Read(person="anna", page="model", subject="c"))
    log.drain()
    assert [look.subject for _, look in entered] == ["a", "c"]


def test_a_full_disk_shows_nothing(small, monkeypatch):
    with page_of(small) as page:
        page.sign_in("anna")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("domainlm.audit.page.reads.os.fsync", full)
        assert page.client.get(f"/models/{IDENTITY}").status_code == 503


def test_the_file_of_looks_is_for_its_owner_alone(tmp_path):
    log = read_log(tmp_path, lambda found: None)
    log.note(Read(person="anna", page="model"))
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "page" / "reads.jsonl").stat().st_mode) == 0o600


def test_the_access_log_shows_who_looked_at_what(small):
    with page_of(small) as page:
        page.sign_in("olga")
        page.client.get(f"/models/{IDENTITY}")
        page.app.state.office.reads.drain()
        text = page.client.get("/access").text
        assert f'href="/models/{IDENTITY}"' in text and ">olga</bdi>" in text
        assert page.client.get("/access?person=nobody").text.count('href="/models/') == 0
