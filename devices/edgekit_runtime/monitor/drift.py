"""Whether a window's values still come from where the reference's came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional

import numpy as np

from edgekit_runtime.manifest import Manifest
from edgekit_runtime.monitor.distance import Distances, Drift
from edgekit_runtime.monitor.sketch import Sketch

LEVEL = 0.01
"""Share of windows without drift that are called drifted all the same, for one feature."""

_PRESUMED = 100
_DRAWS = 3000
_SEED = 20_11
_STATISTICS = 3
_BINS = 32


@dataclass(frozen=True)
class Cells:
    """What a sketch can tell apart: below, one cell for each stretch between different edges, above.

    A value that many reference samples share makes equal edges. All that 32 quantiles then say of the share below it
    is the bin in which it lies; the middle of that bin is expected, and `limits_for` allows for both of its ends.

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
    """How many samples a bundle's reference was made from; few where it does not say, so that limits are wide."""
    return next((d.samples for d in manifest.data if d.role == "reference"), _PRESUMED)


def distances(counts: np.ndarray, shares: Sequence[float]) -> Distances:
    """Distances of counted values from expected shares.

    Half a value is added to each cell before the window's shares are taken (Krichevsky and Trofimov 1981), so that an
    empty cell gives a large PSI instead of an infinite one; KS and JS take the plain shares.

    Args:
        counts: (cells,).
        shares: (cells,), all over 0, sum 1.
    """
    psi, ks, js = _statistics(np.asarray(counts, np.float64)[None], np.asarray(shares, np.float64))
    return Distances(float(psi[0]), float(ks[0]), float(js[0]))


def compare(sketch: Sketch, reference: int, *, level: float = LEVEL) -> Optional[Drift]:
    """A window against its reference; None where the window has no number, or the reference had less than two.

    Args:
        sketch: The window's counts.
        reference: Samples that the edges were made from.
        level: Share of false alarms for this one number; each of the three distances gets a third of it.
    """
    samples = sketch.count
    if not samples or reference < 2:
        return None
    cells = Cells.of(sketch.edges, reference)
    found = distances(cells.counts(sketch), cells.shares)
    limits = limits_for(cells, reference, samples, level)
    over = tuple(n for n in ("psi", "ks", "js") if getattr(found, n) > getattr(limits, n))
    return Drift(found, limits, samples, over)


@lru_cache(maxsize=256)
def limits_for(cells: Cells, reference: int, samples: int, level: float = LEVEL) -> Distances:
    """The ``1 - level / 3`` quantile of each distance over windows that are drawn from the reference itself.

    A parametric bootstrap (Efron and Tibshirani 1993, chapter 6) of both samples, as both are finite. The reference's
    edges are order statistics, so the true share between two of them is not what was counted but a Dirichlet draw with
    one unit for each gap between neighbouring samples (David and Nagaraja, Order Statistics, 3rd ed., section 6.4):
    ``p ~ Dirichlet(shares * (reference + 1))``. Where edges are equal, the share below each is first moved to one
    end of the bin that hides it. The window is then ``Multinomial(samples, p)``. 3000 draws, seeded: the same on every
    device with one version of numpy.
    """
    generator = np.random.default_rng(_SEED)
    shares = np.array(cells.shares)
    likely = _either_end(shares, generator) if cells.discrete else np.broadcast_to(shares, (_DRAWS, len(shares)))
    drawn = generator.standard_gamma(likely * (reference + 1))
    windows = generator.multinomial(samples, drawn / drawn.sum(axis=1, keepdims=True))
    limits = np.quantile(np.stack(_statistics(windows.astype(np.float64), shares)), 1 - level / _STATISTICS, axis=1)
    return Distances(*(float(v) for v in limits))


def _either_end(shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shares with each inner bound moved to an end of its bin, and nothing outside half of the time: (draws, cells)."""
    bounds = np.broadcast_to(np.cumsum(shares)[:-1], (_DRAWS, len(shares) - 1)).copy()
    half = (1 - 2 * shares[0]) / (2 * _BINS)
    bounds[:, 1:-1] += generator.choice((-half, half), bounds[:, 1:-1].shape)
    bounds[:, 0] *= generator.integers(0, 2, _DRAWS)
    bounds[:, -1] += shares[-1] * generator.integers(0, 2, _DRAWS)
    ends = np.concatenate([np.zeros((_DRAWS, 1)), bounds, np.ones((_DRAWS, 1))], axis=1)
    return np.maximum(np.diff(np.maximum.accumulate(ends, axis=1), axis=1), 1e-12)


def _statistics(counts: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PSI, KS and JS of each row of counts: (rows, cells) to three of (rows,)."""
    total = counts.sum(axis=1, keepdims=True)
    window = counts / total
    smooth = (counts + 0.5) / (total + 0.5 * counts.shape[1])
    psi = ((smooth - shares) * np.log(smooth / shares)).sum(axis=1)
    ks = np.abs(np.cumsum(window - shares, axis=1)).max(axis=1)
    middle = (window + shares) / 2
    of_window = np.where(window > 0, window * np.log2(np.where(window > 0, window, 1) / middle), 0.0)
    js = (of_window + shares * np.log2(shares / middle)).sum(axis=1) / 2
    return psi, ks, js
