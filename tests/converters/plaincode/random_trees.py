"""Random `Trees` steps, and rows that lie on and beside their thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from edgekit_converters.plaincode import ir

TINY32, HUGE32 = float(np.float32(1e-45)), float(np.finfo(np.float32).max)
ODD = (0.0, -0.0, TINY32, -TINY32, 1e-40, HUGE32, -HUGE32, 1.0, -1.0, 0.5, 16777216.0)


@dataclass(frozen=True)
class Shape:
    """What kind of trees."""

    seed: int
    trees: int
    depth: int
    features: int
    outputs: int
    single_key: bool = True
    single: bool = False
    per_tree: bool = False
    base_last: bool = False
    missing: bool = False
    categories: int = 0
    divisor: float = 1.0
    odd: bool = False
    few_leaves: bool = False


shapes = st.builds(
    Shape,
    seed=st.integers(0, 2**32 - 1),
    trees=st.integers(1, 21),
    depth=st.integers(0, 9),
    features=st.integers(1, 70),
    outputs=st.sampled_from([1, 1, 2, 3, 7, 11]),
    single_key=st.booleans(),
    single=st.booleans(),
    per_tree=st.booleans(),
    base_last=st.booleans(),
    missing=st.booleans(),
    categories=st.sampled_from([0, 0, 5, 70, 100_000]),
    divisor=st.sampled_from([1.0, 1.0, 3.0, 100.0]),
    odd=st.booleans(),
    few_leaves=st.booleans(),
)


def trees_of(shape: Shape) -> ir.Trees:
    """Trees of a shape; the same seed gives the same trees."""
    rng = np.random.default_rng(shape.seed)
    nodes: list[list[float]] = []  # feature, threshold, left, right, missing_left, set
    leaves: list[np.ndarray] = []
    sets: list[tuple[int, ...]] = []
    columns = 1 if shape.per_tree else shape.outputs
    scale = 10.0 ** rng.integers(-3, 4)
    pool = rng.normal(size=(4, columns)) * scale

    def leaf() -> int:
        value = pool[rng.integers(4)] if shape.few_leaves else rng.normal(size=columns) * scale
        leaves.append(np.where(rng.random(columns) < 0.2, 0.0, value))
        return -len(leaves)

    def node() -> int:
        feature = int(rng.integers(shape.features))
        threshold = float(rng.choice(ODD)) if shape.odd and rng.random() < 0.5 else float(rng.normal())
        place = -1
        if shape.categories and rng.random() < 0.4:
            members = rng.choice(shape.categories, size=rng.integers(0, min(shape.categories, 9)), replace=False)
            place = len(sets)
            sets.append(tuple(sorted(int(m) for m in members)))
        left = shape.missing and rng.random() < 0.5
        nodes.append([feature, threshold, 0, 0, left, place])
        return len(nodes) - 1

    def tree() -> int:
        if shape.depth == 0 or rng.random() < 0.1:
            return leaf()
        root = node()
        open_nodes = [(root, 1)]
        while open_nodes:
            at, depth = open_nodes.pop()
            for side in (2, 3):
                grows = depth < shape.depth and rng.random() < 0.6
                nodes[at][side] = child = node() if grows else leaf()
                if grows:
                    open_nodes.append((child, depth + 1))
        return root

    roots = np.array([tree() for _ in range(shape.trees)], np.int64)
    table = np.array(nodes, np.float64).reshape(-1, 6)
    threshold = table[:, 1].astype(np.float32).astype(np.float64) if shape.single_key else table[:, 1]
    values = np.array(leaves)
    base = rng.normal(size=shape.outputs) * scale
    if shape.single:
        values, base = (v.astype(np.float32).astype(np.float64) for v in (values, base))
    every = np.full(shape.trees, -1, np.int64)
    turns = (
        np.arange(shape.trees) % shape.outputs if rng.random() < 0.5 else rng.integers(shape.outputs, size=shape.trees)
    )
    step = ir.Trees(
        source=ir.Register(0, shape.features), roots=roots, threshold=threshold, leaves=values, base=base,
        feature=table[:, 0].astype(np.int64), left=table[:, 2].astype(np.int64), right=table[:, 3].astype(np.int64),
        missing_left=table[:, 4].astype(bool), category_set=table[:, 5].astype(np.int64), sets=tuple(sets),
        output=turns.astype(np.int64) if shape.per_tree else every, divisor=shape.divisor,
        single_key=shape.single_key, single=shape.single, base_last=shape.base_last,
    )  # fmt: skip
    step.check()
    return step


def chain(levels: int, single_key: bool = True) -> ir.Trees:
    """One tree that goes down one level a node, to the right."""
    at = np.arange(levels)
    return ir.Trees(
        source=ir.Register(0, 1), roots=np.array([0]), feature=np.zeros(levels, np.int64),
        threshold=at.astype(np.float64), left=-1 - at, right=np.append(at[1:], -1 - levels),
        missing_left=np.zeros(levels, bool), leaves=np.arange(levels + 1, dtype=np.float64)[:, None],
        base=np.zeros(1), output=np.array([-1]), category_set=np.full(levels, -1), single_key=single_key,
    )  # fmt: skip


def rows_of(step: ir.Trees, rng: np.random.Generator, count: int) -> np.ndarray:
    """Rows whose values are thresholds, their neighbours in both types, category codes, odd numbers or any numbers."""
    pools = []
    for column in range(step.source.width):
        here = step.threshold[step.feature == column]
        single = here.astype(np.float32)
        with np.errstate(all="ignore"):
            near = [np.nextafter(single, np.float32(s * np.inf)).astype(np.float64) for s in (-1, 1)]
            near += [np.nextafter(here, s * np.inf) for s in (-1, 1)]
        codes = [c for s in step.sets for c in (*s, *(m + 1 for m in s), *(m + 0.5 for m in s))][:40]
        pools.append(np.concatenate([here, *near, ODD, [np.inf, -np.inf, np.nan, -np.nan, -0.5, 1e30], codes]))
    rows = np.stack([rng.choice(p, size=count) for p in pools], axis=1)
    anything = rng.normal(size=rows.shape)
    rows = np.where(rng.random(rows.shape) < 0.3, anything, rows)
    return rows.astype(np.float32).astype(np.float64) if step.single_key else rows
