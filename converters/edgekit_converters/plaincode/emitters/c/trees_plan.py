"""What every layout of trees in C begins with: nodes in walking order, whole-number keys, leaves without repetitions.

A node asks whether a whole number is at most another. Floating-point numbers become whole numbers in the same order
(`ordered_keys`), so NaN, -0.0 and denormals need no care at a node: NaN is given the largest or the smallest number,
by the direction that it goes in. A *slot* is one such number of a row: a feature's key with one direction for NaN, or
whether a value is in a set of categories (0, goes left) or not (1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import Trees

_LARGEST_CATEGORY = 2**32 - 1
_INT32_MAX, _INT64_MAX = 2**31 - 1, 2**63 - 1


@dataclass(frozen=True)
class Slot:
    """One whole number of a row.

    Attributes:
        feature: Column that it is made of.
        missing_left: Whether NaN goes left.
        category_set: Place of the set that it stands for; -1 where it is the feature's key.
    """

    feature: int
    missing_left: bool
    category_set: int = -1


def ordered_keys(values: np.ndarray, single: bool) -> np.ndarray:
    """Whole numbers (int64) in the order of floating-point ones: bits, those below the sign flipped if it is set.

    -0.0 as a threshold becomes 0.0: a row's -0.0 has the key -1, which is at most 0 and above every negative one.
    """
    values = np.asarray(values, np.float64) + 0.0
    if single:
        bits = values.astype(np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, bits ^ _INT32_MAX, bits)
    bits = values.view(np.int64)
    return np.where(bits < 0, bits ^ _INT64_MAX, bits)


@dataclass(frozen=True, eq=False)
class Plan:
    """Trees with their nodes renumbered: tree by tree, each node before its left part, that before its right part.

    The left child of node ``i``, if it has one, is ``i + 1``; the right one ``i + 1 + left[i]``. Leaves are numbered
    from left to right; the leaves below node ``i`` begin at ``leaf[i]``.

    Attributes:
        step: The trees.
        slots: What nodes look at: numbers first, by direction of NaN and feature, then sets.
        source: (nodes,) each node's number in `step`.
        slot: (nodes,) place in `slots`.
        key: (nodes,) int64; a row goes left where its slot's number is at most that; 0 for sets.
        size: (nodes,) number of nodes of the part that begins here, itself counted.
        left: (nodes,) number of nodes in the left part; 0 where that is a leaf.
        leaf: (nodes,) number of the first leaf below.
        levels: (nodes,) distance from the root.
        depth: (trees,) longest way to a leaf.
        first: (trees + 1,) node that a tree begins at; its leaves begin at ``first[t] + t``.
        values: (leaves,) row of `step.leaves`.
    """

    step: Trees
    slots: tuple[Slot, ...]
    source: np.ndarray
    slot: np.ndarray
    key: np.ndarray
    size: np.ndarray
    left: np.ndarray
    leaf: np.ndarray
    levels: np.ndarray
    depth: np.ndarray
    first: np.ndarray
    values: np.ndarray

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.depth)

    @property
    def nodes(self) -> int:
        """Number of nodes that ask something."""
        return len(self.slot)

    @property
    def right(self) -> np.ndarray:
        """(nodes,) number of nodes in the right part."""
        return np.asarray(self.size - 1 - self.left)

    @cached_property
    def thresholds(self) -> tuple[np.ndarray, ...]:
        """For each slot, the keys it is compared with, sorted, each once."""
        order = np.lexsort((self.key, self.slot))
        slot, key = self.slot[order], self.key[order]
        new = np.ones(len(slot), bool)
        new[1:] = (slot[1:] != slot[:-1]) | (key[1:] != key[:-1])
        ends = np.searchsorted(slot[new], np.arange(len(self.slots) + 1))
        return tuple(np.split(key[new], ends[1:-1])) if self.slots else ()

    @cached_property
    def ranks(self) -> np.ndarray:
        """(nodes,) place of each node's key among its slot's `thresholds`."""
        result = np.zeros(self.nodes, np.int64)
        order = np.argsort(self.slot, kind="stable")
        ends = np.searchsorted(self.slot[order], np.arange(len(self.slots) + 1))
        for place, keys in enumerate(self.thresholds):
            here = order[ends[place] : ends[place + 1]]
            result[here] = np.searchsorted(keys, self.key[here])
        return result


def plan(step: Trees) -> Plan:
    """The plan of some trees.

    Raises:
        ConversionError: A category is no whole number of 32 bits.
    """
    if any(s and s[-1] > _LARGEST_CATEGORY for s in step.sets):
        raise ConversionError("a category of the trees is above 4294967295", "number the categories from 0")
    levels = _levels(step)
    size, left = _sizes(step, levels)
    first = np.concatenate([[0], np.cumsum(size[np.maximum(step.roots, -1)])])
    place, leaf, values = _places(step, levels, left, first)
    depth, distance = np.zeros(len(step.roots), np.int64), np.zeros(len(step.feature), np.int64)
    for number, level in enumerate(levels):
        distance[level] = number
        depth[np.searchsorted(first, place[level], side="right") - 1] = number + 1
    slots, slot = _slots(step)
    key = np.zeros(len(step.feature), np.int64)
    numeric = step.category_set < 0
    key[numeric] = ordered_keys(step.threshold[numeric], step.single_key)
    order = np.argsort(place)
    return Plan(
        step, slots, order, slot[order], key[order], size[order], left[order], leaf[order], distance[order], depth,
        first, values,
    )  # fmt: skip


def _levels(step: Trees) -> list[np.ndarray]:
    """Nodes by their distance from the root."""
    levels = []
    level = step.roots[step.roots >= 0]
    while level.size:
        levels.append(level)
        level = np.concatenate([step.left[level], step.right[level]])
        level = level[level >= 0]
    return levels


def _sizes(step: Trees, levels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(nodes + 1,) nodes below and at each one, 0 at the end, which -1 looks at; (nodes,) nodes in its left part."""
    size = np.zeros(len(step.feature) + 1, np.int64)
    left = np.zeros(len(step.feature), np.int64)
    for level in reversed(levels):
        left[level] = size[np.maximum(step.left[level], -1)]
        size[level] = 1 + left[level] + size[np.maximum(step.right[level], -1)]
    return size, left


def _places(
    step: Trees, levels: list[np.ndarray], left: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(nodes,) new number and first leaf of each node; (leaves,) row of the leaves' values."""
    place, leaf = np.zeros(len(left), np.int64), np.zeros(len(left), np.int64)
    values = np.zeros(len(left) + len(step.roots), np.int64)
    trees = np.arange(len(step.roots))

    def put(nodes: np.ndarray, at: np.ndarray, leaf_at: np.ndarray) -> None:
        inner = nodes >= 0
        place[nodes[inner]], leaf[nodes[inner]] = at[inner], leaf_at[inner]
        values[leaf_at[~inner]] = -1 - nodes[~inner]

    put(step.roots, first[:-1], first[:-1] + trees)
    for level in levels:
        at, leaf_at, skip = place[level], leaf[level], left[level] + 1
        put(step.left[level], at + 1, leaf_at)
        put(step.right[level], at + skip, leaf_at + skip)
    return place, leaf, values


def _slots(step: Trees) -> tuple[tuple[Slot, ...], np.ndarray]:
    width = step.source.width
    code = ((step.category_set + 1) * 2 + step.missing_left) * width + step.feature  # sorts as slots are to be sorted
    asked, slot = np.unique(code, return_inverse=True)
    slots = tuple(Slot(c % width, bool(c // width % 2), c // width // 2 - 1) for c in asked.tolist())
    return slots, slot.reshape(-1)
