"""How sure a figure is: bootstrap intervals over the samples that it was measured on.

Samples are drawn with replacement as often as there are (B. Efron, "Bootstrap methods: another look at the jackknife",
Annals of Statistics 7, 1979); the interval holds the middle of what the figure is on the draws (percentile method).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgekit.evaluate.matches import ClassMatches, mean_average_precision

if TYPE_CHECKING:
    from edgekit.evaluate.evaluation import Evaluation

LEVEL = 0.95
RESAMPLES = 2000
_AT_ONCE = 4_000_000  # indices held at a time


@dataclass(frozen=True)
class Interval:
    """Ends of an interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        level: How often such intervals hold the figure of the population.
    """

    low: float
    high: float
    level: float = LEVEL

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


def draws(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of (some, count) indices, `resamples` rows in all; the same for the same seed."""
    random = np.random.default_rng(seed)
    left = resamples
    while left:
        some = min(left, max(1, _AT_ONCE // count))
        yield random.integers(0, count, (some, count), dtype=np.int32)
        left -= some


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of a figure.

    Args:
        statistic: (draws, count) indices to (draws,) figures; a draw on which it has no meaning gives NaN and is left
            out.
        count: How many samples there are.
        level: See `Interval`.
        resamples: How many draws.
        seed: For the same interval again.

    Raises:
        ValueError: There are no samples, or the figure has no meaning on any draw.
    """
    if count < 1:
        raise ValueError("an interval needs at least one sample")
    figures = np.concatenate([np.asarray(statistic(block), np.float64) for block in draws(count, resamples, seed)])
    figures = figures[np.isfinite(figures)]
    if not figures.size:
        raise ValueError("the figure has no meaning on any draw")
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def share_interval(right: np.ndarray, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """The interval of a share, such as the accuracy.

    Where all samples are alike every draw is too, and the bootstrap would be sure of it; there the exact bound of
    C. Clopper and E. Pearson (Biometrika 26, 1934) is taken: none of n wrong is below ``1 - level ** …`` all the same.

    Args:
        right: (samples,) whether each counts.
        level: See `Interval`.
        seed: See `bootstrap`.
    """
    values = np.asarray(right, np.float64)
    if values.size and values.min() == values.max():
        from scipy.stats import binomtest

        exact = binomtest(int(values.sum()), values.size).proportion_ci(level, method="exact")
        return Interval(float(exact.low), float(exact.high), level)
    return bootstrap(lambda block: values[block].mean(axis=1), values.size, level=level, seed=seed)


def metric_interval(scores: np.ndarray, targets: np.ndarray, task: str, *, seed: int = 0) -> Interval:
    """The interval of a task's primary metric.

    Args:
        scores: (samples, classes), one column a class; (samples, 1) for a regression.
        targets: (samples,) class indices or numbers.
        task: ``classification`` or ``regression``.
        seed: See `bootstrap`.
    """
    if task == "classification":
        return share_interval(scores.argmax(axis=1) == targets, seed=seed)
    predicted = scores[:, 0].astype(np.float64)
    return bootstrap(lambda block: r2_on(block, predicted, targets), len(targets), seed=seed)


def interval_of(evaluation: Evaluation, task: str, *, seed: int = 0) -> Interval | None:
    """The interval of an evaluation's primary metric; None for clustering, whose silhouette draws of samples bend.

    (A sample drawn twice is at no distance from itself.)
    """
    if task == "clustering":
        return None
    if evaluation.matches:
        return map_interval(evaluation.matches, seed=seed)
    return metric_interval(evaluation.class_scores, evaluation.targets, task, seed=seed)


def map_interval(matches: Sequence[ClassMatches], *, resamples: int = 1000, seed: int = 0) -> Interval:
    """The interval of mAP, over pictures: boxes are matched once; a draw counts pictures as often as it has them.

    Where all pictures are alike in what was found, every draw is too: the interval then has no width.

    Args:
        matches: Every class.
        resamples: How many draws.
        seed: See `bootstrap`.
    """
    ranked = [c.ranked() for c in matches]
    pictures = len(ranked[0].objects)
    figure = partial(_map_on, ranked, pictures)
    return bootstrap(figure, pictures, resamples=resamples, seed=seed)


def _map_on(ranked: Sequence[ClassMatches], pictures: int, block: np.ndarray) -> np.ndarray:
    return np.array([mean_average_precision(ranked, np.bincount(draw, minlength=pictures)) for draw in block])


def r2_on(block: np.ndarray, predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """R² on each draw; NaN where all of its targets are equal."""
    truth = targets[block].astype(np.float64)
    left = ((truth - predicted[block]) ** 2).sum(axis=1)
    total = ((truth - truth.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    figures: np.ndarray = 1 - np.divide(left, total, out=np.full(len(total), np.nan), where=total > 0)
    return figures
