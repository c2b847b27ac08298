"""Answers and labels to metrics. A task is one function in one file and one line in `_TASKS`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.data import Sample
from edgekit.errors import DataError, EvaluationError
from edgekit.evaluate.matches import ClassMatches
from edgekit_runtime.errors import UsageError

# task -> (module with `measure`, primary metric, +1 if higher is better)
_TASKS = {
    "classification": ("edgekit.evaluate.classification", "accuracy", 1),
    "regression": ("edgekit.evaluate.regression", "r2", 1),
    "detection": ("edgekit.evaluate.detection", "map", 1),
    "clustering": ("edgekit.evaluate.clustering", "silhouette", 1),
}
_BY_ANSWERS = ("detection",)


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on some samples.

    Attributes:
        metrics: Name to value, the primary one first.
        samples: How many were evaluated.
        confusion: Rows of the confusion matrix (true class by predicted class); empty for regression.
        scores: (samples, classes) float32.
        targets: (samples,) labels.
        classes: Class name to (objects, average precision), for detection.
        matches: What was found of each class, picture by picture, for detection.
        rows: (samples, numbers) what the model takes, for clustering.
    """

    metrics: Mapping[str, float]
    samples: int
    confusion: tuple[tuple[int, ...], ...] = ()
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    targets: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    classes: Mapping[str, tuple[int, float | None]] = field(default_factory=dict)
    matches: tuple[ClassMatches, ...] = field(default=(), repr=False)
    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

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


def measured_by_answers(task: str) -> bool:
    """Whether a task is measured by whole answers (lists of boxes), rather than by scores."""
    return task in _BY_ANSWERS


def evaluate(answers: Sequence[Any], samples: Sequence[Sample], task: str, labels: Sequence[str]) -> Evaluation:
    """Measure.

    Args:
        answers: One for each sample: an array of scores, or what the specification's last step gives where
            `measured_by_answers` says so.
        samples: The samples, labelled.
        task: ``classification``, ``regression`` or ``detection``; for ``clustering`` see `edgekit.evaluate.clustering`.
        labels: Class names.

    Raises:
        UsageError: There are no metrics for the task.
        DataError: There are no samples, one has no label, or there are more or fewer scores than labels.
        EvaluationError: Scores that are not finite or differ in length, or answers of another kind.
        MissingRequirement: The task's library is not installed.
    """
    primary_metric(task)
    if task == "clustering":
        raise UsageError("clusters are measured on what the model takes", "run edgekit eval on the bundle")
    if not samples:
        raise DataError("there are no samples to evaluate on", "add a test folder, or more samples")
    by_answers = measured_by_answers(task)
    missing = next((s.id for s in samples if (s.boxes if by_answers else s.label) is None), None)
    if missing is not None:
        raise DataError(f"sample {missing} has no label", "label it, or leave --data out")
    measure = importlib.import_module(_TASKS[task][0]).measure
    if by_answers:
        figures = measure(answers, samples, labels)
        return Evaluation(figures.metrics, len(samples), classes=figures.classes, matches=figures.matches)
    targets = np.array([s.label for s in samples])
    stacked = _stacked(answers, samples, task)
    metrics, confusion = measure(stacked, targets, labels)
    return Evaluation(metrics, len(samples), confusion, stacked, targets)


def _stacked(scores: Sequence[np.ndarray], samples: Sequence[Sample], task: str) -> np.ndarray:
    """(samples, scores)."""
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
    return np.stack(rows)
