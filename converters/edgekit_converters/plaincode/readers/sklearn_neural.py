"""Multilayer perceptrons."""

from __future__ import annotations

from typing import Any

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers import sklearn_common as common


def _activated(builder: ir.Builder, source: ir.Register, name: str) -> ir.Register:
    if name == "identity":
        return source
    return builder.add(ir.Softmax(source) if name == "softmax" else ir.Apply(source, name))


def _layers(builder: ir.Builder, model: Any, source: ir.Register) -> ir.Register:
    last = len(model.coefs_) - 1
    for place, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        source = builder.add(ir.Dense(source, common.array(weights), common.array(bias)))
        source = _activated(builder, source, model.out_activation_ if place == last else model.activation)
    return source


def _regressor(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    return common.part(predict=common.outputs(builder, _layers(builder, model, source)))


def _classifier(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    output = _layers(builder, model, source)
    if model._label_binarizer.y_type_.startswith("multilabel"):
        return common.part(predict_proba=output, predict=builder.add(ir.Above(output, 0.5)))
    if output.width == 1:
        return common.part(
            predict_proba=common.both(builder, output), predict=common.above(builder, output, model.classes_, 0.5)
        )
    return common.part(predict_proba=output, predict=common.largest(builder, output, model.classes_))


READS = common.table({"MLPClassifier": _classifier, "MLPRegressor": _regressor})
