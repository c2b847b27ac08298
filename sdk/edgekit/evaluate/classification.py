"""Classification: accuracy, top-5, precision, recall, F1, AUC-ROC, average precision, calibration, confusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.errors import DataError
from edgekit.evaluate.evaluation import per_class

_TOP = 5
_BINS = 15


def measure(
    scores: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> tuple[dict[str, float], tuple[tuple[int, ...], ...]]:
    """Metrics and the confusion matrix.

    Precision, recall, F1, AUC-ROC and average precision are means over the classes (macro). With one label a sample the
    micro averages of the first three are one figure, ``f1_micro``, and that is the accuracy. AUC-ROC, average precision
    and calibration error need scores that are probabilities, or shares of them.

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
    micro = m.f1_score(targets, predicted, average="micro", labels=every, zero_division=0.0)
    result |= {"f1": float(f1), "f1_micro": float(micro), "precision": float(precision), "recall": float(recall)}
    if set(targets.tolist()) == set(every):
        total = scores.sum(axis=1, keepdims=True)
        if np.all(scores >= 0) and np.all(total > 0):
            shares = scores.astype(np.float64) / total
            if len(labels) == 2:
                result["auc"] = float(m.roc_auc_score(targets, shares[:, 1]))
                result["average_precision"] = float(m.average_precision_score(targets, shares[:, 1]))
            else:
                result["auc"] = float(m.roc_auc_score(targets, shares, multi_class="ovr", labels=every))
                truth = targets[:, None] == every
                result["average_precision"] = float(m.average_precision_score(truth, shares))
            result["calibration_error"] = calibration_error(shares.max(axis=1), predicted == targets)
    matrix = m.confusion_matrix(targets, predicted, labels=every)
    return result, tuple(tuple(int(v) for v in row) for row in matrix)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far confidence and accuracy are apart: mean over bins of equally many samples, weighted by their number.

    Expected calibration error (C. Guo and others, "On calibration of modern neural networks", ICML 2017) with the bins
    of equal mass that K. Nguyen and B. O'Connor used before them (EMNLP 2015): where a model is sure, bins of equal
    width are empty but for the last one.

    Args:
        confidence: (samples,) probability of the answer.
        right: (samples,) whether it was right.
    """
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(_BINS, len(order)))
    gaps = [abs(float(confidence[p].mean()) - float(right[p].mean())) * len(p) for p in parts]
    return sum(gaps) / len(order)
