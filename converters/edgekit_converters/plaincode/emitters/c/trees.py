"""Trees in C: what the scaffold asks for, and the choice of a layout."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c.trees_branches import branch_code
from edgekit_converters.plaincode.emitters.c.trees_flight import flight_code
from edgekit_converters.plaincode.emitters.c.trees_input import float_type
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan, plan
from edgekit_converters.plaincode.emitters.c.trees_size import size_code
from edgekit_converters.plaincode.emitters.c.trees_sums import constant, sums
from edgekit_converters.plaincode.ir import Trees

BRANCHES, FLIGHT, SIZE = "branches", "flight", "size"
_BRANCHES_MOST = 10_000
"""Nodes that gcc turns into branches within a few seconds."""
_SMALL_MOST = 4_000
"""Nodes whose branches, about 16 bytes each, a microcontroller's flash has room for."""
_FLIGHT_MOST = 300_000
"""Nodes whose table of walks gcc reads within a few seconds."""


@dataclass(frozen=True)
class TreeCode:
    """C of one `Trees` step.

    Attributes:
        definitions: Static tables and functions; they need ``<stdint.h>`` and ``<string.h>``.
        function: Name of ``static void FUNCTION(const KEY *x, OUT *out)``: x holds the values that nodes look at.
        rows_function: Empty, or the name of ``static void F(const KEY *x, OUT *out, size_t rows, size_t x_stride,
            size_t out_stride)``, faster than `function` in a loop. It may be left unused.
        key: Type of x: ``float`` or ``double``.
        out: Type of the answers: ``float`` or ``double``.
        error: Bound on the absolute difference from the source's answer; 0 where answers are equal to the bit.
        layout: ``branches``, ``flight`` (a table, several walks at a time) or ``size`` (the least flash).
    """

    definitions: str
    function: str
    rows_function: str
    key: str
    out: str
    error: float
    layout: str


def tree_code(step: Trees, name: str, settings: EmitSettings) -> TreeCode:
    """C of a step.

    Args:
        step: The trees.
        name: Of the function; tables and helpers have it as their prefix.
        settings: `layout`, `leaves` and `in_order` matter.

    Raises:
        ConversionError: Leaves do not fit the type asked for, or a category does not fit 32 bits.
    """
    planned = plan(step)
    settled = sums(planned, settings.leaves)
    layout, rows = chosen_layout(planned, settings), ""
    if not planned.nodes:
        code = constant(planned, name, settled, float_type(planned))
    elif layout == SIZE:
        code = size_code(planned, settled, name)
    elif layout == BRANCHES:
        code = branch_code(planned, settled, name)
    else:
        code, rows = flight_code(planned, settled, name)
    return TreeCode(code, name, rows, float_type(planned), settled.out, settled.error, layout)


def chosen_layout(planned: Plan, settings: EmitSettings) -> str:
    """``branches``, ``flight`` or ``size``: what was fastest where it was measured, within what gcc takes."""
    nodes = planned.nodes
    if settings.layout == SIZE:
        return SIZE
    if settings.in_order:
        if settings.layout == "auto":
            return BRANCHES if nodes <= _SMALL_MOST else SIZE
        return BRANCHES if nodes <= _BRANCHES_MOST else FLIGHT
    return FLIGHT if settings.layout == "speed" or nodes <= _FLIGHT_MOST else SIZE
