"""m2cgen expressions of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from m2cgen.ast import AbsExpr, ExpExpr, LogExpr, NumVal, PowExpr, SqrtExpr, TanhExpr

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.m2cgen.nodes import (
    CallExpr,
    Expr,
    ItemExpr,
    JoinExpr,
    NameExpr,
    SingleExpr,
    add,
    choose,
    compare,
    divide,
    is_number,
    items,
    multiply,
    number,
    rounded,
    subtract,
)
from edgekit_converters.plaincode.emitters.m2cgen.trees import trees_code
from edgekit_converters.plaincode.emitters.m2cgen.writer import Scope, Writer

_SMALL = 1e-5


def write(writer: Writer, step: ir.Step, name: str, single_already: bool) -> str:
    """The function of a step, from vectors to a vector; gives the name that it is called by.

    Args:
        writer: Takes it.
        step: One that no language refuses.
        name: Of the function.
        single_already: Whether what it reads is rounded to float32.
    """
    sources = [NameExpr(f"x{i}" if len(step.sources) > 1 else "x", True) for i in range(len(step.sources))]

    def build(scope: Scope) -> Expr:
        if isinstance(step, ir.Trees):
            return trees_code(scope, step, sources[0], single_already)
        return _WRITERS[type(step)](scope, step, *sources)

    return writer.define(name, sources, build, True)


def writes(step: ir.Step) -> bool:
    """Whether there are expressions of a step."""
    return isinstance(step, ir.Trees) or type(step) in _WRITERS


def _each(scope: Scope, step: Any, x: NameExpr, one: Callable[[Expr, int], Expr], cost: int = 4) -> Expr:
    return scope.vector([one(item, i) for i, item in enumerate(items(x, step.source.width))], cost)


def _sum(scope: Scope, terms: Sequence[Expr], single: bool = False) -> Expr:
    return scope.fold(terms[0], terms[1:], rounded(add, single))


def _flat(values: Any, width: int, single: bool = False) -> list[float]:
    with np.errstate(over="ignore"):
        found = np.asarray(values, np.float32 if single else np.float64)
    return [float(v) for v in np.broadcast_to(found.reshape(-1), (width,))]


def _absent(value: Expr, missing: float, yes: Expr, no: Expr) -> Expr:
    return choose(is_number(value), no, yes) if np.isnan(missing) else choose(compare(value, "==", missing), yes, no)


def _select(scope: Scope, step: ir.Select, x: NameExpr) -> Expr:
    return scope.vector([ItemExpr(x, c) for c in step.columns], 1)


def _concat(scope: Scope, step: ir.Concat, *parts: NameExpr) -> Expr:
    return JoinExpr(parts)


def _constant(scope: Scope, step: ir.Constant) -> Expr:
    return scope.vector([number(v) for v in np.asarray(step.values, np.float64)], 1)


def _round32(scope: Scope, step: ir.Round32, x: NameExpr) -> Expr:
    return _each(scope, step, x, lambda v, _: SingleExpr(v))


def _affine(scope: Scope, step: ir.Affine, x: NameExpr) -> Expr:
    given = [
        (rounded(operation, step.single), _flat(values, step.width, step.single))
        for operation, values in (
            (subtract, step.subtract), (divide, step.divide), (multiply, step.multiply), (add, step.add),
        )
        if values is not None
    ]  # fmt: skip

    def one(value: Expr, place: int) -> Expr:
        value = SingleExpr(value) if step.single else value
        for operation, numbers in given:
            value = operation(value, number(numbers[place]))
        return value

    return _each(scope, step, x, one, 8)


def _clip(scope: Scope, step: ir.Clip, x: NameExpr) -> Expr:
    low, high = _flat(step.low, step.width), _flat(step.high, step.width)

    def one(value: Expr, i: int) -> Expr:
        lower = number(min(low[i], high[i]))  # `high` is asked after `low`
        return choose(compare(value, "<", low[i]), lower, choose(compare(value, ">", high[i]), number(high[i]), value))

    return _each(scope, step, x, one, 8)


def _impute(scope: Scope, step: ir.Impute, x: NameExpr) -> Expr:
    fill = _flat(step.fill, step.width)
    return _each(scope, step, x, lambda v, i: _absent(v, step.missing, number(fill[i]), v))


def _is_missing(scope: Scope, step: ir.IsMissing, x: NameExpr) -> Expr:
    return _each(scope, step, x, lambda v, _: _absent(v, step.missing, number(1), number(0)))


def _zero_to_missing(scope: Scope, step: ir.ZeroToMissing, x: NameExpr) -> Expr:
    columns = set(step.columns)

    def one(value: Expr, place: int) -> Expr:
        return choose(compare(AbsExpr(value), "<=", step.bound), number(np.nan), value) if place in columns else value

    return _each(scope, step, x, one)


def _lookup(
    scope: Scope, value: Expr, values: np.ndarray, results: Sequence[float], other: Callable[[Expr], Expr]
) -> Expr:
    """The result at the first place of a value among others, by bisection; NaN is found where it stands among them."""
    first: dict[float, float] = {}
    missing: float | None = None
    for each, result in zip(np.asarray(values, np.float64), results, strict=True):
        if np.isnan(each):
            missing = result if missing is None else missing
        else:
            first.setdefault(float(each) + 0.0, float(result))  # -0 is 0
    keys = sorted(first)
    v = NameExpr("v", False)

    def expand(node: Any) -> Any:
        if node == "begin":
            return is_number(v), (0, len(keys)), "missing"
        if node == "missing":
            return other(v) if missing is None else number(missing)
        if node == "other":
            return other(v)
        low, high = node
        if low == high:
            return other(v)
        if high - low == 1:
            return compare(v, "==", keys[low]), ("found", low), "other"
        middle = (low + high) // 2
        return compare(v, "<", keys[middle]), (low, middle), (middle, high)

    def tagged(node: Any) -> Any:
        return number(first[keys[node[1]]]) if isinstance(node, tuple) and node[0] == "found" else expand(node)

    return CallExpr(scope.writer.decide(f"{scope.name}_of", [v], "begin", tagged).function, [value])


def _known_only(scope: Scope, step: ir.KnownOnly, x: NameExpr) -> Expr:
    values = np.asarray(step.values, np.float64)
    values = values[~np.isnan(values)]
    known = _lookup(scope, ItemExpr(x, step.column), values, list(values), lambda _: number(np.nan))
    return _each(scope, step, x, lambda v, i: known if i == step.column else v, 1)


def _replace(scope: Scope, step: ir.Replace, x: NameExpr) -> Expr:
    results = _flat(step.results, len(step.values))
    return scope.vector([_lookup(scope, ItemExpr(x, step.column), step.values, results, lambda _: number(step.other))])


def _encode(scope: Scope, step: ir.Encode, x: NameExpr) -> Expr:
    value = ItemExpr(x, step.column)
    values = [float(v) for v in np.asarray(step.values, np.float64)]
    places = [_absent(value, v, number(1), number(0)) for v in values]
    if step.other:
        found = _lookup(scope, value, np.array(values), [0.0] * len(values), lambda _: number(1))
        places.append(found)
    return scope.vector(places)


def _logistic(value: Expr, single: bool) -> Expr:
    once = rounded(lambda v, _: ExpExpr(v), single)(multiply(number(-1), value), value)
    return rounded(divide, single)(number(1), rounded(add, single)(number(1), once))


def _log1p(v: Expr) -> Expr:
    short = subtract(v, multiply(multiply(v, v), number(0.5)))
    return choose(compare(AbsExpr(v), "<", _SMALL), short, LogExpr(add(number(1), v)))


def _expm1(v: Expr) -> Expr:
    short = add(v, multiply(multiply(v, v), number(0.5)))
    return choose(compare(AbsExpr(v), "<", _SMALL), short, subtract(ExpExpr(v), number(1)))


_FUNCTIONS: Mapping[str, Callable[[Expr], Expr]] = {
    "negate": lambda v: multiply(number(-1), v), "square": lambda v: multiply(v, v), "sqrt": SqrtExpr, "abs": AbsExpr,
    "exp": ExpExpr, "exp2": lambda v: PowExpr(NumVal(2.0), v), "expm1": _expm1, "log": LogExpr, "log1p": _log1p,
    "tanh": TanhExpr, "relu": lambda v: choose(compare(v, "<", 0), number(0), v),
    "sign": lambda v: choose(compare(v, ">=", 0), number(1), number(-1)),
}  # fmt: skip
"""Series where exponential and logarithm would cancel: their next terms are below 1e-10 of the result."""


def _apply(scope: Scope, step: ir.Apply, x: NameExpr) -> Expr:
    def body(v: Expr) -> Expr:
        if step.function == "logistic":
            return _logistic(v, step.single)
        return SingleExpr(_FUNCTIONS[step.function](v)) if step.single else _FUNCTIONS[step.function](v)

    name = f"apply_{step.function}{'_single' if step.single else ''}"
    function = scope.writer.helper(name, ["v"], body)
    return _each(scope, step, x, lambda v, _: function(SingleExpr(v) if step.single else v))


def _interpolate(scope: Scope, step: ir.Interpolate, x: NameExpr) -> Expr:
    xs, ys = np.asarray(step.xs, np.float64), np.asarray(step.ys, np.float64)
    v, last = NameExpr("v", False), len(xs) - 1

    def expand(node: Any) -> Any:
        if node == "begin":
            return is_number(v), (0, len(xs)), "missing"
        if node == "missing":
            return v
        low, high = node  # how many of xs are at most v: at least low, at most high
        if low < high:
            middle = (low + high) // 2
            return compare(v, ">=", xs[middle]), (middle + 1, high), (low, middle)
        if low in (0, last + 1):
            return number(ys[0 if low == 0 else last])
        place = low - 1
        slope = (ys[low] - ys[place]) / (xs[low] - xs[place])
        return add(number(ys[place]), multiply(number(slope), subtract(v, number(xs[place]))))

    line = scope.writer.decide(f"{scope.name}_line", [v], "begin", expand)

    def one(value: Expr, _: int) -> Expr:
        return CallExpr(line.function, [value])

    return _each(scope, step, x, one)


def _power(scope: Scope, step: ir.Power, x: NameExpr) -> Expr:
    def one(value: Expr, _: int) -> Expr:
        return scope.fold(value, [value] * (step.exponent - 1), multiply)

    return _each(scope, step, x, one, step.exponent)


_OPERATIONS = {"+": add, "-": subtract, "*": multiply, "/": divide}


def _arithmetic(scope: Scope, step: ir.Arithmetic, left: NameExpr, right: NameExpr) -> Expr:
    operation = rounded(_OPERATIONS[step.operation], step.single)

    def side(vector: NameExpr, width: int, place: int) -> Expr:
        value = ItemExpr(vector, place if width > 1 else 0)
        return SingleExpr(value) if step.single else value

    return scope.vector(
        [operation(side(left, step.left.width, i), side(right, step.right.width, i)) for i in range(step.width)], 4
    )


def _dense(scope: Scope, step: ir.Dense, x: NameExpr) -> Expr:
    weights = np.asarray(step.weights, np.float64)
    values = items(x, step.source.width)
    outputs = []
    for column in range(step.width):
        total = _sum(scope, [multiply(v, number(w)) for v, w in zip(values, weights[:, column], strict=True)])
        if step.bias is not None:
            total = add(total, number(_flat(step.bias, step.width)[column]))
        outputs.append(total)
    return scope.vector(outputs, 2 * min(len(values), 32))


def _products(scope: Scope, step: ir.Products, x: NameExpr) -> Expr:
    def product(columns: tuple[int, ...]) -> Expr:
        values: list[Expr] = [ItemExpr(x, c) for c in columns] or [number(1)]
        return scope.fold(values[0], values[1:], multiply)

    return scope.vector([product(f) for f in step.factors], 4)


def _distances(scope: Scope, step: ir.Distances, x: NameExpr) -> Expr:
    square = scope.writer.helper("square", ["v"], lambda v: multiply(v, v))
    larger = _larger(scope)
    outputs = []
    for row, point in enumerate(np.asarray(step.points, np.float64)):
        gaps = [subtract(v, number(p)) for v, p in zip(items(x, step.source.width), point, strict=True)]
        if step.scale is not None:
            gaps = [multiply(g, number(s)) for g, s in zip(gaps, step.scale[row], strict=True)]
        terms = [square(g) if step.metric == "squared" else AbsExpr(g) for g in gaps]
        outputs.append(scope.fold(terms[0], terms[1:], larger if step.metric == "chebyshev" else add))
    return scope.vector(outputs, 4 * min(step.source.width, 32))


def _larger(scope: Scope, smaller: bool = False) -> Callable[..., Expr]:
    """The larger of two numbers; NaN where one is."""
    better, worse = ("<", ">=") if smaller else (">", "<=")
    return scope.writer.helper(
        "smaller" if smaller else "larger",
        ["a", "b"],
        lambda a, b: choose(compare(b, worse, a), a, choose(compare(b, better, a), b, add(a, b))),
    )


def _top(scope: Scope, values: Sequence[Expr], smaller: bool = False) -> Expr:
    return scope.fold(values[0], values[1:], _larger(scope, smaller))


def _softmax(scope: Scope, step: ir.Softmax, x: NameExpr) -> Expr:
    one = rounded(lambda v, _: ExpExpr(v), step.single)
    minus, over = rounded(subtract, step.single), rounded(divide, step.single)
    if step.single:
        x = scope.let(_each(scope, step, x, lambda v, _: SingleExpr(v)))
    top = scope.let(_top(scope, items(x, step.width)))
    shares = scope.let(_each(scope, step, x, lambda v, _: one(minus(v, top), v)))
    total = scope.let(_sum(scope, items(shares, step.width), step.single))
    return _each(scope, step, shares, lambda v, _: over(v, total))


def _normalize(scope: Scope, step: ir.Normalize, x: NameExpr) -> Expr:
    measure: Callable[[Expr], Expr] = {"l1": AbsExpr, "l2": lambda v: multiply(v, v)}.get(step.norm, lambda v: v)
    total = _sum(scope, [measure(v) for v in items(x, step.width)])
    size = scope.let(SqrtExpr(total) if step.norm == "l2" else total)
    by = scope.let(choose(compare(size, "==", 0), number(1), size))
    return _each(scope, step, x, lambda v, _: divide(v, by))


def _reduce(scope: Scope, step: ir.Reduce, x: NameExpr) -> Expr:
    outputs = []
    for group in range(step.width):
        some = items(x, step.source.width)[group * step.group : (group + 1) * step.group]
        if step.operation in {"sum", "mean"}:
            value = _sum(scope, some)
            value = divide(value, number(step.group)) if step.operation == "mean" else value
        else:
            value = _top(scope, some, step.operation == "min")
        if step.operation == "logsumexp":
            top = scope.let(value)
            value = add(top, LogExpr(_sum(scope, [ExpExpr(subtract(v, top)) for v in some])))
        outputs.append(value)
    return scope.vector(outputs, 4 * min(step.group, 32))


def _argmax(scope: Scope, step: ir.Argmax, x: NameExpr) -> Expr:
    width = step.source.width
    top = scope.let(_top(scope, items(x, width), step.smallest))

    def expand(node: Any) -> Any:
        word, place = node
        if word == "at":
            return number(place)
        if word == "begin":
            return is_number(top), ("equal", 0), ("missing", 0)
        if place == width - 1:
            return number(place)
        value = ItemExpr(x, place)
        if word == "equal":
            return compare(value, "==", top), ("at", place), ("equal", place + 1)
        return is_number(value), ("missing", place + 1), ("at", place)

    return scope.vector([scope.writer.decide(f"{scope.name}_at", [x, top], ("begin", 0), expand, 1, scope.first)])


def _above(scope: Scope, step: ir.Above, x: NameExpr) -> Expr:
    operator = ">=" if step.or_equal else ">"
    return _each(scope, step, x, lambda v, _: choose(compare(v, operator, step.threshold), number(1), number(0)))


def _pair_votes(scope: Scope, step: ir.PairVotes, x: NameExpr) -> Expr:
    pairs = [(i, j) for i in range(step.classes) for j in range(i + 1, step.classes)]
    wins = scope.let(_each(scope, step, x, lambda v, _: choose(compare(v, ">", 0), number(1), number(0))))
    votes: list[list[Expr]] = [[number(0)] for _ in range(step.classes)]
    for place, (first, second) in enumerate(pairs):
        votes[first].append(ItemExpr(wins, place))
        votes[second].append(subtract(number(1), ItemExpr(wins, place)))
    return scope.vector([_sum(scope, terms) for terms in votes], 2 * min(step.classes, 32))


_WRITERS: Mapping[type[ir.Step], Callable[..., Expr]] = {
    ir.Select: _select, ir.Concat: _concat, ir.Constant: _constant, ir.Round32: _round32, ir.Affine: _affine,
    ir.Clip: _clip, ir.Impute: _impute, ir.IsMissing: _is_missing, ir.ZeroToMissing: _zero_to_missing,
    ir.KnownOnly: _known_only, ir.Apply: _apply, ir.Interpolate: _interpolate, ir.Power: _power,
    ir.Arithmetic: _arithmetic, ir.Encode: _encode, ir.Replace: _replace, ir.Dense: _dense, ir.Products: _products,
    ir.Distances: _distances, ir.Softmax: _softmax, ir.Normalize: _normalize, ir.Reduce: _reduce, ir.Argmax: _argmax,
    ir.Above: _above, ir.PairVotes: _pair_votes,
}  # fmt: skip
