"""Distances and limits against values worked out by hand, and accuracy without labels."""

import math

import numpy as np
import pytest

from edgekit_runtime.manifest import ConfidenceBin, DriftLimit, Quantiles
from edgekit_runtime.monitor.distance import Distances
from edgekit_runtime.monitor.drift import Cells, between, compare, distances
from edgekit_runtime.monitor.sketch import Confidence, Sketch

REFERENCE = 500
LIMITS = (  # as the exporter draws them for 32 bins of 500 samples
    DriftLimit(30, 0.7555, 0.3025, 0.3858),
    DriftLimit(300, 0.2982, 0.118, 0.05883),
    DriftLimit(3000, 0.142, 0.08087, 0.02548),
    DriftLimit(50_000, 0.1217, 0.07679, 0.02136),
)


def edges_of(values):
    return tuple(np.quantile(values, np.linspace(0, 1, 33)).tolist())


def sketch_of(edges, values):
    sketch = Sketch(edges)
    for value in values:
        sketch.add(float(value))
    return sketch


def test_distances_of_two_cells_worked_out_by_hand():
    found = distances(np.array([30, 10]), (0.5, 0.5))
    # smoothed shares 30.5/41 and 10.5/41
    a, b = 30.5 / 41, 10.5 / 41
    assert found.psi == pytest.approx((a - 0.5) * math.log(a / 0.5) + (b - 0.5) * math.log(b / 0.5))
    assert found.ks == pytest.approx(0.25)
    # the middle is (0.625, 0.375)
    js = 0.75 * math.log2(0.75 / 0.625) + 0.25 * math.log2(0.25 / 0.375)
    js += 0.5 * math.log2(0.5 / 0.625) + 0.5 * math.log2(0.5 / 0.375)
    assert found.js == pytest.approx(js / 2)


def test_equal_shares_have_no_distance_and_separate_ones_the_largest():
    same = distances(np.array([500, 500]), (0.5, 0.5))
    assert (same.psi, same.ks, same.js) == pytest.approx((0, 0, 0), abs=1e-12)
    apart = distances(np.array([0, 1000]), (1 - 1e-9, 1e-9))
    assert apart.ks == pytest.approx(1)
    assert apart.js == pytest.approx(1, abs=1e-6)


def test_cells_join_equal_edges_and_keep_every_share():
    edges = (0.0, 0.0, 0.0, 1.0, 1.0, 1.7, 2.0, 2.0)
    cells = Cells.of(edges, 99)
    assert cells.discrete
    assert sum(cells.shares) == pytest.approx(1)
    # shares begin in the middle of the bin that hides them; 1.7 may be a value that never comes
    assert cells.shares == pytest.approx((0.01, 2.5 / 7 * 0.98, 3 / 7 * 0.98, 1.5 / 7 * 0.98, 0.01))
    counted = sketch_of(edges, [-1, 0, 0, 0.5, 1, 1.5, 1.8, 2, 2, 2, 9])
    assert cells.counts(counted).tolist() == [1, 3, 3, 3, 1]
    assert Cells.of((4.0,) * 33, 99).counts(sketch_of((4.0,) * 33, [4, 4, 3, 5])).tolist() == [1, 2, 1]
    plain = Cells.of((0.0, 1.0, 2.0), 99)
    assert not plain.discrete
    assert plain.shares == pytest.approx((0.01, 0.49, 0.49, 0.01))


@pytest.mark.parametrize("samples", [300, 5000])
def test_a_shift_by_half_a_spread_and_a_wider_spread_are_seen(samples):
    generator = np.random.default_rng(8)
    edges = edges_of(generator.normal(size=REFERENCE))
    for window in (generator.normal(0.5, 1, samples), generator.normal(0, 1.8, samples), np.full(samples, 50.0)):
        assert compare(sketch_of(edges, window), REFERENCE, LIMITS).drifted
    assert not compare(sketch_of(edges, generator.normal(0, 1, samples)), REFERENCE, LIMITS).drifted


def test_limits_of_a_size_between_two_lie_on_a_line_in_logarithms():
    limits = (DriftLimit(100, 0.4, 0.2, 0.1), DriftLimit(10_000, 0.04, 0.1, 0.1))
    found = between(limits, 1000)
    assert (found.psi, found.ks, found.js) == pytest.approx((0.4 / 10**0.5, 0.2 / 2**0.5, 0.1))
    assert between(limits, 100) == Distances(*(pytest.approx(v) for v in (0.4, 0.2, 0.1)))
    assert between(limits, 10**7) == between(limits, 10_000)


def test_nobody_judges_small_windows_or_without_limits():
    sketch = sketch_of(tuple(float(i) for i in range(33)), np.full(29, 50.0))
    assert compare(sketch, REFERENCE, LIMITS) is None
    sketch.add(50.0)
    assert compare(sketch, REFERENCE, LIMITS).drifted == ("psi", "ks", "js")
    assert compare(sketch, REFERENCE, ()) is None, "a bundle made before limits were drawn by the exporter"
    assert compare(sketch, 1, LIMITS) is None
    assert compare(Sketch((0.0, 1.0)), REFERENCE, LIMITS) is None


@pytest.mark.parametrize("wrong", [{"psi": 0.0}, {"ks": -1.0}, {"js": float("nan")}, {"samples": 0}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="over 0"):
        DriftLimit(**{"samples": 30, "psi": 1.0, "ks": 1.0, "js": 1.0, **wrong})
    with pytest.raises(ValueError, match="growing"):
        Quantiles((0.0, 1.0), limits=LIMITS[::-1])


@pytest.mark.parametrize("shift", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_accuracy_is_estimated_without_labels_under_a_shift_of_inputs(shift):
    """Right answers depend on the input alone; the model is overconfident, which the table knows."""
    generator = np.random.default_rng(9)

    def answers(n, centre):
        x = generator.normal(centre, 1.5, n)
        true = generator.random(n) < 1 / (1 + np.exp(-x))
        claimed = 1 / (1 + np.exp(-2.5 * x))
        return np.maximum(claimed, 1 - claimed), (claimed > 0.5) == true

    confidence, right = answers(20_000, 0.0)
    edges = np.linspace(0.5, 1, 11)
    place = np.clip(np.digitize(confidence, edges) - 1, 0, 9)
    table = tuple(
        ConfidenceBin(edges[i], edges[i + 1], int((place == i).sum()), float(right[place == i].mean()))
        for i in range(10)
    )
    seen = Confidence(table)
    confidence, right = answers(20_000, shift)
    for value in confidence:
        seen.add(float(value))
    found = seen.estimate()
    assert abs(found.accuracy - right.mean()) < 0.02
    assert abs(confidence.mean() - right.mean()) > 3 * abs(found.accuracy - right.mean())
    assert found.error < 0.01
