"""What a trainer gets: labelled examples to learn from and others to choose by. The test samples stay outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgekit_converters.errors import TrainingError


class Region(Protocol):
    """One object in a picture; `edgekit.data.Box` is one."""

    @property
    def index(self) -> int:
        """Its class."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of the upright picture."""

    @property
    def crowd(self) -> bool:
        """Whether it stands for several objects."""


class Example(Protocol):
    """One sample; `edgekit.data.Sample` is one."""

    @property
    def id(self) -> str:
        """What people know it by."""

    @property
    def label(self) -> int | float | None:
        """Class index or number."""

    @property
    def boxes(self) -> Sequence[Region] | None:
        """Objects in a picture; None where nobody looked for any."""

    def load(self) -> Any:
        """The raw sample, as the specification's first step takes it."""


@dataclass(frozen=True)
class TrainMaterial:
    """Labelled examples.

    Attributes:
        kind: Kind of raw sample, as a specification has it.
        target: What is learnt: ``classification``, ``regression`` or ``detection``.
        labels: Class names in index order; empty for regression.
        columns: Feature names in order, for tables.
        train: Examples to learn from.
        validation: Examples to choose the best epoch by.
        text: Column with the text; empty where nobody said.
    """

    kind: str
    target: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    train: Sequence[Example]
    validation: Sequence[Example]
    text: str = ""

    def require(self, task: str, kinds: Sequence[str], targets: Sequence[str]) -> None:
        """Refuse what a task cannot learn from.

        Raises:
            TrainingError: Another kind of sample or label, nothing to learn from, or fewer than two classes.
        """
        if self.target == "none":
            raise TrainingError("the data set has no labels to learn", "give one folder a class, boxes, or y values")
        if self.kind not in kinds or self.target not in targets:
            raise TrainingError(
                f"--task {task} learns {' or '.join(targets)} from {' or '.join(kinds)} samples; "
                f"this is {self.target} of {self.kind} samples",
                "give another --task or --data",
            )
        for name, examples in (("training", self.train), ("validation", self.validation)):
            if not examples:
                raise TrainingError(f"there are no {name} samples", "add samples, or fill the split's folder")
        if self.target == "classification":
            counts = Counter(e.label for e in self.train)
            if len(counts) < 2:
                only = self.labels[int(next(iter(counts)) or 0)]
                raise TrainingError(f"every training sample is of class {only!r}", "give at least two classes")


def class_weights(examples: Sequence[Example], classes: int) -> list[float]:
    """Weight of each class in the loss: inverse to its share, 1 on average over the samples; 0 where it has none."""
    counts = Counter(int(e.label) for e in examples if e.label is not None)
    present = len(counts)
    return [len(examples) / (present * counts[i]) if counts[i] else 0.0 for i in range(classes)]
