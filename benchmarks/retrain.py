"""Does retraining keep what it promises: noticed in time, cheap while idle, every batch trained once whatever dies?

    python benchmarks/retrain.py [--quick] [--only runners,scanning,watching]

Joins three measurements, each of which also runs alone and says how it measures: `benchmarks.retraining.runners` (eight
runner processes, 1,000 batches, random kill -9; SQLite, and PostgreSQL where one is installed), `scanning` (a look into
a zone of 100,000 files) and `watching` (how soon a real `domainlm watch` notices, and what it costs while idle). They
run one after the other, so that none disturbs another: 14 minutes on four busy cores, `--quick` four.

Prints a table of what was wanted and what was found, and ends with one line of JSON. Exit code 1 where a batch was lost
or trained twice: that is never a matter of a slow machine; times and sizes are.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

# Runners first: they are forked, and a light parent makes light children.
PARTS = ("runners", "scanning", "watching")


class Wanted(NamedTuple):
    """A figure and what it should be: at most `most`, or equal to another figure."""

    figure: str
    told: str
    most: float | None = None
    equals: str = ""


WANTED = (
    Wanted("batches", "batches that 8 runners shared (SQLite)"),
    Wanted("trained_once", "of them with one accepted result", equals="batches"),
    Wanted("lost", "of them with none", most=0),
    Wanted("duplicate_starts", "starts of a batch that another runner had started"),
    Wanted("postgresql_batches", "batches that 8 runners shared (PostgreSQL)"),
    Wanted("postgresql_trained_once", "of them with one accepted result", equals="postgresql_batches"),
    Wanted("postgresql_lost", "of them with none", most=0),
    Wanted("postgresql_duplicate_starts", "starts of a batch that another runner had started"),
    Wanted("scan_seconds_100k", "s for a look at 100,000 files when nothing is new", most=10),
    Wanted("notice_seconds", "s from complete to landed, the worst", most=2),
    Wanted("idle_mb", "MB (2^20 bytes) of an idle watcher, the worst", most=150),
    Wanted("idle_cpu_percent", "% of one core of an idle watcher told by the kernel, the worst", most=1),
)


def main() -> int:
    """Measure, print, and say by the exit code whether a batch was lost or trained twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small form of each part, to see whether it works")
    parser.add_argument("--only", default=",".join(PARTS), help="some of the parts, with commas")
    given = parser.parse_args()
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"there is no part '{min(unknown)}': known are {', '.join(PARTS)}")
    figures: dict[str, float | int] = {"cores": os.cpu_count() or 0, "load": round(os.getloadavg()[0], 2)}
    for part in PARTS:
        if part in chosen:
            print(f"--- {part}", flush=True)
            began = time.perf_counter()
            figures |= importlib.import_module(f"benchmarks.retraining.{part}").measure(quick=given.quick)
            figures[f"{part}_seconds"] = round(time.perf_counter() - began, 1)
    print("---")
    for wanted in WANTED:
        if wanted.figure in figures:
            print(line(wanted, figures))
    print(json.dumps({name: round(value, 4) for name, value in sorted(figures.items())}))
    return 0 if sound(figures) else 1


def line(wanted: Wanted, figures: dict[str, float | int]) -> str:
    """One figure for people."""
    value = figures[wanted.figure]
    bound = figures[wanted.equals] if wanted.equals else wanted.most
    said = "" if bound is None else f"wanted {'' if wanted.equals or bound == 0 else 'at most '}{bound:g}"
    return f"{wanted.figure:<30}{value:>10.4g}  {said:<18}{'' if met(wanted, figures) else 'NOT MET  '}{wanted.told}"


def met(wanted: Wanted, figures: dict[str, float | int]) -> bool:
    """Whether a figure is what was wanted; one without a wish always is."""
    value = figures[wanted.figure]
    if wanted.equals:
        return value == figures[wanted.equals]
    return wanted.most is None or value <= wanted.most


def sound(figures: dict[str, float | int]) -> bool:
    """Whether every batch was trained once, on each database that was measured."""
    exact = [wanted for wanted in WANTED if wanted.equals or wanted.most == 0]
    return all(met(wanted, figures) for wanted in exact if wanted.figure in figures)


if __name__ == "__main__":
    sys.exit(main())
