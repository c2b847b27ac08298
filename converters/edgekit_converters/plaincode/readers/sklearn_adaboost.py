"""scikit-learn's AdaBoost: votes of classifiers (SAMME), weighted medians of regressors (R2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import (
    Above,
    Affine,
    Answer,
    Argmax,
    Arithmetic,
    Builder,
    Concat,
    Register,
    Replace,
    Softmax,
    WeightedMedian,
)
from edgekit_converters.plaincode.reader import Part, read
from edgekit_converters.plaincode.readers.checks import fitted, labels, refuses_missing
from edgekit_converters.plaincode.readers.forest import Tree, add_trees
from edgekit_converters.plaincode.readers.sklearn_trees import tree_of

_TREES = {"DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"}


def _all_trees(model: Any) -> bool:
    return all(type(m).__name__ in _TREES and type(m).__module__.startswith("sklearn.") for m in model.estimators_)


def read_adaboost_classifier(builder: Builder, model: Any, source: Register) -> Part:
    """A sum over members: ``w`` for the class that a member names, ``-w / (classes - 1)`` for the others.

    With two classes the decision is the second class' sum less the first's, which are each other's negative: one sum
    of ``±2 w``, equal to the bit because doubling is exact.
    """
    fitted(model, "estimators_", "estimator_weights_", "classes_", source=source)
    classes = model.classes_
    count = len(classes)
    if count == 1:
        raise ConversionError("the AdaBoostClassifier knows only one class", "train it with two or more")
    weights = model.estimator_weights_
    tables = [_votes(m, float(w), classes) for m, w in zip(model.estimators_, weights, strict=False)]
    total = float(weights.sum())
    width = tables[0].shape[1]
    if _all_trees(model):
        trees = []
        for member, table in zip(model.estimators_, tables, strict=True):
            value = fitted(member, "tree_").tree_.value
            trees.append(tree_of(member, table[value.reshape(len(value), -1).argmax(axis=1)]))
        decision = add_trees(builder, source, trees, np.zeros(width), divisor=total)
    else:
        decision = _sum_of_members(builder, model, source, tables, total)
    if count == 2:
        place = builder.add(Above(decision, 0.0))
        halves = builder.add(Affine(decision, divide=np.array([2.0])))
        scores = builder.add(Concat((builder.add(Affine(halves, multiply=-np.ones(1))), halves)))
    else:
        place = builder.add(Argmax(decision))
        scores = builder.add(Affine(decision, divide=np.array([float(count - 1)])))
    return Part(
        {
            "predict": (Answer(place, labels(classes)),),
            "predict_proba": (Answer(builder.add(Softmax(scores))),),
            "decision_function": (Answer(decision),),
        },
        {"predict", "decision_function"} if _all_trees(model) else set(),
    )


def _votes(member: Any, weight: float, classes: np.ndarray) -> np.ndarray:
    """(member's classes, outputs): what its naming a class adds to each output."""
    count = len(classes)
    named = fitted(member, "classes_").classes_[:, None] == classes[None]
    votes: np.ndarray = np.where(named, weight, -1 / (count - 1) * weight)
    return 2 * votes[:, 1:] if count == 2 else votes


def _sum_of_members(
    builder: Builder, model: Any, source: Register, tables: list[np.ndarray], divisor: float
) -> Register:
    """The votes of members of any kind, added in order."""
    total: Register | None = None
    for member, table in zip(model.estimators_, tables, strict=True):
        with refuses_missing(builder):
            place = read(builder, member, source).register("predict")
        places = np.arange(float(len(table)))
        columns = tuple(builder.add(Replace(place, 0, places, table[:, i])) for i in range(table.shape[1]))
        votes = columns[0] if len(columns) == 1 else builder.add(Concat(columns))
        total = votes if total is None else builder.add(Arithmetic(total, votes, "+"))
    if total is None:
        raise ConversionError("the AdaBoostClassifier has no members", "train it")
    return builder.add(Affine(total, divide=np.array([divisor])))


def read_adaboost_regressor(builder: Builder, model: Any, source: Register) -> Part:
    """The members' weighted median."""
    fitted(model, "estimators_", "estimator_weights_", source=source)
    members = model.estimators_
    if _all_trees(model):
        trees: list[Tree] = [tree_of(m) for m in members]
        each = add_trees(builder, source, trees, np.zeros(len(members)), range(len(members)))
    else:
        with refuses_missing(builder):
            each = builder.add(Concat(tuple(read(builder, m, source).register("predict") for m in members)))
    weights = np.asarray(model.estimator_weights_, np.float64)[: len(members)]
    median = builder.add(WeightedMedian(each, weights))
    return Part({"predict": (Answer(median),)}, {"predict"} if _all_trees(model) else set())
