"""Estimators for tables by name, and what each needs of its columns."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit_converters.errors import MissingRequirement, UsageError

_ROUNDS = 1000  # most trees of boosting; early stopping ends it long before


@dataclass(frozen=True)
class TableBackbone:
    """One kind of estimator.

    Attributes:
        words: What it is.
        classifier: ``module:class``; empty where there is none.
        regressor: The same for numbers.
        settings: That differ from the library's own defaults.
        gaps: Whether it takes missing values as they are.
        scaled: Whether columns are brought to one spread first.
        rounds: Name of the setting for the number of boosting rounds, where a validation set ends them early.
        seeded: Whether it has a random state.
    """

    words: str
    classifier: str = ""
    regressor: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    gaps: bool = False
    scaled: bool = False
    rounds: str = ""
    seeded: bool = True

    @property
    def package(self) -> str:
        """Distribution that it is of."""
        return (self.classifier or self.regressor).split(".")[0].split(":")[0]


BACKBONES: Mapping[str, TableBackbone] = {
    "hist-gradient": TableBackbone(
        "gradient boosting over histograms, scikit-learn's",
        "sklearn.ensemble:HistGradientBoostingClassifier", "sklearn.ensemble:HistGradientBoostingRegressor",
        gaps=True, rounds="max_iter",
    ),
    "random-forest": TableBackbone(
        "a forest of 100 trees",
        "sklearn.ensemble:RandomForestClassifier", "sklearn.ensemble:RandomForestRegressor",
    ),
    "extra-trees": TableBackbone(
        "a forest of 100 trees that cut by chance",
        "sklearn.ensemble:ExtraTreesClassifier", "sklearn.ensemble:ExtraTreesRegressor",
    ),
    "logistic": TableBackbone(
        "logistic regression", "sklearn.linear_model:LogisticRegression", settings={"max_iter": 1000}, scaled=True
    ),
    "ridge": TableBackbone("ridge regression", "", "sklearn.linear_model:Ridge", scaled=True),
    "mlp": TableBackbone(
        "a small neural network", "sklearn.neural_network:MLPClassifier", "sklearn.neural_network:MLPRegressor",
        settings={"hidden_layer_sizes": (64, 32), "early_stopping": True, "max_iter": 500}, scaled=True,
    ),
    "xgboost": TableBackbone(
        "gradient boosting, XGBoost's", "xgboost:XGBClassifier", "xgboost:XGBRegressor",
        settings={"learning_rate": 0.1}, gaps=True, rounds="n_estimators",
    ),
    "lightgbm": TableBackbone(
        "gradient boosting, LightGBM's", "lightgbm:LGBMClassifier", "lightgbm:LGBMRegressor",
        settings={"verbose": -1, "n_jobs": 1}, gaps=True, rounds="n_estimators",
    ),
}  # fmt: skip


def backbone(name: str) -> TableBackbone:
    """By name.

    Raises:
        UsageError: There is none of that name.
        MissingRequirement: Its library is not installed.
    """
    if name not in BACKBONES:
        raise UsageError(f"there is no backbone {name!r:.60} for tables", f"there are {', '.join(BACKBONES)}")
    found = BACKBONES[name]
    if importlib.util.find_spec(found.package) is None:
        raise MissingRequirement(f"{found.package} is not installed", 'pip install "edgekit[trees]"')
    return found


def estimator(name: str, numbers: bool, seed: int, options: Mapping[str, Any]) -> Any:
    """A fresh estimator.

    Args:
        name: Of the backbone.
        numbers: Whether it gives numbers rather than classes.
        seed: Its random state.
        options: Further settings of the library's own.

    Raises:
        UsageError: It does not do that, or has no such setting.
    """
    kind = backbone(name)
    place = kind.regressor if numbers else kind.classifier
    if not place:
        other = "logistic" if numbers else "ridge"
        raise UsageError(f"{name} gives {'classes' if numbers else 'numbers'}, the labels are not",
                         f"take {'ridge' if name == 'logistic' else other} or another")  # fmt: skip
    module, attribute = place.split(":")
    cls = getattr(importlib.import_module(module), attribute)
    known = cls().get_params()
    if strangers := [option for option in options if option not in known]:
        raise UsageError(f"{name} has no setting {strangers[0]!r:.60}", f"it has {', '.join(sorted(known))}")
    settings = {**kind.settings, "random_state": seed, **options}
    return cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in settings.items() if n in known})


def pipeline(name: str, model: Any, numeric: Sequence[int], categories: Sequence[int]) -> Any:
    """What an estimator needs before it: gaps filled, spreads evened, categories as columns of their own.

    Args:
        name: Of the backbone.
        model: The estimator.
        numeric: Places of the columns of numbers.
        categories: Places of the columns of words.

    Returns:
        The estimator itself where it needs nothing, else a scikit-learn pipeline of ``columns`` and ``model``.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    kind = backbone(name)
    steps: list[tuple[str, Any]] = [] if kind.gaps else [("gaps", SimpleImputer(strategy="median"))]
    if kind.scaled:
        steps.append(("spread", StandardScaler()))
    if not categories:
        return Pipeline([*steps, ("model", model)]) if steps else model
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [("words", words, list(categories))]
    if numeric:
        parts.insert(0, ("numbers", Pipeline(steps) if steps else "passthrough", list(numeric)))
    return Pipeline([("columns", ColumnTransformer(parts)), ("model", model)])


def rounds(name: str, model: Any, learnt: tuple[Any, Any, Any], chosen: tuple[Any, Any], patience: int) -> int:
    """How many rounds of boosting are best on a validation set.

    Args:
        name: Of the backbone.
        model: A fresh estimator.
        learnt: Rows of numbers, targets and weights to learn from.
        chosen: Rows and targets to choose by.
        patience: Rounds without a better figure after which it stops.
    """
    rows, targets, weights = learnt
    if name == "hist-gradient":
        model.set_params(max_iter=_ROUNDS, early_stopping=True, n_iter_no_change=patience)
        model.fit(rows, targets, sample_weight=weights, X_val=chosen[0], y_val=chosen[1])
        return max(int(np.argmax(model.validation_score_)), 1)
    model.set_params(n_estimators=_ROUNDS)
    if name == "xgboost":
        model.set_params(early_stopping_rounds=patience)
        model.fit(rows, targets, sample_weight=weights, eval_set=[chosen], verbose=False)
        return int(model.best_iteration) + 1
    import lightgbm

    stop = lightgbm.early_stopping(patience, verbose=False)
    model.fit(rows, targets, sample_weight=weights, eval_set=[chosen], callbacks=[stop])
    return max(int(model.best_iteration_), 1)
