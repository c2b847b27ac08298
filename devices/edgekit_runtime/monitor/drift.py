"""Whether a window's values still come from where the reference's came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional

import numpy as np

from edgekit_runtime.monitor.sketch import Sketch

LEVEL = 0.01
"""Share of windows without drift that are called drifted all the same, for one feature."""

_DRAWS = 3000
_SEED = 20_11
_STATISTICS = 3


@dataclass(frozen=True)
class Distances:
    """How far a window is from the reference.

    Attributes:
        psi: Population stability index, ``sum((w - r) * ln(w / r))``, which is Jeffreys' divergence in nats.
        ks: Kolmogorov-Smirnov: the largest difference of the distribution functions, at the cells' ends.
        js: Jensen-Shannon divergence in bits, 0 to 1.
    """

    psi: float
    ks: float
    js: float


@dataclass(frozen=True)
class Drift:
    """One number's window against its reference.

    Attributes:
        distances: The distances.
        limits: What each of them stays under in windows of this size without drift.
        samples: Values in the window that were numbers.
        drifted: Which of the three are over their limit.
    """

    distances: Distances
    limits: Distances
    samples: int
    drifted: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """What a sketch can tell apart: below, one cell for each stretch between different edges, above.

    A value that many reference samples share makes equal edges. Its bin and the empty ones beside it are one cell, since
    32 quantiles say no more of it than that its share begins within one bin's share of where the edges say.

    Attributes:
        starts: Bin that each inner cell's values are counted in.
        shares: Expected share of each cell, ends included: ``(1, …, 1) / (n + 1)`` of the reference's n samples fall
            below and above in the mean, the rest is spread as the edges say.
        ties: Of each inner cell, whether its lower edge is such a shared value.
    """

    starts: tuple[int, ...]
    shares: tuple[float, ...]
    ties: tuple[bool, ...]

    @classmethod
    def of(cls, edges: Sequence[float], reference: int) -> Cells:
        """The cells of the reference's edges, made from `reference` samples."""
        last = len(edges) - 1
        firsts = [i for i, e in enumerate(edges) if i == 0 or e != edges[i - 1]]
        # the largest value is a cell of its own only where equal edges give it a share
        inner = firsts[:-1] if firsts[-1] == last and len(firsts) > 1 else firsts
        ends = [*inner[1:], last]
        # a value on the cell's lower edge is counted in the last of the bins that begin there
        starts = tuple(min(max(i for i in range(len(edges)) if edges[i] == edges[first]), last - 1) for first in inner)
        within = (reference - 1) / (reference + 1)
        outside = 1 / (reference + 1)
        shares = (outside, *((b - a) / last * within for a, b in zip(inner, ends)), outside)
        return cls(starts, shares, tuple(first + 1 <= last and edges[first] == edges[first + 1] for first in inner))

    def counts(self, sketch: Sketch) -> np.ndarray:
        """The sketch's values in each cell."""
        return np.array([sketch.under, *(sketch.bins[s] for s in self.starts), sketch.over], np.float64)


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
    ``p ~ Dirichlet(shares * (reference + 1))``. Where edges are equal, the share below is first drawn from the bin
    that hides it. The window is then ``Multinomial(samples, p)``. 3000 draws, seeded: the same on every device with
    one version of numpy.
    """
    generator = np.random.default_rng(_SEED)
    shares = np.array(cells.shares)
    likely = np.broadcast_to(shares, (_DRAWS, len(shares)))
    if any(cells.ties):
        likely = _blurred(shares, cells.ties, generator)
    drawn = generator.standard_gamma(likely * (reference + 1))
    windows = generator.multinomial(samples, drawn / drawn.sum(axis=1, keepdims=True))
    limits = np.quantile(np.stack(_statistics(windows.astype(np.float64), shares)), 1 - level / _STATISTICS, axis=1)
    return Distances(*(float(v) for v in limits))


def _blurred(shares: np.ndarray, ties: Sequence[bool], generator: np.random.Generator) -> np.ndarray:
    """Shares with each shared value's lower end moved down by up to one bin: (draws, cells)."""
    ends = np.broadcast_to(np.cumsum(shares)[:-1], (_DRAWS, len(shares) - 1)).copy()
    width = (1 - 2 * shares[0]) / 32
    for cell, tied in enumerate(ties):
        if tied and cell:  # nothing of the reference is below the first
            ends[:, cell] -= generator.uniform(0, width, _DRAWS)
    bounds = np.concatenate([np.zeros((_DRAWS, 1)), ends, np.ones((_DRAWS, 1))], axis=1)
    return np.maximum(np.diff(np.maximum.accumulate(bounds, axis=1), axis=1), 1e-12)


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
