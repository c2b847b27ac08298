"""scikit-learn's decision trees and the ensembles that average them.

They round the row to float32, compare with float64 thresholds (``x <= t``), and add the trees' float64 answers in the
order of ``estimators_`` (with ``n_jobs=1``: otherwise the order of the threads), then divide by their number. So do we:
every answer is equal to the bit, but an isolation forest's scores, which are a power of two of such a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit_converters.plaincode.ir import Above, Affine, Answer, Apply, Argmax, Builder, Register, Select
from edgekit_converters.plaincode.reader import Part, Read
from edgekit_converters.plaincode.readers.checks import fitted, labels
from edgekit_converters.plaincode.readers.forest import LARGEST32, Tree, add_trees, largest32, open_top


def tree_of(model: Any, values: np.ndarray | None = None, columns: np.ndarray | None = None) -> Tree:
    """The arrays of a fitted tree.

    Args:
        model: A decision tree of scikit-learn.
        values: (nodes,) or (nodes, k) answers; by default its own, (nodes, outputs * classes).
        columns: Columns that it was trained on, all by default.
    """
    nodes = fitted(model, "tree_").tree_.__getstate__()["nodes"]
    own, feature = model.tree_.value, np.maximum(nodes["feature"], 0)  # leaves have a negative one
    return Tree(
        left=nodes["left_child"],
        right=nodes["right_child"],
        feature=feature if columns is None else np.asarray(columns)[feature],
        threshold=largest32(nodes["threshold"]),
        missing_left=nodes["missing_go_to_left"],
        values=own.reshape(len(own), -1) if values is None else values,
    )


def takes_missing(model: Any) -> bool:
    """Whether scikit-learn lets NaN through to a model."""
    return bool(model.__sklearn_tags__().input_tags.allow_nan)


def _read(builder: Builder, model: Any, source: Register, members: Sequence[Any]) -> Part:
    """A mean of trees: of their probabilities, or of their numbers."""
    outputs = int(model.n_outputs_)
    classes = int(np.max(model.n_classes_)) if hasattr(model, "classes_") else 1
    if takes_missing(members[0]):
        builder.takes_missing(source)
    total = add_trees(
        builder, source, [tree_of(m) for m in members], np.zeros(outputs * classes), divisor=float(len(members))
    )
    if not hasattr(model, "classes_"):
        return Part({"predict": tuple(Answer(r) for r in _split(builder, total, [1] * outputs, 1))}, {"predict"})
    names = model.classes_ if outputs > 1 else [model.classes_]
    chances = _split(builder, total, [len(n) for n in names], classes)
    places = [builder.add(Argmax(c)) for c in chances]
    predicted = tuple(Answer(p, labels(n)) for p, n in zip(places, names, strict=True))
    return Part(
        {"predict": predicted, "predict_proba": tuple(Answer(c) for c in chances)}, {"predict", "predict_proba"}
    )


def _split(builder: Builder, total: Register, widths: Sequence[int], stride: int) -> list[Register]:
    """A register for each output of a multi-output model."""
    if len(widths) == 1:
        return [total]
    return [builder.add(Select(total, tuple(range(i * stride, i * stride + width)))) for i, width in enumerate(widths)]


def read_tree(builder: Builder, model: Any, source: Register) -> Part:
    """One decision tree."""
    return _read(builder, fitted(model, "tree_", source=source), source, [model])


def read_forest(builder: Builder, model: Any, source: Register) -> Part:
    """A random forest, or one of extremely random trees."""
    return _read(builder, fitted(model, "estimators_", source=source), source, model.estimators_)


def read_isolation(builder: Builder, model: Any, source: Register) -> Part:
    """An isolation forest: ``-2 ** -(sum of depths / (trees * expected depth))``, and that less its offset.

    A leaf's depth is the number of nodes above it and the depth that the samples in it would have been parted at.
    """
    from sklearn.ensemble._iforest import _average_path_length  # its own formula, to the last bit

    fitted(model, "estimators_", "offset_", "_average_path_length_per_tree", "_decision_path_lengths", source=source)
    builder.takes_missing(source)
    parts = zip(model._decision_path_lengths, model._average_path_length_per_tree, strict=True)
    depths = [path + expected - 1.0 for path, expected in parts]
    trees = [
        tree_of(member, depth, columns)
        for member, depth, columns in zip(model.estimators_, depths, model.estimators_features_, strict=True)
    ]
    source = open_top(builder, source, trees, LARGEST32)
    scale = float(len(trees) * _average_path_length([model._max_samples])[0])
    depth = add_trees(builder, source, trees, [0.0], divisor=scale or 1.0)
    if not scale:  # one training sample: the score is set to that of a depth of 1
        depth = builder.add(Affine(depth, multiply=np.zeros(1), add=np.ones(1)))
    power = builder.add(Apply(builder.add(Apply(depth, "negate")), "exp2"))
    scores = builder.add(Apply(power, "negate"))
    decision = builder.add(Affine(scores, subtract=np.array([float(model.offset_)])))
    inlier = builder.add(Above(decision, 0.0, or_equal=True))
    return Part(
        {
            "predict": (Answer(inlier, (-1, 1)),),
            "decision_function": (Answer(decision),),
            "score_samples": (Answer(scores),),
        }
    )


READS: dict[str, Read] = {
    "DecisionTreeClassifier": read_tree,
    "DecisionTreeRegressor": read_tree,
    "ExtraTreeClassifier": read_tree,
    "ExtraTreeRegressor": read_tree,
    "RandomForestClassifier": read_forest,
    "RandomForestRegressor": read_forest,
    "ExtraTreesClassifier": read_forest,
    "ExtraTreesRegressor": read_forest,
    "IsolationForest": read_isolation,
}
