"""Regression: R², MAE, RMSE, MAPE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.errors import DataError, EvaluationError


def measure(
    scores: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> tuple[dict[str, float], tuple[tuple[int, ...], ...]]:
    """Metrics; there is no confusion matrix. MAPE is a share, and is left out where a label is 0.

    Args:
        scores: (samples, 1) predictions.
        targets: (samples,) numbers.
        labels: Not used.

    Raises:
        DataError: Fewer than two samples, or all labels equal: R² has no meaning.
        EvaluationError: More than one prediction per sample.
    """
    from sklearn import metrics as m

    if scores.shape[1] != 1:
        raise EvaluationError(f"the model gives {scores.shape[1]} numbers per sample, a regression has one")
    if len(targets) < 2 or np.ptp(targets) == 0:
        raise DataError("the evaluation samples do not have two different labels, so R² has no meaning", "add samples")
    predicted = scores[:, 0]
    result = {
        "r2": float(m.r2_score(targets, predicted)),
        "mae": float(m.mean_absolute_error(targets, predicted)),
        "rmse": float(np.sqrt(m.mean_squared_error(targets, predicted))),
    }
    if np.all(targets != 0):
        result["mape"] = float(m.mean_absolute_percentage_error(targets, predicted))
    return result, ()
