"""Calibrated classifiers: a sigmoid, a line or a temperature on each class's score, averaged over the folds.

Lines learnt from saturated probabilities (naive Bayes near 0 and 1) have steps between neighbouring floats: there the
source makes 1e-5 of its own last bit, and so does code that rounds otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part, read
from edgekit_converters.plaincode.readers import sklearn_common as common
from edgekit_converters.plaincode.readers.sklearn_linear import interpolation

_LOG_SHIFT = 1e-12  # what scikit-learn adds to a probability before its logarithm


def calibrated(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """Mean of the folds' calibrated probabilities."""
    folds = []
    for place, fold in enumerate(model.calibrated_classifiers_):
        with common.within(f"the estimator of fold {place} of CalibratedClassifierCV"):
            part = read(builder, fold.estimator, source)
        folds.append(_probabilities(builder, fold, part))
    probabilities = common.mean(builder, folds)
    return common.part(
        predict=common.largest(builder, probabilities, model.classes_), predict_proba=probabilities
    )  # fmt: skip


def _probabilities(builder: ir.Builder, fold: Any, part: Part) -> ir.Register:
    classes = len(fold.classes)
    method = "decision_function" if "decision_function" in part.methods else "predict_proba"
    if method not in part.methods:
        raise ConversionError(f"{type(fold.estimator).__name__} has no scores to calibrate", "use another estimator")
    scores = common.only(part, method)
    if fold.method == "temperature":
        return _tempered(builder, fold.calibrators[0], scores, method == "predict_proba")
    if scores.width != len(fold.calibrators):  # of two classes only the second one's probability is calibrated
        scores = common.columns(builder, scores, [1])
    places = np.searchsorted(fold.classes, fold.estimator.classes_).tolist()
    columns = [_calibrated(builder, c, common.columns(builder, scores, [i])) for i, c in enumerate(fold.calibrators)]
    if classes == 2:
        return common.both(builder, columns[0])
    nothing = None
    ordered = []
    for place in range(classes):  # a fold may not have seen every class
        if place not in places:
            nothing = nothing or builder.add(ir.Constant(np.zeros(1)))
        ordered.append(columns[places.index(place)] if place in places else nothing)
    return common.normalized(builder, common.joined(builder, [r for r in ordered if r is not None]))


def _calibrated(builder: ir.Builder, calibrator: Any, score: ir.Register) -> ir.Register:
    if type(calibrator).__name__ == "IsotonicRegression":
        return builder.add(interpolation(builder, calibrator, score))
    slope, shift = (np.array([-float(v)]) for v in (calibrator.a_, calibrator.b_))
    return builder.add(ir.Apply(builder.add(ir.Affine(score, multiply=slope, add=shift)), "logistic"))


def _tempered(builder: ir.Builder, calibrator: Any, scores: ir.Register, likely: bool) -> ir.Register:
    if scores.width == 1:
        scores = builder.add(ir.Concat((builder.add(ir.Apply(scores, "negate")), scores)))
    elif likely:
        if scores.width == 2:  # 1 - p again, with its rounding, which the logarithm makes visible
            scores = common.both(builder, common.columns(builder, scores, [1]))
        scores = builder.add(ir.Apply(builder.add(ir.Affine(scores, add=np.array([_LOG_SHIFT]))), "log"))
    return builder.add(ir.Softmax(builder.add(ir.Affine(scores, multiply=np.array([float(calibrator.beta_)])))))
