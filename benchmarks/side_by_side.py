"""Time two callables in turn, A B A B …, and give the ratio of their medians: what drifts hits both alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Pair:
    """Medians of two callables in seconds."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs


def side_by_side(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 300, each: int = 1) -> Pair:
    """Medians over `rounds` rounds of `each` calls."""
    for _ in range(10):
        ours()
        theirs()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, times in zip((ours, theirs), taken, strict=True):
            begin = time.perf_counter()
            for _ in range(each):
                call()
            times.append((time.perf_counter() - begin) / each)
    return Pair(median(taken[0]), median(taken[1]))
