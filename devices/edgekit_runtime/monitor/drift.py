"""Whether a window's values still come from where the reference's came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from edgekit_runtime.manifest import DriftLimit, Manifest
from edgekit_runtime.monitor.distance import Distances, Drift
from edgekit_runtime.monitor.sketch import Sketch
from edgekit_runtime.monitor.window import Window


@dataclass(frozen=True)
class Cells:
    """What a sketch can tell apart: below, one cell for each stretch between different edges, above.

    A value that many reference samples share makes equal edges. All that 32 quantiles then say of the share below it
    is the bin in which it lies; its middle is expected, and the exporter's limits allow for both of its ends.

    Attributes:
        starts: First bin of each inner cell.
        shares: Expected share of each cell, ends included: ``1 / (n + 1)`` of the reference's n samples fall below and
            as many above in the mean, the rest is spread as the edges say.
        discrete: Whether there are equal edges.
    """

    starts: tuple[int, ...]
    shares: tuple[float, ...]
    discrete: bool

    @classmethod
    def of(cls, edges: Sequence[float], reference: int) -> Cells:
        """The cells of the reference's edges, made from `reference` samples."""
        last = len(edges) - 1
        firsts = [i for i, e in enumerate(edges) if i == 0 or e != edges[i - 1]]
        tied = {i for i in firsts if i < last and edges[i] == edges[i + 1]}
        # an edge right below a shared value may lie between two values where no value ever is
        starts = [i for i in firsts if i < last and (i == 0 or i in tied or i + 1 not in tied)]
        bounds = [max(i - 0.5, 0.0) if tied else float(i) for i in starts] + [float(last)]
        within, outside = (reference - 1) / (reference + 1), 1 / (reference + 1)
        shares = (outside, *((b - a) / last * within for a, b in zip(bounds, bounds[1:])), outside)
        return cls(tuple(starts), shares, bool(tied))

    def counts(self, sketch: Sketch) -> np.ndarray:
        """The sketch's values in each cell."""
        inner = np.add.reduceat(np.array(sketch.bins, np.float64), self.starts)
        return np.array([sketch.under, *inner, sketch.over])


def reference_samples(manifest: Manifest) -> int:
    """How many samples a bundle's reference was made from; 0 where it does not say."""
    return next((d.samples for d in manifest.data if d.role == "reference"), 0)


def distances(counts: np.ndarray, shares: Sequence[float]) -> Distances:
    """Distances of counted values from expected shares; see `statistics`.

    Args:
        counts: (cells,).
        shares: (cells,), all over 0, sum 1.
    """
    psi, ks, js = statistics(np.asarray(counts, np.float64)[None], np.asarray(shares, np.float64))
    return Distances(float(psi[0]), float(ks[0]), float(js[0]))


def compare(sketch: Sketch, reference: int, limits: Sequence[DriftLimit]) -> Optional[Drift]:
    """A window against its reference; None where nobody can judge it.

    That is where it has fewer values than the smallest window that limits were drawn for, or there are no limits: a
    bundle made before manifest 1.3, or a reference of less than two samples.

    Args:
        sketch: The window's counts.
        reference: Samples that the edges were made from.
        limits: The exporter's, of growing windows.
    """
    samples = sketch.count
    if not limits or samples < limits[0].samples or reference < 2:
        return None
    cells = Cells.of(sketch.edges, reference)
    found, allowed = distances(cells.counts(sketch), cells.shares), between(limits, samples)
    over = tuple(n for n in ("psi", "ks", "js") if getattr(found, n) > getattr(allowed, n))
    return Drift(found, allowed, samples, over)


def between(limits: Sequence[DriftLimit], samples: int) -> Distances:
    """Limits of a window of any size, by straight lines in logarithms of both.

    Limits are roughly ``a + b * samples ** -c``; between the exporter's sizes the lines are within a tenth of what it
    would draw (tests/sdk/test_limits.py). A larger window than the last has the last's limits, which are too wide.
    """
    place = math.log(samples)
    sizes = [math.log(limit.samples) for limit in limits]
    return Distances(
        *(
            math.exp(np.interp(place, sizes, [math.log(getattr(limit, name)) for limit in limits]))
            for name in ("psi", "ks", "js")
        )
    )


def of_window(window: Window, manifest: Manifest) -> dict[str, dict[str, Drift]]:
    """``{"inputs": {name: Drift}, "outputs": …}`` of one window; names that nobody can judge are left out."""
    samples = reference_samples(manifest)
    return {
        side: {
            name: found
            for name, sketch in getattr(window, side).items()
            if (found := compare(sketch, samples, getattr(manifest.monitoring, side)[name].limits)) is not None
        }
        for side in ("inputs", "outputs")
    }


def statistics(counts: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PSI, KS and JS of each row of counts: (rows, cells) to three of (rows,).

    Half a value is added to each cell before the window's shares are taken for PSI (Krichevsky and Trofimov 1981), so
    that an empty cell gives a large one instead of an infinite one; KS and JS take the plain shares.
    """
    total = counts.sum(axis=1, keepdims=True)
    window = counts / total
    smooth = (counts + 0.5) / (total + 0.5 * counts.shape[1])
    psi = ((smooth - shares) * np.log(smooth / shares)).sum(axis=1)
    ks = np.abs(np.cumsum(window - shares, axis=1)).max(axis=1)
    middle = (window + shares) / 2
    of_window = np.where(window > 0, window * np.log2(np.where(window > 0, window, 1) / middle), 0.0)
    js = (of_window + shares * np.log2(shares / middle)).sum(axis=1) / 2
    return psi, ks, js
