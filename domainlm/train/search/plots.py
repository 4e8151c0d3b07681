"""The pictures of a search, drawn from its report alone: history, importance, each key against the score, looks."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domainlm.train.search.report import SearchReport


def plots(report: SearchReport) -> dict[str, bytes]:
    """PNG images by name. Importance is left out where there is none, looks where no trial was looked at."""
    import matplotlib
    import matplotlib.pyplot as plt
    import optuna
    from optuna.visualization import matplotlib as draw

    from domainlm.train.search.study import rebuilt

    plt.switch_backend("Agg")
    study = rebuilt(report.settings, report.trials, report.maximize)
    metric = f"dev {report.metric}"
    wanted = {
        "history": lambda: draw.plot_optimization_history(study, target_name=metric),
        "slice": lambda: draw.plot_slice(study, target_name=metric),
    }
    if report.importance:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=report.settings.seed)
        wanted["importance"] = lambda: draw.plot_param_importances(study, evaluator=evaluator, target_name=metric)
    if any(trial.looks for trial in report.trials):
        wanted["looks"] = lambda: draw.plot_intermediate_values(study)
    images = {}
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")  # "experimental"; an axis of one value is made wider
        for name, picture in wanted.items():
            picture()
            sink = io.BytesIO()
            # without the library's version in the file, equal reports are equal images
            plt.gcf().savefig(sink, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
            plt.close("all")
            images[name] = sink.getvalue()
    return images


def write_plots(report: SearchReport, folder: Path) -> list[Path]:
    """Each image as a file of its name."""
    paths = []
    for name, image in plots(report).items():
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(image)
    return paths


def images(report: SearchReport) -> dict[str, str]:
    """Each image as a data URI, for a page that needs no other file."""
    return {name: "data:image/png;base64," + base64.b64encode(image).decode() for name, image in plots(report).items()}
