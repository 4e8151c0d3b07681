"""The card at the end of a run: what went in, what came out, what was shown and what was not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from domainlm.keys import DEVELOPMENT
from domainlm.ledger.run.manifest import COMPLETED, DECLINED, RunManifest
from domainlm.names import DECISION
from domainlm.reports import Report

SHOWN_GAINS = ("base", "linear probe", "shuffled labels", "TF-IDF")


def print_card(
    console: Console, manifest: RunManifest, reports: dict[str, Report], seconds: float, path: Path, evidence: str
) -> bool:
    """Print the card of a run.

    Args:
        console: where to print.
        manifest: the run's manifest.
        reports: the run's reports by artifact name.
        seconds: wall time of the whole command.
        path: where the manifest lies.
        evidence: what became of its entry in the ledger.

    Returns:
        Whether the run completed, or ended well before that because nothing was to be trained.
    """
    console.rule(f"[bold]{manifest.run_name}")
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    for name, (title, tell) in LINES.items():
        if name in reports:
            lines.add_row(title, tell(reports[name].summary()))
    key = manifest.key_id + (
        " (for development only: set DOMAINLM_KEY_FILE)" if manifest.key_id.startswith(DEVELOPMENT) else ""
    )
    lines.add_row("keyed ids", key)
    for title, told in costs(manifest):
        lines.add_row(title, told)
    for title, told in decision(manifest):
        lines.add_row(title, told)
    cached = sum(step.cached for step in manifest.steps)
    lines.add_row("run", f"{manifest.status}: {len(manifest.steps)} steps, {cached} from the cache, {seconds:.0f} s")
    lines.add_row("manifest", str(path))
    lines.add_row("evidence", evidence)
    for name, report in reports.items():
        if hasattr(report, "html"):
            lines.add_row(TITLES.get(name, name), str(_page(report, path.with_suffix(f".{name}.html"))))
    console.print(lines)
    if evaluation := reports.get("evaluation_report"):
        _print_evaluation(console, evaluation)
    return manifest.status in (COMPLETED, DECLINED)


def decision(manifest: RunManifest) -> list[tuple[str, str]]:
    """The answer of a retraining and its reasons, a line each; none of any other run."""
    if not (found := manifest.verdicts.get(DECISION)):
        return []
    reasons = [("", reason) for reason in str(found["reasons"]).split(" | ")]
    return [("decision", str(found["verdict"])), *reasons]


def costs(manifest: RunManifest) -> list[tuple[str, str]]:
    """A line for each training of a run, and their sum where there are several: device, time, speed, energy, money."""
    found = [(step, step.measured) for step in manifest.steps if step.measured]
    lines = [(f"cost of {step.name}", _cost(measured, step.cached)) for step, measured in found]
    fresh = [measured for step, measured in found if not step.cached]
    if len(fresh) > 1:
        parts = [f"{sum(measured['device_seconds'] for measured in fresh):,.0f} device-seconds"]
        for key, unit in (("energy_kwh", "kWh"), ("cost", fresh[0].get("currency", ""))):
            values = [measured[key] for measured in fresh if key in measured]
            if len(values) == len(fresh):  # a sum over some of them would look like the whole
                parts.append(f"{sum(values):,.3g} {unit}")
        lines.append(("  together", ", ".join(parts)))
    return lines


def _cost(found: dict[str, Any], cached: bool) -> str:
    devices = f"{found['devices']} x " if found["devices"] > 1 else ""
    parts = [f"{devices}{found['device']}", f"{found['seconds']:,.0f} s"]
    if found["attempts"] > 1:
        parts[-1] += f" in {found['attempts']} attempts"
    if "tokens_per_second" in found:
        mfu = f" (MFU {found['mfu']:.1%})" if "mfu" in found else ""
        parts.append(f"{found['tokens_per_second']:,.0f} tokens/s{mfu}")
    parts.append(f"peak {found['peak_gb']:.2f} GB")
    reasons = "; ".join(sorted(set(found.get("energy_missing", {}).values())))
    if "energy_kwh" in found:
        kinds = [kind.upper() for kind in ("gpu", "cpu") if f"energy_{kind}_wh" in found]
        parts.append(f"{found['energy_kwh']:.3g} kWh of {' and '.join(kinds)}")
    else:
        parts.append(f"energy not measured ({reasons})")
    if "cost" in found:
        parts.append(f"{found['cost']:,.2f}" if found["cost"] >= 1 else f"{found['cost']:.2g}")
        parts[-1] += f" {found['currency']}"
    else:
        parts.append("no price for this device")
    parts += found.get("plan", {}).get("reasons", [])  # what the memory planner gave up
    return ", ".join(parts) + (" - of the run that made it" if cached else "")


def _page(report: Any, path: Path) -> Path:
    """The report as a page beside the manifest, for people who have no ZenML; readable by its owner alone."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as sink:
        sink.write(report.html())
    return path


def _sources(found: dict[str, Any]) -> str:
    return (
        f"{found['rows']:,} rows of {found['sources']} sources, {found['size_bytes'] / 1e6:.2f} MB, {found['licences']}"
    )


def _redaction(found: dict[str, Any]) -> str:
    entities = {
        name.removeprefix("entities_").upper(): count for name, count in found.items() if name.startswith("entities_")
    }
    most = ", ".join(f"{name} {count}" for name, count in sorted(entities.items(), key=lambda entry: -entry[1])[:6])
    return (
        f"{sum(entities.values()):,} values replaced in {found['records_changed']:,} records ({most or 'none'}); "
        f"{found['records_quarantined']} in quarantine; {found['canaries']} of {found['canaries']} canaries caught"
        + "".join(
            f", {rate:.0%} of the planted names ({name.removeprefix('name_canaries_')})"
            for name, rate in found.items()
            if name.startswith("name_canaries_")
        )
    )


def _preparation(found: dict[str, Any]) -> str:
    dropped = {name: count for name, count in found.items() if name.startswith("dropped_")}
    not_replayed = dropped.pop("dropped_not_replayed", 0)  # by their ratio to new ones
    duplicates = sum(dropped.values())
    return (
        f"train {found.get('rows_train', 0):,}, dev {found.get('rows_dev', 0):,}, test {found.get('rows_test', 0):,}; "
        f"{duplicates:,} rows dropped as duplicates or conflicts; "
        + (f"{not_replayed:,} old rows not replayed; " if not_replayed else "")
        + f"of {found.get('decontamination_test_ngrams', 0):,} test 13-grams "
        f"{found.get('decontamination_shared_with_train', 0)} stand in train, "
        f"{found.get('decontamination_shared_with_pretraining', 0)} in the base's corpus "
        f"({found.get('decontamination_pretraining', 'not assessed')})"
    )


def _base(found: dict[str, Any]) -> str:
    return (
        f"{found['name']}: {found['parameters']:,} parameters from scratch, {found['tokens_seen']:,} tokens, "
        f"held-out bits per character {found['bits_per_character_before']:.2f} -> {found['bits_per_character']:.2f}"
    )


def _contract(found: dict[str, Any]) -> str:
    return f"{found['suite']}: {found['expectations']} expectations kept, {found['warnings']} warnings"


def _vocabulary(found: dict[str, Any]) -> str:
    return (
        f"{found['mined']} terms mined, gate {found['gate']}; tokens a word {found['fertility_before']:.3f} -> "
        f"{found['fertility_after']:.3f}"
    )


def _search(found: dict[str, Any]) -> str:
    chosen = ", ".join(
        f"{name.removeprefix('chosen_')} {value}" for name, value in found.items() if name.startswith("chosen_")
    )
    trials = " ".join(f"{found[f'trials_{state}']} {state}" for state in ("complete", "pruned", "failed"))
    return (
        f"{found['sampler']}, trials: {trials}; dev {found['metric'].replace('_', ' ')} {found['first_score']:.4g} -> "
        f"{found['score']:.4g} with {chosen}"
    )


def _training(found: dict[str, Any]) -> str:
    return (
        f"{found['steps']} steps on {found['examples']:,} records, {found['quantized_layers']} quantized layers, "
        f"{found['trainable_parameters']:,} of {found['parameters']:,} parameters; "
        f"adapter {found['adapter_digest'][:12]}"
    )


def _registration(found: dict[str, Any]) -> str:
    return f"{found['name']} version {found['version']}" + (
        " (the same model was there already)" if found["existing"] else ""
    )


def _record(found: dict[str, Any]) -> str:
    return f"{found['artifacts_verified']} artifacts have the digests they were stored with"


TITLES = {
    "redaction_report": "redaction",
    "base_redaction_report": "  of the base",
    "evaluation_report": "evaluation",
    "search_report": "search",
}
LINES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "base_source_manifest": ("corpus", _sources),
    "base_redaction_report": ("  redacted", _redaction),
    "pretraining_report": ("base", _base),
    "source_manifest": ("sources", _sources),
    "redaction_report": ("  redacted", _redaction),
    "preparation_report": ("prepared", _preparation),
    "contract_verdict": ("contract", _contract),
    "vocabulary_report": ("vocabulary", _vocabulary),
    "search_report": ("searched", _search),
    "training_report": ("trained", _training),
    "registration": ("registered", _registration),
    "run_record": ("verified", _record),
}


def _print_evaluation(console: Console, evaluation: Any) -> None:
    from domainlm.evaluate.render import table

    columns, rows = table(evaluation)
    drawn = Table(title=f"{evaluation.items} {evaluation.split} items; first metric of each task", title_justify="left")
    for index, column in enumerate(columns):
        drawn.add_column(
            column, justify="left" if index in (0, 2) else "right", style="bold" if column == "tuned" else ""
        )
    for cells in rows:
        drawn.add_row(*cells)
    console.print(drawn)
    for row in evaluation.rows:
        gains = {name: gain for name, gain in row.differences.items() if name in SHOWN_GAINS}
        told = ", ".join(
            f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over {name}" for name, gain in gains.items()
        )
        console.print(f"{row.name}: {row.verdict}; tuned gains {told or 'cannot be told'}", soft_wrap=True)
    for claim in evaluation.claims:
        colour = "green" if claim.verdict == "shown" else "yellow"
        note = " (pure format: counts for nothing more)" if claim.pure_format else ""
        console.print(f"claim, {claim.name}: [{colour}]{claim.verdict}[/]{note}")
    for entry in evaluation.side_by_side[:1]:
        for system in ("base", "tuned"):
            if system in entry.answers:  # an encoder without a head of its own answers nothing untuned
                console.print(f"{entry.prompt!r} {system}: {entry.answers[system]!r}", markup=False, soft_wrap=True)
    console.print(f"headline: [bold]{evaluation.headline}[/]; {evaluation.rule}", soft_wrap=True)
