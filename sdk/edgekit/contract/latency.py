"""How fast a variant is next to float: in turns on this machine, so that what disturbs one disturbs both.

A median of ratios above 1 is no proof on a busy machine. So an interval is given with it, and where that does not tell
faster from slower, both are timed again, up to `LOOKS` times as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import TYPE_CHECKING

from edgekit_runtime.timing import Clock, warm_up

if TYPE_CHECKING:
    from edgekit_converters.recipe import Feeds
    from edgekit_runtime.runtime import Runtime

SECONDS = 1.5
"""For both together and one look, after the warm-up."""
_BLOCK = 0.004
"""Seconds of one turn at least: a tiny network's inference is shorter than what the clock and the scheduler add."""
_LEAST, _MOST = 11, 400
"""Turns of one look."""
LOOKS = 3
"""How many times as long at most, where one look does not tell faster from slower."""
_LEVEL = 0.99
"""Of the interval: not 0.95, since several looks have several chances to be wrong."""


@dataclass(frozen=True)
class Latency:
    """Times of one variant and of float in the same run.

    Attributes:
        ms: Median of one inference from prepared tensors, in milliseconds.
        float_ms: The same of the float model.
        ratio: Median over the turns of this variant's time through float's; below 1 is faster.
        where: What was measured on, in words.
        rounds: How many turns.
        low: Lower end of the ratio's interval, None where it is not known.
        high: Its upper end.
    """

    ms: float
    float_ms: float
    ratio: float
    where: str
    rounds: int = 1
    low: float | None = None
    high: float | None = None

    @property
    def surely_slower(self) -> bool:
        """Whether the whole interval of the ratio is above 1; the ratio itself where there is no interval."""
        return (self.ratio if self.low is None else self.low) > 1


def spread(ratios: Sequence[float], level: float = _LEVEL) -> tuple[float, float]:
    """Ends of the median's interval by the sign test: no more is assumed than that turns are independent.

    W. J. Conover, "Practical Nonparametric Statistics", 3rd ed. 1999, section 3.2. Of so few ratios that no interval
    has the level (7 for 0.99), the smallest and the largest.

    Args:
        ratios: One for each turn, at least one.
        level: How often such intervals hold the median.
    """
    ranked, count = sorted(ratios), len(ratios)
    out, below = 0, 1  # how many may lie outside on either side, and how many of the 2 ** count draws have fewer
    while 2 * below / 2**count <= 1 - level and 2 * (out + 1) < count:
        out += 1
        below += comb(count, out)
    out = max(out - 1, 0)
    return ranked[out], ranked[-1 - out]


def undecided(ratios: Sequence[float]) -> bool:
    """Whether the turns do not tell faster from slower."""
    low, high = spread(ratios)
    return low <= 1 <= high


def in_turns(
    variant: Runtime,
    floating: Runtime,
    feeds: Sequence[Feeds],
    where: str,
    *,
    seconds: float = SECONDS,
    looks: int = LOOKS,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Time two models in turns; who goes first changes with every turn.

    Args:
        variant: The one of interest.
        floating: What it is compared with.
        feeds: Model inputs, taken in turns.
        where: This machine, in words.
        seconds: How long a look is.
        looks: How many at most, where one does not tell faster from slower.
        clock: Seconds, monotonic.
    """
    calls = {}
    for runtime in (variant, floating):
        warm_up(runtime.run, feeds, seconds / 6, clock)
        one = _block(runtime.run, feeds, 3, clock)
        calls[runtime] = max(1, int(_BLOCK / max(one, 1e-9)))
    times: dict[Runtime, list[float]] = {variant: [], floating: []}
    ratios: list[float] = []
    for _ in range(looks):
        begun, end = len(ratios), clock() + seconds
        while len(ratios) < begun + _LEAST or (clock() < end and len(ratios) < begun + _MOST):
            first = len(ratios) % 2
            for runtime in (variant, floating)[:: -1 if first else 1]:
                times[runtime].append(_block(runtime.run, feeds, calls[runtime], clock))
            ratios.append(times[variant][-1] / times[floating][-1])
        if not undecided(ratios):
            break
    mine, others = 1e3 * median(times[variant]), 1e3 * median(times[floating])
    return Latency(mine, others, median(ratios), where, len(ratios), *spread(ratios))


def _block(call: Callable[[Feeds], object], feeds: Sequence[Feeds], count: int, clock: Clock) -> float:
    """Mean seconds of `count` calls."""
    begin = clock()
    for number in range(count):
        call(feeds[number % len(feeds)])
    return (clock() - begin) / count
