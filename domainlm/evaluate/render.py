"""The evaluation report for people: a table for the run's card, plain text, and one self-contained HTML page."""

from __future__ import annotations

from html import escape

from domainlm.evaluate.report import Estimate, EvaluationReport, Row
from domainlm.evaluate.settings import COLUMNS, TUNED

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}
td,th{border-bottom:1px solid #d8dee4;padding:.25rem .7rem;text-align:left;
vertical-align:top}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}.yes{color:#116329;font-weight:600}
.no{color:#82071e;font-weight:600}small{color:#59636e}
pre{white-space:pre-wrap;margin:0;font:13px/1.4 ui-monospace,monospace}
tr.tuned{background:#f0f6ff}
"""


def table(report: EvaluationReport) -> tuple[list[str], list[list[str]]]:
    """The first metric of every row for every system: column names, then rows of text."""
    systems = [system for system in COLUMNS if any(system in row.scores for row in report.rows)]
    lines = [
        [
            row.name,
            str(row.items),
            row.metric,
            *(_figure(row.scores.get(system, {}).get(row.metric)) for system in systems),
        ]
        for row in report.rows
    ]
    return ["task / source", "items", "metric", *systems], lines


def render(report: EvaluationReport) -> str:
    """The report as plain text: the table, the gains with their intervals, and the verdicts."""
    columns, lines = table(report)
    widths = [max(len(line[index]) for line in [columns, *lines]) for index in range(len(columns))]
    told = [_aligned(columns, widths), _aligned(["-" * width for width in widths], widths)]
    told += [_aligned(line, widths) for line in lines]
    told.append("")
    for row in report.rows:
        gains = "; ".join(f"over {system} {_signed(gain)}" for system, gain in row.differences.items())
        told.append(f"{row.name}: {row.verdict} ({row.reason}). Tuned gains {gains or 'cannot be told'}")
    told += [f"{system}: not assessable, {reason}" for system, reason in report.not_assessable.items()]
    told.append("")
    for claim in report.claims:
        told.append(f"{claim.name}: {claim.verdict}{' (pure format)' if claim.pure_format else ''}")
    told.append(f"headline: {report.headline}; {report.rule} ({_level(report)})")
    return "\n".join(told) + "\n"


def _figure(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}"


def _aligned(cells: list[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _level(report: EvaluationReport) -> str:
    return f"{report.confidence:.0%} intervals, {report.resamples:,} resamples of groups"


def render_html(report: EvaluationReport) -> str:
    """The report as one HTML page that loads nothing from anywhere."""
    claims = "".join(
        f"<tr><td>{escape(claim.name)}{' <small>(pure format)</small>' if claim.pure_format else ''}</td>"
        f"<td>{_mark(claim.verdict)}</td><td>{escape(', '.join(claim.evidence)) or '-'}</td></tr>"
        for claim in report.claims
    )
    missing = "".join(
        f"<li>{escape(system)}: not assessable, {escape(reason)}</li>"
        for system, reason in report.not_assessable.items()
    )
    digests = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{digest}</code></td></tr>" for name, digest in report.digests.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Evaluation</title><style>{STYLE}</style>"
        f"<h1>Evaluation: {_mark(report.headline)}</h1>"
        f"<p>{report.items} items of the {escape(report.split)} part, {_level(report)}. "
        f"A claim is {escape(report.rule)}.</p>"
        f"<table><tr><th>claim<th>verdict<th>evidence</tr>{claims}</table>"
        + "".join(map(_row_html, report.rows))
        + (f"<ul>{missing}</ul>" if missing else "")
        + f"<h2>Side by side</h2>{_side_by_side_html(report)}<h2>What was scored</h2><table>{digests}</table></html>"
    )


def _mark(verdict: str) -> str:
    return f"<span class={'yes' if verdict == 'shown' else 'no'}>{verdict}</span>"


def _row_html(row: Row) -> str:
    metrics = list(dict.fromkeys(metric for scores in row.scores.values() for metric in scores))
    lines = ""
    for system, scores in row.scores.items():
        cells = "".join(f"<td class=n>{_with_interval(scores.get(metric))}</td>" for metric in metrics)
        gain = row.differences.get(system)
        shares = ", ".join(f"{escape(label)} {share:.0%}" for label, share in row.predicted.get(system, {}).items())
        lines += (
            f"<tr{' class=tuned' if system == TUNED else ''}><td>{escape(system)}</td>{cells}"
            f"<td class=n>{_signed(gain) + ' ' + _bar(gain) if gain else ''}</td><td><small>{shares}</small></td></tr>"
        )
    notes = [f"{row.items} items in {row.groups} groups", f"claim: {row.claim}", f"prompt version {row.version}"]
    notes += ["kept apart: no claim rests on it"] if row.apart else []
    notes += [f"{row.in_training} prompts stand in the training part"] if row.in_training else []
    heads = "".join(f"<th>{escape(metric)}" for metric in metrics)
    return (
        f"<h2>{escape(row.name)}: {_mark(row.verdict)}</h2>"
        f"<p>{escape(row.reason)}. <small>{escape('; '.join(notes))}</small></p><table>"
        f"<tr><th>system{heads}<th>tuned gains over it in {escape(row.metric)}<th>answers given</tr>{lines}</table>"
    )


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    value, low, high = (
        f"{end:.3f}" if abs(end) < 1000 else f"{end:.3g}" for end in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} <small>[{low}, {high}] {escape(estimate.method)}</small>"


def _bar(gain: Estimate) -> str:
    """The interval of a gain as a line over -1..1, with a tick at zero."""
    low, high = (100 + 100 * max(-1.0, min(1.0, end)) for end in (gain.low, gain.high))
    colour = "#116329" if gain.low > 0 else "#82071e" if gain.high < 0 else "#59636e"
    return (
        "<svg width=200 height=12 role=img aria-label=interval><path d='M0 6H200M100 0V12' stroke='#d8dee4'/>"
        f"<path d='M{low:.0f} 6H{max(high, low + 2):.0f}' stroke='{colour}' stroke-width=5 /></svg>"
    )


def _side_by_side_html(report: EvaluationReport) -> str:
    tables = ""
    for item in report.side_by_side:
        answers = "".join(
            f"<tr><td>{escape(name)}</td><td><pre>{escape(text)}</pre></td></tr>" for name, text in item.answers.items()
        )
        seen = "<small>this prompt stands in the training part</small>" if item.in_training else ""
        reference = f"<tr><td>reference</td><td><pre>{escape(item.reference)}</pre></td></tr>" if item.reference else ""
        tables += (
            f"<h3>{escape(item.task)} {seen}</h3><pre>{escape(item.prompt)}</pre><table>{reference}{answers}</table>"
        )
    return tables
