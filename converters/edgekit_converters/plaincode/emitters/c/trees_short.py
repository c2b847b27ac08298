"""Keys of 32 bits for float64 features: a few instructions where a place among the thresholds takes a search.

A key is the upper part of a number's ordered bits, then `tie` bits: how many thresholds with the same upper part are
below the number. Few numbers share their upper part with a threshold, so those bits are 0 unless a table of hashed
upper parts says that there may be such a threshold; only then are thresholds searched. The comparison of two keys is
that of the numbers, always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit_converters.plaincode.emitters.c import trees_input
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan
from edgekit_converters.plaincode.emitters.c.trees_text import lines, table, unsigned_type

_TIE_BITS = 6
_SPARSE = 32  # bits of the table for each threshold
_SIGN = np.uint64(1 << 63)
_MULTIPLIER, _STEP = 2654435761, 40503
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, eq=False)
class ShortKeys:
    """How the keys of some trees are made.

    Attributes:
        tie: Number of low bits.
        keys: (nodes,) key of each node's threshold.
        table_bits: log2 of the table's size.
        marked: The table, uint32 words.
    """

    tie: int
    keys: np.ndarray
    table_bits: int
    marked: np.ndarray


def short_keys(plan: Plan) -> ShortKeys | None:
    """Keys of 32 bits; None where too many thresholds share their upper part."""
    count = trees_input.numeric_slots(plan)
    thresholds = plan.thresholds[:count]
    unsigned = [t.astype(np.int64).view(np.uint64) ^ _SIGN for t in thresholds]
    for tie in range(1, _TIE_BITS + 1):
        tops = [(u >> np.uint64(32 + tie)).astype(np.int64) for u in unsigned]
        places = [np.arange(len(t)) - np.searchsorted(t, t) for t in tops]
        if max((int(p.max(initial=0)) for p in places), default=0) < 2**tie - 1:
            break
    else:
        return None
    keys = np.zeros(plan.nodes, np.int64)
    for slot in range(count):
        here = plan.slot == slot
        keys[here] = (tops[slot] << tie | places[slot])[plan.ranks[here]]
    bits = max(5, int(sum(len(t) for t in thresholds) * _SPARSE - 1).bit_length())
    marked = np.zeros(2**bits // 32, np.int64)
    for slot, top in enumerate(tops):
        place = _hashed(top, slot, bits)
        np.bitwise_or.at(marked, place >> 5, 1 << (place & 31))
    return ShortKeys(tie, keys, bits, marked)


def _hashed(top: np.ndarray, slot: int, bits: int) -> np.ndarray:
    return np.asarray(((top + slot * _STEP & _MASK) * _MULTIPLIER & _MASK) >> 32 - bits)


def row_short_keys(plan: Plan, name: str, short: ShortKeys) -> str:
    """``NAME_keys(x, key)``: a row's slots as keys of 32 bits."""
    count = trees_input.numeric_slots(plan)
    missing, feature, features = trees_input.sides(plan, name, "INT64")
    begins = np.cumsum([0, *(len(t) for t in plan.thresholds[:count])])
    shift, tie = 32 + short.tie, short.tie
    numeric = (
        lines(
            table("int64_t", f"{name}_thresholds", np.concatenate(plan.thresholds[:count]), 8),
            table(unsigned_type(int(begins[-1])), f"{name}_begins", begins),
            table("uint32_t", f"{name}_marked", short.marked, 8),
            "/* How many of a slot's thresholds are below a key and share its upper part. */\n"
            f"static uint32_t {name}_tied(uint32_t slot, int64_t key, uint32_t top)\n"
            "{\n"
            f"    uint32_t i, tied = 0;\n"
            f"    for (i = {name}_begins[slot]; i < {name}_begins[slot + 1]; i++)\n"
            f"        tied += {name}_thresholds[i] < key\n"
            f"            && (uint32_t)(((uint64_t){name}_thresholds[i] ^ (1ull << 63)) >> {shift}) == top;\n"
            "    return tied;\n"
            "}\n",
        )
        if count
        else ""
    )
    body = ""
    if count:
        body += (
            f"    for (i = 0; i < {count}; i++) {{\n"
            f"        int64_t whole = {name}_key(x[{feature}], {missing});\n"
            f"        uint32_t top = (uint32_t)(((uint64_t)whole ^ (1ull << 63)) >> {shift});\n"
            f"        uint32_t hash = (top + i * {_STEP}u) * {_MULTIPLIER}u >> {32 - short.table_bits};\n"
            f"        key[i] = top << {tie};\n"
            f"        if ({name}_marked[hash >> 5] >> (hash & 31u) & 1u)\n"
            f"            key[i] |= {name}_tied(i, whole, top);\n"
            "    }\n"
        )
    if count < len(plan.slots):
        body += (
            f"    for (i = {count}; i < {len(plan.slots)}; i++)\n"
            f"        key[i] = {name}_apart(x[{feature}], i - {count}u);\n"
        )
    return lines(
        features,
        numeric,
        f"static void {name}_keys(const double *x, uint32_t *key)\n{{\n    uint32_t i;\n{body}}}\n",
    )
