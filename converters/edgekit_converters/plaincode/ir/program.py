"""A whole model: features, steps, methods; and what collects them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgekit_converters.plaincode.ir.base import Feature, Register, Step
from edgekit_converters.plaincode.ir.steps import Affine, Apply, Clip, Concat, Impute, KnownOnly, Power, Round32, Select
from edgekit_converters.plaincode.ir.trees import Trees

_NAN_STAYS: tuple[type[Step], ...] = (Affine, Apply, Clip, Power)


@dataclass(frozen=True)
class Answer:
    """One result of a method.

    Attributes:
        register: Where it is.
        labels: Class names or numbers that the register's value (width 1) is the place of; empty where the register's
            numbers are the answer.
    """

    register: Register
    labels: tuple[str | float | int, ...] = ()


@dataclass(frozen=True)
class Program:
    """A model.

    Attributes:
        features: What a caller gives, in order.
        steps: Step i writes register i + 1.
        methods: Method as the source calls it (``predict``, ``predict_proba``, …) to its answers: one, or one for each
            output of a multi-output model.
        title: What it was, in words, for the header comment: ``RandomForestClassifier of scikit-learn 1.9.1``.
        exact: Methods whose answers must be equal to the source's to the bit.
    """

    features: tuple[Feature, ...]
    steps: tuple[Step, ...]
    methods: Mapping[str, tuple[Answer, ...]]
    title: str = ""
    exact: frozenset[str] = frozenset()

    def needed(self, methods: Sequence[str] = ()) -> tuple[int, ...]:
        """Indices of the steps that some methods (all by default) need, in order."""
        waiting = [a.register.index for m in (methods or self.methods) for a in self.methods[m]]
        found: set[int] = set()
        while waiting:
            index = waiting.pop()
            if index > 0 and index - 1 not in found:
                found.add(index - 1)
                waiting += [r.index for r in self.steps[index - 1].sources]
        return tuple(sorted(found))

    def of_kind(self, kind: type[Step]) -> Iterator[Any]:
        """Its steps of one class."""
        return (s for s in self.steps if isinstance(s, kind))


@dataclass
class Builder:
    """Collects steps while a reader walks through a model."""

    features: list[Feature]
    steps: list[Step] = field(default_factory=list)

    @property
    def row(self) -> Register:
        """The row as given."""
        return Register(0, len(self.features))

    def add(self, step: Step) -> Register:
        """Append a step.

        Raises:
            ConversionError: A tree is damaged.
        """
        if isinstance(step, Trees):
            step.check()
        self.steps.append(step)
        return Register(len(self.steps), step.width)

    def origin(self, register: Register, column: int, through: tuple[type[Step], ...] = ()) -> int | None:
        """The feature that a register's column is, where it came there unchanged or only imputed; else None.

        Args:
            register: Any.
            column: Of it.
            through: More kinds of elementwise steps to look through.
        """
        while register.index:
            step = self.steps[register.index - 1]
            if isinstance(step, Select):
                register, column = step.source, step.columns[column]
            elif isinstance(step, Concat):
                for part in step.parts:
                    if column < part.width:
                        register = part
                        break
                    column -= part.width
            elif isinstance(step, (Impute, KnownOnly, Round32, *through)):
                register = step.sources[0]
            else:
                return None
        return column

    def takes_missing(self, register: Register, columns: Iterable[int] | None = None) -> None:
        """Note that the source takes NaN in the features that a register's columns (all by default) come from."""
        for column in range(register.width) if columns is None else columns:
            place = self.origin(register, column, _NAN_STAYS)
            if place is not None:
                self.features[place] = replace(self.features[place], missing=True)

    def program(
        self, methods: Mapping[str, Answer | tuple[Answer, ...]], title: str, exact: Sequence[str] = ()
    ) -> Program:
        """The finished program."""
        named = {m: a if isinstance(a, tuple) else (a,) for m, a in methods.items()}
        return Program(tuple(self.features), tuple(self.steps), named, title, frozenset(exact))
