"""XGBoost: estimators, boosters and saved models, of the boosters gbtree and dart.

How xgboost 3.2 adds on a CPU, found by comparing its margins bit by bit with numpy's float32 on real models:

* A row is rounded to float32; a node asks ``x < split``; a category in the node's set goes right (its code is the whole
  part of x; only that of numbers between -1 and 0, which are no codes, is 0 here and none there).
* A sum begins with the base margin; leaves are added in the order of the trees, each to its group's sum, in float32.
* The base margin is the saved ``base_score`` through the link in float32: ``-logf(1 / p - 1)``, or ``logf(p)``. It is
  xgboost's own where xgboost is installed; else, from a file alone, all sums may differ in the last bit.
* DART, `Booster.predict` (a DMatrix): ``sum + weight * leaf``. Estimators predict in place, where each tree is run on
  its own upon the base margin: ``sum + ((base + leaf) - base) * weight``. Both are a constant of the leaf.
* Estimators stop at the best round where there was early stopping; boosters do not.

So ``output_margin`` is equal to the bit. Answers that go through exp are not (its float32 exp is another than ours).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import (
    Above,
    Answer,
    Apply,
    Argmax,
    Builder,
    Impute,
    Register,
    Round32,
    Select,
    Softmax,
)
from edgekit_converters.plaincode.reader import Part, Read
from edgekit_converters.plaincode.readers.checks import fitted, name_categories
from edgekit_converters.plaincode.readers.forest import add_trees
from edgekit_converters.plaincode.readers.links import complemented
from edgekit_converters.plaincode.readers.xgboost_file import (
    Ensemble,
    XGBoostFile,
    ensemble,
    from_booster,
)

_LINKS = {
    "reg:logistic": "logistic", "binary:logistic": "logistic", "count:poisson": "exp", "reg:gamma": "exp",
    "reg:tweedie": "exp", "survival:cox": "exp", "survival:aft": "exp", "binary:hinge": "hinge",
    "multi:softprob": "softmax", "multi:softmax": "softmax", "binary:logitraw": "", "reg:squarederror": "",
    "reg:squaredlogerror": "", "reg:pseudohubererror": "", "reg:absoluteerror": "", "reg:quantileerror": "",
    "reg:expectileerror": "", "rank:pairwise": "", "rank:ndcg": "", "rank:map": "",
}  # fmt: skip
"""Objective to what an answer is of its margin; empty for the same."""


def _over_half() -> float:
    """The largest float32 margin whose chance, ``1 / (1 + exp(-margin))`` in float32, is not above one half."""

    def above(bits: int) -> bool:
        margin = np.array(bits, np.int32).view(np.float32)
        power = np.float32(np.exp(-np.float64(margin)))
        return bool(np.float32(1) / (power + np.float32(1)) > np.float32(0.5))

    low, high = 0, int(np.array(1, np.float32).view(np.int32))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if above(middle) else (middle, high)
    return float(np.array(low, np.int32).view(np.float32))


@dataclass(frozen=True)
class _Model:
    """Margins, and what to make of them."""

    builder: Builder
    margin: Register
    link: str
    objective: str
    classes: int

    def value(self) -> Register:
        """What the booster's own ``predict`` gives."""
        if self.link == "softmax":
            soft = self.builder.add(Softmax(self.margin, single=True))
            return self.builder.add(Argmax(soft)) if self.objective == "multi:softmax" else soft
        if self.link == "hinge":
            return self.builder.add(Above(self.margin, 0.0))
        return self.builder.add(Apply(self.margin, self.link, single=True)) if self.link else self.margin

    def booster(self) -> Part:
        """A booster's, a regressor's or a ranker's methods."""
        exact = {"output_margin"} if self.link else {"output_margin", "predict"}
        return Part({"predict": (Answer(self.value()),), "output_margin": (Answer(self.margin),)}, exact)

    def classifier(self) -> Part:
        """A classifier's methods."""
        part = Part({}, {"output_margin"})
        if self.classes > 1:
            classes = tuple(range(self.classes))
            part.methods["predict"] = (Answer(self.builder.add(Argmax(self.margin)), classes),)
            if self.link == "softmax":  # else the user's own objective was trained
                part.methods["predict_proba"] = (Answer(self.builder.add(Softmax(self.margin, single=True))),)
        else:
            half = {"logistic": _over_half(), "hinge": 0.0}.get(self.link, 0.5)
            each = [self.margin]
            if self.margin.width > 1:  # several labels at once, each yes or no
                each = [self.builder.add(Select(self.margin, (i,))) for i in range(self.margin.width)]
            part.methods["predict"] = tuple(Answer(self.builder.add(Above(m, half)), (0, 1)) for m in each)
            if self.link:
                value = self.value()
                both = value if len(each) > 1 else complemented(self.builder, value, single=True)
                part.methods["predict_proba"] = (Answer(both),)
        part.methods["output_margin"] = (Answer(self.margin),)
        return part


def _base_margin(objective: str, link: str, score: np.float32) -> float:
    """A base score through its link, as the library that is installed here does it; else correctly rounded.

    It takes the C library's ``logf``, which is off by one unit in the last place now and then, and every sum begins
    there. So a booster without trees is asked.
    """
    if importlib.util.find_spec("xgboost") is not None:
        import xgboost

        settings = {"objective": objective, "base_score": float(score), "verbosity": 0, "nthread": 1}
        row = xgboost.DMatrix(np.zeros((1, 1), np.float32), label=np.ones(1))
        return float(xgboost.train(settings, row, num_boost_round=0).predict(row, output_margin=True)[0])
    with np.errstate(all="ignore"):
        if link == "exp":
            return float(np.log(np.float64(score)))
        return float(-np.log(np.float64(np.float32(1) / score - np.float32(1))))


def _margin(builder: Builder, source: Register, found: Ensemble, link: str, *, in_place: bool, early: bool) -> Register:
    """The sum of the trees."""
    used = len(found.trees)
    if early and found.best_round >= 0:
        if found.best_round + 1 >= len(found.rounds):
            raise ConversionError(f"the model has no round {found.best_round}, its best one", "train it again")
        used = int(found.rounds[found.best_round + 1])
    base = found.base_score
    if link in ("logistic", "exp"):
        distinct, places = np.unique(base, return_inverse=True)
        base = np.array([_base_margin(found.objective, link, s) for s in distinct], np.float32)[places]
    trees = found.trees[:used]
    if found.weights is not None:
        for i, tree in enumerate(trees):
            start = base if tree.values.ndim > 1 else base[found.outputs[i]]
            leaf = (start + tree.values) - start if in_place else tree.values
            tree.values = leaf * found.weights[i]
    return add_trees(builder, source, trees, base, found.outputs[:used].tolist(), single=True)


def _model(
    builder: Builder, file: XGBoostFile, source: Register, *, in_place: bool, early: bool, missing: float = np.nan
) -> tuple[_Model, Ensemble]:
    found = ensemble(file)
    if found.objective not in _LINKS:
        raise ConversionError(
            f"what xgboost's objective {found.objective!r:.40} makes of a margin is not known here",
            "train with one of its own objectives",
        )
    width = int(file.learner["learner_model_param"].get("num_feature", source.width))
    if width != source.width:
        raise ConversionError(
            f"the model was trained with {width} features, but gets {source.width}", "name those, in that order"
        )
    builder.takes_missing(source)
    name_categories(builder, source, found.categories)
    if not np.isnan(missing):
        source = builder.add(Round32(source))
        source = builder.add(Impute(source, np.full(source.width, np.nan), missing=float(np.float32(missing))))
    link = _LINKS[found.objective]
    margin = _margin(builder, source, found, link, in_place=in_place, early=early)
    return _Model(builder, margin, link, found.objective, found.classes), found


def read_booster(builder: Builder, model: Any, source: Register) -> Part:
    """A booster: all its rounds."""
    return _model(builder, from_booster(model), source, in_place=False, early=False)[0].booster()


def read_file(builder: Builder, model: XGBoostFile, source: Register) -> Part:
    """A saved model: as the estimator that saved it would answer, or as a booster would."""
    kind = ensemble(model).estimator
    found, _ = _model(builder, model, source, in_place=bool(kind), early=bool(kind))
    return found.classifier() if kind == "classifier" else found.booster()


def _live(builder: Builder, model: Any, source: Register) -> _Model:
    if not model.__sklearn_is_fitted__():
        fitted(model, "trees")
    file = from_booster(model.get_booster())
    missing = np.nan if model.missing is None else float(model.missing)
    return _model(builder, file, source, in_place=True, early=True, missing=missing)[0]


def read_classifier(builder: Builder, model: Any, source: Register) -> Part:
    """A classifier: its classes are 0, 1, …, as xgboost wants them."""
    return _live(builder, model, source).classifier()


def read_regressor(builder: Builder, model: Any, source: Register) -> Part:
    """A regressor or a ranker."""
    return _live(builder, model, source).booster()


READS: dict[str, Read] = {
    "XGBClassifier": read_classifier,
    "XGBRFClassifier": read_classifier,
    "XGBRegressor": read_regressor,
    "XGBRFRegressor": read_regressor,
    "XGBRanker": read_regressor,
    "Booster": read_booster,
    "XGBoostFile": read_file,
}
