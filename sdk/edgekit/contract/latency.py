"""How fast a variant is next to float: in turns on this machine, so that what disturbs one disturbs both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from edgekit_runtime.timing import Clock, warm_up

if TYPE_CHECKING:
    from edgekit_converters.recipe import Feeds
    from edgekit_runtime.runtime import Runtime

SECONDS = 1.5
"""For both together, after the warm-up."""
_BLOCK = 0.004
"""Seconds of one turn at least: a tiny network's inference is shorter than what the clock and the scheduler add."""
_LEAST, _MOST = 11, 400


@dataclass(frozen=True)
class Latency:
    """Times of one variant and of float in the same run.

    Attributes:
        ms: Median of one inference from prepared tensors, in milliseconds.
        float_ms: The same of the float model.
        ratio: Median over the turns of this variant's time through float's; below 1 is faster.
        where: What was measured on, in words.
        rounds: How many turns.
    """

    ms: float
    float_ms: float
    ratio: float
    where: str
    rounds: int = 1


def in_turns(
    variant: Runtime,
    floating: Runtime,
    feeds: Sequence[Feeds],
    where: str,
    *,
    seconds: float = SECONDS,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Time two models in turns; who goes first changes with every turn.

    Args:
        variant: The one of interest.
        floating: What it is compared with.
        feeds: Model inputs, taken in turns.
        where: This machine, in words.
        seconds: How long.
        clock: Seconds, monotonic.
    """
    calls = {}
    for runtime in (variant, floating):
        warm_up(runtime.run, feeds, seconds / 6, clock)
        one = _block(runtime.run, feeds, 3, clock)
        calls[runtime] = max(1, int(_BLOCK / max(one, 1e-9)))
    times: dict[Runtime, list[float]] = {variant: [], floating: []}
    end = clock() + seconds
    while len(times[variant]) < _LEAST or (clock() < end and len(times[variant]) < _MOST):
        first = len(times[variant]) % 2
        for runtime in (variant, floating)[:: -1 if first else 1]:
            times[runtime].append(_block(runtime.run, feeds, calls[runtime], clock))
    ratios = [one / other for one, other in zip(times[variant], times[floating], strict=True)]
    return Latency(1e3 * median(times[variant]), 1e3 * median(times[floating]), median(ratios), where, len(ratios))


def _block(call: Callable[[Feeds], object], feeds: Sequence[Feeds], count: int, clock: Clock) -> float:
    """Mean seconds of `count` calls."""
    begin = clock()
    for number in range(count):
        call(feeds[number % len(feeds)])
    return (clock() - begin) / count
