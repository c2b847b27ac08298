"""How far a window without drift may be from the reference: drawn once here, so that no device need draw."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgekit_runtime.manifest import DriftLimit
from edgekit_runtime.monitor.drift import Cells, statistics

SIZES = (30, 100, 300, 1000, 3000, 10_000, 50_000)
"""Windows that limits are drawn for. Below the first a device does not judge."""

LEVEL = 0.01
"""Share of windows without drift that are called drifted all the same, for one number."""

_DRAWS = 3000
_SEED = 20_11
_STATISTICS = 3
_BINS = 32


def drift_limits(edges: tuple[float, ...], reference: int, finite: int) -> tuple[DriftLimit, ...]:
    """The ``1 - LEVEL / 3`` quantile of each distance over windows that are drawn from the reference itself.

    A parametric bootstrap (Efron and Tibshirani 1993, chapter 6) of both samples, as both are finite. The reference's
    edges are order statistics, so the true share between two of them is not what was counted but a Dirichlet draw with
    one unit for each gap between neighbouring samples (David and Nagaraja, Order Statistics, 3rd ed., section 6.4):
    ``p ~ Dirichlet(shares * (finite + 1))``. Where edges are equal, the share below each is first moved to one end of
    the bin that hides it. The window is then ``Multinomial(samples, p)``. 3000 draws, seeded.

    Args:
        edges: The reference's quantiles.
        reference: Its samples, as the bundle will say.
        finite: Those that were numbers.

    Returns:
        One of each of `SIZES`; none where there are less than two numbers.
    """
    return () if finite < 2 else _drawn(Cells.of(edges, reference), finite)


@lru_cache(maxsize=256)  # numbers without shared values have the same cells, whatever their edges
def _drawn(cells: Cells, finite: int) -> tuple[DriftLimit, ...]:
    generator = np.random.default_rng(_SEED)
    shares = np.array(cells.shares)
    likely = _either_end(shares, generator) if cells.discrete else np.broadcast_to(shares, (_DRAWS, len(shares)))
    gammas = generator.standard_gamma(likely * (finite + 1))
    true = gammas / gammas.sum(axis=1, keepdims=True)
    found = []
    for samples in SIZES:
        windows = generator.multinomial(samples, true).astype(np.float64)
        psi, ks, js = np.quantile(np.stack(statistics(windows, shares)), 1 - LEVEL / _STATISTICS, axis=1)
        # a number that never changes has the same distance each time: rounded, it must not be under that
        found.append(DriftLimit(samples, *(float(f"{v * 1.001:.4g}") for v in (psi, ks, js))))
    return tuple(found)


def _either_end(shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shares with each inner bound moved to an end of its bin, and nothing outside half of the time: (draws, cells)."""
    bounds = np.broadcast_to(np.cumsum(shares)[:-1], (_DRAWS, len(shares) - 1)).copy()
    half = (1 - 2 * shares[0]) / (2 * _BINS)
    bounds[:, 1:-1] += generator.choice((-half, half), bounds[:, 1:-1].shape)
    bounds[:, 0] *= generator.integers(0, 2, _DRAWS)
    bounds[:, -1] += shares[-1] * generator.integers(0, 2, _DRAWS)
    ends = np.concatenate([np.zeros((_DRAWS, 1)), bounds, np.ones((_DRAWS, 1))], axis=1)
    return np.maximum(np.diff(np.maximum.accumulate(ends, axis=1), axis=1), 1e-12)
