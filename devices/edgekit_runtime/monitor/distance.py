"""How far a window of values is from its reference, as plain numbers; `drift` computes them."""

from __future__ import annotations

from dataclasses import dataclass


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
