"""The lineage as a picture: an inline SVG that needs no script, no style sheet and no network.

Steps stand in layers by what they consumed: an arrow runs from the step that made a digest to the step that took it in.
Arrows that follow from others are left out (transitive reduction).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import escape

from domainlm.audit.report.document import Block, Notice, Picture, Section, plain
from domainlm.audit.report.subject import Subject
from domainlm.ledger.run.manifest import COMPLETED, StepEntry

WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 680, 26, 14, 15, 6
BOX_WIDTH, CROSSING_WIDTH = 196, 24
NAME_LONGEST = 26
Point = str | tuple[str, str, int]  # a box by its name, or where an arrow from one box to another crosses a layer
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
        (f"step:{makers[digest]}", f"step:{name}")
        for name, step in steps.items()
        for digest in step.inputs.values()
        if digest in makers and makers[digest] != name
    }
    nodes = {f"step:{name}": _step(step) for name, step in steps.items()}
    for stage in sorted({source.stage for source in manifest.sources} & set(steps)):
        count = sum(source.stage == stage for source in manifest.sources)
        nodes[f"sources:{stage}"] = Node(words("lineage.sources", count=count), fill=ENDS)
        arrows.add((f"sources:{stage}", f"step:{stage}"))
    nodes["model:"] = Node(plain(subject.name, NAME_LONGEST), model.identity[:8], ENDS)
    nodes["people:"] = Node(words("lineage.approvals", count=len(subject.decision.approvals)), fill=ENDS)
    nodes["place:"] = Node(words("lineage.champion" if subject.is_champion else "lineage.not-champion"), fill=ENDS)
    last = "register" if "register" in steps else manifest.steps[-1].name
    arrows |= {(f"step:{last}", "model:"), ("model:", "people:"), ("people:", "place:")}
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
    layers: list[list[Point]] = [sorted(layer) for layer in networkx.topological_generations(graph)]
    lines = _through(layers, sorted(networkx.transitive_reduction(graph).edges))
    places = _places(layers, lines)
    height = max(top for _, top in places.values()) + BOX_HEIGHT + MARGIN
    drawn = [_arrow([places[point] for point in line]) for line in lines]
    drawn += [_box(nodes[point], *places[point]) for layer in layers for point in layer if isinstance(point, str)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}"><title>{escape(told)}</title>{"".join(drawn)}</svg>'
    )


def _through(layers: list[list[Point]], edges: list[tuple[str, str]]) -> list[list[Point]]:
    """The points that each arrow runs through: where it crosses layers, it gets a place of its own in each of them.

    After Sugiyama, Tagawa and Toda, Methods for visual understanding of hierarchical system structures (1981).
    """
    depth = {name: number for number, layer in enumerate(layers) for name in layer}
    lines: list[list[Point]] = []
    for tail, head in edges:
        crossed = [(tail, head, number) for number in range(depth[tail] + 1, depth[head])]
        for number, point in enumerate(crossed, depth[tail] + 1):
            layers[number].append(point)
        lines.append([tail, *crossed, head])
    return lines


def _places(layers: list[list[Point]], lines: list[list[Point]]) -> dict[Point, tuple[float, float]]:
    """Middle and top of each box or crossing: layers from top to bottom, each point near what it came from."""
    before: dict[Point, list[Point]] = {}
    for line in lines:
        for tail, head in pairwise(line):
            before.setdefault(head, []).append(tail)
    places: dict[Point, tuple[float, float]] = {}
    top = float(MARGIN)
    for layer in layers:
        wanted = {name: _middle([places[parent][0] for parent in before.get(name, [])]) for name in layer}
        for row in _rows(sorted(layer, key=lambda name: (wanted[name], str(name)))):
            for name, middle in zip(row, _spread(row, wanted), strict=True):
                places[name] = (middle, top)
            top += BOX_HEIGHT + GAP_Y
    return places


def _spread(row: list[Point], wanted: dict[Point, float]) -> list[float]:
    """Where the middles of a row come to stand: near to where each is wanted, side by side, within the picture."""
    middles: list[float] = []
    for name in row:
        room = middles[-1] + _apart(row[len(middles) - 1], name) if middles else float("-inf")
        middles.append(max(wanted[name], room))
    shift = sum(wanted[name] - middle for name, middle in zip(row, middles, strict=True)) / len(row)
    edge = MARGIN + _wide(row[0]) / 2
    for number, name in enumerate(row):  # not beyond the left edge
        middles[number] = max(middles[number] + shift, edge)
        edge = middles[number] + (_apart(name, row[number + 1]) if number + 1 < len(row) else 0)
    edge = WIDTH - MARGIN - _wide(row[-1]) / 2
    for number in reversed(range(len(row))):  # nor beyond the right one
        middles[number] = min(middles[number], edge)
        edge = middles[number] - (_apart(row[number - 1], row[number]) if number else 0)
    return middles


def _apart(left: Point, right: Point) -> float:
    return (_wide(left) + _wide(right)) / 2 + GAP_X


def _middle(places: list[float]) -> float:
    return sum(places) / len(places) if places else WIDTH / 2


def _rows(names: list[Point]) -> Iterator[list[Point]]:
    """A layer, broken where it would be wider than the page."""
    row: list[Point] = []
    for name in names:
        if row and sum(map(_wide, row)) + _wide(name) + GAP_X * len(row) > WIDTH - 2 * MARGIN:
            yield row
            row = []
        row.append(name)
    yield row


def _wide(point: Point) -> int:
    return BOX_WIDTH if isinstance(point, str) else CROSSING_WIDTH


def _arrow(points: list[tuple[float, float]]) -> str:
    """A curve from the foot of the first box, straight through each crossing, to the top of the last box."""
    (x, y), (last_x, last_y) = points[0], points[-1]
    y += BOX_HEIGHT
    path = f"M{x:.1f} {y:.1f}"
    for number, (next_x, next_y) in enumerate(points[1:], 1):
        is_last = number == len(points) - 1
        next_y -= 5 if is_last else 0
        middle = (y + next_y) / 2
        path += f" C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {next_y:.1f}"
        x, y = next_x, next_y
        if not is_last:
            y += BOX_HEIGHT
            path += f" L{x:.1f} {y:.1f}"
    return (
        f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1"/>'
        f'<path d="M{last_x - 3:.1f} {last_y - 6:.1f} L{last_x + 3:.1f} {last_y - 6:.1f} L{last_x:.1f} {last_y:.1f} Z" '
        f'fill="{LINE}"/>'
    )


def _box(node: Node, middle: float, top: float) -> str:
    left = middle - BOX_WIDTH / 2
    dash = ' stroke-dasharray="4 3"' if node.dashed else ""
    box = (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" fill="{node.fill}" '
        f'stroke="{LINE}" stroke-width="1"{dash}/>'
    )
    line = top + BOX_HEIGHT / 2 + 3.5
    if not node.detail:
        return box + _text(node.name, middle, line, "middle", 10, FONT)
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
