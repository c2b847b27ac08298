"""Trees as branches: fewest instructions, for processors that execute in order and read code from flash.

Trees become nested ifs that add to the totals in place, several trees in a function until it holds `_FUNCTION` nodes;
deeper and larger parts of trees become functions of their own, so no function is large or nested deeply, whatever the
trees are. Thresholds are whole numbers in the code.
"""

from __future__ import annotations

import numpy as np

from edgekit_converters.plaincode.emitters.c import trees_input
from edgekit_converters.plaincode.emitters.c.trees_numbers import numbers
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan
from edgekit_converters.plaincode.emitters.c.trees_sums import Sums
from edgekit_converters.plaincode.emitters.c.trees_text import lines, literal, table

_FUNCTION = 400
_DEPTH = 20
_LOCALS = 4
_INDENTED = 8
_Part = tuple[int, int, int, int]


def branch_code(plan: Plan, settled: Sums, name: str) -> str:
    """The C of one function, ``static void NAME(const KEY *x, OUT *out)``, and what it calls."""
    row = numbers(plan, name, quick=False)
    writer = _Writer(plan, settled, name, row.keys)
    calls = writer.run()
    body = "".join(
        f"    total = {c}(key, total);\n" if settled.width == 1 else f"    {c}(key, total);\n" for c in calls
    )
    return lines(
        row.code,
        writer.leaf_table(),
        "#if defined(__GNUC__) /* or all trees would become one function */\n"
        f"#define {name.upper()}_APART __attribute__((noinline))\n#else\n#define {name.upper()}_APART\n#endif\n",
        *writer.functions,
        f"static void {name}(const {trees_input.float_type(plan)} *x, {settled.out} *out)\n"
        "{\n"
        f"    uint32_t key[{len(plan.slots)}];\n"
        f"{settled.begin()}"
        f"    {row.function}(x, key);\n"
        f"{body}"
        f"{settled.end()}"
        "}\n",
    )


def _groups(plan: Plan) -> list[range]:
    """Neighbouring trees that share a function."""
    groups, begin, held = [], 0, 0
    for tree, size in enumerate(np.diff(plan.first).tolist()):
        if held and held + size > _FUNCTION:
            groups.append(range(begin, tree))
            begin, held = tree, 0
        held += size + 1
    return [*groups, range(begin, plan.trees)]


class _Writer:
    """Collects functions. A part of a tree is (first node, nodes, first leaf, tree)."""

    def __init__(self, plan: Plan, settled: Sums, name: str, keys: np.ndarray) -> None:
        self.plan, self.settled, self.name = plan, settled, name
        self.keys = keys.tolist()
        self.slot, self.left = plan.slot.tolist(), plan.left.tolist()
        self.ids, self.output = settled.ids.tolist(), settled.output.tolist()
        rows = settled.leaves.tolist()
        self.texts = [[(o, literal(v, settled.kind)) for o, v in enumerate(r) if v != 0] for r in rows]
        self.added = False  # whether a row of the leaf table is added by a loop
        self.waiting: list[tuple[str, list[_Part]]] = []
        self.functions: list[str] = []
        self.count = 0

    def run(self) -> list[str]:
        """Write all functions, callees first; returns the names of those that the row's function calls."""
        first = self.plan.first.tolist()
        calls = []
        for trees in _groups(self.plan):
            parts = [(first[t], first[t + 1] - first[t], first[t] + t, t) for t in trees]
            calls.append(self.later(parts))
            while self.waiting:
                self.write(*self.waiting.pop())
        self.functions.reverse()
        return calls

    def later(self, parts: list[_Part]) -> str:
        """The name of a function that will be written."""
        function = f"{self.name}_{self.count}"
        self.count += 1
        self.waiting.append((function, parts))
        return function

    def write(self, function: str, parts: list[_Part]) -> None:
        """Write a function."""
        out: list[str] = []
        budget = _FUNCTION
        open_parts: list[tuple[str, _Part, int]] = [("", part, 1) for part in reversed(parts)]
        while open_parts:
            text, (node, size, leaf, tree), depth = open_parts.pop()
            indent = "    " * min(depth, _INDENTED)
            if text:
                out.append(f"{indent}{text}\n")
            elif not size:
                out += [f"{indent}{a}\n" for a in self.adds(leaf, tree)]
            elif depth > _DEPTH or (budget <= 0 and depth > 1 and size > 1):
                out += [f"{indent}{c}\n" for c in self.call(self.later([(node, size, leaf, tree)]))]
            else:
                budget -= 1
                left, none = self.left[node], (0, 0, 0, 0)
                out.append(f"{indent}if (key[{self.slot[node]}] <= {self.keys[node]}u) {{\n")
                open_parts += [
                    ("}", none, depth),
                    ("", (node + 1 + left, size - 1 - left, leaf + left + 1, tree), depth + 1),
                    ("} else {", none, depth),
                    ("", (node + 1, left, leaf, tree), depth + 1),
                ]
        if budget == _FUNCTION:
            out.insert(0, "    (void)key;\n")
        self.functions.append(self.head(function) + "".join(out) + self.foot())

    def adds(self, leaf: int, tree: int) -> list[str]:
        """Statements that add a leaf; adding 0 changes nothing, since no total is -0.0."""
        place = self.ids[leaf]
        row = self.texts[place]
        if self.output:
            return [f"{self.total(self.output[tree])} += {text};" for _, text in row]
        if len(row) > _LOCALS:
            self.added = True
            return [f"{self.name}_add(total, {self.name}_leaves + {place * self.settled.columns});"]
        return [f"{self.total(o)} += {text};" for o, text in row]

    def total(self, output: int) -> str:
        """A total, in C."""
        width = self.settled.width
        return "total" if width == 1 else f"total{output}" if width <= _LOCALS else f"total[{output}]"

    def call(self, function: str) -> list[str]:
        """Statements that leave the rest of a tree to a function."""
        width = self.settled.width
        if width == 1:
            return [f"total = {function}(key, total);"]
        if width > _LOCALS:
            return [f"{function}(key, total);"]
        return [*self.stores(), f"{function}(key, total);", *(f"total{o} = total[{o}];" for o in range(width))]

    def stores(self) -> list[str]:
        """Statements that keep totals that were in variables."""
        return [f"total[{o}] = total{o};" for o in range(self.settled.width)]

    def head(self, function: str) -> str:
        """A function's beginning."""
        kind, width = self.settled.kind, self.settled.width
        if width == 1:
            return f"{self.name.upper()}_APART static {kind} {function}(const uint32_t *key, {kind} total)\n{{\n"
        text = f"{self.name.upper()}_APART static void {function}(const uint32_t *key, {kind} *total)\n{{\n"
        if width <= _LOCALS:
            text += f"    {kind} {', '.join(f'total{o} = total[{o}]' for o in range(width))};\n"
        return text

    def foot(self) -> str:
        """A function's end."""
        width = self.settled.width
        if width == 1:
            return "    return total;\n}\n"
        return "".join(f"    {s}\n" for s in self.stores()) + "}\n" if width <= _LOCALS else "}\n"

    def leaf_table(self) -> str:
        """Rows of leaves and the loop that adds one, where functions use it."""
        if not self.added:
            return ""
        kind, width = self.settled.kind, self.settled.width
        return lines(
            table(kind, f"{self.name}_leaves", self.settled.leaves.reshape(-1), 6),
            f"static void {self.name}_add({kind} *total, const {kind} *leaf)\n"
            "{\n"
            "    uint32_t o;\n"
            f"    for (o = 0; o < {width}; o++)\n"
            "        total[o] += leaf[o];\n"
            "}\n",
        )
