"""Votes and averages: Voting*, Bagging*; means of single trees become one step of all trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part, read
from edgekit_converters.plaincode.readers import sklearn_common as common

# -- voting ----------------------------------------------------------------------------------------------------------


def _members(builder: ir.Builder, model: Any, source: ir.Register) -> list[Part]:
    names = [name for name, estimator in model.estimators if not isinstance(estimator, str)]
    parts = []
    for name, estimator in zip(names, model.estimators_, strict=True):
        with common.within(f"estimator {name!r} of {type(model).__name__}"):
            parts.append(read(builder, estimator, source))
    return parts


def _exact(parts: Sequence[Part], method: str) -> bool:
    return all(method in p.exact for p in parts)


def _average(builder: ir.Builder, model: Any, registers: list[ir.Register]) -> ir.Register:
    """``(w0 r0 + w1 r1 + …) / (w0 + w1 + …)``."""
    weights = model._weights_not_none
    if weights is None:
        return common.mean(builder, registers)
    scaled = [builder.add(ir.Affine(r, multiply=np.array([float(w)]))) for r, w in zip(registers, weights, strict=True)]
    return common.mean(builder, scaled, float(np.sum(np.asarray(weights, np.float64))))


def _voting_classifier(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts = _members(builder, model, source)
    if model.voting == "soft":
        likely = [common.only(p, "predict_proba") for p in parts]
        average = _average(builder, model, likely)
        return common.part(
            ("predict", "predict_proba", "transform") if _exact(parts, "predict_proba") else (),
            predict=common.largest(builder, average, model.classes_), predict_proba=average,
            transform=common.joined(builder, likely) if model.flatten_transform else None,
        )  # fmt: skip
    answers = [p.methods["predict"][0] for p in parts]
    weights = model._weights_not_none or [1.0] * len(parts)
    votes = [
        builder.add(ir.Affine(common.indicators(builder, a, range(len(model.classes_))), multiply=np.array([float(w)])))
        for a, w in zip(answers, weights, strict=True)
    ]
    return common.part(
        ("predict", "transform") if _exact(parts, "predict") else (),
        predict=common.largest(builder, common.total(builder, votes), model.classes_),
        transform=common.joined(builder, [common.values(builder, a) for a in answers]),
    )


def _voting_regressor(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts = _members(builder, model, source)
    predicted = [common.only(p, "predict") for p in parts]
    return common.part(
        ("predict", "transform") if _exact(parts, "predict") else (),
        predict=_average(builder, model, predicted), transform=common.joined(builder, predicted),
    )  # fmt: skip


# -- bagging ---------------------------------------------------------------------------------------------------------


def _bag(builder: ir.Builder, model: Any, source: ir.Register) -> list[Part]:
    parts = []
    for place, (estimator, chosen) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        with common.within(f"estimator {place} of {type(model).__name__}"):
            parts.append(read(builder, estimator, common.columns(builder, source, chosen)))
    return parts


def _spread(builder: ir.Builder, register: ir.Register, seen: Sequence[int], classes: int) -> ir.Register:
    """Probabilities of the classes that a member has seen, 0 for the others."""
    if len(seen) == classes:
        return register
    nothing = builder.add(ir.Constant(np.zeros(1)))
    places = [seen.index(c) if c in seen else register.width for c in range(classes)]
    return builder.add(ir.Select(builder.add(ir.Concat((register, nothing))), tuple(places)))


def _bagging_classifier(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    classes, begin = len(model.classes_), len(builder.steps)
    parts = _bag(builder, model, source)
    registers, exact = [], True
    for part, estimator in zip(parts, model.estimators_, strict=True):
        if "predict_proba" in part.methods:
            seen = [int(c) for c in estimator.classes_]
            registers.append(_spread(builder, common.only(part, "predict_proba"), seen, classes))
            exact = exact and "predict_proba" in part.exact
        else:
            registers.append(common.indicators(builder, part.methods["predict"][0], range(classes)))
            exact = exact and "predict" in part.exact
    decisions, scores = None, [p.methods.get("decision_function", ()) for p in parts]
    if all(len(s) == 1 and s[0].register.width == scores[0][0].register.width for s in scores):
        decisions = common.mean(builder, [s[0].register for s in scores])
    merged = mean_of_trees(builder, registers, begin) if decisions is None else None
    average = merged or common.mean(builder, registers)
    return common.part(
        ("predict", "predict_proba") if exact else (),
        predict=common.largest(builder, average, model.classes_), predict_proba=average, decision_function=decisions,
    )  # fmt: skip


def _bagging_regressor(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    begin = len(builder.steps)
    parts = _bag(builder, model, source)
    predicted = [common.gathered(builder, p, "predict") for p in parts]
    average = mean_of_trees(builder, predicted, begin) or common.mean(builder, predicted)
    return common.part(("predict",) if _exact(parts, "predict") else (), predict=common.outputs(builder, average))


def mean_of_trees(builder: ir.Builder, registers: Sequence[ir.Register], begin: int) -> ir.Register | None:
    """One `Trees` step for the mean of several, each of one undivided tree without a base; None where they are not so.

    The sum is the same, number by number, and a program of one step is smaller and faster than one of hundreds.

    Args:
        builder: Of the program.
        registers: One a member.
        begin: Number of steps before the members' own, which are taken away.
    """
    steps = [builder.steps[r.index - 1] for r in registers if r.index]
    trees = [s for s in steps if isinstance(s, ir.Trees)]
    if len(trees) != len(registers):
        return None
    sources = [f for f in (_raw_columns(builder, t, begin) for t in trees) if f is not None]
    first = trees[0]
    alike = all((t.single_key, t.single, t.width) == (first.single_key, first.single, first.width) for t in trees)
    plain = all(t.divisor == 1 and not t.base.any() and len(t.roots) == 1 for t in trees)
    if not alike or not plain or len(sources) < len(trees) or any(s != sources[0][0] for s, _ in sources):
        return None
    merged = _merged(trees, sources)
    del builder.steps[begin:]
    return builder.add(merged)


def _raw_columns(builder: ir.Builder, tree: ir.Trees, begin: int) -> tuple[ir.Register, np.ndarray] | None:
    """The register before the members that a tree looks at, and which of its columns."""
    source, rounds = tree.source, tree.single_key
    chosen = np.arange(source.width)
    while source.index > begin:
        step = builder.steps[source.index - 1]
        if isinstance(step, ir.Select):
            chosen, source = np.asarray(step.columns)[chosen], step.source
        elif isinstance(step, ir.Round32) and rounds:
            source = step.source
        else:
            return None
    return source, chosen


def _merged(trees: Sequence[ir.Trees], sources: Sequence[tuple[ir.Register, np.ndarray]]) -> ir.Trees:
    nodes = np.cumsum([0, *(len(t.feature) for t in trees)])
    leaves = np.cumsum([0, *(len(t.leaves) for t in trees)])
    groups = np.cumsum([0, *(len(t.sets) for t in trees)])

    def moved(place: np.ndarray, member: int) -> np.ndarray:
        return np.asarray(np.where(place >= 0, place + nodes[member], place - leaves[member]))

    def together(name: str) -> np.ndarray:
        return np.concatenate([moved(getattr(t, name), i) for i, t in enumerate(trees)])

    return replace(
        trees[0],
        source=sources[0][0],
        roots=together("roots"),
        left=together("left"),
        right=together("right"),
        feature=np.concatenate([c[t.feature] for t, (_, c) in zip(trees, sources, strict=True)]),
        threshold=np.concatenate([t.threshold for t in trees]),
        missing_left=np.concatenate([t.missing_left for t in trees]),
        category_set=np.concatenate(
            [np.where(t.category_set < 0, -1, t.category_set + groups[i]) for i, t in enumerate(trees)]
        ),
        sets=tuple(s for t in trees for s in t.sets),
        leaves=np.concatenate([t.leaves for t in trees]),
        output=np.concatenate([t.output for t in trees]),
        divisor=float(len(trees)),
    )


READS = common.table(
    {
        "BaggingClassifier": _bagging_classifier,
        "BaggingRegressor": _bagging_regressor,
        "VotingClassifier": _voting_classifier,
        "VotingRegressor": _voting_regressor,
    }
)
