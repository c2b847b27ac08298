"""Fitted classic models as sources: rows in, scores or values out, by the library that fitted them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, SourceError
from edgekit_converters.files import sha256_of, versions
from edgekit_converters.plaincode.ir import CATEGORY, TEXT, Feature, Program
from edgekit_converters.recipe import Feeds
from edgekit_converters.source import Source
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.manifest import TensorInfo

_TRAPS = 50
_OPTIONS = ("output_margin", "raw_score")  # of boosters' predict, which programs have as methods
UNSEEN = "edgekit: a category that was never seen"
_OBJECTIVES = {"binary": "classification", "multiclass": "classification", "multiclassova": "classification",
               "cross_entropy": "none", "cross_entropy_lambda": "none", "lambdarank": "none", "rank_xendcg": "none",
               }  # fmt: skip
"""LightGBM objective to task; any other is a regression."""


class ClassicSource(Source):
    """A fitted estimator, pipeline or booster.

    Its only input are rows of numbers (categories of a text kind as codes, -1 for an unseen one, NaN for a missing
    one), or texts; its output is what `method` gives, one output for each part of a multi-output model.

    Args:
        model: The fitted model.
        path: The file that it came from.

    Attributes:
        model: The model, set to one thread so that sums are in one order.
        features: What a row holds.
        method: Which of its methods is meant: probabilities, else scores, of classifiers, values of regressors.

    Raises:
        SourceError: It is not fitted, or does not say how many features it takes.
    """

    def __init__(self, model: Any, path: Path) -> None:
        from edgekit_converters.plaincode.features import features_of

        self.model = model
        self.path = path
        self.probes = 200
        self.name = path.name
        self.framework = type(model).__module__.split(".")[0]
        self.sha256 = sha256_of(path)
        self.tools = versions(
            "scikit-learn", *{"xgboost": ("xgboost-cpu", "xgboost")}.get(self.framework, (self.framework,))
        )
        _check_fitted(model, path)
        _one_thread(model)
        try:
            self.features: tuple[Feature, ...] = tuple(features_of(model))
        except ConversionError as error:
            raise SourceError(f"{path.name}: {error.message}", error.hint) from error
        if not self.refuses("c"):
            self.features = self.program.features  # which are categories, and which may be missing
        self.task, self.method = _meant(model)
        self.classes = getattr(model, "classes_", None) if self.task == "classification" else None
        self.labels = () if self.classes is None or _many(self.classes) else tuple(map(label_of, self.classes))
        self.is_text = any(f.kind == TEXT for f in self.features)
        dtype = "string" if self.is_text else "float32" if self._rounds() else "float64"
        shape = (-1,) if self.is_text else (-1, len(self.features))
        self.inputs = (TensorInfo("text" if self.is_text else "x", shape, dtype),)
        try:
            found = self.answers(self.method, self._plain_row())
        except Exception as error:  # estimators raise whatever their parts raise
            why = " ".join(str(error).split())[:160]
            raise SourceError(
                f"{path.name} cannot be run ({why})", "fit and save it again with the versions here"
            ) from error
        names = [self.method] if len(found) == 1 else [f"{self.method}_{i}" for i in range(len(found))]
        self.outputs = tuple(
            TensorInfo(n, (-1, v.shape[1]), "float32" if v.dtype == np.float32 else "float64")
            for n, v in zip(names, found, strict=True)
        )

    def traps(self, feeds: Sequence[Feeds]) -> Sequence[Feeds]:
        """Missing values, one feature at a time, where the user's rows have some too."""
        seen = np.zeros(len(self.features), bool)
        for feed in feeds if not self.is_text else ():
            (rows,) = feed.values()
            seen |= np.isnan(rows).any(axis=0)
        missing = np.flatnonzero(seen).tolist()
        made = []
        for turn, feature in enumerate(missing * (1 if len(missing) >= _TRAPS else _TRAPS)):
            if turn == _TRAPS or not feeds:
                break
            ((name, rows),) = feeds[turn % len(feeds)].items()
            rows = rows.copy()
            rows[:, feature] = np.nan
            made.append({name: rows})
        return made

    def name_features(self, names: Sequence[str]) -> None:
        """Call features that the model does not name as their owner does, in the comments of plain code for one."""
        self.features = tuple(replace(f, name=n) for f, n in zip(self.features, names, strict=True))
        if not self.refuses("c"):
            self.program = replace(self.program, features=self.features)

    @cached_property
    def program(self) -> Program:
        """The model in the representation that plain code is written from.

        Raises:
            ConversionError: A part of it has no plain code; says which.
        """
        from edgekit_converters.plaincode.reader import read_model

        return read_model(self.model, self.features)

    def refuses(self, format: str) -> str:
        """Models that have no plain code say which part it is."""
        if format == "c":
            try:
                _ = self.program
            except EdgekitError as error:
                return error.message
        return ""

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """What `method` gives."""
        (rows,) = feeds.values()
        found = self.answers(self.method, rows)
        return {o.name: v.astype(o.dtype, copy=False) for o, v in zip(self.outputs, found, strict=True)}

    def answers(self, method: str, rows: np.ndarray) -> list[np.ndarray]:
        """Answers of any method, each (rows, width): numbers, or for the classes of a classifier their places.

        Classes are one-hot where they are all that the model gives (``predict`` is its `method`).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names of features, which rows do not have
            if method in _OPTIONS:
                value = self.model.predict(self.given(rows), **{method: True})
            else:
                value = getattr(self.model, method)(self.given(rows))
        parts = value if isinstance(value, list) else [value]
        found = [_dense(v) for v in parts]
        if method != "predict" or self.classes is None:
            return found
        several = _many(self.classes)
        columns = [f[:, i : i + 1] for f in found for i in range(f.shape[1])]
        places = [
            _places(c[:, 0], known)
            for c, known in zip(columns, self.classes if several else [self.classes], strict=True)
        ]
        if self.method != "predict":
            return [p[:, None] for p in places]
        return [
            np.eye(len(known))[p] for p, known in zip(places, self.classes if several else [self.classes], strict=True)
        ]

    def given(self, rows: np.ndarray) -> Any:
        """Rows as the model itself takes them: texts as a list, codes of categories as what they stand for."""
        if self.is_text:
            return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in rows.reshape(-1)]
        named = [i for i, f in enumerate(self.features) if f.kind == CATEGORY]
        if not named or self.framework != "sklearn":  # boosters count categories as we do
            return rows
        values = rows.astype(object)
        for i in named:
            values[:, i] = [_category(self.features[i], v) for v in rows[:, i]]
        return values

    def _rounds(self) -> bool:
        """Whether the model rounds its row to float32 before it does anything else."""
        from edgekit_converters.plaincode.ir import Round32, Trees

        try:
            steps = self.program.steps
        except EdgekitError:
            return False
        readers = [s for s in steps if any(r.index == 0 for r in s.sources)]
        return bool(readers) and all(isinstance(s, Round32) or (isinstance(s, Trees) and s.single_key) for s in readers)

    def _plain_row(self) -> np.ndarray:
        return np.array(["a"], object) if self.is_text else np.zeros((1, len(self.features)))


def label_of(value: Any) -> str:
    """A class as text: whole numbers without a point."""
    plain = value.item() if isinstance(value, np.generic) else value
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def _many(classes: Any) -> bool:
    """Whether a model has several lists of classes: one for each of its outputs."""
    return isinstance(classes, list) and len(classes) > 0 and isinstance(classes[0], np.ndarray)


def _places(values: np.ndarray, known: Any) -> np.ndarray:
    place = {label_of(c): i for i, c in enumerate(known)}
    return np.array([place[label_of(v)] for v in values], np.int64)


def _dense(value: Any) -> np.ndarray:
    array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    return array.reshape(len(array), -1)


def _category(feature: Feature, code: float) -> Any:
    if np.isnan(code):
        return np.nan
    if 0 <= code < len(feature.categories) and code == int(code):
        return feature.categories[int(code)]
    numbers = all(isinstance(c, (int, float)) for c in feature.categories)
    return max(map(float, feature.categories), default=0.0) + 1 if numbers else UNSEEN


def _meant(model: Any) -> tuple[str, str]:
    """(task, method) of a model."""
    if type(model).__name__ == "Booster":
        objective = str(model.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
        return _OBJECTIVES.get(objective, "regression"), "predict"
    from sklearn.base import is_classifier, is_clusterer, is_regressor

    if is_classifier(model):
        method = next((m for m in ("predict_proba", "decision_function") if hasattr(model, m)), "predict")
        return "classification", method
    if is_regressor(model):
        return "regression", "predict"
    if is_clusterer(model) and hasattr(model, "predict"):
        return "clustering", "predict"
    methods = ("predict_proba", "decision_function", "score_samples", "transform", "predict")
    return "none", next(m for m in methods if hasattr(model, m))


def _check_fitted(model: Any, path: Path) -> None:
    """Whether it was fitted.

    Raises:
        SourceError: It was not.
    """
    if type(model).__name__ == "Booster":
        return
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise SourceError(
            f"{path.name} holds a {type(model).__name__} that was not fitted", "fit it, then save it"
        ) from error
    except TypeError as error:
        raise SourceError(
            f"{path.name} holds a {type(model).__name__}, which is no estimator", "save the fitted model"
        ) from error


def _one_thread(model: Any) -> None:
    """Threads of scikit-learn add up in the order in which they end: with one, sums are the same each time."""
    for part in _parts(model, set()):
        if isinstance(getattr(part, "n_jobs", None), int):
            part.n_jobs = 1


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Every estimator inside of one, itself first."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
        elif hasattr(item, "get_params") and hasattr(item, "__dict__"):
            yield item
            waiting.extend(vars(item).values())
