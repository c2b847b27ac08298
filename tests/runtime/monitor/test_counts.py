"""Histograms, sketches and counts: merging is counting all at once, and what is read back is what was written."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit_runtime.manifest import ConfidenceBin
from edgekit_runtime.monitor.histogram import RELATIVE_ERROR, Histogram
from edgekit_runtime.monitor.sketch import Confidence, Counts, Sketch
from edgekit_runtime.plain import PlainDataError

EDGES = (0.0, 1.0, 1.0, 1.0, 2.5, 4.0)
TABLE = (ConfidenceBin(0.5, 0.6, 20, 0.5), ConfidenceBin(0.8, 0.9, 50, 0.9), ConfidenceBin(0.9, 1.0, 80, 1.0))
durations = st.floats(0, 1e5)
numbers = st.floats(-2, 6) | st.sampled_from([1.0, math.nan, math.inf, -math.inf, 0.0, 4.0])
names = st.sampled_from(["a", "b", "z", "", None])

MAKERS = {
    "histogram": (Histogram, durations),
    "sketch": (lambda: Sketch(EDGES), numbers),
    "counts": (lambda: Counts.of("ab"), names),
    "confidence": (lambda: Confidence(TABLE), st.floats(0, 1)),
}


def counted(make, values):
    made = make()
    for value in values:
        made.add(value)
    return made


@pytest.mark.parametrize("kind", MAKERS)
@given(data=st.data())
def test_merging_in_any_order_is_counting_all_at_once(kind, data):
    make, values = MAKERS[kind]
    parts = data.draw(st.lists(st.lists(values, max_size=30), min_size=3, max_size=3))
    a, b, c = (counted(make, p) for p in parts)
    together = counted(make, [v for part in parts for v in part])
    assert a.merge(b).merge(c) == a.merge(b.merge(c)) == c.merge(b).merge(a) == together
    assert a.merge(make()) == a


@pytest.mark.parametrize("kind", MAKERS)
@given(data=st.data())
def test_what_is_read_back_is_what_was_written(kind, data):
    make, values = MAKERS[kind]
    made = counted(make, data.draw(st.lists(values, max_size=30)))
    plain = json.loads(json.dumps(made.to_plain(), allow_nan=False))
    knows = {"histogram": (), "sketch": (EDGES,), "counts": ("ab",), "confidence": (TABLE,)}[kind]
    assert type(made).from_plain(plain, *knows) == made


@given(st.lists(st.floats(2e-6, 4000), min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_as_near_as_it_says(values, share):
    found = counted(Histogram, values).percentile(share)
    true = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert abs(found - true) <= RELATIVE_ERROR * true * (1 + 1e-9)


@given(st.lists(durations, max_size=50), st.integers(-19, 11))
def test_a_bucket_ends_at_every_power_of_two(values, power):
    assert counted(Histogram, values).at_most(power) == sum(v < 2.0**power for v in values)


def test_a_histogram_of_nothing_has_no_percentile_and_no_duration_is_nan():
    assert math.isnan(Histogram().percentile(0.5))
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            Histogram().add(wrong)
    with pytest.raises(ValueError, match="0 to 1"):
        Histogram().percentile(1.1)
    assert counted(Histogram, [-1.0]).high == 0


def test_a_sketch_counts_every_kind_of_value_once():
    sketch = Sketch(EDGES)
    for raw in (-1, 0, 0.5, 1, 1.0, "2.5", 4, 5, math.inf, None, " ", math.nan, "red", [1, 2], 10**400):
        sketch.add_raw(raw)
    assert sketch.bins == [2, 0, 0, 2, 2]
    assert (sketch.under, sketch.over, sketch.nulls, sketch.unseen) == (1, 2, 3, 3)
    assert (sketch.low, sketch.high, sketch.count) == (-1, 5, 9)


def test_a_feature_of_a_busy_window_is_a_few_hundred_bytes():
    sketch = Sketch(tuple(i / 32 for i in range(33)))
    for i in range(100_000):
        sketch.add((i * 0.618034) % 1.01)
    assert len(json.dumps(sketch.to_plain(), separators=(",", ":"))) < 300


@pytest.mark.parametrize("change", [
    {"bins": [1, 2]}, {"bins": [1, 2, 3, 4, -5]}, {"bins": [1, 2, 3, 4, True]}, {"bins": None}, {"under": 1.5},
    {"low": 1.0}, {"low": 3.0, "high": 1.0}, {"low": "a", "high": "b"},
])  # fmt: skip
def test_a_wrong_sketch_is_refused(change):
    with pytest.raises(PlainDataError, match="a sketch cannot be read"):
        Sketch.from_plain({**Sketch(EDGES).to_plain(), **change}, EDGES)


@pytest.mark.parametrize("change", [
    {"buckets": [1]}, {"buckets": [5000, 1]}, {"buckets": [-1, 1]}, {"buckets": [1, 0]}, {"buckets": [1, 1, 1, 1]},
    {"buckets": 3}, {"total": -1}, {"low": 3.0, "high": 1.0}, {"high": None},
])  # fmt: skip
def test_a_wrong_histogram_is_refused(change):
    with pytest.raises(PlainDataError, match="a latency histogram cannot be read"):
        Histogram.from_plain({**Histogram().to_plain(), **change})


def test_counts_and_confidences_of_another_model_are_refused():
    with pytest.raises(PlainDataError, match="'c' is not one of its names"):
        Counts.from_plain({"counts": {"c": 1}}, "ab")
    with pytest.raises(PlainDataError, match="2 counts for 3 rows"):
        Confidence.from_plain({"counts": [1, 2], "outside": 0}, TABLE)
    with pytest.raises(ValueError, match="different edges"):
        Sketch(EDGES).merge(Sketch((0.0, 1.0)))
    with pytest.raises(ValueError, match="different names"):
        Counts.of("ab").merge(Counts.of("a"))
    with pytest.raises(ValueError, match="different tables"):
        Confidence(TABLE).merge(Confidence(TABLE[:1]))
    with pytest.raises(ValueError, match="do not decrease"):
        Sketch((1.0, 0.0))


def test_a_confidence_that_no_row_has_goes_to_the_nearest_and_is_told():
    confidence = counted(lambda: Confidence(TABLE), [0.55, 0.62, 0.78, 0.85, 1.0, 0.1, math.nan])
    assert confidence.counts == [3, 2, 1]
    found = confidence.estimate()
    assert found is not None
    assert found.accuracy == pytest.approx((3 * 0.5 + 2 * 0.9 + 1 * 1.0) / 6)
    assert found.outside == pytest.approx(3 / 6)
    assert Confidence(()).estimate() is None
    assert Confidence(TABLE).estimate() is None
