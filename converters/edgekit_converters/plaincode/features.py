"""What a caller gives to a model: its features as the library knows them, and rows of texts and numbers as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import CATEGORY, TEXT, Feature
from edgekit_converters.plaincode.readers.sklearn_categories import is_missing

_VECTORIZERS = ("CountVectorizer", "HashingVectorizer", "TfidfVectorizer")
_INNER = ("best_estimator_", "regressor_", "estimator", "base_estimator")


def features_of(model: Any) -> list[Feature]:
    """A fitted model's features, by name; readers find out which are categories, and which may be missing.

    Raises:
        ConversionError: The model does not say how many it takes, as one that is not fitted does not.
    """
    names = _names(model)
    if names is not None:
        return [Feature(name) for name in names]
    if type(_first(model)).__name__ in _VECTORIZERS:
        return [Feature("text", TEXT)]
    raise ConversionError(
        f"{type(model).__name__} does not say which features it takes", "fit it before it is exported"
    )  # fmt: skip


def _names(model: Any) -> list[str] | None:
    for attribute in ("feature_names_in_", "feature_name", "feature_names"):  # scikit-learn's, boosters' own
        found = getattr(model, attribute, None)
        found = found() if callable(found) else found
        if found is not None and len(found):
            return [str(name) for name in found]
    for attribute in ("n_features_in_", "num_feature", "num_features"):
        count = getattr(model, attribute, None)
        count = count() if callable(count) else count
        if count is not None:
            return [f"x{place}" for place in range(int(count))]
    if hasattr(model, "X_thresholds_"):  # IsotonicRegression counts no columns: it takes one
        return ["x0"]
    return None


def _first(model: Any) -> Any:
    """The part of a model that sees the input first."""
    while True:
        if getattr(model, "steps", None):
            model = next((step for _, step in model.steps if step is not None and not isinstance(step, str)), None)
        elif getattr(model, "transformer_list", None):
            model = next((step for _, step in model.transformer_list if not isinstance(step, str)), None)
        elif getattr(model, "estimators_", None) is not None and len(model.estimators_):
            model = model.estimators_[0]
        else:
            inner = next((getattr(model, name) for name in _INNER if hasattr(model, name)), None)
            if inner is None:
                return model
            model = inner


def numbers_of(features: Sequence[Feature], rows: Any) -> np.ndarray:
    """Rows as a program takes them: categories as codes, -1 for unseen ones, NaN for missing values; texts stay.

    Args:
        features: Of the program.
        rows: (rows, features) values as the model takes them; or a list of texts where the only feature is a text.

    Returns:
        (rows, features) float64, or objects where there are texts.

    Raises:
        ConversionError: A value is no number where one must be; says which.
    """
    table = np.asarray(rows)
    if table.dtype.kind not in "fiu":  # a list of texts and numbers would become texts
        table = np.asarray(rows, object)
    table = table.reshape(len(rows), -1)
    if table.shape[1] != len(features):
        raise ConversionError(f"rows have {table.shape[1]} values for {len(features)} features", "give one for each")
    texts = any(f.kind == TEXT for f in features)
    result = np.empty(table.shape, object if texts else np.float64)
    for column, feature in enumerate(features):
        if feature.kind == TEXT:
            result[:, column] = table[:, column]
        elif feature.kind == CATEGORY:
            known = {category: code for code, category in enumerate(feature.categories)}
            result[:, column] = [np.nan if is_missing(v) else known.get(v, -1) for v in table[:, column]]
        else:
            result[:, column] = _numbers(feature, table[:, column])
    return result


def _numbers(feature: Feature, column: np.ndarray) -> Any:
    if column.dtype != object:
        return column
    return [_number(feature, place, value) for place, value in enumerate(column)]


def _number(feature: Feature, row: int, value: Any) -> float:
    if is_missing(value):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConversionError(
            f"row {row} has {value!r:.40} for {feature.name}, which is a number", "give numbers, or encode the column"
        ) from None
