"""The compiled code against its source: every method, on the user's rows and on rows that hug the model's decisions.

What the program calls exact must be equal to the bit. Everything else may differ by ``bound * (1 + |b|)`` where b is
the source's value; leaves that are not float64 are rounded at the size of the largest answer, so that they may differ
by ``bound * (1 + largest |b|)``. A class may differ only where the source itself hardly tells the two apart: a
class counts as a flip where the source's margin is over that bound, and one flip is one too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.adversarial import adversarial_rows
from edgekit_runtime.backends.plain import PlainSession

if TYPE_CHECKING:
    from edgekit_converters.sources.classic import ClassicSource

BOUNDS = {"fp64": 1e-6, "fp32": 1e-5, "int32": 1e-5}
"""Precision (what leaves are) to the bound of differences."""
ADVERSARIAL = 1000
_SEED = 20


@dataclass(frozen=True)
class MethodProof:
    """How one method held.

    Attributes:
        name: The method.
        exact: Whether it had to be equal to the bit.
        bit_equal: Rows in which it was.
        largest: Largest absolute difference; for classes 0 or 1.
        flips: Rows in which another class comes out than the source's, by more than the bound.
    """

    name: str
    exact: bool
    bit_equal: int
    largest: float
    flips: int


@dataclass(frozen=True)
class Proof:
    """What was tried, and how it held.

    Attributes:
        rows: Rows tried, all told.
        adversarial: How many of them were made to hug the model's decisions.
        bit_equal: Rows in which every method was equal to the bit.
        bound: Of differences.
        methods: Each method.
    """

    rows: int
    adversarial: int
    bit_equal: int
    bound: float
    methods: tuple[MethodProof, ...]

    @property
    def largest(self) -> float:
        """Largest absolute difference of any method."""
        return max((m.largest for m in self.methods), default=0.0)

    def as_dict(self) -> dict[str, float]:
        """For the manifest."""
        found = {
            "rows": float(self.rows),
            "adversarial_rows": float(self.adversarial),
            "bit_equal_rows": float(self.bit_equal),
            "max_abs": self.largest,
            "bound": self.bound,
            "flips": float(sum(m.flips for m in self.methods)),
        }
        for method in self.methods:
            found[f"{method.name}.bit_equal_rows"] = float(method.bit_equal)
            found[f"{method.name}.max_abs"] = method.largest
        return found

    def in_words(self) -> str:
        """One line."""
        names = ", ".join(m.name for m in self.methods)
        rows = f"{self.rows:,} rows, {self.adversarial:,} of them adversarial"
        if self.bit_equal == self.rows:
            return f"{rows}: all bit-equal ({names})"
        return f"{rows}: {self.bit_equal:,} bit-equal, largest difference {self.largest:.2g}, no flips ({names})"


def prove(
    source: ClassicSource, session: PlainSession, precision: str, rows: np.ndarray, adversarial: int = ADVERSARIAL
) -> Proof:
    """Compare compiled code with its source.

    Args:
        source: The reference.
        session: The compiled code.
        precision: What its leaves are, a key of `BOUNDS`.
        rows: Model inputs to try, at least one: (rows, features) numbers, or texts. Rows that the source itself refuses
            are left out.
        adversarial: How many more rows to make.

    Raises:
        ConversionError: A class flips, something exact is not, or a difference is over the bound; says how and where.
    """
    own = _accepted(source, rows)
    hard = _accepted(source, _harder(source, own if len(own) else rows, adversarial))
    tried = np.concatenate([own, hard.astype(own.dtype)])
    if not len(tried):
        raise ConversionError("the source refuses every row that the code was to be tried on", "give other --data")
    case = _Case(source, session, precision, tried)
    methods, equal = [], np.ones(len(tried), bool)
    for name in [e.name for e in session.entries]:
        method, same = case.method(name)
        methods.append(method)
        equal &= same
    return Proof(len(tried), len(hard), int(equal.sum()), BOUNDS[precision], tuple(methods))


@dataclass
class _Case:
    """One comparison under way."""

    source: ClassicSource
    session: PlainSession
    precision: str
    rows: np.ndarray

    def __post_init__(self) -> None:
        taken = self.session.inputs[0].dtype
        self.fed = self.rows if taken == "string" else np.ascontiguousarray(self.rows, taken)
        self.bound = BOUNDS[self.precision]

    def method(self, name: str) -> tuple[MethodProof, np.ndarray]:
        """How one method held, and the rows in which it was bit-equal."""
        expected = np.concatenate([a.astype(np.float64) for a in self.source.answers(name, self.rows)], axis=1)
        found = self._labels(name, self.session.answer(name, self.fed)).astype(np.float64)
        if found.shape != expected.shape:
            raise ConversionError(
                f"{name} of the code gives {found.shape[1]} numbers where the source gives {expected.shape[1]}"
            )
        same = ((found == expected) | (np.isnan(found) & np.isnan(expected))).all(axis=1)
        exact = name in self.source.program.exact and self.precision == "fp64"
        difference = np.abs(found - expected)
        difference[(found == expected) | (np.isnan(found) & np.isnan(expected))] = 0.0
        difference[np.isnan(difference)] = np.inf
        flips = self._flips(name, found, expected)
        if flips.any():
            self._refuse(f"{name} flips {int(flips.sum())} classes", flips, found, expected)
        if exact and not same.all():
            self._refuse(f"{name} must be equal to the bit", ~same, found, expected)
        if not self._tells_classes(name):
            allowed = self._allowed(expected)
            if (over := (difference > allowed).any(axis=1)).any():
                self._refuse(f"{name} is off by more than {self.bound:g}", over, found, expected)
        largest = float(difference.max(initial=0.0))
        return MethodProof(name, exact, int(same.sum()), largest, 0), same

    def _labels(self, name: str, found: np.ndarray) -> np.ndarray:
        """Places among numbers that are no classes (clusters, 1 and -1 for outliers) as those numbers."""
        answers = self.source.program.methods[name]
        if found.dtype != np.int32 or self.source.classes is not None:
            return found
        columns = [np.asarray(a.labels, np.float64)[found[:, i]] for i, a in enumerate(answers)]
        return np.stack(columns, axis=1)

    def _allowed(self, expected: np.ndarray) -> np.ndarray:
        size = np.abs(np.where(np.isfinite(expected), expected, 0.0))
        return np.asarray(self.bound * (1 + (size if self.precision == "fp64" else size.max(initial=0.0))))

    def _tells_classes(self, name: str) -> bool:
        return name == "predict" and (
            self.source.classes is not None or bool(self.source.program.methods[name][0].labels)
        )

    def _flips(self, name: str, found: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Rows in which another class comes out, where the source's margin is over the bound."""
        if self._tells_classes(name):
            differs = (found != expected).any(axis=1)
            margin = _margin(self.source, self.rows) if differs.any() else np.zeros(len(found))
            return np.asarray(differs & (margin > self.bound))
        if self.source.task != "classification" or name != self.source.method or len(self.source.outputs) > 1:
            return np.zeros(len(found), bool)
        middle = 0.5 if name == "predict" else 0.0  # a booster's probability of class 1; a decision
        if expected.shape[1] == 1:
            differs, margin = (found > middle) != (expected > middle), np.abs(expected - middle)
            return np.asarray((differs & (margin > self._allowed(expected))).any(axis=1))
        differs = found.argmax(axis=1) != expected.argmax(axis=1)
        return np.asarray(differs & (_gap(expected) > self._allowed(expected).max(initial=0.0)))

    def _refuse(self, what: str, bad: np.ndarray, found: np.ndarray, expected: np.ndarray) -> None:
        row = int(np.flatnonzero(bad)[0])
        given = self.rows[row].tolist() if self.rows.ndim > 1 else self.rows[row]
        raise ConversionError(
            f"the plain code differs from its source: {what} in {int(bad.sum())} of {len(bad)} rows, first for "
            f"{given!r:.200}, which gives {found[row].tolist()!r:.80} and not {expected[row].tolist()!r:.80}",
            "give --format onnx or other --leaves, and report the model: this must not happen",
        )


def _gap(scores: np.ndarray) -> np.ndarray:
    """Between the largest and the second largest score of a row."""
    two = np.sort(scores, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def _margin(source: ClassicSource, rows: np.ndarray) -> np.ndarray:
    """How clearly the source tells the class of a row from the next one; infinite where it does not say."""
    for name in ("decision_function", "predict_proba", "transform"):
        if hasattr(source.model, name):
            each = []
            for scores in source.answers(name, rows):
                better = -scores if name == "transform" else scores  # distances from clusters
                each.append(np.abs(better[:, 0]) if better.shape[1] == 1 else _gap(better))
            return np.asarray(np.min(each, axis=0))
    return np.full(len(rows), np.inf)


# -- rows ----------------------------------------------------------------------------------------------------------


def _harder(source: ClassicSource, rows: np.ndarray, count: int) -> np.ndarray:
    """Rows that hug the model's decisions, or texts that are awkward."""
    if not count:
        return rows[:0]
    if source.is_text:
        return _awkward_texts([str(v) for v in rows.reshape(-1)], count)
    wide = np.full((1, len(source.features)), np.inf)
    infinite = range(len(source.features)) if len(_accepted(source, wide)) else ()
    return adversarial_rows(source.program, rows, count, _SEED, infinite=infinite).astype(source.inputs[0].dtype)


def _awkward_texts(texts: list[str], count: int) -> np.ndarray:
    """Empty and odd ones, and the user's own with words shuffled, joined, cut and written otherwise."""
    random = np.random.default_rng(_SEED)
    made = [
        "",
        " ",
        "a",
        "É",
        "été " * 3,
        "x" * 500,
        "日本 語",
        "a\tb\nc",
        "don't",
        "1 22 3.5",
        "_ __ ab_c",
        "\U0001f600 ok",
    ]
    words = [w for t in texts for w in t.split()] or ["word"]
    while len(made) < count:
        chosen = [words[i] for i in random.integers(len(words), size=random.integers(1, 12))]
        joined = random.choice(np.array([" ", "", "-", ", "], object)).join(chosen)
        made.append(random.choice(np.array([joined, joined.upper(), joined[:-1], joined.title()], object)))
    return np.array(made[:count], object)


def _accepted(source: ClassicSource, rows: np.ndarray) -> np.ndarray:
    """Those rows that the source answers: what is unknown to it, some refuse."""
    waiting, taken = [np.arange(len(rows))], np.zeros(len(rows), bool)
    while waiting:
        some = waiting.pop()
        if not len(some):
            continue
        try:
            source.answers(source.method, rows[some])
            taken[some] = True
        except (ValueError, TypeError, KeyError):
            if len(some) > 1:
                waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
    return np.asarray(rows[taken])
