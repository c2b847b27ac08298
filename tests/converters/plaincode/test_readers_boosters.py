"""XGBoost and LightGBM: every objective and kind of booster, live and from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir, reader
from tests.converters.plaincode.treedata import agree, data, features

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")
SMALL: dict[str, Any] = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1}
FEW: dict[str, Any] = {"n_estimators": 12, "num_leaves": 15, "verbose": -1, "n_jobs": 1}


@pytest.mark.parametrize(
    "more",
    [{}, {"booster": "dart", "rate_drop": 0.4}, {"num_parallel_tree": 3, "subsample": 0.7},
     {"tree_method": "exact", "gamma": 3}, {"tree_method": "approx"}, {"missing": 0.0}],
)  # fmt: skip
@pytest.mark.parametrize("place", ["gaps", "digits"])
def test_xgboost_classifiers(more: dict[str, Any], place: str, tmp_path: Path) -> None:
    x, y = data(place)
    model = xgboost.XGBClassifier(**SMALL, **more).fit(x, y)
    program = agree(model, x, infinite=True)
    assert "output_margin" in program.exact
    assert program.features[0].missing
    agree(model.get_booster(), x)
    if "missing" not in more:  # which no file says
        for name in ("m.json", "m.ubj"):
            model.save_model(tmp_path / name)
            agree(model, x, source=reader.load(tmp_path / name), infinite=True)
        model.get_booster().set_attr(scikit_learn=None)
        model.get_booster().save_model(tmp_path / "b.ubj")
        agree(model.get_booster(), x, source=reader.load(tmp_path / "b.ubj"))


@pytest.mark.parametrize(
    "objective",
    ["reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "count:poisson",
     "reg:gamma", "reg:tweedie", "survival:cox", "reg:logistic", "reg:quantileerror"],
)  # fmt: skip
def test_xgboost_regressors(objective: str) -> None:
    x, y = data("diabetes")
    more = {"quantile_alpha": [0.1, 0.5, 0.9]} if objective == "reg:quantileerror" else {}
    model = xgboost.XGBRegressor(objective=objective, **SMALL, **more)
    agree(model.fit(x, y / 400 if objective == "reg:logistic" else y), x, infinite=True)


def test_xgboost_other_estimators_and_answers() -> None:
    x, y = data("cancer")
    for objective in ("binary:hinge", "binary:logitraw"):
        program = agree(xgboost.XGBClassifier(objective=objective, **SMALL).fit(x, y), x)
        assert ("predict_proba" in program.methods) == (objective == "binary:hinge")
    agree(xgboost.XGBClassifier(**SMALL).fit(x, np.stack([y, 1 - y, x[:, 0] > 14], 1).astype(int)), x)
    agree(xgboost.XGBRFClassifier(**SMALL).fit(x, y), x)
    own = {"objective": lambda true, said: (said - true, np.ones_like(said))}
    agree(xgboost.XGBClassifier(**SMALL, **own).fit(x, y), x)
    rows, target = data("diabetes")
    agree(xgboost.XGBRFRegressor(**SMALL).fit(rows, target), rows)
    agree(xgboost.XGBRanker(**SMALL).fit(rows, (target // 70).astype(int), qid=np.arange(len(target)) // 20), rows)
    both = np.stack([target, -target], axis=1)
    for strategy in ("one_output_per_tree", "multi_output_tree"):
        agree(xgboost.XGBRegressor(multi_strategy=strategy, **SMALL).fit(rows, both), rows)
    digits, digit = data("digits")
    for objective in ("multi:softmax", "multi:softprob"):
        matrix = xgboost.DMatrix(digits, digit)
        agree(xgboost.train({"objective": objective, "num_class": 10, "max_depth": 3}, matrix, 5), digits)


def test_xgboost_stops_at_the_best_round(tmp_path: Path) -> None:
    x, y = data("digits")
    model = xgboost.XGBClassifier(n_estimators=150, max_depth=3, learning_rate=0.6, early_stopping_rounds=2)
    model.fit(x[:300], y[:300], eval_set=[(x[300:], y[300:])], verbose=0)
    rounds = model.get_booster().num_boosted_rounds()
    assert model.best_iteration + 1 < rounds
    (trees,) = agree(model, x).of_kind(ir.Trees)
    assert len(trees.roots) == 10 * (model.best_iteration + 1)
    (trees,) = agree(model.get_booster(), x).of_kind(ir.Trees)
    assert len(trees.roots) == 10 * rounds
    model.save_model(tmp_path / "m.ubj")
    agree(model, x, source=reader.load(tmp_path / "m.ubj"))


@pytest.mark.parametrize("one_hot", [1, 100])
def test_xgboost_categories(one_hot: int) -> None:
    x, y = data("codes")
    types = ["c"] * 3 + ["q"] * (x.shape[1] - 3)
    model = xgboost.XGBClassifier(feature_types=types, enable_categorical=True, max_cat_to_onehot=one_hot, **SMALL)
    (trees,) = agree(model.fit(x, y), x).of_kind(ir.Trees)
    assert trees.sets
    agree(model.get_booster(), x)


def test_xgboost_names_the_categories_of_a_data_frame() -> None:
    x, y = data("codes")
    types = ["c"] * 3 + ["q"] * (x.shape[1] - 3)
    model = xgboost.XGBClassifier(feature_types=types, enable_categorical=True, **SMALL).fit(x, y)
    document = json.loads(model.get_booster().save_raw("json"))
    text = b"".join(f"k{i}".encode() for i in range(10))
    document["learner"]["gradient_booster"]["model"]["cats"]["enc"] = [
        {"offsets": list(range(0, 21, 2)), "values": list(text)}, {"type": 15, "values": [5, 7, 9]},
    ]  # fmt: skip
    from edgekit_converters.plaincode.readers.xgboost_file import from_document

    program = reader.read_model(from_document(document), features(30))
    assert program.features[0].categories == tuple(f"k{i}" for i in range(10))
    assert program.features[1].categories == (5, 7, 9)
    assert program.features[3].kind == ir.NUMBER
    assert program.title == "a model of xgboost " + xgboost.__version__


@pytest.mark.parametrize(
    "more",
    [{}, {"zero_as_missing": True}, {"use_missing": False}, {"sigmoid": 2.5}, {"boosting_type": "dart"},
     {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, {"objective": "multiclassova"}],
)  # fmt: skip
@pytest.mark.parametrize("place", ["gaps", "digits"])
def test_lightgbm_classifiers(more: dict[str, Any], place: str, tmp_path: Path) -> None:
    x, y = data(place)
    if more.get("objective") and place == "gaps":
        more = {}
    model = lightgbm.LGBMClassifier(**FEW, **more).fit(x, y if place == "digits" else np.array(["b", "m"])[y])
    program = agree(model, x, infinite=True)
    assert "raw_score" in program.exact
    agree(model.booster_, x, infinite=True)
    model.booster_.save_model(tmp_path / "m.txt")
    agree(model.booster_, x, source=reader.load(tmp_path / "m.txt"), infinite=True)


@pytest.mark.parametrize(
    "objective",
    ["regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie",
     "cross_entropy", "cross_entropy_lambda", "sqrt", "custom"],
)  # fmt: skip
def test_lightgbm_regressors(objective: str) -> None:
    x, y = data("diabetes")
    more: dict[str, Any] = {"objective": objective}
    if objective == "sqrt":
        more = {"reg_sqrt": True}
    if objective == "custom":
        more = {"objective": lambda true, said: (said - true, np.ones_like(true))}
    model = lightgbm.LGBMRegressor(**FEW, **more).fit(x, y / 400 if "entropy" in objective else y)
    agree(model, x, infinite=True)


def test_lightgbm_other_estimators_and_early_stopping() -> None:
    x, y = data("diabetes")
    agree(lightgbm.LGBMRanker(**FEW).fit(x, (y // 70).astype(int), group=[17] * 26), x)
    digits, digit = data("digits")
    model = lightgbm.LGBMClassifier(**{**FEW, "n_estimators": 120, "learning_rate": 0.5})
    stop = lightgbm.early_stopping(3, verbose=False)
    model.fit(digits[:300], digit[:300], eval_X=(digits[300:],), eval_y=(digit[300:],), callbacks=[stop])
    (trees,) = agree(model, digits).of_kind(ir.Trees)
    assert len(trees.roots) == 10 * model.best_iteration_
    assert len(trees.roots) < 10 * model.n_estimators
    model.booster_.best_iteration = 2  # a booster that was not cut says so itself
    (trees,) = agree(model.booster_, digits).of_kind(ir.Trees)
    assert len(trees.roots) == 10 * 2


@pytest.mark.parametrize("one_hot", [4, 100])
def test_lightgbm_categories(one_hot: int) -> None:
    x, y = data("codes")
    x = x.copy()
    x[:, 2] = x[:, 2] % 4
    more = {"max_cat_to_onehot": one_hot, "min_data_per_group": 3, "cat_smooth": 1}
    y = y ^ (np.nan_to_num(x[:, 2]) == 2)
    model = lightgbm.LGBMClassifier(**FEW, **more).fit(x, y, categorical_feature=[0, 1, 2])
    (trees,) = agree(model, x, infinite=True).of_kind(ir.Trees)
    assert trees.sets


def test_lightgbm_trained_on_with_another_kind_of_missing_value() -> None:
    x, y = data("digits")
    first = lightgbm.train(
        {"objective": "binary", "zero_as_missing": True, "verbose": -1}, lightgbm.Dataset(x, y > 4), 5
    )
    second = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(x, y > 4), 5, init_model=first)
    program = agree(second, x)
    assert any(program.of_kind(ir.ZeroToMissing))
    assert any(program.of_kind(ir.Concat))


def test_lightgbm_names_the_categories_of_a_data_frame() -> None:
    from edgekit_converters.plaincode.readers.lightgbm_file import LightGBMFile

    x, y = data("codes")
    text = lightgbm.LGBMClassifier(**FEW).fit(x, y, categorical_feature=[0, 2]).booster_.model_to_string()
    named = text.split("pandas_categorical:")[0] + 'pandas_categorical:[["a", "b"], [3, 4]]\n'
    program = reader.read_model(LightGBMFile(named), features(30))
    assert [program.features[i].categories for i in (0, 1, 2)] == [("a", "b"), (), (3, 4)]
    with pytest.raises(ConversionError, match="which columns its categories belong to"):
        reader.read_model(LightGBMFile(named.replace("[3, 4]]", "[3, 4], [1]]")), features(30))


def test_what_is_not_trees_or_not_fitted_is_refused() -> None:
    x, y = data("diabetes")
    with pytest.raises(ConversionError, match="linear trees"):
        reader.read_model(lightgbm.LGBMRegressor(linear_tree=True, **FEW).fit(x, y), features(10))
    with pytest.raises(ConversionError, match="booster 'gblinear'"):
        reader.read_model(xgboost.XGBRegressor(booster="gblinear", n_estimators=3).fit(x, y), features(10))
    model = xgboost.XGBRegressor(**SMALL).fit(x, y)
    for fitted in (model, model.get_booster(), lightgbm.LGBMRegressor(**FEW).fit(x, y)):
        with pytest.raises(ConversionError, match="trained with 10 features, but gets 4"):
            reader.read_model(fitted, features(4))
    for kind in (xgboost.XGBClassifier, xgboost.XGBRanker, lightgbm.LGBMClassifier, lightgbm.LGBMRegressor):
        with pytest.raises(ConversionError, match="not fitted"):
            reader.read_model(kind(), features(10))
