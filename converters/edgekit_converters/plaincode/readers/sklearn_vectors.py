"""Models that compare a row with stored vectors: support vectors, neighbours, centres."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers import sklearn_common as common
from edgekit_converters.plaincode.readers import sklearn_densities

_SMALLEST = 1e-7  # libsvm keeps the probabilities of pairs this far away from 0 and 1


# -- support vector machines -----------------------------------------------------------------------------------------


def _kernel(builder: ir.Builder, model: Any, source: ir.Register) -> ir.Register:
    """Kernel of the row with each support vector."""
    points, gamma, kernel = common.array(model.support_vectors_), float(model._gamma), model.kernel
    if kernel == "rbf":
        distances = builder.add(ir.Distances(source, points))
        return builder.add(ir.Apply(builder.add(ir.Affine(distances, multiply=np.array([-gamma]))), "exp"))
    products = builder.add(ir.Dense(source, points.T))
    if kernel == "linear":
        return products
    if kernel not in ("poly", "sigmoid"):
        raise common.unsupported(model, "kernel", kernel, "use a linear, rbf, poly or sigmoid kernel")
    shift = np.array([float(model.coef0)])
    products = builder.add(ir.Affine(products, multiply=np.array([gamma]), add=shift))
    if kernel == "sigmoid":
        return builder.add(ir.Apply(products, "tanh"))
    if model.degree < 1:
        raise common.unsupported(model, "degree", model.degree, "use a degree of at least 1")
    return builder.add(ir.Power(products, int(model.degree)))


def _one_output(builder: ir.Builder, model: Any, source: ir.Register, sign: float = 1.0) -> ir.Register:
    """The decision value of a machine with one: regression, one class, two classes."""
    bias = common.array(model._intercept_) * sign
    if model.kernel == "linear":
        weights = common.array(model._dual_coef_) @ common.array(model.support_vectors_)
        return builder.add(ir.Dense(source, weights.T * sign, bias))
    return builder.add(ir.Dense(_kernel(builder, model, source), common.array(model._dual_coef_).T * sign, bias))


def _pairs(builder: ir.Builder, model: Any, source: ir.Register) -> ir.Register:
    """Decision values of class pairs, (0, 1), (0, 2), …: above 0 for the first one.

    A pair (i, j) adds the support vectors of class i with row j - 1 of the coefficients and those of class j with row
    i, so each class's vectors are multiplied with all rows once, and pairs are put together from that.
    """
    classes, dual = len(model.classes_), common.array(model._dual_coef_)
    ends = np.cumsum(model._n_support)
    starts = ends - model._n_support
    first = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    bias = common.array(model._intercept_)
    if model.kernel == "linear":
        points = common.array(model.support_vectors_)
        of_class = [dual[:, s:e] @ points[s:e] for s, e in zip(starts, ends, strict=True)]
        weights = np.array([of_class[i][j - 1] + of_class[j][i] for i, j in first])
        return builder.add(ir.Dense(source, weights.T, bias))
    kernel = _kernel(builder, model, source)
    shares = []
    for start, end in zip(starts, ends, strict=True):
        mine = builder.add(ir.Select(kernel, tuple(range(start, end))))
        shares.append(builder.add(ir.Dense(mine, dual[:, start:end].T)))
    together = builder.add(ir.Concat(tuple(shares)))
    rows = classes - 1
    left = builder.add(ir.Select(together, tuple(i * rows + j - 1 for i, j in first)))
    right = builder.add(ir.Select(together, tuple(j * rows + i for i, j in first)))
    return builder.add(ir.Affine(builder.add(ir.Arithmetic(left, right, "+")), add=bias))


def _pair_probabilities(builder: ir.Builder, model: Any, decisions: ir.Register) -> ir.Register:
    """Platt's ``1 / (1 + exp(A d + B))`` of decision values, kept away from 0 and 1."""
    moved = builder.add(ir.Affine(decisions, multiply=-common.array(model._probA), add=-common.array(model._probB)))
    low, high = np.array([_SMALLEST]), np.array([1 - _SMALLEST])
    return builder.add(ir.Clip(builder.add(ir.Apply(moved, "logistic")), low, high))


def _support_classifier(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    classes = len(model.classes_)
    likely = model.probability is True and model._probA.size > 0
    if classes == 2:
        decision = _one_output(builder, model, source, -1.0)
        probabilities = None
        if likely:
            libsvm = builder.add(ir.Apply(decision, "negate"))
            first = _pair_probabilities(builder, model, libsvm)
            probabilities = builder.add(ir.PairCoupling(first, 2))
        return common.part(
            decision_function=decision, predict_proba=probabilities,
            predict=common.above(builder, decision, model.classes_, or_equal=True),
        )  # fmt: skip
    pairs = _pairs(builder, model, source)
    votes = builder.add(ir.PairVotes(pairs, classes))
    ovr = common.ovr_decision(builder, votes, pairs, classes)
    shaped = ovr if model.decision_function_shape == "ovr" else pairs
    chosen = ovr if model.break_ties and model.decision_function_shape == "ovr" else votes
    probabilities = None
    if likely:
        probabilities = builder.add(ir.PairCoupling(_pair_probabilities(builder, model, pairs), classes))
    return common.part(
        decision_function=shaped, predict=common.largest(builder, chosen, model.classes_), predict_proba=probabilities
    )


def _support_regressor(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    return common.part(predict=_one_output(builder, model, source))


def _one_class(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    decision = _one_output(builder, model, source)
    return common.part(
        decision_function=decision, predict=common.above(builder, decision, (-1, 1)),
        score_samples=builder.add(ir.Affine(decision, add=common.array(model.offset_).ravel())),
    )  # fmt: skip


# -- neighbours ------------------------------------------------------------------------------------------------------


def _metric(model: Any) -> tuple[str, bool]:
    """What the metric is called here, and whether roots are meant."""
    name, power, settings = model.effective_metric_, None, dict(model.effective_metric_params_ or {})
    if name == "minkowski":
        power = settings.pop("p", model.p)
    settings = {k: v for k, v in settings.items() if v is not None and k != "p"}
    if settings:
        raise common.unsupported(model, "metric_params", settings, "use a metric without settings")
    if name in ("euclidean", "l2") or power == 2:
        return "squared", True
    if name == "sqeuclidean":
        return "squared", False
    if name in ("manhattan", "cityblock", "l1") or power == 1:
        return "manhattan", False
    if name in ("chebyshev", "infinity") or power == np.inf:
        return "chebyshev", False
    raise common.unsupported(model, "metric", name, "use the euclidean, manhattan or chebyshev metric")


def _nearest(builder: ir.Builder, model: Any, distances: ir.Register, root: bool, targets: np.ndarray) -> ir.Register:
    if model.weights not in (None, "uniform", "distance"):
        raise common.unsupported(model, "weights", model.weights, "use weights='uniform' or 'distance'")
    return builder.add(
        ir.Nearest(distances, int(model.n_neighbors), targets, inverse=model.weights == "distance", root=root)
    )


def _distances(builder: ir.Builder, model: Any, source: ir.Register) -> tuple[ir.Register, bool]:
    metric, root = _metric(model)
    return builder.add(ir.Distances(source, common.array(model._fit_X), metric)), root


def _neighbours_classifier(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    distances, root = _distances(builder, model, source)
    several = model.outputs_2d_
    found, likely = [], []
    for place, classes in enumerate(model.classes_ if several else [model.classes_]):
        own = model._y[:, place] if several else model._y.ravel()
        targets = (own[:, None] == np.arange(len(classes))).astype(np.float64)
        votes = _nearest(builder, model, distances, root, targets)
        likely.append(ir.Answer(votes))
        found.append(common.largest(builder, votes, classes))
    return common.part(predict=tuple(found), predict_proba=tuple(likely))


def _neighbours_regressor(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    distances, root = _distances(builder, model, source)
    targets = common.array(model._y).reshape(len(model._y), -1)
    return common.part(predict=common.outputs(builder, _nearest(builder, model, distances, root, targets)))


# -- centres ---------------------------------------------------------------------------------------------------------


def _centres(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    distances = builder.add(ir.Distances(source, common.array(model.cluster_centers_)))
    nearest = ir.Answer(builder.add(ir.Argmax(distances, smallest=True)), tuple(range(distances.width)))
    return common.part(predict=nearest, transform=builder.add(ir.Apply(distances, "sqrt")))


def _nearest_centroid(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    metric = {"euclidean": "squared", "manhattan": "manhattan"}.get(model.metric)
    if metric is None:
        raise common.unsupported(model, "metric", model.metric, "use the euclidean or manhattan metric")
    points, classes = common.array(model.centroids_), model.classes_
    spread = np.where(model.within_class_std_dev_ == 0, 1.0, model.within_class_std_dev_)
    distances = builder.add(ir.Distances(source, points, metric, np.broadcast_to(1 / spread, points.shape)))
    if metric == "manhattan":
        distances = builder.add(ir.Apply(distances, "square"))
    joint = builder.add(ir.Affine(distances, multiply=np.array([-1.0]), add=2.0 * np.log(model.class_prior_)))
    if np.isclose(model.class_prior_, 1 / len(classes)).all():  # then the source does not scale
        plain = builder.add(ir.Distances(source, points, metric))
        nearest = ir.Answer(builder.add(ir.Argmax(plain, smallest=True)), common.labels_of(classes))
    else:
        nearest = common.largest(builder, joint, classes)
    if metric == "manhattan":  # the source then has no other methods
        return common.part(predict=nearest)
    return common.part(
        predict=nearest, predict_proba=builder.add(ir.Softmax(joint)),
        decision_function=common.difference(builder, joint) if len(classes) == 2 else joint,
    )  # fmt: skip


READS = (
    common.table(
        dict.fromkeys(("SVC", "NuSVC"), _support_classifier)
        | dict.fromkeys(("SVR", "NuSVR"), _support_regressor)
        | dict.fromkeys(("KMeans", "MiniBatchKMeans"), _centres)
        | {
            "OneClassSVM": _one_class,
            "KNeighborsClassifier": _neighbours_classifier,
            "KNeighborsRegressor": _neighbours_regressor,
            "NearestCentroid": _nearest_centroid,
        }
    )
    | sklearn_densities.READS
)
