"""The comparison as one page: the question, the figures with their intervals, what was forgotten, what it cost.

One file without scripts that loads nothing; plots are SVG inside it. Whatever a configuration named is escaped.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape

from domainlm.compare.report import BASE, ComparisonReport, Gain, Resources

STYLE = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;
color:#1b1f24;background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0 1rem}td,th{border-bottom:1px solid #d8dee4;padding:.25rem .8rem;
text-align:left;vertical-align:top}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
.shown{color:#116329;font-weight:600}.not{color:#59636e}small{color:#59636e}figure{margin:1rem 0}
figure svg{max-width:100%;height:auto}
"""
UNMEASURED = "not measured"


def page(report: ComparisonReport) -> str:
    """The whole page as HTML."""
    experiment = report.experiment
    seeds = len(experiment.seeds)
    parts = [
        f"<h1>{escape(experiment.question)}</h1>",
        f"<p>{len(experiment.variants)} ways of training, {seeds} seeds each, the same data. Intervals are"
        f" {experiment.confidence:.0%} over groups of items and over seeds together. A gain is shown where its interval"
        " keeps clear of zero and the better of the two beats the majority answer, with at least five seeds and"
        f" {experiment.min_groups} groups.</p>",
        *(f"<p><strong>{escape(note)}</strong></p>" for note in report.notes),
        "<h2>Quality</h2>",
        _figure(_quality(report), "Scores of each task by way of training, with intervals"),
        _quality_table(report),
    ]
    if experiment.sweep:
        parts += ["<h2>The sweep</h2>", _figure(_sweep(report), f"Scores over {experiment.sweep}")]
    parts += ["<h2>Forgetting</h2>", _forgetting_table(report), "<h2>Time, memory, cost</h2>"]
    if any(found.seconds is not None for found in report.resources.values()):
        parts.append(_figure(_costs(report), "Seconds and memory of each way of training"))
    parts += [
        _resource_table(report),
        "<h2>Training loss</h2>",
        _figure(_curves(report), "Loss over steps, mean and range over seeds"),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(experiment.name)}</title>'
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )


def _label(report: ComparisonReport, name: str) -> str:
    return "base" if name == BASE else report.experiment.variant(name).label


def _quality_table(report: ComparisonReport) -> str:
    over = _label(report, report.experiment.reference)
    lines = []
    for row in report.rows:
        for name in report.ordered(row.scores):
            figure = row.scores[name]
            gain = row.gains.get(name)
            lines.append(
                f"<tr><td>{escape(f'{row.task} / {row.source}')}<br><small>{escape(row.metric)}, {row.items} items in"
                f" {row.groups} groups</small></td><td>{escape(_label(report, name))}</td>"
                f'<td class="n">{escape(str(figure))}</td>'
                f'<td class="n"><small>{", ".join(f"{score:.3f}" for score in figure.by_seed)}</small></td>'
                f"{_gain_cells(gain)}</tr>"
            )
    return (
        "<table><thead><tr><th>task / source</th><th>way of training</th><th>score</th><th>by seed</th>"
        f"<th>gain over {escape(over)}</th><th>verdict</th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _gain_cells(gain: Gain | None) -> str:
    if gain is None:
        return "<td></td><td></td>"
    kind = "shown" if gain.verdict == "shown" else "not"
    return (
        f'<td class="n">{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]</td>'
        f'<td class="{kind}">{escape(gain.verdict)}</td>'
    )


def _forgetting_table(report: ComparisonReport) -> str:
    if not report.forgetting:
        return "<p>No task of this comparison stands for general ability, and no document was held out.</p>"
    lines = []
    for measure in report.forgetting:
        known = f"base {measure.base:.3f}, chance {measure.chance:.3f}"
        head = f"<td>{escape(measure.measure)}<br><small>{known}</small></td>"
        if not measure.assessable:
            lines.append(f'<tr>{head}<td colspan="3">not assessable: {escape(measure.reason)}</td></tr>')
        for name in report.ordered(measure.lost):
            lines.append(f"<tr>{head}<td>{escape(_label(report, name))}</td>{_gain_cells(measure.lost[name])}</tr>")
    return (
        "<p>Lost against the base: above zero is worse than before training.</p>"
        "<table><thead><tr><th>measure</th><th>way of training</th><th>lost</th><th>verdict</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _resource_table(report: ComparisonReport) -> str:
    def cell(value: float | None, form: str) -> str:
        return f'<td class="n">{UNMEASURED if value is None else format(value, form)}</td>'

    lines = [
        f"<tr><td>{escape(_label(report, name))}</td>{cell(found.trainable_parameters, ',')}{cell(found.steps, ',')}"
        f"{cell(found.seconds, ',.1f')}{cell(found.tokens_per_second, ',.0f')}{cell(found.peak_gb, '.2f')}"
        f"{cell(found.planned_gb, '.3f')}"
        f"{cell(found.energy_kwh, '.4f')}{cell(found.cost, '.4f')}</tr>"
        for name, found in ((name, report.resources[name]) for name in report.ordered(report.resources))
    ]
    return (
        "<table><thead><tr><th>way of training</th><th>trained parameters</th><th>steps</th><th>seconds</th>"
        "<th>tokens/s</th><th>peak memory, GB</th><th>planned memory, GB</th><th>energy, kWh</th><th>cost</th></tr>"
        f"</thead><tbody>{''.join(lines)}</tbody></table><p><small>Medians over seeds. The peak is the GPU allocator's;"
        " a CPU has no such counter, and there the memory planner's estimate stands alone.</small></p>"
    )


# ---------------------------------------------------------------------------------------------- plots


def _figure(svg: str, caption: str) -> str:
    said = escape(caption)
    return f'<figure role="img" aria-label="{said}">{svg}<figcaption><small>{said}</small></figcaption></figure>'


def _drawn(draw: Callable, columns: int, width: float = 10, height: float = 3.4) -> str:
    """What `draw` puts on axes, as SVG; the Agg-less figure needs no display and no global state."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    # a fixed salt and no date: equal reports give equal pages
    with matplotlib.rc_context({"svg.hashsalt": "domainlm", "svg.fonttype": "none", "font.size": 9}):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        draw(canvas.subplots(1, columns, squeeze=False)[0])
        sink = io.StringIO()
        canvas.savefig(sink, format="svg", metadata={"Date": None})
    return "<svg" + sink.getvalue().partition("<svg")[2]  # without the XML prologue, which HTML does not take


def _quality(report: ComparisonReport) -> str:
    def draw(axes) -> None:
        for place, row in zip(axes, report.rows, strict=True):
            names = report.ordered(row.scores)
            for height, name in enumerate(reversed(names)):
                figure = row.scores[name]
                error = [[max(0.0, figure.value - figure.low)], [max(0.0, figure.high - figure.value)]]
                place.errorbar(figure.value, height, xerr=error, fmt="o", capsize=3, color="#1f4e9c")
                if len(figure.by_seed) > 1:
                    place.plot(figure.by_seed, [height] * len(figure.by_seed), "|", color="#82071e", markersize=9)
            place.axvline(row.chance, color="#8c959f", linestyle=":")
            place.set_yticks(range(len(names)), [_label(report, name) for name in reversed(names)])
            place.set_title(f"{row.task} / {row.source}", fontsize=9)
            place.set_xlabel(row.metric)

    return _drawn(draw, len(report.rows), width=max(6, 3.6 * len(report.rows)))


def _sweep(report: ComparisonReport) -> str:
    variants = sorted(report.experiment.variants, key=lambda variant: variant.x)
    language = [measure for measure in report.forgetting if measure.assessable]

    def draw(axes) -> None:
        for place, row in zip(axes, report.rows, strict=False):
            figures = [row.scores[variant.name] for variant in variants]
            places = [variant.x for variant in variants]
            place.plot(places, [figure.value for figure in figures], "o-", color="#1f4e9c")
            place.fill_between(
                places, [figure.low for figure in figures], [figure.high for figure in figures], alpha=0.2
            )
            place.axhline(row.scores[BASE].value, color="#8c959f", linestyle=":")
            place.set_title(f"{row.task} / {row.source}, {row.metric}", fontsize=9)
            place.set_xlabel(report.experiment.sweep)
        for place, measure in zip(axes[len(report.rows) :], language, strict=True):
            lost = [measure.lost[variant.name] for variant in variants]
            places = [variant.x for variant in variants]
            place.plot(places, [found.value for found in lost], "o-", color="#82071e")
            place.fill_between(
                places, [found.low for found in lost], [found.high for found in lost], alpha=0.2, color="#82071e"
            )
            place.axhline(0, color="#8c959f", linestyle=":")
            place.set_title(f"lost: {measure.measure}", fontsize=8)
            place.set_xlabel(report.experiment.sweep)

    columns = len(report.rows) + len(language)
    return _drawn(draw, columns, width=max(6, 3.4 * columns))


def _costs(report: ComparisonReport) -> str:
    def bars(place, key: Callable[[Resources], float | None], title: str) -> None:
        names = report.ordered(report.resources)
        heights = [key(report.resources[name]) or 0.0 for name in names]
        place.barh([_label(report, name) for name in names], heights, color="#1f4e9c")
        place.invert_yaxis()
        place.set_title(title, fontsize=9)

    def draw(axes) -> None:
        bars(axes[0], lambda found: found.seconds, "seconds of training")
        bars(axes[1], lambda found: found.peak_gb or found.planned_gb, "memory, GB (measured on a GPU, else planned)")

    return _drawn(draw, 2)


def _curves(report: ComparisonReport) -> str:
    def draw(axes) -> None:
        for name in report.ordered(report.curves):
            points = report.curves[name]
            steps = [point["step"] for point in points]
            axes[0].plot(steps, [point["loss"] for point in points], label=_label(report, name))
            axes[0].fill_between(
                steps, [point["low"] for point in points], [point["high"] for point in points], alpha=0.15
            )
        axes[0].set_xlabel("optimizer step")
        axes[0].set_ylabel("loss a supervised token or record, as the recipe weighs it")
        axes[0].legend()

    return _drawn(draw, 1)
