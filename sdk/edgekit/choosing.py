"""What chooses among recipes: samples apart from those that are measured and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.evaluate import Evaluation, Interval
from edgekit.evaluate.judge import Judge

VALIDATION, HALF = "validation", "one half"


@dataclass(frozen=True)
class Trial:
    """How a variant stands on the samples that choose; what is reported is of others.

    Attributes:
        split: Which they are, `VALIDATION` or `HALF`.
        samples: How many.
        value: The contract's metric.
        drop: Against the source on the same samples.
        drop_interval: Of the drop, None where it is not known.
    """

    split: str
    samples: int
    value: float
    drop: float
    drop_interval: Interval | None = None

    @property
    def proof(self) -> str:
        """Which samples are measured and reported."""
        return "test" if self.split == VALIDATION else "the other half"


@dataclass(frozen=True)
class Chooser:
    """The samples that choose, and the source on them.

    Attributes:
        split: Which they are, `VALIDATION` or `HALF` (of what has no labels).
        judge: Gives answers their figures.
        baseline: The source's own evaluation.
    """

    split: str
    judge: Judge
    baseline: Evaluation

    def trial(self, answers: Sequence[Any]) -> Trial:
        """How a variant with these answers stands, one for each of the judge's samples."""
        found, judge = self.judge.measure(answers), self.judge
        value, drop = found.metrics[judge.metric], judge.drop(self.baseline, found)
        return Trial(self.split, len(judge.samples), value, drop, judge.drop_interval(self.baseline, found))
