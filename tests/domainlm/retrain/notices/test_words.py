"""What a notice says: nothing personal, nothing that rewrites a terminal, and never too much."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm.errors import SourceError
from domainlm.retrain.batches import Batch, LandedFile
from domainlm.retrain.notices import KINDS, Notice, feed_failing, quarantined, unreadable
from domainlm.retrain.notices.notice import TITLES
from domainlm.retrain.notices.words import MAX_CHARACTERS, inert, named, plain


@pytest.mark.parametrize(
    ("text", "personal"),
    [
        ("landing/news/Hong Gildong.csv, row 3 (line 4): has no label", "Gildong"),
        ("landing/김민수 상담.jsonl: has other columns than the first file of its source", "김민수"),
        ("cannot read /srv/landing/kim-minsu.csv.gz", "minsu"),
        ("'complaint_olga.txt' was replaced while it was read", "olga"),
        ("s3://bank/landing/olga.parquet: Access Denied", "olga"),
        ("postgresql+psycopg://tina:secret@db/books is away", "secret"),
        ("https://hooks.slack.com/services/T0/B0/abcdef answered 404", "abcdef"),
        ("mail to olga.kim@bank.example was refused", "olga"),
        ("the cell holds 880101-1234567", "1234567"),
        ("the cell holds 010-1234-5678", "5678"),
        ("account 110 234 567890 is unknown", "567890"),
        ("file 880101-1234567", "1234567"),
        ("file 88010112 34567", "34567"),
        ("profile 88010112", "88010112"),
    ],
)
def test_what_may_be_a_person_is_not_said(text, personal):
    assert personal in text and personal not in plain(text)


@pytest.mark.parametrize(
    "text",
    [
        "domainlm audit approve domainlm-finance/3 --key KEY.pem",
        "steps.decide.parameters.new_rows: must be at least 1",
        "batch 4f2a11903e7c of headlines: row 3 (line 4) has no label; landed 2026-11-21",
        "200 rows of 10,000 are new, Jensen-Shannon distance 0.1234567 of labels",
        "configs/retrain.yaml:12: unknown key",
        "run 9e107d9d-372b-4b9f-a1c5-8c0e2ad3f2aa failed at train",
        "folder 58296753: 3 rows in file 12345678, too",  # digests without a letter
    ],
)
def test_what_people_need_is_said_as_it_is(text):
    assert plain(text) == text


def test_a_file_is_named_so_that_whoever_sees_the_zone_finds_it():
    assert named("landing/a/olga.csv") == named("olga.csv") != named("anna.csv")
    assert named("olga.csv") in plain("landing/a/olga.csv: is empty")


@given(st.text(max_size=3000))
def test_words_are_one_printable_line_of_bounded_length(text):
    found = plain(text)
    assert len(found) <= MAX_CHARACTERS and (found.isprintable() or not found)


def test_run_and_step_are_names_and_nothing_else():
    found = Notice(kind="failed", run="a\r\nb: c" * 40, step="tra in\n")
    assert found.run.isalnum() and len(found.run) <= 64 and found.step == "train"
    assert all("\n" not in line for line in found.lines())


def test_an_error_is_told_without_its_place():
    error = SourceError("has no label in column 'label'", "landing/Kim Min-su, private.csv, row 3", "fill the cell")
    found = Notice.of("landed-quarantined", error)
    assert found.lines() == [
        "domainlm: a batch that landed waits for a person", "cause: has no label in column 'label'",
        "next action: fill the cell",
    ]  # fmt: skip


def test_a_notice_is_known_by_its_key_or_by_what_it_says():
    one, same = Notice(kind="failed", run="r1", cause="x"), Notice(kind="failed", run="r1", cause="x")
    assert one.about == same.about and one.id == same.id
    assert Notice(kind="failed", run="r2", cause="x").id != one.id
    keyed = Notice(kind="failed", run="r1", cause="x", key="failed/r1")
    assert keyed.about == "failed/r1" and keyed.id == Notice(kind="promoted", key="failed/r1").id


def test_every_kind_has_its_title():
    assert set(TITLES) == set(KINDS)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Kim Min-su letter, row 3 (line 4): has no label in column 'label'", "landed-quarantined"),
        ("in/Kim Min-su letter: has no column 'response' (for response)", "schema-changed"),
        ("Kim Min-su letter: its columns are not those of the files before it: new: reply", "schema-changed"),
    ],
)
def test_a_batch_that_waits_is_told_with_its_reason_and_without_its_files_names(reason, kind):
    file = LandedFile(path="in/Kim Min-su letter", uri="/zone/in/Kim Min-su letter", sha256="a" * 64, size_bytes=1)
    batch = Batch(
        id="b" * 64, number=1, feed="letters", name="in/Kim", files=(file,), landed="2026-11-21", reason=reason
    )
    found = quarantined(batch)
    assert found.kind == kind and "Min-su" not in str(found.lines())
    assert (named(file.path) in found.cause) is (kind == "landed-quarantined")
    assert found.cause.startswith(f"batch {'b' * 12} of letters: ")
    assert not {"label'", "response", "reply"} & set(found.cause.split()), "names of columns stand in the book alone"
    assert found.next_action == f"domainlm batches show {'b' * 12}" and found.about == f"quarantined/{'b' * 64}"


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("in/Kim Min-su", "in/Kim Min-su: 4 of 20 texts bear another label", "{}: 4 of 20 texts bear another label"),
        ("Kim", "Kim: none of its rows matches", "{}: none of its rows matches"),
        ("in", "in: 3 rows in Kim Min-su/a b.csv differ", "{}: 3 rows in file 46c0f4b2 differ"),
        ("Kim Min-su", "as in Kim Min-su, too", "as in {}, too"),
        ("x", "x: column 'Kim's no.' holds no label", "{}: column holds no label"),
        ("x", "x: column 'a' is not 'b'", "{}: column is not"),
    ],
)
def test_neither_a_folder_nor_what_a_reason_quotes_is_told(name, reason, told):
    file = LandedFile(path="Kim Min-su/a b.csv", uri="/zone/Kim Min-su/a b.csv", sha256="a" * 64, size_bytes=1)
    batch = Batch(id="b" * 64, number=1, feed="f", name=name, files=(file,), landed="2026-11-21", reason=reason)
    said = told.format(named(name, "folder")).replace("file 46c0f4b2", named(file.path))
    assert quarantined(batch).cause == f"batch {'b' * 12} of f: {said}"


@pytest.mark.parametrize(
    "acts",
    ["<!channel>", "<@U123>", "&lt;!here&gt;", "@everyone", "[free](bank.example)", "![x](y)", "*all*", "_so_", "~no~",
     "`rm`", "|a|b|", "www.bank.example", "\\*x"],
)  # fmt: skip
def test_nothing_acts_in_a_chat(acts):
    said = inert(f"batch {acts} of news")
    assert acts not in said and not set("<>*~`|[]@\\") & set(said)
    assert not re.search(r"(?<!\w)_|_(?!\w)|&(?!amp;|lt;|gt;)|www\.", said)


def test_what_people_copy_out_of_a_chat_stays_as_it_is():
    text = "next action: domainlm audit approve domainlm-finance/3 --key KEY_FILE.pem (2 of 3, 5 %)"
    assert inert(text) == text


def test_a_path_counts_from_the_project_and_bears_no_users_name(monkeypatch, tmp_path):
    root, place = tmp_path / "bank", tmp_path / "elsewhere"
    monkeypatch.setenv("DOMAINLM_PROJECT", str(root))
    monkeypatch.setenv("DOMAINLM_HOME", str(place))
    monkeypatch.setenv("HOME", "/data/olga")
    assert plain(f"read {root}/logs/accept.log") == "read logs/accept.log"
    assert plain(f"read {place}/logs/accept.log") == "read .domainlm/logs/accept.log"
    assert plain(f"see to {root}: it is full") == "see to the project: it is full"
    assert plain("read /data/olga/x.log and /data/olga-two/x.log") == "read ~/x.log and /data/olga-two/x.log"
    assert plain("read /home/anna/x.log") == "read ~/x.log" == plain("read /Users/Hong/x.log")


def test_what_a_feed_says_is_told_without_what_it_quotes():
    found = feed_failing("prices", "column 'resident number' holds bytes: cast it to text in the query")
    assert found.cause == "feed prices: column holds bytes: cast it to text in the query"
    assert found.dated().key.startswith("feed/prices/20")


def test_files_that_cannot_be_used_are_told_by_digest_and_counted():
    files = [(f"news/Hong Gildong {number}", "cannot be opened (permission denied)") for number in range(5)]
    found = unreadable(files)
    assert "Gildong" not in found.cause and found.cause.endswith("and 2 more") and named(files[0][0]) in found.cause
    assert unreadable(list(reversed(files))).key == found.key != unreadable(files[:4]).key


def test_a_batch_that_is_quarantined_again_is_told_again():
    file = LandedFile(path="a.csv", uri="/zone/a.csv", sha256="a" * 64, size_bytes=1)
    batch = Batch(id="b" * 64, number=1, feed="news", name="a.csv", files=(file,), landed="2026-11-21", reason="why")
    keys = [quarantined(batch, times).key for times in (1, 2, 3)]
    assert len(set(keys)) == 3 and keys[0] == f"quarantined/{batch.id}"
