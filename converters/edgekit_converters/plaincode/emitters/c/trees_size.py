"""Trees as a compact table that one loop walks: least flash.

A row's numbers are replaced by their places among the thresholds of their feature. A node is then three small
fields: slot, place of the threshold, number of nodes in the left part. Nothing points anywhere: the left part follows
a node, the right part follows the left one, a part without nodes is a leaf, and which leaf it is follows from how many
nodes were passed. Leaves lie in the order of the trees; where that is smaller, their distinct values lie in a table
and small fields say which.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit_converters.plaincode.emitters.c import trees_input
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan
from edgekit_converters.plaincode.emitters.c.trees_sums import Sums
from edgekit_converters.plaincode.emitters.c.trees_text import byte_rows, fields, lines, table, unsigned_type, words

_Read = Callable[[str], str]
"""C of an index to C of the number there."""
_LONG = 30_000
"""Numbers that compilers take as a list without taking long."""
_BYTES = {"double": 8, "float": 4, "int32_t": 4}
_WHOLE = {8: "uint8_t", 16: "uint16_t", 32: "uint32_t"}


def size_code(plan: Plan, settled: Sums, name: str) -> str:
    """The C of one function, ``static void NAME(const KEY *x, OUT *out)``, and its tables."""
    packed = _Packed(name)
    slot_bits, rank_bits, left_bits = fields(plan.slot), fields(plan.ranks), fields(plan.left)
    rank_type = unsigned_type(max(len(t) for t in plan.thresholds))
    node = plan.left | plan.slot << left_bits | plan.ranks << left_bits + slot_bits
    nodes = packed.table("nodes", node, left_bits + slot_bits + rank_bits)
    sizes = packed.table("sizes", np.diff(plan.first), fields(np.diff(plan.first)))
    reader = _thresholds(plan, packed)
    leaf, leaf_tables = _leaves(packed, settled, name)
    node_type = "uint64_t" if left_bits + slot_bits + rank_bits > 32 else "uint32_t"
    body = (
        f"static void {name}(const {trees_input.float_type(plan)} *x, {settled.out} *out)\n"
        "{\n"
        f"    {rank_type} rank[{len(plan.slots)}];\n"
        f"    uint32_t tree, at, leaf, size, next = 0;\n"
        f"    {node_type} node;\n"
        f"{settled.begin()}"
        f"    {name}_ranks(x, rank);\n"
        f"    for (tree = 0; tree < {plan.trees}; tree++) {{\n"
        "        at = next;\n"
        "        leaf = at + tree;\n"
        f"        size = {sizes('tree')};\n"
        "        next += size;\n"
        "        while (size) {\n"
        f"            node = {nodes('at')};\n"
        f"            if (rank[node >> {left_bits} & {2**slot_bits - 1}u] <= node >> {left_bits + slot_bits}) {{\n"
        f"                at++;\n"
        f"                size = node & {2**left_bits - 1}u;\n"
        "            } else {\n"
        f"                uint32_t skipped = (node & {2**left_bits - 1}u) + 1;\n"
        "                at += skipped;\n"
        "                leaf += skipped;\n"
        "                size -= skipped;\n"
        "            }\n"
        "        }\n"
        f"{settled.add(name, 'tree', leaf)}"
        "    }\n"
        f"{settled.end()}"
        "}\n"
    )
    return lines(
        trees_input.key_function(plan, name) if trees_input.numeric_slots(plan) else "",
        trees_input.category_function(plan, name),
        packed.functions(),
        *packed.tables,
        trees_input.row_ranks(plan, name, rank_type, reader),
        leaf_tables,
        settled.tables(name),
        body,
    )


class _Packed:
    """Tables of whole numbers in as many bits as they need."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tables: list[str] = []
        self.uneven = self.literal = False

    def table(self, what: str, values: np.ndarray, bits: int) -> _Read:
        """Write a table; returns what reads its element `index`, as C."""
        name = f"{self.name}_{what}"
        if bits <= 32 and len(values) > _LONG:
            self.literal = True
            text, row_bits = byte_rows(name, values, bits)
            self.tables.append(text)
            mask = 2**row_bits - 1
            return lambda index: f"{self.name}_in_bytes({name}[({index}) >> {row_bits}], ({index}) & {mask}u, {bits})"
        for whole, kind in _WHOLE.items():
            if bits <= whole and len(values) * (whole - bits) <= 8 * 32:
                self.tables.append(table(kind, name, values))
                return lambda index: f"{name}[{index}]"
        if bits <= 32:
            self.uneven = True
            self.tables.append(table("uint32_t", name, words(values, bits), 8))
            return lambda index: f"{self.name}_field({name}, {index}, {bits})"
        low = self.table(f"{what}_low", values & 0xFFFFFFFF, 32)
        high = self.table(f"{what}_high", values >> 32, bits - 32)
        return lambda index: f"({low(index)} | (uint64_t){high(index)} << 32)"

    def functions(self) -> str:
        """``NAME_field`` and ``NAME_in_bytes``, where tables need them."""
        mask = "(uint32_t)((1ull << bits) - 1u)"
        words_function = (
            "/* One of the fields of `bits` bits that follow each other in words, lowest first. */\n"
            f"static uint32_t {self.name}_field(const uint32_t *words, uint32_t place, uint32_t bits)\n"
            "{\n"
            "    uint64_t begin = (uint64_t)place * bits;\n"
            "    const uint32_t *word = words + (begin >> 5);\n"
            "    uint64_t both = (uint64_t)word[1] << 32 | word[0];\n"
            f"    return (uint32_t)(both >> (begin & 31u)) & {mask};\n"
            "}\n"
        )
        bytes_function = (
            "/* Likewise in bytes. */\n"
            f"static uint32_t {self.name}_in_bytes(const unsigned char *bytes, uint32_t place, uint32_t bits)\n"
            "{\n"
            "    uint32_t begin = place * bits;\n"
            "    const unsigned char *at = bytes + (begin >> 3);\n"
            "    uint32_t low = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;\n"
            f"    return (uint32_t)((low | (uint64_t)at[4] << 32) >> (begin & 7u)) & {mask};\n"
            "}\n"
        )
        return (words_function if self.uneven else "") + (bytes_function if self.literal else "")


def _thresholds(plan: Plan, packed: _Packed) -> _Read | None:
    """What reads thresholds, as unsigned numbers, where they are too many for a list."""
    keys = np.concatenate([*plan.thresholds[: trees_input.numeric_slots(plan)], np.zeros(0, np.int64)])
    if len(keys) <= _LONG:
        return None
    if plan.step.single_key:
        return packed.table("thresholds", keys + 2**31, 32)
    unsigned = keys.view(np.uint64) ^ np.uint64(2**63)
    low = packed.table("low", (unsigned & np.uint64(2**32 - 1)).astype(np.int64), 32)
    high = packed.table("high", (unsigned >> np.uint64(32)).astype(np.int64), 32)
    return lambda index: f"({low(index)} | (uint64_t){high(index)} << 32)"


def _leaves(packed: _Packed, settled: Sums, name: str) -> tuple[str, str]:
    """C for the place of leaf number ``leaf`` among ``NAME_leaves``, and that table."""
    bits = fields(settled.ids)
    row = _BYTES[settled.kind] * settled.columns
    pooled = len(settled.leaves) * row + len(settled.ids) * bits / 8
    if pooled < len(settled.ids) * row:
        values = settled.leaves
        place = packed.table("places", settled.ids, bits)("leaf")
    else:
        values, place = settled.leaves[settled.ids], "leaf"
    return place, table(settled.kind, f"{name}_leaves", values.reshape(-1), 6)
