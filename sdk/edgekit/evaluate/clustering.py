"""Clustering: how well apart groups are, and where the data has classes, how well the groups are those.

Silhouette: P. Rousseeuw, Journal of Computational and Applied Mathematics 20, 1987. Davies-Bouldin: D. Davies and
D. Bouldin, IEEE PAMI 1, 1979. Adjusted Rand: L. Hubert and P. Arabie, Journal of Classification 2, 1985. All three as
scikit-learn computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.data import Sample
from edgekit.errors import DataError, EvaluationError
from edgekit.evaluate.evaluation import Evaluation

LARGEST = 5000
"""Samples that the silhouette, which holds each against each, is computed on; evenly drawn from more."""


def measure_clusters(answers: Sequence[Any], rows: np.ndarray, samples: Sequence[Sample]) -> Evaluation:
    """Measure groups.

    Args:
        answers: The model's group of each sample, or scores of each group, of which the largest counts.
        rows: (samples, numbers) what the model takes: distances are between these.
        samples: The samples; where all of them are labelled, the adjusted Rand index is measured too.

    Raises:
        DataError: Fewer than three samples.
        EvaluationError: Rows that are not finite, or all samples in one group (or each in its own).
    """
    from sklearn import metrics as m

    groups = cluster_of(answers)
    if len(samples) < 3:
        raise DataError("groups of fewer than three samples have no meaning", "add samples")
    if not np.isfinite(rows).all():
        bad = int(np.argwhere(~np.isfinite(rows).all(axis=1))[0, 0])
        raise EvaluationError(f"sample {samples[bad].id} has a value that is missing or no number",
                              "distances need all of them: fill it in or leave it out")  # fmt: skip
    count = len(np.unique(groups))
    if not 1 < count < len(samples):
        raise EvaluationError(
            f"the model puts {len(samples)} samples into {count} groups, of which no distance between groups is known",
            "give samples of several groups, and several of one",
        )
    some = spread_over(len(samples), LARGEST)
    if len(np.unique(groups[some])) < 2:
        some = np.arange(len(samples))
    metrics = {
        "silhouette": float(m.silhouette_score(rows[some], groups[some])),
        "davies_bouldin": float(m.davies_bouldin_score(rows, groups)),
        "clusters": float(count),
    }
    labels = [s.label for s in samples]
    if all(v is not None for v in labels):
        metrics["adjusted_rand"] = float(m.adjusted_rand_score(labels, groups))
    targets = np.array([-1 if v is None else v for v in labels])
    return Evaluation(metrics, len(samples), (), groups[:, None].astype(np.float32), targets, rows=rows)


def cluster_of(answers: Sequence[Any]) -> np.ndarray:
    """(samples,) group of each answer: the number that it is, or the place of its largest score."""
    rows = np.stack([np.asarray(a).reshape(-1) for a in answers])
    groups = rows[:, 0].round() if rows.shape[1] == 1 else rows.argmax(axis=1)
    return groups.astype(np.int64)


def silhouettes(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(samples,) how much nearer each is to its own group than to the next, -1 to 1; NaN for those left out of many."""
    from sklearn.metrics import silhouette_samples

    some = spread_over(len(rows), LARGEST)
    figures = np.full(len(rows), np.nan)
    figures[some] = silhouette_samples(rows[some], groups[some])
    return figures


def spread_over(count: int, most: int) -> np.ndarray:
    """At most `most` places of `count`, always the same ones."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
