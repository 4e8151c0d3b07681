"""The lineage of a run as a picture: sources, steps, artifacts and the model in layers, each linked to where it is
described. Only places and sizes are computed here; the template writes them out, so that every name is escaped there.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import networkx as nx

from domainlm.audit.page.words import visible
from domainlm.ledger.run.manifest import RunManifest
from domainlm.names import INGEST, REGISTER

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 186, 46, 22, 34, 8
BEND = 14  # room for a line between two boxes
LETTERS = 20  # that a box has room for
MOST_NODES = 400  # more are no picture; the table beside it holds all
SWEEPS = 6
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
    steps = {step.name: f"step-{number}" for number, step in enumerate(manifest.steps)}
    for number, source in enumerate(manifest.sources):
        node = f"source-{number}"
        found.add_node(node, kind=SOURCE, label=source.name, detail=str(source.rows), anchor=node)
        if reader := steps.get(source.stage or INGEST):
            found.add_edge(node, reader)
    if manifest.model is not None:
        label = f"{manifest.model.name}/{manifest.model.version}"
        found.add_node(MODEL, kind=MODEL, label=label, detail=manifest.model.identity[:12], anchor="summary")
        parts = [made[digest] for digest in manifest.model.digests.values() if digest in made]
        found.add_edges_from((part, MODEL) for part in (*parts, steps.get(REGISTER)) if part)
    return found


def picture(manifest: RunManifest) -> Picture | None:
    """The layers from top to bottom; None where there are no steps, or more boxes than a picture can hold."""
    if not manifest.steps or sum(1 + len(step.inputs) + len(step.outputs) for step in manifest.steps) > 10 * MOST_NODES:
        return None  # not even counted
    found = graph(manifest)
    if len(found) > MOST_NODES:
        return None
    depths = _depths(found)
    laid, routes = _with_bends(found, depths)
    layers = _ordered(laid)
    widths = {node: WIDTH if node in found else BEND for node in laid}
    totals = [sum(widths[node] + GAP_X for node in layer) - GAP_X for layer in layers]
    width = max(totals) + 2 * MARGIN
    corners: dict[Any, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        x = (width - totals[depth]) / 2
        for node in layer:
            corners[node] = (x, MARGIN + depth * (HEIGHT + GAP_Y))
            x += widths[node] + GAP_X
    nodes = [
        Node(data["kind"], _fitting(data["label"]), _fitting(data["detail"]), data["anchor"], *corners[node])
        for node, data in sorted(found.nodes(data=True), key=lambda item: (corners[item[0]][1], corners[item[0]][0]))
    ]
    return Picture(
        width=width,
        height=2 * MARGIN + len(layers) * (HEIGHT + GAP_Y) - GAP_Y,
        nodes=nodes,
        edges=[_path([(corners[node], widths[node]) for node in route]) for route in routes],
    )


def _fitting(text: str) -> str:
    """As much of a name as a box has room for; letters of East Asian scripts take twice the room."""
    room, text = LETTERS, visible(text)
    for place, letter in enumerate(text):
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            return f"{text[: max(0, place - 1)]}…"
    return text


def _depths(found: nx.DiGraph) -> dict[Any, int]:
    """Layer of each node: below all that it was made from; what was made from nothing just above its first reader."""
    depths = {node: depth for depth, layer in enumerate(nx.topological_generations(found)) for node in layer}
    for node in found:
        if not found.pred[node] and found.succ[node]:
            depths[node] = min(depths[after] for after in found.succ[node]) - 1
    if MODEL in found:
        depths[MODEL] = max(depths.values())  # also where the run does not say what it was made from
    return depths


def _with_bends(found: nx.DiGraph, depths: dict[Any, int]) -> tuple[nx.DiGraph, list[list[Any]]]:
    """The graph with a bend in every layer that an edge crosses, so that no line runs through a box; and each edge's
    way."""
    laid, routes = nx.DiGraph(), []
    laid.add_nodes_from((node, {"depth": depths[node]}) for node in found)
    for start, end in found.edges:
        bends = [(start, end, depth) for depth in range(depths[start] + 1, depths[end])]
        laid.add_nodes_from((bend, {"depth": bend[2]}) for bend in bends)
        routes.append([start, *bends, end])
        nx.add_path(laid, routes[-1])
    return laid, routes


def _ordered(laid: nx.DiGraph) -> list[list[Any]]:
    """The layers, each in the order of the middle of its neighbours (Sugiyama, Tagawa, Toda 1981)."""
    layers: list[list[Any]] = [[] for _ in range(1 + max(laid.nodes[node]["depth"] for node in laid))]
    for node in laid:
        layers[laid.nodes[node]["depth"]].append(node)
    places = {node: place / len(layer) for layer in layers for place, node in enumerate(layer)}
    for sweep in range(SWEEPS):
        near = laid.pred if sweep % 2 == 0 else laid.succ
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            middles = {
                node: fmean(places[other] for other in near[node]) if near[node] else places[node] for node in layer
            }
            layer.sort(key=lambda node: (middles[node], str(node)))
            places.update({node: (place + 0.5) / len(layer) for place, node in enumerate(layer)})
    return layers


def _path(stops: list[tuple[tuple[float, float], float]]) -> str:
    """From the lower edge of the first box through the bends to the upper edge of the last."""
    (x, y), width = stops[0]
    drawn = [f"M{x + width / 2:.1f} {y + HEIGHT:.1f}"]
    for place, ((next_x, next_y), next_width) in enumerate(stops[1:], 1):
        x, y, to_x = x + width / 2, y + HEIGHT, next_x + next_width / 2
        to_y = next_y - (1 if place == len(stops) - 1 else 0)
        middle = (y + to_y) / 2
        drawn.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        if place < len(stops) - 1:
            drawn.append(f"V{next_y + HEIGHT:.1f}")
        x, y, width = next_x, next_y, next_width
    return "".join(drawn)
