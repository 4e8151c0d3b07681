"""The pictures of a simulation: black, grey, line styles and marks, readable on paper without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.retrain.simulation.outcome import Comparison, Direction, Figure, Outcome

if TYPE_CHECKING:
    from domainlm.retrain.simulation.language import Language

DPI = 150
FROZEN = {
    "color": "0.45",
    "linestyle": "--",
    "marker": "o",
    "markerfacecolor": "white",
    "label": "first champion, frozen",
}
RETRAINED = {"color": "black", "linestyle": "-", "marker": "s", "label": "retrained champion"}


def draw_quality(outcome: Outcome, path: Path) -> None:
    """Accuracy month by month, with and without retraining; what happened stands below."""
    names = [month.name for month in outcome.months]
    places = {name: place for place, name in enumerate(names)}
    with _canvas(path, (9, 4.6)) as canvas:
        axes = canvas.subplots()
        for style, shift, figures in (
            (FROZEN, -0.12, [month.frozen for month in outcome.months]),
            (RETRAINED, 0.12, [month.retrained for month in outcome.months]),
        ):
            at = [place + shift for place in range(len(names))]
            axes.errorbar(
                at, [one.value for one in figures], yerr=_errors(figures), capsize=2, markersize=4, linewidth=1.2,
                elinewidth=0.7, **style,
            )  # fmt: skip
        axes.plot(
            [month.majority for month in outcome.months], color="0.45", linestyle=":", label="most frequent label"
        )
        for one in outcome.retrainings:
            if (place := places.get(one.promoted[:7])) is not None:
                axes.axvline(place + int(one.promoted[8:]) / 31 - 0.5, color="0.8", linewidth=0.8, zorder=0)
                axes.annotate(
                    str(one.number), (place + int(one.promoted[8:]) / 31 - 0.5, 1.01),
                    xycoords=("data", "axes fraction"), ha="center", fontsize=7,
                )  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
        axes.set_ylim(0, 1)
        axes.set_xlabel("month whose headlines are scored, before anything of it is learnt", fontsize=8)
        axes.set_ylabel(f"accuracy of sentiment (share of rows), {outcome.seeds} seeds, 95 % intervals", fontsize=8)
        axes.set_title("numbers above: a retrained model becomes the champion", fontsize=8, pad=14)
        axes.legend(fontsize=8, loc="lower left")


def draw_gains(outcome: Outcome, path: Path) -> None:
    """What retraining gained by kind of row, and what sentiment says of the next trading day."""
    comparisons = [one for one in outcome.comparisons if one.metric == "accuracy"]
    with _canvas(path, (9, 3.6)) as canvas:
        left, right = canvas.subplots(1, 2, gridspec_kw={"width_ratios": [3, 2]})
        _forest(left, [(_rows_told(one), one.gain) for one in comparisons])
        left.set_xlabel("accuracy, retrained minus frozen (share of rows)", fontsize=8)
        _forest(right, [(_direction_told(one), one.direction) for one in outcome.directions])
        right.set_xlabel("Pearson's r with the next day's direction", fontsize=8)


def draw_language(found: Language, path: Path) -> None:
    """Bits a character by year, with and without continued pre-training; and the terms that came and went."""
    years = [year.year for year in found.years]
    with _canvas(path, (9, 7.2)) as canvas:
        above, below = canvas.subplots(2, 1, gridspec_kw={"height_ratios": [3, 3]})
        for style, figures in (
            ({"color": "0.6", "linestyle": ":", "marker": "^", "label": "base, no statement read"},
             [year.base for year in found.years]),
            (FROZEN | {"label": f"pre-trained on statements until {found.early}, frozen"},
             [year.frozen for year in found.years]),
            (RETRAINED | {"label": "pre-trained again every year on all statements before"},
             [year.retrained for year in found.years]),
        ):  # fmt: skip
            known = [(year, one) for year, one in zip(years, figures, strict=True) if one is not None]
            above.errorbar(
                [year for year, _ in known], [one.value for _, one in known], yerr=_errors([one for _, one in known]),
                capsize=2, markersize=4, linewidth=1.2, elinewidth=0.7, **style,
            )  # fmt: skip
        above.set_xticks(years[::2])
        above.set_ylabel("bits a character (lower is better), 95 % intervals", fontsize=8)
        above.set_xlabel("year of the statements", fontsize=8)
        above.legend(fontsize=8)
        shares = [[year.terms.get(term, 0.0) for year in found.years] for term in found.terms]
        picture = below.imshow(shares, aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        below.set_yticks(range(len(found.terms)), found.terms, fontsize=7)
        below.set_xticks(range(0, len(years), 2), years[::2])
        below.set_xlabel("year; the terms whose use moved most", fontsize=8)
        canvas.colorbar(picture, ax=below, label="share of the year's statements", shrink=0.9)


@contextmanager
def _canvas(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A figure without display and global state; saved without a date, so that equal outcomes give equal files."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        canvas = Canvas(figsize=size, layout="constrained", dpi=DPI)
        FigureCanvasAgg(canvas)
        yield canvas
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, metadata={"Software": None})


def _errors(figures: Sequence[Figure]) -> list[list[float]]:
    return [
        [max(0.0, one.value - one.low) for one in figures],
        [max(0.0, one.high - one.value) for one in figures],
    ]


def _forest(axes: Any, rows: Sequence[tuple[str, Figure]]) -> None:
    for height, (_, figure) in enumerate(reversed(rows)):
        axes.errorbar(figure.value, height, xerr=_errors([figure]), fmt="s", color="black", capsize=3, markersize=4)
    axes.axvline(0, color="0.6", linestyle=":")
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)], fontsize=7)
    axes.margins(y=0.12)


def _rows_told(one: Comparison) -> str:
    return f"{one.rows_of}\n({one.rows} rows, {one.shapes} shapes)"


def _direction_told(one: Direction) -> str:
    return {"labels": "true labels: the ceiling"}.get(one.of, f"{one.of} champion")
