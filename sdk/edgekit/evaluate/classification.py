"""Classification: accuracy, top-5, precision, recall, F1, AUC-ROC, confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.errors import DataError
from edgekit.evaluate.evaluation import per_class

_TOP = 5


def measure(
    scores: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> tuple[dict[str, float], tuple[tuple[int, ...], ...]]:
    """Metrics (macro averages) and the confusion matrix.

    Args:
        scores: (samples, classes), or (samples, 1) with the probability of class 1.
        targets: (samples,) class indices.
        labels: Class names.

    Raises:
        DataError: More or fewer scores than classes.
    """
    from sklearn import metrics as m

    scores = per_class(scores)
    if scores.shape[1] != len(labels):
        raise DataError(
            f"the model gives {scores.shape[1]} scores, the data set has {len(labels)} classes",
            "give --labels in the model's order, or the data set it was trained on",
        )
    predicted = scores.argmax(axis=1)
    every = list(range(len(labels)))
    precision, recall, f1, _ = m.precision_recall_fscore_support(
        targets, predicted, average="macro", zero_division=0.0, labels=sorted(set(targets.tolist()))
    )
    result = {"accuracy": float(m.accuracy_score(targets, predicted))}
    if len(labels) > _TOP:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
        result["top5"] = float(np.mean((best == targets[:, None]).any(axis=1)))
    result |= {"f1": float(f1), "precision": float(precision), "recall": float(recall)}
    if set(targets.tolist()) == set(every):
        total = scores.sum(axis=1, keepdims=True)
        if np.all(scores >= 0) and np.all(total > 0):
            shares = scores.astype(np.float64) / total
            if len(labels) == 2:
                result["auc"] = float(m.roc_auc_score(targets, shares[:, 1]))
            else:
                result["auc"] = float(m.roc_auc_score(targets, shares, multi_class="ovr", labels=every))
    matrix = m.confusion_matrix(targets, predicted, labels=every)
    return result, tuple(tuple(int(v) for v in row) for row in matrix)
