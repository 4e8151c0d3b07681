"""The benchmark of training, judged: what it counts, what it keeps when something fails, and that it can be wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.training import plan as plans  # noqa: E402
from benchmarks.training import rows as row_data  # noqa: E402
from benchmarks.training import table as tables  # noqa: E402
from benchmarks.training.runner import Runner  # noqa: E402
from benchmarks.training.shapes import CPU_BASES, GPU_BASES  # noqa: E402

STATUSES = {"ok", "short", "failed", "out of memory", "out of time", "died", "not run: out of time"}
# all that a GPU machine has, and all that `--wheels` may bring: everything else must not be needed
ABSENT = (
    "datasets", "evaluate", "great_expectations", "lm_eval", "matplotlib", "mlflow", "optuna", "pandas",
    "presidio_analyzer", "ray", "scipy", "sklearn", "spacy", "tensorboard", "zenml",
)  # fmt: skip


def job_of(name: str, /, toy: bool = True, **changes: Any) -> dict[str, Any]:
    """A job of the plan, shortened."""
    found = next(job for job in plans.plan(toy, Path("/nowhere"), 1) if job["name"] == name)
    short = {"limit_s": 120.0, "deadline": time.monotonic() + 120, "peak_flops": None, "matrix_flops": 1e11}
    return found | short | {"steps": 3, "blocks": 2, "warmup": 1} | changes


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Sums in one order, and one processor of a machine that others use."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


# -- the program


def test_the_program_ends_in_time_with_every_row_in_one_line_of_json(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/train.py", "--device", "cpu", "--budget-s", "12", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=200)
    report = json.loads(done.stdout.splitlines()[-1])
    planned = plans.plan(True, tmp_path, 1)
    kept = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["name"] for row in kept] == [job["name"] for job in planned]
    assert {row["status"] for row in kept} <= STATUSES
    assert kept[-1]["status"] == "not run: out of time", "twelve seconds do not suffice for seventeen processes"
    assert [row["name"] for row in report["rows"]] == [job["name"] for job in planned if job["kind"] == "row"]
    wanted = (
        "device rows speedup_over_paper_recipe overhead_over_bare_loop startup_seconds smoke correctness mode seconds"
    )
    assert set(wanted.split()) <= report.keys() and report["mode"] == "cpu"
    assert report["overhead_over_bare_loop"] is None, "what was not measured is null"
    assert (done.returncode == 0) == (report["smoke"]["status"] == "ok" and report["correct"] is not False)
    assert json.loads((tmp_path / "summary.json").read_text()) == report
    assert "not run: out of time" in done.stdout and not list(tmp_path.glob("domainlm-benchmark-*"))


def test_what_fails_dies_or_is_late_stays_in_the_table(tmp_path: Path) -> None:
    told: list[str] = []
    runner = Runner(300, tmp_path, environment(), lambda row: told.append(row["name"]))
    jobs = [
        job_of("ours", name="no such base", base="none"),
        job_of("ours", name="late", steps=10_000, limit_s=2.0),
    ]
    rows = {row["name"]: row for row in runner.run(jobs)}
    assert told == ["no such base", "late"]
    assert rows["no such base"]["status"] == "failed" and "KeyError" in rows["no such base"]["error"]
    assert rows["late"]["status"] == "out of time" and not rows["late"].get("blocks")
    kept = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["name"] for row in kept] == told, "each is written when it ends"
    text = tables.table(list(rows.values()))
    assert all(f"{name} " in text and rows[name]["status"] in text for name in told)
    dead = Runner(30, tmp_path / "dead", environment() | {"PYTHONHOME": "/nowhere"})
    assert dead.run([job_of("ours")])[0]["status"] == "died"


def test_no_time_left_is_a_row_and_no_process(tmp_path: Path) -> None:
    rows = Runner(0, tmp_path, {}).run([job_of("paper"), job_of("ours")])
    assert [row["status"] for row in rows] == ["not run: out of time"] * 2
    assert not list(tmp_path.glob("workers*"))


def test_two_devices_never_share_a_table(tmp_path: Path) -> None:
    runner = Runner(0, tmp_path, {})
    runner._keep(job_of("paper"), {"status": "ok", "device": "NVIDIA H100 80GB HBM3"})
    with pytest.raises(RuntimeError, match="H200"):
        runner._keep(job_of("ours"), {"status": "ok", "device": "NVIDIA H200"})


def test_a_row_needs_nothing_but_what_a_gpu_machine_has() -> None:
    program = (
        "import sys, json, time; sys.modules.update(dict.fromkeys(json.loads(sys.argv[2])))\n"
        "from benchmarks.training import jobs\n"
        "job = json.loads(sys.argv[1]); job['deadline'] = time.monotonic() + 100\n"
        "print(json.dumps(jobs.row(job, jobs.Channel())['status']))"
    )
    arguments = [json.dumps(job_of("ours")), json.dumps(ABSENT)]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ['"ok"'], done.stderr[-2000:]


def test_an_unknown_phase_ends_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/train.py", "--phases", "smoke,speed"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "no phase speed" in done.stderr


def test_wheels_come_first_and_an_empty_folder_is_refused(tmp_path: Path) -> None:
    from benchmarks import train

    with pytest.raises(SystemExit, match="holds no wheel"):
        train.install(tmp_path, tmp_path / "site")
    name = "domainlm_probe-1.0"
    with zipfile.ZipFile(tmp_path / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("domainlm_probe.py", "value = 1\n")
        about = "Metadata-Version: 2.1\nName: domainlm-probe\nVersion: 1.0\nRequires-Dist: nowhere-to-be-found\n"
        wheel.writestr(f"{name}.dist-info/METADATA", about)
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")
    train.install(tmp_path, tmp_path / "site")
    assert (tmp_path / "site" / "domainlm_probe.py").is_file()
    path = train.environment(tmp_path / "site", tmp_path / "temporary", 3)
    assert path["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "site")
    assert (path["OMP_NUM_THREADS"], path["HF_HUB_OFFLINE"]) == ("3", "1") and Path(path["TMPDIR"]).is_dir()


# -- what a row counts


@pytest.mark.parametrize("name", ["paper", "ours"])
def test_the_numbers_of_a_row_agree_with_each_other(name: str) -> None:
    from benchmarks.training import jobs
    from domainlm.models.shapes import Shape

    told: list[dict[str, Any]] = []
    job = job_of(name)
    row = jobs.row(job, jobs.Channel(told.append))
    assert row["status"] == "ok" and len(row["blocks"]) == len(told) == 2
    for block in row["blocks"]:
        assert block["tokens"] > 0 and block["seconds"] > 0 and block["steps"] == 3
        records = 3 * row["micro_batch"] * row["accumulation"]
        assert block["tokens"] - block["supervised"] == records, "all but a row's first token is learned"
        assert block["padded"] > block["tokens"] if name == "paper" else block["padded"] == block["tokens"]
    rates = sorted(block["tokens"] / block["seconds"] for block in row["blocks"])
    assert [row["tokens_per_second_low"], row["tokens_per_second_high"]] == pytest.approx(rates)
    assert row["tokens_per_second"] == pytest.approx(sum(rates) / 2)
    assert row["tokens"] == sum(block["tokens"] for block in row["blocks"])
    assert row["seconds"] == pytest.approx(sum(block["seconds"] for block in row["blocks"]))
    assert row["mfu"] is None and row["memory_counter"].startswith("getrusage") and row["peak_gb"] > 0.1
    assert row["mfu_of_measured_rate"] == pytest.approx(row["tokens_per_second"] * row["flop_per_token"] / 1e11)
    frozen = 4 * Shape.of(CPU_BASES["falcon"].config).matmul_parameters
    assert frozen < row["flop_per_token"] < 3 * frozen
    assert (row["checkpointing"], row["method"]) == ((True, "qlora") if name == "paper" else (False, "lora"))


def test_the_flop_of_a_token_are_those_of_the_arithmetic() -> None:
    from domainlm.models.shapes import Shape
    from domainlm.train.watch.flops import flops_per_token, peak_flops

    shape = Shape.of(GPU_BASES["llama"].config)
    adapters = 16 * sum(linear.count * (linear.inputs + linear.outputs) for linear in shape.linears)
    flop = flops_per_token(shape, "lora", 4096, adapters)
    assert flop == pytest.approx(33.2e9, rel=0.02)
    assert 14_000 * flop / peak_flops("NVIDIA H100 80GB HBM3") == pytest.approx(0.47, abs=0.01)


def test_a_row_whose_every_candidate_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from benchmarks.training import bases, jobs

    def too_large(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(bases, "prepared", too_large)
    job = job_of("ours", candidates=[plans.candidate(1), plans.candidate(2)])
    row = jobs.row(job, jobs.Channel())
    assert row["status"] == "out of memory" and [probe["status"] for probe in row["probes"]] == ["out of memory"] * 2
    fastest = jobs.row(job | {"choose": "fastest"}, jobs.Channel())
    assert fastest["status"] == "out of memory" and len(fastest["probes"]) == 2
    monkeypatch.setattr(bases, "prepared", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        jobs.row(job, jobs.Channel())
    assert jobs.is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not jobs.is_out_of_memory(RuntimeError("no kernel"))


def test_a_row_that_the_product_would_halve_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from benchmarks.training import jobs
    from domainlm.train.trainer import CompletionTrainer

    inside = CompletionTrainer._pass

    def narrow(self: Any, model: Any, inputs: Any, number: Any) -> Any:
        if len(inputs["index"] if "index" in inputs else inputs["input_ids"][0]) > 600:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inside(self, model, inputs, number)

    monkeypatch.setattr(CompletionTrainer, "_pass", narrow)
    row = jobs.row(job_of("ours", candidates=[plans.candidate(32), plans.candidate(8)]), jobs.Channel())
    assert (row["status"], row["micro_batch"]) == ("ok", 8)
    assert [(probe["micro_batch"], probe["status"]) for probe in row["probes"]] == [(32, "out of memory")]


def test_the_fastest_candidate_is_measured() -> None:
    from benchmarks.training import jobs

    job = job_of("ours", choose="fastest", candidates=[plans.candidate(1), plans.candidate(32)])
    row = jobs.row(job, jobs.Channel())
    speeds = {probe["micro_batch"]: probe["tokens_per_second"] for probe in row["probes"]}
    assert row["micro_batch"] == max(speeds, key=speeds.get) and len(speeds) == 2


# -- correctness


def test_a_variant_that_trains_another_model_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.training import correctness, jobs

    monkeypatch.setitem(correctness.VARIANTS, "a little faster", {"learning_rate": 2.1e-3})
    monkeypatch.setitem(correctness.VARIANTS, "broken", {"loss_weighting": "none"})
    job = job_of("correctness, llama")
    names = [("lora", "all of ours"), ("lora", "a little faster"), ("lora", "broken")]
    found = correctness.correctness(job | {"variants": names}, jobs.Channel())
    statuses = [found["variants"][f"lora, {name}"]["status"] for _, name in names]
    assert statuses == ["follows", "strays", "failed"] and not found["passed"]
    assert found["control"]["seen"] and found["control"]["difference"] > 20 * found["tolerance"]


def test_what_follows_in_all_variants_passes() -> None:
    from benchmarks.training import correctness, jobs

    names = [("lora", "packed"), ("lora", "all of ours"), ("qlora", "all of ours")]
    assert set(names) < set(plans.VARIANTS) and {name for _, name in plans.VARIANTS} < correctness.VARIANTS.keys()
    found = correctness.correctness(job_of("correctness, falcon", variants=names), jobs.Channel())
    assert found["passed"] and set(found["baselines"]) == {"lora", "qlora"}
    assert [entry["status"] for entry in found["variants"].values()] == ["follows"] * len(names)


# -- bases, rows, recipes, plan


@pytest.mark.parametrize("kind", ["falcon", "llama"])
def test_a_base_is_made_block_by_block_in_its_real_shape(kind: str) -> None:
    import torch

    from benchmarks.training import bases
    from domainlm.models.loading import quantized_layers
    from domainlm.models.shapes import Shape

    real = bases.random_base(GPU_BASES[kind], "none", torch.bfloat16, "meta")
    assert sum(value.numel() for value in real.parameters()) == {"falcon": 6_921_720_704, "llama": 8_030_261_248}[kind]
    everything = [*real.parameters(), *real.buffers()]
    assert all(value.device.type == "meta" for value in everything), "nothing is made elsewhere than on the device"
    toy = bases.random_base(CPU_BASES[kind], "nf4", torch.float32, "cpu")
    layers = sum(linear.count for linear in Shape.of(CPU_BASES[kind].config).linears)
    assert len(quantized_layers(toy)) == layers
    plain = bases.random_base(CPU_BASES[kind], "none", torch.float32, "cpu")
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        one, other = (model.eval()(input_ids=ids).logits.flatten() for model in (plain, toy))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.9, "the same weights, in 4 bits"


def test_rows_have_the_lengths_of_the_glossary_and_no_padding() -> None:
    lengths = row_data.glossary_lengths()
    assert sum(lengths) / len(lengths) == pytest.approx(row_data.PAPER_TOKENS, rel=0.01)
    drawn = row_data.drawn(lengths, 200, 500, seed=1)
    assert drawn == row_data.drawn(lengths, 200, 500, seed=1) != row_data.drawn(lengths, 200, 500, seed=2)
    tokens = [token for head, tail in drawn.rows for token in head + tail]
    assert row_data.FIRST_FREE <= min(tokens) and max(tokens) < 500
    assert {len(head) for head, _ in drawn.rows} == {1}
    assert {len(head) + len(tail) for head, tail in drawn.rows} <= set(lengths)
    few = row_data.drawn([10], 20, 500, seed=1, variety=5)
    assert len({token for head, tail in few.rows for token in head + tail}) == 5
    assert row_data.effective_length(few) == 10


def test_the_papers_recipe_is_the_papers() -> None:
    from benchmarks.training import recipes

    paper = recipes.paper(max_steps=60)
    assert (paper.method, paper.quantization, paper.rank, paper.alpha, paper.dropout) == ("qlora", "nf4", 32, 32, 0.05)
    assert (paper.batch_size, paper.gradient_accumulation, paper.optimizer) == (2, 2, "paged_adamw_32bit")
    assert (paper.learning_rate, paper.scheduler, paper.max_grad_norm) == (2e-4, "cosine", 0.3)
    assert paper.gradient_checkpointing and len(paper.target_modules) == 4
    ours = recipes.ours(max_steps=60)
    same = "rank alpha dropout target_modules learning_rate scheduler max_grad_norm".split()
    assert all(getattr(paper, name) == getattr(ours, name) for name in same)
    assert (ours.method, ours.batching, ours.gradient_checkpointing) == ("lora", "packed", False)


def test_both_machines_run_the_same_phases_in_the_order_of_need() -> None:
    toys, real = (plans.plan(toy, Path("/nowhere"), 1) for toy in (True, False))
    phases = [job["phase"] for job in real]
    assert phases == sorted(phases, key=plans.PHASES.index) and "cpu" not in phases
    names = {job["name"].replace("256", "4096").replace("128", "2048") for job in toys if job["phase"] != "cpu"}
    assert names <= {job["name"] for job in real}
    rows = [job for job in real if job["kind"] == "row"]
    assert all((job["blocks"], job["steps"]) == (3, 20) and job["warmup"] >= 3 for job in rows)
    assert {job["data"] for job in rows} == {"glossary", 4096, 2048}
    turns = [job["name"] for job in rows if job["name"] in (*tables.PAPER, *tables.OURS)]
    assert turns == ["paper", "ours", "paper, again", "ours, again"], "A B A B"
    only = plans.plan(True, Path("/nowhere"), 1, phases=("smoke",))
    assert [job["name"] for job in only] == ["smoke"]
    with_base = plans.plan(True, Path("/nowhere"), 1, phases=("cpu",), base="/there")
    assert {job["kind"] for job in with_base} == {"overhead", "startup", "target"}


def test_what_follows_another_row_takes_its_best_micro_batch(tmp_path: Path) -> None:
    runner = Runner(0, tmp_path, {})
    runner.rows.append({"name": "ours", "micro_batch": 7})
    job = runner._informed(job_of("ours, again", candidates=[plans.candidate(1), plans.candidate(2)]))
    assert job["candidates"] == [plans.candidate(7)]
    assert runner._informed(job_of("paper"))["candidates"] == [plans.candidate(2, True)]


# -- the table


def test_the_speedup_is_the_middle_of_the_turns() -> None:
    def row(name: str, rate: float | None, phase: str = "headline") -> dict[str, Any]:
        return {"name": name, "kind": "row", "phase": phase, "status": "ok", "tokens_per_second": rate}

    rows = [row("paper", 10.0), row("ours", 200.0), row("paper, again", 20.0), row("ours, again", 600.0)]
    assert tables.speedup(rows) == [20.0, 30.0] and tables.summary(rows)["speedup_over_paper_recipe"] == 25.0
    assert tables.summary([row("paper", None), row("ours", 3.0)])["speedup_over_paper_recipe"] is None


def test_a_target_is_reached_on_the_line_between_two_looks() -> None:
    def curve(*losses: float) -> dict[str, Any]:
        points = [{"step": step, "seconds": float(step), "loss": loss} for step, loss in enumerate(losses)]
        return {"points": points, "finished": True}

    assert tables.reached(curve(4, 3, 1)["points"], 2.0) == 1.5
    assert tables.reached(curve(4, 3)["points"], 2.0) is None
    found = tables.time_to_target({"paper": curve(4, 3.5, 3), "ours": curve(4, 2)})
    assert [(entry["target"], entry["seconds"], entry["speedup"]) for entry in found] == [
        (3, {"paper": 2.0, "ours": 0.5}, 4.0)
    ]
    unfinished = curve(4, 3) | {"finished": False}
    assert tables.time_to_target({"paper": unfinished, "ours": curve(4, 2)}) is None
    assert tables.time_to_target({"paper": curve(4, 3)}) is None


# -- what only a CPU is asked for


def test_the_trainer_is_compared_with_a_bare_loop_in_turns() -> None:
    from benchmarks.training import cpu, jobs

    job = job_of("overhead over a bare loop", turns=2, steps=2, warmup=1)
    found = cpu.overhead(job, jobs.Channel())
    assert found["overhead_low"] <= found["overhead_over_bare_loop"] <= found["overhead_high"]
    assert set(found["step_seconds"]) == {"trainer", "bare", "plain"} and min(found["step_seconds"].values()) > 0


def test_start_up_and_target_run_on_a_base_that_was_trained(tmp_path: Path) -> None:
    from benchmarks.training import cpu, jobs

    folder = {"folder": str(tmp_path)}
    made = cpu.base(job_of("a base that was trained", steps=10) | folder, jobs.Channel())
    assert made["bits_per_character"] < made["bits_per_character_before"]
    found = cpu.startup(job_of("start-up") | folder, jobs.Channel())
    assert found["startup_seconds"] > 0 and found["records"] > 300 and found["method"] == "qlora"
    job = (
        job_of("time to a held-out loss", steps=4, paper_steps=4, every=2) | folder | {"folder": str(tmp_path / "base")}
    )
    found = cpu.target(job, jobs.Channel())
    curves = found["curves"]
    assert set(curves) == {"paper", "paper at our rate", "ours"} and found["status"] == "ok"
    assert [point["step"] for point in curves["ours"]["points"]] == [0, 2, 4]
    starts = {round(curve["points"][0]["loss"], 1) for curve in curves.values()}
    assert len(starts) == 1, "all begin at the same base"
    assert curves["ours"]["points"][-1]["loss"] < curves["ours"]["points"][0]["loss"]
    assert tables.time_to_target(curves)
