"""Distances against values worked out by hand, limits against simulated windows, and accuracy without labels."""

import math

import numpy as np
import pytest

from edgekit_runtime.manifest import ConfidenceBin
from edgekit_runtime.monitor.drift import Cells, compare, distances, limits_for
from edgekit_runtime.monitor.sketch import Confidence, Sketch

REFERENCE = 500


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


@pytest.mark.parametrize("samples", [30, 300, 5000])
@pytest.mark.parametrize("kind", ["normal", "skewed", "two values", "counts"])
def test_windows_without_drift_are_rarely_called_drifted(kind, samples):
    generator = np.random.default_rng(7)
    draw = {
        "normal": lambda n: generator.normal(size=n),
        "skewed": lambda n: generator.lognormal(sigma=1.5, size=n),
        "two values": lambda n: (generator.random(n) < 0.37).astype(float),
        "counts": lambda n: generator.poisson(2.0, n).astype(float),
    }[kind]
    trials = 150
    alarms = sum(
        bool(compare(sketch_of(edges_of(draw(REFERENCE)), draw(samples)), REFERENCE).drifted) for _ in range(trials)
    )
    # nominal 1 %; at most 6 of 150 has a chance of 99.9 % at 1 %
    assert alarms <= 6


@pytest.mark.parametrize("samples", [300, 5000])
def test_a_shift_by_half_a_spread_and_a_wider_spread_are_seen(samples):
    generator = np.random.default_rng(8)
    edges = edges_of(generator.normal(size=REFERENCE))
    for window in (generator.normal(0.5, 1, samples), generator.normal(0, 1.8, samples), np.full(samples, 50.0)):
        assert compare(sketch_of(edges, window), REFERENCE).drifted


def test_limits_shrink_with_the_window_and_are_the_same_each_time():
    cells = Cells.of(tuple(float(i) for i in range(33)), REFERENCE)
    small, large = (limits_for(cells, REFERENCE, n) for n in (50, 5000))
    assert large.psi < small.psi
    assert large.ks < small.ks
    assert large.js < small.js
    limits_for.cache_clear()
    assert limits_for(cells, REFERENCE, 50) == small


def test_nothing_to_compare_is_no_verdict():
    assert compare(Sketch((0.0, 1.0)), REFERENCE) is None
    assert compare(sketch_of((0.0, 1.0), [0.5]), 1) is None


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
