"""Steps from model outputs to answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.step import Context, Step


@dataclass(frozen=True)
class Class:
    """One class of an answer.

    Attributes:
        label: Its name, or its index as text where the model has no names.
        index: Position among the scores.
        score: Its score.
    """

    label: str
    index: int
    score: float


def scores_of(value: Any, output: str = "") -> np.ndarray:
    """The array a step works on: the named output, or the first.

    Raises:
        SpecificationError: No such output, or it is empty, holds no numbers, NaN or plus infinity.
    """
    if isinstance(value, Mapping):
        if not value or (output and output not in value):
            what = f"output {output!r:.60}" if output else "output"
            raise SpecificationError(f"the model has no {what}", f"it has {', '.join(value) or 'none'}")
        value = value[output] if output else next(iter(value.values()))
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise SpecificationError(f"the model's output is not an array of numbers but {array.dtype} {array.shape}")
    # one pass: NaN and plus infinity show in the largest; minus infinity is how models mask what cannot be
    if array.dtype.kind == "f" and not array.max() < np.inf:
        raise SpecificationError(
            "the model's output is not a number (NaN) or infinite; the model or its input is broken"
        )
    return array


def label_of(index: int, context: Context) -> str:
    """A class's name, or its index as text where the model has no names."""
    return context.labels[index] if index < len(context.labels) else str(index)


@dataclass(frozen=True)
class Softmax(Step):
    """``exp(x) / sum(exp(x))`` over the last axis.

    Attributes:
        output: Output to take; the first by default.
    """

    name = "softmax"
    output: str = ""

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        x = np.atleast_1d(scores_of(value, self.output).astype(np.float32))
        top = x.max(axis=-1, keepdims=True)
        if not np.isfinite(top).all():
            raise SpecificationError("the model masks every class, or its scores are beyond float32")
        e = np.exp(x - top)
        return np.asarray(e / e.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Sigmoid(Step):
    """``1 / (1 + exp(-x))``.

    Attributes:
        output: Output to take; the first by default.
    """

    name = "sigmoid"
    output: str = ""

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        x = np.clip(scores_of(value, self.output).astype(np.float32), -80, 80)
        return np.asarray(1 / (1 + np.exp(-x)))


@dataclass(frozen=True)
class TopK(Step):
    """Scores to the best classes, a list of `Class`, best first.

    Attributes:
        k: How many.
        output: Output to take; the first by default.
    """

    name = "top_k"
    presents = True
    k: int = 5
    output: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.k <= 100_000:
            raise ValueError(f"k must be 1 to 100,000, not {self.k}")

    def __call__(self, value: Any, context: Context) -> list[Class]:
        flat = scores_of(value, self.output).reshape(-1)
        # from the end, as negating would turn whole numbers without a sign over
        order = len(flat) - 1 - np.argsort(flat[::-1], kind="stable")[::-1][: self.k]
        return [Class(label_of(int(i), context), int(i), float(flat[i])) for i in order]


@dataclass(frozen=True)
class Value(Step):
    """A number, for regression, or a list of them.

    Attributes:
        output: Output to take; the first by default.
    """

    name = "value"
    presents = True
    output: str = ""

    def __call__(self, value: Any, context: Context) -> Any:
        flat = scores_of(value, self.output).reshape(-1)
        return float(flat[0]) if flat.size == 1 else [float(v) for v in flat]
