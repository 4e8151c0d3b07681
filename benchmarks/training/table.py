"""The table for people and the one line for programs, both from the same rows."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

from benchmarks.training.plan import CORRECTNESS, HEADLINE, INTERLEAVED

Row = dict[str, Any]
PAPER, OURS = ("paper", "paper, again"), ("ours", "ours, again")


def table(rows: list[Row]) -> str:
    """One line a row, failed ones and those that were not run included."""
    head = ("row", "shape", "method", "batch", "recompute", "tokens/s", "slowest-fastest", "MFU", "peak GB")
    head += ("loss", "status")
    lines = [head]
    for row in rows:
        if row["kind"] != "row":
            continue
        spread = f"{_number(row.get('tokens_per_second_low'))}-{_number(row.get('tokens_per_second_high'))}"
        batch = f"{row['micro_batch']} x {row['accumulation']}" if "micro_batch" in row else "-"
        lines.append(
            (
                row["name"],
                row.get("shape", "-"),
                row.get("method", "-"),
                batch,
                {True: "yes", False: "no"}.get(row.get("checkpointing"), "-"),
                _number(row.get("tokens_per_second")),
                spread if row.get("tokens_per_second") else "-",
                f"{row['mfu']:.1%}" if row.get("mfu") else "-",
                f"{row['peak_gb']:.2f}" if row.get("peak_gb") else "-",
                f"{row['loss']:.3f}" if row.get("loss") is not None else "-",
                row["status"],
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def summary(rows: list[Row]) -> dict[str, Any]:
    """The line of JSON; what was not measured is null."""
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in {row["kind"] for row in rows}}
    overhead, startup = (_first(of_kind, kind) for kind in ("overhead", "startup"))
    smoke = _first(of_kind, "smoke")
    speedups = speedup(rows)
    return {
        "device": smoke.get("device") or next((row["device"] for row in rows if row.get("device")), None),
        "rows": of_kind.get("row", []),
        "speedup_over_paper_recipe": statistics.median(speedups) if speedups else None,
        "speedups_in_turns": speedups,
        "overhead_over_bare_loop": overhead.get("overhead_over_bare_loop"),
        "startup_seconds": startup.get("startup_seconds"),
        "startup_cpu_seconds": startup.get("startup_cpu_seconds"),
        "time_to_target": time_to_target(_first(of_kind, "target").get("curves", {})),
        "smoke": smoke or None,
        "correctness": of_kind.get("correctness", []),
        "correct": _all_correct([row for row in of_kind.get("correctness", []) if row["phase"] == CORRECTNESS]),
        "overhead": overhead or None,
        "startup": startup or None,
        "base": _first(of_kind, "base") or None,
        "curves": _first(of_kind, "target").get("curves"),
        "not_ok": [f"{row['name']}: {row['status']}" for row in rows if row["status"] != "ok"],
    }


def _first(of_kind: dict[str, list[Row]], kind: str) -> Row:
    return next(iter(of_kind.get(kind, [])), {})


def _all_correct(found: list[Row]) -> bool | None:
    return all(row.get("passed", False) for row in found) if found else None


def speedup(rows: list[Row]) -> list[float]:
    """Ours over the paper's recipe, tokens a second without padding, turn by turn."""
    rates: dict[str, float] = {
        row["name"]: row["tokens_per_second"]
        for row in rows
        if row["kind"] == "row" and row["phase"] in (HEADLINE, INTERLEAVED) and row.get("tokens_per_second")
    }
    turns = zip(PAPER, OURS, strict=True)
    return [rates[ours] / rates[paper] for paper, ours in turns if {paper, ours} <= rates.keys()]


def time_to_target(curves: dict[str, Row]) -> list[dict[str, Any]] | None:
    """For what each written recipe ends at: how long every recipe needs to get there, on the same base and data."""
    points = {name: curve["points"] for name, curve in curves.items() if curve["points"]}
    found = []
    for recipe in ("paper", "paper at our rate"):
        if "ours" not in points or recipe not in points or not curves[recipe].get("finished"):
            continue
        goal = points[recipe][-1]["loss"]
        seconds = {name: reached(line, goal) for name, line in points.items()}
        found.append(
            {
                "target": goal,
                "what": f"where the recipe '{recipe}' ends",
                "untrained": points[recipe][0]["loss"],
                "seconds": seconds,
                "speedup": seconds[recipe] / seconds["ours"] if seconds["ours"] and seconds[recipe] else None,
            }
        )
    return found or None


def reached(points: list[dict[str, float]], goal: float) -> float | None:
    """Seconds at which a curve first is at a goal, between two looks on the straight line; None if it never is."""
    for before, after in itertools.pairwise(points):
        if after["loss"] <= goal:
            if not math.isfinite(before["loss"]) or before["loss"] <= after["loss"]:
                return after["seconds"]
            share = (before["loss"] - goal) / (before["loss"] - after["loss"])
            return before["seconds"] + min(1.0, share) * (after["seconds"] - before["seconds"])
    return None
