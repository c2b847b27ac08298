"""Counts that stand for a distribution: a few hundred bytes for each number and window, exact to merge."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from edgekit_runtime.manifest import ConfidenceBin
from edgekit_runtime.plain import PlainDataError


def number(value: Any) -> float:
    """A value of a table as a number: of a number, or of a number as text; NaN for nothing or an empty text.

    Raises:
        ValueError: It is something else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        return float(value)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{value!r:.40} is no number") from error


@dataclass
class Sketch:
    """How values fall into the reference's bins, and what the bins cannot show.

    Attributes:
        edges: The reference's bin edges (`Quantiles.edges`), not decreasing.
        bins: Values in ``[edges[i], edges[i + 1])``; the last one takes its upper edge too.
        under: Values below the reference's smallest.
        over: Values above its largest.
        nulls: Missing values and NaN.
        unseen: Values that are no numbers at all.
        low: Smallest finite value; None where there was none.
        high: Largest.
    """

    edges: tuple[float, ...]
    bins: list[int] = field(default_factory=list)
    under: int = 0
    over: int = 0
    nulls: int = 0
    unseen: int = 0
    low: Optional[float] = None
    high: Optional[float] = None

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(a > b for a, b in zip(self.edges, self.edges[1:])):
            raise ValueError("a sketch needs two or more edges that do not decrease")
        self.bins = self.bins or [0] * (len(self.edges) - 1)

    @property
    def count(self) -> int:
        """Values that were numbers."""
        return sum(self.bins) + self.under + self.over

    def add(self, value: float) -> None:
        """Count one number; NaN counts as missing, infinities as out of range."""
        if value < self.edges[0]:
            self.under += 1
        elif value <= self.edges[-1]:
            place = bisect_right(self.edges, value) - 1
            self.bins[place if place < len(self.bins) else -1] += 1
        elif value > self.edges[-1]:
            self.over += 1
        else:  # NaN is none of these
            self.nulls += 1
            return
        if self.low is None or self.high is None:
            if -math.inf < value < math.inf:
                self.low = self.high = value
        elif value < self.low:
            self.low = value if value > -math.inf else self.low
        elif value > self.high:
            self.high = value if value < math.inf else self.high

    def add_raw(self, value: Any) -> None:
        """Count one value of a table as its user has it: a number, a number as text, nothing, or something else."""
        try:
            read = number(value)
        except ValueError:
            self.unseen += 1
            return
        self.add(read)

    def merge(self, other: Sketch) -> Sketch:
        """A sketch of both's values.

        Raises:
            ValueError: They count by different edges.
        """
        if self.edges != other.edges:
            raise ValueError("two sketches with different edges cannot be merged")
        lows = [s.low for s in (self, other) if s.low is not None]
        highs = [s.high for s in (self, other) if s.high is not None]
        return Sketch(
            self.edges,
            [a + b for a, b in zip(self.bins, other.bins)],
            self.under + other.under,
            self.over + other.over,
            self.nulls + other.nulls,
            self.unseen + other.unseen,
            min(lows, default=None),
            max(highs, default=None),
        )

    def to_plain(self) -> dict[str, Any]:
        """JSON data without the edges, which the bundle has; counters that are 0 are left out."""
        plain: dict[str, Any] = {"bins": list(self.bins)}
        plain.update({n: getattr(self, n) for n in _COUNTERS if getattr(self, n)})
        if self.low is not None:
            plain.update(low=self.low, high=self.high)
        return plain

    @classmethod
    def from_plain(cls, data: Mapping[str, Any], edges: Sequence[float]) -> Sketch:
        """Read `to_plain`'s data, for the edges that the bundle has.

        Raises:
            PlainDataError: It is not of that form, or has another number of bins.
        """
        try:
            bins = [_natural(n) for n in data["bins"]]
            if len(bins) != len(edges) - 1:
                raise ValueError(f"{len(bins)} bins for {len(edges)} edges")
            low, high = data.get("low"), data.get("high")
            if not (low is high is None or -math.inf < float(low) <= float(high) < math.inf):  # type: ignore[arg-type]
                raise ValueError("its smallest and largest value contradict each other")
            under, over, nulls, unseen = (_natural(data.get(n, 0)) for n in _COUNTERS)
            return cls(tuple(edges), bins, under, over, nulls, unseen, low, high)
        except (KeyError, TypeError, ValueError) as error:
            raise PlainDataError(f"a sketch cannot be read ({error})") from error


_COUNTERS = ("under", "over", "nulls", "unseen")


@dataclass
class Counts:
    """How often each of a fixed set of names came: answers by class, or a column by category.

    Attributes:
        counts: Name to count.
        unseen: Names that are not of the set.
        nulls: Nothing at all.
    """

    counts: dict[str, int]
    unseen: int = 0
    nulls: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> Counts:
        """None yet of each."""
        return cls(dict.fromkeys(names, 0))

    def add(self, name: Any) -> None:
        """Count one name."""
        if name is None or name != name or (isinstance(name, str) and not name.strip()):  # noqa: PLR0124 - NaN
            self.nulls += 1
            return
        text = name if isinstance(name, str) else str(name)
        if text in self.counts:
            self.counts[text] += 1
        else:
            self.unseen += 1

    def merge(self, other: Counts) -> Counts:
        """Counts of both.

        Raises:
            ValueError: They are of different names.
        """
        if self.counts.keys() != other.counts.keys():
            raise ValueError("counts of different names cannot be merged")
        both = {n: c + other.counts[n] for n, c in self.counts.items()}
        return Counts(both, self.unseen + other.unseen, self.nulls + other.nulls)

    def to_plain(self) -> dict[str, Any]:
        """JSON data without names that never came."""
        plain: dict[str, Any] = {"counts": {n: c for n, c in self.counts.items() if c}}
        plain.update({n: getattr(self, n) for n in ("unseen", "nulls") if getattr(self, n)})
        return plain

    @classmethod
    def from_plain(cls, data: Mapping[str, Any], names: Iterable[str]) -> Counts:
        """Read `to_plain`'s data, for the names that the bundle has.

        Raises:
            PlainDataError: It is not of that form, or counts another name.
        """
        made = cls.of(names)
        try:
            for name, count in data["counts"].items():
                if name not in made.counts:
                    raise ValueError(f"{name!r:.40} is not one of its names")
                made.counts[name] = _natural(count)
            made.unseen, made.nulls = (_natural(data.get(n, 0)) for n in ("unseen", "nulls"))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise PlainDataError(f"counts cannot be read ({error})") from error
        return made


@dataclass(frozen=True)
class Estimate:
    """Accuracy without labels.

    Attributes:
        accuracy: Expected share of right answers.
        error: Its standard error, from the table's and the window's finite numbers.
        outside: Share of answers whose confidence no reference sample had; the nearest row stood in.
    """

    accuracy: float
    error: float
    outside: float


@dataclass
class Confidence:
    """Answers by confidence, in the rows of the bundle's confidence table.

    Attributes:
        table: The rows, by rising confidence.
        counts: Answers in each.
        outside: Of these, answers between or beyond the rows, counted in the nearest.
    """

    table: tuple[ConfidenceBin, ...]
    counts: list[int] = field(default_factory=list)
    outside: int = 0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * len(self.table)
        self._lows = [row.low for row in self.table]

    def add(self, confidence: float) -> None:
        """Count one answer; one that is not a number is counted nowhere."""
        if not self.table or confidence != confidence:  # noqa: PLR0124 - NaN alone differs
            return
        place = max(bisect_right(self._lows, confidence) - 1, 0)
        row = self.table[place]
        if not row.low <= confidence <= row.high:
            self.outside += 1
            if confidence > row.high and place + 1 < len(self.table):
                above = self.table[place + 1]
                place += above.low - confidence < confidence - row.high
        self.counts[place] += 1

    def merge(self, other: Confidence) -> Confidence:
        """Counts of both.

        Raises:
            ValueError: They are of different tables.
        """
        if self.table != other.table:
            raise ValueError("confidence counts of different tables cannot be merged")
        return Confidence(self.table, [a + b for a, b in zip(self.counts, other.counts)], self.outside + other.outside)

    def estimate(self) -> Optional[Estimate]:
        """Expected accuracy of the answers counted (CBPE); None without a table or without answers.

        ``sum(share of row * accuracy of row)``: confidence-based performance estimation with a binned calibration
        (NannyML's documentation, "Confidence-based Performance Estimation"). It holds where inputs shift but what is
        right for a given input stays the same; it cannot see that the world changed its mind. The error treats rows as
        independent: ``sum(share**2 * a(1 - a) / samples) + accuracy * (1 - accuracy) / answers``, with a from
        ``(right + 1) / (samples + 2)`` so that a row of a few samples that were all right is not taken as certain.
        """
        answers = sum(self.counts)
        if not answers:
            return None
        accuracy = spread = 0.0
        for row, count in zip(self.table, self.counts):
            share = count / answers
            accuracy += share * row.accuracy
            careful = (row.accuracy * row.samples + 1) / (row.samples + 2)
            spread += share**2 * careful * (1 - careful) / max(row.samples, 1)
        spread += accuracy * (1 - accuracy) / answers
        return Estimate(accuracy, math.sqrt(spread), self.outside / answers)

    def to_plain(self) -> dict[str, Any]:
        """JSON data without the table, which the bundle has."""
        return {"counts": list(self.counts), "outside": self.outside}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any], table: Sequence[ConfidenceBin]) -> Confidence:
        """Read `to_plain`'s data, for the table that the bundle has.

        Raises:
            PlainDataError: It is not of that form, or has another number of rows.
        """
        try:
            counts = [_natural(n) for n in data["counts"]]
            if len(counts) != len(table):
                raise ValueError(f"{len(counts)} counts for {len(table)} rows")
            return cls(tuple(table), counts, _natural(data["outside"]))
        except (KeyError, TypeError, ValueError) as error:
            raise PlainDataError(f"confidence counts cannot be read ({error})") from error


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is not a count")
    return value
