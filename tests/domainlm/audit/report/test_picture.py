"""The lineage as a picture: boxes that never overlap, arrows that run between them, whatever a manifest says."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from full_runs import full_steps, reported
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domainlm.audit.report.document import Notice, Picture
from domainlm.audit.report.picture import BOX_HEIGHT, BOX_WIDTH, WIDTH, Node, _svg, lineage
from domainlm.audit.report.subject import Subject
from domainlm.audit.report.words import Words
from domainlm.ledger.run.manifest import COMPLETED, FAILED, StepEntry

SVG = "{http://www.w3.org/2000/svg}"


def drawn(folder: Path, **changes) -> ElementTree.Element:
    found = reported(folder, **changes)
    evidence = found.made.evidence()
    subject = Subject(evidence, evidence.models()[found.identity], found.verification(), found.decision(), Words("en"))
    (block,) = lineage(subject).blocks
    assert isinstance(block, Picture)
    return ElementTree.fromstring(block.svg)


def boxes(svg: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(box.get("x", "")), float(box.get("y", ""))) for box in svg.iter(f"{SVG}rect")]


def check(svg: ElementTree.Element) -> None:
    places = boxes(svg)
    for number, (x, y) in enumerate(places):
        assert 0 <= x and x + BOX_WIDTH <= WIDTH and y + BOX_HEIGHT <= float(svg.get("height", ""))
        for other_x, other_y in places[:number]:
            assert abs(x - other_x) >= BOX_WIDTH or abs(y - other_y) >= BOX_HEIGHT, "boxes overlap"


def test_the_default_pipeline_is_drawn_from_sources_to_champion(tmp_path: Path) -> None:
    svg = drawn(tmp_path)
    check(svg)
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert len(boxes(svg)) == len(full_steps(1)) + 5
    for wanted in ("sources: 3", "sources: 1", "pretrain", "train", "domainlm-finance/2", "approvals that count: 2",
                   "not promoted"):  # fmt: skip
        assert wanted in texts
    title = svg.find(f"{SVG}title")
    assert title is not None and title.text and title.text.startswith("15 steps from 4 sources to domainlm-finance/2")


def test_no_arrow_runs_behind_a_box(tmp_path: Path) -> None:
    svg = drawn(tmp_path)
    places = boxes(svg)
    lines = [path.get("d", "") for path in svg.iter(f"{SVG}path") if path.get("fill") == "none"]
    assert len(lines) >= len(places) - 1
    for line in lines:
        points = [tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", line)]
        for x, y in points[1:-1]:
            for left, top in places:
                assert not (left < x < left + BOX_WIDTH and top < y < top + BOX_HEIGHT)


def test_cached_and_failed_steps_look_different(tmp_path: Path) -> None:
    steps = full_steps(2)
    steps[3] = steps[3].model_copy(update={"status": FAILED})
    svg = drawn(tmp_path, steps=steps)
    assert len([box for box in svg.iter(f"{SVG}rect") if box.get("stroke-dasharray")]) == 5
    assert len({box.get("fill") for box in svg.iter(f"{SVG}rect")}) == 3


@pytest.mark.parametrize("name", ["a>b>3", "model:", '"><script>alert(1)</script>', "\u202ehidden", "x" * 400, ""])
def test_a_hostile_step_is_a_box_like_others(tmp_path: Path, name: str) -> None:
    svg = drawn(tmp_path, steps=[*full_steps(2), StepEntry(name=name, status=COMPLETED)])
    check(svg)
    assert {element.tag for element in svg.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "rect", "text", "path")
    }
    assert all(len(text.text or "") <= 40 for text in svg.iter(f"{SVG}text"))


def test_a_manifest_that_goes_round_in_circles_is_drawn_all_the_same(tmp_path: Path) -> None:
    steps = [
        StepEntry(name="a", status=COMPLETED, inputs={"x": "1"}, outputs={"y": "2"}),
        StepEntry(name="b", status=COMPLETED, inputs={"y": "2"}, outputs={"x": "1"}),
        StepEntry(name="c", status=COMPLETED, inputs={"z": "3"}, outputs={"z": "3"}),
    ]
    check(drawn(tmp_path, steps=steps))


def test_a_run_without_steps_says_so(tmp_path: Path) -> None:
    found = reported(tmp_path, steps=[])
    evidence = found.made.evidence()
    subject = Subject(evidence, evidence.models()[found.identity], found.verification(), found.decision(), Words("ko"))
    (block,) = lineage(subject).blocks
    assert isinstance(block, Notice) and block.tone == "caution"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_graph_is_drawn_without_overlap(data: st.DataObject) -> None:
    names = [f"step:{number}" for number in range(data.draw(st.integers(1, 25)))]
    pair = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda ends: ends[0] != ends[1])
    arrows = set(data.draw(st.lists(pair, max_size=60)))
    svg = ElementTree.fromstring(_svg({name: Node(name, "12345678") for name in names}, arrows, "told"))
    assert len(boxes(svg)) == len(names)
    check(svg)
