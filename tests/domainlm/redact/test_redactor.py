"""From raw records to redacted ones, and what must never be seen on the way."""

import copy
import json
import logging
import os
import stat
from pathlib import Path

import pytest

from domainlm.digests import digest_dataset
from domainlm.errors import RedactionIncomplete, SecretError
from domainlm.keys import KeyRing
from domainlm.records import features
from domainlm.redact import Redactor
from domainlm.redact.record import RecordRedactor
from domainlm.redact.rules import RuleBook
from domainlm.redact.settings import RedactSettings

LETTER = (
    "Dear Mr. Tom Becker, your card 4539 1488 0343 6467 was used on 2024-03-15 for $1,234.56 while KOSPI stood at "
    "2,300.45. Tom, phone us on 212-555-0147 or write to tom.becker@example.com. "
    "Becker also asked about rates of 5.25%."
)
SECRETS = ("Becker", "4539 1488 0343 6467", "212-555-0147", "tom.becker@example.com")


@pytest.fixture(scope="module")
def one():
    """The redactor of single records; every record of these tests goes through this very one."""
    return RecordRedactor(RedactSettings(max_quarantined_share=0.5), KeyRing("test-key", bytes(range(32))))


@pytest.fixture
def redactor(one, keys, tmp_path, monkeypatch):
    monkeypatch.setattr("domainlm.redact.redactor.RecordRedactor", lambda *_, **__: one)
    return Redactor(RedactSettings(max_quarantined_share=0.5), keys, tmp_path / "quarantine", tmp_path / "work")


def content(row):
    return [turn["content"] for turn in row["messages"]]


def test_personal_data_are_replaced_and_money_is_not(redactor, record):
    rows, report = redactor.redact([record(LETTER)])
    assert content(rows[0]) == [
        "Dear Mr. [PERSON_1], your card [CREDIT_CARD_1] was used on 2024-03-15 for $1,234.56 while KOSPI stood at "
        "2,300.45. [PERSON_1], phone us on [PHONE_NUMBER_1] or write to [EMAIL_ADDRESS_1]. [PERSON_1] also asked about "
        "rates of 5.25%."
    ]
    assert report.entities == {"CREDIT_CARD": 1, "EMAIL_ADDRESS": 1, "PERSON": 3, "PHONE_NUMBER": 1}
    assert rows.features == features()


def test_one_value_has_one_placeholder_in_all_texts_of_a_record_and_its_own_in_the_next(redactor, record):
    rows, _ = redactor.redact(
        [
            record(
                "Call 010-1234-5678, not 010-9999-8888.",
                "You asked for +82 10 1234 5678.",
                context="Caller 01012345678",
            ),
            record("Call 010-9999-8888."),
        ]
    )
    assert content(rows[0]) == ["Call [PHONE_NUMBER_1], not [PHONE_NUMBER_2].", "You asked for [PHONE_NUMBER_1]."]
    assert rows[0]["context"] == "Caller [PHONE_NUMBER_1]"
    assert content(rows[1]) == ["Call [PHONE_NUMBER_1]."]


def test_placeholders_that_a_text_already_holds_are_not_given_to_another_value(redactor, record):
    rows, _ = redactor.redact([record("[PHONE_NUMBER_2] rang; call back 010-1234-5678.")])
    assert content(rows[0]) == ["[PHONE_NUMBER_2] rang; call back [PHONE_NUMBER_3]."]


def test_a_value_whose_cue_stands_once_is_replaced_everywhere(redactor, record):
    rows, _ = redactor.redact([record("My account number is 98765432.", "I see 98765432 here; 198765432 stays.")])
    assert content(rows[0]) == [
        "My account number is [US_BANK_NUMBER_1].",
        "I see [US_BANK_NUMBER_1] here; 198765432 stays.",
    ]


def test_subject_ids_are_keyed_and_link_one_person_across_records(redactor, one, record, keys):
    rows, report = redactor.redact(
        [
            record("예금주: 홍길동, 전화 010-1234-5678"),
            record("연락처 +82 10-1234-5678"),
            record("Nothing here.", subjects=["f" * 32]),
        ]
    )
    phone = keys.keyed_id("subject", "PHONE_NUMBER", "+821012345678")
    assert rows[0]["subjects"] == sorted([phone, keys.keyed_id("subject", "PERSON", "홍길동")])
    assert rows[1]["subjects"] == [phone]
    assert rows[2]["subjects"] == ["f" * 32]
    assert report.subjects == 3
    other = copy.copy(one)
    other.keys = KeyRing("other", bytes(32))
    assert other.redact(record("연락처 010-1234-5678")).record["subjects"] != [phone]


def test_no_raw_value_is_in_output_quarantine_report_log_or_caches(redactor, record, tmp_path, home, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        rows, report = redactor.redact([record(LETTER), record(LETTER + "\x00"), record("clean")])
    seen = json.dumps(
        [report.model_dump(), report.summary(), list(rows), caplog.text, *capfd.readouterr()], ensure_ascii=False
    )
    for secret in SECRETS:
        assert secret not in seen
    files = [path for folder in (tmp_path, home) for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 2
    for path in files:
        data = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in data, path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"context": "lone \ud800 surrogate"}, "invalid-text"),
        ({"context": "NUL \x00"}, "invalid-text"),
        ({"context": "x" * 200_001}, "too-long"),
        ({"label": "call 212-555-0147"}, "identifier-in-label"),
        ({"language": "Tom Becker"}, "malformed-record"),
        ({"timestamp": "219-09-9999"}, "malformed-record"),
        ({"jurisdiction": "tom@example.com"}, "malformed-record"),
        ({"context": None}, "analysis-error"),
    ],
)  # fmt: skip
def test_a_risky_record_is_sealed_away_and_opens_with_the_key_alone(redactor, record, keys, changes, reason):
    risky = record(LETTER, **changes)
    rows, report = redactor.redact([risky, record("clean"), record("clean too")])
    assert [content(row) for row in rows] == [["clean"], ["clean too"]]
    assert report.quarantine_reasons == {reason: 1} and report.records_quarantined == 1
    (sealed,) = report.quarantined
    path = redactor.quarantine.folder / sealed.file
    assert (sealed.source, sealed.row) == ("letters", risky["row"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert redactor.quarantine.reveal(sealed.file) == {"reason": reason, "record": risky}
    thief = type(redactor.quarantine)(path.parent, KeyRing("test-key", bytes(32)))
    with pytest.raises(SecretError):
        thief.reveal(sealed.file)


def test_what_survives_the_redaction_is_not_passed_on(one, record, monkeypatch):
    monkeypatch.setattr(
        one.scanner,
        "find",
        lambda text, language, least=None: (__import__("domainlm.redact.folding").redact.folding.fold(text), []),
    )
    for text in (
        "ssn 219-09-9999",
        "rrn ９００１０１－１２３４５６８",
        "card 4539\u200b1488\u200b0343\u200b6467",
        "mail a@b.example",
    ):
        outcome = one.redact(record(text))
        assert (outcome.record, outcome.reason) == (None, "identifier-survives")
    assert one.redact(record("4539148803436468 and 2,300.45")).record


def test_an_error_of_the_analysis_quarantines_without_a_word_of_the_text(one, record, monkeypatch, caplog):
    def broken(*_, **__):
        raise ValueError("Did not find word 'Becker'")

    monkeypatch.setattr(one.scanner._analyzer, "spans", broken)
    with caplog.at_level(logging.DEBUG):
        outcome = one.redact(record(LETTER))
    assert (outcome.record, outcome.reason) == (None, "analysis-error")
    assert "Becker" not in caplog.text


def test_more_quarantine_than_allowed_fails_the_run_and_leaves_no_output(one, keys, record, tmp_path, monkeypatch):
    monkeypatch.setattr("domainlm.redact.redactor.RecordRedactor", lambda *_, **__: one)
    monkeypatch.setattr(one, "book", RuleBook(RedactSettings(max_quarantined_share=0.1), None))
    redactor = Redactor(RedactSettings(), keys, tmp_path / "quarantine", tmp_path / "work")
    with pytest.raises(RedactionIncomplete) as failure:
        redactor.redact([record(LETTER + "\x00"), *(record("clean") for _ in range(8))])
    assert "1 of 9 records" in str(failure.value) and "invalid-text 1" in str(failure.value)
    assert not any(secret in str(failure.value) for secret in SECRETS)
    assert list((tmp_path / "work").iterdir()) == []
    rows, _ = redactor.redact([record(LETTER + "\x00"), *(record("clean") for _ in range(9))])
    assert len(rows) == 9


def test_an_error_of_the_source_leaves_no_output(redactor, record, tmp_path):
    def broken():
        yield record("clean")
        raise OSError("source went away")

    with pytest.raises(OSError, match="went away"):
        redactor.redact(broken())
    assert list((tmp_path / "work").iterdir()) == []


def test_a_surviving_canary_stops_everything_before_a_text_is_read(keys, tmp_path, monkeypatch):
    def must_not_be_read():
        raise AssertionError("a text was read")
        yield

    monkeypatch.setattr("domainlm.redact.recognizers.cards.CardRecognizer.grade", lambda *_: 0.0)
    with pytest.raises(RedactionIncomplete, match=r"CREDIT_CARD.*no text was read"):
        Redactor(RedactSettings(entities=("CREDIT_CARD",)), keys, tmp_path / "q", tmp_path / "w").redact(
            must_not_be_read()
        )


def test_canaries_of_every_structured_entity_pass_in_both_languages(one):
    from domainlm.redact.canaries import canaries

    sent = list(canaries(one.settings.wanted))
    assert one.canaries == len(sent) > 100
    assert {record["language"] for _, _, record in sent} == {"en", "ko"}


def test_without_a_key_nothing_is_read(tmp_path):
    with pytest.raises(SecretError, match="missing"):
        Redactor(RedactSettings(), KeyRing.load(), tmp_path / "q").redact(iter(()))


def test_equal_runs_have_equal_output_and_equal_reports(redactor, record, tmp_path):
    records = [record(LETTER), record(LETTER + "\x00"), record("clean"), record("예금주 홍길동")]
    first, first_report = redactor.redact(records)
    first_digest = digest_dataset(first)
    second, second_report = redactor.redact(records)
    assert digest_dataset(second) == first_digest
    assert second_report.digest == first_report.digest
    assert len(list(redactor.quarantine.folder.iterdir())) == 1


def test_an_entity_that_is_off_stays(keys, record, tmp_path):
    rows, _ = Redactor(RedactSettings(entities=("EMAIL_ADDRESS",)), keys, tmp_path / "q", tmp_path / "w").redact(
        [record("219-09-9999 a@b.com")]
    )
    assert content(rows[0]) == ["219-09-9999 [EMAIL_ADDRESS_1]"]


def test_misspelled_settings_are_refused_with_a_hint():
    with pytest.raises(ValueError, match="did you mean 'KR_RRN'"):
        RedactSettings(entities=("KR_RNN",))
    with pytest.raises(ValueError, match="GB"):
        RedactSettings(phone_regions=("uk",))


def test_the_default_work_folder_lies_in_the_projects_home(one, keys, record, tmp_path, home, monkeypatch):
    monkeypatch.setattr("domainlm.redact.redactor.RecordRedactor", lambda *_, **__: one)
    rows, _ = Redactor(RedactSettings(), keys, tmp_path / "quarantine").redact([record("clean")])
    (cache,) = rows.cache_files
    assert Path(cache["filename"]).is_relative_to(home)
    assert stat.S_IMODE(os.stat(Path(cache["filename"]).parent).st_mode) == 0o700
    assert not (tmp_path / "quarantine").exists()


def test_the_sources_of_a_manifest_are_redacted(one, keys, tmp_path, monkeypatch):
    from domainlm.ingest import ingest
    from domainlm.ingest.settings import IngestSettings

    monkeypatch.setattr("domainlm.redact.redactor.RecordRedactor", lambda *_, **__: one)
    path = tmp_path / "letters.csv"
    path.write_text(
        'text,label\n"Dear Mr. Tom Becker, hello.",positive\n"KOSPI rose to 2,300.",neutral\n', encoding="utf-8"
    )
    source = dict(
        name="letters", uri=str(path), form="labelled", task="sentiment", licence="CC0-1.0", consent="public",
        purpose="model-training", jurisdiction="us", language="en",
    )  # fmt: skip
    rows, report = Redactor(RedactSettings(), keys, tmp_path / "q", tmp_path / "w").run(
        ingest(IngestSettings(sources=(source,)))
    )
    assert [content(row)[0] for row in rows] == ["Dear Mr. [PERSON_1], hello.", "KOSPI rose to 2,300."]
    assert report.entities_by_source == {"letters": {"PERSON": 1}}
