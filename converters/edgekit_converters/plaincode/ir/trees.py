"""Decision trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir.base import Register, Step


@dataclass(frozen=True, eq=False)
class Trees(Step):
    """A sum of decision trees: ``(base + leaf of tree 0 + leaf of tree 1 + …) / divisor``, added one by one, in order.

    Nodes of all trees lie in common arrays. A row goes left at a numeric node where ``x <= threshold``: sources that
    ask ``x < t`` get the next smaller threshold. At a category node it goes left where the whole part of x is in the
    node's set. NaN goes where `missing_left` says. All thresholds are numbers of the key type: float32 if `single_key`
    (the row is rounded to float32 first), else float64.

    Attributes:
        source: What nodes look at.
        roots: (trees,) int64: node where a tree begins; ``-1 - leaf`` where the tree is a single leaf.
        feature: (nodes,) int64 column.
        threshold: (nodes,) float64; not looked at in category nodes.
        left: (nodes,) int64 node to go on with, or ``-1 - leaf``.
        right: (nodes,) likewise.
        missing_left: (nodes,) bool.
        category_set: (nodes,) int64 place in `sets`, -1 for numeric nodes.
        sets: Category sets, each a sorted tuple of whole numbers ≥ 0.
        leaves: (leaves, k) float64; k is `outputs`, or 1 where each tree adds to one output.
        output: (trees,) int64 output that a tree adds to, all -1 where every tree adds to all outputs.
        base: (outputs,) float64.
        divisor: For averages; 1 for sums.
        single_key: Whether features are compared as float32.
        single: Whether leaves are float32 and added in float32.
        base_last: Whether `base` is added after the trees, not before.
    """

    name = "trees"
    source: Register
    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    leaves: np.ndarray
    base: np.ndarray
    output: np.ndarray
    category_set: np.ndarray
    sets: tuple[tuple[int, ...], ...] = ()
    divisor: float = 1.0
    single_key: bool = True
    single: bool = False
    base_last: bool = False

    @property
    def width(self) -> int:
        return len(self.base)

    def check(self) -> None:
        """Whether every tree ends in leaves, and numbers are numbers.

        Raises:
            ConversionError: It does not; says which node.
        """
        numeric = self.category_set < 0
        if not np.isfinite(self.threshold[numeric]).all():
            bad = int(np.flatnonzero(numeric & ~np.isfinite(self.threshold))[0])
            raise ConversionError(f"node {bad} of the trees has the threshold {self.threshold[bad]}", "train it again")
        if not np.isfinite(self.leaves).all() or not np.isfinite(self.base).all():
            raise ConversionError("a leaf of the trees is not a finite number", "train it again")
        visits = np.zeros(len(self.feature), np.int64)
        for child in (self.roots, self.left, self.right):
            if child.size and (child.max() >= len(self.feature) or child.min() < -len(self.leaves)):
                raise ConversionError("a node of the trees leads nowhere", "the model file is damaged")
            np.add.at(visits, child[child >= 0], 1)
        if (visits != 1).any() or (len(self.feature) and self.feature.max() >= self.source.width):
            raise ConversionError("the trees' nodes do not form trees over the model's features", "it is damaged")
