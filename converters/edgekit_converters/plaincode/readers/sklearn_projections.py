"""Projections onto fewer columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers import sklearn_common as common


def _pca(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    weights = common.array(model.components_).T
    divide = None
    if model.whiten:
        divide = np.sqrt(common.array(model.explained_variance_))
        divide = np.maximum(divide, np.finfo(model.explained_variance_.dtype).eps)
    moved = builder.add(ir.Dense(source, weights, -common.array(model.mean_) @ weights))
    moved = moved if divide is None else builder.add(ir.Affine(moved, divide=divide))
    if type(model).__name__ != "PCA":
        return common.transform(moved)
    return common.part(transform=moved, score_samples=_log_likelihood(builder, model, source))


def _log_likelihood(builder: ir.Builder, model: Any, source: ir.Register) -> ir.Register:
    """Of the Gaussian that PCA is a model of: ``-(x - mean) P (x - mean)' / 2`` and a constant."""
    precision = common.array(model.get_precision())
    centred = builder.add(ir.Affine(source, subtract=common.array(model.mean_)))
    product = builder.add(ir.Arithmetic(centred, builder.add(ir.Dense(centred, precision)), "*"))
    length = builder.add(ir.Reduce(product, "sum", product.width))
    constant = -0.5 * (source.width * math.log(2.0 * math.pi) - np.linalg.slogdet(precision)[1])
    return builder.add(ir.Affine(length, multiply=np.array([-0.5]), add=np.array([constant])))


def _projection(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    return common.transform(builder.add(ir.Dense(source, common.array(model.components_).T)))


def _independent(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    if model.whiten:
        source = builder.add(ir.Affine(source, subtract=common.array(model.mean_)))
    return _projection(builder, model, source)


def _partial_squares(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    centred = builder.add(ir.Affine(source, subtract=common.array(model._x_mean)))
    scaled = builder.add(ir.Affine(centred, divide=common.array(model._x_std)))
    predicted = ir.Dense(centred, common.array(model.coef_).T, common.array(model.intercept_).ravel())
    return common.part(
        predict=common.outputs(builder, builder.add(predicted)),
        transform=builder.add(ir.Dense(scaled, common.array(model.x_rotations_))),
    )


READS = common.table(
    dict.fromkeys(("PCA", "IncrementalPCA"), _pca)
    | dict.fromkeys(("TruncatedSVD", "GaussianRandomProjection", "SparseRandomProjection"), _projection)
    | {"FastICA": _independent, "PLSRegression": _partial_squares}
)
