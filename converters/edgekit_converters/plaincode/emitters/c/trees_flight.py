"""Trees as a table that is walked several trees (or rows) at a time, without branches: fastest on processors that
execute ahead.

A step is ``node += distance + (key[slot] > threshold)``: children lie side by side, a leaf's distance is 0 and its
slot holds a number that no threshold is below, so that a walk may go on at a leaf without leaving it. Eight walks in
turn hide the time that each one waits for memory, and there is nothing to mispredict.
"""

from __future__ import annotations

import numpy as np

from edgekit_converters.plaincode.emitters.c import trees_input
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan
from edgekit_converters.plaincode.emitters.c.trees_sums import Sums
from edgekit_converters.plaincode.emitters.c.trees_text import fields, lines, table, unsigned_type

LANES = 8
_ROWS = 32
_STACK = 16384


def flight_code(plan: Plan, settled: Sums, name: str) -> str:
    """C of ``NAME`` (a row) and ``NAME_rows`` (many), and their tables."""
    layout = _Layout(plan, settled)
    return lines(
        trees_input.key_function(plan, name) if trees_input.numeric_slots(plan) else "",
        trees_input.category_function(plan, name),
        trees_input.row_ranks(plan, name, "int32_t") if not plan.step.single_key else trees_input.row_keys(plan, name),
        layout.tables(name),
        table(settled.kind, f"{name}_leaves", layout.leaves.reshape(-1), 6),
        settled.tables(name),
        _step(layout, name),
        _row(plan, settled, layout, name),
    )


def rows_code(plan: Plan, settled: Sums, name: str) -> str:
    """C of ``NAME_rows``; needs what `flight_code` writes."""
    return _many(plan, settled, _Layout(plan, settled), name)


class _Layout:
    """Where nodes lie: each tree has one unused place, its root, then pairs of children, larger part first."""

    def __init__(self, plan: Plan, settled: Sums) -> None:
        trees, size = plan.trees, np.diff(plan.first)
        begin = 2 * (plan.first[:-1] + np.arange(trees))  # tree t has size + 1 pairs of places
        self.slots = len(plan.slots)
        self.slot_bits = fields(np.array([self.slots]))
        pair = begin[np.repeat(np.arange(trees), size)] + 2 + 2 * _visit(plan)
        total = int(2 * (plan.nodes + trees))
        self.key = np.zeros(total, np.int64)
        self.distance = np.zeros(total, np.int64)
        self.slot = np.full(total, self.slots, np.int64)
        at = np.zeros(plan.nodes, np.int64)
        whole = np.zeros(trees, bool)
        whole[size == 0] = True
        at[plan.first[:-1][~whole]] = begin[~whole] + 1
        inner = np.flatnonzero(plan.left > 0)
        at[inner + 1] = pair[inner]
        inner = np.flatnonzero(plan.right > 0)
        at[inner + 1 + plan.left[inner]] = pair[inner] + 1
        self.key[at] = plan.ranks if not plan.step.single_key else plan.key
        self.distance[at] = pair - at
        self.slot[at] = plan.slot
        single = begin[whole] + 1
        self.key[single] = settled.ids[plan.first[:-1][whole] + np.flatnonzero(whole)]
        ends = np.flatnonzero(plan.left == 0)
        self.key[pair[ends]] = settled.ids[plan.leaf[ends]]
        ends = np.flatnonzero(plan.right == 0)
        self.key[pair[ends] + 1] = settled.ids[plan.leaf[ends] + plan.left[ends] + 1]
        self.roots = begin + 1
        self.depth = plan.depth
        self.leaves = settled.leaves
        padding = -trees % LANES
        if padding:  # the last lanes add a leaf of zeros
            self.leaves = np.concatenate([settled.leaves, np.zeros((1, settled.columns))])
            self.key = np.append(self.key, len(settled.leaves))
            self.distance, self.slot = np.append(self.distance, 0), np.append(self.slot, self.slots)
            self.roots = np.append(self.roots, np.full(padding, total))
            self.depth = np.append(self.depth, np.zeros(padding, np.int64))
        self.wide = int(self.distance.max(initial=0)) << self.slot_bits >= 2**32

    def tables(self, name: str) -> str:
        where = self.distance << self.slot_bits | self.slot
        pairs = np.stack([self.key, where if self.wide else where.astype(np.uint32).view(np.int32)], axis=1)
        groups = self.depth.reshape(-1, LANES).max(axis=1)
        return lines(
            "/* threshold or leaf, distance and slot */",
            table("int64_t" if self.wide else "int32_t", f"{name}_nodes", pairs.reshape(-1)),
            table("uint32_t", f"{name}_roots", self.roots * 2),
            table(unsigned_type(int(groups.max())), f"{name}_depths", groups),
        )


def _visit(plan: Plan) -> np.ndarray:
    """(nodes,) turn of each node within its tree if the larger part is visited first."""
    turn = np.zeros(plan.nodes, np.int64)
    level = plan.first[:-1][np.diff(plan.first) > 0]
    while level.size:
        left, right = plan.left[level], plan.right[level]
        larger_left = left >= right
        has = left > 0
        turn[level[has] + 1] = turn[level[has]] + 1 + np.where(larger_left[has], 0, right[has])
        next_left = level[has] + 1
        has = right > 0
        at = level[has] + 1 + left[has]
        turn[at] = turn[level[has]] + 1 + np.where(larger_left[has], left[has], 0)
        level = np.concatenate([next_left, at])
    return turn


def _step(layout: _Layout, name: str) -> str:
    node, unsigned = ("int64_t", "uint64_t") if layout.wide else ("int32_t", "uint32_t")
    return (
        f"static const {node} *{name}_step(const {node} *node, const int32_t *key)\n"
        "{\n"
        f"    {unsigned} where = ({unsigned})node[1];\n"
        f"    return node + 2 * ((where >> {layout.slot_bits}) + (key[where & {2**layout.slot_bits - 1}u] > node[0]));\n"
        "}\n"
    )


def _fill(plan: Plan, name: str, row: str, key: str, indent: str) -> str:
    what = "keys" if plan.step.single_key else "ranks"
    return f"{indent}{name}_{what}({row}, {key});\n{indent}{key}[{len(plan.slots)}] = INT32_MIN;\n"


def _row(plan: Plan, settled: Sums, layout: _Layout, name: str) -> str:
    node = "int64_t" if layout.wide else "int32_t"
    lanes = range(LANES)
    steps = "".join(f"            n{j} = {name}_step(n{j}, key);\n" for j in lanes)
    begin = "".join(f"        n{j} = {name}_nodes + root[{j}];\n" for j in lanes)
    adds = "".join(settled.add(name, f"(8 * group + {j}u)", f"n{j}[0]") for j in lanes)
    return (
        f"static void {name}(const {trees_input.float_type(plan)} *x, {settled.out} *out)\n"
        "{\n"
        f"    int32_t key[{len(plan.slots) + 1}];\n"
        f"    const {node} {', '.join(f'*n{j}' for j in lanes)};\n"
        f"    const uint32_t *root = {name}_roots;\n"
        f"    uint32_t group, depth{', o' if settled.needs_index else ''};\n"
        f"{settled.begin()}"
        f"{_fill(plan, name, 'x', 'key', '    ')}"
        f"    for (group = 0; group < {len(layout.roots) // LANES}; group++, root += {LANES}) {{\n"
        f"{begin}"
        f"        for (depth = {name}_depths[group]; depth; depth--) {{\n"
        f"{steps}"
        "        }\n"
        f"{adds}"
        "    }\n"
        f"{settled.end()}"
        "}\n"
    )


def _many(plan: Plan, settled: Sums, layout: _Layout, name: str) -> str:
    return ""
