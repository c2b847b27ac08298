"""Ranges of activations: streamed, whatever the order, and better than extremes where there are outliers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit_converters.passes.histogram import BINS, Histogram
from edgekit_converters.passes.ranges import METHODS, Ranges, Search

LISTS = st.lists(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20).map(lambda v: np.array(v, np.float32)),
    min_size=1,
    max_size=6,
)


def found(search: Search, batches) -> tuple[float, float]:
    ranges = Ranges(search)
    for batch in batches:
        ranges.add({"x": batch})
    return ranges.result()["x"]


def error(x: np.ndarray, low: float, high: float, bits: int = 8) -> float:
    """Mean squared error of rounding to so many levels between the ends."""
    step = (high - low) / (2**bits - 1)
    codes = np.clip(np.rint((x - low) / step), 0, 2**bits - 1)
    return float(np.square(x - (codes * step + low)).mean())


@settings(deadline=None, max_examples=60)
@given(LISTS)
def test_a_histogram_counts_everything_once_in_any_order(batches):
    forward, backward = Histogram(), Histogram()
    for batch in batches:
        forward.add(batch)
    for batch in batches[::-1]:
        backward.add(batch)
    everything = np.concatenate(batches).astype(np.float64)
    for made in (forward, backward):
        assert made.total == everything.size and made.zeros == (everything == 0).sum()
        assert made.low == everything.min() and made.high == everything.max()
    (centres, counts), (others, again) = forward.bins(), backward.bins()
    assert centres.size <= BINS and np.array_equal(centres, others) and np.array_equal(counts, again)


@settings(deadline=None, max_examples=60)
@given(LISTS, st.sampled_from([m for m in METHODS if m != "average"]), st.booleans())
def test_a_range_holds_zero_and_nothing_that_was_not_seen_in_any_order(batches, method, symmetric):
    search = Search(method, 99.9, symmetric=symmetric)
    low, high = found(search, batches)
    everything = np.concatenate(batches)
    assert min(everything.min(), 0) <= low <= 0 <= high <= max(everything.max(), 0)
    assert found(search, batches[::-1]) == (low, high)


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
def test_rare_outliers_are_cut_off_and_the_rest_has_finer_steps(method):
    generator = np.random.default_rng(0)
    batches = [np.maximum(generator.normal(size=100_000), 0) for _ in range(10)]
    clean = np.concatenate(batches)
    batches[3][7] = 20  # one of a million
    wide, tight = found(Search("minmax"), batches), found(Search(method, 99.99), batches)
    assert wide[1] == 20 and 3 < tight[1] < 19
    assert error(clean, *tight) < error(clean, *wide) / 1.5


def test_the_least_error_is_found_where_a_search_by_hand_finds_it():
    x = np.random.default_rng(1).laplace(size=100_000)
    low, high = found(Search("mse", bits=4), [x])
    by_hand = min(error(x, -limit, limit, 4) for limit in np.linspace(0.5, 12, 200))
    assert error(x, low, high, 4) < 1.05 * by_hand
    assert error(x, low, high, 4) < 0.5 * error(x, x.min(), x.max(), 4)


def test_values_that_fill_their_range_keep_it():
    x = np.random.default_rng(2).random(50_000)
    for method in ("percentile", "mse", "entropy"):
        low, high = found(Search(method), [x])
        assert low == 0 and high > 0.99


def test_what_cannot_be_counted_is_left_out():
    ranges = Ranges(Search("mse"))
    ranges.add({"a": np.array([np.nan, np.inf, 1, 2], np.float32), "b": np.arange(3), "c": np.zeros(0, np.float32)})
    ranges.add({"d": np.full(4, np.nan, np.float32)})
    assert ranges.result() == {"a": (0.0, 2.0)}


@pytest.mark.parametrize(("method", "percentile"), [("best", 99), ("percentile", 50), ("percentile", 101)])
def test_an_unknown_search_is_refused(method, percentile):
    with pytest.raises(ValueError, match="must be"):
        Search(method, percentile)
