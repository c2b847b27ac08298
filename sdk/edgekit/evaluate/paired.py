"""Two models on the same samples: whether one is really worse, or whether chance says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.errors import EvaluationError
from edgekit.evaluate.evaluation import Evaluation, measured_by_answers, primary_metric
from edgekit.evaluate.intervals import LEVEL, Interval, bootstrap, r2_on, share_interval
from edgekit.evaluate.matches import ClassMatches, average_precision, both, mean_average_precision, picture_precision
from edgekit_runtime.errors import UsageError

_ALPHA = 1 - LEVEL
_THROWS = 1000  # each measures two detectors again
_FEWEST = 6  # 2 · 0.5⁶ is the first chance below 0.05


@dataclass(frozen=True)
class Comparison:
    """A second model against a first one.

    Attributes:
        metric: The task's primary metric.
        first: Its value of the first model.
        second: And of the second.
        drop: How much worse the second is (negative: better).
        interval: Of the drop, over the samples.
        test: ``McNemar``, ``Wilcoxon`` or ``randomisation``.
        p: Chance of a difference at least this large if neither is better.
        samples: How many there are.
        only_first: Samples that only the first has right; for a regression, those that it comes nearer to, for
            detection pictures that it has a larger mAP on.
        only_second: The same for the second.
        agreement: Share of samples with the same answer; None for a regression and for detection.
    """

    metric: str
    first: float
    second: float
    drop: float
    interval: Interval
    test: str
    p: float
    samples: int
    only_first: int
    only_second: int
    agreement: float | None

    @property
    def real(self) -> bool:
        """Whether chance alone would seldom make such a difference: test and interval agree."""
        return self.p < _ALPHA and 0.0 not in self.interval

    @property
    def needed(self) -> int | None:
        """Samples after which a drop of this size would stand out, if it is one; None where it does or there is none.

        The interval's width shrinks with the root of their number, and either test needs `_FEWEST` samples on one side.
        """
        if self.real or self.drop == 0:
            return None
        apart = max(self.only_first + self.only_second, 1)
        times = max((self.interval.half / abs(self.drop)) ** 2, _FEWEST / apart)
        return max(self.samples + 1, math.ceil(self.samples * times))

    def in_words(self) -> str:
        """One sentence."""
        span = f"{self.interval.level:.0%} interval {self.interval.low:+.4f} to {self.interval.high:+.4f}"
        proof = f"{span}, {self.test} p = {self.p:.2g}, {self.samples} samples"
        if self.only_first == self.only_second == 0 and self.drop == 0:
            return f"no sample is answered better by one than by the other ({proof})"
        what = "drop" if self.drop > 0 else "gain" if self.drop < 0 else "difference"
        size = f"the {what} of {abs(self.drop):.4f} in {self.metric}"
        if self.real:
            return f"{size} is real ({proof})"
        more = f"; about {self.needed:,} samples would tell" if self.needed else ""
        return f"{size} may be chance ({proof}){more}"


def compare(first: Evaluation, second: Evaluation, task: str, *, seed: int = 0) -> Comparison:
    """Compare two evaluations of the same samples, in the same order.

    Classes: the exact form of Q. McNemar's test (Psychometrika 12, 1947) on the samples that only one has right.
    Numbers: F. Wilcoxon's signed-rank test (Biometrics 1, 1945) on the absolute errors.
    Boxes: mAP is no mean over pictures, so that it is tested itself, by randomisation in pairs (R. Fisher, The Design
    of Experiments, 1935, section 21; E. Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989): if neither
    model is better, then whose boxes are whose is a coin's throw in each picture, and the drop is held against those
    of many such throws. Its interval draws pictures, the same ones for both.

    Args:
        first: Of the model to hold against.
        second: Of the other.
        task: ``classification``, ``regression`` or ``detection``.
        seed: For interval and randomisation.

    Raises:
        EvaluationError: They are not of the same samples.
        UsageError: The task has no test.
    """
    if task == "clustering":
        raise UsageError("groups of two models are not of the same samples", "run edgekit eval on each")
    if measured_by_answers(task):
        return _boxes(first, second, seed)
    if not np.array_equal(first.targets, second.targets):
        raise EvaluationError("the two models were not measured on the same samples", "give both the same data")
    metric, _ = primary_metric(task)
    made = _classes(first, second, seed) if task == "classification" else _numbers(first, second, seed)
    a, b = first.metrics[metric], second.metrics[metric]
    return Comparison(metric, a, b, a - b, *made)


_Made = tuple[Interval, str, float, int, int, int, float | None]


def _classes(first: Evaluation, second: Evaluation, seed: int) -> _Made:
    from scipy.stats import binomtest

    one, other = first.predicted == first.targets, second.predicted == second.targets
    difference = one.astype(np.float64) - other
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    apart = only_first + only_second
    p = float(binomtest(only_first, apart).pvalue) if apart else 1.0
    if apart:
        interval = bootstrap(lambda block: difference[block].mean(axis=1), len(one), seed=seed)
    else:  # alike on all of them: the bound of what was not seen, both ways
        bound = share_interval(np.zeros(len(one))).high
        interval = Interval(-bound, bound)
    agreement = float(np.mean(first.predicted == second.predicted))
    return interval, "McNemar", p, len(one), only_first, only_second, agreement


def _numbers(first: Evaluation, second: Evaluation, seed: int) -> _Made:
    from scipy.stats import wilcoxon

    truth = first.targets.astype(np.float64)
    one, other = first.scores[:, 0].astype(np.float64), second.scores[:, 0].astype(np.float64)
    nearer = np.abs(other - truth) - np.abs(one - truth)
    p = float(wilcoxon(nearer).pvalue) if nearer.any() else 1.0

    def drop(block: np.ndarray) -> np.ndarray:
        apart: np.ndarray = r2_on(block, one, truth) - r2_on(block, other, truth)
        return apart

    interval = bootstrap(drop, len(truth), seed=seed)
    return interval, "Wilcoxon", p, len(truth), int((nearer > 0).sum()), int((nearer < 0).sum()), None


def _boxes(first: Evaluation, second: Evaluation, seed: int) -> Comparison:
    here, there = [[c.objects for c in e.matches] for e in (first, second)]
    if len(here) != len(there) or not all(map(np.array_equal, here, there)):
        raise EvaluationError("the two models were not measured on the same samples", "give both the same data")
    metric, _ = primary_metric("detection")
    a, b = first.metrics[metric], second.metrics[metric]
    one, other = [[c.ranked() for c in e.matches] for e in (first, second)]
    pictures = first.samples

    def drop(block: np.ndarray) -> np.ndarray:
        counts = [np.bincount(draw, minlength=pictures) for draw in block]
        return np.array([mean_average_precision(one, n) - mean_average_precision(other, n) for n in counts])

    apart = picture_precision(first.matches) - picture_precision(second.matches)
    p = _randomisation(first.matches, second.matches, pictures, a - b, seed)
    interval = bootstrap(drop, pictures, resamples=_THROWS, seed=seed)
    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    return Comparison(metric, a, b, a - b, interval, "randomisation", p, pictures, better, worse, None)


def _randomisation(
    first: Sequence[ClassMatches], second: Sequence[ClassMatches], pictures: int, drop: float, seed: int
) -> float:
    """Share of throws whose drop is as large, this one among them."""
    joined = [both(a, b) for a, b in zip(first, second, strict=True)]
    random = np.random.default_rng(seed)
    as_large = 0
    for _ in range(_THROWS):
        swapped = random.random(pictures) < 0.5
        figures = []
        for turned in (swapped, ~swapped):
            found = [average_precision(c, mine ^ turned[c.picture], int(c.objects.sum())) for c, mine in joined]
            figures.append(np.mean([ap for ap in found if ap is not None]))
        as_large += int(abs(figures[0] - figures[1]) >= abs(drop) - 1e-12)
    return float((as_large + 1) / (_THROWS + 1))


def changed(
    first: Evaluation, second: Evaluation, labels: Sequence[str], count: int = 20
) -> list[tuple[int, str, str]]:
    """(sample, answer of the first, answer of the second) where the answers differ, what the second spoils first."""
    before, after = first.predicted, second.predicted
    places = np.flatnonzero(before != after)
    spoilt = (before == first.targets)[places]
    order = places[np.lexsort((places, ~spoilt))]
    return [(int(i), labels[int(before[i])], labels[int(after[i])]) for i in order[:count]]
