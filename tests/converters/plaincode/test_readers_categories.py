"""Categories and mixed tables: texts become codes, and pipelines over them answer as scikit-learn does."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import (
    compose,
    ensemble,
    impute,
    linear_model,
    model_selection,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.decomposition import PCA

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.features import features_of, numbers_of
from edgekit_converters.plaincode.reader import read_model

from .agreement import agrees
from .tables import DIABETES, DIABETES_Y, IRIS, IRIS_Y, NAMES


def _mixed(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Texts with gaps, numbers with gaps and numeric categories in one table."""
    generator = np.random.default_rng(3)
    table = np.empty((rows, 5), object)
    table[:, 0] = generator.choice(["red", "green", "blue", "ünïcode"], rows, p=[0.5, 0.3, 0.15, 0.05])
    table[:, 1] = generator.normal(size=rows)
    table[:, 2] = generator.choice([1, 2, 7], rows)
    table[:, 3] = generator.choice(["a", "b"], rows)
    table[:, 4] = generator.normal(size=rows)
    table[::9, 1], table[::7, 0] = np.nan, np.nan
    return table, (table[:, 0] == "red").astype(int) + (table[:, 4] > 0)


TABLE, TARGET = _mixed()
UNSEEN = TABLE[:20].copy()
UNSEEN[3, 0], UNSEEN[4, 3] = "purple", "zzz"


def _columns(encoder: Any) -> compose.ColumnTransformer:
    return compose.ColumnTransformer(
        [
            ("text", encoder, [0, 3, 2]),
            ("number", pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()), [4, 1]),
        ]
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"handle_unknown": "ignore"},
        {"handle_unknown": "ignore", "drop": "first"},
        {"handle_unknown": "ignore", "drop": "if_binary"},
        {"handle_unknown": "infrequent_if_exist", "min_frequency": 60},
        {"handle_unknown": "infrequent_if_exist", "max_categories": 2, "drop": "first"},
        {"handle_unknown": "ignore", "max_categories": 3},
        {"handle_unknown": "infrequent_if_exist", "min_frequency": 60, "drop": ["red", "a", 2]},
    ],
    ids=str,
)
def test_one_hot_encoders(settings: dict[str, Any]) -> None:
    model = _columns(preprocessing.OneHotEncoder(**settings)).fit(TABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = agrees(model, UNSEEN, exact=("transform",))
        agrees(model, TABLE, exact=("transform",))
    assert program.features[0] == ir.Feature("x0", ir.CATEGORY, ("blue", "green", "red", "ünïcode"), True)
    assert program.features[2].kind == ir.NUMBER


@pytest.mark.parametrize(
    "settings",
    [
        {"handle_unknown": "use_encoded_value", "unknown_value": -1},
        {"handle_unknown": "use_encoded_value", "unknown_value": np.nan, "encoded_missing_value": -5},
        {"handle_unknown": "use_encoded_value", "unknown_value": 99, "min_frequency": 60},
    ],
    ids=str,
)
def test_ordinal_encoders(settings: dict[str, Any]) -> None:
    model = _columns(preprocessing.OrdinalEncoder(**settings)).fit(TABLE)
    agrees(model, UNSEEN, exact=("transform",))
    agrees(model, TABLE, exact=("transform",))


@pytest.mark.parametrize("target", [TARGET, TARGET == 1, TARGET + 0.5], ids=["three", "two", "number"])
def test_target_encoders(target: np.ndarray) -> None:
    columns = TABLE[:, [0, 3]]
    model = preprocessing.TargetEncoder(random_state=0).fit(columns, target)
    agrees(model, columns, exact=("transform",))
    agrees(model, UNSEEN[:, [0, 3]], exact=("transform",))


def test_a_pipeline_of_mixed_columns_with_text_gaps_and_all_ways_to_keep_columns() -> None:
    words = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="most_frequent"), preprocessing.OneHotEncoder(handle_unknown="ignore")
    )
    filled = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="constant", fill_value="none"),
        preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    )
    columns = compose.ColumnTransformer(
        [("hot", words, [0, 3]), ("place", filled, [0]), ("out", "drop", [1]), ("as", "passthrough", [2])],
        remainder=preprocessing.MinMaxScaler(), transformer_weights={"hot": 2.0},
    )  # fmt: skip
    model = pipeline.Pipeline([("columns", columns), ("nothing", "passthrough"), ("last", svm.SVC())])
    program = agrees(model.fit(TABLE, TARGET), np.vstack([TABLE, UNSEEN]))
    assert set(program.features[0].categories) == {"red", "green", "blue", "ünïcode", "none"}
    assert not program.features[3].missing or program.features[3].kind == ir.CATEGORY


def test_unions_and_remainders() -> None:
    union = pipeline.FeatureUnion(
        [("scaled", preprocessing.StandardScaler()), ("same", "passthrough"), ("none", "drop"), ("two", PCA(2))],
        transformer_weights={"same": 0.5},
    )
    agrees(pipeline.make_pipeline(union, linear_model.Ridge()).fit(DIABETES, DIABETES_Y), DIABETES)
    rest = compose.ColumnTransformer([("scaled", preprocessing.RobustScaler(), slice(0, 3))], remainder="passthrough")
    agrees(rest.fit(DIABETES), DIABETES, exact=("transform",))


def test_trees_behind_exact_transforms_stay_equal_to_the_bit() -> None:
    forest = ensemble.RandomForestClassifier(10, random_state=0)
    scaled = pipeline.make_pipeline(preprocessing.StandardScaler(), preprocessing.PolynomialFeatures(2), forest)
    agrees(scaled.fit(IRIS, NAMES), IRIS, exact=("predict", "predict_proba"))
    mixed = pipeline.make_pipeline(_columns(preprocessing.OneHotEncoder(handle_unknown="ignore")), forest)
    agrees(mixed.fit(TABLE, TARGET), np.vstack([TABLE, UNSEEN]), exact=("predict", "predict_proba"))
    turned = pipeline.make_pipeline(PCA(2), forest).fit(IRIS, NAMES)
    assert not read_model(turned, features_of(turned)).exact


# -- features --------------------------------------------------------------------------------------------------------


def test_features_are_called_as_the_source_calls_them() -> None:
    scaler = preprocessing.StandardScaler().fit(IRIS)
    assert [f.name for f in features_of(scaler)] == ["x0", "x1", "x2", "x3"]
    scaler.feature_names_in_ = np.array(["a", "b", "c", "d"], object)  # as fitting on a DataFrame leaves them
    model = pipeline.make_pipeline(scaler, svm.SVC().fit(IRIS, IRIS_Y))
    assert [f.name for f in features_of(model)] == ["a", "b", "c", "d"]
    search = model_selection.GridSearchCV(model, {"svc__C": [1.0]}, cv=2).fit(IRIS, IRIS_Y)
    assert len(features_of(search)) == 4


def test_rows_of_lists_and_arrays_become_codes_and_numbers() -> None:
    features = [ir.Feature("colour", ir.CATEGORY, ("red", "blue")), ir.Feature("size")]
    rows = numbers_of(features, [["blue", 1], ["green", None], [None, True], ["red", "2.5"]])
    np.testing.assert_array_equal(rows, [[1, 1], [-1, np.nan], [np.nan, 1], [0, 2.5]])
    np.testing.assert_array_equal(numbers_of(features[1:] * 2, np.array([[1, 2]], np.int8)), [[1.0, 2.0]])


def test_texts_that_no_encoder_reads_are_refused() -> None:
    with pytest.raises(ConversionError, match="row 0 has 'red' for x0, which is a number"):
        numbers_of([ir.Feature("x0")], [["red"]])
    with pytest.raises(ConversionError, match="rows have 2 values for 1 features"):
        numbers_of([ir.Feature("x0")], [[1, 2]])
    made = pipeline.make_pipeline(
        preprocessing.OneHotEncoder(sparse_output=False), preprocessing.OneHotEncoder(handle_unknown="ignore")
    ).fit(TABLE[:, [3]])  # fmt: skip
    made.steps[1][1].categories_ = [np.array(["x", "y"], object)] * 2
    with pytest.raises(ConversionError, match="category 'x' is of a column that another step has made"):
        read_model(made, features_of(made))
    mixed = preprocessing.OneHotEncoder().fit(TABLE[:, [3]])
    mixed.categories_ = [np.array(["x", b"y"], object)]
    with pytest.raises(ConversionError, match="has the category b'y'"):
        read_model(mixed, features_of(mixed))
