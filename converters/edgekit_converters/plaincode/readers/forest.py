"""Tree arrays of any library put together into one `Trees` step, without recursion and without a loop over nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import Builder, Clip, Register, Trees

LARGEST32 = float(np.finfo(np.float32).max)
LARGEST64 = float(np.finfo(np.float64).max)


@dataclass
class Tree:
    """One tree, nodes numbered from 0 (the root), leaves among them.

    Attributes:
        left: (nodes,) node; -1 makes it a leaf.
        right: (nodes,) likewise; only looked at where `left` is one.
        feature: (nodes,) column; not looked at in leaves.
        threshold: (nodes,) ``x <= threshold`` goes left; not looked at in leaves.
        missing_left: (nodes,) bool.
        values: (nodes,) or (nodes, k); only looked at in leaves.
        category_set: (nodes,) place in `sets`, or None where there are no category nodes.
        sets: Sets of whole numbers that go left.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    values: np.ndarray
    category_set: np.ndarray | None = None
    sets: list[tuple[int, ...]] = field(default_factory=list)


def largest32(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 not above each float64 threshold: ``float32(x) <= t`` asks the same of it.

    A threshold of infinity (a split into missing or not) becomes the largest finite float32.
    """
    wide = np.asarray(threshold, np.float64)
    with np.errstate(over="ignore"):
        near = wide.astype(np.float32)
    above = near.astype(np.float64) > wide
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    near[near == np.inf] = LARGEST32
    return near.astype(np.float64)


def below32(threshold: np.ndarray) -> np.ndarray:
    """The next smaller float32 of each threshold t, since ``x < t`` asks the same as ``x <=`` that one."""
    near = np.asarray(threshold).astype(np.float32)
    # Zero is a bound that both zeros lie on, so the step down is to the smallest negative number, from either zero.
    return np.nextafter(near, np.float32(-np.inf)).astype(np.float64)


def add_trees(
    builder: Builder, source: Register, trees: Sequence[Tree], base: Any, outputs: Iterable[int] = (), **settings: Any
) -> Register:
    """Append one step that sums trees.

    Args:
        builder: Where to.
        source: What the nodes look at.
        trees: In the order in which they are added.
        base: (outputs,) numbers.
        outputs: Output that each tree adds to; empty where each adds to all.
        settings: Further fields of `Trees`: ``divisor``, ``single_key``, ``single``, ``base_last``.

    Raises:
        ConversionError: The nodes do not form trees over the model's features.
    """
    width = len(np.atleast_1d(base))
    output = np.fromiter(outputs, np.int64)
    sizes = np.array([len(t.left) for t in trees], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)
    if not len(trees) or not sizes.all():
        raise ConversionError("the model has no trees, or one without nodes", "train it")
    owner = np.repeat(np.arange(len(trees)), sizes)
    left, right = _joined(trees, "left", np.int64), _joined(trees, "right", np.int64)
    feature = _joined(trees, "feature", np.int64)
    leaf = left == -1
    _check(left, right, feature, sizes[owner], ~leaf, source.width)
    left, right = left + starts[owner], right + starts[owner]
    reached = _reachable(left, right, leaf, starts)
    inner, kept = reached & ~leaf, reached & leaf
    place = np.where(leaf, -np.cumsum(kept), np.cumsum(inner) - 1)
    sets, category_set = _categories(trees, inner)
    values = _joined(trees, "values", np.float64)
    step = Trees(
        source=source,
        roots=place[starts],
        feature=feature[inner],
        threshold=_joined(trees, "threshold", np.float64)[inner],
        left=place[left[inner]],
        right=place[right[inner]],
        missing_left=_joined(trees, "missing_left", np.bool_)[inner],
        leaves=values.reshape(len(values), -1)[kept],
        base=np.asarray(np.atleast_1d(base), np.float64),
        output=output if len(output) else np.full(len(trees), -1),
        category_set=category_set,
        sets=sets,
        **settings,
    )
    if step.leaves.shape[1] != (1 if len(output) else width):
        raise ConversionError("the leaves of the trees do not fit the model's outputs", "the model is damaged")
    return builder.add(step)


def open_top(builder: Builder, source: Register, trees: Sequence[Tree], largest: float) -> Register:
    """The input of trees whose library takes infinite values and has thresholds of infinity, here `largest`.

    Such a threshold parts missing values from all others, so infinity itself must pass it: it is cut to `largest`,
    where there is such a node at all.
    """
    if not any((tree.threshold[tree.left >= 0] == largest).any() for tree in trees):
        return source
    return builder.add(Clip(source, np.array([-largest]), np.array([largest])))


def _joined(trees: Sequence[Tree], name: str, kind: Any) -> np.ndarray:
    return np.concatenate([np.asarray(getattr(t, name)) for t in trees]).astype(kind, copy=False)


def _check(
    left: np.ndarray, right: np.ndarray, feature: np.ndarray, size: np.ndarray, inner: np.ndarray, width: int
) -> None:
    for child in (left, right):
        if (inner & ((child < 0) | (child >= size))).any():
            raise ConversionError("a node of the trees leads nowhere", "the model is damaged")
    if (inner & ((feature < 0) | (feature >= width))).any():
        raise ConversionError(
            f"the trees look at feature {int(feature[inner].max())}, but the model has {width} features",
            "the model is damaged, or it was trained with other columns",
        )


def _reachable(left: np.ndarray, right: np.ndarray, leaf: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Nodes that a row can come to: libraries leave pruned ones in their arrays. One round for each level."""
    reached = np.zeros(len(left), bool)
    level = roots
    while level.size:
        if reached[level].any():
            raise ConversionError("the nodes of a tree form a circle", "the model is damaged")
        reached[level] = True
        inner = level[~leaf[level]]
        level = np.concatenate([left[inner], right[inner]])
        ordered = np.sort(level)
        if (ordered[1:] == ordered[:-1]).any():
            raise ConversionError("two nodes of the trees lead to the same one", "the model is damaged")
    return reached


def _categories(trees: Sequence[Tree], inner: np.ndarray) -> tuple[tuple[tuple[int, ...], ...], np.ndarray]:
    """The sets of all trees, equal ones once, and the set of each inner node."""
    places: dict[tuple[int, ...], int] = {}
    columns = []
    for tree in trees:
        if tree.category_set is None:
            columns.append(np.full(len(tree.left), -1, np.int64))
            continue
        local = np.array([places.setdefault(s, len(places)) for s in tree.sets] + [-1], np.int64)
        columns.append(local[tree.category_set])
    return tuple(places), np.concatenate(columns)[inner]
