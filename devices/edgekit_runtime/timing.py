"""Timing calls: warm until steady, then long enough; several candidates in turns, so that drift hits all alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Callable

LEAST, MOST = 20, 10_000
"""Timed calls, whatever the seconds."""
_WINDOW = 10
_STEADY = 0.02
"""Two windows after each other whose medians differ by less count as steady."""
_ROUNDS = 5
_CLOSE = 0.03
"""A candidate that is slower by less is as good, and the cheaper one is taken."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class WarmUp:
    """How a warm-up went.

    Attributes:
        seconds: How long it took.
        calls: How many calls.
        steady: Whether the times had settled when it ended.
    """

    seconds: float
    calls: int
    steady: bool


def warm_up(call: Callable[[Any], Any], items: Sequence[Any], limit: float, clock: Clock) -> WarmUp:
    """Call until the median of a window is that of the one before, or the limit is reached; at least four calls.

    Args:
        call: What is timed later.
        items: What it takes, in turns.
        limit: Seconds.
        clock: Seconds, monotonic.
    """
    begin = clock()
    times: list[float] = []
    while True:
        started = clock()
        call(items[len(times) % len(items)])
        times.append(clock() - started)
        if len(times) % _WINDOW == 0 and len(times) >= 2 * _WINDOW:
            last, before = median(times[-_WINDOW:]), median(times[-2 * _WINDOW : -_WINDOW])
            if abs(last - before) <= _STEADY * before:
                return WarmUp(clock() - begin, len(times), True)
        if len(times) >= 4 and clock() - begin >= limit:
            return WarmUp(clock() - begin, len(times), False)


def time_calls(
    call: Callable[[Any], Any],
    items: Sequence[Any],
    seconds: float,
    clock: Clock,
    halfway: Callable[[], Any] = lambda: None,
) -> list[float]:
    """Seconds that each of at least `LEAST` and at most `MOST` calls took.

    Args:
        call: What is timed.
        items: What it takes, in turns.
        seconds: How long.
        clock: Seconds, monotonic.
        halfway: Called once, between two calls, when half of the time is over.
    """
    taken: list[float] = []
    begin = clock()
    waiting = True
    while len(taken) < LEAST or (clock() < begin + seconds and len(taken) < MOST):
        if waiting and len(taken) >= LEAST // 2 and (clock() >= begin + seconds / 2 or len(taken) >= MOST // 2):
            halfway()
            waiting = False
        item = items[len(taken) % len(items)]
        started = clock()
        call(item)
        taken.append(clock() - started)
    return taken


def fastest(
    calls: Mapping[int, Callable[[Any], Any]], items: Sequence[Any], seconds: float, clock: Clock
) -> dict[int, float]:
    """Median seconds of each candidate, measured in turns.

    Args:
        calls: Candidate (a number of threads) to what is timed.
        items: What it takes.
        seconds: For all of them together.
        clock: Seconds, monotonic.

    Returns:
        Candidate to median, the one to take first: the cheapest of those that are within 3 % of the fastest.
    """
    for call in calls.values():
        warm_up(call, items, seconds / (4 * len(calls)), clock)
    taken: dict[int, list[float]] = {candidate: [] for candidate in calls}
    block = 0.75 * seconds / (_ROUNDS * len(calls))
    for _ in range(_ROUNDS):
        for candidate, call in calls.items():
            end, done = clock() + block, 0
            while done < 2 or clock() < end:
                begin = clock()
                call(items[done % len(items)])
                taken[candidate].append(clock() - begin)
                done += 1
    medians = {candidate: median(times) for candidate, times in taken.items()}
    best = min(medians.values())
    chosen = min(c for c, m in medians.items() if m <= best * (1 + _CLOSE))
    return {chosen: medians[chosen], **medians}
