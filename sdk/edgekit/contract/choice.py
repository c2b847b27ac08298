"""Choosing among measured variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AUTO_DROP = 0.05
"""Where no limit was given, `auto` steps down to the next precision above this drop of the primary metric."""
HELD = 0.02
"""Drop against the float model up to which a diagnosed bundle counts as repaired, unless another is given."""


@dataclass(frozen=True)
class Candidate:
    """A variant and what was measured of it.

    Attributes:
        name: Variant name.
        drop: Source metric minus its own, None where accuracy was not measured.
    """

    name: str
    drop: float | None


@dataclass(frozen=True)
class Choice:
    """Which variant ships, and whether the contract holds.

    Attributes:
        name: Variant name.
        held: Whether its drop is within the limit; true where there is no limit.
        remark: What to tell the user, or empty.
    """

    name: str
    held: bool
    remark: str = ""


def holds(drop: float, max_drop: float | None) -> bool:
    """Whether a drop is within the limit, or within `AUTO_DROP` where there is none."""
    return drop <= (AUTO_DROP if max_drop is None else max_drop)


def choose(candidates: Sequence[Candidate], max_drop: float | None) -> Choice:
    """The first candidate whose drop is within the limit, else the one with the smallest drop.

    Args:
        candidates: In the target's order of preference; at least one.
        max_drop: The limit; None applies `AUTO_DROP` to step down from a collapsed precision.
    """
    limit = AUTO_DROP if max_drop is None else max_drop
    first = candidates[0]
    for candidate in candidates:
        if candidate.drop is None or holds(candidate.drop, max_drop):
            if candidate is first:
                return Choice(candidate.name, True)
            lost = "" if first.drop is None else f"{first.name} loses {first.drop:.4f}, more than {limit:g}; "
            return Choice(candidate.name, True, f"{lost}{candidate.name} is used instead")
    best = min(candidates, key=lambda c: c.drop if c.drop is not None else 0.0)
    remark = f"no variant stays within a drop of {limit:g}; the best, {best.name}, loses {best.drop:.4f}"
    return Choice(best.name, max_drop is None, remark)
