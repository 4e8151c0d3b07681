"""What is run, in which order, and for how long at most.

The order is that of need: a smoke that costs a minute, correctness before any speed, the rows that stand for the
claims, the baseline and ours in turns, and one-factor ablations last: what the time does not suffice for is then the
least important, and stands in the table as not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

Job = dict[str, Any]

SMOKE, CORRECTNESS, HEADLINE, INTERLEAVED, ABLATION, CPU_ONLY = (
    "smoke", "correctness", "headline", "interleaved", "ablation", "cpu"
)  # fmt: skip
PHASES = (SMOKE, CORRECTNESS, HEADLINE, INTERLEAVED, ABLATION, CPU_ONLY)
BLOCKS, STEPS, WARMUP = 3, 20, 5
# of `benchmarks.training.correctness`; compiling takes longer than all others and comes last, if at all
VARIANTS = [
    ("lora", "packed"), ("lora", "chunked loss"), ("lora", "fused optimizer"), ("lora", "checkpointing"),
    ("lora", "batch 1 x 4"), ("lora", "all of ours"), ("qlora", "all of ours"),
]  # fmt: skip


def plan(toy: bool, work: Path, threads: int, phases: tuple[str, ...] = PHASES, base: str | None = None) -> list[Job]:
    """All jobs in order.

    Args:
        toy: toy shapes on a CPU; else the real ones on a GPU.
        work: where the pre-trained base of the CPU's jobs lies.
        threads: CPU threads of each process.
        phases: those that are wanted.
        base: a folder with a base to use in place of a pre-trained one.
    """
    common = {"toy": toy, "threads": threads}
    jobs = _shared(toy)
    if toy:  # toys say little about ablations: what only a CPU is asked for comes before them
        jobs = sorted([*jobs, *_cpu(work, base)], key=lambda job: job["phase"] == ABLATION)
    return [common | job for job in jobs if job["phase"] in phases]


def candidate(micro_batch: int, checkpointing: bool = False, **more: Any) -> dict[str, Any]:
    """A way to run a row: records of one pass, with or without recomputation."""
    return {"micro_batch": micro_batch, "checkpointing": checkpointing} | more


def _row(phase: str, name: str, base: str, recipe: str, data: str | int, candidates: list[Any], **more: Any) -> Job:
    job = {
        "kind": "row", "phase": phase, "name": name, "base": base, "recipe": recipe, "data": data,
        "candidates": candidates, "changes": {}, "choose": "first that fits",
        "blocks": BLOCKS, "steps": STEPS, "warmup": WARMUP,
    }  # fmt: skip
    return job | more


def _shared(toy: bool) -> list[Job]:
    """The phases that both machines have; limits in seconds are a GPU's, a CPU's toys end long before them."""
    # records of one packed pass: about 8,000 and 4,000 tokens of the glossary's pairs on the GPU
    many, half = (32, 16) if toy else (192, 96)
    long, middle = (256, 128) if toy else (4096, 2048)
    ours = [candidate(many), candidate(half)]
    long_rows = [candidate(1), candidate(1, True)]
    llama = {"rank": 16, "alpha": 32.0, "dropout": 0.0, "target_modules": ("auto",)}
    four_bit = llama | {"method": "qlora"}
    large = [candidate(1), candidate(2), candidate(2, True)]

    # a toy's compiling takes longer than all else of a CPU's run
    compiled = [] if toy else [
        _row(HEADLINE, f"lora, {long} tokens, compiled", "llama", "ours", long, long_rows,
             changes=llama | {"compile": True}, limit_s=80)
    ]  # fmt: skip

    def paper(phase: str, name: str, **more: Any) -> Job:
        return _row(phase, name, "falcon", "paper", "glossary", [candidate(2, True)], limit_s=80, **more)

    def fast(phase: str, name: str, **more: Any) -> Job:
        return _row(phase, name, "falcon", "ours", "glossary", more.pop("candidates", ours), **({"limit_s": 60} | more))

    jobs: list[Job] = [
        {"kind": "smoke", "phase": SMOKE, "name": "smoke", "limit_s": 60},
        *(
            {
                "kind": "correctness", "phase": CORRECTNESS, "name": f"correctness, {kind}", "base": kind,
                "limit_s": 75, "control": True, "variants": VARIANTS,
            }
            for kind in ("falcon", "llama")
        ),
        paper(HEADLINE, "paper"),
        fast(HEADLINE, "ours"),
        _row(HEADLINE, f"lora, {long} tokens", "llama", "ours", long,
             long_rows, changes=llama, limit_s=60),
        *compiled,
        _row(HEADLINE, f"qlora, {long} tokens, best batch", "llama", "ours", long, large, changes=four_bit,
             choose="fastest", limit_s=120),
        _row(HEADLINE, f"qlora, {middle} tokens, small card", "llama", "ours", middle, [candidate(1, True)],
             changes=four_bit | {"optimizer": "adamw_8bit"}, limit_s=60),
        paper(INTERLEAVED, "paper, again"),
        fast(INTERLEAVED, "ours, again", after="ours"),
        *_ablations(fast, toy, many),
    ]  # fmt: skip
    return jobs


def _ablations(fast: Any, toy: bool, many: int) -> list[Job]:
    """Ours with one thing changed, at the micro-batch that ours was measured at."""
    found = [
        fast(ABLATION, "ours in 4 bits", changes={"method": "qlora"}, after="ours"),
        fast(ABLATION, "ours, padded at random", changes={"batching": "random"}, after="ours"),
        fast(ABLATION, "ours, all logits at once", changes={"loss_chunk_tokens": None}, after="ours"),
    ]
    more: list[Job] = [
        fast(ABLATION, "ours, recomputing", candidates=[candidate(many, True)], after="ours"),
        fast(ABLATION, "ours, grouped by length", changes={"batching": "grouped"}, after="ours"),
        fast(ABLATION, "ours, AdamW not fused", changes={"optimizer": "adamw_torch"}, after="ours"),
        fast(ABLATION, "ours, without dropout", changes={"dropout": 0.0}, after="ours"),
        fast(ABLATION, "ours, loader of its own", changes={"loader_workers": 2}, after="ours"),
        {
            "kind": "correctness", "phase": ABLATION, "name": "correctness, compiled", "base": "falcon",
            "limit_s": 90, "control": False, "variants": [("lora", "compiled")],
        },
        fast(ABLATION, "ours, compiled", changes={"compile": True}, after="ours", limit_s=90),
    ]  # fmt: skip
    return found if toy else found[:1] + more[:1] + found[1:] + more[1:]


def _cpu(work: Path, base: str | None) -> list[Job]:
    """What only a CPU is asked for."""
    folder = {"folder": base or str(work)}
    found: list[Job] = [
        {"kind": "overhead", "phase": CPU_ONLY, "name": "overhead over a bare loop", "turns": 5, "steps": 8,
         "warmup": 3, "limit_s": 60},
    ]  # fmt: skip
    if base is None:
        found.append(
            {"kind": "base", "phase": CPU_ONLY, "name": "a base that was trained", "steps": 160, "limit_s": 60} | folder
        )
    found.append({"kind": "startup", "phase": CPU_ONLY, "name": "start-up", "limit_s": 40} | folder)
    changes = {"batch_size": 16, "batching": "packed", "optimizer": "adamw_torch_fused"}
    found.append(
        {"kind": "target", "phase": CPU_ONLY, "name": "time to a held-out loss", "steps": 60, "paper_steps": 60,
         "every": 10, "changes": changes, "limit_s": 100} | folder
    )  # fmt: skip
    return found
