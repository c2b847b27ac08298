"""C of decision trees: one table and one loop, whatever the layout that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c.literals import number, table, whole_table
from edgekit_converters.plaincode.ir import Trees


@dataclass(frozen=True)
class TreeCode:
    """C of a forest.

    Attributes:
        definitions: Tables and functions, all static.
        function: Name of ``static void FUNCTION(const KEY *x, OUT *out)``.
        rows_function: Name of a function over many rows ``(x, out, rows, x_stride, out_stride)``, or empty.
        key: ``float`` or ``double``.
        out: ``float`` or ``double``.
    """

    definitions: str
    function: str
    rows_function: str
    key: str
    out: str


def tree_code(step: Trees, name: str, settings: EmitSettings) -> TreeCode:
    """C of a forest whose names begin with `name`."""
    key, out = ("float" if single else "double" for single in (step.single_key, step.single))
    starts = np.cumsum([0, *(len(s) for s in step.sets)])
    members = [m for s in step.sets for m in s] or [0]
    nodes = len(step.feature) > 0
    definitions = "".join([
        whole_table(f"{name}_roots", list(step.roots)),
        whole_table(f"{name}_output", list(step.output)),
        table(f"{name}_leaves", step.leaves, out),
        table(f"{name}_base", step.base, out),
        *((
            whole_table(f"{name}_feature", list(step.feature)),
            table(f"{name}_threshold", step.threshold, key),
            whole_table(f"{name}_left", list(step.left)),
            whole_table(f"{name}_right", list(step.right)),
            whole_table(f"{name}_missing", [int(m) for m in step.missing_left]),
            whole_table(f"{name}_set", list(step.category_set)),
            whole_table(f"{name}_starts", list(starts)),
            whole_table(f"{name}_members", members),
        ) if nodes else ()),
    ])  # fmt: skip
    walk = (
        f"""\
        while (at >= 0) {{
            {key} v = x[{name}_feature[at]];
            int left = v <= {name}_threshold[at], set = {name}_set[at];
            if (set >= 0) {{
                unsigned long m = {name}_starts[set], end = {name}_starts[set + 1];
                for (left = 0; m < end && !left; m++)
                    left = v < ({key}){name}_members[m] + 1
                        && ({name}_members[m] ? v >= ({key}){name}_members[m] : v > -1);
            }}
            if (v != v) left = {name}_missing[at];
            at = left ? {name}_left[at] : {name}_right[at];
        }}
"""
        if nodes
        else ""
    )
    wide = step.leaves.shape[1]
    first = number(0, out) if step.base_last else f"{name}_base[i]"
    last = f"    for (i = 0; i < {step.width}; i++) out[i] += {name}_base[i];\n" if step.base_last else ""
    divide = number(step.divisor, out)
    last += f"    for (i = 0; i < {step.width}; i++) out[i] /= {divide};\n" if step.divisor != 1 else ""
    body = f"""\
static void {name}(const {key} *x, {out} *out)
{{
    int tree, i;
    (void)x;
    for (i = 0; i < {step.width}; i++) out[i] = {first};
    for (tree = 0; tree < {len(step.roots)}; tree++) {{
        long at = {name}_roots[tree], to = {name}_output[tree];
{walk}        if (to < 0) for (i = 0; i < {wide}; i++) out[i] += {name}_leaves[(-1 - at) * {wide} + i];
        else out[to] += {name}_leaves[-1 - at];
    }}
{last}}}
"""
    return TreeCode(definitions + body, name, "", key, out)
