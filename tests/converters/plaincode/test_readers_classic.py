"""scikit-learn's models that are not trees, read into programs: each must answer as it does itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import (
    calibration,
    cluster,
    compose,
    datasets,
    discriminant_analysis,
    ensemble,
    feature_selection,
    impute,
    isotonic,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.features import features_of, numbers_of
from edgekit_converters.plaincode.reader import read_model

from .agreement import agrees

IRIS, IRIS_Y = datasets.load_iris(return_X_y=True)
CANCER, CANCER_Y = (a[::3] for a in datasets.load_breast_cancer(return_X_y=True))
CANCER = preprocessing.StandardScaler().fit_transform(CANCER)
DIGITS, DIGITS_Y = (a[:500] for a in datasets.load_digits(return_X_y=True))
DIABETES, DIABETES_Y = datasets.load_diabetes(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS_Y]
TWO_TARGETS = np.stack([DIABETES_Y, DIABETES[:, 2] * 100], axis=1)
LABELS = np.stack([CANCER_Y, CANCER[:, 0] > 0, CANCER[:, 1] > 1], axis=1).astype(int)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")

REGRESSORS = [
    linear_model.LinearRegression(),
    linear_model.Ridge(fit_intercept=False),
    linear_model.RidgeCV(),
    linear_model.Lasso(0.1),
    linear_model.ElasticNet(0.01),
    linear_model.BayesianRidge(),
    linear_model.HuberRegressor(max_iter=50),
    linear_model.OrthogonalMatchingPursuit(),
    linear_model.SGDRegressor(random_state=0),
    linear_model.PoissonRegressor(),
    linear_model.TweedieRegressor(power=0),
    linear_model.RANSACRegressor(random_state=0, min_samples=20),
    svm.LinearSVR(random_state=0),
    svm.SVR(C=100),
    svm.SVR(kernel="linear"),
    svm.NuSVR(kernel="poly", degree=2, coef0=1.0, C=10),
    neighbors.KNeighborsRegressor(),
    neighbors.KNeighborsRegressor(7, weights="distance", metric="manhattan"),
    neighbors.KNeighborsRegressor(3, weights="distance", algorithm="kd_tree"),
    neighbors.KNeighborsRegressor(4, p=1, algorithm="brute"),
    neural_network.MLPRegressor(hidden_layer_sizes=(20,), max_iter=20, random_state=0),
    neural_network.MLPRegressor("poisson", (9, 5), "tanh", max_iter=20, random_state=0),
    compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1),
    compose.TransformedTargetRegressor(svm.SVR(), transformer=preprocessing.StandardScaler()),
    compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=preprocessing.MinMaxScaler()),
    ensemble.BaggingRegressor(svm.SVR(), 4, max_features=0.5, random_state=0),
    model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=2),
]


@pytest.mark.parametrize("model", REGRESSORS, ids=lambda m: type(m).__name__)
def test_regressors(model: Any) -> None:
    agrees(model.fit(DIABETES, DIABETES_Y), DIABETES[::2])


@pytest.mark.parametrize(
    "model",
    [
        linear_model.LinearRegression(),
        linear_model.MultiTaskLasso(0.1),
        neighbors.KNeighborsRegressor(),
        neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=10, random_state=0),
        multioutput.MultiOutputRegressor(svm.SVR()),
        compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=preprocessing.StandardScaler()),
    ],
    ids=lambda m: type(m).__name__,
)
def test_regressors_of_several_outputs_have_an_answer_for_each(model: Any) -> None:
    program = agrees(model.fit(DIABETES, TWO_TARGETS), DIABETES[::2])
    assert len(program.methods["predict"]) == 2


CLASSIFIERS = [
    linear_model.LogisticRegression(),
    linear_model.LogisticRegressionCV(Cs=2, cv=2, max_iter=50),
    linear_model.SGDClassifier(random_state=0),
    linear_model.SGDClassifier(loss="log_loss", random_state=0),
    linear_model.SGDClassifier(loss="modified_huber", random_state=0),
    linear_model.Perceptron(random_state=0),
    linear_model.PassiveAggressiveClassifier(random_state=0),
    linear_model.RidgeClassifier(),
    svm.LinearSVC(random_state=0),
    discriminant_analysis.LinearDiscriminantAnalysis(),
    discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
    discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    svm.SVC(),
    svm.SVC(kernel="linear", decision_function_shape="ovo"),
    svm.SVC(kernel="poly", gamma=0.1, coef0=0.5, break_ties=True),
    svm.SVC(kernel="sigmoid", gamma=0.01),
    svm.NuSVC(nu=0.1),
    svm.SVC(probability=True, random_state=0),
    svm.SVC(kernel="linear", probability=True, random_state=0),
    neighbors.KNeighborsClassifier(),
    neighbors.KNeighborsClassifier(7, weights="distance", metric="chebyshev"),
    neighbors.KNeighborsClassifier(3, algorithm="brute"),
    neighbors.NearestCentroid(priors="uniform"),
    naive_bayes.GaussianNB(),
    naive_bayes.BernoulliNB(binarize=0.5),
    neural_network.MLPClassifier((12,), max_iter=20, random_state=0),
    neural_network.MLPClassifier((6, 5), "logistic", max_iter=20, random_state=0),
    multiclass.OneVsRestClassifier(svm.LinearSVC(random_state=0)),
    multiclass.OneVsRestClassifier(naive_bayes.GaussianNB()),
    multiclass.OneVsOneClassifier(svm.LinearSVC(random_state=0)),
    multiclass.OneVsOneClassifier(linear_model.LogisticRegression()),
    calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=2),
    calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), method="isotonic", cv=2),
    calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), method="temperature", cv=2),
    calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), method="temperature", ensemble=False),
    ensemble.BaggingClassifier(linear_model.LogisticRegression(), 3, max_features=0.5, random_state=0),
    ensemble.BaggingClassifier(linear_model.RidgeClassifier(), 5, random_state=0),
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda m: type(m).__name__)
def test_classifiers_of_two_three_and_ten_classes(model: Any) -> None:
    agrees(model.fit(CANCER, CANCER_Y == 1), CANCER)
    agrees(model.fit(IRIS, NAMES), IRIS)
    agrees(model.fit(DIGITS / 16, DIGITS_Y), DIGITS[:200] / 16)


@pytest.mark.parametrize("kind", ["MultinomialNB", "ComplementNB", "CategoricalNB"])
def test_naive_bayes_of_counts(kind: str) -> None:
    agrees(getattr(naive_bayes, kind)().fit(DIGITS, DIGITS_Y), DIGITS)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("kind", [mixture.GaussianMixture, mixture.BayesianGaussianMixture])
def test_mixtures(kind: Any, covariance: str) -> None:
    agrees(kind(3, covariance_type=covariance, random_state=0).fit(CANCER[:, :6]), CANCER[:, :6])


def test_clusters_and_outliers() -> None:
    agrees(cluster.KMeans(5, n_init=1, random_state=0).fit(DIGITS), DIGITS)
    agrees(cluster.MiniBatchKMeans(5, n_init=1, random_state=0).fit(IRIS), IRIS)
    agrees(svm.OneClassSVM().fit(IRIS), IRIS)
    agrees(svm.OneClassSVM(kernel="linear").fit(IRIS), IRIS)
    agrees(linear_model.SGDOneClassSVM(random_state=0).fit(IRIS), IRIS)


def test_models_of_several_labels() -> None:
    for model in (
        linear_model.RidgeClassifier(),
        neural_network.MLPClassifier((5,), max_iter=10, random_state=0),
        multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
        multioutput.MultiOutputClassifier(linear_model.LogisticRegression()),
        neighbors.KNeighborsClassifier(),
    ):
        agrees(model.fit(CANCER, LABELS), CANCER)


def test_isotonic_lines() -> None:
    x, y = DIABETES[:, 2:3], DIABETES_Y
    agrees(isotonic.IsotonicRegression(out_of_bounds="clip").fit(x, y), np.vstack([x, [[-9.0]], [[9.0]]]))
    with pytest.raises(ConversionError, match="out_of_bounds='nan'"):
        read_model(isotonic.IsotonicRegression().fit(x, y), [ir.Feature("x")])


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


def test_selection_with_an_estimator_behind_it() -> None:
    model = feature_selection.RFE(linear_model.LogisticRegression(), n_features_to_select=3).fit(CANCER, CANCER_Y)
    agrees(model, CANCER, exact=("transform",))


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


# -- ensembles -------------------------------------------------------------------------------------------------------


def _members() -> list[tuple[str, Any]]:
    return [
        ("line", linear_model.LogisticRegression()),
        ("bayes", naive_bayes.GaussianNB()),
        ("tree", tree.DecisionTreeClassifier(max_depth=3, random_state=0)),
    ]


@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_votes(voting: str, weights: Any) -> None:
    agrees(ensemble.VotingClassifier(_members(), voting=voting, weights=weights).fit(IRIS, NAMES), IRIS)
    numbers = [("line", linear_model.Ridge()), ("near", neighbors.KNeighborsRegressor()), ("svr", svm.SVR())]
    agrees(ensemble.VotingRegressor(numbers, weights=weights).fit(DIABETES, DIABETES_Y), DIABETES)


@pytest.mark.parametrize("method", ["auto", "predict"])
@pytest.mark.parametrize("passthrough", [False, True])
def test_stacks(method: str, passthrough: bool) -> None:
    for rows, target in ((IRIS, NAMES), (CANCER, CANCER_Y == 1)):
        model = ensemble.StackingClassifier(
            _members(), linear_model.LogisticRegression(), cv=2, stack_method=method, passthrough=passthrough
        )
        agrees(model.fit(rows, target), rows)
    numbers = [("line", linear_model.Ridge()), ("svr", svm.SVR())]
    agrees(ensemble.StackingRegressor(numbers, cv=2, passthrough=passthrough).fit(DIABETES, DIABETES_Y), DIABETES)


def test_bags_of_trees_are_one_step_and_equal_to_the_bit() -> None:
    bag = ensemble.BaggingClassifier(n_estimators=20, max_features=0.6, random_state=0).fit(DIGITS, DIGITS_Y)
    program = agrees(bag, DIGITS, exact=("predict", "predict_proba"))
    assert len(list(program.of_kind(ir.Trees))) == 1
    assert len(program.needed()) == 2
    few = ensemble.BaggingRegressor(n_estimators=9, random_state=0).fit(DIABETES, DIABETES_Y)
    program = agrees(few, DIABETES, exact=("predict",))
    assert len(program.steps) == 1


def test_bags_whose_members_have_not_seen_every_class() -> None:
    model = ensemble.BaggingClassifier(
        naive_bayes.GaussianNB(var_smoothing=0.1), 6, max_samples=12, random_state=1
    ).fit(DIGITS, DIGITS_Y)  # fmt: skip
    assert min(len(e.classes_) for e in model.estimators_) < 10
    agrees(model, DIGITS)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_fitted_is_refused() -> None:
    for model in (linear_model.Ridge(), svm.SVC(), preprocessing.StandardScaler(), _columns("passthrough")):
        with pytest.raises(ConversionError, match="fit"):
            read_model(model, features_of(model))
        with pytest.raises(ConversionError, match="is not fitted"):
            read_model(model, [ir.Feature("x0")])


def test_the_wrong_number_of_features_is_refused() -> None:
    with pytest.raises(ConversionError, match="was fitted with 4 columns and is given 3"):
        read_model(svm.SVC().fit(IRIS, IRIS_Y), [ir.Feature(n) for n in "abc"])


def test_what_is_refused_says_which_part_and_why() -> None:
    cases = [
        (svm.SVC(kernel=lambda a, b: a @ b.T), "step 'svc' of Pipeline.*kernel="),
        (neighbors.KNeighborsClassifier(metric="cosine"), "step 'kneighborsclassifier'.*metric='cosine'"),
        (neighbors.KNeighborsClassifier(metric="minkowski", p=3), "metric='minkowski'"),
        (neighbors.KNeighborsClassifier(weights=lambda d: d + 1), "weights=<lambda>"),
        (neighbors.RadiusNeighborsClassifier(9.0), "RadiusNeighborsClassifier cannot be turned into plain code"),
    ]
    for model, message in cases:
        model = pipeline.make_pipeline(preprocessing.StandardScaler(), model).fit(IRIS, IRIS_Y)
        with pytest.raises(ConversionError, match=message):
            read_model(model, features_of(model))
    own = preprocessing.FunctionTransformer(lambda x: x + 1).fit(IRIS)
    with pytest.raises(ConversionError, match="func=<lambda>"):
        read_model(own, features_of(own))
    log = preprocessing.FunctionTransformer(np.log1p, kw_args={"dtype": np.float32}).fit(IRIS)
    with pytest.raises(ConversionError, match="func=log1p"):
        read_model(log, features_of(log))


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
    mixed = preprocessing.OneHotEncoder(categories=[np.array(["x", b"y"], object)]).fit(
        np.array([["x"], [b"y"]], object)
    )
    with pytest.raises(ConversionError, match="has the category b'y'"):
        read_model(mixed, features_of(mixed))


def test_a_model_that_lost_what_it_learnt_is_refused() -> None:
    model = preprocessing.StandardScaler().fit(IRIS)
    del model.scale_
    with pytest.raises(ConversionError, match="StandardScaler lacks .*scale_"):
        read_model(model, features_of(model))
    line = linear_model.Ridge().fit(DIABETES, DIABETES_Y)
    line.coef_ = line.coef_ * np.nan
    with pytest.raises(ConversionError, match="not finite"):
        read_model(line, features_of(line))


def test_a_search_that_kept_no_model_is_refused() -> None:
    search = model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [1.0]}, cv=2, refit=False)
    with pytest.raises(ConversionError, match="best_estimator_|not fitted"):
        read_model(search.fit(DIABETES, DIABETES_Y), [ir.Feature(f"x{i}") for i in range(10)])
