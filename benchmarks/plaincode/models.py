"""The models of the table: real data where sets are small, synthetic where a large forest is wanted."""

from __future__ import annotations

import numpy as np
from sklearn import datasets
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor

ROWS = 10_000
MODELS = (
    "rf_cancer", "xgb_cancer", "gb_diabetes", "lgb_cancer", "rf_diabetes", "rf_digits", "rf_synth10k", "xgb_synth",
)  # fmt: skip
QUICK = ("rf_cancer", "lgb_cancer")


def trained(name: str) -> tuple[object, np.ndarray]:
    """A fitted model and 10,000 distinct rows: unseen ones, and points between two of them where those are too few."""
    kind, data = name.split("_")
    x, y = _data(data)
    order = np.random.default_rng(0).permutation(len(x))
    train = order[: int(len(x) * (0.9 if kind == "xgb" else 0.8))]
    rest = order[len(train) :]
    model = _model(kind, data).fit(x[train], y[train])
    rows = x[rest][:ROWS] if len(rest) >= ROWS else _between(x[rest])
    return model, np.rint(rows) if data == "digits" else rows


def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "synth10k":
        return datasets.make_classification(20_000, 20, n_informative=10, flip_y=0.1, random_state=0)
    if name == "synth":
        return datasets.make_classification(100_000, 20, n_informative=12, flip_y=0.05, random_state=0)
    loader = {"cancer": "load_breast_cancer", "diabetes": "load_diabetes", "digits": "load_digits"}[name]
    return getattr(datasets, loader)(return_X_y=True)


def _model(kind: str, data: str) -> object:
    if kind == "gb":
        return GradientBoostingRegressor(n_estimators=200, random_state=0)
    if kind == "rf":
        return (RandomForestRegressor if data == "diabetes" else RandomForestClassifier)(100, random_state=0)
    if kind == "xgb":
        from xgboost import XGBClassifier

        return XGBClassifier(n_estimators=300, max_depth=6, n_jobs=2, random_state=0)
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=300, num_leaves=31, verbose=-1, n_jobs=2, random_state=0)


def _between(x: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(7)
    first, second = x[rng.integers(len(x), size=ROWS)], x[rng.integers(len(x), size=ROWS)]
    return first + rng.random(first.shape) * rng.random((ROWS, 1)) * (second - first)
