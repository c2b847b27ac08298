"""What the readers of scikit-learn's classes have in common."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part, Read

_CHECKED = (ir.Affine, ir.Clip, ir.Constant, ir.Dense, ir.Distances, ir.Interpolate, ir.Nearest)


def checked(read: Read) -> Read:
    """A reader that is given fitted models of the right width only, and leaves no number that is not finite."""

    @functools.wraps(read)
    def guarded(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
        name = type(model).__name__
        _check_fitted(model, name)
        width = getattr(model, "n_features_in_", source.width)
        if width != source.width:
            raise ConversionError(
                f"{name} was fitted with {width} columns and is given {source.width}", "say which features there are"
            )
        before = len(builder.steps)
        try:
            part = read(builder, model, source)
        except AttributeError as error:
            raise ConversionError(
                f"{name} lacks what it must have ({error})",
                "it was saved by another version of scikit-learn: load and save it there, or train it again",
            ) from error
        _check_finite(builder.steps[before:], name)
        return part

    return guarded


def _check_fitted(model: Any, name: str) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ConversionError(f"{name} is not fitted", "call fit before it is exported") from None


def _check_finite(steps: Iterable[ir.Step], name: str) -> None:
    for step in steps:
        if not isinstance(step, _CHECKED):
            continue
        for each in fields(step):
            value = getattr(step, each.name)
            bad = np.isnan(value) if isinstance(step, ir.Clip) and isinstance(value, np.ndarray) else None
            if bad is None and isinstance(value, np.ndarray):
                bad = ~np.isfinite(value)
            if bad is not None and bad.any():
                raise ConversionError(f"{name} has learnt a number that is not finite", "train it again on clean data")


def table(reads: dict[str, Read]) -> dict[str, Read]:
    """A module's ``READS``, every reader `checked`."""
    return {name: checked(read) for name, read in reads.items()}


@contextmanager
def within(where: str) -> Iterator[None]:
    """Errors inside say which part of the model they are about."""
    try:
        yield
    except ConversionError as error:
        raise ConversionError(f"{where}: {error.message}", error.hint) from error


def part(exact: Iterable[str] = (), **methods: ir.Register | ir.Answer | tuple[ir.Answer, ...] | None) -> Part:
    """A part by its methods; those that are None are left out."""
    given: dict[str, tuple[ir.Answer, ...]] = {}
    for method, value in methods.items():
        if value is not None:
            answer = ir.Answer(value) if isinstance(value, ir.Register) else value
            given[method] = answer if isinstance(answer, tuple) else (answer,)
    return Part(given, {m for m in exact if m in given})


def transform(register: ir.Register, exact: bool = False) -> Part:
    """A part that transforms."""
    return part(("transform",) if exact else (), transform=register)


def only(found: Part, method: str) -> ir.Register:
    """The register of a method with one answer.

    Raises:
        ConversionError: There is none, or one for each of several outputs.
    """
    answers = found.methods.get(method, ())
    if len(answers) != 1:
        why = "several outputs" if answers else "none"
        raise ConversionError(f"one {method} is needed and there is {why}", "use a model with one output there")
    return answers[0].register


def gathered(builder: ir.Builder, found: Part, method: str) -> ir.Register:
    """The numbers of a method, all outputs in one register."""
    return joined(builder, [values(builder, a) for a in found.methods[method]])


def outputs(builder: ir.Builder, register: ir.Register) -> tuple[ir.Answer, ...]:
    """One answer for each number of a register: the outputs of a regressor."""
    if register.width == 1:
        return (ir.Answer(register),)
    return tuple(ir.Answer(builder.add(ir.Select(register, (c,)))) for c in range(register.width))


def array(value: Any) -> np.ndarray:
    """Float64, dense."""
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value, np.float64)


def labels_of(classes: Any) -> tuple[str | float | int, ...]:
    """Class labels as plain texts and numbers.

    Raises:
        ConversionError: One is neither.
    """
    found: list[str | float | int] = []
    for label in np.asarray(classes).tolist():
        if not isinstance(label, str | int | float):
            raise ConversionError(f"the class {label!r:.40} is neither text nor a number", "train it with other labels")
        found.append(int(label) if isinstance(label, bool) else label)
    return tuple(found)


# -- small programs --------------------------------------------------------------------------------------------------


def largest(builder: ir.Builder, scores: ir.Register, classes: Any) -> ir.Answer:
    """The class of the largest score; the first one where several are equal."""
    return ir.Answer(builder.add(ir.Argmax(scores)), labels_of(classes))


def above(
    builder: ir.Builder, score: ir.Register, classes: Any, threshold: float = 0.0, or_equal: bool = False
) -> ir.Answer:
    """The second of two classes where a score is above a threshold."""
    return ir.Answer(builder.add(ir.Above(score, threshold, or_equal)), labels_of(classes))


def decided(builder: ir.Builder, scores: ir.Register, classes: Any) -> ir.Answer:
    """The class that decision values mean: one value for two classes, else one a class."""
    return above(builder, scores, classes) if scores.width == 1 else largest(builder, scores, classes)


def complement(builder: ir.Builder, source: ir.Register) -> ir.Register:
    """``1 - x``."""
    return builder.add(ir.Affine(source, multiply=np.array([-1.0]), add=np.array([1.0])))


def both(builder: ir.Builder, positive: ir.Register) -> ir.Register:
    """``(1 - p, p)``: probabilities of two classes."""
    return builder.add(ir.Concat((complement(builder, positive), positive)))


def difference(builder: ir.Builder, source: ir.Register) -> ir.Register:
    """``x1 - x0``: one decision value from two joint likelihoods."""
    return builder.add(ir.Arithmetic(columns(builder, source, [1]), columns(builder, source, [0]), "-"))


def place_among(builder: ir.Builder, source: ir.Register, column: int, edges: np.ndarray) -> ir.Register:
    """How many of some rising edges a column's value is not below; ``x - edge >= 0`` says exactly ``x >= edge``."""
    if not len(edges):
        return builder.add(ir.Constant(np.zeros(1)))
    repeated = builder.add(ir.Select(source, (column,) * len(edges)))
    reached = builder.add(ir.Above(builder.add(ir.Affine(repeated, subtract=edges)), 0.0, or_equal=True))
    return builder.add(ir.Reduce(reached, "sum", len(edges)))


def normalized(builder: ir.Builder, source: ir.Register) -> ir.Register:
    """Divided by the sum; where all are 0, the same share for each."""
    top = builder.add(ir.Reduce(source, "max", source.width))
    empty = complement(builder, builder.add(ir.Above(top, 0.0)))
    filled = builder.add(ir.Arithmetic(source, empty, "+"))
    return builder.add(ir.Normalize(filled, "sum"))


def ovr_probabilities(builder: ir.Builder, scores: ir.Register) -> ir.Register:
    """Logistic of each decision value, normalized over the classes."""
    logistic = builder.add(ir.Apply(scores, "logistic"))
    return both(builder, logistic) if scores.width == 1 else normalized(builder, logistic)


def total(builder: ir.Builder, registers: Sequence[ir.Register]) -> ir.Register:
    """Sum, in order."""
    found = registers[0]
    for register in registers[1:]:
        found = builder.add(ir.Arithmetic(found, register, "+"))
    return found


def mean(builder: ir.Builder, registers: Sequence[ir.Register], count: float | None = None) -> ir.Register:
    """Sum, in order, divided by the count (or another number)."""
    count = len(registers) if count is None else count
    return builder.add(ir.Affine(total(builder, registers), divide=np.array([float(count)])))


def columns(builder: ir.Builder, source: ir.Register, chosen: Sequence[int]) -> ir.Register:
    """Some columns; the register itself where that is all of them in order."""
    chosen = tuple(int(c) for c in chosen)
    if not chosen:
        raise ConversionError("no column is left", "keep at least one")
    return source if chosen == tuple(range(source.width)) else builder.add(ir.Select(source, chosen))


def joined(builder: ir.Builder, registers: Sequence[ir.Register]) -> ir.Register:
    """One after the other.

    Raises:
        ConversionError: There is none.
    """
    if not registers:
        raise ConversionError("no column is left", "keep at least one")
    return registers[0] if len(registers) == 1 else builder.add(ir.Concat(tuple(registers)))


def squares(builder: ir.Builder, source: ir.Register, weights: np.ndarray, bias: np.ndarray) -> ir.Register:
    """Squared length of ``x @ weights + bias``."""
    moved = builder.add(ir.Dense(source, weights, bias))
    return builder.add(ir.Reduce(builder.add(ir.Apply(moved, "square")), "sum", moved.width))


def values(builder: ir.Builder, answer: ir.Answer) -> ir.Register:
    """An answer as numbers: class labels themselves, not their places.

    Raises:
        ConversionError: The labels are texts.
    """
    if not answer.labels or answer.labels == tuple(range(len(answer.labels))):
        return answer.register
    if any(isinstance(label, str) for label in answer.labels):
        raise ConversionError("predicted texts go into another estimator", "let it stack probabilities instead")
    places = np.arange(len(answer.labels), dtype=np.float64)
    return builder.add(ir.Replace(answer.register, 0, places, np.array(answer.labels, np.float64)))


def indicators(builder: ir.Builder, answer: ir.Answer, classes: Sequence[Any]) -> ir.Register:
    """1 at the place of the predicted class among `classes`, else 0."""
    places = [answer.labels.index(c) if c in answer.labels else -1 for c in classes]
    return builder.add(ir.Encode(answer.register, 0, np.array(places, np.float64)))


def ovr_decision(builder: ir.Builder, votes: ir.Register, confidences: ir.Register, classes: int) -> ir.Register:
    """Votes plus ``s / (3 (|s| + 1))``, s being the sum of a class's confidences (scikit-learn's ovr from ovo).

    Args:
        builder: Of the program.
        votes: (classes).
        confidences: One a pair, in the first class's favour where they are above 0.
        classes: How many.
    """
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    signs = np.zeros((len(pairs), classes))
    for place, (first, second) in enumerate(pairs):
        signs[place, first], signs[place, second] = 1.0, -1.0
    sums = builder.add(ir.Dense(confidences, signs))
    size = builder.add(ir.Apply(sums, "abs"))
    divisor = builder.add(ir.Affine(size, add=np.array([1.0])))
    divisor = builder.add(ir.Affine(divisor, multiply=np.array([3.0])))
    return builder.add(ir.Arithmetic(votes, builder.add(ir.Arithmetic(sums, divisor, "/")), "+"))


def unsupported(model: Any, setting: str, value: Any, instead: str) -> ConversionError:
    """That a setting of a class cannot be turned into code."""
    shown = getattr(value, "__name__", repr(value))
    return ConversionError(
        f"{type(model).__name__} with {setting}={shown:.60} cannot be turned into plain code", instead
    )
