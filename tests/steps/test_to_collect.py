"""Which runs a round of the collector sees: a run that ZenML lost, or that its stack lost, is not lost to us."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_ledgers import small_run
from small_outboxes import RUN, Dictionary, begun, leave

from domainlm.errors import ArtifactError
from domainlm.keys import KeyRing, create_development_key
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.asked import Asked
from domainlm.ledger.run.collecting import GONE
from domainlm.ledger.run.entering import ENTERED, WAITING, enter
from domainlm.ledger.run.manifest import StepEntry
from domainlm.ledger.run.metrics import State
from domainlm.ledger.run.outbox import MANIFEST
from domainlm.ledger.run.submission import state
from domainlm.ledger.trust import bootstrap
from steps import stacks, strays
from steps import to_collect as module
from steps.missed import Missed
from steps.to_collect import round_of

OURS = SimpleNamespace(id="ours", name="bank-a", components={"artifact_store": [SimpleNamespace(id="store")]})
FOREIGN = "00000000-0000-4000-8000-00000000000f"


class Folders(Dictionary):
    """A store that lists folders as well, as a real one does."""

    def names(self, folder: str) -> list[str]:
        return sorted({path.split("/")[0] for path in super().names(folder)})


class Server:
    """ZenML's server: the stack, its runs, and any others."""

    def __init__(self) -> None:
        self.stacks: dict[str, Any] = {"bank-a": OURS}
        self.runs: dict[str, Any] = {}

    def get_stack(self, name: str, allow_name_prefix_match: bool) -> Any:
        assert not allow_name_prefix_match
        return self.stacks[name]

    def list_pipeline_runs(self) -> None:
        """Is handed to `depaginate`."""

    def get_pipeline_run(self, run_id: object, hydrate: bool) -> Any:
        return self.runs[str(run_id)]


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    create_development_key()
    bootstrap.bootstrap()
    made = Server()
    made.files = Folders()
    for room in (module, stacks, strays):
        monkeypatch.setattr(room, "Client", lambda: made)
    monkeypatch.setattr(module, "depaginate", lambda *_, **__: [])
    monkeypatch.setattr(strays, "load_artifact_store", lambda _: None)
    monkeypatch.setattr(strays, "StoreFiles", lambda _: made.files)
    return made


def look(state: State, evidence: str = "here") -> list[Any]:
    return list(round_of("bank-a", evidence, lambda run_id: {}, state))


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_was_deleted_from_zenml_leaves_a_manifest_for_a_person(server: Server, recorded: bool) -> None:
    outbox = leave(server.files, KeyRing.load(), begun("prepare"), begun("train"), begun("train", 2))
    told = small_run(1, steps=[StepEntry(name=name, status="completed") for name in ("prepare", "train")])
    if recorded:
        outbox.put(MANIFEST, told.sealed().model_dump(mode="json"))
    state = State()
    (found,) = look(state)
    assert (found.manifest.status, found.manifest.failure.error) == ("interrupted", GONE)
    assert found.entered.state == WAITING and "deleted" in found.manifest.collected.refused[-1]
    assert [len(step.places) for step in found.manifest.steps] == [1, 2]
    assert (found.manifest.model is not None) == recorded
    assert (state.stray, state.passes, state.broken_passes, state.waiting) == (1, 0, 1, 1)
    assert look(state) == [] and state.waiting == 1, "its manifest is here, and waits for a person"
    manifests.vouch(manifests.read(found.path), KeyRing.load)
    assert enter(manifests.read(found.path), KeyRing.load).state == ENTERED


def test_an_outbox_that_anybody_could_have_made_is_named_in_each_round_and_makes_no_manifest(server: Server) -> None:
    leave(server.files, KeyRing("bank-b", b"2" * 32), begun("train"))
    state = State()
    for rounds in (1, 2):
        (found,) = look(state)
        assert isinstance(found, Missed) and "nothing in it is sealed" in found.why
        assert (state.stray, state.broken_passes) == (1, rounds)
    assert not list(manifests.manifest_folder().glob("*.json"))


def test_runs_of_a_deleted_or_a_renamed_stack_are_named(server: Server) -> None:
    leave(server.files, KeyRing.load(), begun("train"))
    server.runs[RUN] = SimpleNamespace(name="run-1", stack=None)
    assert "deleted" in look(State())[0].why
    server.runs[RUN].stack = SimpleNamespace(id="other", name="bank-a-before")
    assert "'bank-a-before', not on 'bank-a'" in look(State())[0].why
    server.runs[RUN].stack, state = OURS, State()
    assert look(state) == [] and state.passes == 1, "it was submitted while we looked"


@pytest.mark.parametrize(
    ("said", "scheduled", "here", "in_cluster"),
    [
        ("here", False, True, False),
        ("cluster", False, False, True),
        ("here", True, True, True),
        ("", False, True, True),
    ],
)
def test_a_run_is_entered_by_one_collector(
    server: Server, monkeypatch: pytest.MonkeyPatch, said: str, scheduled: bool, here: bool, in_cluster: bool
) -> None:
    extra = state(Asked("a.yaml"), ["tina"], KeyRing.load, said) if said else {}
    ended = SimpleNamespace(id=RUN, status=SimpleNamespace(is_finished=True), created=None, stack=OURS,
                            schedule=OURS if scheduled else None, config=SimpleNamespace(extra=extra))  # fmt: skip
    monkeypatch.setattr(module, "depaginate", lambda *_, **__: [ended])
    monkeypatch.setattr(module, "collected", lambda run_id, *_: run_id)
    for evidence, takes in (("here", here), ("cluster", in_cluster)):
        seen = State()
        assert look(seen, evidence) == ([RUN] if takes else [])
        assert len(seen.elsewhere) == (not takes)
    if said:
        extra["domainlm"]["evidence"] = "cluster" if said == "here" else "here"
        assert look(State()) == look(State(), "cluster") == [RUN], "who changed it hides no run: it is refused by name"


def test_a_flood_of_outboxes_is_named_in_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "MOST_STRAYS", 2)
    for number in range(5):
        server.files.files[f"evidence-outbox/{FOREIGN[:-1]}{number}/places/x.1.json"] = b"{}"
    server.files.files["evidence-outbox/erasures/current.json"] = b"{}"
    assert [one.run_id for one in look(State())][2:] == ["(and 3 more)"]


def test_a_stack_that_is_not_there_is_no_good_round(server: Server) -> None:
    server.stacks.clear()
    with pytest.raises(ArtifactError, match="no such stack"):
        look(State())
