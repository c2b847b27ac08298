"""A histogram that grows with what is put into it and does not depend on the order of that."""

from __future__ import annotations

import math

import numpy as np

BINS = 4096


class Histogram:
    """Counts of values in bins whose width is a power of two and whose edges are multiples of it.

    When values fall outside, neighbouring bins are merged two by two. Since the edges stay multiples of the width, the
    result depends on which values were added, not on their order, and values are never kept.

    Attributes:
        low: Smallest value seen; infinity before the first.
        high: Largest.
        zeros: How many values were exactly 0, as after a ReLU; they are in no bin, as zero is quantized exactly.
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.zeros = 0
        self._exponent: int | None = None
        self._first = 0
        self._counts = np.zeros(0, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count values; those that are not finite are left out."""
        flat = values.astype(np.float64).ravel()
        flat = flat[np.isfinite(flat)]
        if not flat.size:
            return
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        self.zeros += int((flat == 0).sum())
        flat = flat[flat != 0]
        if flat.size:
            self._widen(float(flat.min()), float(flat.max()))
            width = 2.0 ** (self._exponent or 0)
            places = np.floor(flat / width).astype(np.int64) - self._first
            self._counts += np.bincount(places, minlength=self._counts.size)

    def _widen(self, low: float, high: float) -> None:
        """Make the bins wide enough for all that was seen and for `low` to `high`, and no wider."""
        if self._exponent is None:
            span = max(high - low, abs(low), abs(high)) / BINS
            self._exponent = max(math.floor(math.log2(span)) - 1, -1000) if span > 0 else 0
            while not self._fits(low, high):
                self._exponent += 1
            self._first = math.floor(low / 2.0**self._exponent)
        held = self._counts.nonzero()[0]
        width = 2.0**self._exponent
        if held.size:  # the centres of the outermost bins in use
            low = min(low, (self._first + int(held[0]) + 0.5) * width)
            high = max(high, (self._first + int(held[-1]) + 0.5) * width)
        while not self._fits(low, high):
            self._merge()
        width = 2.0**self._exponent
        first, last = math.floor(low / width), math.floor(high / width)
        counts = np.zeros(last - first + 1, np.int64)
        held = self._counts.nonzero()[0]
        counts[held + self._first - first] = self._counts[held]
        self._first, self._counts = first, counts

    def _fits(self, low: float, high: float) -> bool:
        width = 2.0 ** (self._exponent or 0)
        return math.floor(high / width) - math.floor(low / width) < BINS

    def _merge(self) -> None:
        """Twice the width: bin k becomes bin floor(k / 2)."""
        first = self._first // 2
        counts = np.zeros((self._first + self._counts.size) // 2 - first + 1, np.int64)
        np.add.at(counts, (np.arange(self._counts.size) + self._first) // 2 - first, self._counts)
        self._first, self._counts = first, counts
        self._exponent = (self._exponent or 0) + 1

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """(centres, counts) of the bins in use, ascending; the outermost centres do not lie beyond the extremes."""
        held = self._counts.nonzero()[0]
        centres = (held + self._first + 0.5) * 2.0 ** (self._exponent or 0)
        return np.clip(centres, self.low, self.high), self._counts[held]

    @property
    def total(self) -> int:
        """How many values were counted, zeros included."""
        return int(self._counts.sum()) + self.zeros
