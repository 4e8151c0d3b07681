"""The evaluation: scores with their intervals beside controls and the champion, and what is not shown."""

from __future__ import annotations

from domainlm.audit.report.document import Block, Notice, Paragraph, Section, Table, plain
from domainlm.audit.report.subject import Subject

TUNED = "tuned"
CONTROLS = (  # as `EvaluationReport.metrics` spells the systems; the first ones are shown where there are many
    "base", "shuffled-labels", "majority", "few-shot-base", "from-scratch", "linear-probe", "TF-IDF", "base-by-cloze",
)  # fmt: skip
MOST_CONTROLS = 4
MOST_ROWS = 16
SHOWN = "shown"


def evaluation(subject: Subject) -> Section:
    """What was measured on the test split."""
    words, manifest = subject.words, subject.manifest
    blocks: list[Block] = []
    rows = _rows(subject)
    if not rows:
        blocks.append(Notice("bad", words("tone.bad"), words("evaluation.none")))
    else:
        rival = subject.rival
        if rival is None:
            blocks.append(Paragraph(words("evaluation.no-champion")))
        systems = [name for name in CONTROLS if any(f"{row}/{name}" in manifest.metrics for row in rows)]
        systems = systems[:MOST_CONTROLS]
        head = [words("evaluation.task"), words("evaluation.tuned"), *(words(f"system.{name}") for name in systems)]
        if rival is not None:
            head += [words("evaluation.champion"), words("evaluation.over")]
        table = Table(
            words("evaluation.intro"), tuple(head), tuple(_line(subject, row, systems) for row in rows[:MOST_ROWS]),
            numeric=tuple(range(1, len(head))),
        )  # fmt: skip
        blocks.append(table)
        if len(rows) > MOST_ROWS:
            blocks.append(Paragraph(words("and-more", count=len(rows) - MOST_ROWS)))
    claims = _claims(subject)
    if claims:
        head = (words("evaluation.claim"), words("evaluation.verdict"))
        blocks.append(Table(words("evaluation.claims"), head, tuple(claims)))
    blocks.append(Paragraph(words("evaluation.limits")))
    return Section("evaluation", words("evaluation"), tuple(blocks))


def _rows(subject: Subject) -> list[str]:
    """The rows `task/source/metric`: those of each task's first metric where the verdict names them, else all."""
    metrics = subject.manifest.metrics
    verdict = subject.manifest.verdicts.get("evaluation", {})
    first = {
        "/".join(part.strip().replace(" ", "-") for part in (*name.split(" / ", 1), metric))
        for name, metric, _ in (key.rsplit(", ", 2) for key in verdict if key.count(", ") >= 2)
    }
    found = [name.rpartition("/")[0] for name in metrics if name.rpartition("/")[2] == TUNED and "/" in name]
    chosen = [row for row in found if row in first] or found
    return chosen or [name for name in metrics if "/" not in name]


def _line(subject: Subject, row: str, systems: list[str]) -> tuple[str, ...]:
    metrics, intervals = subject.manifest.metrics, subject.manifest.intervals
    tuned = f"{row}/{TUNED}" if f"{row}/{TUNED}" in metrics else row
    task, _, rest = row.partition("/")
    source, _, metric = rest.rpartition("/")
    name = f"{task} / {source}, {metric}" if source else row
    told = f"{metrics[tuned]:.3f}"
    if len(ends := intervals.get(tuned, [])) == 2:
        told += f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    cells = [plain(name), told]
    for system in systems:
        value = metrics.get(f"{row}/{system}")
        cells.append("" if value is None else f"{value:.3f}")
    if (rival := subject.rival) is not None:
        value = rival.metrics.get(tuned)
        cells += ["", ""] if value is None else [f"{value:.3f}", f"{metrics[tuned] - value:+.3f}"]
    return tuple(cells)


def _claims(subject: Subject) -> list[tuple[str, str]]:
    verdict = subject.manifest.verdicts.get("evaluation", {})
    found = [
        (plain(key.removeprefix("claim, ")), subject.words.name("verdict", plain(value)))
        for key, value in verdict.items()
        if key.startswith("claim, ")
    ]
    return sorted(found, key=lambda claim: (claim[1] == subject.words.name("verdict", SHOWN), claim[0]))
