"""One figure for all hides where a model fails: the same metric on parts of the samples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.evaluate.evaluation import Evaluation
from edgekit.evaluate.intervals import Interval, metric_interval

MANY = 12
"""Different numbers from which on a column is cut into its quarters."""


@dataclass(frozen=True)
class Slice:
    """Samples with one value in common.

    Attributes:
        name: The value, or the range of values.
        samples: How many there are.
        value: The primary metric on them; None where it has no meaning (R² of one sample).
        interval: Its interval.
    """

    name: str
    samples: int
    value: float | None
    interval: Interval | None


def slices(evaluation: Evaluation, values: Sequence[Any], task: str) -> list[Slice]:
    """The primary metric by value, worst first.

    Args:
        evaluation: Of all samples.
        values: One for each sample: text, numbers (from `MANY` different ones on cut at their quartiles), or None.
        task: ``classification`` or ``regression``.
    """
    names = _names(values)
    found = []
    for name in dict.fromkeys(names):
        inside = np.array([n == name for n in names])
        scores, targets = evaluation.class_scores[inside], evaluation.targets[inside]
        if task == "regression" and np.ptp(targets) == 0:
            found.append(Slice(name, int(inside.sum()), None, None))
            continue
        value = _metric(scores, targets, task)
        found.append(Slice(name, int(inside.sum()), value, metric_interval(scores, targets, task)))
    return sorted(found, key=lambda s: (s.value is None, s.value, s.name))


def _metric(scores: np.ndarray, targets: np.ndarray, task: str) -> float:
    if task == "classification":
        return float(np.mean(scores.argmax(axis=1) == targets))
    left = ((targets - scores[:, 0].astype(np.float64)) ** 2).sum()
    return float(1 - left / ((targets - targets.mean()) ** 2).sum())


def _names(values: Sequence[Any]) -> list[str]:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) + sum(v is None for v in values) < len(values) or len(set(numbers)) <= MANY:
        return ["missing" if v is None else f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    cuts = np.quantile(numbers, [0.25, 0.5, 0.75])
    words = [f"≤ {cuts[0]:.4g}", *(f"{a:.4g} to {b:.4g}" for a, b in itertools.pairwise(cuts)), f"> {cuts[2]:.4g}"]
    return ["missing" if v is None else words[int(np.searchsorted(cuts, v))] for v in values]
