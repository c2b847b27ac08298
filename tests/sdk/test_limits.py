"""Drift limits that the exporter draws, against simulated windows."""

import numpy as np
import pytest

from edgekit.evaluate import limits
from edgekit.evaluate.limits import SIZES, drift_limits
from edgekit.evaluate.reference import quantiles
from edgekit_runtime.monitor.drift import between, compare
from edgekit_runtime.monitor.sketch import Sketch

REFERENCE = 500


def drifted(reference, values):
    sketch = Sketch(reference.edges)
    for value in values:
        sketch.add(float(value))
    return compare(sketch, REFERENCE, reference.limits).drifted


@pytest.mark.parametrize("samples", [30, 50, 300, 5000])
@pytest.mark.parametrize("kind", ["normal", "skewed", "two values", "counts"])
def test_windows_without_drift_are_rarely_called_drifted(kind, samples):
    generator = np.random.default_rng(7)
    draw = {
        "normal": lambda n: generator.normal(size=n),
        "skewed": lambda n: generator.lognormal(sigma=1.5, size=n),
        "two values": lambda n: (generator.random(n) < 0.37).astype(float),
        "counts": lambda n: generator.poisson(2.0, n).astype(float),
    }[kind]
    alarms = sum(bool(drifted(quantiles(draw(REFERENCE)), draw(samples))) for _ in range(150))
    # nominal 1 %; at most 6 of 150 has a chance of 99.9 % at 1 %
    assert alarms <= 6


def test_a_number_that_never_changes_never_drifts_until_it_does():
    reference = quantiles([4.0] * REFERENCE)
    for samples in (30, 47, 300, 1234, 80_000):
        assert not drifted(reference, [4.0] * samples)
    assert drifted(reference, [4.0] * 250 + [5.0] * 50)


@pytest.mark.parametrize("edges", [tuple(range(33)), (0,) * 20 + (1,) * 13], ids=["even", "two values"])
def test_between_the_sizes_limits_are_close_to_what_would_be_drawn(edges, monkeypatch):
    edges = tuple(float(e) for e in edges)
    known = drift_limits(edges, REFERENCE, REFERENCE)
    assert [limit.samples for limit in known] == list(SIZES)
    assert known[0].psi > known[3].psi and known[0].ks > known[3].ks and known[0].js > known[3].js
    monkeypatch.setattr(limits, "SIZES", (55, 170, 550, 1700, 22_000))
    for true in limits._drawn.__wrapped__(limits.Cells.of(edges, REFERENCE), REFERENCE):
        found = between(known, true.samples)
        for name in ("psi", "ks", "js"):
            assert getattr(found, name) == pytest.approx(getattr(true, name), rel=0.15)


def test_missing_values_make_limits_wider_and_less_than_two_none():
    full, half = quantiles(np.arange(400.0)), quantiles([*np.arange(200.0), *[np.nan] * 200])
    assert all(a.psi < b.psi for a, b in zip(full.limits, half.limits, strict=True))
    assert quantiles([1.0, np.nan]).limits == () == quantiles([np.nan]).limits


def test_limits_are_the_same_each_time():
    first = quantiles(np.arange(100.0)).limits
    limits._drawn.cache_clear()
    assert quantiles(np.arange(100.0)).limits == first
