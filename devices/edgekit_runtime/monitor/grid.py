"""Many sketches that each get a number from every call: one array operation in place of a loop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit_runtime.monitor.sketch import Sketch


class Grid:
    """Counts for sketches with equally many edges, side by side; `drain` hands them over."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self._sketches = list(sketches)
        self._edges = np.array([s.edges for s in sketches], np.float64)
        self._rows = np.arange(len(sketches))
        self._clear()

    def _clear(self) -> None:
        # under, one for each bin, on or over the last edge, missing
        self._counts = np.zeros((len(self._sketches), self._edges.shape[1] + 2), np.int64)
        self._low = np.full(len(self._sketches), np.inf)
        self._high = np.full(len(self._sketches), -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Count one number for each sketch: (sketches,)."""
        row = values.astype(np.float64)
        place = (row[:, None] >= self._edges).sum(axis=1)
        place[row == self._edges[:, -1]] -= 1  # the last bin takes its upper edge too
        finite = np.isfinite(row)
        if finite.all():
            low = high = row
        else:
            place[np.isnan(row)] = self._counts.shape[1] - 1
            low, high = np.where(finite, row, np.inf), np.where(finite, row, -np.inf)
        self._counts[self._rows, place] += 1
        np.minimum(self._low, low, out=self._low)
        np.maximum(self._high, high, out=self._high)

    def drain(self) -> None:
        """Add everything to the sketches, and begin anew."""
        for sketch, counts, low, high in zip(
            self._sketches, self._counts.tolist(), self._low.tolist(), self._high.tolist()
        ):
            under, *bins, over, nulls = counts
            sketch.under += under
            sketch.over += over
            sketch.nulls += nulls
            sketch.bins = [a + b for a, b in zip(sketch.bins, bins)]
            if low < math.inf:
                sketch.low = low if sketch.low is None else min(low, sketch.low)
                sketch.high = high if sketch.high is None else max(high, sketch.high)
        self._clear()
