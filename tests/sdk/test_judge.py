"""Without labels the source's answers are the measure: the same classes, boxes in the same places, values near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.data import Sample
from edgekit.errors import EvaluationError
from edgekit.evaluate.judge import Agreement, Labelled

SAMPLES = [Sample(str(n), None, f"{n:064}", None) for n in range(20)]


@dataclass(frozen=True)
class Detection:
    index: int
    score: float
    box: tuple[float, float, float, float]


def test_classes_agree_where_the_best_score_is_the_same_one():
    random = np.random.default_rng(0)
    reference = list(random.random((20, 5), np.float32))
    judge = Agreement.with_source(SAMPLES, "classification", reference)
    baseline = judge.measure(reference)
    others = [r.copy() for r in reference]
    for other in others[:5]:
        other[other.argmin()] = 9.0
    found = judge.measure(others)
    assert (judge.kind, judge.by_answers) == ("classification", False)
    assert baseline.metrics == {"agreement": 1.0} and found.metrics["agreement"] == pytest.approx(0.75)
    assert judge.drop(baseline, found) == pytest.approx(0.25)
    assert 0.25 in judge.drop_interval(baseline, found) and 0.75 in judge.interval(found)


def test_two_classes_told_by_one_probability():
    judge = Agreement.with_source(SAMPLES[:2], "classification", [np.array([0.9]), np.array([0.2])])
    assert judge.measure([np.array([0.6]), np.array([0.7])]).metrics["agreement"] == 0.5


def test_boxes_agree_by_average_precision_with_the_sources_boxes_as_truth():
    boxes = [[Detection(n % 3, 0.9, (10.0, 10.0, 60.0 + n, 80.0))] for n in range(20)]
    judge = Agreement.with_source(SAMPLES, "none", boxes)
    assert judge.kind == "detection" and judge.measure(boxes).metrics["agreement"] == pytest.approx(1.0)
    moved = [[Detection(d.index, 0.9, (d.box[0] + 12, *d.box[1:]))] for (d,) in boxes]
    lost = [b if n % 2 else [] for n, b in enumerate(boxes)]
    assert 0.4 < judge.measure(moved).metrics["agreement"] < 0.9
    assert judge.measure(lost).metrics["agreement"] == pytest.approx(0.5, abs=0.05)
    assert judge.interval(judge.measure(lost)) is None


def test_all_outputs_count_where_answers_are_raw_tensors():
    random = np.random.default_rng(1)
    reference = [{"a": random.normal(size=(8, 4)), "b": 1000 * random.normal(size=3)} for _ in SAMPLES]
    judge = Agreement.with_source(SAMPLES, "none", reference)
    near = [{n: v * 1.001 for n, v in r.items()} for r in reference]
    far = [{"a": r["a"], "b": -r["b"]} for r in reference]
    assert judge.kind == "tensors" and judge.measure(reference).metrics == {"agreement": 1.0, "sqnr_db": 200.0}
    assert judge.measure(near).metrics["agreement"] == 1.0
    assert judge.measure(near).metrics["sqnr_db"] == pytest.approx(60, abs=0.1)
    assert judge.measure(far).metrics["agreement"] < 0.95
    with pytest.raises(EvaluationError, match="output 'b' of sample 0 has another shape"):
        judge.measure([{"a": r["a"], "b": r["b"][:2]} for r in reference])
    with pytest.raises(EvaluationError, match="no numbers"):
        Agreement.with_source(SAMPLES, "none", ["a word"] * 20).measure(["a word"] * 20)


def test_labels_are_judged_as_the_task_is():
    samples = [Sample(str(n), n % 2, f"{n:064}", None) for n in range(20)]
    judge = Labelled(samples, "classification", ["a", "b"])
    right = [np.eye(2, dtype=np.float32)[n % 2] for n in range(20)]
    wrong = [*right[:10], *(r[::-1] for r in right[10:])]
    baseline, found = judge.measure(right), judge.measure(wrong)
    assert (judge.metric, judge.sign, judge.by_answers) == ("accuracy", 1, False)
    assert judge.drop(baseline, found) == 0.5 and 0.5 in judge.drop_interval(baseline, found)
