"""Sketches that each get a number from every call: rows are kept, and counted a block at a time.

An array operation on one short row costs several microseconds, whatever is in it; on a block of 64 rows hardly more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit_runtime.monitor.sketch import Sketch

ROWS = 64
"""Calls that are counted together."""


class Grid:
    """Counts for sketches with equally many edges, side by side; exact, and in the sketches once `drain` was called."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self._sketches = list(sketches)
        self._edges = np.array([s.edges for s in sketches], np.float64)
        self._rows = np.empty((ROWS, len(sketches)), np.float64)
        self._used = 0
        self._clear()

    def _clear(self) -> None:
        # under, one for each bin, over, missing
        self._counts = np.zeros((len(self._sketches), self._edges.shape[1] + 2), np.int64)
        self._low = np.full(len(self._sketches), np.inf)
        self._high = np.full(len(self._sketches), -np.inf)

    def row(self) -> np.ndarray:
        """Where the next call's numbers go, one for each sketch: (sketches,). Fill all of it before anything else."""
        if self._used == ROWS:
            self._count()
        self._used += 1
        row: np.ndarray = self._rows[self._used - 1]
        return row

    def _count(self) -> None:
        rows, width = self._rows[: self._used], self._counts.shape[1]
        place = (rows[:, :, None] >= self._edges).sum(axis=2)
        place -= rows == self._edges[:, -1]  # the last bin takes its upper edge too
        place[np.isnan(rows)] = width - 1
        flat = (place + np.arange(len(self._sketches)) * width).ravel()
        self._counts += np.bincount(flat, minlength=self._counts.size).reshape(self._counts.shape)
        finite = np.isfinite(rows)
        np.minimum(self._low, np.where(finite, rows, np.inf).min(axis=0), out=self._low)
        np.maximum(self._high, np.where(finite, rows, -np.inf).max(axis=0), out=self._high)
        self._used = 0

    def drain(self) -> None:
        """Add everything to the sketches, and begin anew."""
        if self._used:
            self._count()
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
