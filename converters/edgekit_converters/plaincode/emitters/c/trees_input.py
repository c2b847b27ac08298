"""C that turns a row into what nodes compare: ordered whole numbers, or their places among a slot's thresholds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit_converters.plaincode.emitters.c.trees_plan import Plan, Slot
from edgekit_converters.plaincode.emitters.c.trees_text import lines, table, unsigned_type

_DENSE_SETS = 2**14
_FEW_RUNS = 40
_OFFSET = 2**31


def key_type(plan: Plan) -> str:
    """C type of ordered keys."""
    return "int32_t" if plan.step.single_key else "int64_t"


def float_type(plan: Plan) -> str:
    """C type of a row's values."""
    return "float" if plan.step.single_key else "double"


def key_function(plan: Plan, name: str) -> str:
    """``NAME_key(value, missing)``: the key of a number, `missing` for NaN.

    memcpy reads the bits, so nothing is asked of alignment or aliasing; the bits are those of IEEE 754 numbers in the
    byte order of the machine's whole numbers.
    """
    bits, top = (32, "INT32_MAX") if plan.step.single_key else (64, "INT64_MAX")
    return (
        f"/* Whole numbers in the order of {float_type(plan)}s: bits, those below the sign flipped if it is set. */\n"
        f"static int{bits}_t {name}_key({float_type(plan)} value, int{bits}_t missing)\n"
        "{\n"
        f"    int{bits}_t bits;\n"
        "    memcpy(&bits, &value, sizeof bits);\n"
        f"    return value != value ? missing : bits < 0 ? bits ^ {top} : bits;\n"
        "}\n"
    )


def category_function(plan: Plan, name: str) -> str:
    """``NAME_apart(value, place)``: 0 where a value goes left at the set of a slot, else 1; empty without sets.

    Sets are rows of bits, or sorted numbers where those would be long.
    """
    slots = [s for s in plan.slots if s.category_set >= 0]
    if not slots:
        return ""
    sets = [plan.step.sets[s.category_set] for s in slots]
    dense = all(not s or s[-1] < _DENSE_SETS for s in sets)
    parts = [_bit_rows(s) if dense else np.asarray(s, np.int64) for s in sets]
    ends = np.cumsum([0, *(len(p) for p in parts)])
    data = np.concatenate([*parts, [0]])  # never empty
    found = (
        "    if (bits >> 5 < length && (data[bits >> 5] >> (bits & 31u) & 1u))\n        return 0;\n"
        if dense
        else "    for (i = 0; i < length; i++)\n        if (data[i] == bits)\n            return 0;\n"
    )
    missing = [int(not s.missing_left) for s in slots]
    return lines(
        table("uint32_t", f"{name}_sets", data, 8),
        table(unsigned_type(int(ends[-1])), f"{name}_set_ends", ends),
        table("uint8_t", f"{name}_set_missing", missing),
        f"/* 0 where the whole part of a value is in a set, else 1. */\n"
        f"static uint32_t {name}_apart({float_type(plan)} value, uint32_t place)\n"
        "{\n"
        f"    const {unsigned_type(int(ends[-1]))} *ends = {name}_set_ends + place;\n"
        f"    const uint32_t *data = {name}_sets + ends[0];\n"
        f"    uint32_t length = (uint32_t)ends[1] - (uint32_t)ends[0], bits{'' if dense else ', i'};\n"
        "    if (value != value)\n"
        f"        return {name}_set_missing[place];\n"
        f"    if (!(value > -1 && value < {'4294967296.0' if not plan.step.single_key else '4294967296.0f'}))\n"
        "        return 1;\n"
        "    bits = (uint32_t)value;\n"
        f"{found}"
        "    return 1;\n"
        "}\n",
    )


def _bit_rows(chosen: tuple[int, ...]) -> np.ndarray:
    row = np.zeros(chosen[-1] // 32 + 1 if chosen else 0, np.int64)
    for value in chosen:
        row[value // 32] |= 1 << value % 32
    return row


def numeric_slots(plan: Plan) -> int:
    """How many of the slots, the first ones, are keys of numbers."""
    return sum(s.category_set < 0 for s in plan.slots)


def _runs(slots: tuple[Slot, ...]) -> list[tuple[int, int, bool, int]]:
    """(first slot, first feature, missing_left, count) of slots that are neighbours and whose features are."""
    runs: list[tuple[int, int, bool, int]] = []
    for place, slot in enumerate(slots):
        if runs:
            at, feature, left, count = runs[-1]
            if slot.missing_left == left and slot.feature == feature + count:
                runs[-1] = (at, feature, left, count + 1)
                continue
        runs.append((place, slot.feature, slot.missing_left, 1))
    return runs


def slot_tables(plan: Plan, name: str, wanted: bool = True) -> str:
    """Feature of each slot, where it is not the slot's own number."""
    features = [s.feature for s in plan.slots]
    if not wanted or not features:
        return ""
    return table(unsigned_type(max(features)), f"{name}_features", features)


def row_keys(plan: Plan, name: str) -> str:
    """``NAME_keys(x, key)``: a row's slots as unsigned keys of 32 bits, float features only."""
    count = numeric_slots(plan)
    runs = _runs(plan.slots[:count])
    body = []
    if len(runs) <= _FEW_RUNS:
        for at, feature, left, length in runs:
            missing = f"INT32_{'MIN' if left else 'MAX'}"
            if length == 1:
                body.append(f"    key[{at}] = (uint32_t){name}_key(x[{feature}], {missing}) ^ 0x80000000u;\n")
            else:
                body.append(
                    f"    for (i = 0; i < {length}; i++)\n"
                    f"        key[{at} + i] = (uint32_t){name}_key(x[{feature} + i], {missing}) ^ 0x80000000u;\n"
                )
    else:
        rights = sum(not s.missing_left for s in plan.slots[:count])
        for begin, end, missing in ((0, rights, "INT32_MAX"), (rights, count, "INT32_MIN")):
            if end > begin:
                body.append(
                    f"    for (i = {begin}; i < {end}; i++)\n"
                    f"        key[i] = (uint32_t){name}_key(x[{name}_features[i]], {missing}) ^ 0x80000000u;\n"
                )
    if count < len(plan.slots):
        body.append(
            f"    for (i = {count}; i < {len(plan.slots)}; i++)\n"
            f"        key[i] = {name}_apart(x[{name}_features[i]], i - {count}u);\n"
        )
    index = "    uint32_t i;\n" if any("for (" in b for b in body) else ""
    by_table = len(runs) > _FEW_RUNS or count < len(plan.slots)
    return lines(
        slot_tables(plan, name, by_table),
        f"static void {name}_keys(const {float_type(plan)} *x, uint32_t *key)\n{{\n{index}{''.join(body)}}}\n",
    )


def sides(plan: Plan, name: str, top: str) -> tuple[str, str, str]:
    """For a loop over slots ``i``: C of the number that stands for NaN, of the feature's place, and its table."""
    count = numeric_slots(plan)
    rights = sum(not s.missing_left for s in plan.slots[:count])
    features = [s.feature for s in plan.slots]
    straight = features == list(range(len(features)))
    missing = f"{top}_MAX" if rights == count else f"{top}_MIN"
    if 0 < rights < count:
        missing = f"i < {rights} ? {top}_MAX : {top}_MIN"
    return missing, "i" if straight else f"{name}_features[i]", slot_tables(plan, name, not straight)


def row_ranks(plan: Plan, name: str, rank: str, reader: Callable[[str], str] | None = None) -> str:
    """``NAME_ranks(x, rank)``: for each slot, how many of its thresholds are below the row's number.

    A row goes left at a node where that is at most the place of the node's threshold. `reader` is C of a place to C of
    the threshold there as an unsigned number; by default a table of signed ones is written.
    """
    count = numeric_slots(plan)
    kind, top = key_type(plan), key_type(plan)[:-2].upper()
    missing, feature, features = sides(plan, name, top)
    begins = np.cumsum([0, *(len(t) for t in plan.thresholds[:count])])
    key = f"{name}_key(x[{feature}], {missing})"
    if reader is not None:
        kind, key = f"u{kind}", f"(u{kind}){key} ^ ((u{kind})1 << {31 if plan.step.single_key else 63})"
    read = reader or (lambda index: f"{name}_thresholds[{index}]")
    numeric = body = ""
    if count:
        numeric = lines(
            "" if reader else table(kind, f"{name}_thresholds", np.concatenate(plan.thresholds[:count]), 8),
            table(unsigned_type(int(begins[-1])), f"{name}_begins", begins),
        )
        body += (
            f"    for (i = 0; i < {count}; i++) {{\n"
            f"        {kind} key = {key};\n"
            f"        uint32_t begin = {name}_begins[i], low = begin, left = {name}_begins[i + 1u] - begin, half;\n"
            "        for (; left > 1; left -= half) { /* with nothing to mispredict */\n"
            "            half = left / 2;\n"
            f"            low += half & (0u - (uint32_t)({read('low + half - 1')} < key));\n"
            "        }\n"
            f"        rank[i] = ({rank})(low - begin + ({read('low')} < key));\n"
            "    }\n"
        )
    if count < len(plan.slots):
        body += (
            f"    for (i = {count}; i < {len(plan.slots)}; i++)\n"
            f"        rank[i] = ({rank}){name}_apart(x[{feature}], i - {count}u);\n"
        )
    return lines(
        features,
        numeric,
        f"static void {name}_ranks(const {float_type(plan)} *x, {rank} *rank)\n{{\n    uint32_t i;\n{body}}}\n",
    )
