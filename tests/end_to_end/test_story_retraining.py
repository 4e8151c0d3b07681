"""The story of retraining, in processes of their own: batches land, a model is trained and promoted, a challenger goes
on from it, and what may not count does not. Each test stands on what the one before left."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_project import ROOT, Project, make_project, ran, shrink, steps_of

PASSPHRASE = "a long passphrase, said each time"[:31]
PEOPLE = """
mkdir keys
for name in anna victor tina olga; do
  domainlm audit keys new keys/$name.pem
  domainlm audit keys show keys/$name.pem > keys/$name.public.pem
done
domainlm audit policy show --yaml > policy.yaml
cat > people.yaml <<END
  anna: {keys: [keys/anna.public.pem], roles: [officer], identities: [anna@bank.example]}
  victor: {keys: [keys/victor.public.pem], roles: [validator], identities: [victor@bank.example]}
  tina: {keys: [keys/tina.public.pem], roles: [trainer], identities: [$(git log -1 --format=%ae), $(id -un)]}
  olga: {keys: [keys/olga.public.pem], roles: [trainer], identities: [olga@bank.example]}
END
sed -i '/^members:/r people.yaml' policy.yaml
domainlm audit policy propose policy.yaml -o policy.json
domainlm audit sign policy.json --key .domainlm/keys/signer/development-root.pem --yes
domainlm audit policy enter policy.json.signed
domainlm audit approve domainlm-finance/1 --key keys/anna.pem --reason "reviewed against the report" --yes
domainlm audit approve domainlm-finance/1 --key keys/victor.pem --reason "metrics reproduced" --yes
domainlm promote 1
"""
# what the lineage index knows of two runs: ids of rows that the first tested on, and that the second trained on
ROWS = """
import json, sys
from domainlm.audit.lineage.index import FILE, TEST, TRAINING, Lineage
from domainlm.ledger.settings import evidence_folder
rows = Lineage(evidence_folder() / FILE)
found = {}
for name, data, use in (("tested", sys.argv[1], TEST), ("trained", sys.argv[2], TRAINING)):
    found[name] = [row.record for row in rows.rows_of(data, use)]
print(json.dumps(found))
"""
BOOK = """
import json
from domainlm.retrain.book import open_book
book = open_book()
print(json.dumps({
    "starts": book.starts(),
    "results": [one.model_dump(mode="json") for one in book.results("domainlm-finance")],
    "claims": [one.model_dump(mode="json") for one in book.claims()],
    "batches": [one.model_dump(mode="json") for one in book.batches()],
    "scores": {one.identity: len(book.scores(one.identity)) for one in book.results("domainlm-finance")},
    "decisions": [one.decision.retrain for one in book.decisions(20)],
}))
"""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("bank"))
    content = yaml.safe_load((ROOT / "configs" / "retrain.yaml").read_text())
    shrink(content)
    content["parameters"]["controls"] = False
    content["steps"]["train"].pop("experiment_tracker")
    content["steps"]["evaluate"]["parameters"] = {"max_items": 4, "systems": ["majority", "base", "tuned"]}
    content["steps"]["contest"]["parameters"]["max_items"] = 8
    content["steps"]["decide"]["parameters"] |= {
        "new_rows": 20,
        "cool_down_h": 0,
        "start": "champion",
        "replay_ratio": 1.0,
    }
    content["steps"]["detect"]["parameters"]["feeds"][0]["steward"] = "olga@bank.example"  # git knows no author of it
    (made.root / "configs").mkdir()
    (made.root / "configs" / "retrain.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (made.root / ".gitignore").write_text((ROOT / ".gitignore").read_text() + "site/\nempty_home/\n")
    made.do("git", "add", "-A")
    made.do("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "retraining")
    made.domainlm("setup")
    return made


def land(bank: Project, month: str) -> Path:
    folder = bank.root / "landing" / "market" / month
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "domains" / "finance" / "market" / month / "news.jsonl", folder)
    (folder / "_SUCCESS").touch()
    return folder


def book_of(bank: Project) -> dict[str, Any]:
    return json.loads(bank.do(sys.executable, "-c", BOOK).splitlines()[-1])


def test_what_landed_is_trained_on_and_the_result_is_accepted(bank: Project) -> None:
    land(bank, "2023-01")
    bank.domainlm("retrain", "--once")
    first = bank.last()
    assert (first["status"], first["pipeline"]) == ("completed", "retraining_pipeline")
    assert (
        first["verdicts"]["decision"]["verdict"] == "retrain"
        and "+ first: " in first["verdicts"]["decision"]["reasons"]
    )
    assert first["verdicts"]["contest"]["verdict"] == "no-champion"
    assert first["code"]["dirty"] is False, "what lands in the default zone is no change of the code"
    market = next(source for source in first["sources"] if source["name"] == "market")
    assert list(market["files"]) == ["landing/market/2023-01/news.jsonl"] and market["trusted"] is True
    found = book_of(bank)
    assert [batch["state"] for batch in found["batches"]] == ["trained"]
    assert [(one["run_id"], one["identity"]) for one in found["results"]] == [
        (first["run_id"], first["model"]["identity"])
    ]
    assert found["starts"] == {"batches": 1, "trained_once": 1, "duplicate_starts": 0, "lost": 0}
    assert found["scores"][first["model"]["identity"]] > 0, "what decay is measured from"
    order = [step["name"] for step in first["steps"]]
    assert order[:2] == ["detect", "decide"], "nothing expensive comes before the decision"


def test_a_no_ends_well_also_by_zenmls_own_command(bank: Project) -> None:
    zenml = "zenml pipeline run pipelines.retraining.retraining_pipeline -c configs/retrain.yaml"
    said = bank.do("bash", "-ec", f". .domainlm/activate; {zenml}")
    no = bank.last()
    assert (no["status"], no["failure"], no["model"]) == ("declined", None, None) and "Traceback" not in said
    assert no["verdicts"]["decision"]["verdict"] == "no retraining"
    assert [step["name"] for step in no["steps"]] == ["detect", "decide"]
    assert book_of(bank)["decisions"][0] is False
    assert list((bank.state / "evidence" / "receipts").glob(f"{no['run_id']}*")), "a no is in the ledger too"


def test_a_challenger_goes_on_from_the_champion_and_is_held_against_it(bank: Project) -> None:
    (bank.root / "answers").write_text((PASSPHRASE + "\n") * 4096)
    bank.do("bash", "-ec", f"exec < answers\n{PEOPLE}")
    land(bank, "2023-02")
    bank.domainlm("retrain", "--once")
    first, second = (run for run in bank.manifests() if run["model"])
    contest = second["verdicts"]["contest"]
    assert contest["champion"] == first["model"]["identity"] and contest["verdict"] != "no-champion"
    assert any(name.startswith("contest/new/sentiment/") for name in second["metrics"]), sorted(second["metrics"])
    assert any(name.startswith("contest/old/") for name in second["metrics"])
    before, after = steps_of(first), steps_of(second)
    assert after["train"]["inputs"]["start"] == before["train"]["outputs"]["adapter"]
    assert after["vocabulary"]["outputs"]["tokenizer"] == before["vocabulary"]["outputs"]["tokenizer"]
    cached = {step["name"] for step in second["steps"]} - ran(second)
    assert {"base_redact", "base_prepare", "base_validate", "pretrain"} <= cached
    used = [{rows["use"]: rows for rows in run["rows"] if rows["use"] != "pretraining"} for run in (first, second)]
    assert 0 < used[1]["training"]["rows"] < used[0]["training"]["rows"], "one old row for each new one"
    data = [used[0]["test"]["data"], used[1]["training"]["data"]]
    rows = json.loads(bank.do(sys.executable, "-c", ROWS, *data).splitlines()[-1])
    assert rows["tested"] and rows["trained"] and not set(rows["tested"]) & set(rows["trained"])


def test_a_run_again_under_its_old_configuration_comes_from_the_cache_and_finds_the_same_model(bank: Project) -> None:
    second = bank.last()
    bank.domainlm("retrain", "--once", "--as-run", second["run_id"])
    again = bank.last()
    assert again["run_id"] != second["run_id"] and again["status"] == "completed"
    assert again["model"]["identity"] == second["model"]["identity"]
    assert again["model"]["version"] == second["model"]["version"]
    always = {"detect", "decide", "base_ingest", "ingest", "incumbent", "register", "settle"}
    assert ran(again) == always, "token, time and decision make nothing run again"


def test_a_file_that_was_replaced_stops_the_run_and_frees_its_batch(bank: Project) -> None:
    """Between acceptance and training: the zone is looked at, and then somebody writes."""
    folder = land(bank, "2023-03")
    bank.domainlm("retrain", "--once", "--set", "steps.decide.parameters.new_rows=100000")
    assert [batch["state"] for batch in book_of(bank)["batches"]] == ["promoted", "trained", "accepted"]
    detect = bank.root / "steps" / "detecting.py"
    source = detect.read_text()
    late = f"    open({str(folder / 'news.jsonl')!r}, 'a').write(chr(10))\n"
    detect.write_text(source.replace("    return Detection(\n", late + "    return Detection(\n"))
    try:
        said = bank.domainlm("retrain", "--once", code=1)
    finally:
        detect.write_text(source)
    failed = bank.last()
    assert failed["status"] == "failed" and failed["failure"]["step"] == "ingest"
    assert (
        "landing/market/2023-03/news.jsonl" in failed["failure"]["message"] and "since its batch was accepted" in said
    )
    found = book_of(bank)
    assert found["claims"][0]["state"] == "given up" and "ingest" in found["claims"][0]["why"]
    assert found["batches"][2]["state"] == "accepted" and found["starts"]["lost"] == 0


def test_the_champion_is_asked_about_what_landed_since_and_once(bank: Project) -> None:
    """The file that was replaced lands anew; nothing is trained on it, and the next decision has a score to look at."""
    said = bank.domainlm("probe")
    assert ", sentiment: accuracy 0." in said and "Traceback" not in said
    probed, first = bank.last(), next(run for run in bank.manifests() if run["model"])
    assert (probed["status"], probed["pipeline"], probed["model"]) == ("completed", "probing_pipeline", None)
    assert not {"train", "ingest_landed", "pretrain"} & {step["name"] for step in probed["steps"]}
    assert not [rows for rows in probed["rows"] if rows["use"] == "training"], "nothing learnt from them"
    code = (
        "import json; from domainlm.retrain.book import open_book; print(json.dumps("
        f"[one.model_dump(mode='json') for one in open_book().scores('{first['model']['identity']}')]))"
    )
    scores = json.loads(bank.do(sys.executable, "-c", code).splitlines()[-1])
    fresh = {batch["id"] for batch in book_of(bank)["batches"] if batch["state"] == "accepted"}
    (score,) = [one for one in scores if one["batch"] and not one["batch"].startswith("feed/")]
    assert {score["batch"]} == fresh and score["task"] == "sentiment" and score["items"] > 20
    assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert any(one["batch"] == "" and one["task"] == "sentiment" for one in scores), "the score at registration"

    assert "was asked about every accepted batch with labels" in bank.domainlm("probe")
    assert bank.last()["run_id"] == probed["run_id"]
    command = "zenml pipeline run pipelines.probing.probing_pipeline -c configs/retrain.yaml"
    bank.do("bash", "-ec", f". .domainlm/activate; {command}")
    again = bank.last()
    assert again["status"] == "declined" and "was not asked about" in again["verdicts"]["decision"]["reasons"]
