"""Classic models as files: what loads, what is refused and why, and what becomes of it in ONNX."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import ExtraTreesRegressor, IsolationForest, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from edgekit_converters.errors import ConversionError, SourceError, UntrustedPickle, UsageError
from edgekit_converters.fidelity import compare
from edgekit_converters.limits import TargetLimits
from edgekit_converters.registry import conversion, load_source, matrix
from edgekit_converters.source import SourceRequest

X, Y = load_iris(return_X_y=True)
CANCER, CANCER_Y = load_breast_cancer(return_X_y=True)
LIMITS = TargetLimits(("c", "onnx"))


def saved(folder: Path, model: object, name: str = "model.joblib") -> str:
    joblib.dump(model, folder / name)
    return str(folder / name)


def load(path: str, trust: bool = True):
    return load_source(SourceRequest(path, trust=trust))


@pytest.fixture(scope="module")
def forest() -> RandomForestClassifier:
    return RandomForestClassifier(5, random_state=0, n_jobs=2).fit(X, np.array(["a", "b", "c"])[Y])


def test_pickles_need_trust_and_skops_says_what_it_does_not_know(forest, tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(forest))
    skops.io.dump(forest, tmp_path / "m.skops")
    skops.io.dump(LogisticRegression().fit(X, Y), tmp_path / "harmless.skops")
    for path in (saved(tmp_path, forest), str(tmp_path / "m.pkl")):
        with pytest.raises(UntrustedPickle, match="runs code when it is loaded.*--trust"):
            load(path, trust=False)
        assert load(path).labels == ("a", "b", "c")
    with pytest.raises(UntrustedPickle, match=r"sklearn\.tree\._tree\.Tree.*--trust"):
        load(str(tmp_path / "m.skops"), trust=False)
    assert load(str(tmp_path / "m.skops")).task == "classification"
    assert load(str(tmp_path / "harmless.skops"), trust=False).method == "predict_proba"


def test_a_pickle_that_runs_code_is_not_run_without_trust(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UntrustedPickle):
        load(str(tmp_path / "m.pkl"), trust=False)
    assert not (tmp_path / "ran").exists()


def test_a_model_is_asked_as_it_answers_itself(forest, tmp_path):
    source = load(saved(tmp_path, forest))
    assert (source.framework, source.method, source.outputs[0].shape) == ("sklearn", "predict_proba", (-1, 3))
    assert source.model.n_jobs == 1, "threads would add up in any order"
    (found,) = source.run({"x": X.astype(source.inputs[0].dtype)}).values()
    assert np.array_equal(found, forest.predict_proba(X))


@pytest.mark.parametrize(
    ("model", "method", "width"),
    [
        (SVC(), "decision_function", 3),
        (VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=500))]), "predict", 3),
        (KMeans(2, random_state=0), "predict", 1),
        (IsolationForest(n_estimators=5, random_state=0), "decision_function", 1),
        (StandardScaler(), "transform", 4),
        (xgboost.XGBClassifier(n_estimators=2), "predict_proba", 3),
        (lightgbm.LGBMClassifier(n_estimators=2, verbose=-1), "predict_proba", 3),
    ],
    ids=lambda v: type(v).__name__ if hasattr(v, "fit") else None,
)
def test_every_kind_of_model_has_a_method_that_is_meant(model, method, width, tmp_path):
    source = load(saved(tmp_path, model.fit(X, Y)))
    assert (source.method, source.outputs[0].shape[1]) == (method, width)
    (found,) = source.run({"x": X.astype(source.inputs[0].dtype)}).values()
    assert found.shape == (150, width)
    if method == "predict" and width == 3:
        assert found.sum() == 150 and np.array_equal(found.argmax(axis=1), model.predict(X))


@pytest.mark.parametrize("suffix", [".json", ".ubj"])
@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax", "reg:squarederror"])
def test_files_of_xgboost_load_without_trust(tmp_path, suffix, objective):
    settings = {"objective": objective, **({"num_class": 3} if "multi" in objective else {})}
    booster = xgboost.train(settings, xgboost.DMatrix(X, label=Y), 3)
    booster.save_model(tmp_path / f"m{suffix}")
    source = load(str(tmp_path / f"m{suffix}"), trust=False)
    (found,) = source.run({"x": X.astype(source.inputs[0].dtype)}).values()
    if objective == "multi:softprob":
        assert np.allclose(found, booster.predict(xgboost.DMatrix(X)), atol=1e-7)
    assert source.task == ("regression" if "reg" in objective else "classification")
    assert found.shape[1] == (1 if "reg" in objective else 3) and np.isfinite(found).all()
    if "multi" in objective:
        assert np.allclose(found.sum(axis=1), 1, atol=1e-6)


def test_files_of_lightgbm_load_without_trust(tmp_path):
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
    model.booster_.save_model(tmp_path / "m.txt")
    source = load(str(tmp_path / "m.txt"), trust=False)
    (found,) = source.run({"x": X.astype(source.inputs[0].dtype)}).values()
    assert np.array_equal(found, model.predict_proba(X)) and source.task == "classification" and not source.labels


@pytest.mark.parametrize("name", ["m.joblib", "m.pkl", "m.skops", "m.json", "m.ubj", "m.txt"])
@pytest.mark.parametrize("content", ["empty", "other", "cut"])
def test_a_corrupt_file_is_one_sentence(tmp_path, forest, name, content):
    path = tmp_path / name
    good = {
        "m.joblib": lambda: joblib.dump(forest, path),
        "m.pkl": lambda: path.write_bytes(pickle.dumps(forest)),
        "m.skops": lambda: skops.io.dump(forest, path),
        "m.txt": lambda: lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y).booster_.save_model(path),
    }
    good.get(name, lambda: xgboost.XGBClassifier(n_estimators=2).fit(X, Y).save_model(path))()
    raw = path.read_bytes()
    path.write_bytes({"empty": b"", "other": b"{}\nhello", "cut": raw[: len(raw) // 2]}[content])
    unlike = name in ("m.json", "m.txt") and content != "cut"  # such files may be anything
    with pytest.raises(UsageError if unlike else SourceError) as error:
        load(str(path))
    assert name in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


def test_what_is_no_fitted_model_is_told(tmp_path):
    with pytest.raises(SourceError, match="LogisticRegression that was not fitted: fit it"):
        load(saved(tmp_path, LogisticRegression()))
    with pytest.raises(SourceError, match="holds a dict, not a model"):
        load(saved(tmp_path, {"model": 1}))
    with pytest.raises(SourceError, match="Pipeline that was not fitted|not fitted"):
        load(saved(tmp_path, make_pipeline(StandardScaler(), LogisticRegression())))
    with pytest.raises(SourceError, match="there is no file"):
        load(str(tmp_path / "none.joblib"))
    (tmp_path / "model.bin").write_bytes(b"\0")
    with pytest.raises(UsageError, match="cannot tell what kind.*joblib"):
        load(str(tmp_path / "model.bin"))


def test_a_module_that_is_missing_is_named(tmp_path):
    (tmp_path / "theirs_only.py").write_text("class Model:\n    def predict(self, x):\n        return x\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import theirs_only

        path = saved(tmp_path, theirs_only.Model())
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["theirs_only"]
    with pytest.raises(SourceError, match="needs the Python module theirs_only"):
        load(path)


def test_a_model_of_another_release_is_refused_with_the_way_out(tmp_path):
    """As scikit-learn 1.2 would have written it: the state carries the version."""
    import sklearn

    model = LogisticRegression().fit(X, Y)
    raw = pickle.dumps(model)
    here = sklearn.__version__.encode()
    other = b"0.9.9" if len(here) == 5 else b"0.9." + b"9" * (len(here) - 4)
    assert raw.count(here) == 1
    (tmp_path / "m.pkl").write_bytes(raw.replace(here, other))
    with pytest.raises(SourceError, match=r"saved by scikit-learn 0\.9\.9.*pip install scikit-learn==0\.9\.9"):
        load(str(tmp_path / "m.pkl"))


# -- to ONNX -------------------------------------------------------------------------------------------------------


def test_the_table_says_that_classic_models_become_c_and_onnx():
    cells = matrix()
    for kind in ("sklearn", "xgboost", "lightgbm"):
        assert cells[kind] == {"onnx": True, "tflite": False, "c": True}


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
        SVC(),
        KMeans(2, random_state=0),
        IsolationForest(n_estimators=5, random_state=0),
        xgboost.XGBClassifier(n_estimators=3),
        lightgbm.LGBMRegressor(n_estimators=3, verbose=-1),
        make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)),
    ],
    ids=lambda m: type(m[-1] if hasattr(m, "steps") else m).__name__,
)
def test_onnx_answers_as_the_source(model, tmp_path):
    source = load(saved(tmp_path, model.fit(CANCER, CANCER_Y)))
    made = conversion(source.framework, "onnx")(source, tmp_path, LIMITS)
    feeds = [{"x": CANCER[i : i + 1].astype(source.inputs[0].dtype)} for i in range(0, 60, 3)]
    assert compare(source, made, feeds, strict=True).max_abs < 1e-4


def test_several_outputs_reach_onnx(tmp_path):
    source = load(saved(tmp_path, ExtraTreesRegressor(3, random_state=0).fit(X[:, :2], X[:, 2:])))
    made = conversion("sklearn", "onnx")(source, tmp_path, LIMITS)
    feeds = [{"x": X[i : i + 1, :2].astype(source.inputs[0].dtype)} for i in range(0, 150, 7)]
    assert compare(source, made, feeds, strict=True).max_abs < 1e-5


def test_a_forest_with_missing_values_that_the_converter_gets_wrong_is_caught(tmp_path):
    rows = CANCER.copy()
    rows[::7, 3] = np.nan
    source = load(saved(tmp_path, RandomForestClassifier(10, random_state=0).fit(rows, CANCER_Y)))
    made = conversion("sklearn", "onnx")(source, tmp_path, LIMITS)
    whole = [{"x": rows[i : i + 1].astype(source.inputs[0].dtype)} for i in range(1, 6)]
    compare(source, made, whole, strict=True)
    assert not source.traps(whole), "rows without gaps are no reason to try gaps"
    with pytest.raises(ConversionError, match="differs from the source: output 'predict_proba' is off by"):
        gaps = [{"x": rows[i : i + 1].astype(source.inputs[0].dtype)} for i in range(0, 200)]
        compare(source, made, [*gaps, *source.traps(gaps)], strict=True)


def test_what_has_no_onnx_names_the_way_out(tmp_path):
    votes = VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=500))]).fit(X, Y)
    with pytest.raises(ConversionError, match="VotingClassifier into ONNX.*--format c"):
        conversion("sklearn", "onnx")(load(saved(tmp_path, votes)), tmp_path, LIMITS)
