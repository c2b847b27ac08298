"""Java, JavaScript, Go, Rust, C# and PHP of a model answer as its program does; Dart is written as it was."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from edgekit_converters.errors import ConversionError, MissingRequirement, UsageError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.adversarial import adversarial_rows
from edgekit_converters.plaincode.emitter import EMITTERS, EmitSettings, emitter
from edgekit_converters.plaincode.features import features_of
from edgekit_converters.plaincode.reader import read_model
from tests.converters.plaincode.languages import TOOLS, Case, answers_of, expected
from tests.converters.plaincode.random_programs import ANY_KINDS, EXACT_KINDS, differs, program_of, programs, rows_for

LANGUAGES = [name for name in EMITTERS if name not in ("c", "python")]
every_language = pytest.mark.parametrize("language", LANGUAGES)
GOLDEN = Path(__file__).parents[2] / "golden"
CLOSE = 1e-6
LABELS = ("no", "yes", '$x ${y} "{z}" \\u0041 \\\t', "\u00e9\r\n\u2028\U0001f600\x00\x7f")


def _models() -> list[tuple[object, np.ndarray]]:
    """Fitted models, and rows that they take."""
    import lightgbm
    import xgboost

    cancer, digits, diabetes = (
        f(return_X_y=True) for f in (datasets.load_breast_cancer, datasets.load_digits, datasets.load_diabetes)
    )
    digits = (digits[0][::6], digits[1][::6])
    random = np.random.default_rng(3)
    gaps = np.where(random.random(cancer[0].shape) < 0.1, np.nan, cancer[0])
    codes = gaps.copy()
    codes[:, :2] = random.integers(0, 30, (len(codes), 2))
    named = np.array(["benign", 'm"a\\l$i\ngn'])[cancer[1]]
    two = np.stack([diabetes[1], diabetes[0][:, 2] * 100], axis=1)
    classes = np.stack([digits[1] % 3, digits[1] // 5], axis=1)
    odd = (codes[:, 0] % 3 == 1) ^ cancer[1].astype(bool)
    small = {"n_estimators": 12, "max_depth": 4}
    return [
        (RandomForestClassifier(8, random_state=0).fit(gaps, named), gaps),
        (RandomForestRegressor(6, random_state=0, max_depth=6).fit(diabetes[0], two), diabetes[0]),
        (ExtraTreesClassifier(5, random_state=0, max_depth=6).fit(digits[0], classes), digits[0]),
        (GradientBoostingClassifier(n_estimators=3, random_state=0).fit(*digits), digits[0]),
        (DecisionTreeRegressor(random_state=0).fit(*diabetes), diabetes[0]),
        (DecisionTreeClassifier(random_state=0).fit(*digits), digits[0]),
        (HistGradientBoostingRegressor(max_iter=8).fit(gaps, cancer[1]), gaps),
        (xgboost.XGBClassifier(**small).fit(gaps, cancer[1]), gaps),
        (xgboost.XGBClassifier(n_estimators=3, max_depth=3).fit(*digits), digits[0]),
        (xgboost.XGBRegressor(**small).fit(*diabetes), diabetes[0]),
        (lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(codes, odd, categorical_feature=[0, 1]), codes),
        (lightgbm.LGBMRegressor(n_estimators=10, verbose=-1).fit(*diabetes), diabetes[0]),
        (make_pipeline(StandardScaler(), LogisticRegression()).fit(cancer[0], named), cancer[0]),
        (make_pipeline(MinMaxScaler(), LogisticRegression()).fit(*digits), digits[0]),
        (MLPClassifier((9,), max_iter=20, random_state=0).fit(*digits), digits[0]),
        (MLPRegressor(hidden_layer_sizes=(70,), activation="tanh", max_iter=5, random_state=0).fit(*diabetes), diabetes[0]),
        (KMeans(4, n_init=1, random_state=0).fit(digits[0]), digits[0]),
    ]  # fmt: skip


@functools.cache
def model_cases() -> list[Case]:
    cases = []
    for model, x in _models():
        program = read_model(model, features_of(model))
        rows = np.concatenate([x[-20:], adversarial_rows(program, x, 60, 5)])
        bounds = {m: 0.0 if m in program.exact else CLOSE for m in program.methods}
        cases.append(Case(program, rows, bounds))
    return cases


@functools.cache
def random_cases() -> list[Case]:
    """Every kind of step, and rows of NaN, infinity and numbers that float32 has not."""
    cases = []
    for place, first in enumerate((*EXACT_KINDS, *ANY_KINDS) * 2):
        program, bounds = program_of(4, [first, ("affine", "trees")[place % 2]], 7 * place)
        if not emitter("java").refuses(program):
            cases.append(Case(program, rows_for(np.random.default_rng(place), 30, 4), bounds))
    return cases


def chain(depth: int, trees: int) -> ir.Program:
    """Trees that ask ``x <= 0``, ``x <= 1``, …, each where the last answer was no; the leaf says where it ended."""
    nodes, leaves = depth * trees, (depth + 1) * trees
    at = np.arange(nodes)
    tree, level = at // depth, at % depth
    left = -1 - (tree * (depth + 1) + level)
    right = np.where(level == depth - 1, left - 1, at + 1)
    builder = ir.Builder([ir.Feature("x")])
    register = builder.add(ir.Trees(
        builder.row, np.arange(trees) * depth, np.zeros(nodes, np.int64), level.astype(float), left, right,
        np.zeros(nodes, bool), (np.arange(leaves) % (depth + 1))[:, None] + 0.1, np.zeros(1),
        np.full(trees, -1), np.full(nodes, -1),
    ))  # fmt: skip
    return builder.program({"predict": ir.Answer(register)}, "chain")


def large_cases() -> list[Case]:
    """A tree of 3,000 questions, 3,000 trees, and more numbers than one Java class should hold."""
    rows = np.array([[-1.0], [0.0], [0.5], [1700.0], [2998.5], [1e9], [np.nan]])
    x, y = datasets.load_digits(return_X_y=True)
    forest = RandomForestClassifier(10, random_state=0).fit(x, y)
    made = [Case(p, rows, {"predict": 0.0}) for p in (chain(3000, 1), chain(1, 3000))]
    return [*made, Case(read_model(forest, features_of(forest)), x[:50], {"predict": 0.0, "predict_proba": 0.0})]


def check(language: str, folder: Path, cases: list[Case]) -> None:
    for case, found in zip(cases, answers_of(language, folder, cases), strict=True):
        wanted = expected(case)
        assert found.keys() == wanted.keys()
        with np.errstate(over="ignore"):
            scale = max(np.abs(v[np.isfinite(v)]).max(initial=0.0) for v in wanted.values())
        for method, value in found.items():
            assert not differs(value, wanted[method], case.bounds[method], scale), (
                f"{case.program.title} {method} {[s.name for s in case.program.steps]}: "
                f"{np.argwhere(~np.isclose(value, wanted[method], equal_nan=True))[:3]}"
            )


def _runs(language: str):
    return pytest.param(language, marks=pytest.mark.tool(*TOOLS[language]))


@pytest.mark.parametrize("language", [_runs(name) for name in TOOLS])
def test_models_random_programs_and_large_ones_answer_as_the_reference(language: str, tmp_path: Path) -> None:
    rows = np.array([[a, b] for a in (0.1, np.float32(0.1), 0.2, np.nan) for b in (-1.0, -0.5, 0, 1, 3, np.nan)])
    every = [*model_cases(), *random_cases(), *large_cases()]
    check(language, tmp_path, [*every, Case(tiny(), rows, {"predict": 0.0, "predict_proba": CLOSE})])
    assert (tmp_path / "labels.bin").read_bytes().decode() == "\x01".join(LABELS)


@pytest.mark.tool("node")
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(programs(), min_size=15, max_size=25), seed=st.integers(0, 1 << 20))
def test_any_program_answers_as_the_reference(tmp_path_factory: pytest.TempPathFactory, made, seed) -> None:
    rng = np.random.default_rng(seed)
    cases = [Case(p, rows_for(rng, 20, len(p.features)), bounds) for p, bounds in made]
    cases = [case for case in cases if not emitter("javascript").refuses(case.program)]
    if cases:
        check("javascript", tmp_path_factory.mktemp("any"), cases)


def tiny() -> ir.Program:
    """A bit of everything: float32 sums, NaN, a set of categories, a logarithm, a class."""
    builder = ir.Builder([ir.Feature("width, in mm", missing=True), ir.Feature("kind", ir.CATEGORY, ("a", "b"), True)])
    trees = ir.Trees(
        builder.row, np.array([0, -3]), np.array([0, 1]), np.array([0.1, 0.0]), np.array([-1, -2]), np.array([1, -3]),
        np.array([True, False]), np.array([[0.5], [-1.25], [2.0]]), np.array([0.1, -0.0]), np.array([0, 1]),
        np.array([-1, 0]), ((0, 3, 4),), single=True,
    )  # fmt: skip
    sums = builder.add(trees)
    shares = builder.add(ir.Softmax(builder.add(ir.Concat((sums, builder.add(ir.Apply(sums, "log1p")))))))
    best = builder.add(ir.Argmax(shares))
    classes = ir.Answer(best, LABELS)
    return builder.program({"predict": classes, "predict_proba": ir.Answer(shares)}, "A model")


def test_dart_is_what_was_looked_through() -> None:
    """No Dart compiler comes with Debian; read the file again before its golden copy is changed."""
    (text,) = emitter("dart").emit(tiny(), EmitSettings("tiny")).values()
    assert text == (GOLDEN / "tiny.dart").read_text()


@every_language
def test_what_cannot_be_said_is_refused_by_its_name(language: str) -> None:
    builder = ir.Builder([ir.Feature("text", ir.TEXT)])
    text = builder.program({"transform": ir.Answer(builder.add(ir.Words(builder.row, 8)))}, "")
    assert emitter(language).refuses(text).endswith("the step words")
    assert "30000 questions deep" in emitter(language).refuses(chain(30_000, 1))
    with pytest.raises(UsageError, match="exact leaves"):
        emitter(language).emit(tiny(), EmitSettings(leaves="fixed"))
    builder = ir.Builder([ir.Feature("x")])
    row = ir.Answer(builder.row)
    for methods in ({"predict_all": row, "predictAll": row}, {"return": row}, {"r1": row}):
        if language == "rust" and "predictAll" in methods:
            continue
        with pytest.raises(ConversionError):
            emitter(language).emit(builder.program(methods, ""), EmitSettings())
    mixed = builder.program({"predict": (row, ir.Answer(builder.row, ("a", "b")))}, "")
    with pytest.raises(ConversionError, match="classes and numbers"):
        emitter(language).emit(mixed, EmitSettings())
    lone = builder.program({"predict": ir.Answer(builder.row, ("a", "\ud800"))}, "")
    with pytest.raises(ConversionError, match="not text"):
        emitter(language).emit(lone, EmitSettings())


@pytest.mark.parametrize(
    ("language", "prefix"), [("java", "math"), ("java", "part1"), ("go", "func"), ("rust", "mod"), ("php", "List")]
)
def test_a_word_of_the_language_is_no_prefix(language: str, prefix: str) -> None:
    with pytest.raises(UsageError, match="choose another"):
        emitter(language).emit(tiny(), EmitSettings(prefix))


def test_without_m2cgen_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("edgekit_converters.plaincode.emitters.m2cgen.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "m2cgen", None)
    monkeypatch.setitem(sys.modules, "m2cgen.ast", None)
    with pytest.raises(MissingRequirement, match=r"edgekit\[trees\]"):
        emitter("java").emit(tiny(), EmitSettings())


@pytest.mark.tool("node")
def test_rows_in_javascript_may_hold_null_and_must_be_of_the_right_length(tmp_path: Path) -> None:
    (text,) = emitter("javascript").emit(tiny(), EmitSettings()).values()
    (tmp_path / "model.mjs").write_text(text)
    (tmp_path / "main.mjs").write_text(
        "import { predict, predictProba, PREDICT_CLASSES } from './model.mjs';\n"
        "const same = JSON.stringify(predictProba([null, 0])) === JSON.stringify(predictProba([NaN, '0']));\n"
        "let refused = ''; try { predict([1]); } catch (error) { refused = error.message; }\n"
        "console.log(JSON.stringify([same, refused, PREDICT_CLASSES[predict([0, 1])]]));\n"
    )
    done = subprocess.run(["node", tmp_path / "main.mjs"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, "a row has 2 values", "yes"]
