"""The lineage as a picture: an inline SVG that needs no script, no style sheet and no network.

Steps stand in layers by what they consumed: an arrow runs from the step that made a digest to the step that took it in.
Arrows that follow from others are left out (transitive reduction).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import escape

from domainlm.audit.report.document import Block, Notice, Picture, Section, plain
from domainlm.audit.report.subject import Subject
from domainlm.ledger.manifest import COMPLETED, StepEntry

WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 680, 26, 14, 15, 6
BOX_WIDTH = 158
NAME_LONGEST = 24
FONT = "'Noto Sans CJK KR', 'Noto Sans KR', 'DejaVu Sans', 'Liberation Sans', sans-serif"
MONO = "'DejaVu Sans Mono', 'Liberation Mono', monospace"
INK, LINE, STEP, ENDS, FAILED = "#1c2733", "#5b6b7c", "#f3f6f9", "#e3edf9", "#fbe6e6"


@dataclass(frozen=True)
class Node:
    """A box: a name, a second text in fixed width, and how it is drawn."""

    name: str
    detail: str = ""
    fill: str = STEP
    dashed: bool = False


def lineage(subject: Subject) -> Section:
    """The picture and the same in words."""
    words, manifest = subject.words, subject.manifest
    block: Block
    if not manifest.steps:
        block = Notice("caution", words("tone.caution"), words("lineage.none"))
    else:
        nodes, arrows = _graph(subject)
        told = words(
            "lineage.alt", steps=len(manifest.steps), sources=len(manifest.sources), model=plain(subject.name)
        )  # fmt: skip
        block = Picture(_svg(nodes, arrows, told), words("lineage.caption"))
    return Section("lineage", words("lineage"), (block,))


def _graph(subject: Subject) -> tuple[dict[str, Node], set[tuple[str, str]]]:
    words, manifest, model = subject.words, subject.manifest, subject.model
    steps = {step.name: step for step in manifest.steps}
    makers: dict[str, str] = {}
    for step in manifest.steps:
        for digest in step.outputs.values():
            makers.setdefault(digest, step.name)
    arrows = {
        (makers[digest], name)
        for name, step in steps.items()
        for digest in step.inputs.values()
        if digest in makers and makers[digest] != name
    }
    nodes = {name: _step(step) for name, step in steps.items()}
    for stage in sorted({source.stage for source in manifest.sources} & set(steps)):
        count = sum(source.stage == stage for source in manifest.sources)
        nodes[f"sources:{stage}"] = Node(words("lineage.sources", count=count), fill=ENDS)
        arrows.add((f"sources:{stage}", stage))
    nodes["model:"] = Node(plain(subject.name, NAME_LONGEST), model.identity[:8], ENDS)
    nodes["people:"] = Node(words("lineage.approvals", count=len(subject.decision.approvals)), fill=ENDS)
    nodes["place:"] = Node(words("lineage.champion" if subject.is_champion else "lineage.not-champion"), fill=ENDS)
    last = "register" if "register" in steps else manifest.steps[-1].name
    arrows |= {(last, "model:"), ("model:", "people:"), ("people:", "place:")}
    return nodes, arrows


def _step(step: StepEntry) -> Node:
    made = next(iter(step.outputs.values()), "")
    fill = STEP if step.status == COMPLETED else FAILED
    return Node(plain(step.name, NAME_LONGEST), plain(made[:8]), fill, step.cached)


def _svg(nodes: dict[str, Node], arrows: Iterable[tuple[str, str]], told: str) -> str:
    import networkx

    graph: networkx.DiGraph = networkx.DiGraph()
    graph.add_nodes_from(sorted(nodes))
    graph.add_edges_from(sorted(arrows))
    while not networkx.is_directed_acyclic_graph(graph):  # a manifest that was made up; the picture still ends
        graph.remove_edge(*sorted(networkx.find_cycle(graph))[0])
    layers = [sorted(layer) for layer in networkx.topological_generations(graph)]
    reduced = networkx.transitive_reduction(graph)
    places = _places(layers, graph)
    height = max(top for _, top in places.values()) + BOX_HEIGHT + MARGIN
    drawn = [_arrow(places[tail], places[head]) for tail, head in sorted(reduced.edges)]
    drawn += [_box(nodes[name], *places[name]) for layer in layers for name in layer]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}"><title>{escape(told)}</title>{"".join(drawn)}</svg>'
    )


def _places(layers: list[list[str]], graph) -> dict[str, tuple[float, float]]:
    """Left and top of each box: layers from top to bottom, broken into rows that fit, each node near what it came from."""
    places: dict[str, tuple[float, float]] = {}
    fit = int((WIDTH - 2 * MARGIN + GAP_X) // (BOX_WIDTH + GAP_X))
    top = float(MARGIN)
    for layer in layers:
        wanted = sorted(layer, key=lambda name: (_middle(name, graph, places), name))
        for start in range(0, len(wanted), fit):
            row = wanted[start : start + fit]
            width = len(row) * BOX_WIDTH + (len(row) - 1) * GAP_X
            left = (WIDTH - width) / 2
            for number, name in enumerate(row):
                places[name] = (left + number * (BOX_WIDTH + GAP_X), top)
            top += BOX_HEIGHT + GAP_Y
    return places


def _middle(name: str, graph, places: dict[str, tuple[float, float]]) -> float:
    lefts = [places[parent][0] for parent in graph.predecessors(name) if parent in places]
    return sum(lefts) / len(lefts) if lefts else WIDTH / 2


def _arrow(tail: tuple[float, float], head: tuple[float, float]) -> str:
    x1, y1 = tail[0] + BOX_WIDTH / 2, tail[1] + BOX_HEIGHT
    x2, y2 = head[0] + BOX_WIDTH / 2, head[1]
    middle = (y1 + y2 - 5) / 2
    return (
        f'<path d="M{x1:.1f} {y1:.1f} C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2 - 5:.1f}" '
        f'fill="none" stroke="{LINE}" stroke-width="1"/>'
        f'<path d="M{x2 - 3:.1f} {y2 - 6:.1f} L{x2 + 3:.1f} {y2 - 6:.1f} L{x2:.1f} {y2:.1f} Z" fill="{LINE}"/>'
    )


def _box(node: Node, left: float, top: float) -> str:
    dash = ' stroke-dasharray="4 3"' if node.dashed else ""
    box = (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" fill="{node.fill}" '
        f'stroke="{LINE}" stroke-width="1"{dash}/>'
    )
    line = top + BOX_HEIGHT / 2 + 3.5
    if not node.detail:
        return box + _text(node.name, left + BOX_WIDTH / 2, line, "middle", 10, FONT)
    return (
        box
        + _text(node.name, left + 8, line, "start", 10, FONT)
        + _text(node.detail, left + BOX_WIDTH - 8, line, "end", 7.5, MONO)
    )


def _text(text: str, x: float, y: float, anchor: str, size: float, font: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-family="{escape(font)}" '
        f'fill="{INK}">{escape(text)}</text>'
    )
