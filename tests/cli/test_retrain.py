"""`domainlm retrain --once`, as processes: what cron, CI or Airflow gets to see. Trainings are tests/end_to_end's."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from small_landing import FEED, SmallLanding
from small_ledgers import small_run

from cli import launch, retrain
from domainlm.errors import ConfigurationError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import DECLINED, RunManifest, StepEntry
from domainlm.retrain.batches import Result
from domainlm.retrain.book import open_book
from domainlm.retrain.rounds import Launched

LANE = "domainlm-finance"


@pytest.fixture
def landing(tmp_path: Path, home: Path) -> SmallLanding:
    return SmallLanding(tmp_path, home, new_rows=3)


def with_a_model(rows: int = 0) -> None:
    """A lane that has a model, so that nothing is asked for only because there is none."""
    book = open_book()
    claim = book.claim(LANE, "olga", 60, allow_empty=True)
    assert claim is not None
    book.accept_result(claim, Result(run_id="r", identity="a" * 64, version=f"{LANE}/1"))


def content(home: Path) -> list[str]:
    """Every row of the book."""
    with closing(sqlite3.connect(home / "retrain" / "book.sqlite")) as book:
        return list(book.iterdump())


def test_a_no_is_exit_code_0_recorded_with_its_reasons_and_not_twice(landing: SmallLanding) -> None:
    with_a_model()
    landing.drop("one.csv", "Shares rise")
    first = landing.report()
    assert first["outcome"] == "no" and len(first["landed"]) == 1 and first["waiting_rows"] == 1
    [reason] = [one for one in first["decision"]["reasons"] if one["code"] == "new-rows"]
    assert (reason["measured"], reason["threshold"], reason["holds"]) == (1, 3, False)
    out, _ = landing.do("retrain", "--once")
    assert [one.decision.retrain for one in open_book().decisions()] == [False]
    assert (
        "0 batches landed" in out
        and "- new-rows: 1 rows of 1 batches wait, 3 rows count" in out
        and out.rstrip().endswith("nothing is trained")
    )


def test_a_dry_run_says_what_would_be_and_changes_nothing(landing: SmallLanding) -> None:
    landing.drop("one.csv", "Shares rise", "Shares fall", "Shares rest")
    report = landing.report("--dry-run")
    assert report["outcome"] == "would-train" and report["waiting_rows"] == 3 and report["run_id"] == ""
    assert any(line.startswith("cost: no earlier training") for line in report["told"])
    assert "feed news: 1 files, new after row 0" in report["told"]
    assert report["plan"]["feeds"] == [{"name": "news", "files": 1, "new_after": 0}] and report["plan"]["hours"] is None
    assert [(one["name"], one["rows"]) for one in report["plan"]["batches"]] == [("news/one.csv", 3)]
    assert not list(landing.home.rglob("book.sqlite"))  # not even a book
    with_a_model()
    before = content(landing.home)
    report = landing.report("--dry-run", "--asked")
    assert report["outcome"] == "would-train" and any("about 0.00 h" in line for line in report["told"])
    assert content(landing.home) == before


def test_a_dry_run_of_a_query_lets_the_real_run_land_all_of_it(landing: SmallLanding, tmp_path: Path) -> None:

    with closing(sqlite3.connect(tmp_path / "market.sqlite", isolation_level=None)) as market:
        market.execute("CREATE TABLE headlines (headline TEXT, label TEXT)")
        market.execute("INSERT INTO headlines VALUES ('Shares rise', 'neutral'), ('Shares fall', 'neutral')")
        landing.environment["MARKET"] = f"sqlite:///{tmp_path}/market.sqlite"
        query = {"uri": "sql:news.jsonl", "query": "SELECT * FROM headlines", "database": "MARKET"}
        landing.configure(new_rows=3)
        content = yaml.safe_load(landing.configuration.read_text())
        content["steps"]["detect"]["parameters"]["feeds"] = [FEED | query]
        landing.configuration.write_text(yaml.safe_dump(content))
        with_a_model()
        for _ in range(2):
            assert landing.report("--dry-run")["waiting_rows"] == 2
        assert not (landing.home / "retrain" / "zone").exists() and not (landing.home / "retrain" / "landed").exists()
        real = landing.report()
        assert len(real["landed"]) == 1 and real["waiting_rows"] == 2
        market.execute("INSERT INTO headlines VALUES ('Shares rest', 'neutral')")
        report = landing.report("--dry-run", "--asked")
    assert report["outcome"] == "would-train" and report["waiting_rows"] == 3
    assert "feed news: 2 files, new after row 0" in report["told"], "as if they lay in one place"


def test_what_breaks_its_contract_is_quarantined_and_holds_up_nothing(landing: SmallLanding) -> None:
    with_a_model()
    landing.drop("good.csv", "Shares rise")
    landing.drop("bad.csv", "Shares fall", label="sideways")
    report = landing.report()
    assert len(report["quarantined"]) == 1 and report["waiting_rows"] == 1
    [bad] = open_book().batches(state="quarantined")
    assert "Shares fall" not in bad.reason and "sideways" not in bad.reason


def test_looking_into_some_batches_only(landing: SmallLanding) -> None:
    from domainlm.retrain.settings import DetectSettings
    from domainlm.retrain.zone import Zone

    landing.drop("one.csv", "Shares rise")
    landing.drop("two.csv", "Shares fall")
    book = open_book()
    first, second = Zone(DetectSettings(zone=str(landing.zone), feeds=[FEED], settle_s=0.1), book).settled(10).landed
    landing.do("retrain", "--accept-only", "--batch", first.id[:12])
    assert [one.state for one in book.batches()] == ["accepted", "landed"] and second.state == "landed"


def test_another_runner_at_work_is_75(landing: SmallLanding) -> None:
    landing.drop("one.csv", "Shares rise", "Shares fall", "Shares rest")
    assert open_book().claim(LANE, "tina", 300, allow_empty=True) is not None
    assert landing.report(code=75)["decision"]["barred"] == ["cool-down", "busy"]


def test_a_zone_or_a_book_that_is_away_is_75_and_says_what_to_do(landing: SmallLanding) -> None:
    with_a_model()
    landing.drop("one.csv", "Shares rise")
    landing.report()
    landing.zone.rename(landing.zone.with_name("away"))
    out, _ = landing.do("retrain", code=75)
    assert "later: " in out and "->" in out
    assert kinds_told() == ["zone-unreachable"]
    landing.do("retrain", code=75)
    assert kinds_told() == ["zone-unreachable"]  # once a day
    landing.zone.with_name("away").rename(landing.zone)
    landing.environment["DOMAINLM_BOOK"] = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
    out, err = landing.do("retrain", code=75)
    assert "later: " in out and "secret" not in out + err


def kinds_told() -> list[str]:
    """What waits in the outbox: no channel is configured here."""
    return [waiting.notice["kind"] for waiting in open_book().notices_waiting()]


def test_a_zone_that_never_was_is_1_and_told(landing: SmallLanding) -> None:
    """No cron line may take it for something that passes."""
    landing.do("retrain", "--dry-run", "--set", "steps.detect.parameters.zone=/nowhere/landing", code=75)
    assert not list(landing.home.rglob("book.sqlite"))
    out, _ = landing.do("retrain", "--set", "steps.detect.parameters.zone=/nowhere/landing", code=1)
    assert "there never was such a zone: " in out and kinds_told() == ["zone-unreachable"]


def test_a_feed_that_cannot_be_asked_and_a_file_that_cannot_be_used_are_told(landing: SmallLanding) -> None:
    with_a_model()
    landing.drop("good.csv", "Shares rise")
    landing.drop("Hong Gildong.csv").write_bytes(b"")
    query = FEED | {"name": "prices", "uri": "sql:prices.jsonl", "query": "SELECT headline, label FROM news",
                    "database": "DATABASE_NOT_SET"}  # fmt: skip
    content = yaml.safe_load(landing.configuration.read_text())
    content["steps"]["detect"]["parameters"]["feeds"].append(query)
    landing.configuration.write_text(yaml.safe_dump(content))
    report = landing.report(code=1)
    assert report["outcome"] == "no" and report["waiting_rows"] == 1  # the other feed goes on
    assert report["failing"] == [["prices", "DATABASE_NOT_SET: is not set"]]
    told = {waiting.notice["kind"]: waiting.notice for waiting in open_book().notices_waiting()}
    assert set(told) == {"feed-failing", "unreadable"}
    assert told["feed-failing"]["cause"] == "feed prices: DATABASE_NOT_SET: is not set"
    assert "Hong" not in str(told) and report["unusable"][0][0] == "news/Hong Gildong.csv"
    landing.report(code=1)
    assert len(kinds_told()) == 2


def test_a_configuration_without_feeds_or_with_a_wrong_key_is_refused(landing: SmallLanding) -> None:
    text = landing.configuration.read_text()
    landing.configuration.write_text(text.replace("settle_s", "settle_sec"))
    _, err = landing.do("retrain", code=1)
    assert "settle_s" in err and "retrain.yaml" in err
    landing.configuration = Path("zenml_config.yaml")
    _, err = landing.do("retrain", code=1)
    assert "steps.detect.parameters.feeds" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--since", "yesterday"], "is no day"), (["--until", "2023-13-01"], "is no day of the calendar"),
     (["--since", "2026-03-02", "--until", "2026-03-01"], "no day lies between")],
)  # fmt: skip
def test_days_that_are_none_are_refused_before_anything_is_looked_at(
    landing: SmallLanding, options: list[str], said: str
) -> None:
    landing.drop("one.csv", "Shares rise")
    _, err = landing.do("retrain", *options, code=1)
    assert said in " ".join(err.split()) and not list(landing.home.rglob("book.sqlite"))


@pytest.mark.parametrize(("outcome", "code"), [("trained", 0), ("no", 0), ("failed", 1), ("busy", 75)])
def test_the_exit_code_says_what_became_of_the_run(
    outcome: str, code: int, landing: SmallLanding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, with the pipeline left out."""
    asked: list[object] = []

    def launch(started: object, decision: object) -> Launched:
        asked.append(decision)
        return Launched(outcome, "run-1")  # type: ignore[arg-type]

    monkeypatch.setattr(retrain, "_launch", launch)
    monkeypatch.setattr(retrain, "following", lambda terms, book, stack: ["what follows"])
    landing.drop("one.csv", "Shares rise", "Shares fall", "Shares rest")
    with pytest.raises(SystemExit) as end:
        retrain.retrain(config=landing.configuration, patience_s=10.0, overrides=["steps.decide.parameters.new_rows=2"])
    assert end.value.code == code and len(asked) == 1
    assert "what follows" in capsys.readouterr().out


def test_a_killed_run_is_marked_before_it_is_repeated(
    landing: SmallLanding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process; what marks it asks ZenML, and is put in its place here."""
    from pipelines import hooks

    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(60)
    process = {"process": {"host": socket.gethostname(), "pid": gone.pid}}
    killed = small_run(1, run_id="killed", status="running", environment=process, steps=[])
    manifests.write(killed)
    step = StepEntry(name="prepare", status="completed", parameters={"test_fraction": 0.3})
    whole = killed.model_copy(update={"status": "interrupted", "steps": [step]})
    monkeypatch.setattr(hooks, "catch_up", lambda: manifests.write(whole))
    given = []
    monkeypatch.setattr(retrain, "_once", lambda started, *rest: given.append(started.configuration) or 0)
    with pytest.raises(ConfigurationError, match="is not marked yet"):
        retrain.retrain(config=landing.configuration, as_run="killed", stack="kubernetes")
    with pytest.raises(SystemExit) as end:
        retrain.retrain(config=landing.configuration, as_run="killed")
    assert end.value.code == 0 and given[0].step("prepare").test_fraction == 0.3


def test_a_run_that_decides_otherwise_says_its_own_reasons(
    landing: SmallLanding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, with ZenML left out: the last word is the run's, and no other decision is shown after it."""
    said = {"verdict": "no retraining", "reasons": "+ busy: another runner was faster | - age: 3 days old"}
    manifest = RunManifest(run_id="run-1", run_name="r", pipeline="p", status=DECLINED, verdicts={"decision": said})
    path = manifests.write(manifest)
    monkeypatch.setattr(launch, "launched", lambda *given: launch.Finished("run-1", path, "entered"))
    monkeypatch.setattr(retrain, "following", lambda terms, book, stack: [])
    landing.drop("one.csv", "Shares rise", "Shares fall", "Shares rest")
    with pytest.raises(SystemExit) as end:
        retrain.retrain(config=landing.configuration, patience_s=10.0)
    told = capsys.readouterr().out.splitlines()
    otherwise = told.index("the run decided otherwise, with the claim in its hand:")
    assert end.value.code == 0 and told[otherwise + 1 : otherwise + 4] == [
        "decision: no retraining", "+ busy: another runner was faster", "- age: 3 days old",
    ]  # fmt: skip
    assert told[-1] == "nothing is trained: run run-1" and not any("new-rows" in one for one in told[otherwise:])


def test_what_a_library_says_when_it_breaks_is_not_printed(
    landing: SmallLanding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(*given: object) -> int:
        raise ValueError("cannot parse 'Hong Gildong, 900101-1234567'")

    monkeypatch.setattr(retrain, "_once", breaks)
    with pytest.raises(SystemExit) as end:
        retrain.retrain(config=landing.configuration)
    said = capsys.readouterr()
    assert end.value.code == 1 and "ValueError" in said.out and "Hong" not in said.out + said.err
