"""C of every step that is neither trees nor text: a small function over a vector, and its tables.

Products and sums are written in the order of the step's docstring; what reads a ``float`` register in a float64 step
casts first, so that no operation is done in less precision than the source does it in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.c.literals import (
    fits_single,
    number,
    table,
    table_type,
    whole_table,
)


@dataclass(frozen=True)
class Code:
    """C of one step.

    Attributes:
        body: Statements; ``x`` (and ``y``) are what it reads, ``out`` is what it writes.
        tables: Constant tables and helpers before the function.
    """

    body: str
    tables: str = ""


Types = tuple[str, ...]


def result_type(step: ir.Step, types: Types) -> str:
    """``float`` where every result is a float32 number, so that it takes half the stack; else ``double``."""
    all_single = all(t == "float" for t in types)
    if isinstance(step, (ir.Round32, ir.Encode, ir.IsMissing, ir.Above, ir.PairVotes)):
        return "float"
    if isinstance(step, (ir.Affine, ir.Apply, ir.Arithmetic, ir.Softmax)):
        return "float" if step.single else "double"
    if isinstance(step, ir.Argmax):
        return "float" if step.source.width < 1 << 24 else "double"
    if isinstance(step, ir.Constant):
        return table_type(step.values)
    if isinstance(step, ir.Replace):
        return table_type([*np.asarray(step.results, np.float64), step.other])
    if isinstance(step, (ir.Select, ir.Concat, ir.ZeroToMissing, ir.KnownOnly)):
        return "float" if all_single else "double"
    if isinstance(step, ir.Impute):
        return "float" if all_single and fits_single(step.fill) else "double"
    if isinstance(step, ir.Clip):
        return "float" if all_single and fits_single(step.low) and fits_single(step.high) else "double"
    return "double"


def works_in_place(step: ir.Step) -> bool:
    """Whether the result may be written over what is read."""
    if isinstance(step, ir.Arithmetic):
        return step.left.width == step.right.width
    return isinstance(step, (ir.Round32, ir.Affine, ir.Clip, ir.Impute, ir.IsMissing, ir.ZeroToMissing, ir.KnownOnly,
                             ir.Apply, ir.Power, ir.Softmax, ir.Normalize, ir.Above, ir.Interpolate))  # fmt: skip


def scratch_bytes(step: ir.Step) -> int:
    """Bytes of stack that the step's own function takes."""
    if isinstance(step, ir.PairCoupling):
        return 8 * (step.classes * step.classes + step.classes)
    return 16 * step.count if isinstance(step, ir.Nearest) else 0


def _loop(width: int, statement: str) -> str:
    return f"int i;\nfor (i = 0; i < {width}; i++) {statement}" if width > 1 else statement.replace("[i]", "[0]")


def _entry(name: str, values: np.ndarray, ctype: str = "") -> tuple[str, str]:
    """(expression at place i, table): a literal where all values are the same."""
    flat = np.atleast_1d(np.asarray(values, np.float64))
    if ctype == "float":
        with np.errstate(over="ignore"):
            flat = flat.astype(np.float32).astype(np.float64)
    if len(flat) == 1 or (np.all(flat == flat[0]) and len(set(np.signbit(flat))) == 1):
        literal = number(flat[0], ctype or "double")
        return (f"({literal})" if literal.startswith("-") else literal), ""
    return f"{name}[i]", table(name, flat, ctype)


def _round32(step: ir.Round32, name: str, types: Types) -> Code:
    return Code(_loop(step.width, "out[i] = (float)x[i];"))


def _select(step: ir.Select, name: str, types: Types) -> Code:
    if step.width == 1:
        return Code(f"out[0] = x[{step.columns[0]}];")
    return Code(_loop(step.width, f"out[i] = x[{name}_columns[i]];"), whole_table(f"{name}_columns", step.columns))


def _affine(step: ir.Affine, name: str, types: Types) -> Code:
    kind = "float" if step.single else "double"
    value, tables = _as("x[i]", types[0], kind), ""
    for operation, word in (("-", "subtract"), ("/", "divide"), ("*", "multiply"), ("+", "add")):
        given = getattr(step, word)
        if given is None:
            continue
        entry, more = _entry(f"{name}_{word}", given, "float" if step.single else "")
        value, tables = f"({value} {operation} {entry})", tables + more
    value = value[1:-1] if value.endswith(")") and value.startswith("(") and not value.startswith("(float)") else value
    return Code(_loop(step.width, f"out[i] = {value};"), tables)


def _as(value: str, ctype: str, kind: str) -> str:
    """A number of one type as another."""
    return value if ctype == kind else f"({kind}){value}"


def _clip(step: ir.Clip, name: str, types: Types) -> Code:
    low, first = _entry(f"{name}_low", step.low)
    high, second = _entry(f"{name}_high", step.high)
    statement = (
        f"{{\n    double v = x[i];\n    if (v < {low}) v = {low};\n    if (v > {high}) v = {high};\n"
        f"    out[i] = {_stored('v', result_type(step, types))};\n}}"
    )
    return Code(_loop(step.width, statement), first + second)


def _stored(value: str, ctype: str) -> str:
    return f"(float){value}" if ctype == "float" else value


def _is(value: str, missing: float) -> str:
    """Whether an expression is the value that stands for a missing one."""
    return f"{value} != {value}" if math.isnan(missing) else f"{value} == {number(missing)}"


def _impute(step: ir.Impute, name: str, types: Types) -> Code:
    fill = np.broadcast_to(np.asarray(step.fill, np.float64), (step.width,))
    entry, tables = _entry(f"{name}_fill", fill)
    entry = _stored(entry, result_type(step, types))
    return Code(_loop(step.width, f"out[i] = {_is('x[i]', step.missing)} ? {entry} : x[i];"), tables)


def _is_missing(step: ir.IsMissing, name: str, types: Types) -> Code:
    return Code(_loop(step.width, f"out[i] = {_is('x[i]', step.missing)};"))


def _zero_to_missing(step: ir.ZeroToMissing, name: str, types: Types) -> Code:
    bound = number(step.bound)
    test = f"x[i] >= -{bound} && x[i] <= {bound} ? NAN : x[i]"
    if len(set(step.columns)) == step.width:
        return Code(_loop(step.width, f"out[i] = {test};"))
    marks = [int(c in set(step.columns)) for c in range(step.width)]
    return Code(_loop(step.width, f"out[i] = {name}_here[i] && {test};"), whole_table(f"{name}_here", marks))


def _known_only(step: ir.KnownOnly, name: str, types: Types) -> Code:
    values = np.asarray(step.values, np.float64)
    body = f"int i;\ndouble v = x[{step.column}];\nfor (i = 0; i < {step.width}; i++) out[i] = x[i];\n"
    if not len(values):
        return Code(f"{body}(void)v;\nout[{step.column}] = NAN;")
    search = f"for (i = 0; i < {len(values)} && v != {name}_values[i]; i++) {{ }}\n"
    return Code(f"{body}{search}if (i == {len(values)}) out[{step.column}] = NAN;", table(f"{name}_values", values))


def _apply(step: ir.Apply, name: str, types: Types) -> Code:
    kind, f, one, zero = ("float", "f", "1.0f", "0.0f") if step.single else ("double", "", "1.0", "0.0")
    written = {
        "negate": "-v", "square": "v * v", "abs": f"fabs{f}(v)",
        "logistic": f"{one} / ({one} + exp{f}(-v))", "relu": f"v < {zero} ? {zero} : v",
        "sign": f"v >= {zero} ? {one} : -{one}",
    }  # fmt: skip
    value = written.get(step.function, f"{step.function}{f}(v)")
    return Code(_loop(step.width, f"{{\n    {kind} v = {_as('x[i]', types[0], kind)};\n    out[i] = {value};\n}}"))


def _power(step: ir.Power, name: str, types: Types) -> Code:
    if step.exponent <= 4:
        return Code(_loop(step.width, f"out[i] = {' * '.join([_as('x[i]', types[0], 'double')] * step.exponent)};"))
    return Code(_loop(
        step.width,
        f"{{\n    double v = x[i], p = v;\n    int k;\n    for (k = 1; k < {step.exponent}; k++) p *= v;\n"
        "    out[i] = p;\n}",
    ))  # fmt: skip


def _arithmetic(step: ir.Arithmetic, name: str, types: Types) -> Code:
    kind = "float" if step.single else "double"
    left = "x[i]" if step.left.width == step.width else "x[0]"
    right = "y[i]" if step.right.width == step.width else "y[0]"
    left, right = _as(left, types[0], kind), _as(right, types[1], kind)
    return Code(_loop(step.width, f"out[i] = {left} {step.operation} {right};"))


def _place(name: str, values: np.ndarray, column: int) -> tuple[str, str]:
    """(statements that set ``i`` to the place of a column's value among values, or to their number; table)."""
    values = np.asarray(values, np.float64)
    missing = np.flatnonzero(np.isnan(values))
    count = len(values)
    body = f"int i;\ndouble v = x[{column}];\n"
    if not count:
        return "int i = 0;\n(void)x;\n", ""
    if not missing.size and np.array_equal(values, np.arange(count)):
        return f"{body}i = v >= 0.0 && v < {count}.0 ? (int)v : {count};\nif (v != i) i = {count};\n", ""
    search = f"for (i = 0; i < {count} && v != {name}_values[i]; i++) {{ }}\n"
    if missing.size:
        search += f"if (v != v) i = {int(missing[0])};\n"
    return body + search, table(f"{name}_values", values)


def _encode(step: ir.Encode, name: str, types: Types) -> Code:
    body, tables = _place(name, step.values, step.column)
    count = len(step.values)
    return Code(
        f"{body}memset(out, 0, {step.width} * sizeof *out);\n"
        + ("out[i] = 1.0f;" if step.other else f"if (i < {count}) out[i] = 1.0f;"),
        tables,
    )


def _replace(step: ir.Replace, name: str, types: Types) -> Code:
    body, tables = _place(name, step.values, step.column)
    kind, count = result_type(step, types), len(step.values)
    if not count:
        return Code(f"(void)x;\nout[0] = {number(step.other, kind)};")
    other = number(step.other, kind)
    return Code(
        f"{body}out[0] = i < {count} ? {name}_results[i] : {other};",
        tables + table(f"{name}_results", step.results, kind),
    )


def _dense(step: ir.Dense, name: str, types: Types) -> Code:
    weights = np.asarray(step.weights, np.float64)
    rows, width = weights.shape
    tables = table(f"{name}_weights", weights)
    bias, more = _entry(f"{name}_bias", step.bias) if step.bias is not None else ("", "")
    if width == 1:
        x = _as("x[i]", types[0], "double")
        body = (
            f"int i;\ndouble t = 0.0;\nfor (i = 0; i < {rows}; i++) t += {x} * {name}_weights[i];\n"
            f"out[0] = t{f' + {bias}' if bias else ''};"
        )
        return Code(body, tables + more)
    body = (
        f"const {table_type(weights)} *w = {name}_weights;\nint i, j;\n"
        f"for (i = 0; i < {width}; i++) out[i] = 0.0;\n"
        f"for (j = 0; j < {rows}; j++) {{\n    double v = x[j];\n"
        f"    for (i = 0; i < {width}; i++) out[i] += v * *w++;\n}}\n"
    )
    if bias:
        body += f"for (i = 0; i < {width}; i++) out[i] += {bias};\n"
    return Code(body, tables + more)


def _products(step: ir.Products, name: str, types: Types) -> Code:
    ends = np.cumsum([len(f) for f in step.factors])
    columns = [c for f in step.factors for c in f]
    body = (
        f"int i, k = 0;\nfor (i = 0; i < {step.width}; i++) {{\n    double p = 1.0;\n"
        f"    for (; k < (int){name}_ends[i]; k++) p *= x[{name}_columns[k]];\n    out[i] = p;\n}}"
    )
    return Code(body, whole_table(f"{name}_ends", list(ends)) + whole_table(f"{name}_columns", columns or [0]))


def distance_function(step: ir.Distances, name: str, ctype: str) -> str:
    """Tables and ``static double NAME_distance(const T *x, int point)``."""
    points = np.asarray(step.points, np.float64)
    width = points.shape[1]
    tables = table(f"{name}_points", points)
    gap = f"{_as('x[i]', ctype, 'double')} - {name}_points[at + i]"
    if step.scale is not None:
        tables += table(f"{name}_scale", step.scale)
        gap = f"({gap}) * {name}_scale[at + i]"
    if step.metric == "squared":
        add = "t += v * v;"
    else:
        gap = f"fabs({gap})"
        add = "t += v;" if step.metric == "manhattan" else "if (v > t || v != v) t = v;"
    return (
        f"{tables}static double {name}_distance(const {ctype} *x, int point)\n{{\n    int at = point * {width}, i;\n"
        f"    double t = 0.0;\n    for (i = 0; i < {width}; i++) {{\n        double v = {gap};\n        {add}\n"
        "    }\n    return t;\n}\n"
    )


def _distances(step: ir.Distances, name: str, types: Types) -> Code:
    return Code(
        f"int i;\nfor (i = 0; i < {step.width}; i++) out[i] = {name}_distance(x, i);",
        distance_function(step, name, types[0]),
    )


def _softmax(step: ir.Softmax, name: str, types: Types) -> Code:
    kind, f = ("float", "f") if step.single else ("double", "")
    zero, each = number(0, kind), _as("x[i]", types[0], kind)
    return Code(
        f"int i;\n{kind} top = {_as('x[0]', types[0], kind)}, total = {zero};\n"
        f"for (i = 1; i < {step.width}; i++) if (x[i] > top || x[i] != x[i]) top = {each};\n"
        f"for (i = 0; i < {step.width}; i++) {{\n    out[i] = exp{f}({each} - top);\n    total += out[i];\n}}\n"
        f"for (i = 0; i < {step.width}; i++) out[i] /= total;"
    )


def _normalize(step: ir.Normalize, name: str, types: Types) -> Code:
    add = {"sum": "v", "l1": "fabs(v)", "l2": "v * v"}[step.norm]
    root = "t = sqrt(t);\n" if step.norm == "l2" else ""
    return Code(
        f"int i;\ndouble t = 0.0;\nfor (i = 0; i < {step.width}; i++) {{\n    double v = x[i];\n    t += {add};\n}}\n"
        f"{root}if (t == 0.0) t = 1.0;\nfor (i = 0; i < {step.width}; i++) out[i] = x[i] / t;"
    )


def _reduce(step: ir.Reduce, name: str, types: Types) -> Code:
    group, head = step.group, "double t = x[0];\n    int j;\n"
    walk = f"for (j = 1; j < {group}; j++) "
    best = {"max": "if (x[j] > t || x[j] != x[j]) t = x[j];", "min": "if (x[j] < t || x[j] != x[j]) t = x[j];"}
    if step.operation in best:
        inner, result = walk + best[step.operation], "t"
    elif step.operation == "logsumexp":
        head += "    double s = 0.0;\n"
        inner = f"{walk}{best['max']}\n    for (j = 0; j < {group}; j++) s += exp(x[j] - t);"
        result = "t + log(s)"
    else:
        inner, result = f"{walk}t += x[j];", f"t / {group}.0" if step.operation == "mean" else "t"
    return Code(
        f"int i;\nfor (i = 0; i < {step.width}; i++, x += {group}) {{\n    {head}    {inner}\n"
        f"    out[i] = {result};\n}}"
    )


def _argmax(step: ir.Argmax, name: str, types: Types) -> Code:
    sign = "<" if step.smallest else ">"
    return Code(
        f"int i, at = 0;\nfor (i = 1; i < {step.source.width}; i++)\n"
        f"    if (x[at] == x[at] && (x[i] {sign} x[at] || x[i] != x[i])) at = i;\n"
        f"out[0] = ({result_type(step, types)})at;"
    )


def _above(step: ir.Above, name: str, types: Types) -> Code:
    sign = ">=" if step.or_equal else ">"
    return Code(_loop(step.width, f"out[i] = x[i] {sign} {number(step.threshold)};"))


def _weighted_median(step: ir.WeightedMedian, name: str, types: Types) -> Code:
    width = step.source.width
    entry, tables = f"{name}_weights[at]", table(f"{name}_weights", step.weights)
    tables += (
        "/* The place that follows another one in sorted order; earlier places first, NaN last. */\n"
        f"static int {name}_next(const {types[0]} *x, int from)\n{{\n    int i, best = -1;\n"
        f"    for (i = 0; i < {width}; i++) {{\n"
        "        int after = from < 0 || (x[from] == x[from] && (x[i] > x[from] || x[i] != x[i]))\n"
        "            || ((x[i] == x[from] || (x[i] != x[i] && x[from] != x[from])) && i > from);\n"
        "        if (after && (best < 0 || x[i] < x[best] || (x[best] != x[best] && x[i] == x[i]))) best = i;\n"
        "    }\n    return best;\n}\n"
    )
    return Code(
        f"int k, at = -1;\ndouble total = 0.0, t = 0.0;\n"
        f"for (k = 0; k < {width}; k++) {{\n    at = {name}_next(x, at);\n    total += {entry};\n}}\n"
        f"at = -1;\nfor (k = 0; k < {width}; k++) {{\n    at = {name}_next(x, at);\n    t += {entry};\n"
        "    if (t >= 0.5 * total) break;\n}\nout[0] = x[at];",
        tables,
    )


def _pair_votes(step: ir.PairVotes, name: str, types: Types) -> Code:
    return Code(
        f"int i, j;\nfor (i = 0; i < {step.classes}; i++) out[i] = 0.0f;\n"
        f"for (i = 0; i < {step.classes}; i++)\n    for (j = i + 1; j < {step.classes}; j++)\n"
        "        out[*x++ > 0 ? i : j] += 1.0f;"
    )


def _pair_coupling(step: ir.PairCoupling, name: str, types: Types) -> Code:
    k = step.classes
    return Code(
        f"double q[{k}][{k}], g[{k}], s, d;\nint i, j, round, done = 0;\n"
        f"for (i = 0; i < {k}; i++) q[i][i] = 0.0;\n"
        f"for (i = 0; i < {k}; i++)\n    for (j = i + 1; j < {k}; j++) {{\n"
        "        double wins = *x++, loses = 1.0 - wins;\n"
        "        q[j][j] += wins * wins;\n        q[i][i] += loses * loses;\n"
        "        q[i][j] = q[j][i] = -wins * loses;\n    }\n"
        f"for (i = 0; i < {k}; i++) out[i] = 1.0 / {k};\n"
        f"for (round = 0; round < {max(100, k)} && !done; round++) {{\n    s = 0.0;\n    done = 1;\n"
        f"    for (i = 0; i < {k}; i++) {{\n        g[i] = 0.0;\n"
        f"        for (j = 0; j < {k}; j++) g[i] += q[i][j] * out[j];\n        s += out[i] * g[i];\n    }}\n"
        f"    for (i = 0; i < {k}; i++) if (!(fabs(g[i] - s) < 0.005 / {k})) done = 0;\n"
        f"    for (i = 0; i < {k} && !done; i++) {{\n        d = (-g[i] + s) / q[i][i];\n        out[i] += d;\n"
        "        s = (s + d * (d * q[i][i] + 2.0 * g[i])) / (1.0 + d) / (1.0 + d);\n"
        f"        for (j = 0; j < {k}; j++) {{\n            g[j] = (g[j] + d * q[i][j]) / (1.0 + d);\n"
        "            out[j] /= 1.0 + d;\n        }\n    }\n}"
    )


def _interpolate(step: ir.Interpolate, name: str, types: Types) -> Code:
    last = len(step.xs) - 1
    xs, ys = f"{name}_xs", f"{name}_ys"
    tables = table(xs, step.xs, "double") + table(ys, step.ys, "double")
    statement = (
        f"{{\n    double v = x[i];\n    int low = 0, high = {last}, middle;\n"
        f"    if (v >= {xs}[{last}]) v = {ys}[{last}];\n    else if (v < {xs}[0]) v = {ys}[0];\n"
        "    else if (v == v) {\n        while (high - low > 1) {\n            middle = (low + high) / 2;\n"
        f"            if ({xs}[middle] <= v) low = middle;\n            else high = middle;\n        }}\n"
        f"        v = {ys}[low] + ({ys}[high] - {ys}[low]) / ({xs}[high] - {xs}[low]) * (v - {xs}[low]);\n    }}\n"
        "    out[i] = v;\n}"
    )
    return Code(_loop(step.width, statement), tables)


def nearest(step: ir.Nearest, name: str, types: Types, distance: str = "x[i]") -> Code:
    """The `count` nearest points kept sorted while distances come by, computed by `distance` of point ``i``."""
    points, width = step.targets.shape
    count = min(step.count, points)
    tables = table(f"{name}_targets", step.targets)
    body = (
        f"double near[{count}], total = 0.0;\nint who[{count}], i, k, have = 0;\n"
        f"for (i = 0; i < {points}; i++) {{\n    double v = {distance};\n"
        f"    k = have < {count} ? have++ : {count};\n"
        "    /* NaN is farthest; equal ones stay in order */\n"
        f"    if (k == {count} && !(v < near[k - 1] || (near[k - 1] != near[k - 1] && v == v))) continue;\n"
        f"    if (k == {count}) k--;\n"
        "    for (; k > 0 && (v < near[k - 1] || (near[k - 1] != near[k - 1] && v == v)); k--) {\n"
        "        near[k] = near[k - 1];\n        who[k] = who[k - 1];\n    }\n    near[k] = v;\n    who[k] = i;\n}\n"
        f"for (i = 0; i < {width}; i++) out[i] = 0.0;\n"
    )
    target = f"{name}_targets[who[k] * {width} + i]"
    if not step.inverse:
        return Code(
            f"{body}total = {count}.0;\nfor (k = 0; k < {count}; k++)\n"
            f"    for (i = 0; i < {width}; i++) out[i] += {target};\n"
            f"for (i = 0; i < {width}; i++) out[i] /= total;",
            tables,
        )
    root = f"for (k = 0; k < {count}; k++) near[k] = sqrt(near[k]);\n" if step.root else ""
    return Code(
        f"{body}{root}have = 0;\nfor (k = 0; k < {count}; k++) if (near[k] == 0.0) have = 1;\n"
        f"for (k = 0; k < {count}; k++) {{\n"
        "    double w = have ? (near[k] == 0.0 ? 1.0 : 0.0) : 1.0 / near[k];\n    total += w;\n"
        f"    for (i = 0; i < {width}; i++) out[i] += {target} * w;\n}}\n"
        f"for (i = 0; i < {width}; i++) out[i] /= total;",
        tables,
    )


def concat(step: ir.Concat, types: Types) -> Code:
    """Copies from as many sources, called ``x0``, ``x1``, …."""
    lines, at = [], 0
    for place, part in enumerate(step.parts):
        if part.width == 1:
            lines.append(f"out[{at}] = x{place}[0];")
        else:
            to = f"out[{at} + i]" if at else "out[i]"
            lines.append(f"for (i = 0; i < {part.width}; i++) {to} = x{place}[i];")
        at += part.width
    return Code("\n".join([*(["int i;"] if any(p.width != 1 for p in step.parts) else []), *lines]))


_WRITERS: Mapping[type[ir.Step], Callable[..., Code]] = {
    ir.Round32: _round32, ir.Select: _select, ir.Affine: _affine, ir.Clip: _clip, ir.Impute: _impute,
    ir.IsMissing: _is_missing, ir.ZeroToMissing: _zero_to_missing, ir.KnownOnly: _known_only, ir.Apply: _apply,
    ir.Power: _power, ir.Arithmetic: _arithmetic, ir.Encode: _encode, ir.Replace: _replace, ir.Dense: _dense,
    ir.Products: _products, ir.Distances: _distances, ir.Softmax: _softmax, ir.Normalize: _normalize,
    ir.Reduce: _reduce, ir.Argmax: _argmax, ir.Above: _above, ir.WeightedMedian: _weighted_median,
    ir.PairVotes: _pair_votes, ir.PairCoupling: _pair_coupling, ir.Interpolate: _interpolate, ir.Nearest: nearest,
}  # fmt: skip


def writes(step: ir.Step) -> bool:
    """Whether there is C for a step here."""
    return type(step) in _WRITERS or isinstance(step, (ir.Concat, ir.Constant))


def write(step: ir.Step, name: str, types: Types) -> Code:
    """C of a step.

    Args:
        step: The step.
        name: What its names begin with.
        types: ``float`` or ``double`` of each register that it reads.
    """
    if isinstance(step, ir.Concat):
        return concat(step, types)
    return _WRITERS[type(step)](step, name, types)
