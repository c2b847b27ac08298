"""Latencies, counted in buckets that grow with the value: fixed size, mergeable, percentiles of a known error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgekit_runtime.plain import PlainDataError

_PARTS = 32  # buckets for each power of two
_FIRST = -20  # 2**-20 s is about a microsecond
_OCTAVES = 32  # up to 2**12 s, over an hour
_BUCKETS = _OCTAVES * _PARTS

RELATIVE_ERROR = 1 / (2 * _PARTS)
"""Most that a percentile of values between 1 us and 4096 s is off, as a share of the true one (1.6 %)."""


class Histogram:
    """Durations in 1024 log-linear buckets (32 for each power of two, as HdrHistogram lays them out).

    Adding two histograms adds their buckets, so it does not matter where or in which order values were counted.

    Attributes:
        count: Values seen.
        total: Their sum in seconds.
        low: The smallest, in seconds; infinite where there are none.
        high: The largest; 0 where there are none.
    """

    __slots__ = ("buckets", "count", "high", "low", "total")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0
        self.low = math.inf
        self.high = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; a negative one (a clock set back) counts as 0, NaN and infinity are refused.

        Raises:
            ValueError: `seconds` is not finite.
        """
        if not seconds < math.inf:
            raise ValueError(f"a duration must be a finite number of seconds, not {seconds}")
        if seconds < 0:
            seconds = 0.0
        mantissa, exponent = math.frexp(seconds)  # seconds = mantissa * 2**exponent, mantissa in [0.5, 1)
        place = int((exponent - 1 - _FIRST + 2 * mantissa - 1) * _PARTS) if seconds >= 2.0**_FIRST else 0
        self.buckets[place if place < _BUCKETS else -1] += 1
        self.count += 1
        self.total += seconds
        if seconds < self.low:  # noqa: PLR1730 - min() takes four times as long
            self.low = seconds
        if seconds > self.high:  # noqa: PLR1730
            self.high = seconds

    def merge(self, other: Histogram) -> Histogram:
        """A histogram of both's values."""
        merged = Histogram()
        merged.buckets = [a + b for a, b in zip(self.buckets, other.buckets)]
        merged.count = self.count + other.count
        merged.total = self.total + other.total
        merged.low = min(self.low, other.low)
        merged.high = max(self.high, other.high)
        return merged

    def percentile(self, share: float) -> float:
        """The value below or at which `share` of all values are, within `RELATIVE_ERROR`; NaN where there are none.

        Args:
            share: 0 to 1; 0 gives the smallest value and 1 the largest, both exact.

        Raises:
            ValueError: `share` is not in 0..1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a percentile's share must be from 0 to 1, not {share}")
        if not self.count:
            return math.nan
        rank = math.ceil(share * self.count)
        if rank <= 1 or rank >= self.count:
            return self.low if rank <= 1 else self.high
        seen = 0
        for place, found in enumerate(self.buckets):
            seen += found
            if seen >= rank:
                return min(max((_edge(place) + _edge(place + 1)) / 2, self.low), self.high)
        return self.high

    def at_most(self, power: int) -> int:
        """How many values are below ``2**power`` seconds, exact for `power` from -19 to 11: a bucket ends there."""
        return sum(self.buckets[: (power - _FIRST) * _PARTS])

    def to_plain(self) -> dict[str, Any]:
        """JSON data: only buckets that hold something, as ``[place, count, place, count, …]``."""
        filled = [n for place, found in enumerate(self.buckets) if found for n in (place, found)]
        return {"buckets": filled, "total": self.total, "low": self.low if self.count else 0.0, "high": self.high}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Histogram:
        """Read `to_plain`'s data.

        Raises:
            PlainDataError: It is not of that form.
        """
        made = cls()
        try:
            filled = data["buckets"]
            made.total, low, made.high = float(data["total"]), float(data["low"]), float(data["high"])
            for place, found in zip(filled[::2], filled[1::2]):
                if type(place) is not int or type(found) is not int or place < 0 or found <= 0 or made.buckets[place]:
                    raise ValueError(f"bucket {place!r:.20} with {found!r:.20} values")
                made.buckets[place] = found
            if len(filled) % 2 or not 0 <= made.total < math.inf or not 0 <= low <= made.high < math.inf:
                raise ValueError("its numbers contradict each other")
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise PlainDataError(f"a latency histogram cannot be read ({error})") from error
        made.count = sum(made.buckets)
        made.low = low if made.count else math.inf
        return made

    def __eq__(self, other: object) -> bool:
        """Equal counts and extremes; the sums may differ by rounding, as floats are added in another order."""
        if not isinstance(other, Histogram):
            return NotImplemented
        return (
            self.buckets == other.buckets
            and (self.low, self.high) == (other.low, other.high)
            and math.isclose(self.total, other.total, rel_tol=1e-9, abs_tol=1e-12)
        )

    __hash__ = None  # type: ignore[assignment]


def _edge(place: int) -> float:
    octave, part = divmod(place, _PARTS)
    return math.ldexp(1 + part / _PARTS, octave + _FIRST)
