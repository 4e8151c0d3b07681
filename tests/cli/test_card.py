"""The card tells what a training cost, whose cost it was, and what was not measured."""

from __future__ import annotations

from cli.card import LINES, costs
from domainlm.ledger.run.manifest import COMPLETED, RunManifest, StepEntry

GPU = {
    "device": "NVIDIA H100 80GB HBM3", "devices": 8, "attempts": 2, "seconds": 412.0, "device_seconds": 3296.0,
    "tokens_per_second": 104_000.0, "mfu": 0.442, "peak_gb": 43.1, "energy_gpu_wh": 520.0, "energy_kwh": 0.52,
    "energy_missing": {"cpu": "RAPL cannot be read (PermissionError)"}, "cost": 3.2, "currency": "EUR",
}  # fmt: skip
CPU = {
    "device": "AMD EPYC 9554", "devices": 1, "attempts": 1, "seconds": 60.0, "device_seconds": 60.0,
    "tokens_per_second": 900.0, "peak_gb": 0.9,
    "energy_missing": {"gpu": "no GPU is used", "cpu": "RAPL shows no processor"},
}  # fmt: skip


def manifest(*steps: StepEntry) -> RunManifest:
    return RunManifest(run_id="1", run_name="run", pipeline="p", status=COMPLETED, steps=list(steps))


def step(name: str, measured: dict, cached: bool = False) -> StepEntry:
    return StepEntry(name=name, status=COMPLETED, cached=cached, measured=measured)


def test_a_training_tells_device_time_speed_energy_and_money() -> None:
    ((title, told),) = costs(manifest(step("ingest", {}), step("train", GPU)))
    assert title == "cost of train"
    assert told == (
        "8 x NVIDIA H100 80GB HBM3, 412 s in 2 attempts, 104,000 tokens/s (MFU 44.2%), peak 43.10 GB,"
        " 0.52 kWh of GPU, 3.20 EUR"
    )


def test_what_was_not_measured_says_so() -> None:
    ((_, told),) = costs(manifest(step("train", CPU)))
    assert told == (
        "AMD EPYC 9554, 60 s, 900 tokens/s, peak 0.90 GB,"
        " energy not measured (RAPL shows no processor; no GPU is used), no price for this device"
    )


def test_a_cached_step_shows_the_cost_of_the_run_that_made_it_and_adds_nothing() -> None:
    lines = costs(manifest(step("train", CPU, cached=True), step("control", CPU)))
    assert [told.endswith("of the run that made it") for _, told in lines] == [True, False]


def test_several_trainings_are_added_up_where_all_were_measured() -> None:
    lines = costs(manifest(step("train", GPU), step("control", GPU)))
    assert lines[-1] == ("  together", "6,592 device-seconds, 1.04 kWh, 6.4 EUR")
    lines = costs(manifest(step("train", GPU), step("control", CPU)))
    assert lines[-1] == ("  together", "3,356 device-seconds")


def test_old_rows_that_were_not_replayed_are_no_duplicates() -> None:
    found = {"rows_train": 900, "dropped_exact_duplicate": 7, "dropped_label_conflict": 2, "dropped_not_replayed": 4000}
    told = LINES["preparation_report"][1](found)
    assert "9 rows dropped as duplicates or conflicts; 4,000 old rows not replayed; " in told
    del found["dropped_not_replayed"]
    assert "replayed" not in LINES["preparation_report"][1](found)
