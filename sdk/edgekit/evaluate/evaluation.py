"""Scores and labels to metrics. A task is one function in one file and one line in `_TASKS`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekit.data import Sample
from edgekit.errors import DataError, EvaluationError
from edgekit_runtime.errors import UsageError

# task -> (module with measure(scores, targets, labels), primary metric, +1 if higher is better)
_TASKS = {
    "classification": ("edgekit.evaluate.classification", "accuracy", 1),
    "regression": ("edgekit.evaluate.regression", "r2", 1),
}


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on some samples.

    Attributes:
        metrics: Name to value, the primary one first.
        samples: How many were evaluated.
        confusion: Rows of the confusion matrix (true class by predicted class); empty for regression.
        scores: (samples, classes) float32.
        targets: (samples,) labels.
    """

    metrics: Mapping[str, float]
    samples: int
    confusion: tuple[tuple[int, ...], ...] = ()
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    targets: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    @property
    def predicted(self) -> np.ndarray:
        """(samples,) class with the largest score; for regression the score itself."""
        return self.class_scores.argmax(axis=1) if self.confusion else self.scores[:, 0]

    @property
    def confidence(self) -> np.ndarray:
        """(samples,) the largest score."""
        best: np.ndarray = self.class_scores.max(axis=1)
        return best

    @property
    def class_scores(self) -> np.ndarray:
        """(samples, classes): one column per class also where the model gives only the score of class 1."""
        return per_class(self.scores) if self.confusion else self.scores


def per_class(scores: np.ndarray) -> np.ndarray:
    """Scores of two classes where the model gives only the probability of class 1: (samples, 1) to (samples, 2)."""
    return np.concatenate([1 - scores, scores], axis=1) if scores.shape[1] == 1 else scores


def primary_metric(task: str) -> tuple[str, int]:
    """Name of the metric that the accuracy contract is about, and +1 if higher is better.

    Raises:
        UsageError: There are no metrics for that task.
    """
    if task not in _TASKS:
        raise UsageError(f"there are no metrics for task {task!r}", f"there are {', '.join(_TASKS)}")
    return _TASKS[task][1], _TASKS[task][2]


def evaluate(scores: Sequence[np.ndarray], samples: Sequence[Sample], task: str, labels: Sequence[str]) -> Evaluation:
    """Measure.

    Args:
        scores: One array per sample.
        samples: The samples, labelled.
        task: ``classification`` or ``regression``.
        labels: Class names.

    Raises:
        DataError: There are no samples, one has no label, or there are more or fewer scores than labels.
        EvaluationError: Scores that are not finite or differ in length.
    """
    primary_metric(task)
    if not samples:
        raise DataError("there are no samples to evaluate on", "add a test folder, or more samples")
    missing = next((s.id for s in samples if s.label is None), None)
    if missing is not None:
        raise DataError(f"sample {missing} has no label", "label it, or leave --data out")
    targets = np.array([s.label for s in samples])
    rows = [np.asarray(s, np.float32).reshape(-1) for s in scores]
    for row, sample in zip(rows, samples, strict=True):
        if row.shape != rows[0].shape:
            raise EvaluationError(
                f"the model gives {row.size} scores for sample {sample.id}, {rows[0].size} for {samples[0].id}",
                f"give --task none if this is no {task}",
            )
        if not np.isfinite(row).all():
            raise EvaluationError(
                f"the model's score for sample {sample.id} is not finite", "the model or this sample is broken"
            )
    stacked = np.stack(rows)
    measure = importlib.import_module(_TASKS[task][0]).measure
    metrics, confusion = measure(stacked, targets, labels)
    return Evaluation(metrics, len(samples), confusion, stacked, targets)
