"""Trees in C: what the scaffold asks for, and the choice of a layout."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c.trees_flight import flight_code, rows_code
from edgekit_converters.plaincode.emitters.c.trees_input import float_type
from edgekit_converters.plaincode.emitters.c.trees_plan import plan
from edgekit_converters.plaincode.emitters.c.trees_size import size_code
from edgekit_converters.plaincode.emitters.c.trees_sums import constant, sums
from edgekit_converters.plaincode.ir import Trees


@dataclass(frozen=True)
class TreeCode:
    """C of one `Trees` step.

    Attributes:
        definitions: Static tables and functions; they need ``<stdint.h>`` and ``<string.h>``.
        function: Name of ``static void FUNCTION(const KEY *x, OUT *out)``: x holds the values that nodes look at.
        rows_definitions: More, that only `rows_function` needs; empty without one.
        rows_function: Empty, or the name of ``static void F(const KEY *x, OUT *out, size_t rows, size_t x_stride,
            size_t out_stride)``, faster than `function` in a loop.
        key: Type of x: ``float`` or ``double``.
        out: Type of the answers: ``float`` or ``double``.
        error: Bound on the absolute difference from the exact answer; 0 where answers are equal to the bit.
        layout: ``speed`` or ``size``.
    """

    definitions: str
    function: str
    rows_definitions: str
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
        settings: `layout` and `leaves` matter.

    Raises:
        ConversionError: Leaves do not fit the type asked for, or a category does not fit 32 bits.
    """
    planned = plan(step)
    settled = sums(planned, settings.leaves)
    layout = "speed" if settings.layout == "auto" else settings.layout
    rows = ""
    if not planned.nodes:
        code = constant(planned, name, settled, float_type(planned))
    elif settings.prefix == "branches":
        from edgekit_converters.plaincode.emitters.c.trees_branches import branch_code

        code = branch_code(planned, settled, name)
    elif layout == "size":
        code = size_code(planned, settled, name)
    else:
        code, rows = flight_code(planned, settled, name), rows_code(planned, settled, name)
    return TreeCode(code, name, rows, f"{name}_rows" if rows else "", float_type(planned), settled.out, settled.error, layout)
