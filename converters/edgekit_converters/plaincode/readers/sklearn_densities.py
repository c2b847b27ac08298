"""Models that are densities: Gaussian mixtures and naive Bayes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers import sklearn_common as common

# -- mixtures --------------------------------------------------------------------------------------------------------


def _lengths(builder: ir.Builder, model: Any, source: ir.Register) -> tuple[ir.Register, np.ndarray]:
    """Squared Mahalanobis distances to the components, and logarithms of the determinants of their roots."""
    means, roots, wide = common.array(model.means_), common.array(model.precisions_cholesky_), source.width
    kind = model.covariance_type
    if kind in ("diag", "spherical"):
        scale = np.broadcast_to(roots.reshape(len(means), -1), means.shape)
        return builder.add(ir.Distances(source, means, scale=scale)), np.log(scale).sum(axis=1)
    several = [roots] * len(means) if kind == "tied" else list(roots)
    moved = builder.add(
        ir.Dense(source, np.hstack(several), -np.concatenate([m @ r for m, r in zip(means, several, strict=True)]))
    )
    lengths = builder.add(ir.Reduce(builder.add(ir.Apply(moved, "square")), "sum", wide))
    return lengths, np.array([np.log(np.diag(r)).sum() for r in several])


def _mixture(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    lengths, constant = _lengths(builder, model, source)
    wide = source.width
    constant = constant - 0.5 * wide * math.log(2 * math.pi) + model._estimate_log_weights()
    if type(model).__name__ == "BayesianGaussianMixture":  # expectations over the posterior of the precisions
        from scipy.special import digamma

        freedom = common.array(model.degrees_of_freedom_)
        expected = wide * np.log(2.0) + digamma(0.5 * (freedom - np.arange(wide)[:, None])).sum(axis=0)
        constant = constant - 0.5 * wide * np.log(freedom) + 0.5 * (expected - wide / model.mean_precision_)
    joint = builder.add(ir.Affine(lengths, multiply=np.array([-0.5]), add=constant))
    return common.part(
        predict=common.largest(builder, joint, np.arange(joint.width)),
        predict_proba=builder.add(ir.Softmax(joint)),
        score_samples=builder.add(ir.Reduce(joint, "logsumexp", joint.width)),
    )


# -- naive Bayes -----------------------------------------------------------------------------------------------------


def _bayes(builder: ir.Builder, joint: ir.Register, classes: Any) -> Part:
    """Answers from joint log likelihoods."""
    return common.part(
        predict=common.largest(builder, joint, classes), predict_proba=builder.add(ir.Softmax(joint))
    )  # fmt: skip


def _gaussian(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    spread = common.array(model.var_)
    distances = builder.add(ir.Distances(source, common.array(model.theta_), scale=1 / np.sqrt(spread)))
    constant = np.log(model.class_prior_) - 0.5 * np.log(2.0 * np.pi * spread).sum(axis=1)
    return _bayes(builder, builder.add(ir.Affine(distances, multiply=np.array([-0.5]), add=constant)), model.classes_)


def _multinomial(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    weights, prior = common.array(model.feature_log_prob_).T, common.array(model.class_log_prior_)
    return _bayes(builder, builder.add(ir.Dense(source, weights, prior)), model.classes_)


def _complement(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    prior = common.array(model.class_log_prior_) if len(model.classes_) == 1 else None
    return _bayes(
        builder, builder.add(ir.Dense(source, common.array(model.feature_log_prob_).T, prior)), model.classes_
    )  # fmt: skip


def _bernoulli(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    if model.binarize is not None:
        source = builder.add(ir.Above(source, float(model.binarize)))
    present = common.array(model.feature_log_prob_)
    absent = np.log(1 - np.exp(present))
    bias = common.array(model.class_log_prior_) + absent.sum(axis=1)
    return _bayes(builder, builder.add(ir.Dense(source, (present - absent).T, bias)), model.classes_)


def _categorical(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    weights = [common.array(w) for w in model.feature_log_prob_]
    if len(weights) != source.width:
        raise ConversionError("CategoricalNB has another number of columns than its input", "train it again")
    encoded = []
    for column, weight in enumerate(weights):  # the source cuts a number's fraction off
        place = common.place_among(builder, source, column, np.arange(1.0, weight.shape[1]))
        encoded.append(builder.add(ir.Encode(place, 0, np.arange(float(weight.shape[1])))))
    joint = ir.Dense(common.joined(builder, encoded), np.hstack(weights).T, common.array(model.class_log_prior_))
    return _bayes(builder, builder.add(joint), model.classes_)


READS = common.table(
    dict.fromkeys(("GaussianMixture", "BayesianGaussianMixture"), _mixture)
    | {
        "GaussianNB": _gaussian,
        "MultinomialNB": _multinomial,
        "ComplementNB": _complement,
        "BernoulliNB": _bernoulli,
        "CategoricalNB": _categorical,
    }
)
