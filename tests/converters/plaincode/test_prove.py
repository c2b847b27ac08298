"""The proof: what is right passes to the bit, and every kind of wrong code is caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from edgekit_converters.errors import ConversionError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.artefact import write_code
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.prove import Proof, prove
from edgekit_converters.recipe import Converted
from edgekit_converters.sources.classic import ClassicSource
from edgekit_runtime.backends import backend

pytestmark = pytest.mark.tool("cc")

CANCER, CANCER_Y = load_breast_cancer(return_X_y=True)
IRIS, IRIS_Y = load_iris(return_X_y=True)
TEXTS = ["good film", "great film", "bad film", "awful film", "a good one", "a bad one"] * 4
VERDICTS = ["up", "up", "down", "down", "up", "down"] * 4


def source_of(folder: Path, model: object) -> ClassicSource:
    joblib.dump(model, folder / "model.joblib")
    return ClassicSource(model, folder / "model.joblib")


def forest(**settings: object) -> RandomForestClassifier:
    return RandomForestClassifier(10, random_state=0, **settings).fit(CANCER[::2], CANCER_Y[::2])


def compiled(source: ClassicSource, folder: Path, **settings: str) -> Converted:
    return write_code(source, folder, TargetLimits(("c",), code=EmitSettings(**settings)))  # type: ignore[arg-type]


def proven(source: ClassicSource, made: Converted, rows: np.ndarray, adversarial: int = 500) -> Proof:
    session = backend("plain").open(made.runnable.read_bytes())
    try:
        return prove(source, session, made.precision, rows, adversarial)  # type: ignore[arg-type]
    finally:
        session.close()


def rows_of(source: ClassicSource, rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows, "object" if source.is_text else source.inputs[0].dtype)


def with_program(source: ClassicSource, **changes: object) -> ClassicSource:
    """The same source, but code is written from a program that was tampered with."""
    source.__dict__["program"] = replace(source.program, **changes)  # type: ignore[arg-type]
    return source


def tampered(source: ClassicSource, change) -> ClassicSource:
    """`change` makes another step of each step of the program."""
    return with_program(source, steps=tuple(change(s) for s in source.program.steps))


def test_a_forest_is_equal_to_the_bit_in_every_row_and_method(tmp_path):
    source = source_of(tmp_path, forest())
    proof = proven(source, compiled(source, tmp_path), rows_of(source, CANCER))
    assert proof.rows == 569 + 500 == proof.bit_equal and proof.adversarial == 500 and proof.largest == 0
    assert {m.name: m.exact for m in proof.methods} == {"predict": True, "predict_proba": True}
    assert "1,069 rows, 500 of them adversarial: all bit-equal" in proof.in_words()
    manifest = proof.as_dict()
    assert manifest["rows"] == manifest["predict_proba.bit_equal_rows"] == 1069 and manifest["flips"] == 0


@pytest.mark.parametrize("leaves", ["float", "fixed"])
def test_cheaper_leaves_stay_within_their_bound_and_never_flip(tmp_path, leaves):
    model = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(IRIS[:, :3], 100 * IRIS[:, 3])
    source = source_of(tmp_path, model)
    made = compiled(source, tmp_path, leaves=leaves)
    proof = proven(source, made, rows_of(source, IRIS[:, :3]))
    assert made.precision == {"float": "fp32", "fixed": "int32"}[leaves]
    assert 0 < proof.largest < 1e-5 * (1 + 250) and proof.bound == 1e-5


def test_a_linear_model_of_three_classes_holds_within_a_millionth(tmp_path):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, IRIS_Y)
    source = source_of(tmp_path, model)
    proof = proven(source, compiled(source, tmp_path), rows_of(source, IRIS))
    assert proof.largest < 1e-12 and {m.name for m in proof.methods} >= {"predict", "predict_proba"}


def test_texts_are_tried_with_awkward_ones(tmp_path):
    source = source_of(
        tmp_path, make_pipeline(HashingVectorizer(n_features=64), LogisticRegression()).fit(TEXTS, VERDICTS)
    )
    proof = proven(source, compiled(source, tmp_path), rows_of(source, np.array(TEXTS, object)), adversarial=200)
    assert proof.adversarial == 200 and proof.largest < 1e-9


def test_leaves_that_are_off_in_the_last_digits_are_caught(tmp_path):
    def nudge(step):
        return replace(step, leaves=step.leaves * (1 + 1e-14)) if isinstance(step, ir.Trees) else step

    source = tampered(source_of(tmp_path, forest()), nudge)
    with pytest.raises(ConversionError, match="predict_proba must be equal to the bit"):
        proven(source, compiled(source, tmp_path), rows_of(source, CANCER))


def test_less_for_less_or_equal_is_caught_by_adversarial_rows_alone(tmp_path):
    def strict(step):
        if isinstance(step, ir.Trees):
            below = np.nextafter(step.threshold.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
            return replace(step, threshold=below)
        return step

    source = source_of(tmp_path, forest())
    honest = source.program
    made = compiled(tampered(source, strict), tmp_path)
    source.__dict__["program"] = honest  # adversarial rows hug the model's own thresholds
    rows = rows_of(source, CANCER)
    assert proven(source, made, rows, adversarial=0).bit_equal == len(rows), "real rows never meet a threshold"
    with pytest.raises(ConversionError, match="must be equal to the bit|flips"):
        proven(source, made, rows)


def test_classes_in_another_order_are_flips(tmp_path):
    def swap(step):
        if isinstance(step, ir.Dense):
            return replace(step, weights=-step.weights, bias=-step.bias)
        return step

    source = source_of(tmp_path, LinearSVC(random_state=0).fit(StandardScaler().fit_transform(CANCER), CANCER_Y))
    with pytest.raises(ConversionError, match=r"decision_function flips \d+ classes in \d+ of \d+ rows, first for \["):
        proven(
            tampered(source, swap), compiled(source, tmp_path), rows_of(source, StandardScaler().fit_transform(CANCER))
        )


def test_a_bias_that_is_off_by_a_thousandth_is_over_the_bound(tmp_path):
    def shift(step):
        return replace(step, bias=step.bias + 1e-3) if isinstance(step, ir.Dense) else step

    model = LogisticRegression(max_iter=1000).fit(IRIS, IRIS_Y)
    source = tampered(source_of(tmp_path, model), shift)
    made = compiled(source, tmp_path)
    with pytest.raises(ConversionError, match="off by more than 1e-06|flips"):
        proven(source, made, rows_of(source, IRIS))


def test_rows_that_the_source_itself_refuses_are_left_out(tmp_path):
    colours = np.array([["red"], ["green"], ["blue"]] * 8, object)
    model = make_pipeline(
        ColumnTransformer([("colour", OneHotEncoder(), [0])]), LogisticRegression()
    ).fit(colours, [0, 1, 1] * 8)  # fmt: skip
    source = source_of(tmp_path, model)
    assert source.features[0].categories == ("blue", "green", "red")
    made = compiled(source, tmp_path)
    proof = proven(source, made, np.array([[0.0], [1.0], [2.0], [-1.0], [7.0]]), adversarial=0)
    assert proof.rows == 3
    with pytest.raises(ConversionError, match="refuses every row"):
        proven(source, made, np.array([[-1.0]]), adversarial=0)


def test_the_same_model_gives_the_same_files_and_builds(tmp_path):
    source = source_of(tmp_path, forest())
    made = [compiled(source, folder) for folder in (tmp_path / "a", tmp_path / "b") if not folder.mkdir()]
    first, second = ([p.read_bytes() for p in (m.path, *m.beside, *m.builds.values())] for m in made)
    assert first == second
    assert {p.name for p in made[0].beside} == {"model.h", "example_main.c", "CMakeLists.txt", "edgekit_library.c"}


def test_the_library_file_is_clean_c99_that_links_with_a_prefix_of_its_own(tmp_path):
    made = compiled(source_of(tmp_path, forest()), tmp_path, prefix="cancer2")
    assert made.path.name == "cancer2.c" and '#include "cancer2.h"' in (tmp_path / "c/edgekit_library.c").read_text()
    session = backend("plain").open(made.runnable.read_bytes())
    assert [e.name for e in session.entries] == ["predict", "predict_proba"]  # type: ignore[attr-defined]
    session.close()
