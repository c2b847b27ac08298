"""What every step is made of: features, registers, and the step itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

NUMBER, CATEGORY, TEXT = "number", "category", "text"


@dataclass(frozen=True)
class Feature:
    """One value of the row that a caller gives.

    Attributes:
        name: As the source calls it, or ``x0``, ``x1``, ….
        kind: ``number``; ``category``, given as its position in `categories` (-1 for an unseen one); or ``text``.
        categories: What the source's values of a category are, text or numbers, in the order of their codes.
        missing: Whether the source takes a missing value here (NaN).
    """

    name: str
    kind: str = NUMBER
    categories: tuple[str | float, ...] = ()
    missing: bool = False


@dataclass(frozen=True)
class Register:
    """Where a step's result is kept: a vector of `width` numbers."""

    index: int
    width: int


class Step(ABC):
    """One computation. Subclasses are frozen dataclasses; fields of type `Register` are what they read."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of the result."""

    @property
    def sources(self) -> tuple[Register, ...]:
        """Registers it reads, in the order of its fields."""
        found: list[Register] = []
        for each in fields(self):  # type: ignore[arg-type] # every subclass is a dataclass
            value = getattr(self, each.name)
            if isinstance(value, Register):
                found.append(value)
            elif isinstance(value, tuple):
                found += [v for v in value if isinstance(v, Register)]
        return tuple(found)


class Elementwise(Step):
    """A step whose result is as wide as what it reads."""

    source: Register

    @property
    def width(self) -> int:
        return self.source.width
