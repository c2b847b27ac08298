"""Ranges of activations from samples, found the same way for every format.

Neither quantizer does this well by itself: ai-edge-quantizer knows minima and maxima only, onnxruntime's histograms
keep every activation of a step in memory. Both take ranges from outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit_converters.passes.histogram import Histogram

METHODS = ("minmax", "average", "percentile", "mse", "entropy")
DEFAULT_PERCENTILE = 99.999
_MOMENTUM = 0.95
_CANDIDATES = 160
_ENTROPY_BINS = 2048
_ENTROPY_STEPS = 100


@dataclass(frozen=True)
class Search:
    """How ranges are found.

    Attributes:
        method: ``minmax``: all that was seen. ``average``: the moving average of each sample's extremes. The others
            cut off what is rare to have finer steps for the rest: ``percentile``, ``mse``, ``entropy``.
        percentile: Share of values inside the range, in percent; for ``percentile``.
        bits: Of the activations.
        symmetric: Whether the range must reach as far below zero as above.
    """

    method: str
    percentile: float = DEFAULT_PERCENTILE
    bits: int = 8
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {self.method!r:.40}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile must be above 50 and at most 100, not {self.percentile:g}")


class Ranges:
    """Running statistics of tensors by name; activations are not kept."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._ends: dict[str, tuple[float, float]] = {}
        self._histograms: dict[str, Histogram] = {}

    def add(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Take in one sample's tensors; those that are not float or empty are left out."""
        for name, values in tensors.items():
            if values.dtype.kind != "f" or not values.size:
                continue
            if self._search.method in ("minmax", "average"):
                self._add_ends(name, float(values.min()), float(values.max()))
            else:
                self._histograms.setdefault(name, Histogram()).add(values)

    def _add_ends(self, name: str, low: float, high: float) -> None:
        if not (math.isfinite(low) and math.isfinite(high)):
            return
        if name not in self._ends:
            self._ends[name] = (low, high)
        elif self._search.method == "minmax":
            self._ends[name] = (min(self._ends[name][0], low), max(self._ends[name][1], high))
        else:
            before = self._ends[name]
            self._ends[name] = (
                _MOMENTUM * before[0] + (1 - _MOMENTUM) * low,
                _MOMENTUM * before[1] + (1 - _MOMENTUM) * high,
            )

    def result(self) -> dict[str, tuple[float, float]]:
        """Tensor name to (low, high); low <= 0 <= high, as zero must have a code."""
        found = dict(self._ends)
        for name, histogram in self._histograms.items():
            if histogram.total:
                found[name] = best_range(histogram, self._search)
        return {name: (min(low, 0.0) + 0.0, max(high, 0.0)) for name, (low, high) in found.items()}


def best_range(histogram: Histogram, search: Search) -> tuple[float, float]:
    """The range for one tensor by ``percentile``, ``mse`` or ``entropy``; at most what was seen."""
    centres, _ = histogram.bins()
    if not centres.size or histogram.low == histogram.high:
        return histogram.low, histogram.high
    if search.method == "percentile":
        return _percentile(histogram, search.percentile)
    if search.method == "entropy":
        return _entropy(histogram, search.bits)
    return _least_error(histogram, search.bits, search.symmetric)


def _percentile(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """As much cut off at one end as at the other, zeros counted in."""
    centres, counts = histogram.bins()
    place = int(np.searchsorted(centres, 0.0))
    centres, counts = np.insert(centres, place, 0.0), np.insert(counts, place, histogram.zeros)
    below = np.cumsum(counts)
    tail = histogram.total * (1 - percentile / 100) / 2
    low = centres[int(np.searchsorted(below, tail, "right"))]
    high = centres[min(int(np.searchsorted(below, histogram.total - tail, "left")), centres.size - 1)]
    if tail < 1:  # less than one value is to be cut off
        return histogram.low, histogram.high
    return float(low), float(high)


def _least_error(histogram: Histogram, bits: int, symmetric: bool) -> tuple[float, float]:
    """The range with the least expected squared error: that of clipping, and that of rounding inside.

    ``Σ_{x>h} n(x) (x-h)² + Σ_{x<l} n(x) (l-x)² + N_inside (h-l)² / 12 (2^bits - 1)²``: Banner et al. 2019,
    arXiv 1810.05723, section 3, with the histogram in the place of their fitted distribution. Zeros have no error.
    """
    centres, counts = histogram.bins()
    levels = 2.0**bits - 1
    if symmetric:
        centres, counts = _folded(centres, counts)
        highs, clipped, inside = _tails(centres, counts, float(centres[-1]))
        error = clipped + inside * np.square(2 * highs / levels) / 12
        limit = float(highs[int(np.argmin(error))])
        return max(histogram.low, -limit), min(histogram.high, limit)
    over, under = centres > 0, centres < 0
    highs, clipped_high, inside_high = _tails(centres[over], counts[over], max(histogram.high, 0.0))
    lows, clipped_low, inside_low = _tails(-centres[under][::-1], counts[under][::-1], max(-histogram.low, 0.0))
    steps = np.square((highs[:, None] + lows[None, :]) / levels) / 12
    error = clipped_high[:, None] + clipped_low[None, :] + (inside_high[:, None] + inside_low[None, :]) * steps
    high, low = np.unravel_index(int(np.argmin(error)), error.shape)
    return -float(lows[low]), float(highs[high])


def _folded(centres: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(np.abs(centres), kind="stable")
    return np.abs(centres)[order], counts[order]


def _tails(values: np.ndarray, counts: np.ndarray, end: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For limits up to `end`: (limits, summed squared excess of the positive ascending `values`, count within)."""
    if not values.size or end <= 0:
        return np.zeros(1), np.zeros(1), np.zeros(1)
    # the whole range comes first, so that of equal errors the one that clips nothing is taken
    limits = end * np.linspace(1, 1 / _CANDIDATES, _CANDIDATES)
    zeroth, first, second = (np.append(np.cumsum((counts * values**power)[::-1])[::-1], 0.0) for power in (0, 1, 2))
    place = np.searchsorted(values, limits, "right")
    clipped = second[place] - 2 * limits * first[place] + limits**2 * zeroth[place]
    return limits, np.maximum(clipped, 0.0), counts.sum() - zeroth[place]


def _entropy(histogram: Histogram, bits: int) -> tuple[float, float]:
    """The range whose quantized distribution is closest to the whole one by Kullback-Leibler divergence.

    Migacz, "8-bit inference with TensorRT" (GTC 2017): of the magnitudes, with half of the levels for each sign; all
    of them where there is but one sign.
    """
    centres, counts = _folded(*histogram.bins())
    largest = float(centres[-1])
    two_sided = histogram.low < 0 < histogram.high
    levels = 2 ** (bits - 1) if two_sided else 2**bits
    if levels >= _ENTROPY_BINS:  # 16 bits: nothing to gain
        return histogram.low, histogram.high
    places = np.minimum((centres / largest * _ENTROPY_BINS).astype(int), _ENTROPY_BINS - 1)
    spread = np.bincount(places, counts, _ENTROPY_BINS)
    best, limit = math.inf, _ENTROPY_BINS
    for size in np.unique(np.linspace(_ENTROPY_BINS, levels, _ENTROPY_STEPS).astype(int))[::-1]:
        divergence = _divergence(spread, int(size), levels)
        if divergence < best:
            best, limit = divergence, int(size)
    cut = largest * limit / _ENTROPY_BINS
    return max(histogram.low, -cut), min(histogram.high, cut)


def _divergence(spread: np.ndarray, size: int, levels: int) -> float:
    """Of the first `size` bins, with the rest piled onto the last, from the same bins made of `levels` levels."""
    inside = spread[:size]
    reference = inside.copy()
    reference[-1] += spread[size:].sum()
    level = np.arange(size) * levels // size
    filled = inside > 0
    sums = np.bincount(level, inside, levels)
    holders = np.maximum(np.bincount(level, filled, levels), 1)
    quantized = np.where(filled, (sums / holders)[level], 0.0)
    both = (reference > 0) & (quantized > 0)
    if not both.any():
        return math.inf
    lost = reference[(reference > 0) & ~both].sum() / reference.sum()
    p, q = reference[both] / reference.sum(), quantized[both] / quantized.sum()
    return float(np.sum(p * np.log(p / q)) + lost * math.log(1e6))
