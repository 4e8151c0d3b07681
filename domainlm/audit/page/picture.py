"""The lineage of a run as a picture: sources, steps, artifacts and the model in layers, each linked to where it is
described. Only places and sizes are computed here; the template writes them out, so that every name is escaped there.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from domainlm.audit.page.words import cut
from domainlm.ledger.manifest import RunManifest

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 186, 46, 22, 34, 8
MOST_NODES = 400  # more are no picture; the table beside it holds all
SWEEPS = 4
SOURCE, STEP, ARTIFACT, MODEL = "source", "step", "artifact", "model"


@dataclass(frozen=True)
class Node:
    """A box: what it is, its two lines, where it leads (an anchor on the page), and its upper left corner."""

    kind: str
    label: str
    detail: str
    anchor: str
    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """Boxes and the paths between them, in pixels.

    Args:
        edges: SVG path data, from the lower edge of one box to the upper of another.
    """

    width: float
    height: float
    nodes: list[Node]
    edges: list[str]


def graph(manifest: RunManifest) -> nx.DiGraph:
    """What was made from what: nodes bear `kind`, `label`, `detail` and `anchor`.

    An artifact is one node however often it is used; a step that passes its input through unchanged makes a second one,
    since else the graph would turn in a circle.
    """
    found = nx.DiGraph()
    made: dict[str, str] = {}
    for number, step in enumerate(manifest.steps):
        node = f"step-{number}"
        found.add_node(node, kind=STEP, label=step.name, detail=step.status, anchor=node)
        for name, digest in step.inputs.items():
            known = made.get(digest)
            if known is None:
                known = made[digest] = f"artifact-{digest}"
                found.add_node(known, kind=ARTIFACT, label=name, detail=digest[:12], anchor=node)
            found.add_edge(known, node)
        for name, digest in step.outputs.items():
            known = made.get(digest)
            if known is None or nx.has_path(found, known, node):
                known = made[digest] = f"artifact-{number}-{digest}"
                found.add_node(known, kind=ARTIFACT, label=name, detail=digest[:12], anchor=node)
            found.add_edge(node, known)
    readers = [f"step-{number}" for number, step in enumerate(manifest.steps) if step.name.endswith("ingest")]
    for number, source in enumerate(manifest.sources):
        node = f"source-{number}"
        found.add_node(node, kind=SOURCE, label=source.name, detail=str(source.rows), anchor=node)
        found.add_edges_from((node, reader) for reader in readers[-1:])
    if manifest.model is not None:
        label = f"{manifest.model.name}/{manifest.model.version}"
        found.add_node("model", kind=MODEL, label=label, detail=manifest.model.identity[:12], anchor="summary")
        parts = [made[digest] for digest in manifest.model.digests.values() if digest in made]
        last = [f"step-{number}" for number, step in enumerate(manifest.steps) if step.name == "register"]
        found.add_edges_from((part, "model") for part in parts or last or list(found)[:0])
    return found


def picture(manifest: RunManifest) -> Picture | None:
    """The layers from top to bottom; None where there are no steps, or more boxes than a picture can hold."""
    found = graph(manifest)
    if not manifest.steps or len(found) > MOST_NODES:
        return None
    layers = [list(layer) for layer in nx.topological_generations(found)]
    places = {node: place for layer in layers for place, node in enumerate(layer)}
    for sweep in range(SWEEPS):  # order within a layer by the middle of the neighbours (Sugiyama et al. 1981)
        near = found.predecessors if sweep % 2 == 0 else found.successors
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            middles = {
                node: sum(places[other] for other in near(node)) / max(1, len(list(near(node))))
                if any(True for _ in near(node))
                else places[node]
                for node in layer
            }
            layer.sort(key=lambda node: (middles[node], node))
            places.update({node: place for place, node in enumerate(layer)})
    width = max(len(layer) for layer in layers) * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    corners: dict[str, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        start = (width - len(layer) * (WIDTH + GAP_X) + GAP_X) / 2
        for place, node in enumerate(layer):
            corners[node] = (start + place * (WIDTH + GAP_X), MARGIN + depth * (HEIGHT + GAP_Y))
    nodes = [
        Node(data["kind"], cut(data["label"], 24), cut(data["detail"], 24), data["anchor"], *corners[node])
        for node, data in sorted(found.nodes(data=True), key=lambda item: (corners[item[0]][1], corners[item[0]][0]))
    ]
    return Picture(
        width=width,
        height=2 * MARGIN + len(layers) * (HEIGHT + GAP_Y) - GAP_Y,
        nodes=nodes,
        edges=[_path(corners[start], corners[end]) for start, end in found.edges],
    )


def _path(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH / 2, start[1] + HEIGHT, end[0] + WIDTH / 2, end[1] - 1
    bend = GAP_Y * 0.8
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
