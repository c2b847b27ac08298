"""What a study came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        number: In the study.
        state: ``complete``, ``pruned`` or ``failed``.
        params: What was tried.
        values: Of the objectives; empty where it did not come to them.
        reason: Why it failed.
        facts: What else is known of it.
        best: Whether no other is better in every objective.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    values: tuple[float, ...]
    reason: str
    facts: Mapping[str, Any]
    best: bool = False


@dataclass(frozen=True)
class TuneResult:
    """What a study came to.

    Attributes:
        folder: Study folder; ``best`` in it holds what `edgekit train|export --config` replays, ``study.html`` is its
            page.
        objectives: Their names.
        trials: All of them, in order.
        waiting: How many are still to be done, here or elsewhere.
    """

    folder: Path
    objectives: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    waiting: int = 0

    @property
    def page(self) -> Path:
        """The page about it."""
        return self.folder / "study.html"

    @property
    def front(self) -> tuple[TrialRow, ...]:
        """Trials that no other beats in every objective, the best in the first objective first."""
        sign = -1 if self.objectives[0] == "accuracy" else 1
        return tuple(sorted((t for t in self.trials if t.best), key=lambda t: (sign * t.values[0], t.number)))


def figure(value: float) -> str:
    """A value for people: bytes are whole."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def words(params: Mapping[str, Any]) -> str:
    """Parameters for people."""
    return ", ".join(f"{k} {figure(v)}" if isinstance(v, float) else f"{k} {v}" for k, v in params.items())
