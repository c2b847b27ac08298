"""Programs run in numpy: readers are checked with it before any code is written, and emitters against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.words import count_words

_HALF = 0.5


def run(program: ir.Program, rows: Any, methods: Sequence[str] = ()) -> dict[str, tuple[np.ndarray, ...]]:
    """Answers of a program.

    Args:
        program: The program.
        rows: (rows, features) numbers, categories as codes; or a list of texts for a program that takes one text.
        methods: Those to run, all by default.

    Returns:
        Method to one array for each of its answers: (rows,) labels where the answer is a class, else (rows, width).
    """
    row: np.ndarray = np.asarray(rows, object).reshape(len(rows), -1)
    if not any(f.kind == ir.TEXT for f in program.features):
        row = np.asarray(rows, np.float64).reshape(len(rows), -1)
    registers: dict[int, np.ndarray] = {0: row}
    with np.errstate(all="ignore"):
        for index in program.needed(methods):
            step = program.steps[index]
            value = _RUN[type(step)](step, *(registers[r.index] for r in step.sources))
            registers[index + 1] = value if len(value) == len(row) else np.repeat(value, len(row), axis=0)
    answers = {}
    for method in methods or program.methods:
        found = []
        for answer in program.methods[method]:
            value = registers[answer.register.index]
            value = np.broadcast_to(value, (len(row), value.shape[1]))
            if answer.labels:
                value = np.asarray(answer.labels)[value[:, 0].astype(np.int64)]
            found.append(value)
        answers[method] = tuple(found)
    return answers


def _numbers(value: np.ndarray) -> np.ndarray:
    return value if value.dtype == np.float64 else value.astype(np.float64)


def _select(step: ir.Select, x: np.ndarray) -> np.ndarray:
    return x[:, list(step.columns)]


def _concat(step: ir.Concat, *parts: np.ndarray) -> np.ndarray:
    rows = max(len(p) for p in parts)  # constants have one row
    return np.concatenate([np.broadcast_to(p, (rows, p.shape[1])) for p in parts], axis=1)


def _round32(step: ir.Round32, x: np.ndarray) -> np.ndarray:
    return _numbers(x).astype(np.float32).astype(np.float64)


def _single(value: Any, single: bool) -> Any:
    return np.asarray(value, np.float32) if single else np.asarray(value, np.float64)


def _affine(step: ir.Affine, x: np.ndarray) -> np.ndarray:
    value = _single(_numbers(x), step.single)
    if step.subtract is not None:
        value = value - _single(step.subtract, step.single)
    if step.divide is not None:
        value = value / _single(step.divide, step.single)
    if step.multiply is not None:
        value = value * _single(step.multiply, step.single)
    if step.add is not None:
        value = value + _single(step.add, step.single)
    return np.asarray(value, np.float64)


def _clip(step: ir.Clip, x: np.ndarray) -> np.ndarray:
    value = np.where(_numbers(x) < step.low, step.low, x)
    return np.asarray(np.where(value > step.high, step.high, value), np.float64)


def _absent(x: np.ndarray, missing: float) -> np.ndarray:
    found: np.ndarray = np.isnan(x) if np.isnan(missing) else x == missing
    return found


def _impute(step: ir.Impute, x: np.ndarray) -> np.ndarray:
    x = _numbers(x)
    return np.asarray(np.where(_absent(x, step.missing), step.fill, x))


def _is_missing(step: ir.IsMissing, x: np.ndarray) -> np.ndarray:
    return _absent(_numbers(x), step.missing).astype(np.float64)


def _zero_to_missing(step: ir.ZeroToMissing, x: np.ndarray) -> np.ndarray:
    x = _numbers(x).copy()
    columns = list(step.columns)
    x[:, columns] = np.where(np.abs(x[:, columns]) <= step.bound, np.nan, x[:, columns])
    return x


def _known_only(step: ir.KnownOnly, x: np.ndarray) -> np.ndarray:
    x = _numbers(x).copy()
    x[~np.isin(x[:, step.column], step.values), step.column] = np.nan
    return x


def _logistic(x: np.ndarray) -> np.ndarray:
    one = x.dtype.type(1)
    return np.asarray(one / (one + np.exp(-x)))


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "negate": np.negative, "square": np.square, "sqrt": np.sqrt, "abs": np.abs, "exp": np.exp, "exp2": np.exp2,
    "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "logistic": _logistic,
    "relu": lambda x: np.where(x < 0, x.dtype.type(0), x), "sign": lambda x: np.where(x >= 0, 1.0, -1.0),
}  # fmt: skip


def _apply(step: ir.Apply, x: np.ndarray) -> np.ndarray:
    return np.asarray(_FUNCTIONS[step.function](_single(_numbers(x), step.single)), np.float64)


def _interpolate(step: ir.Interpolate, x: np.ndarray) -> np.ndarray:
    x = _numbers(x)
    place = np.clip(np.searchsorted(step.xs, x, side="right") - 1, 0, max(len(step.xs) - 2, 0))
    after = np.minimum(place + 1, len(step.xs) - 1)
    slope = (step.ys[after] - step.ys[place]) / (step.xs[after] - step.xs[place])
    value = step.ys[place] + slope * (x - step.xs[place])
    value = np.where(x >= step.xs[-1], step.ys[-1], np.where(x < step.xs[0], step.ys[0], value))
    return np.asarray(np.where(np.isnan(x), x, value))


def _power(step: ir.Power, x: np.ndarray) -> np.ndarray:
    result = x
    for _ in range(step.exponent - 1):
        result = result * x
    return result


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide,
}  # fmt: skip


def _arithmetic(step: ir.Arithmetic, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    a, b = _single(_numbers(left), step.single), _single(_numbers(right), step.single)
    return np.asarray(_OPERATIONS[step.operation](a, b), np.float64)


def _matches(column: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(rows, values): whether they are equal, NaN to NaN."""
    column = _numbers(column)
    equal: np.ndarray = column[:, None] == values[None]
    return np.asarray(equal | (np.isnan(column)[:, None] & np.isnan(values)[None]))


def _encode(step: ir.Encode, x: np.ndarray) -> np.ndarray:
    found = _matches(x[:, step.column], step.values)
    if step.other:
        found = np.concatenate([found, ~found.any(axis=1, keepdims=True)], axis=1)
    return found.astype(np.float64)


def _replace(step: ir.Replace, x: np.ndarray) -> np.ndarray:
    found = _matches(x[:, step.column], step.values)
    first = found.argmax(axis=1)
    return np.where(found.any(axis=1), np.asarray(step.results, np.float64)[first], step.other)[:, None]


def _dense(step: ir.Dense, x: np.ndarray) -> np.ndarray:
    value = _numbers(x) @ np.asarray(step.weights, np.float64)
    return value if step.bias is None else value + step.bias


def _products(step: ir.Products, x: np.ndarray) -> np.ndarray:
    columns = [np.prod(_numbers(x[:, list(f)]), axis=1) for f in step.factors]
    return np.stack(columns, axis=1)


def _distances(step: ir.Distances, x: np.ndarray) -> np.ndarray:
    result = np.empty((len(x), len(step.points)))
    for i, point in enumerate(step.points):
        gap = _numbers(x) - point
        if step.scale is not None:
            gap = gap * step.scale[i]
        if step.metric == "squared":
            result[:, i] = (gap * gap).sum(axis=1)
        else:
            result[:, i] = np.abs(gap).sum(axis=1) if step.metric == "manhattan" else np.abs(gap).max(axis=1)
    return result


def _softmax(step: ir.Softmax, x: np.ndarray) -> np.ndarray:
    x = _single(x, step.single)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float64)


def _normalize(step: ir.Normalize, x: np.ndarray) -> np.ndarray:
    x = _numbers(x)
    if step.norm == "l2":
        total = np.sqrt((x * x).sum(axis=1, keepdims=True))
    else:
        total = (np.abs(x) if step.norm == "l1" else x).sum(axis=1, keepdims=True)
    return x / np.where(total == 0, 1.0, total)


def _reduce(step: ir.Reduce, x: np.ndarray) -> np.ndarray:
    groups = x.reshape(len(x), -1, step.group)
    if step.operation == "logsumexp":
        top = groups.max(axis=2)
        return np.asarray(top + np.log(np.exp(groups - top[..., None]).sum(axis=2)))
    value = groups[:, :, 0]
    for place in range(1, step.group):  # numpy itself adds in pairs
        each = groups[:, :, place]
        if step.operation in {"sum", "mean"}:
            value = value + each
        else:
            value = np.where((each > value if step.operation == "max" else each < value) | np.isnan(each), each, value)
    return np.asarray(value / step.group if step.operation == "mean" else value)


def _argmax(step: ir.Argmax, x: np.ndarray) -> np.ndarray:
    place = x.argmin(axis=1) if step.smallest else x.argmax(axis=1)
    return np.asarray(place[:, None].astype(np.float64))


def _above(step: ir.Above, x: np.ndarray) -> np.ndarray:
    found = x >= step.threshold if step.or_equal else x > step.threshold
    return found.astype(np.float64)


def _weighted_median(step: ir.WeightedMedian, x: np.ndarray) -> np.ndarray:
    order = np.argsort(x, axis=1, kind="stable")
    cumulated = np.cumsum(step.weights[order], axis=1)
    place = (cumulated >= _HALF * cumulated[:, -1:]).argmax(axis=1)
    rows = np.arange(len(x))
    return np.asarray(x[rows, order[rows, place]][:, None])


def _pair_votes(step: ir.PairVotes, x: np.ndarray) -> np.ndarray:
    votes = np.zeros((len(x), step.classes))
    pairs = [(i, j) for i in range(step.classes) for j in range(i + 1, step.classes)]
    for column, (first, second) in enumerate(pairs):
        wins = x[:, column] > 0
        votes[:, first] += wins
        votes[:, second] += ~wins
    return votes


def _pair_coupling(step: ir.PairCoupling, x: np.ndarray) -> np.ndarray:
    k = step.classes
    upper = np.triu_indices(k, 1)
    result = np.empty((len(x), k))
    for row, pairs in enumerate(x):
        r = np.zeros((k, k))
        r[upper] = pairs
        r.T[upper] = 1 - pairs
        q = -r.T * r
        q[np.diag_indices(k)] = np.cumsum(r * r, axis=0)[-1]
        result[row] = _coupled(q)
    return result


def _coupled(q: np.ndarray) -> np.ndarray:
    k = len(q)
    p = np.full(k, 1 / k)
    for _ in range(max(100, k)):
        qp = np.cumsum(q * p, axis=1)[:, -1]
        pqp = np.cumsum(p * qp)[-1]
        if np.abs(qp - pqp).max() < 0.005 / k:
            break
        for t in range(k):
            d = (-qp[t] + pqp) / q[t, t]
            p[t] += d
            pqp = (pqp + d * (d * q[t, t] + 2 * qp[t])) / (1 + d) / (1 + d)
            qp = (qp + d * q[t]) / (1 + d)
            p /= 1 + d
    return p


def _nearest(step: ir.Nearest, x: np.ndarray) -> np.ndarray:
    near = np.argsort(x, axis=1, kind="stable")[:, : step.count]
    targets = step.targets[near]
    if not step.inverse:
        return np.asarray(targets.mean(axis=1))
    distance = np.take_along_axis(x, near, axis=1)
    distance = np.sqrt(distance) if step.root else distance
    touching = distance == 0
    weights = np.where(touching.any(axis=1, keepdims=True), touching, 1 / np.where(touching, 1, distance))
    return np.asarray((targets * weights[..., None]).sum(axis=1) / weights.sum(axis=1, keepdims=True))


def _trees(step: ir.Trees, x: np.ndarray) -> np.ndarray:
    x = _numbers(x)
    if step.single_key:
        x = x.astype(np.float32).astype(np.float64)
    kind = np.float32 if step.single else np.float64
    base, leaves = step.base.astype(kind), step.leaves.astype(kind)
    total = np.zeros((len(x), step.width), kind) + (0 if step.base_last else base)
    rows = np.arange(len(x))
    for root, output in zip(step.roots, step.output, strict=True):
        node = np.full(len(x), root)
        while (inner := node >= 0).any():
            at = node[inner]
            value = x[rows[inner], step.feature[at]]
            node[inner] = np.where(_goes_left(step, at, value), step.left[at], step.right[at])
        found = leaves[-1 - node]
        if output < 0:
            total += found
        else:
            total[:, output] += found[:, 0]
    if step.base_last:
        total += base
    return np.asarray(total / kind(step.divisor) if step.divisor != 1 else total, np.float64)


def _goes_left(step: ir.Trees, at: np.ndarray, value: np.ndarray) -> np.ndarray:
    left = value <= step.threshold[at]
    chosen = step.category_set[at]
    for place in np.unique(chosen[chosen >= 0]):
        here = chosen == place
        left[here] = np.isin(np.trunc(value[here]), step.sets[place])
    return np.asarray(np.where(np.isnan(value), step.missing_left[at], left))


_RUN: Mapping[type[ir.Step], Callable[..., np.ndarray]] = {
    ir.Select: _select, ir.Concat: _concat, ir.Round32: _round32, ir.Affine: _affine, ir.Clip: _clip,
    ir.Impute: _impute, ir.IsMissing: _is_missing, ir.ZeroToMissing: _zero_to_missing, ir.KnownOnly: _known_only,
    ir.Apply: _apply, ir.Power: _power, ir.Arithmetic: _arithmetic, ir.Encode: _encode, ir.Replace: _replace,
    ir.Dense: _dense, ir.Products: _products, ir.Distances: _distances, ir.Softmax: _softmax,
    ir.Normalize: _normalize, ir.Reduce: _reduce, ir.Argmax: _argmax, ir.Above: _above,
    ir.WeightedMedian: _weighted_median, ir.PairVotes: _pair_votes, ir.PairCoupling: _pair_coupling,
    ir.Interpolate: _interpolate, ir.Nearest: _nearest, ir.Trees: _trees,
    ir.Constant: lambda step: step.values[None],
    ir.Words: lambda step, x: count_words(step, x[:, 0]),
}  # fmt: skip
