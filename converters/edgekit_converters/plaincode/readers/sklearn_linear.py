"""Linear models and discriminant analysis."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers import sklearn_common as common

_REGRESSORS = (
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "Lars",
    "LarsCV", "ElasticNet", "ElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet",
    "MultiTaskElasticNetCV", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "BayesianRidge",
    "ARDRegression", "HuberRegressor", "TheilSenRegressor", "QuantileRegressor", "SGDRegressor",
    "PassiveAggressiveRegressor", "LinearSVR",
)  # fmt: skip
_CLASSIFIERS = ("Perceptron", "PassiveAggressiveClassifier", "RidgeClassifierCV", "RidgeClassifier", "LinearSVC")


def scores(builder: ir.Builder, model: Any, source: ir.Register) -> ir.Register:
    """``x @ coef_.T + intercept_``."""
    weights = np.atleast_2d(common.array(model.coef_)).T
    bias = np.broadcast_to(common.array(model.intercept_).ravel(), weights.shape[1])
    return builder.add(ir.Dense(source, weights, bias if bias.any() else None))


def _regressor(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    return common.part(predict=common.outputs(builder, scores(builder, model, source)))


def _generalized(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    linear = scores(builder, model, source)
    link = type(model._base_loss.link).__name__
    if link == "IdentityLink":
        return common.part(predict=linear)
    if link != "LogLink":
        raise common.unsupported(model, "link", link, "use link='log' or link='identity'")
    return common.part(predict=builder.add(ir.Apply(linear, "exp")))


def _classifier(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    decision = scores(builder, model, source)
    binarizer = getattr(model, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        return common.part(decision_function=decision, predict=builder.add(ir.Above(decision, 0.0)))
    return common.part(decision_function=decision, predict=common.decided(builder, decision, model.classes_))


def _logistic(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """LogisticRegression and LinearDiscriminantAnalysis: logistic of one decision value, or softmax of several."""
    found = _classifier(builder, model, source)
    decision = found.register("decision_function")
    if decision.width == 1:
        probabilities = common.both(builder, builder.add(ir.Apply(decision, "logistic")))
    else:
        probabilities = builder.add(ir.Softmax(decision))
    found.methods["predict_proba"] = (ir.Answer(probabilities),)
    return found


def _discriminant(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    found = _logistic(builder, model, source)
    if model.solver != "lsqr":
        kept = common.array(model.scalings_)[:, : model._max_components]
        centred = source
        if model.solver == "svd":
            centred = builder.add(ir.Affine(source, subtract=common.array(model.xbar_)))
        found.methods["transform"] = (ir.Answer(builder.add(ir.Dense(centred, kept))),)
    return found


def _quadratic(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    lengths = []
    for centre, rotation, scaling in zip(model.means_, model.rotations_, model.scalings_, strict=True):
        weights = common.array(rotation) * common.array(scaling) ** -0.5
        lengths.append(common.squares(builder, source, weights, -common.array(centre) @ weights))
    spread = np.array([np.sum(np.log(s)) for s in model.scalings_])
    joint = builder.add(
        ir.Affine(
            builder.add(ir.Affine(common.joined(builder, lengths), add=spread)),
            multiply=np.array([-0.5]), add=np.log(model.priors_),
        )
    )  # fmt: skip
    classes = model.classes_
    return common.part(
        decision_function=common.difference(builder, joint) if len(classes) == 2 else joint,
        predict=common.largest(builder, joint, classes),
        predict_proba=builder.add(ir.Softmax(joint)),
    )  # fmt: skip


def _sgd(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    found = _classifier(builder, model, source)
    decision = found.register("decision_function")
    if model.loss == "log_loss":
        probabilities = common.ovr_probabilities(builder, decision)
    elif model.loss == "modified_huber":
        clipped = builder.add(ir.Clip(decision, np.array([-1.0]), np.array([1.0])))
        positive = builder.add(ir.Affine(builder.add(ir.Affine(clipped, add=np.array([1.0]))), divide=np.array([2.0])))
        probabilities = common.both(builder, positive) if decision.width == 1 else common.normalized(builder, positive)
    else:
        return found
    found.methods["predict_proba"] = (ir.Answer(probabilities),)
    return found


def _one_class(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    raw = builder.add(ir.Dense(source, common.array(model.coef_).reshape(1, -1).T))
    decision = builder.add(ir.Affine(raw, subtract=common.array(model.offset_).ravel()))
    return common.part(
        decision_function=decision, predict=common.above(builder, decision, (-1, 1), or_equal=True),
        score_samples=builder.add(ir.Affine(decision, add=common.array(model.offset_).ravel())),
    )  # fmt: skip


def _isotonic(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    if model.out_of_bounds == "nan":
        raise common.unsupported(model, "out_of_bounds", "nan", "set out_of_bounds='clip' and fit it again")
    line = builder.add(interpolation(builder, model, source))
    return common.part(predict=line, transform=line)


def interpolation(builder: ir.Builder, model: Any, source: ir.Register) -> ir.Interpolate:
    """The line of a fitted IsotonicRegression that clips."""
    if model.X_thresholds_.dtype == np.float32:
        source = builder.add(ir.Round32(source))
    xs, ys = common.array(model.X_thresholds_), common.array(model.y_thresholds_)
    if (np.diff(xs) <= 0).any():
        raise ConversionError("the thresholds of IsotonicRegression do not rise", "the model file is damaged")
    return ir.Interpolate(source, xs, ys)


READS = common.table(
    dict.fromkeys(_REGRESSORS, _regressor)
    | dict.fromkeys(("PoissonRegressor", "GammaRegressor", "TweedieRegressor"), _generalized)
    | dict.fromkeys(_CLASSIFIERS, _classifier)
    | dict.fromkeys(("LogisticRegression", "LogisticRegressionCV"), _logistic)
    | {
        "IsotonicRegression": _isotonic,
        "LinearDiscriminantAnalysis": _discriminant,
        "QuadraticDiscriminantAnalysis": _quadratic,
        "SGDClassifier": _sgd,
        "SGDOneClassSVM": _one_class,
    }
)
