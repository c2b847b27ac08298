"""Plain Python of each step: the body of a function from lists of numbers to a list of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir

HELPERS: Mapping[str, str] = {
    "_single": '''\
def _single(v):
    """The nearest float32 number."""
    if v == 0 or v != v:
        return v
    if abs(v) >= 3.4028235677973366e38:
        return math.copysign(_INF, v)
    _, power = math.frexp(v)
    power = max(power, -125) - 24
    return math.copysign(math.ldexp(float(abs(round(math.ldexp(v, -power)))), power), v)
''',
    "_divide": '''\
def _divide(a, b):
    if b != 0:
        return a / b
    if a == 0 or a != a or b != b:
        return _NAN
    return math.copysign(_INF, a) * math.copysign(1.0, b)
''',
    "_exp": '''\
def _exp(v):
    return _INF if v > 709.7827128933840 else math.exp(v)
''',
    "_exp2": '''\
def _exp2(v):
    return _INF if v >= 1024 else 2.0**v
''',
    "_expm1": '''\
def _expm1(v):
    return _INF if v > 709.7827128933840 else math.expm1(v)
''',
    "_log": '''\
def _log(v):
    return math.log(v) if v > 0 else -_INF if v == 0 else _NAN
''',
    "_log1p": '''\
def _log1p(v):
    return math.log1p(v) if v > -1 else -_INF if v == -1 else _NAN
''',
    "_sqrt": '''\
def _sqrt(v):
    return math.sqrt(v) if v >= 0 else _NAN
''',
    "_order": '''\
def _order(x):
    """Places in the order of their values, NaN last."""
    return sorted(range(len(x)), key=lambda i: (x[i] != x[i], 0.0 if x[i] != x[i] else x[i], i))
''',
    "_top": '''\
def _top(x):
    """The largest value, NaN where there is one."""
    top = x[0]
    for v in x:
        if v > top or v != v:
            top = v
    return top
''',
}  # fmt: skip
"""Functions that are written where they are used."""


@dataclass
class Code:
    """Python of one step.

    Attributes:
        body: Lines of the function; ``x`` (``x0``, ``x1``, … where it reads several) is what it reads.
        constants: Names (after the function's) to literals.
    """

    body: list[str]
    constants: dict[str, str] = field(default_factory=dict)


def number(value: Any) -> str:
    """A float that Python reads back to the same bits."""
    value = float(value)
    if math.isnan(value):
        return "_NAN"
    return repr(value) if math.isfinite(value) else "_INF" if value > 0 else "-_INF"


def literal(values: Any) -> str:
    """A (nested) tuple of numbers."""
    if isinstance(values, (list, tuple, np.ndarray)):
        return f"({', '.join(literal(v) for v in values)}{',' if len(values) == 1 else ''})"
    return str(int(values)) if isinstance(values, (int, np.integer, np.bool_)) else number(values)


def _round32(step: ir.Round32, name: str) -> Code:
    return Code(_each("_single(v)"))


def _is_missing(step: ir.IsMissing, name: str) -> Code:
    return Code(_each(f"1.0 if {_is(step.missing)} else 0.0"))


def _above(step: ir.Above, name: str) -> Code:
    return Code(_each(f"1.0 if v {'>=' if step.or_equal else '>'} {number(step.threshold)} else 0.0"))


def _concat(step: ir.Concat, name: str) -> Code:
    return Code([f"return {' + '.join(f'list(x{i})' for i in range(len(step.parts)))}"])


def _constant(step: ir.Constant, name: str) -> Code:
    return Code([f"return list({name}_values)"], {"values": literal(np.asarray(step.values, np.float64))})


def _select(step: ir.Select, name: str) -> Code:
    return Code([f"return [x[i] for i in {literal(step.columns)}]"])


def _each(value: str, single: bool = False) -> list[str]:
    return [f"return [{f'_single({value})' if single else value} for v in x]"]


def _affine(step: ir.Affine, name: str) -> Code:
    value, constants, loops = "_single(v)" if step.single else "v", {}, []
    for operation, word in (("-", "subtract"), ("/", "divide"), ("*", "multiply"), ("+", "add")):
        given = getattr(step, word)
        if given is None:
            continue
        flat = np.atleast_1d(np.asarray(given, np.float64))
        if step.single:
            with np.errstate(over="ignore"):
                flat = flat.astype(np.float32).astype(np.float64)
        if len(flat) == 1:
            operand = number(flat[0])
            operand = f"({operand})" if operand.startswith("-") else operand
        else:
            constants[word], operand = literal(flat), word[0]
            loops.append((operand, f"{name}_{word}"))
        value = f"_divide({value}, {operand})" if operation == "/" else f"({value} {operation} {operand})"
        value = f"_single({value})" if step.single else value
    names = ", ".join(["v", *(n for n, _ in loops)])
    lists = f"zip({', '.join(['x', *(t for _, t in loops)])})" if loops else "x"
    return Code([f"return [{value} for {names} in {lists}]"], constants)


def _clip(step: ir.Clip, name: str) -> Code:
    low, high = (np.broadcast_to(np.asarray(v, np.float64), (step.width,)) for v in (step.low, step.high))
    body = [
        f"x = [low if v < low else v for v, low in zip(x, {name}_low)]",
        f"return [high if v > high else v for v, high in zip(x, {name}_high)]",
    ]
    return Code(body, {"low": literal(low), "high": literal(high)})


def _is(missing: float) -> str:
    return "v != v" if math.isnan(missing) else f"v == {number(missing)}"


def _impute(step: ir.Impute, name: str) -> Code:
    fill = np.broadcast_to(np.asarray(step.fill, np.float64), (step.width,))
    return Code([f"return [f if {_is(step.missing)} else v for v, f in zip(x, {name}_fill)]"], {"fill": literal(fill)})


def _zero_to_missing(step: ir.ZeroToMissing, name: str) -> Code:
    bound = number(step.bound)
    here = f"for i in {literal(sorted(set(step.columns)))}:"
    return Code(["x = list(x)", here, f"    if abs(x[i]) <= {bound}:", "        x[i] = _NAN", "return x"])


def _known_only(step: ir.KnownOnly, name: str) -> Code:
    values = literal(np.asarray(step.values, np.float64))
    column = step.column
    return Code(
        ["x = list(x)", f"if not any(x[{column}] == v for v in {name}_values):", f"    x[{column}] = _NAN", "return x"],
        {"values": values},
    )


_FUNCTIONS = {
    "negate": "-v", "square": "v * v", "sqrt": "_sqrt(v)", "abs": "abs(v)", "exp": "_exp(v)", "exp2": "_exp2(v)",
    "expm1": "_expm1(v)", "log": "_log(v)", "log1p": "_log1p(v)", "tanh": "math.tanh(v)",
    "logistic": "1.0 / (1.0 + _exp(-v))", "relu": "0.0 if v < 0 else v", "sign": "1.0 if v >= 0 else -1.0",
}  # fmt: skip


def _apply(step: ir.Apply, name: str) -> Code:
    value = _FUNCTIONS[step.function]
    if not step.single:
        return Code(_each(value))
    if step.function == "logistic":
        value = "1.0 / _single(1.0 + _single(_exp(-v)))"
    return Code(["x = [_single(v) for v in x]", *_each(value, single=True)])


def _power(step: ir.Power, name: str) -> Code:
    return Code(
        ["out = list(x)", f"for _ in range({step.exponent - 1}):", "    out = [p * v for p, v in zip(out, x)]",
         "return out"]
    )  # fmt: skip


def _arithmetic(step: ir.Arithmetic, name: str) -> Code:
    wide = max(step.left.width, step.right.width)
    body = [f"{n} = {n} * {wide}" for n, r in (("x0", step.left), ("x1", step.right)) if r.width != wide]
    a, b = ("_single(a)", "_single(b)") if step.single else ("a", "b")
    value = f"_divide({a}, {b})" if step.operation == "/" else f"{a} {step.operation} {b}"
    return Code([*body, f"return [{f'_single({value})' if step.single else value} for a, b in zip(x0, x1)]"])


def _encode(step: ir.Encode, name: str) -> Code:
    body = [f"v = x[{step.column}]", f"out = [1.0 if v == k or (v != v and k != k) else 0.0 for k in {name}_values]"]
    if step.other:
        body.append("out.append(0.0 if 1.0 in out else 1.0)")
    return Code([*body, "return out"], {"values": literal(np.asarray(step.values, np.float64))})


def _replace(step: ir.Replace, name: str) -> Code:
    return Code(
        [f"v = x[{step.column}]", f"for k, result in zip({name}_values, {name}_results):",
         "    if v == k or (v != v and k != k):", "        return [result]", f"return [{number(step.other)}]"],
        {"values": literal(np.asarray(step.values, np.float64)),
         "results": literal(np.asarray(step.results, np.float64))},
    )  # fmt: skip


def _dense(step: ir.Dense, name: str) -> Code:
    body = [
        f"out = [0.0] * {step.width}", f"for v, w in zip(x, {name}_weights):",
        "    for i, each in enumerate(w):", "        out[i] += v * each",
    ]  # fmt: skip
    return with_bias(step, name, body, {"weights": literal(np.asarray(step.weights, np.float64))})


def with_bias(step: ir.Dense, name: str, body: list[str], constants: dict[str, str]) -> Code:
    """The end of a product's function: its bias, if there is one."""
    if step.bias is None:
        return Code([*body, "return out"], constants)
    bias = literal(np.broadcast_to(np.asarray(step.bias, np.float64), (step.width,)))
    return Code([*body, f"return [v + b for v, b in zip(out, {name}_bias)]"], {**constants, "bias": bias})


def _products(step: ir.Products, name: str) -> Code:
    body = ["out = []", f"for factors in {name}_factors:", "    p = 1.0", "    for i in factors:", "        p *= x[i]",
            "    out.append(p)", "return out"]  # fmt: skip
    return Code(body, {"factors": literal(step.factors)})


def _distances(step: ir.Distances, name: str) -> Code:
    constants = {"points": literal(np.asarray(step.points, np.float64))}
    names, lists, gap = "v, p", "x, point", "v - p"
    head = f"for point in {name}_points:"
    if step.scale is not None:
        constants["scale"] = literal(np.asarray(step.scale, np.float64))
        names, lists, gap = "v, p, s", "x, point, scale", "(v - p) * s"
        head = f"for point, scale in zip({name}_points, {name}_scale):"
    add = {"squared": "t += g * g", "manhattan": "t += abs(g)"}.get(
        step.metric, "t = abs(g) if abs(g) > t or g != g else t"
    )
    inner = [f"    for {names} in zip({lists}):", f"        g = {gap}", f"        {add}", "    out.append(t)"]
    body = ["out = []", head, "    t = 0.0", *inner, "return out"]
    return Code(body, constants)


def _softmax(step: ir.Softmax, name: str) -> Code:
    if step.single:
        return Code([
            "x = [_single(v) for v in x]", "top = _top(x)", "x = [_single(_exp(_single(v - top))) for v in x]",
            "total = 0.0", "for v in x:", "    total = _single(total + v)",
            "return [_single(_divide(v, total)) for v in x]",
        ])  # fmt: skip
    return Code(["top = _top(x)", "x = [_exp(v - top) for v in x]", "total = sum(x)",
                 "return [_divide(v, total) for v in x]"])  # fmt: skip


def _normalize(step: ir.Normalize, name: str) -> Code:
    total = {"sum": "sum(x)", "l1": "sum([abs(v) for v in x])", "l2": "_sqrt(sum([v * v for v in x]))"}[step.norm]
    return Code([f"total = {total}", "return [v / (total if total else 1.0) for v in x]"])


def _reduce(step: ir.Reduce, name: str) -> Code:
    better = ">" if step.operation in {"max", "logsumexp"} else "<"
    body = ["out = []", f"for start in range(0, {step.source.width}, {step.group}):",
            f"    g = x[start : start + {step.group}]", "    t = g[0]", "    for v in g[1:]:"]  # fmt: skip
    if step.operation in {"sum", "mean"}:
        body.append("        t += v")
    else:
        body.append(f"        t = v if v {better} t or v != v else t")
    result = "t"
    if step.operation == "mean":
        result = f"t / {step.group}"
    if step.operation == "logsumexp":
        result = "t + _log(sum([_exp(v - t) for v in g]))"
    return Code([*body, f"    out.append({result})", "return out"])


def _argmax(step: ir.Argmax, name: str) -> Code:
    better = f"x[at] == x[at] and (v {'<' if step.smallest else '>'} x[at] or v != v)"
    return Code(["at = 0", "for i, v in enumerate(x):", f"    if {better}:", "        at = i", "return [float(at)]"])


def _weighted_median(step: ir.WeightedMedian, name: str) -> Code:
    body = ["order = _order(x)", "total = 0.0", "for i in order:", f"    total += {name}_weights[i]", "t = 0.0",
            "for i in order:", f"    t += {name}_weights[i]", "    if t >= 0.5 * total:", "        break",
            "return [x[i]]"]  # fmt: skip
    return Code(body, {"weights": literal(np.asarray(step.weights, np.float64))})


def _pair_votes(step: ir.PairVotes, name: str) -> Code:
    body = [f"out = [0.0] * {step.classes}", "k = 0", f"for i in range({step.classes}):",
            f"    for j in range(i + 1, {step.classes}):", "        out[i if x[k] > 0 else j] += 1.0", "        k += 1",
            "return out"]  # fmt: skip
    return Code(body)


def _pair_coupling(step: ir.PairCoupling, name: str) -> Code:
    body = f"""\
k = {step.classes}
q = [[0.0] * k for _ in range(k)]
at = 0
for i in range(k):
    for j in range(i + 1, k):
        q[j][j] += x[at] * x[at]
        q[i][i] += (1.0 - x[at]) * (1.0 - x[at])
        q[i][j] = q[j][i] = -x[at] * (1.0 - x[at])
        at += 1
p = [1.0 / k] * k
for _ in range({max(100, step.classes)}):
    g = [0.0] * k
    for i in range(k):
        for j in range(k):
            g[i] += q[i][j] * p[j]
    s = 0.0
    for i in range(k):
        s += p[i] * g[i]
    if all([abs(v - s) < 0.005 / k for v in g]):
        break
    for i in range(k):
        d = _divide(-g[i] + s, q[i][i])
        p[i] += d
        s = _divide(_divide(s + d * (d * q[i][i] + 2.0 * g[i]), 1.0 + d), 1.0 + d)
        g = [_divide(v + d * w, 1.0 + d) for v, w in zip(g, q[i])]
        p = [_divide(v, 1.0 + d) for v in p]
return p"""
    return Code(body.splitlines())


def _interpolate(step: ir.Interpolate, name: str) -> Code:
    last = len(step.xs) - 1
    body = f"""\
out = []
for v in x:
    low, high = 0, {last}
    if v >= {name}_xs[high]:
        v = {name}_ys[high]
    elif v < {name}_xs[0]:
        v = {name}_ys[0]
    elif v == v:
        while high - low > 1:
            middle = (low + high) // 2
            if {name}_xs[middle] <= v:
                low = middle
            else:
                high = middle
        slope = ({name}_ys[high] - {name}_ys[low]) / ({name}_xs[high] - {name}_xs[low])
        v = {name}_ys[low] + slope * (v - {name}_xs[low])
    out.append(v)
return out"""
    constants = {k: literal(np.asarray(v, np.float64)) for k, v in (("xs", step.xs), ("ys", step.ys))}
    return Code(body.splitlines(), constants)


def _nearest(step: ir.Nearest, name: str) -> Code:
    width = step.targets.shape[1]
    body = [f"near = _order(x)[:{step.count}]"]
    if step.inverse:
        body += [
            f"gaps = [{'_sqrt(x[i])' if step.root else 'x[i]'} for i in near]", "touching = 0.0 in gaps",
            "weights = [(1.0 if g == 0 else 0.0) if touching else 1.0 / g for g in gaps]",
        ]  # fmt: skip
    else:
        body.append("weights = [1.0] * len(near)")
    body += ["total = sum(weights)", f"out = [0.0] * {width}", "for i, w in zip(near, weights):",
             f"    for k in range({width}):", f"        out[k] += {name}_targets[i][k] * w",
             "return [v / total for v in out]"]  # fmt: skip
    return Code(body, {"targets": literal(np.asarray(step.targets, np.float64))})


def _trees(step: ir.Trees, name: str) -> Code:
    kind = np.float32 if step.single else np.float64
    parts: dict[str, Any] = {
        "roots": step.roots, "outputs": step.output, "leaves": step.leaves.astype(kind), "base": step.base.astype(kind),
        "feature": step.feature, "threshold": step.threshold, "left": step.left, "right": step.right,
        "missing": step.missing_left.astype(int),
    }  # fmt: skip
    constants = {k: literal(v.astype(np.float64) if v.dtype.kind == "f" else v) for k, v in parts.items()}
    add = "_single({})" if step.single else "{}"
    test = f"v <= {name}_threshold[at]"
    if len(step.sets):
        constants["sets"] = f"({''.join('{' + ', '.join(str(m) for m in s) + '}, ' for s in step.sets)})"
        constants["which"] = literal(step.category_set)
        test = f"({test}) if {name}_which[at] < 0 else -1 < v < 1e15 and int(v) in {name}_sets[{name}_which[at]]"
    sums = f"out = [{add.format('a + b')} for a, b in zip(out, {name}_base)]"
    body = [
        *(["x = [_single(v) for v in x]"] if step.single_key else []),
        f"out = [0.0] * {step.width}",
        *([] if step.base_last else [sums]),
        f"for at, to in zip({name}_roots, {name}_outputs):",
        "    while at >= 0:",
        f"        v = x[{name}_feature[at]]",
        f"        left = {name}_missing[at] if v != v else {test}",
        f"        at = {name}_left[at] if left else {name}_right[at]",
        f"    for i, leaf in enumerate({name}_leaves[-1 - at]):",
        "        i = i if to < 0 else to",
        f"        out[i] = {add.format('out[i] + leaf')}",
        *([sums] if step.base_last else []),
    ]
    result = add.format(f"v / {number(kind(step.divisor))}")
    return Code([*body, f"return [{result} for v in out]" if step.divisor != 1 else "return out"], constants)


_WRITERS: Mapping[type[ir.Step], Callable[..., Code]] = {
    ir.Select: _select, ir.Affine: _affine, ir.Clip: _clip, ir.Impute: _impute, ir.ZeroToMissing: _zero_to_missing,
    ir.KnownOnly: _known_only, ir.Apply: _apply, ir.Power: _power, ir.Arithmetic: _arithmetic, ir.Encode: _encode,
    ir.Replace: _replace, ir.Dense: _dense, ir.Products: _products, ir.Distances: _distances, ir.Softmax: _softmax,
    ir.Normalize: _normalize, ir.Reduce: _reduce, ir.Argmax: _argmax, ir.WeightedMedian: _weighted_median,
    ir.PairVotes: _pair_votes, ir.PairCoupling: _pair_coupling, ir.Interpolate: _interpolate,
    ir.Nearest: _nearest, ir.Trees: _trees,
    ir.Round32: _round32, ir.IsMissing: _is_missing, ir.Above: _above, ir.Concat: _concat, ir.Constant: _constant,
}  # fmt: skip


def writes(step: ir.Step) -> bool:
    """Whether there is Python for a step here."""
    return type(step) in _WRITERS


def write(step: ir.Step, name: str) -> Code:
    """Python of a step whose constants' names begin with `name`."""
    return _WRITERS[type(step)](step, name)


def parameters(step: ir.Step) -> Sequence[str]:
    """Names of what a step's function takes."""
    if isinstance(step, (ir.Concat, ir.Arithmetic)):
        return [f"x{i}" for i in range(len(step.sources))]
    return ["x"] * len(step.sources)
