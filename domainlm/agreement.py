"""Agreement of labels: how often one text bears two labels, between two sources or within one.

A label map with two classes swapped shows nowhere else: every row is valid, and only the other source knows better.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable

from domainlm.errors import ContractViolation
from domainlm.reports import Report

ENOUGH_TEXTS = 20  # fewer common texts than this are no ground to stop a run


class Agreement(Report):
    """Two sources (or one with itself) that label the same texts.

    Fields:
        texts: texts that both have; for a source with itself, all its texts.
        differing: those of them with different labels.
        confusions: "label here -> label there", with its count, most frequent first.
    """

    task: str
    source: str
    other: str
    texts: int
    differing: int
    confusions: dict[str, int]

    @property
    def share(self) -> float:
        """Share of the texts that are labelled differently."""
        return self.differing / self.texts if self.texts else 0.0


def label_agreement(rows: Iterable[tuple[str, str, Hashable, str]]) -> list[Agreement]:
    """Compare the labels of equal texts.

    Args:
        rows: task, source, the text (or a digest of it) and its label.

    Returns:
        One entry for each pair of sources with a common text, and for each source with a contradiction in itself.
    """
    labels: dict[tuple[str, Hashable], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    sizes: Counter[tuple[str, str]] = Counter()
    for task, source, text, label in rows:
        given = labels[task, text][source]
        sizes[task, source] += not given
        given.append(label)
    texts: Counter[tuple[str, str, str]] = Counter()
    confusions: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for (task, _), by_source in labels.items():
        names = sorted(by_source)
        for index, source in enumerate(names):
            first, *others = by_source[source]
            if different := [label for label in others if label != first]:
                confusions[task, source, source][f"{first} -> {different[0]}"] += 1
            for other in names[index + 1 :]:
                texts[task, source, other] += 1
                if by_source[other][0] != first:
                    confusions[task, source, other][f"{first} -> {by_source[other][0]}"] += 1
    found = []
    for task, source, other in sorted(texts.keys() | confusions.keys()):
        counted = confusions[task, source, other]
        found.append(
            Agreement(
                task=task,
                source=source,
                other=other,
                texts=sizes[task, source] if source == other else texts[task, source, other],
                differing=sum(counted.values()),
                confusions=dict(sorted(counted.items(), key=lambda item: (-item[1], item[0]))),
            )
        )
    return found


def require_agreement(found: Iterable[Agreement], max_share: float) -> None:
    """Stop where too many texts bear two labels.

    Raises:
        ContractViolation: names the sources, the share and the most frequent confusion.
    """
    for entry in found:
        if entry.texts >= ENOUGH_TEXTS and entry.share > max_share:
            most = next(iter(entry.confusions))
            between = (
                f"sources '{entry.source}' and '{entry.other}'"
                if entry.source != entry.other
                else f"source '{entry.source}'"
            )
            raise ContractViolation(
                f"{entry.differing} of {entry.texts} common texts of the task '{entry.task}' are labelled differently "
                f"({entry.share:.0%}, at most {max_share:.0%}); most often {most} ({entry.confusions[most]})",
                between,
                "look for swapped classes in a label_map, or leave one source out",
            )
