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
    datasets,
    feature_selection,
    impute,
    linear_model,
    pipeline,
    preprocessing,
)
from sklearn.decomposition import PCA, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir, reference
from edgekit_converters.plaincode.features import features_of
from edgekit_converters.plaincode.reader import read_model

from .agreement import agrees
from .tables import CANCER, CANCER_Y, DIGITS, IRIS, NAMES


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
