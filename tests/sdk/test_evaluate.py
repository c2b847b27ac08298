"""Metrics: equal to what can be counted by hand, and clear about what cannot be measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.data import Sample
from edgekit.errors import DataError, EvaluationError
from edgekit.evaluate import evaluate, primary_metric
from edgekit_runtime.errors import UsageError


def samples(*labels) -> list[Sample]:
    return [Sample(f"s{i}", label, f"{i:064x}", None) for i, label in enumerate(labels)]


def test_classification_counted_by_hand():
    scores = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]]
    result = evaluate(list(map(np.array, scores)), samples(0, 1, 1, 2), "classification", ["a", "b", "c"])
    assert result.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    assert result.metrics["accuracy"] == 0.75 and next(iter(result.metrics)) == "accuracy"
    assert result.metrics["precision"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert result.metrics["recall"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert result.metrics["f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert "top5" not in result.metrics, "of three classes the best five are all"
    assert result.predicted.tolist() == [0, 0, 1, 2] and result.confidence[3] == pytest.approx(0.5)


def test_top_five_of_many():
    scores = np.tile(np.arange(10, dtype=np.float32), (2, 1))
    result = evaluate(list(scores), samples(5, 4), "classification", list("abcdefghij"))
    assert result.metrics["top5"] == 0.5 and result.metrics["accuracy"] == 0.0
    assert "auc" not in result.metrics, "there are classes without samples"


def test_one_score_is_the_probability_of_class_one():
    one = evaluate([np.array([p]) for p in (0.9, 0.2, 0.6)], samples(1, 0, 0), "classification", ["no", "yes"])
    two = evaluate([np.array([1 - p, p]) for p in (0.9, 0.2, 0.6)], samples(1, 0, 0), "classification", ["no", "yes"])
    assert one.metrics == two.metrics and one.confusion == two.confusion == ((1, 1), (0, 1))
    assert one.metrics["auc"] == 1.0 and np.allclose(one.confidence, [0.9, 0.8, 0.6])


def test_regression_counted_by_hand():
    result = evaluate([np.array([v]) for v in (1.0, 2.0, 5.0)], samples(1.0, 2.0, 3.0), "regression", ())
    assert result.metrics["mae"] == pytest.approx(2 / 3) and result.metrics["rmse"] == pytest.approx(np.sqrt(4 / 3))
    assert result.metrics["r2"] == pytest.approx(1 - 4 / 2) and result.confusion == ()


@pytest.mark.parametrize(
    ("scores", "labels", "task", "error", "message"),
    [
        ([], [], "classification", DataError, "no samples"),
        ([[1, 0]], [None], "classification", DataError, "s0 has no label"),
        ([[1, 0, 0]], [0], "classification", DataError, "3 scores, the data set has 2 classes"),
        ([[1, 0], [np.nan, 0]], [0, 1], "classification", EvaluationError, "score for sample s1 is not finite"),
        ([[1, 0], [1]], [0, 1], "classification", EvaluationError, "1 scores for sample s1, 2 for s0"),
        ([[1, 0], [1, 0]], [0.0, 1.0], "regression", EvaluationError, "2 numbers per sample"),
        ([[1]], [1.0], "regression", DataError, "no meaning"),
        ([[1], [2]], [1.0, 1.0], "regression", DataError, "no meaning"),
        ([[1]], [1.0], "segmentation", UsageError, "no metrics for task 'segmentation'"),
    ],
)
def test_what_cannot_be_measured_is_said(scores, labels, task, error, message):
    with pytest.raises(error, match=message) as raised:
        evaluate([np.array(s) for s in scores], samples(*labels), task, ["a", "b"])
    assert "\n" not in str(raised.value)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50))
def test_the_confusion_matrix_holds_every_sample(pairs):
    scores = [np.eye(4, dtype=np.float32)[predicted] for _, predicted in pairs]
    result = evaluate(scores, samples(*(truth for truth, _ in pairs)), "classification", "abcd")
    matrix = np.array(result.confusion)
    assert matrix.sum() == len(pairs)
    assert result.metrics["accuracy"] == pytest.approx(np.trace(matrix) / len(pairs))
    assert matrix.sum(axis=1).tolist() == [sum(t == c for t, _ in pairs) for c in range(4)]
    assert all(0 <= v <= 1 for v in result.metrics.values())


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_primary_metric_comes_first(task):
    result = evaluate([np.array([0.0]), np.array([1.0])], samples(0, 1), task, ["a", "b"])
    assert next(iter(result.metrics)) == primary_metric(task)[0]


def test_average_precision_and_calibration_counted_by_hand():
    scores = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]]
    result = evaluate(list(map(np.array, scores)), samples(0, 0, 1, 1), "classification", ["no", "yes"])
    # ranked by the score of "yes": yes, no, yes, no -> precision 1 at the first, 2/3 at the third
    assert result.metrics["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    # four bins of one sample each: |0.9-1|, |0.6-1|, |0.8-1|, |0.7-0|
    assert result.metrics["calibration_error"] == pytest.approx((0.1 + 0.4 + 0.2 + 0.7) / 4)


def test_scores_that_are_no_probabilities_have_no_calibration():
    result = evaluate([np.array([3.0, -1.0]), np.array([-2.0, 5.0])], samples(0, 1), "classification", ["a", "b"])
    assert result.metrics["accuracy"] == 1.0 and "calibration_error" not in result.metrics


def test_percentage_error_is_left_out_where_a_label_is_zero():
    def mape(*labels):
        return evaluate([np.array([1.0]), np.array([2.0])], samples(*labels), "regression", ()).metrics.get("mape")

    assert mape(2.0, 1.0) == pytest.approx((0.5 + 1.0) / 2) and mape(0.0, 1.0) is None
