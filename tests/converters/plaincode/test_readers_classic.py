"""scikit-learn's models that are not trees, read into programs: each must answer as it does itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn import (
    calibration,
    cluster,
    compose,
    discriminant_analysis,
    ensemble,
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
)
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from threadpoolctl import threadpool_limits

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir, reference
from edgekit_converters.plaincode.features import features_of
from edgekit_converters.plaincode.reader import read_model
from edgekit_converters.plaincode.ties import undecided

from .agreement import agrees
from .tables import CANCER, CANCER_Y, DIABETES, DIABETES_Y, DIGITS, DIGITS_Y, IRIS, IRIS_Y, NAMES

FEW = DIGITS[:250, 18:46] / 16
TWO_TARGETS = np.stack([DIABETES_Y, DIABETES[:, 2] * 100], axis=1)
LABELS = np.stack([CANCER_Y, CANCER[:, 0] > 0, CANCER[:, 1] > 1], axis=1).astype(int)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Many small fits on few cores: threads would only wait for each other."""
    with threadpool_limits(1):
        yield


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
    PLSRegression(3),
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
    discriminant_analysis.QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.3),
    svm.SVC(),
    svm.SVC(kernel="linear", decision_function_shape="ovo"),
    svm.SVC(kernel="poly", gamma=0.1, coef0=0.5, break_ties=True),
    svm.SVC(kernel="sigmoid", gamma=0.01),
    svm.NuSVC(nu=0.1),
    svm.SVC(probability=True, random_state=0),
    svm.SVC(kernel="linear", probability=True, random_state=0),
    neighbors.NearestCentroid(priors="uniform"),
    neighbors.NearestCentroid(metric="manhattan", priors="empirical"),
    naive_bayes.GaussianNB(),
    naive_bayes.BernoulliNB(binarize=0.5),
    neural_network.MLPClassifier((12,), max_iter=20, random_state=0),
    neural_network.MLPClassifier((6, 5), "logistic", max_iter=20, random_state=0),
    multiclass.OneVsRestClassifier(svm.LinearSVC(random_state=0)),
    multiclass.OneVsRestClassifier(neural_network.MLPClassifier((4,), max_iter=9, random_state=0)),
    multiclass.OneVsOneClassifier(svm.LinearSVC(random_state=0)),
    multiclass.OneVsOneClassifier(naive_bayes.GaussianNB(var_smoothing=0.1)),
    calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=2),
    calibration.CalibratedClassifierCV(discriminant_analysis.LinearDiscriminantAnalysis(), method="isotonic", cv=2),
    calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), method="temperature", cv=2),
    calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(var_smoothing=9.0), method="temperature", ensemble=False),
    ensemble.BaggingClassifier(linear_model.LogisticRegression(), 3, max_features=0.5, random_state=0),
    ensemble.BaggingClassifier(linear_model.RidgeClassifier(), 5, random_state=0),
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda m: type(m).__name__)
def test_classifiers_of_two_three_and_ten_classes(model: Any) -> None:
    agrees(model.fit(CANCER, CANCER_Y == 1), CANCER)
    agrees(model.fit(IRIS, NAMES), IRIS)
    agrees(model.fit(FEW, DIGITS_Y[:250]), FEW)


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"algorithm": "brute"}, {"weights": "distance"}, {"weights": "distance", "metric": "chebyshev"},
        {"p": 1, "algorithm": "ball_tree"},
    ],
    ids=str,
)  # fmt: skip
def test_neighbours(settings: dict[str, Any]) -> None:
    """Without equal distances: there the source's own choice depends on how its search tree is cut."""
    for rows, target in ((CANCER, CANCER_Y == 1), (IRIS, NAMES), (DIGITS, DIGITS_Y)):
        rows = rows + np.random.default_rng(0).normal(scale=0.01, size=rows.shape)
        agrees(neighbors.KNeighborsClassifier(5, **settings).fit(rows[::2], target[::2]), rows)


def test_where_neighbours_are_equally_far_the_answers_may_differ_and_it_is_known_where() -> None:
    model = neighbors.KNeighborsClassifier().fit(IRIS, IRIS_Y)
    program = read_model(model, features_of(model))
    same = (reference.run(program, IRIS)["predict_proba"][0] == model.predict_proba(IRIS)).all(axis=1)
    hanging = undecided(program, IRIS)
    assert (~same).any()
    assert same[~hanging].all()
    assert hanging.mean() < 0.5
    assert not undecided(agrees(svm.SVC().fit(IRIS, IRIS_Y), IRIS), IRIS).any()


@pytest.mark.parametrize("kind", ["MultinomialNB", "ComplementNB", "CategoricalNB"])
def test_naive_bayes_of_counts(kind: str) -> None:
    agrees(getattr(naive_bayes, kind)().fit(DIGITS, DIGITS_Y), DIGITS)


def test_categories_of_naive_bayes_cut_fractions_off() -> None:
    agrees(naive_bayes.CategoricalNB().fit(IRIS, NAMES), IRIS)


@pytest.mark.parametrize(
    "model",
    [
        FixedThresholdClassifier(linear_model.LogisticRegression(), threshold=0.8),
        FixedThresholdClassifier(linear_model.LogisticRegression(), threshold=0.8, pos_label="bad"),
        FixedThresholdClassifier(svm.LinearSVC(), pos_label="bad"),
        FixedThresholdClassifier(linear_model.RidgeClassifier(), threshold=0.25),
        TunedThresholdClassifierCV(naive_bayes.GaussianNB(), cv=2),
    ],
    ids=str,
)
def test_thresholds_that_were_chosen(model: Any) -> None:
    agrees(model.fit(CANCER, np.where(CANCER_Y == 1, "good", "bad")), CANCER)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("kind", [mixture.GaussianMixture, mixture.BayesianGaussianMixture])
def test_mixtures(kind: Any, covariance: str) -> None:
    agrees(kind(n_components=3, covariance_type=covariance, random_state=0).fit(CANCER[:, :6]), CANCER[:, :6])


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


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_fitted_is_refused() -> None:
    for model in (
        linear_model.Ridge(),
        svm.SVC(),
        preprocessing.StandardScaler(),
        compose.ColumnTransformer([("same", "passthrough", [0])]),
    ):
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
