"""Trees as a table that several walks go through at a time, without branches: fastest where processors execute ahead.

A step is ``node += distance + (key[slot] > threshold)``: children lie side by side, a leaf's distance is 0 and its
slot holds a number that no threshold is below, so that a walk may go on at a leaf without leaving it. Eight walks in
turn hide the time that each one waits for memory, and there is nothing to mispredict.
"""

from __future__ import annotations

import numpy as np

from edgekit_converters.plaincode.emitters.c import trees_input
from edgekit_converters.plaincode.emitters.c.trees_numbers import Numbers, numbers
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan
from edgekit_converters.plaincode.emitters.c.trees_sums import Sums
from edgekit_converters.plaincode.emitters.c.trees_text import lines, literal, table, unsigned_type

LANES = 8
_ROWS = 64
_STACK = 16384


def flight_code(plan: Plan, settled: Sums, name: str) -> tuple[str, str]:
    """C of ``NAME`` (a row) and ``NAME_rows`` (many), and their tables; the name of the latter, if there is one."""
    row = numbers(plan, name, quick=True)
    layout = _Layout(plan, settled, row)
    many = _many(plan, settled, layout, name)
    code = lines(
        row.code,
        layout.tables(name),
        table(settled.kind, f"{name}_leaves", layout.leaves.reshape(-1), 6),
        settled.tables(name, -plan.trees % LANES),
        _step(layout, name),
        _row(plan, settled, layout, name),
        many,
    )
    return code, f"{name}_rows" if many else ""


class _Layout:
    """Where nodes lie: each tree has one unused place, its root, then pairs of children, larger part first."""

    def __init__(self, plan: Plan, settled: Sums, row: Numbers) -> None:
        self.row_function = row.function
        trees, size = plan.trees, np.diff(plan.first)
        begin = 2 * (plan.first[:-1] + np.arange(trees))  # tree t has size + 1 pairs of places
        self.slots = len(plan.slots)
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
        self.key[at] = row.keys
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
        self.small = unsigned_type(max(self.slots, int(self.distance.max(initial=0)), 256))
        self.sure, self.checked = _sure(plan, self.depth, LANES)
        self.tree_sure, self.tree_checked = _sure(plan, plan.depth, 1)

    def tables(self, name: str) -> str:
        """The nodes, where trees begin, and how many steps eight of them are walked."""
        rows = zip(self.key.tolist(), self.slot.tolist(), self.distance.tolist(), strict=True)
        texts = [f"{{{k}u,{s},{d}}}" for k, s, d in rows]
        body = ",\n".join(",".join(texts[i : i + 8]) for i in range(0, len(texts), 8))
        return lines(
            f"typedef struct {{\n    uint32_t key; /* threshold or leaf */\n    {self.small} slot, distance;\n}} "
            f"{name}_node;\n",
            f"static const {name}_node {name}_nodes[{len(texts)}] = {{\n{body}\n}};\n",
            table("uint32_t", f"{name}_roots", self.roots),
            table(unsigned_type(int(self.sure.max())), f"{name}_depths", self.sure),
        )


def _sure(plan: Plan, depth: np.ndarray, together: int) -> tuple[np.ndarray, bool]:
    """(groups,) steps that trees are walked before it is looked whether all are at leaves; whether it is."""
    deepest = depth.reshape(-1, together).max(axis=1)
    level = plan.levels
    ends = np.concatenate([level[plan.left == 0], level[plan.right == 0]]) + 1
    nodes = np.flatnonzero(plan.left == 0), np.flatnonzero(plan.right == 0)
    tree = np.searchsorted(plan.first, np.concatenate(nodes), side="right") - 1
    count = np.bincount(tree, minlength=len(depth))
    mean = np.bincount(tree, ends, minlength=len(depth)) / np.maximum(count, 1)
    usual = np.ceil(mean.reshape(-1, together).max(axis=1)).astype(np.int64)
    if (deepest - usual).mean() <= 1:
        return deepest, False
    return np.minimum(usual, deepest), True


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
    return (
        f"static const {name}_node *{name}_step(const {name}_node *node, const uint32_t *key)\n"
        "{\n"
        "    size_t distance = node->distance; /* an add with carry where there is one */\n"
        "    distance += node->key < key[node->slot];\n"
        "    return node + distance;\n"
        "}\n"
    )


def _fill(layout: _Layout, row: str, key: str, indent: str) -> str:
    return f"{indent}{layout.row_function}({row}, {key});\n{indent}{_last(key, layout.slots)} = 0; /* at leaves */\n"


def _last(key: str, slots: int) -> str:
    return f"{key}[{slots}]" if key == "key" else f"({key})[{slots}]"


def _row(plan: Plan, settled: Sums, layout: _Layout, name: str) -> str:
    lanes = range(LANES)
    indent = "            "
    steps = "".join(f"{indent}n{j} = {name}_step(n{j}, key);\n" for j in lanes)
    begin = "".join(f"        n{j} = {name}_nodes + root[{j}];\n" for j in lanes)
    adds = "".join(settled.add(name, f"(8 * group + {j}u)", f"n{j}->key") for j in lanes)
    moving = " | ".join(f"n{j}->distance" for j in lanes)
    return (
        f"static void {name}(const {trees_input.float_type(plan)} *x, {settled.out} *out)\n"
        "{\n"
        f"    uint32_t key[{len(plan.slots) + 1}];\n"
        f"    const {name}_node {', '.join(f'*n{j}' for j in lanes)};\n"
        f"    const uint32_t *root = {name}_roots;\n"
        f"    uint32_t group, depth;\n"
        f"{settled.begin()}"
        f"{_fill(layout, 'x', 'key', '    ')}"
        f"    for (group = 0; group < {len(layout.roots) // LANES}; group++, root += {LANES}) {{\n"
        f"{begin}"
        f"        for (depth = {name}_depths[group]; depth; depth--) {{\n"
        f"{steps}"
        "        }\n"
        + (
            f"        while ({moving}) {{ /* two steps cost less than to look */\n{steps}{steps}        }}\n"
            if layout.checked
            else ""
        )
        + f"{adds}"
        "    }\n"
        f"{settled.end()}"
        "}\n"
    )


def _many(plan: Plan, settled: Sums, layout: _Layout, name: str) -> str:
    """C of ``NAME_rows``; empty where a few rows would fill the stack.

    Each tree is walked by eight rows at a time, a block of rows after the other, so its nodes stay near the processor.
    A row's leaves are still added in the order of the trees.
    """
    row_bytes = 4 * (len(plan.slots) + 1) + 8 * settled.width
    block = min(_ROWS, _STACK // row_bytes // LANES * LANES)
    if not block:
        return ""
    lanes = range(LANES)
    width, stride = settled.width, len(plan.slots) + 1
    indent = "                    "
    steps = "".join(f"{indent}n{j} = {name}_step(n{j}, at{f' + {j * stride}' if j else ''});\n" for j in lanes)
    moving = " | ".join(f"n{j}->distance" for j in lanes)
    adds = "".join(
        settled.add(name, "tree", f"n{j}->key", indent[4:], f"(sum + {j * width})" if width > 1 else f"sum[{j}]")
        for j in lanes
    )
    begin = "".join(
        f"            total[r * {width} + {o}] = {literal(0 if settled.base_last else b, settled.kind)};\n"
        for o, b in enumerate(settled.base)
    )
    total = f"(total + r * {width})" if width > 1 else "total[r]"
    end = settled.end("            ", total, "(out + r * out_stride)")
    sure = table(unsigned_type(int(layout.tree_sure.max())), f"{name}_tree_depths", layout.tree_sure)
    return lines(
        sure,
        "#if defined(__GNUC__) /* a caller may do without it */\n"
        "__attribute__((unused))\n"
        "#endif\n"
        f"static void {name}_rows(const {trees_input.float_type(plan)} *x, {settled.out} *out, size_t rows, "
        "size_t x_stride, size_t out_stride)\n"
        "{\n"
        f"    uint32_t key[{block * stride}];\n"
        f"    {settled.kind} total[{block * width}];\n"
        f"    const {name}_node {', '.join(f'*n{j}' for j in lanes)};\n"
        f"    uint32_t tree, depth, r, some;\n"
        f"    for (; rows >= {LANES}; rows -= some, x += some * x_stride, out += some * out_stride) {{\n"
        f"        some = rows < {block} ? (uint32_t)rows / {LANES} * {LANES} : {block};\n"
        "        for (r = 0; r < some; r++) {\n"
        f"{_fill(layout, 'x + r * x_stride', f'key + r * {stride}', '            ')}"
        f"{begin}"
        "        }\n"
        f"        for (tree = 0; tree < {plan.trees}; tree++) {{\n"
        f"            const {name}_node *root = {name}_nodes + {name}_roots[tree];\n"
        f"            for (r = 0; r < some; r += {LANES}) {{\n"
        f"                const uint32_t *at = key + r * {stride};\n"
        f"                {settled.kind} *sum = total + r{f' * {width}' if width > 1 else ''};\n"
        f"                {' = '.join(f'n{j}' for j in lanes)} = root;\n"
        f"                for (depth = {name}_tree_depths[tree]; depth; depth--) {{\n"
        f"{steps}"
        "                }\n"
        + (f"                while ({moving}) {{\n{steps}{steps}                }}\n" if layout.tree_checked else "")
        + f"{adds}"
        "            }\n"
        "        }\n"
        "        for (r = 0; r < some; r++) {\n"
        f"{end}"
        "        }\n"
        "    }\n"
        "    for (; rows; rows--, x += x_stride, out += out_stride)\n"
        f"        {name}(x, out);\n"
        "}\n",
    )
