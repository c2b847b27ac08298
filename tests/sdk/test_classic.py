"""From a saved classic model and a table to a proven bundle, as a user types it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from edgekit.errors import DataError
from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.errors import EdgekitError, UsageError
from edgekit_runtime.native import machine

from .conftest import edgekit

pytestmark = pytest.mark.tool("cc")

X, Y = load_iris(return_X_y=True)
FLOWERS = np.array(["setosa", "versicolor", "virginica"])[Y]
COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]


def write(path: Path, header: list[str], rows) -> Path:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(header)
        out.writerows(rows)
    return path


def flowers(path: Path, labels=FLOWERS, keep=slice(None), header=COLUMNS) -> Path:
    rows = [[*map(repr, map(float, x)), y] for x, y in zip(X[keep], labels[keep])]
    return write(path, [*header, "flower"], rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A forest of irises as ``forest.joblib``, the table as ``iris.csv``."""
    folder = tmp_path_factory.mktemp("iris")
    joblib.dump(RandomForestClassifier(8, random_state=0).fit(X, FLOWERS), folder / "forest.joblib")
    flowers(folder / "iris.csv")
    return folder


def plan(folder: Path, output: Path, **changes) -> ExportPlan:
    settings = {"model": str(folder / "forest.joblib"), "target": "generic-c", "data": str(folder / "iris.csv"),
                "label": "flower", "trust": True, "output": str(output), **changes}  # fmt: skip
    return ExportPlan(**settings)


def test_a_forest_becomes_a_proven_bundle_and_a_folder_of_c(folder, tmp_path):
    done = edgekit("export", str(folder / "forest.joblib"), "--target", "generic-c", "--data", str(folder / "iris.csv"),
                   "--label", "flower", "--trust", "--unpack", "code", "--prefix", "iris", "-o", "a", "--json",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "prove" in done.stderr and "all bit-equal" in done.stderr and "edgekit run --trust" in done.stderr
    printed = json.loads(done.stdout)
    (variant,) = printed["variants"]
    proof = variant["fidelity"]
    assert variant["name"] == "c-fp64" and printed["drop"] == 0
    assert proof["rows"] == proof["bit_equal_rows"] > 1000 and proof["flips"] == 0 == proof["max_abs"]
    assert variant["sizes"][machine()] == variant["bytes"] > 500
    assert {p.name for p in (tmp_path / "code").iterdir()} == {"iris.c", "iris.h", "example_main.c", "CMakeLists.txt"}
    subprocess.run(
        ["cc", "-std=c99", "-o", "demo", "iris.c", "example_main.c", "-lm"], cwd=tmp_path / "code", check=True
    )
    assert subprocess.run(["./demo"], cwd=tmp_path / "code", check=True, capture_output=True).stdout
    (tmp_path / "row.json").write_text(json.dumps(dict(zip(COLUMNS, X[120].tolist()))))
    refused = edgekit("run", "a.edgekit", "row.json", cwd=tmp_path)
    assert refused.returncode == 2 and "native code" in refused.stderr and "--trust" in refused.stderr
    answer = edgekit("run", "--trust", "a.edgekit", "row.json", "--json", cwd=tmp_path)
    assert json.loads(answer.stdout)["predictions"][0]["answer"][0]["label"] == "virginica"
    measured = edgekit("eval", "a.edgekit", "--trust", "--data", str(folder / "iris.csv"), "--label", "flower", "--json",
                       "--split", "all", cwd=tmp_path)  # fmt: skip
    assert json.loads(measured.stdout)["metrics"]["accuracy"] > 0.95
    assert "x86_64" in edgekit("inspect", "a.edgekit", cwd=tmp_path).stdout


def test_mixed_columns_with_gaps_and_unseen_words_answer_as_the_pipeline(tmp_path):
    random = np.random.default_rng(0)
    colour, size = random.choice(["red", "green", "blue"], 200), random.normal(size=200)
    size[::9] = np.nan
    rows = np.empty((200, 2), object)
    rows[:, 0], rows[:, 1] = colour, size
    label = np.where((colour == "red") + np.nan_to_num(size) > 0.6, "yes", "no")
    columns = ColumnTransformer([
        ("colour", OneHotEncoder(handle_unknown="ignore"), [0]),
        ("size", make_pipeline(SimpleImputer(), StandardScaler()), [1]),
    ])  # fmt: skip
    model = make_pipeline(columns, LogisticRegression()).fit(rows, label)
    joblib.dump(model, tmp_path / "mixed.joblib")
    # the table has its columns elsewhere and one more
    names = ["ok", "size", "note", "colour"]
    write(
        tmp_path / "t.csv",
        names,
        [[y, "" if np.isnan(s) else repr(float(s)), "n", c] for c, s, y in zip(colour, size, label)],
    )
    named = ExportPlan(str(tmp_path / "mixed.joblib"), "generic-c", str(tmp_path / "a"), str(tmp_path / "t.csv"),
                       label="ok", trust=True)  # fmt: skip
    with pytest.raises(UsageError, match="takes 2 features, the table has 3 columns"):
        export(named)
    write(tmp_path / "t.csv", ["colour", "size", "ok"],
          [[c, "" if np.isnan(s) else repr(float(s)), y] for c, s, y in zip(colour, size, label)])  # fmt: skip
    result = export(named)
    assert result.variants[0].drop == 0
    with Runtime.open(result.bundle, trust=True) as runtime:
        for raw in (
            {"colour": "red", "size": 1.0},
            {"colour": "violet", "size": None},
            {"colour": "blue", "size": -0.3},
        ):
            row = np.array([[raw["colour"], np.nan if raw["size"] is None else raw["size"]]], object)
            found = {c.label: c.score for c in runtime(raw)}
            expected = dict(zip(model.classes_, model.predict_proba(row)[0]))
            assert found == pytest.approx(expected, abs=1e-9)


def test_a_text_column_goes_in_and_a_class_comes_out(tmp_path):
    texts = [f"{a} {b} film" for a in ("good", "great", "bad", "awful") for b in ("old", "new", "long", "short")] * 3
    labels = ["up" if t.startswith("g") else "down" for t in texts]
    joblib.dump(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels), tmp_path / "t.joblib")
    write(tmp_path / "t.csv", ["id", "review", "verdict"], [[i, t, v] for i, (t, v) in enumerate(zip(texts, labels))])
    asked = ExportPlan(str(tmp_path / "t.joblib"), "generic-c", str(tmp_path / "a"), str(tmp_path / "t.csv"),
                       label="verdict", trust=True)  # fmt: skip
    with pytest.raises(UsageError, match="which column holds the text.*--text.*id, review"):
        export(asked)
    result = export(ExportPlan(**{**vars(asked), "text": "review"}))
    with Runtime.open(result.bundle, trust=True) as runtime:
        assert runtime("a great old film")[0].label == "up" == runtime({"review": "good"})[0].label
        assert runtime({"review": "awful, awful"})[0].label == "down"


def test_classes_are_matched_by_name_where_the_data_lacks_some(folder, tmp_path):
    """The table holds two of the three classes: by order they would be the wrong two."""
    flowers(tmp_path / "two.csv", keep=slice(50, None))
    result = export(plan(folder, tmp_path / "a", data=str(tmp_path / "two.csv")))
    assert result.manifest.labels == ("setosa", "versicolor", "virginica")
    assert result.source.metrics["accuracy"] > 0.9 and result.variants[0].drop == 0


def test_numbers_as_classes_are_the_same_however_they_are_written(tmp_path):
    joblib.dump(RandomForestClassifier(5, random_state=0).fit(X, Y * 10.0), tmp_path / "forest.joblib")
    flowers(tmp_path / "iris.csv", labels=(Y * 10).astype(str))
    result = export(plan(tmp_path, tmp_path / "a"))
    assert result.manifest.labels == ("0", "10", "20") and result.source.metrics["accuracy"] > 0.9


def test_a_regression_on_whole_numbers_stays_a_regression(tmp_path):
    joblib.dump(RandomForestRegressor(5, random_state=0).fit(X, Y * 10), tmp_path / "forest.joblib")
    flowers(tmp_path / "iris.csv", labels=(Y * 10).astype(str))
    result = export(plan(tmp_path, tmp_path / "a"))
    assert result.manifest.task == "regression" and result.source.metrics["r2"] > 0.9 and result.variants[0].drop == 0


def test_an_arduino_library_is_laid_out_as_its_ide_wants_it(folder, tmp_path):
    export(plan(folder, tmp_path / "a", unpack=str(tmp_path / "code"), arduino=True, prefix="iris"))
    have = {str(p.relative_to(tmp_path / "code")) for p in (tmp_path / "code").rglob("*") if p.is_file()}
    assert have == {"library.properties", "src/iris.c", "src/iris.h", "examples/iris_example/iris_example.ino"}


def test_other_languages_are_written_from_the_same_program(folder, tmp_path):
    export(plan(folder, tmp_path / "a", unpack=str(tmp_path / "code"), language="python", prefix="iris"))
    (written,) = (tmp_path / "code").iterdir()
    program = {}
    exec(compile(written.read_text(), written.name, "exec"), program)  # noqa: S102 - what we wrote
    assert written.name == "iris.py" and program["predict"](X[120].tolist()) in (2, "virginica")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"trust": False}, UsageError, "runs code when it is loaded.*--trust"),
        ({"label": "petal width"}, EdgekitError, "class|numbers|columns"),
        ({"format": "tflite"}, UsageError, "generic-c does not run tflite"),
        ({"target": "pi3", "format": "onnx"}, UsageError, "pi3 does not run onnx"),
        ({"quantize": "int8"}, UsageError, "cannot become int8.*--leaves"),
        ({"prefix": "1st"}, UsageError, "--prefix '1st' cannot begin a name"),
        ({"layout": "tiny"}, UsageError, "there is no layout 'tiny'"),
        ({"leaves": "half"}, UsageError, "there is no leaves 'half'"),
        ({"target": "generic-cpu", "format": "onnx", "unpack": "code"}, UsageError, "--unpack writes plain code"),
        ({"language": "jav", "unpack": "code"}, UsageError, "no output language 'jav': did you mean java"),
        ({"arduino": True}, UsageError, "--arduino makes a library of the C in --unpack"),
        ({"language": "java"}, UsageError, "--language java needs a folder"),
        ({"language": "java", "unpack": "code", "prefix": "class"}, UsageError, "the prefix class is a word of Java"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence_and_nothing_is_written(folder, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        export(plan(folder, tmp_path / "a", **changes))
    assert not list(tmp_path.iterdir())


def test_data_that_does_not_fit_the_model_is_told_by_name(folder, tmp_path):
    flowers(tmp_path / "other.csv", labels=np.char.add("x", FLOWERS))
    with pytest.raises(DataError, match="has class 'xsetosa', which the model does not know: it knows setosa"):
        export(plan(folder, tmp_path / "a", data=str(tmp_path / "other.csv")))
    write(tmp_path / "narrow.csv", ["a", "b", "flower"], [[1.0, i / 7, f] for i, f in enumerate(FLOWERS)])
    with pytest.raises(UsageError, match="takes 4 features, the table has 2 columns"):
        export(plan(folder, tmp_path / "a", data=str(tmp_path / "narrow.csv")))
    np.savez(tmp_path / "narrow.npz", x_test=X[:, :3], y_test=Y)
    with pytest.raises(UsageError, match=r"\(3,\).*takes \(4,\)"):
        export(plan(folder, tmp_path / "a", data=str(tmp_path / "narrow.npz"), label=None))


def test_an_onnx_target_takes_the_forest_too(folder, tmp_path):
    result = export(plan(folder, tmp_path / "a", target="jetson-orin", format="onnx"))
    (made,) = result.variants
    assert made.variant.name == "onnx-fp32" and made.drop == 0 and result.choice.held


def test_without_data_a_model_is_proven_on_rows_made_up(folder, tmp_path):
    result = export(plan(folder, tmp_path / "a", data=None, label=None))
    (made,) = result.variants
    assert made.variant.fidelity["rows"] > 1000 and result.source is None
    with Runtime.open(result.bundle, trust=True) as runtime:
        assert {c.label for c in runtime({f"x{i}": v for i, v in enumerate(X[0])})} == set(FLOWERS)


def test_the_same_export_gives_the_same_bytes(folder, tmp_path):
    assert len({export(plan(folder, tmp_path / n)).digest for n in ("a", "b")}) == 1


def test_a_bundle_holds_the_code_and_a_build_for_every_compiler_here(folder, tmp_path):
    with Bundle.open(export(plan(folder, tmp_path / "a")).bundle) as bundle:
        variant = bundle.manifest.variant()
        names = {m.rsplit("/", 1)[1] for m in bundle.manifest.files if m.startswith("models/c-fp64/")}
    assert names >= {"model.c", "model.h", "example_main.c", "CMakeLists.txt", "edgekit_library.c"}
    here = {
        m for m, c in (("aarch64", "aarch64-linux-gnu-gcc"), ("armv7l", "arm-linux-gnueabihf-gcc")) if shutil.which(c)
    }
    assert set(variant.builds) == set(variant.sizes) == here | {machine()}


def _with_path(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(path)}
    return subprocess.run(
        [sys.executable, "-m", "edgekit", "export", *arguments], capture_output=True, text=True, env=environment,
        cwd=path, check=False,
    )  # fmt: skip


def test_a_compiler_that_is_missing_or_fails_ends_the_export(folder, tmp_path):
    arguments = [str(folder / "forest.joblib"), "--target", "generic-c", "--trust"]
    missing = _with_path(tmp_path, *arguments)
    assert missing.returncode == 4 and "apt install" in missing.stderr and "gcc" in missing.stderr
    board = _with_path(tmp_path, *arguments[:1], "--target", "pi4", "--trust")
    assert board.returncode == 4 and "gcc-aarch64-linux-gnu" in board.stderr
    (tmp_path / "cc").write_text("#!/bin/sh\necho 'model.c:1: error: out of luck' >&2\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    failed = _with_path(tmp_path, *arguments)
    assert failed.returncode == 1 and "out of luck" in failed.stderr and "Traceback" not in failed.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["cc"], "nothing was written"
