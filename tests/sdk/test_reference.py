"""What the monitor will compare with."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.data import Dataset, Sample
from edgekit.evaluate import evaluate
from edgekit.evaluate.reference import confidence_table, monitoring_reference, quantiles
from edgekit_runtime.monitor.sketch import Sketch
from edgekit_runtime.monitor.watching import OTHERS
from edgekit_runtime.plain import encode


class Answers:
    """Stands for a runtime: what the model says of a sample is a function of the sample."""

    def __init__(self, answer) -> None:
        self.answer, self.calls = answer, 0

    def scores(self, raw):
        self.calls += 1
        return self.answer(raw)


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=200))
@settings(max_examples=40, deadline=None)  # drift limits are drawn for each
def test_edges_never_fall_and_hold_the_same_share(values):
    found = quantiles(values)
    finite = np.array([v for v in values if not np.isnan(v)])
    assert len(found.edges) == 33 and list(found.edges) == sorted(found.edges)
    assert found.nulls == pytest.approx(1 - len(finite) / len(values))
    if len(finite):
        assert (found.edges[0], found.edges[-1]) == (finite.min(), finite.max())
        assert found.mean == pytest.approx(finite.mean(), abs=1e-6) and found.spread == pytest.approx(
            finite.std(), abs=1e-6
        )
    json.dumps(encode(found), allow_nan=False)


def test_a_uniform_feature_fills_its_bins_evenly():
    values = np.random.default_rng(0).uniform(0, 1, 32_000)
    counts, _ = np.histogram(values, quantiles(values).edges)
    assert set(counts.tolist()) <= {999, 1000, 1001}


def test_confidence_counted_by_hand():
    scores = np.array([[0.95, 0.05], [0.92, 0.08], [0.45, 0.55], [1.0, 0.0]])
    low, high = confidence_table(scores, np.array([0, 1, 1, 0]))
    assert (low.low, low.high, low.samples, low.accuracy) == (0.5, pytest.approx(0.6), 1, 1.0)
    assert (high.high, high.samples, high.accuracy) == (1.0, 3, pytest.approx(2 / 3))


def test_logits_get_no_confidence_table():
    assert confidence_table(np.array([[3.0, -2.0]]), np.array([0])) == ()


def rows(n: int, task: str, labels: tuple[str, ...]) -> Dataset:
    generator = np.random.default_rng(1)
    made = [
        Sample(str(i), int(i % 4 == 0) if labels else float(i), f"{i:064x}",
               {"heat": float(generator.normal()), "room": "hall", "wind": None if i % 2 else 1.0})
        for i in range(n)
    ]  # fmt: skip
    return Dataset(
        "table", task, labels, {"train": made[: n // 2], "test": made[n // 2 :]}, columns=("heat", "room", "wind")
    )


def test_a_table_with_gaps_and_text():
    data = rows(40, "classification", ("calm", "storm"))
    runtime = Answers(lambda raw: np.array([0.3, 0.7]))
    found = monitoring_reference(runtime, data.split("train"), data.split("test"), "classification", data)
    assert found.priors == {"calm": 0.75, "storm": 0.25}
    assert found.inputs["wind"].nulls == 0.5 and found.inputs["heat"].nulls == 0.0
    assert list(found.outputs) == ["calm", "storm"] and found.outputs["storm"].mean == pytest.approx(0.7)
    assert [(b.samples, b.accuracy) for b in found.confidence] == [(20, 0.25)]
    json.dumps(encode(found), allow_nan=False)


def test_numbers_as_text_are_numbers_here_as_on_the_device():
    values = ["1.5", " 2 ", "", None, "hall", 4, True, float("nan"), "nan", "1e3", 10**400]
    made = [Sample(str(i), float(i), f"{i:064x}", {"x": v}) for i, v in enumerate(values)]
    data = Dataset("table", "regression", (), {"train": made, "test": []}, columns=("x",))
    found = monitoring_reference(Answers(lambda raw: [0.0]), made, [], "regression", data).inputs["x"]
    sketch = Sketch(found.edges)
    for value in values:
        sketch.add_raw(value)
    assert (found.edges[0], found.edges[-1]) == (1.0, 1000.0) and sketch.count == 5 and not sketch.under + sketch.over
    assert found.nulls == pytest.approx((sketch.nulls + sketch.unseen) / len(values)) and sketch.unseen == 2


def test_a_finished_evaluation_is_not_run_again():
    data = rows(40, "classification", ("calm", "storm"))
    runtime, held = Answers(lambda raw: np.array([0.7])), data.split("test")
    evaluation = evaluate([np.array([0.7])] * 20, held, "classification", data.labels)
    found = monitoring_reference(runtime, data.split("train"), held, "classification", data, evaluation)
    assert runtime.calls == 20, "once for each training sample"
    assert (
        found.confidence == monitoring_reference(runtime, data.split("train"), held, "classification", data).confidence
    )
    assert [(b.samples, b.accuracy) for b in found.confidence] == [(20, 0.25)]


def test_a_regression_has_no_classes():
    data = rows(40, "regression", ())
    found = monitoring_reference(
        Answers(lambda raw: [raw["heat"]]), data.split("train"), data.split("test"), "regression", data
    )
    assert found.confidence == () and found.priors == {} and list(found.outputs) == ["0"]
    assert found.outputs["0"].edges == pytest.approx(found.inputs["heat"].edges, rel=1e-6)


def test_pictures_are_summed_up():
    pictures = [Sample(str(i), 0, f"{i:064x}", np.full((16, 16, 3), i * 10, np.uint8)) for i in range(20)]
    data = Dataset("image", "classification", ("a", "b"), {"train": pictures, "test": pictures[:2]})
    found = monitoring_reference(
        Answers(lambda raw: np.array([1.0, 0.0])), pictures, pictures[:2], "classification", data
    )
    assert set(found.inputs) == {"brightness", "contrast", "sharpness"}
    assert found.inputs["brightness"].edges[-1] == pytest.approx(190) and found.inputs["contrast"].spread == 0


def test_of_many_classes_the_most_frequent_get_edges_and_the_others_share_one():
    labels = tuple(f"c{i}" for i in range(50))
    made = [Sample(str(i), i % 40 + 10, f"{i:064x}", {"x": float(i)}) for i in range(80)]
    data = Dataset("table", "classification", labels, {"train": made, "test": []}, columns=("x",))
    runtime = Answers(lambda raw: np.eye(50)[int(raw["x"]) % 50])
    found = monitoring_reference(runtime, made, [], "classification", data)
    assert set(found.outputs) == {*labels[10:42], OTHERS}, "none of the first ten is ever right"
    assert found.outputs[OTHERS].mean == pytest.approx(np.mean([i % 50 < 10 or i % 50 >= 42 for i in range(80)]))
    nameless = Dataset("table", "regression", (), {"train": made, "test": []}, columns=("x",))
    wide = monitoring_reference(Answers(lambda raw: np.arange(50) * raw["x"]), made, [], "regression", nameless)
    assert set(wide.outputs) == {*map(str, range(18, 50)), OTHERS}, "those that vary most"
