"""Groups: what scikit-learn computes, with labels or without, and what has no meaning is said."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris

from edgekit.data import Sample
from edgekit.errors import DataError, EvaluationError
from edgekit.evaluate import evaluate, primary_metric
from edgekit.evaluate.clustering import LARGEST, cluster_of, measure_clusters
from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit_runtime.errors import UsageError

from .conftest import edgekit
from .test_evaluate import samples

X, Y = load_iris(return_X_y=True)


def rows_of(count: int) -> list[Sample]:
    return samples(*[None] * count)


def test_groups_are_measured_as_scikit_learn_does():
    model = KMeans(3, n_init=1, random_state=0).fit(X)
    found = measure_clusters([np.array([g]) for g in model.labels_], X, samples(*Y.tolist()))
    assert next(iter(found.metrics)) == primary_metric("clustering")[0] == "silhouette"
    assert found.metrics["silhouette"] == pytest.approx(metrics.silhouette_score(X, model.labels_))
    assert found.metrics["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(X, model.labels_))
    assert found.metrics["adjusted_rand"] == pytest.approx(metrics.adjusted_rand_score(Y, model.labels_))
    assert "adjusted_rand" not in measure_clusters(model.labels_, X, rows_of(len(X))).metrics


def test_distances_to_centres_and_numbers_of_groups_are_both_answers():
    assert cluster_of([np.array([0.1, 0.9]), np.array([0.8, 0.2])]).tolist() == [1, 0]
    assert cluster_of([np.array([2.0]), np.array(1)]).tolist() == [2, 1]


def test_many_samples_are_drawn_from_and_always_the_same():
    random = np.random.default_rng(0)
    rows = np.concatenate([random.normal(0, 1, (LARGEST, 2)), random.normal(9, 1, (LARGEST, 2))])
    groups = np.repeat([0, 1], LARGEST)
    first = measure_clusters(groups, rows, rows_of(2 * LARGEST))
    assert first.metrics == measure_clusters(groups, rows, rows_of(2 * LARGEST)).metrics
    assert first.metrics["silhouette"] == pytest.approx(0.86, abs=0.03)


@pytest.mark.parametrize(
    ("groups", "rows", "error", "said"),
    [
        ([0, 1], [[0.0], [1.0]], DataError, "fewer than three"),
        ([0, 0, 0], [[0.0], [1.0], [2.0]], EvaluationError, "3 samples into 1 groups"),
        ([0, 1, 2], [[0.0], [1.0], [2.0]], EvaluationError, "3 samples into 3 groups"),
        ([0, 1, 1], [[0.0], [np.nan], [2.0]], EvaluationError, "s1 has a value that is missing"),
    ],
)
def test_what_has_no_meaning_is_said(groups, rows, error, said):
    with pytest.raises(error, match=said):
        measure_clusters(groups, np.array(rows), rows_of(len(groups)))
    with pytest.raises(UsageError, match="measured on what the model takes"):
        evaluate([np.array([0.0])], samples(0), "clustering", ["a"])


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """A folder with ``iris.csv`` and a bundle that makes three groups of it."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "iris.csv").write_text(
        "a,b,c,d,y\n" + "\n".join(",".join(map(str, [*row, k])) for row, k in zip(X.tolist(), Y.tolist()))
    )
    (folder / "bare.csv").write_text("a,b,c,d\n" + "\n".join(",".join(map(str, row)) for row in X.tolist()))
    model = KMeans(3, n_init=1, random_state=0).fit(X)
    joblib.dump(model, folder / "groups.joblib")
    plan = ExportPlan(str(folder / "groups.joblib"), "generic-cpu", str(folder / "groups"), str(folder / "iris.csv"),
                      label="y", format="onnx", trust=True)  # fmt: skip
    result = export(plan)
    assert result.manifest.task == "clustering"
    return folder, model


def test_a_bundle_of_groups_is_measured_with_labels_and_without(groups):
    folder, model = groups
    said = {}
    for data, words in (("iris.csv", ["--label", "y"]), ("bare.csv", [])):
        done = edgekit("eval", "groups.edgekit", "--data", data, *words, "--split", "all", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        said[data] = json.loads(done.stdout)
    bare = said["bare.csv"]["metrics"]
    # (duplicate rows of the table are one sample only where they are in two splits)
    assert bare["silhouette"] == pytest.approx(metrics.silhouette_score(X, model.labels_), abs=0.01)
    assert set(said["iris.csv"]["metrics"]) - set(bare) == {"adjusted_rand"}
    assert said["iris.csv"]["metrics"]["adjusted_rand"] > 0.6


def test_groups_are_neither_sliced_nor_compared(groups):
    folder, _ = groups
    words = ["--data", "iris.csv", "--label", "y", "--split", "all"]
    sliced = edgekit("eval", "groups.edgekit", *words, "--slice", "a", cwd=folder)
    assert sliced.returncode == 2 and "clustering is not measured by slices" in sliced.stderr
    compared = edgekit("compare", "groups.edgekit", "groups.edgekit", *words, cwd=folder)
    assert compared.returncode == 2 and "run edgekit eval on each" in compared.stderr
