"""The lineage picture: everything is in it, in layers, and no line runs through a box."""

from __future__ import annotations

import itertools
import re

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich_runs import HOSTILE, failed_run, hostile_run, rich_run
from small_ledgers import small_run

from domainlm.audit.page.differences import differences, flat
from domainlm.audit.page.picture import HEIGHT, MOST_NODES, WIDTH, graph, picture
from domainlm.ledger.run.manifest import COMPLETED, StepEntry


def test_what_was_made_from_what():
    found = graph(rich_run(1))
    labels = {node: data["label"] for node, data in found.nodes(data=True)}
    made_from = {labels[node] for node in nx.ancestors(found, "model")}
    assert {"headlines", "콜센터 상담", "filings", "ingest", "redact", "prepare", "train", "adapter", "base",
            "evaluation", "tokenizer"} <= made_from  # fmt: skip
    assert "registration" not in made_from


def test_the_model_is_at_the_bottom_and_the_sources_at_the_top():
    made = picture(rich_run(1))
    places = {kind: [node.y for node in made.nodes if node.kind == kind] for kind in ("source", "model")}
    assert max(places["model"]) == max(node.y for node in made.nodes)
    assert set(places["source"]) == {min(node.y for node in made.nodes)}


def boxes_overlap(made):
    return [
        (one.label, other.label)
        for one, other in itertools.combinations(made.nodes, 2)
        if abs(one.x - other.x) < WIDTH and abs(one.y - other.y) < HEIGHT
    ]


def lines_through_boxes(made):
    """Points of a line between its ends that lie inside of a box."""
    found = []
    for path in made.edges:
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d", path)]
        assert len(numbers) >= 8
        # upright pieces are where a line passes a layer
        for x, _, lower in re.findall(r"C[^CV]* (-?[\d.]+) (-?[\d.]+)V(-?[\d.]+)", path):
            found += [
                node.label
                for node in made.nodes
                if node.x < float(x) < node.x + WIDTH and node.y < float(lower) - 1 < node.y + HEIGHT
            ]
    return found


@pytest.mark.parametrize("manifest", [rich_run(1), failed_run(2), *(hostile_run(9, name) for name in HOSTILE[:3])])
def test_boxes_stand_apart_and_no_line_runs_through_one(manifest):
    made = picture(manifest)
    assert boxes_overlap(made) == [] and lines_through_boxes(made) == []
    assert all(0 <= node.x and node.x + WIDTH <= made.width and node.y + HEIGHT <= made.height for node in made.nodes)


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 12), max_size=3), st.sets(st.integers(0, 12), max_size=3)), max_size=9)
)
@settings(max_examples=60, deadline=None)
def test_any_steps_make_a_picture_that_goes_one_way(drawn):
    """Steps that consume and make the same things over and over are no circle."""
    steps = [
        StepEntry(
            name=f"step{number}", status=COMPLETED,
            inputs={f"in{value}": f"{value:064x}" for value in consumed},
            outputs={f"out{value}": f"{value:064x}" for value in made},
        )
        for number, (consumed, made) in enumerate(drawn)
    ]  # fmt: skip
    manifest = small_run().model_copy(update={"steps": steps})
    found = graph(manifest)
    assert nx.is_directed_acyclic_graph(found)
    drawn_picture = picture(manifest)
    if steps:
        assert len(drawn_picture.nodes) == len(found)
        assert boxes_overlap(drawn_picture) == [] and lines_through_boxes(drawn_picture) == []


def test_too_much_is_no_picture():
    steps = [StepEntry(name=str(number), status=COMPLETED) for number in range(MOST_NODES + 1)]
    assert picture(small_run().model_copy(update={"steps": steps})) is None
    assert picture(small_run().model_copy(update={"steps": []})) is None


def test_differences_name_both_sides():
    before, after = rich_run(1), rich_run(2)
    after = after.model_copy(update={"sources": after.sources[:2], "configuration": {"new": [1, {"deep": True}]}})
    found = differences(before, after)
    assert [(row.name, row.before, row.after) for row in found["configuration"]] == [
        ("new › 0", None, "1"), ("new › 1 › deep", None, "True"),
    ]  # fmt: skip
    assert {row.name.split(" › ")[0] for row in found["data"]} == {"filings"}
    assert all(row.after is None for row in found["data"])
    assert not any(differences(before, before).values())


def test_flat_keeps_every_leaf():
    assert flat({"a": {"b": 1, "c": []}, "d": [1, 2]}) == {"a › b": "1", "a › c": "", "d": "1, 2"}
    assert flat({}) == {}
