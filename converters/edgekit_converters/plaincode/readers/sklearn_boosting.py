"""scikit-learn's boosting: gradient boosting, and gradient boosting on histograms.

Both begin with a constant and add ``learning_rate * leaf`` tree by tree, in float64; leaves of the histogram kind hold
that product already. So raw scores are equal to the bit, and with them regressors' answers (but for those with a link)
and the labels; probabilities go through exp.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import (
    CATEGORY,
    Affine,
    Answer,
    Apply,
    Arithmetic,
    Builder,
    Clip,
    Concat,
    Feature,
    KnownOnly,
    Reduce,
    Register,
    Replace,
    Round32,
    Select,
)
from edgekit_converters.plaincode.reader import Part, Read, read
from edgekit_converters.plaincode.readers.checks import fitted, refuses_missing
from edgekit_converters.plaincode.readers.forest import LARGEST64, Tree, add_trees, open_top
from edgekit_converters.plaincode.readers.links import classifier
from edgekit_converters.plaincode.readers.sklearn_adaboost import read_adaboost_classifier, read_adaboost_regressor
from edgekit_converters.plaincode.readers.sklearn_trees import tree_of

_CONSTANT = {
    "DummyRegressor": ("mean", "median", "quantile", "constant"),
    "DummyClassifier": ("prior", "most_frequent", "constant"),
}


def read_gradient_boosting(builder: Builder, model: Any, source: Register) -> Part:
    """Gradient boosting on single trees, starting from a constant, from nothing, or from another model."""
    fitted(model, "estimators_", "init_", "_loss", source=source)
    members = model.estimators_
    width = members.shape[1]
    trees = [tree_of(m, model.learning_rate * m.tree_.value.reshape(-1)) for m in members.ravel()]
    outputs = np.tile(np.arange(width), len(members))
    exact = {"predict", "decision_function"}
    kind = type(model.init_).__name__
    if isinstance(model.init_, str) or getattr(model.init_, "strategy", None) in _CONSTANT.get(kind, ()):
        base = model._raw_predict_init(np.zeros((1, source.width), np.float32))[0]
        raw = add_trees(builder, source, trees, base, outputs)
    else:  # the sum begins with a number of the row's own: added last here, so the rounding differs
        total = add_trees(builder, source, trees, np.zeros(width), outputs)
        raw = builder.add(Arithmetic(_start(builder, model, source), total, "+"))
        exact = set()
    if not hasattr(model, "classes_"):
        return Part({"predict": (Answer(raw),)}, exact & {"predict"})
    factor = 2.0 if type(model._loss).__name__ == "ExponentialLoss" else 1.0
    return classifier(builder, raw, model.classes_, exact, factor=factor, or_equal=True)


def _start(builder: Builder, model: Any, source: Register) -> Register:
    """Raw scores that another model begins with: its answer, through the link of the loss."""
    with refuses_missing(builder):
        part = read(builder, model.init_, builder.add(Round32(source)))
    if not hasattr(model, "classes_"):
        return part.register("predict")
    if "predict_proba" not in part.methods:
        raise ConversionError(
            f"the {type(model.init_).__name__} that the {type(model).__name__} begins with gives no probabilities",
            "train it with the default init",
        )
    chance = part.register("predict_proba")
    tiny = np.array([np.finfo(np.float64).eps])
    if model.estimators_.shape[1] > 1:
        logs = builder.add(Apply(builder.add(Clip(chance, tiny, 1 - tiny)), "log"))
        return builder.add(Arithmetic(logs, builder.add(Reduce(logs, "mean", logs.width)), "-"))
    second = builder.add(Clip(builder.add(Select(chance, (1,))), tiny, 1 - tiny))
    first = builder.add(Affine(second, multiply=-np.ones(1), add=np.ones(1)))
    logit = builder.add(Apply(builder.add(Arithmetic(second, first, "/")), "log"))
    if type(model._loss).__name__ == "ExponentialLoss":
        logit = builder.add(Affine(logit, multiply=np.array([0.5])))
    return logit


def read_histogram_boosting(builder: Builder, model: Any, source: Register) -> Part:
    """Gradient boosting on histograms: float64 thresholds, missing values, sets of categories."""
    fitted(model, "_predictors", "_baseline_prediction", "_loss", source=source)
    builder.takes_missing(source)
    if getattr(model, "is_categorical_", None) is not None:
        source = _encoded(builder, model, source)
    trees = [_histogram_tree(p) for stage in model._predictors for p in stage]
    width = int(model.n_trees_per_iteration_)
    source = open_top(builder, source, trees, LARGEST64)
    base = np.broadcast_to(np.ravel(model._baseline_prediction), width)
    outputs = np.tile(np.arange(width), len(model._predictors))
    raw = add_trees(builder, source, trees, base, outputs, single_key=False)
    if hasattr(model, "classes_"):
        return classifier(builder, raw, model.classes_, {"predict", "decision_function"})
    if type(model._loss.link).__name__ == "LogLink":
        return Part({"predict": (Answer(builder.add(Apply(raw, "exp"))),)})
    return Part({"predict": (Answer(raw),)}, {"predict"})


def _histogram_tree(predictor: Any) -> Tree:
    nodes = predictor.nodes
    leaf, category = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
    bits = np.unpackbits(
        np.ascontiguousarray(predictor.raw_left_cat_bitsets, np.uint32).astype("<u4").view(np.uint8).reshape(-1, 32),
        axis=1,
        bitorder="little",
    )
    return Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=nodes["right"],
        feature=nodes["feature_idx"],
        threshold=np.where(leaf | category, 0.0, np.minimum(nodes["num_threshold"], LARGEST64)),
        missing_left=nodes["missing_go_to_left"],
        values=nodes["value"],
        category_set=np.where(category & ~leaf, nodes["bitset_idx"].astype(np.int64), -1),
        sets=[tuple(np.flatnonzero(row).tolist()) for row in bits],
    )


def _encoded(builder: Builder, model: Any, source: Register) -> Register:
    """The row as the trees see it: categories first, as their places among the known ones, NaN for any other."""
    encoder = model._preprocessor.named_transformers_["encoder"]
    columns = np.flatnonzero(model.is_categorical_)
    parts = []
    for column, known in zip(columns.tolist(), encoder.categories_, strict=True):
        parts.append(
            _code(
                builder,
                source,
                column,
                [k for k in known.tolist() if isinstance(k, str) or not (k is None or np.isnan(k))],
            )
        )
    numeric = np.flatnonzero(~np.asarray(model.is_categorical_))
    if len(numeric):
        parts.append(builder.add(Select(source, tuple(numeric.tolist()))))
    return builder.add(Concat(tuple(parts)))


def _code(builder: Builder, source: Register, column: int, known: list[Any]) -> Register:
    """A category's place among the known ones, NaN where it is none of them."""
    origin = builder.origin(source, column)
    feature = None if origin is None else builder.features[origin]
    if any(isinstance(k, str) for k in known) and origin is not None and feature and feature.kind != CATEGORY:
        feature = Feature(feature.name, CATEGORY, tuple(known), missing=True)
        builder.features[origin] = feature
    if feature is None or feature.kind != CATEGORY:
        if any(isinstance(k, str) for k in known):
            raise ConversionError(
                f"a text category of the {source.width} columns is computed, not given", "encode it before the model"
            )
        places = np.array(known, np.float64)
    elif list(feature.categories) == known:
        one = builder.add(Select(source, (column,)))
        return builder.add(KnownOnly(one, 0, np.arange(float(len(known)))))
    else:
        position = {c: float(i) for i, c in enumerate(feature.categories)}
        known = [k if k in position else None for k in known]
        places = np.array([-2.0 if k is None else position[k] for k in known])
    return builder.add(Replace(source, column, places, np.arange(float(len(known)))))


READS: dict[str, Read] = {
    "GradientBoostingClassifier": read_gradient_boosting,
    "GradientBoostingRegressor": read_gradient_boosting,
    "HistGradientBoostingClassifier": read_histogram_boosting,
    "HistGradientBoostingRegressor": read_histogram_boosting,
    "AdaBoostClassifier": read_adaboost_classifier,
    "AdaBoostRegressor": read_adaboost_regressor,
}
