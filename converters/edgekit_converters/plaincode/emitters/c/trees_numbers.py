"""Which unsigned numbers of 32 bits a row is turned into, and what nodes compare them with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit_converters.plaincode.emitters.c import trees_input, trees_short
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan
from edgekit_converters.plaincode.emitters.c.trees_text import lines

_OFFSET = 2**31


@dataclass(frozen=True, eq=False)
class Numbers:
    """A row's numbers.

    Attributes:
        code: C of what turns a row into them.
        function: Its name: ``static void FUNCTION(const KEY *x, uint32_t *key)``.
        keys: (nodes,) a row goes left where its slot's number is at most that.
    """

    code: str
    function: str
    keys: np.ndarray


def numbers(plan: Plan, name: str, quick: bool) -> Numbers:
    """Keys of float features; short keys of double ones if `quick` and possible, else places among the thresholds."""
    helpers = lines(
        trees_input.key_function(plan, name) if trees_input.numeric_slots(plan) else "",
        trees_input.category_function(plan, name),
    )
    if plan.step.single_key:
        keys = plan.key + np.where(plan.step.category_set[plan.source] < 0, _OFFSET, 0)
        return Numbers(helpers + trees_input.row_keys(plan, name), f"{name}_keys", keys)
    short = trees_short.short_keys(plan) if quick else None
    if short is not None:
        return Numbers(helpers + trees_short.row_short_keys(plan, name, short), f"{name}_keys", short.keys)
    return Numbers(helpers + trees_input.row_ranks(plan, name, "uint32_t"), f"{name}_ranks", plan.ranks)
