"""What a confusion matrix says: class by class, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Matrix = Sequence[Sequence[int]]


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        label: Its name.
        samples: How many there are.
        precision: Share of the answers with this class that are right; None where it was never answered.
        recall: Share of its samples that are found; None where there are none.
    """

    label: str
    samples: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Pair:
    """Samples of one class that were taken for another: `count`, a `share` of the class."""

    truth: str
    predicted: str
    count: int
    share: float


def per_class(confusion: Matrix, labels: Sequence[str]) -> tuple[ClassRow, ...]:
    """Precision and recall of each class, in the order of `labels`."""
    rows = []
    for i, label in enumerate(labels):
        samples, answered = sum(confusion[i]), sum(row[i] for row in confusion)
        hits = confusion[i][i]
        rows.append(
            ClassRow(label, samples, hits / answered if answered else None, hits / samples if samples else None)
        )
    return tuple(rows)


def confused(confusion: Matrix, labels: Sequence[str], count: int = 8) -> tuple[Pair, ...]:
    """The most frequent mistakes, most frequent first."""
    pairs = [
        Pair(labels[i], labels[j], n, n / sum(row))
        for i, row in enumerate(confusion)
        for j, n in enumerate(row)
        if i != j and n
    ]
    return tuple(sorted(pairs, key=lambda p: (-p.count, -p.share, p.truth, p.predicted))[:count])
