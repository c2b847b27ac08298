"""Rows that hug a model: values at which its decisions change, one step to either side, missing and unknown ones.

Random rows hardly ever meet a threshold, so they do not tell ``<`` from ``<=``, float32 from float64, or where NaN
goes. These do. Half of them are walks: a row is taken down one tree, and at a random node of its path the value that
the node looks at is replaced; so deep nodes are reached as well as roots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir, reference

_WALKED = 0.5
_SPECIAL = 0.25


def adversarial_rows(
    program: ir.Program, rows: Any, count: int, seed: int, *, infinite: Sequence[int] = ()
) -> np.ndarray:
    """Rows that hug a program's decisions.

    Args:
        program: The program; one that takes a text has no such rows.
        rows: (n, features) real rows to start from, categories as codes; at least one.
        count: Rows wanted.
        seed: The same seed gives the same rows.
        infinite: Features in which the source takes infinite values.

    Returns:
        (count, features) float64. NaN only where a feature takes missing values.
    """
    if any(f.kind == ir.TEXT for f in program.features):
        return np.empty((0, len(program.features)))
    random = np.random.default_rng(seed)
    real = np.asarray(rows, np.float64).reshape(len(rows), len(program.features))
    made = real[random.integers(len(real), size=count)].copy()
    nodes = _Nodes(program, made)
    values = [_values(program, i, nodes.thresholds(i), i in set(infinite)) for i in range(len(program.features))]
    walked = random.random(count) < _WALKED
    for row in np.flatnonzero(walked):
        found = nodes.on_path(int(row), random)
        if found is not None:
            feature, threshold = found
            made[row, feature] = random.choice(_around(threshold))
    for row in np.flatnonzero(~walked):
        for feature in random.integers(len(values), size=random.integers(1, 4)):
            if len(values[feature][0]):
                made[row, feature] = random.choice(values[feature][0])
    # The first special value of each feature, then the second of each, …, so that few rows show the most.
    specials = [
        (feature, special[rank])
        for rank in range(max(len(special) for _, special in values))
        for feature, (_, special) in enumerate(values)
        if rank < len(special)
    ]
    for place, row in enumerate(random.permutation(count)[: int(count * _SPECIAL)]):
        feature, value = specials[place % len(specials)]
        made[row, feature] = value
    return made


def _around(threshold: float) -> np.ndarray:
    """The number itself, its float32, and a step below and above it in float32 and in float64."""
    with np.errstate(over="ignore"):
        single = np.float32(threshold)
        near = [
            threshold,
            float(single),
            float(np.nextafter(single, np.float32(-np.inf))),
            float(np.nextafter(single, np.float32(np.inf))),
            np.nextafter(threshold, -np.inf),
            np.nextafter(threshold, np.inf),
        ]
        # Half way to the next float32: rounding to float32 goes to either side of it.
        middle = (near[1] + near[3]) / 2
        near += [middle, float(np.nextafter(middle, -np.inf)), float(np.nextafter(middle, np.inf))]
    found: np.ndarray = np.array(near, np.float64)
    return np.asarray(found[np.abs(found) <= np.finfo(np.float32).max])


def _values(program: ir.Program, index: int, thresholds: np.ndarray, infinite: bool) -> tuple[np.ndarray, np.ndarray]:
    """What to try in one feature: many of one sort, and few that are special, so that these are not lost among them."""
    feature = program.features[index]
    special = [np.nan] if feature.missing else []
    if feature.kind == ir.CATEGORY:
        return np.arange(float(len(feature.categories))), np.array([-1.0, *special])
    categories = _categories(program, index)
    if len(categories):  # libraries differ in what they make of other than whole numbers, and none is a category
        return categories, np.array([-1.0, categories.max() + 1, categories.max() + 1000, *special])
    special += [*([np.inf, -np.inf] if infinite else []), 0.0, -0.0, 1e-35, -1e-35, 1e-38, 1.0]
    hugging = [_around(t) for t in thresholds.tolist()]
    return np.concatenate(hugging) if hugging else np.empty(0), np.array(special)


def _categories(program: ir.Program, index: int) -> np.ndarray:
    """Numbers that stand for categories of a number feature; empty where none do."""
    known: set[float] = set()
    for step in program.steps:
        if isinstance(step, (ir.Replace, ir.Encode, ir.KnownOnly)):
            if _origin(program, step.source, step.column) == index:
                known |= set(step.values[np.isfinite(step.values)].tolist())
        elif isinstance(step, ir.Trees) and step.sets:
            category = step.category_set >= 0
            for column in np.unique(step.feature[category]).tolist():
                if _origin(program, step.source, column) == index:
                    used = np.unique(step.category_set[(step.feature == column) & category])
                    known |= {float(v) for s in used.tolist() for v in step.sets[s]}
    return np.array(sorted(known), np.float64)


def _origin(program: ir.Program, register: ir.Register, column: int) -> int:
    """The feature that a register's column is, but for gaps and extremes; -1 if it was computed."""
    while register.index:
        step = program.steps[register.index - 1]
        if isinstance(step, ir.Select):
            register, column = step.source, step.columns[column]
        elif isinstance(step, ir.Concat):
            for part in step.parts:
                if column < part.width:
                    register = part
                    break
                column -= part.width
        elif isinstance(step, (ir.Clip, ir.Impute, ir.KnownOnly, ir.Round32, ir.ZeroToMissing)):
            register = step.source
        else:
            return -1
    return column


class _Nodes:
    """The numeric nodes of a program's trees whose column is a feature of the row, unchanged."""

    def __init__(self, program: ir.Program, rows: np.ndarray) -> None:
        self._steps = [s for s in program.steps if isinstance(s, ir.Trees) and len(s.feature)]
        inputs = {str(i): (ir.Answer(s.source),) for i, s in enumerate(self._steps)}
        looked_at = reference.run(ir.Program(program.features, program.steps, inputs), rows)
        self._inputs = [looked_at[name][0] for name in inputs]
        self._origins = [
            np.array([_origin(program, s.source, c) for c in range(s.source.width)], np.int64) for s in self._steps
        ]

    def thresholds(self, feature: int) -> np.ndarray:
        """Those that a feature is compared with, each once."""
        found = [
            step.threshold[(origin[step.feature] == feature) & (step.category_set < 0)]
            for step, origin in zip(self._steps, self._origins, strict=True)
        ]
        return np.unique(np.concatenate(found)) if found else np.empty(0)

    def on_path(self, row: int, random: np.random.Generator) -> tuple[int, float] | None:
        """A random node on a row's way down a random tree: its feature and threshold."""
        if not self._steps:
            return None
        chosen = int(random.integers(len(self._steps)))
        step, origin = self._steps[chosen], self._origins[chosen]
        path = [
            node
            for node in _path(step, self._inputs[chosen][row], int(random.choice(step.roots)))
            if origin[step.feature[node]] >= 0 and step.category_set[node] < 0
        ]
        if not path:
            return None
        node = path[int(random.integers(len(path)))]
        return int(origin[step.feature[node]]), float(step.threshold[node])


def _path(step: ir.Trees, row: np.ndarray, node: int) -> Iterator[int]:
    """Nodes of a tree that a row comes through."""
    key = row.astype(np.float32).astype(np.float64) if step.single_key else row
    while node >= 0:
        yield node
        value = key[step.feature[node]]
        if np.isnan(value):
            left = bool(step.missing_left[node])
        elif step.category_set[node] >= 0:
            left = bool(np.isfinite(value)) and int(value) in step.sets[step.category_set[node]]
        else:
            left = bool(value <= step.threshold[node])
        node = int(step.left[node] if left else step.right[node])
