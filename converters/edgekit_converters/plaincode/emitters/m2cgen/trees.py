"""Trees as branches; each tree a function, or several where it is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.m2cgen.nodes import (
    CallExpr,
    Expr,
    ItemExpr,
    NameExpr,
    SingleExpr,
    VectorVal,
    add,
    compare,
    divide,
    is_number,
    items,
    number,
    rounded,
)
from edgekit_converters.plaincode.emitters.m2cgen.writer import Expanded, Scope


def trees_code(scope: Scope, step: ir.Trees, x: NameExpr, single_already: bool) -> Expr:
    """The vector of a step's sums."""
    if step.single_key and not single_already:
        x = scope.let(scope.vector([SingleExpr(item) for item in items(x, step.source.width)]))
    kind = np.float32 if step.single else np.float64
    leaves, base = step.leaves.astype(kind).astype(float), step.base.astype(kind).astype(float)
    sets = _Sets(scope, step)
    wide = step.width > 1 and (step.output < 0).all()
    calls = [_tree(scope, step, place, x, leaves, sets) for place in range(len(step.roots))]
    plus, over = rounded(add, step.single), rounded(divide, step.single)

    def finished(total: Expr, output: int) -> Expr:
        total = plus(total, number(base[output])) if step.base_last else total
        return over(total, number(float(kind(step.divisor)))) if step.divisor != 1 else total

    start = np.zeros_like(base) if step.base_last else base
    if not wide:
        sums = []
        for output in range(step.width):
            some = [c for c, o in zip(calls, step.output, strict=True) if o in (output, -1)]
            sums.append(finished(scope.fold(number(start[output]), some, plus), output))
        return scope.vector(sums, cost=40)
    total, leaf = NameExpr("total", True), NameExpr("leaf", True)
    both = [plus(ItemExpr(total, i), ItemExpr(leaf, i)) for i in range(step.width)]
    adding = scope.writer.define(
        f"{scope.name}_add", [total, leaf], lambda inner: inner.vector(both), True, scope.first
    )
    sum_ = scope.let(
        scope.fold(
            scope.let(VectorVal([number(v) for v in start])),
            calls,
            lambda total, leaf: CallExpr(adding, [total, leaf], step.width, vector=True),
        )
    )
    return scope.vector([finished(ItemExpr(sum_, i), i) for i in range(step.width)])


def _tree(scope: Scope, step: ir.Trees, place: int, x: NameExpr, leaves: np.ndarray, sets: _Sets) -> Expr:
    width = leaves.shape[1]

    def expand(node: int) -> Expanded:
        if node < 0:
            leaf = leaves[-1 - node]
            return VectorVal([number(v) for v in leaf]) if width > 1 else number(leaf[0])
        value = ItemExpr(x, step.feature[node])
        left, right, missing_left = int(step.left[node]), int(step.right[node]), bool(step.missing_left[node])
        chosen = int(step.category_set[node])
        if chosen >= 0:
            return compare(sets.member(chosen, missing_left, value), ">", 0.0), left, right
        threshold = float(step.threshold[node])
        if missing_left:  # no comparison holds for NaN
            return compare(value, ">", threshold), right, left
        return compare(value, "<=", threshold), left, right

    label = f"{scope.name}_t{place}"
    return scope.writer.decide(label, [x], int(step.roots[place]), expand, width, scope.first)


class _Sets:
    """Functions that say whether the whole part of a number is in a set of categories: 1 or 0."""

    def __init__(self, scope: Scope, step: ir.Trees) -> None:
        self._scope, self._sets = scope, step.sets
        self._names: dict[tuple[Any, ...], str] = {}

    def member(self, place: int, missing: bool, value: Expr) -> Expr:
        """Whether it is, or is missing where `missing`."""
        key = (self._sets[place], missing)
        v = NameExpr("v", False)
        if key not in self._names:
            bounds = _bounds(self._sets[place])
            root: Any = "missing" if missing else (0, len(bounds))

            def expand(node: Any) -> Expanded:
                if node == "missing":
                    return is_number(v), (0, len(bounds)), "yes"
                if node == "yes":
                    return number(1.0)
                low, high = node  # of the bounds, those before `low` are at most v, those from `high` on above it
                if low == high:
                    return number(float(low % 2))
                middle = (low + high) // 2
                test = compare(v, ">=", bounds[middle])
                if bounds[middle] == -1.0:  # the whole part of -0.5 is 0
                    test = compare(v, ">", -1.0)
                return test, (middle + 1, high), (low, middle)

            call = self._scope.writer.decide(f"{self._scope.name}_s{len(self._names)}", [v], root, expand)
            self._names[key] = call.function
        return CallExpr(self._names[key], [value])


def _bounds(values: Sequence[int]) -> list[float]:
    """Where v enters the set, leaves it, enters it again, …: runs of following whole numbers."""
    bounds: list[float] = []
    for value in values:
        if bounds and bounds[-1] == value:
            bounds[-1] = value + 1.0
        else:
            bounds += [value if value else -1.0, value + 1.0]
    return bounds
