"""What was asked for, and whether it is held: accuracy, latency, size, memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.contract.choice import AUTO_DROP
from edgekit_runtime.errors import UsageError

_DROP_WEIGHT = 10.0
"""Where nothing holds, ten points of accuracy too many weigh as much as e times the latency, size or memory."""


@dataclass(frozen=True)
class Figures:
    """What was measured of one variant; None where it was not.

    Attributes:
        drop: Of the metric against the source.
        latency_ms: Median of one inference.
        size_kb: Of the model file, in KB of 1,000 bytes.
        ram_kb: Working set and the interpreter's base, in KB of 1,000 bytes.
    """

    drop: float | None = None
    latency_ms: float | None = None
    size_kb: float | None = None
    ram_kb: float | None = None


@dataclass(frozen=True)
class Breach:
    """One limit that is not held.

    Attributes:
        what: ``drop``, ``latency``, ``size`` or ``RAM``.
        words: By how much, as it is printed.
        weight: How bad it is, 0 for just over the limit.
        implied: Whether nobody asked for this limit: an accuracy that collapsed is never what was meant.
    """

    what: str
    words: str
    weight: float
    implied: bool = False


@dataclass(frozen=True)
class Contract:
    """Limits that were asked for; None where there is none.

    Attributes:
        max_drop: Largest drop of the primary metric against the source, as a share (0.01 = 1 point).
        max_latency_ms: Largest median of one inference, in milliseconds.
        max_size_kb: Largest model file, in KB of 1,000 bytes.
        max_ram_kb: Largest memory of the interpreter for this model, in KB of 1,000 bytes.
    """

    max_drop: float | None = None
    max_latency_ms: float | None = None
    max_size_kb: float | None = None
    max_ram_kb: float | None = None

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise UsageError(f"--max-drop {self.max_drop:g} is not a share", "give 0.01 for one point")
        limits = (("latency", self.max_latency_ms), ("size", self.max_size_kb), ("ram", self.max_ram_kb))
        for name, limit in limits:
            if limit is not None and not (limit > 0 and math.isfinite(limit)):
                raise UsageError(f"--max-{name} {limit:g} is no limit", "give a number above 0")
        if self.max_drop is None and all(limit is None for _, limit in limits):
            raise UsageError(
                "nothing is asked for: a contract needs a limit",
                "give --max-drop 0.01, --max-latency MS, --max-size KB or --max-ram KB",
            )

    def breaches(self, found: Figures) -> tuple[Breach, ...]:
        """Limits that are not held; without a limit of the drop a collapse (`choice.AUTO_DROP`) counts, implied."""
        kept = (
            _drop(found.drop, self.max_drop),
            _over("latency", "ms", found.latency_ms, self.max_latency_ms),
            _over("size", "KB", found.size_kb, self.max_size_kb),
            _over("RAM", "KB", found.ram_kb, self.max_ram_kb),
        )
        return tuple(breach for breach in kept if breach is not None)

    def in_words(self) -> str:
        """The limits in one line."""
        limits = (
            ("drop", self.max_drop, ""),
            ("latency", self.max_latency_ms, " ms"),
            ("size", self.max_size_kb, " KB"),
            ("RAM", self.max_ram_kb, " KB"),
        )
        return ", ".join(f"{name} at most {limit:g}{unit}" for name, limit, unit in limits if limit is not None)


def _drop(found: float | None, asked: float | None) -> Breach | None:
    limit = AUTO_DROP if asked is None else asked
    if found is None:
        return None if asked is None else Breach("drop", "the drop is not known", math.inf)
    # a drop of three samples of 300 is 0.01 but for the rounding of a difference
    if found <= limit + 1e-9:
        return None
    words = f"drop {found:.4f}, {found - limit:.4f} over {limit:g}"
    return Breach("drop", words, (found - limit) * _DROP_WEIGHT, implied=asked is None)


def _over(what: str, unit: str, found: float | None, limit: float | None) -> Breach | None:
    if limit is None or (found is not None and found <= limit):
        return None
    if found is None:
        return Breach(what, f"{what} is not known", math.inf)
    times = found / limit
    by = f"{times:.3g} times the {limit:g} that was asked for" if times >= 2 else f"{times - 1:.1%} over {limit:g}"
    return Breach(what, f"{what} {found:.3g} {unit}, {by}", math.log(times))
