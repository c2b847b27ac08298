"""Steps over vectors of numbers; each docstring is the formula, in the order that it is rounded in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit_converters.plaincode.ir.base import Elementwise, Register, Step

FUNCTIONS = (
    "negate", "square", "sqrt", "abs", "exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "relu", "sign",
)  # fmt: skip
"""``logistic`` is ``1 / (1 + exp(-x))``; ``sign`` gives 1 for 0 and above, else -1."""


# -- rearranging ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Select(Step):
    """Some columns, in any order, repetitions allowed."""

    name = "select"
    source: Register
    columns: tuple[int, ...]

    @property
    def width(self) -> int:
        return len(self.columns)


@dataclass(frozen=True)
class Concat(Step):
    """Several registers, one after the other."""

    name = "concat"
    parts: tuple[Register, ...]

    @property
    def width(self) -> int:
        return sum(p.width for p in self.parts)


@dataclass(frozen=True, eq=False)
class Constant(Step):
    """The same numbers for every row, float64."""

    name = "constant"
    values: np.ndarray

    @property
    def width(self) -> int:
        return len(self.values)


# -- value by value ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round32(Elementwise):
    """Rounded to the nearest float32, as sources that cast their input do."""

    name = "round32"
    source: Register


@dataclass(frozen=True, eq=False)
class Affine(Elementwise):
    """``(x - subtract) / divide * multiply + add``, whatever is None left out; arrays are (width,) or (1,)."""

    name = "affine"
    source: Register
    subtract: np.ndarray | None = None
    divide: np.ndarray | None = None
    multiply: np.ndarray | None = None
    add: np.ndarray | None = None
    single: bool = False


@dataclass(frozen=True, eq=False)
class Clip(Elementwise):
    """``min(max(x, low), high)``; arrays are (width,) or (1,); NaN stays."""

    name = "clip"
    source: Register
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Impute(Elementwise):
    """`fill` (width,) where the value is `missing`: NaN by default, or one number."""

    name = "impute"
    source: Register
    fill: np.ndarray
    missing: float = float("nan")


@dataclass(frozen=True)
class IsMissing(Elementwise):
    """1 where the value is `missing`: NaN by default, or one number; else 0."""

    name = "is_missing"
    source: Register
    missing: float = float("nan")


@dataclass(frozen=True)
class ZeroToMissing(Elementwise):
    """NaN where ``|x| <= bound`` in one of `columns` (LightGBM's ``zero_as_missing``)."""

    name = "zero_to_missing"
    source: Register
    columns: tuple[int, ...]
    bound: float = 1e-35


@dataclass(frozen=True, eq=False)
class KnownOnly(Elementwise):
    """NaN where a value of `column` is none of `values` (a category that the source never saw)."""

    name = "known_only"
    source: Register
    column: int
    values: np.ndarray


@dataclass(frozen=True)
class Apply(Elementwise):
    """One of `FUNCTIONS` on each value; `single` in float32."""

    name = "apply"
    source: Register
    function: str
    single: bool = False

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"there is no function {self.function!r}")


@dataclass(frozen=True, eq=False)
class Interpolate(Elementwise):
    """Each value through one piecewise line: ``ys[i] + (ys[i+1] - ys[i]) / (xs[i+1] - xs[i]) * (x - xs[i])``.

    i is the last place with ``xs[i] <= x``; ``ys[0]`` before the first of `xs` and ``ys[-1]`` from the last one on.
    NaN stays. `xs` (points,) rise strictly.
    """

    name = "interpolate"
    source: Register
    xs: np.ndarray
    ys: np.ndarray


@dataclass(frozen=True)
class Power(Elementwise):
    """``x ** exponent`` by multiplication; `exponent` is a whole number of at least 1."""

    name = "power"
    source: Register
    exponent: int


@dataclass(frozen=True)
class Arithmetic(Step):
    """``left OPERATION right`` (``+ - * /``) value by value; width 1 goes with each value of the other."""

    name = "arithmetic"
    left: Register
    right: Register
    operation: str
    single: bool = False

    @property
    def width(self) -> int:
        return max(self.left.width, self.right.width)


@dataclass(frozen=True, eq=False)
class Encode(Step):
    """One column to indicators: 1 at the place of the value among `values`, else 0; all 0 where it is none of them.

    `other` is one more place, the last, that is 1 exactly where the value is none of `values` (infrequent ones).
    NaN among `values` stands for a missing value.
    """

    name = "encode"
    source: Register
    column: int
    values: np.ndarray
    other: bool = False

    @property
    def width(self) -> int:
        return len(self.values) + self.other


@dataclass(frozen=True, eq=False)
class Replace(Step):
    """One column through a table: `results` at the place of the value among `values`, else `other` (may be NaN).

    NaN among `values` stands for a missing value.
    """

    name = "replace"
    source: Register
    column: int
    values: np.ndarray
    results: np.ndarray
    other: float = float("nan")

    @property
    def width(self) -> int:
        return 1


# -- linear algebra ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Dense(Step):
    """``x @ weights + bias``; weights (source.width, width), bias (width,) or None."""

    name = "dense"
    source: Register
    weights: np.ndarray
    bias: np.ndarray | None = None

    @property
    def width(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class Products(Step):
    """Products of columns: each entry of `factors` lists the columns to multiply; an empty one gives 1."""

    name = "products"
    source: Register
    factors: tuple[tuple[int, ...], ...]

    @property
    def width(self) -> int:
        return len(self.factors)


@dataclass(frozen=True, eq=False)
class Distances(Step):
    """Distance to each of `points` (count, source.width).

    Attributes:
        metric: ``squared`` (sum of squared differences, not the root), ``manhattan`` or ``chebyshev``.
        scale: (count, source.width) that differences are multiplied by before, or None.
    """

    name = "distances"
    source: Register
    points: np.ndarray
    metric: str = "squared"
    scale: np.ndarray | None = None

    @property
    def width(self) -> int:
        return len(self.points)


# -- many to few ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Softmax(Elementwise):
    """``exp(x - max) / sum(exp(x - max))``; `single` in float32."""

    name = "softmax"
    source: Register
    single: bool = False


@dataclass(frozen=True)
class Normalize(Elementwise):
    """Divided by ``sum(x)`` (``sum``), ``sum(|x|)`` (``l1``) or ``sqrt(sum(x²))`` (``l2``), unless that is 0."""

    name = "normalize"
    source: Register
    norm: str


@dataclass(frozen=True)
class Reduce(Step):
    """``sum``, ``mean``, ``max``, ``min`` or ``logsumexp`` of each consecutive group of `group` values, in order."""

    name = "reduce"
    source: Register
    operation: str
    group: int

    @property
    def width(self) -> int:
        return self.source.width // self.group


@dataclass(frozen=True)
class Argmax(Step):
    """Place of the largest value (``smallest``: of the smallest); the first one where several are equal."""

    name = "argmax"
    source: Register
    smallest: bool = False

    @property
    def width(self) -> int:
        return 1


@dataclass(frozen=True)
class Above(Elementwise):
    """1 where ``x > threshold`` (``or_equal``: ``>=``), else 0: binary decisions."""

    name = "above"
    source: Register
    threshold: float
    or_equal: bool = False


@dataclass(frozen=True, eq=False)
class WeightedMedian(Step):
    """The value at which the cumulated weights (width,) of the sorted values reach half of their sum (AdaBoost.R2)."""

    name = "weighted_median"
    source: Register
    weights: np.ndarray

    @property
    def width(self) -> int:
        return 1


@dataclass(frozen=True)
class PairVotes(Step):
    """One-versus-one decisions, pairs (0, 1), (0, 2), … (1, 2), …, to votes: the first of a pair wins where x > 0."""

    name = "pair_votes"
    source: Register
    classes: int

    @property
    def width(self) -> int:
        return self.classes


@dataclass(frozen=True)
class PairCoupling(Step):
    """Probabilities of pairs, (0, 1), (0, 2), … (1, 2), …, that the first one wins, to probabilities of the classes.

    libsvm's solution of Wu, Lin and Weng (2004), second method: with r[i][j] the probability that i wins against j,
    Q[t][t] = sum of r[j][t]² over j ≠ t (j rising), Q[t][j] = -r[j][t] r[t][j], and p = 1/k to begin with, at most
    max(100, k) rounds of:

    - Qp[t] = sum of Q[t][j] p[j] (j rising), pQp = sum of p[t] Qp[t]; stop where max |Qp[t] - pQp| < 0.005 / k;
    - for each t: d = (-Qp[t] + pQp) / Q[t][t]; p[t] += d; pQp = (pQp + d (d Q[t][t] + 2 Qp[t])) / (1 + d) / (1 + d);
      then for each j: Qp[j] = (Qp[j] + d Q[t][j]) / (1 + d); p[j] /= 1 + d.
    """

    name = "pair_coupling"
    source: Register
    classes: int

    @property
    def width(self) -> int:
        return self.classes


@dataclass(frozen=True, eq=False)
class Nearest(Step):
    """Mean of the targets of the `count` nearest points; the earlier point first where distances are equal.

    Attributes:
        source: Distances, one a point.
        count: Neighbours.
        targets: (points, width).
        inverse: Weighted by 1 / distance instead of evenly; points at distance 0 then count alone.
        root: Whether the distances are squared and their roots are meant.
    """

    name = "nearest"
    source: Register
    count: int
    targets: np.ndarray
    inverse: bool = False
    root: bool = True

    @property
    def width(self) -> int:
        return int(self.targets.shape[1])


# -- text ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Words(Step):
    """A text to weighted counts of its n-grams, as scikit-learn's vectorizers count them.

    Attributes:
        source: Width 1: the text itself.
        size: Number of columns.
        analyzer: ``word`` (runs of two or more word characters) or ``char`` or ``char_wb``.
        ngrams: Shortest and longest n-gram.
        lowercase: Whether letters are made small first.
        vocabulary: n-gram to column; None where columns come from `murmur` hashing.
        alternate_sign: Whether a hash's sign decides whether an n-gram adds or takes away.
        binary: Whether a column becomes 1 where any n-gram fell, even where hashed ones cancelled out to 0.
        sublinear: Whether a count n becomes ``1 + ln n``.
        weights: (size,) that counts are multiplied by (inverse document frequency), or None.
        norm: ``l1``, ``l2`` or empty.
        stop_words: Words left out before n-grams are built.
        single_letters: Whether the token pattern takes words of one letter too.
    """

    name = "words"
    source: Register
    size: int
    analyzer: str = "word"
    ngrams: tuple[int, int] = (1, 1)
    lowercase: bool = True
    vocabulary: Mapping[str, int] | None = None
    alternate_sign: bool = True
    binary: bool = False
    sublinear: bool = False
    weights: np.ndarray | None = None
    norm: str = ""
    stop_words: frozenset[str] = frozenset()
    single_letters: bool = False

    @property
    def width(self) -> int:
        return self.size
