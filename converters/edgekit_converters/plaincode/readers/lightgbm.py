"""LightGBM: estimators, boosters and saved models.

Everything is float64: ``x <= threshold``, leaves (which hold the learning rate and the starting score) added in the
order of the trees from 0. So ``raw_score`` is equal to the bit; what goes through exp may differ in the last ones.
Values of up to 1e-35 are dropped from a row, that is, they are 0.
Missing values are one of three kinds for each node: none (NaN counts as 0), NaN, or zero (0 and NaN are missing).
Random forests divide the sum by the number of rounds, in ``predict`` alone: ``raw_score`` stays a sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import (
    Above,
    Affine,
    Answer,
    Apply,
    Argmax,
    Arithmetic,
    Builder,
    Concat,
    Register,
    Softmax,
    ZeroToMissing,
)
from edgekit_converters.plaincode.reader import Part, Read
from edgekit_converters.plaincode.readers.checks import fitted, labels, name_categories
from edgekit_converters.plaincode.readers.forest import LARGEST64, add_trees, open_top
from edgekit_converters.plaincode.readers.lightgbm_file import ZERO, Ensemble, LightGBMFile, ensemble
from edgekit_converters.plaincode.readers.links import complemented

_EXP = ("poisson", "gamma", "tweedie")
_SAME = (
    "", "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "custom",
    "none",
)  # fmt: skip


def _raw(builder: Builder, source: Register, found: Ensemble) -> Register:
    """The sum of the trees."""
    if found.features != source.width:
        raise ConversionError(
            f"the model was trained with {found.features} features, but gets {source.width}",
            "name those, in that order",
        )
    builder.takes_missing(source)
    name_categories(builder, source, found.categories)
    trees = found.trees
    zero, plain = (
        {
            int(c)
            for t, z in zip(trees, found.zero_missing, strict=True)
            for c in np.unique(t.feature[(t.left >= 0) & (z == kind)])
        }
        for kind in (True, False)
    )
    if zero:
        missing = builder.add(ZeroToMissing(source, tuple(sorted(zero)), ZERO))
        if zero & plain:  # training went on with other settings: both kinds of nodes look at one feature
            width = source.width
            missing = builder.add(Concat((source, missing)))
            for tree, at in zip(trees, found.zero_missing, strict=True):
                tree.feature = tree.feature + width * at
        source = missing
    source = open_top(builder, source, trees, LARGEST64)
    outputs = np.tile(np.arange(found.outputs), len(trees) // found.outputs).tolist()
    return add_trees(builder, source, trees, np.zeros(found.outputs), outputs, single_key=False)


def _parameter(found: Ensemble, name: str, default: float) -> float:
    for word in found.objective[1:]:
        key, _, value = word.partition(":")
        if key == name:
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                raise ConversionError(f"the model's objective has {name} {value!r:.40}, which is no number")
            return number
    return default


def _value(builder: Builder, raw: Register, found: Ensemble) -> Register:
    """What the booster's own ``predict`` gives."""
    name = found.objective[0] if found.objective else ""
    if found.average:
        raw = builder.add(Affine(raw, divide=np.array([float(len(found.trees) // found.outputs)])))
    if name == "regression" and "sqrt" in found.objective:
        return builder.add(Arithmetic(builder.add(Apply(raw, "abs")), raw, "*"))
    if name in _SAME:
        return raw
    if name in _EXP:
        return builder.add(Apply(raw, "exp"))
    if name in ("binary", "multiclassova"):
        slope = _parameter(found, "sigmoid", 1.0)
        scaled = raw if slope == 1 else builder.add(Affine(raw, multiply=np.array([slope])))
        return builder.add(Apply(scaled, "logistic"))
    if name == "cross_entropy":
        return builder.add(Apply(raw, "logistic"))
    if name == "cross_entropy_lambda":
        return builder.add(Apply(builder.add(Apply(raw, "exp")), "log1p"))
    if name == "multiclass":
        return builder.add(Softmax(raw))
    raise ConversionError(
        f"what LightGBM's objective {name!r:.40} makes of a raw score is not known here", "use one of its own"
    )


def _methods(builder: Builder, source: Register, found: Ensemble) -> tuple[Part, Register]:
    """A booster's, a regressor's or a ranker's methods; and the raw score."""
    raw = _raw(builder, source, found)
    value = _value(builder, raw, found)
    # The same numbers, or the same two roundings of them.
    exact = {"raw_score", "predict"} if not found.objective or found.objective[0] in _SAME else {"raw_score"}
    return Part({"predict": (Answer(value),), "raw_score": (Answer(raw),)}, exact), raw


def read_booster(builder: Builder, model: Any, source: Register) -> Part:
    """A booster, up to its best round where there is one."""
    return _methods(builder, source, ensemble(LightGBMFile(model.model_to_string())))[0]


def read_file(builder: Builder, model: LightGBMFile, source: Register) -> Part:
    """A saved model, as a booster would answer: the file does not say which estimator saved it, nor its labels."""
    return _methods(builder, source, ensemble(model))[0]


def read_regressor(builder: Builder, model: Any, source: Register) -> Part:
    """A regressor or a ranker."""
    return read_booster(builder, _live(model, source), source)


def _live(model: Any, source: Register) -> Any:
    if not model.__sklearn_is_fitted__():
        fitted(model, "trees")
    return fitted(model, source=source).booster_


def read_classifier(builder: Builder, model: Any, source: Register) -> Part:
    """A classifier: the class of the largest probability; with the user's own objective, raw scores."""
    found = ensemble(LightGBMFile(_live(model, source).model_to_string()))
    part, raw = _methods(builder, source, found)
    if callable(model.objective_) or not found.objective:
        return part
    value = part.register("predict")
    if raw.width == 1:
        place = builder.add(Above(raw, 0.0))
        value = complemented(builder, value)
    else:  # one-versus-all chances may all be rounded to 1: the first of them is named
        place = builder.add(Argmax(value if found.objective[0] == "multiclassova" else raw))
    part.methods["predict"] = (Answer(place, labels(model.classes_)),)
    part.methods["predict_proba"] = (Answer(value),)
    if hasattr(model, "decision_function"):  # since 4.7
        part.methods["decision_function"] = part.methods["raw_score"]
    return Part(part.methods, {"raw_score", "decision_function"} & set(part.methods))


READS: dict[str, Read] = {
    "LGBMClassifier": read_classifier,
    "LGBMRegressor": read_regressor,
    "LGBMRanker": read_regressor,
    "Booster": read_booster,
    "LightGBMFile": read_file,
}
