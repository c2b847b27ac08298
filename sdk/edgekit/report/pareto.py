"""Geometry of the picture of a climb: accuracy against latency, a bubble's area is the model's size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 58, 26, 26, 44
_LARGEST, _SMALLEST = 26.0, 5.0
_PAD = 0.12
_LOG = 6.0
"""Latencies further apart than this are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Point:
    """One rung.

    Attributes:
        number: Its row in the table.
        label: Its name.
        latency: Milliseconds.
        metric: The contract's metric.
        size: Bytes.
        chosen: Whether it ships.
        holds: Whether it holds the contract.
    """

    number: int
    label: str
    latency: float
    metric: float
    size: int
    chosen: bool = False
    holds: bool = True


@dataclass(frozen=True)
class Bubble:
    """A point with its place and radius; `front` where no other is both faster and better."""

    point: Point
    x: float
    y: float
    r: float
    front: bool

    @property
    def _corner(self) -> tuple[int, int]:
        """Numbers stand at the four corners in turns, so that those of bubbles in one place can be read."""
        return ((1, -1), (-1, -1), (1, 1), (-1, 1))[(self.point.number - 1) % 4]

    @property
    def name_x(self) -> float:
        """Place of its number."""
        return round(self.x + self._corner[0] * (0.72 * self.r + 3), 1)

    @property
    def name_y(self) -> float:
        """Base line of its number."""
        return round(self.y + self._corner[1] * (0.72 * self.r + 2) + (0 if self._corner[1] < 0 else 8), 1)

    @property
    def anchor(self) -> str:
        """Which end of its number is there."""
        return "start" if self._corner[0] > 0 else "end"


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """What is drawn, in units of `WIDTH` x `HEIGHT`.

    Attributes:
        bubbles: Large ones first, so that small ones lie on top.
        across: Marks of the latency axis.
        up: Marks of the metric's axis.
        front: The Pareto front as an SVG path: steps from the fastest to the best.
        slowest: Place of the latency limit, None where there is none or it is outside.
        lowest: Place of the metric's limit, likewise.
        logarithmic: Whether the latency axis is.
    """

    bubbles: tuple[Bubble, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    front: str
    slowest: float | None
    lowest: float | None
    logarithmic: bool


def pareto(points: Sequence[Point], max_latency: float | None = None, least: float | None = None) -> Plot | None:
    """Place the points; None where there is none.

    Args:
        points: Rungs with both figures.
        max_latency: The latency limit in milliseconds.
        least: The least metric that the contract allows.
    """
    if not points:
        return None
    times, marks = [p.latency for p in points], [p.metric for p in points]
    logarithmic = max(times) / max(min(times), 1e-9) > _LOG
    warp: Callable[[float], float] = math.log10 if logarithmic else float
    x0, x1 = warp(min(times)), warp(max(times))
    x0, x1 = _padded(x0, x1) if logarithmic else (0.0, max(times) * (1 + _PAD))
    y0, y1 = _padded(min(marks), max(marks))

    def across(ms: float) -> float:
        return round(LEFT + (warp(ms) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT), 1)

    def up(metric: float) -> float:
        return round(HEIGHT - BOTTOM - (metric - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM), 1)

    largest = max(p.size for p in points) or 1
    fronts = {p.number for p in points if not any(_beats(other, p) for other in points)}
    bubbles = tuple(
        Bubble(p, across(p.latency), up(p.metric), round(max(_SMALLEST, _LARGEST * math.sqrt(p.size / largest)), 1),
               p.number in fronts)
        for p in sorted(points, key=lambda p: -p.size)
    )  # fmt: skip
    steps = sorted(((b.x, b.y) for b in bubbles if b.front), key=lambda place: (place[0], -place[1]))
    path = f"M{steps[0][0]} {steps[0][1]}" + "".join(f"H{x}V{y}" for x, y in steps[1:])
    inside_x = max_latency is not None and max_latency > 0 and x0 <= warp(max_latency) <= x1
    inside_y = least is not None and y0 <= least <= y1
    return Plot(
        bubbles,
        _ticks_across(x0, x1, logarithmic, across),
        tuple(Tick(up(v), _plain(v)) for v in _round_values(y0, y1)),
        path,
        across(max_latency) if inside_x and max_latency is not None else None,
        up(least) if inside_y and least is not None else None,
        logarithmic,
    )


def _beats(one: Point, other: Point) -> bool:
    """Whether one is at least as fast and as good, and in one of the two better."""
    no_worse = one.latency <= other.latency and one.metric >= other.metric
    return no_worse and (one.latency < other.latency or one.metric > other.metric)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * _PAD or max(abs(high) * 0.01, 1e-3)
    return low - room, high + room


def _round_values(low: float, high: float, count: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]


def _ticks_across(x0: float, x1: float, logarithmic: bool, across: Callable[[float], float]) -> tuple[Tick, ...]:
    if not logarithmic:
        values = _round_values(x0, x1)
    else:
        powers = range(math.floor(x0), math.ceil(x1) + 1)
        values = [m * 10.0**p for p in powers for m in (1, 2, 5) if x0 <= math.log10(m * 10.0**p) <= x1]
    return tuple(Tick(across(v), _plain(v)) for v in values if v > 0 or not logarithmic)


def _plain(value: float) -> str:
    return f"{value:.6g}"
