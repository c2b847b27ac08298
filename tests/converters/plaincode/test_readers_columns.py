"""Columns: scalers, gaps, categories, and pipelines of them, read into programs that answer as scikit-learn does."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import (
    compose,
    datasets,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    model_selection,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.decomposition import PCA, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir, reference
from edgekit_converters.plaincode.features import features_of, numbers_of
from edgekit_converters.plaincode.reader import read_model

from .agreement import agrees


def _scalers() -> list[tuple[Any, ir.Program]]:
    rows = datasets.load_iris().data
    fitted = [
        preprocessing.StandardScaler().fit(rows),
        preprocessing.MinMaxScaler((-3, 0.1), clip=True).fit(rows),
        preprocessing.RobustScaler().fit(rows),
        preprocessing.Normalizer("max"),
        preprocessing.KBinsDiscretizer(5, encode="ordinal", strategy="uniform").fit(rows),
    ]
    features = [ir.Feature(f"x{i}") for i in range(4)]
    return [(model, read_model(model, features)) for model in fitted]


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SCALED = _scalers()
IRIS, IRIS_Y = datasets.load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS_Y]
CANCER, CANCER_Y = (a[::3] for a in datasets.load_breast_cancer(return_X_y=True))
CANCER = preprocessing.StandardScaler().fit_transform(CANCER)
DIGITS = datasets.load_digits().data[:300]
DIABETES, DIABETES_Y = datasets.load_diabetes(return_X_y=True)

# -- columns ---------------------------------------------------------------------------------------------------------

GAPS = CANCER[:, :6].copy()
GAPS[::4, 1], GAPS[1::7, 3], GAPS[:, 5] = np.nan, np.nan, np.nan
EXACT = [
    preprocessing.StandardScaler(),
    preprocessing.StandardScaler(with_mean=False),
    preprocessing.MinMaxScaler((-1, 2), clip=True),
    preprocessing.MaxAbsScaler(),
    preprocessing.RobustScaler(),
    preprocessing.Normalizer("max"),
    preprocessing.Binarizer(threshold=0.3),
    preprocessing.PolynomialFeatures(3),
    preprocessing.PolynomialFeatures((2, 3), interaction_only=True, include_bias=False),
    preprocessing.KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    preprocessing.KBinsDiscretizer(3, strategy="uniform"),
    preprocessing.FunctionTransformer(),
    preprocessing.FunctionTransformer(np.square),
    feature_selection.VarianceThreshold(0.5),
    feature_selection.SelectKBest(k=3),
    feature_selection.SelectFromModel(linear_model.Lasso(0.01)),
]
CLOSE = [
    preprocessing.Normalizer("l1"),
    preprocessing.Normalizer("l2"),
    preprocessing.PowerTransformer(),
    preprocessing.PowerTransformer(standardize=False),
    preprocessing.FunctionTransformer(np.tanh),
    PCA(3),
    PCA(4, whiten=True),
    IncrementalPCA(2),
    TruncatedSVD(3, random_state=0),
    FastICA(3, random_state=0, max_iter=1000),
    GaussianRandomProjection(4, random_state=0),
    SparseRandomProjection(4, random_state=0),
    preprocessing.QuantileTransformer(n_quantiles=20),
]


@pytest.mark.parametrize("model", EXACT, ids=lambda m: type(m).__name__)
def test_transforms_that_are_equal_to_the_bit(model: Any) -> None:
    columns = CANCER[:, :6].copy()
    columns[3] = 0.0
    agrees(model.fit(columns, CANCER_Y), columns, exact=("transform",))


@pytest.mark.parametrize("model", CLOSE, ids=lambda m: type(m).__name__)
def test_other_transforms(model: Any) -> None:
    columns = CANCER[:, :6].copy()
    columns[3] = 0.0
    agrees(model.fit(columns, CANCER_Y), columns)


def test_power_transforms_with_an_exponent_of_zero_and_two() -> None:
    model = preprocessing.PowerTransformer(standardize=False).fit(CANCER[:, :3])
    model.lambdas_ = np.array([0.0, 2.0, 1.0])
    agrees(model, CANCER[:, :3])
    agrees(preprocessing.PowerTransformer("box-cox").fit(DIGITS[:, 20:22] + 1), DIGITS[:, 20:22] + 1)


def test_quantiles_that_are_equal_make_jumps() -> None:
    model = preprocessing.QuantileTransformer(n_quantiles=100).fit(DIGITS[:, 18:24])
    between = np.nextafter(DIGITS[:, 18:24], np.where(np.arange(6) % 2, np.inf, -np.inf))
    between = np.where(np.abs(between) < 1e-290, np.sign(between) * 1e-290, between)
    agrees(model, np.vstack([DIGITS[:, 18:24], between, DIGITS[:9, 18:24] * 2 - 9, np.full((1, 6), np.nan)]))
    normal = preprocessing.QuantileTransformer(output_distribution="normal", n_quantiles=9).fit(CANCER)
    with pytest.raises(ConversionError, match="QuantileTransformer with output_distribution='normal'"):
        read_model(normal, features_of(normal))


def test_a_selector_that_keeps_nothing_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = feature_selection.SelectFwe(alpha=1e-9).fit(CANCER[:9, :3], CANCER_Y[:9])
    with pytest.raises(ConversionError, match="no column is left"):
        read_model(model, features_of(model))


@examples(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, 4), elements=st.floats(-1e300, 1e300) | st.sampled_from([0.0, -0.0, 5e-324, 1e-308])))
def test_any_number_is_scaled_to_the_same_bits(rows: np.ndarray) -> None:
    for model, program in SCALED:
        (found,) = reference.run(program, rows)["transform"]
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(found, model.transform(rows))


@examples(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, 4), elements=st.floats(-1e100, 1e100) | st.sampled_from([0.0, 1e-15, -1e-16, 3e-200])))
def test_rows_of_any_size_are_normalized_alike(rows: np.ndarray) -> None:
    for norm in ("l1", "l2"):
        model = preprocessing.Normalizer(norm)
        (found,) = reference.run(read_model(model, [ir.Feature(c) for c in "abcd"]), rows)["transform"]
        np.testing.assert_allclose(found, model.transform(rows), rtol=1e-12)


def test_selection_with_an_estimator_behind_it() -> None:
    model = feature_selection.RFE(linear_model.LogisticRegression(), n_features_to_select=2).fit(IRIS, NAMES)
    agrees(model, IRIS, exact=("transform",))


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"strategy": "median", "add_indicator": True}, {"strategy": "most_frequent", "keep_empty_features": True},
        {"strategy": "constant", "fill_value": -7.5},
    ],
    ids=str,
)  # fmt: skip
def test_imputers(settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = agrees(impute.SimpleImputer(**settings).fit(GAPS), GAPS, exact=("transform",))
    assert program.features[1].missing


def test_missing_values_are_a_number_in_some_data() -> None:
    data = np.where(np.isnan(GAPS[:, :5]), -99.0, GAPS[:, :5])
    program = agrees(
        impute.SimpleImputer(missing_values=-99.0, add_indicator=True).fit(data), data, exact=("transform",)
    )
    assert not program.features[1].missing
    agrees(impute.MissingIndicator(missing_values=-99.0, error_on_new=False).fit(data), data, exact=("transform",))


def test_an_imputer_behind_a_scaler_makes_the_raw_columns_take_gaps() -> None:
    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(), impute.SimpleImputer(), linear_model.LogisticRegression()
    )
    program = agrees(model.fit(GAPS[:, :5], CANCER_Y), GAPS[:, :5])
    assert all(f.missing for f in program.features)


# -- categories ------------------------------------------------------------------------------------------------------


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
