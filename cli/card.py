"""The card at the end of a run: what went in, what came out, what was shown and what was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from domainlm.keys import DEVELOPMENT
from domainlm.ledger.manifest import COMPLETED, RunManifest


def print_card(console: Console, manifest: RunManifest, reports: dict[str, Any], seconds: float, path: Path) -> bool:
    """Print the card of a run.

    Args:
        manifest: the run's manifest.
        reports: the run's reports by artifact name.
        seconds: wall time of the whole command.
        path: where the manifest lies.

    Returns:
        Whether the run completed.
    """
    cached = sum(step.cached for step in manifest.steps)
    console.rule(f"[bold]{manifest.run_name}")
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    for title, text in _lines(reports):
        lines.add_row(title, text)
    key = manifest.key_id + (" - for development only" if manifest.key_id.startswith(DEVELOPMENT) else "")
    lines.add_row("key", key)
    lines.add_row("run", f"{manifest.status}; {len(manifest.steps)} steps, {cached} from the cache; {seconds:.0f} s")
    lines.add_row("manifest", str(path))
    console.print(lines)
    if evaluation := reports.get("evaluation_report"):
        _print_evaluation(console, evaluation)
    return manifest.status == COMPLETED


def _lines(reports: dict[str, Any]) -> list[tuple[str, str]]:
    """One line a stage, from the summaries of its reports."""
    found = []
    for name, title in (
        ("base_source_manifest", "corpus"),
        ("base_redaction_report", "  redacted"),
        ("pretraining_report", "base"),
        ("source_manifest", "sources"),
        ("redaction_report", "  redacted"),
        ("preparation_report", "prepared"),
        ("contract_verdict", "contract"),
        ("vocabulary_report", "vocabulary"),
        ("training_report", "trained"),
        ("registration", "registered"),
        ("run_record", "recorded"),
    ):
        if report := reports.get(name):
            found.append((title, ", ".join(f"{key} {_short(value)}" for key, value in report.summary().items())))
    return found


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text[:12] + "…" if len(text) == 64 and " " not in text else text


def _print_evaluation(console: Console, evaluation: Any) -> None:
    from domainlm.evaluate.render import render

    console.print(render(evaluation), markup=False, highlight=False, soft_wrap=True)
