"""What pods left, joined with what ZenML's store and the cluster say: what is missing, changed or mixed is named."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from small_ledgers import small_run
from small_outboxes import CODE, ENVIRONMENT, RUN, Dictionary, begun, leave

from domainlm.keys import KeyRing
from domainlm.ledger.run.asked import Asked
from domainlm.ledger.run.checkout import code_state, file_digests
from domainlm.ledger.run.collecting import SEEN_BY_RECORD, Left, complete
from domainlm.ledger.run.history import NOBODY_KNOWS
from domainlm.ledger.run.manifest import FAILED, INTERRUPTED, Failure, RunManifest, StepEntry
from domainlm.ledger.run.outbox import FAILURES, MANIFEST, Broke, Outbox
from domainlm.ledger.run.submission import EXTRA, state
from domainlm.pod_facts import PodFacts

KEYS = KeyRing("bank-a", b"1" * 32)
STEPS = {"prepare": 1, "train": 1, "record": 1}
EVERY_STEP = [begun("prepare"), begun("train"), begun("record")]


def pod(step: str, **changes: Any) -> PodFacts:
    values = {
        "step": step, "pod": f"{step}-x7k2p", "uid": f"uid-of-{step}-1", "node": "node-1",
        "image": "registry.bank.example/domainlm:0.1.0-cpu", "image_digest": "sha256:" + "d" * 64, "phase": "Succeeded",
        "restarts": 0, "reason": "Completed", "started": "2026-11-20T10:00:58Z", "ended": "2026-11-20T10:03:00Z",
    }  # fmt: skip
    return PodFacts(**values | changes)


def run(**changes: Any) -> RunManifest:
    steps = [StepEntry(name=name, status="completed", outputs={"out": "e" * 64}) for name in ("prepare", "train")]
    return small_run(1, **{"steps": steps} | changes)


def left(files: Dictionary, steps: dict[str, int] | None = None, extra: dict | None = None, **more: Any) -> Left:
    return Left(steps or STEPS, more.get("recorded", True), extra or {}, Outbox(files, RUN, lambda: KEYS), lambda: KEYS)


@pytest.fixture
def files() -> Dictionary:
    """A whole run's outbox."""
    store = Dictionary()
    outbox = leave(store, KEYS, *EVERY_STEP)
    outbox.put(MANIFEST, run().sealed().model_dump(mode="json"))
    return store


def test_a_whole_run_has_nothing_missing_and_a_place_for_each_step(files: Dictionary) -> None:
    found = complete(run(), left(files), {"train": [pod("train")]}, None)
    assert (found.collected.missing, found.collected.refused, found.collected.mixed) == ([], [], [])
    assert found.collected.record == run().sealed().digest
    train = next(step for step in found.steps if step.name == "train").places
    assert [(one.pod, one.node, one.image_digest, one.sealed) for one in train] == [
        ("train-x7k2p", "node-1", "sha256:" + "d" * 64, True)
    ]
    prepare = next(step for step in found.steps if step.name == "prepare").places
    assert [(one.pod, one.image_digest) for one in prepare] == [("prepare-x7k2p", "")]
    assert left(files).first().code == CODE and left(files).first().environment == ENVIRONMENT


def test_a_cached_step_has_no_place_and_none_is_missed(files: Dictionary) -> None:
    cached = run(steps=[StepEntry(name="prepare", status="completed", cached=True), *run().steps[1:]])
    del files.files[f"evidence-outbox/{RUN}/places/prepare.1.json"]
    found = complete(cached, left(files, {"train": 1, "record": 1}), {}, None)
    assert found.steps[0].places == [] and found.collected.missing == []


@pytest.mark.parametrize("gone", ["places/train.1", "places/record.1"])
def test_a_place_that_is_missing_is_named_and_nobody_knows_who_wrote_that_code(files: Dictionary, gone: str) -> None:
    del files.files[f"evidence-outbox/{RUN}/{gone}.json"]
    found = left(files)
    assert found.missing() == [gone] and found.first().code["dirty"] is True
    made = complete(run(), found, {}, None)
    assert made.collected.missing == [gone] and NOBODY_KNOWS in made.authors.code


def test_a_run_is_not_complete_because_zenmls_store_says_so(files: Dictionary) -> None:
    assert complete(run(), left(files), {"train": [pod("train", phase="Failed"), pod("train")]}, None) \
        .collected.refused == []  # fmt: skip
    cases = {
        "the step record: did not end": complete(run(), left(files, recorded=False), {}, None),
        "the step train: is called completed, and its last pod":
            complete(run(), left(files), {"train": [pod("train"), pod("train", phase="Failed")]}, None),
    }  # fmt: skip
    broke = Broke(step="train", attempt=1, failure=Failure(step="train", error="X"), at="").model_dump(mode="json")
    Outbox(files, RUN, lambda: KEYS).put(FAILURES, broke, "train.1")
    cases["the step train: is called completed, and its last attempt"] = complete(run(), left(files), {}, None)
    for said, found in cases.items():
        (refused,) = found.collected.refused
        assert refused.startswith(said)
    leave(files, KEYS, begun("train", 2))
    assert complete(run(), left(files, STEPS | {"train": 2}), {}, None).collected.refused == [], "a retry made it good"


def test_records_own_manifest_cannot_be_taken_away(files: Dictionary) -> None:
    del files.files[f"evidence-outbox/{RUN}/manifest.json"]
    made = complete(run(metrics={"accuracy": 1.0}), left(files), {}, None)
    assert made.collected.refused == ["manifest: is not there, and the run is called completed"]
    assert made.collected.missing == [] and left(files).first().code["dirty"] is False
    broken = run(status=FAILED, steps=[run().steps[0], StepEntry(name="train", status=FAILED)])
    assert complete(broken, left(files, recorded=False), {}, None).collected.refused == []


def test_an_attempt_that_left_nothing_is_named_and_the_one_that_made_the_outputs_counts(files: Dictionary) -> None:
    leave(files, KEYS, begun("train", 2, started="2026-11-20T10:05:00.000Z"))
    del files.files[f"evidence-outbox/{RUN}/places/train.1.json"]
    found = left(files, STEPS | {"train": 2})
    assert found.missing() == ["places/train.1"] and found.first().code["dirty"] is False
    assert NOBODY_KNOWS not in complete(run(), found, {}, None).authors.code


def test_a_run_that_left_nothing_has_code_that_nobody_stated() -> None:
    found = left(Dictionary(), {"train": 1}, recorded=False)
    assert found.first().code == {"commit": "", "dirty": True, "lock": "", "files": {}}
    assert found.missing() == ["places/train.1"]


@pytest.mark.parametrize(
    "other",
    [
        {"code": CODE | {"commit": "f" * 40}},
        {"code": CODE | {"files": {"steps/train.py": "0" * 64}}},
        {"code": CODE | {"lock": "0" * 64}},
    ],
)
def test_two_images_in_one_run_are_named_and_count_as_changed(other: dict[str, Any]) -> None:
    store = Dictionary()
    leave(store, KEYS, begun("prepare"), begun("train", started="2026-11-20T10:09:00.000Z", **other), begun("record"))
    found = left(store)
    assert found.mixed() == ["train"] and found.first().code["dirty"] is True
    assert NOBODY_KNOWS in complete(run(), found, {}, None).authors.code
    assert found.first().code["commit"] == CODE["commit"]
    if "files" in other["code"] and other["code"]["files"] != CODE["files"]:
        assert found.first().code["changed"] == ["steps/train.py"]


def test_other_packages_in_one_pod_are_mixed_too() -> None:
    store = Dictionary()
    odd = begun("train", started="2026-11-20T10:09:00.000Z")
    odd.environment["packages"] = {"torch": "2.14.0"}
    leave(store, KEYS, begun("prepare"), odd)
    assert left(store).mixed() == ["train"] and left(store).first().code["dirty"]


def test_two_builds_of_one_version_are_one_version() -> None:
    store = Dictionary()
    on_gpu = begun("train", started="2026-11-20T10:09:00.000Z")
    begins = begun("prepare")
    begins.environment["packages"], on_gpu.environment["packages"] = {"torch": "2.13.0+cpu"}, {"torch": "2.13.0"}
    leave(store, KEYS, begins, on_gpu)
    assert left(store).mixed() == []
    leave(store, KEYS, on_gpu.model_copy(update={"environment": ENVIRONMENT | {"packages": {"torch": "2.13.1+cpu"}}}))
    assert left(store).mixed() == ["train"]


def test_one_images_name_with_two_digests_is_mixed(files: Dictionary) -> None:
    other = {"image_digest": "sha256:" + "0" * 64}
    same = complete(run(), left(files), {"prepare": [pod("prepare")], "train": [pod("train")]}, None)
    assert same.collected.mixed == [] and NOBODY_KNOWS not in same.authors.code
    found = complete(run(), left(files), {"prepare": [pod("prepare")], "train": [pod("train", **other)]}, None)
    assert found.collected.mixed == ["train"] and found.code["dirty"] is True and NOBODY_KNOWS in found.authors.code
    gpu = {"image": "registry.bank.example/domainlm:0.1.0-cuda", **other}  # another image has another digest
    found = complete(run(), left(files), {"prepare": [pod("prepare")], "train": [pod("train", **gpu)]}, None)
    assert found.collected.mixed == [] and NOBODY_KNOWS not in found.authors.code


def test_pods_that_name_a_commit_and_ran_other_code_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes the image can write any `.checkout.json` into it: the collector's own checkout knows better."""
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps/train.py").write_text("honest\n")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        who = ("-c", "user.name=x", "-c", "user.email=tina@bank.example")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, timeout=60)
    monkeypatch.setattr("domainlm.ledger.run.collecting.SOURCE_ROOT", tmp_path)
    honest = code_state(tmp_path) | {"files": file_digests(tmp_path, ["steps"])}
    for files, changed in ((honest["files"], []), ({"steps/train.py": "0" * 64}, ["steps/train.py"])):
        store = Dictionary()
        leave(store, KEYS, *(begun(step, code=honest | {"files": files}) for step in STEPS))
        found = left(store)
        begins = found.first()
        made = complete(run(code=begins.code), found, {}, None)
        assert (begins.code.get("changed", []), begins.code["dirty"]) == (changed, bool(changed))
        assert (NOBODY_KNOWS in made.authors.code) == bool(changed) and made.collected.mixed == []


def test_one_pod_with_edited_code_makes_the_run_dirty() -> None:
    store = Dictionary()
    leave(store, KEYS, begun("prepare"), begun("train", code=CODE | {"dirty": True}))
    assert left(store, {"prepare": 1, "train": 1}, recorded=False).first().code["dirty"] is True


def test_a_changed_a_foreign_and_an_unknown_file_are_refused_by_name(files: Dictionary) -> None:
    path = f"evidence-outbox/{RUN}/places/"
    files.files[path + "train.1.json"] = files.files[path + "train.1.json"].replace(b"node-1", b"node-2")
    leave(files, KeyRing("bank-b", b"2" * 32), begun("prepare"))
    leave(files, KEYS, begun("nobody"), begun("record", 2))
    refused = complete(run(), left(files), {}, None).collected.refused
    assert [line.split(":")[0] for line in refused] == [
        "places/prepare.1", "places/train.1", "places/nobody.1", "places/record.2",
    ]  # fmt: skip


def test_a_sealed_file_of_another_shape_is_refused(files: Dictionary) -> None:
    Outbox(files, RUN, lambda: KEYS).put("places", {"step": "train"}, "train.1")
    assert left(files).refused == ["places/train.1: is none of this version"]


CHANGES = {
    "run_name": "other", "pipeline": "other", "started": "2026-11-20T09:00:00.000Z", "configuration": {"digest": "0"},
    "base": {"digest": "0"}, "verdicts": {"redaction": {"verdict": "passed"}}, "metrics": {"accuracy": 0.99},
    "intervals": {"accuracy": [0.0, 1.0]}, "model": None, "sources": [{"name": "corpus", "uri": "x"}],
    "steps": [StepEntry(name="prepare", status="completed", outputs={"out": "f" * 64}), run().steps[1]],
    "run_id": "00000000-0000-4000-8000-000000000002",
}  # fmt: skip


@pytest.mark.parametrize("field", SEEN_BY_RECORD)
def test_zenmls_store_must_still_say_what_record_saw(files: Dictionary, field: str) -> None:
    found = complete(run(**{field: CHANGES[field]}), left(files), {}, None)
    assert found.collected.refused == [f"manifest: ZenML's store now says another {field}"]


def test_a_submission_that_was_changed_is_refused(files: Dictionary) -> None:
    extra = state(Asked("configs/kubernetes.yaml", True), ["tina"], lambda: KEYS)
    assert left(files, extra=extra).refused == []
    extra[EXTRA]["overridden"] = False
    assert [line.split(":")[0] for line in left(files, extra=extra).refused] == ["submission"]


def test_the_steps_own_words_say_why_it_failed(files: Dictionary) -> None:
    said = Failure(step="train", error="LicenceRefused", message="the base's licence does not allow it")
    broke = Broke(step="train", attempt=1, failure=said, at="2026-11-20T10:02:00.000Z")
    Outbox(files, RUN, lambda: KEYS).put(FAILURES, broke.model_dump(mode="json"), "train.1")
    broken = run(status=FAILED, steps=[run().steps[0], StepEntry(name="train", status=FAILED)])
    assert complete(broken, left(files, recorded=False), {}, None).failure == said


def test_where_the_step_could_say_nothing_the_cluster_or_the_follower_does(files: Dictionary) -> None:
    broken = run(status=FAILED, steps=[run().steps[0], StepEntry(name="train", status="running")])
    pods = {"train": [pod("train", phase="Failed", reason="OOMKilled", restarts=1)]}
    found = complete(broken, left(files, recorded=False), pods, None)
    assert (found.failure.step, found.failure.error) == ("train", "OOMKilled")
    assert found.steps[1].status == FAILED, "nobody is at it any more"
    assert [(one.reason, one.restarts) for one in found.steps[1].places] == [("OOMKilled", 1)]
    told = Failure(step="train", error="Unschedulable", message="no node with nvidia.com/gpu")
    assert complete(broken, left(files, recorded=False), pods, told).failure == told
    nobody = complete(run(status=FAILED), left(files, recorded=False), {}, None)
    assert nobody.failure == Failure(step="", error="unknown")


def test_a_stopped_run_is_interrupted(files: Dictionary) -> None:
    stopped = run(status=INTERRUPTED, steps=[run().steps[0], StepEntry(name="train", status="stopped")])
    found = complete(stopped, left(files, recorded=False), {}, None)
    assert found.failure.error == INTERRUPTED and found.steps[1].status == INTERRUPTED


def test_both_pods_of_an_operator_step_and_every_retry_have_a_place(files: Dictionary) -> None:
    leave(files, KEYS, begun("train", 2, started="2026-11-20T10:05:00.000Z"))
    launching = pod("train", pod="launch", uid="uid-of-launch", started="2026-11-20T10:00:01Z")
    pods = {"train": [launching, pod("train"), pod("train", uid="uid-of-train-2", started="2026-11-20T10:04:59Z")]}
    found = complete(run(), left(files, {"prepare": 1, "train": 2, "record": 1}), pods, None)
    places = found.steps[1].places
    assert [(one.uid, one.sealed) for one in places] == [
        ("uid-of-launch", False), ("uid-of-train-1", True), ("uid-of-train-2", True),
    ]  # fmt: skip


def test_the_machine_of_a_run_is_the_one_with_the_gpus(files: Dictionary) -> None:
    leave(files, KEYS, begun("train", hardware={"gpus": ["NVIDIA H100"], "cores": 16}))
    assert left(files).first().place.hardware == {"gpus": ["NVIDIA H100"], "cores": 16}


def test_a_manifest_without_pods_has_none_of_these_fields() -> None:
    plain = run().sealed().model_dump(mode="json")
    assert "collected" not in plain and all("places" not in step for step in plain["steps"])
