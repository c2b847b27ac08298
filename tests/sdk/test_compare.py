"""Intervals and comparisons: known answers, and what they promise holds when it is tried a thousand times."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from edgekit.errors import EvaluationError
from edgekit.evaluate import bootstrap, compare, metric_interval, slices
from edgekit.evaluate.evaluation import Evaluation, evaluate
from edgekit.evaluate.intervals import share_interval
from edgekit.evaluate.paired import changed
from edgekit.pipeline import export
from edgekit.plan import ExportPlan

from .conftest import edgekit
from .test_evaluate import samples


def answers(truth, predicted) -> Evaluation:
    """A classifier of two classes that said this."""
    scores = [np.eye(2, dtype=np.float32)[p] for p in predicted]
    return evaluate(scores, samples(*map(int, truth)), "classification", ["no", "yes"])


def right(flags) -> Evaluation:
    """A classifier that is right where the flag is set; every other sample is of class 1."""
    truth = np.arange(len(flags)) % 2
    return answers(truth, np.where(flags, truth, 1 - truth))


def test_an_interval_of_a_share_is_that_of_the_binomial():
    flags = np.zeros(400)
    flags[:320] = 1
    found = share_interval(flags)
    spread = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert found.low == pytest.approx(0.8 - spread, abs=0.006) and found.high == pytest.approx(0.8 + spread, abs=0.006)
    assert 0.8 in found and 0.9 not in found


def test_no_mistake_seen_is_not_no_mistake():
    found = share_interval(np.ones(100))
    assert found.high == 1.0 and found.low == pytest.approx(0.025 ** (1 / 100))


def test_the_same_seed_gives_the_same_interval():
    flags = np.random.default_rng(1).random(50) < 0.7
    assert share_interval(flags, seed=3) == share_interval(flags, seed=3) != share_interval(flags, seed=4)


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(0)
    held = [0.75 in share_interval(random.random(200) < 0.75, seed=i) for i in range(300)]
    assert 0.90 <= np.mean(held) <= 0.99


def test_a_figure_without_meaning_on_some_draws_is_measured_on_the_others():
    targets = np.array([0.0, 0.0, 1.0])
    found = metric_interval(targets[:, None], targets, "regression")
    assert found.low == found.high == 1.0, "a perfect model is perfect on every draw that has two labels"
    with pytest.raises(ValueError, match="no meaning on any draw"):
        bootstrap(lambda block: np.full(len(block), np.nan), 3)


def test_a_drop_that_is_large_is_real():
    flags = np.ones(400, bool)
    worse = flags.copy()
    worse[:40] = False
    found = compare(right(flags), right(worse), "classification")
    assert found.drop == pytest.approx(0.1) and found.real and found.needed is None
    assert (found.only_first, found.only_second, found.agreement) == (40, 0, 0.9)
    assert found.p == pytest.approx(2 * 0.5**40)
    assert found.in_words().startswith("the drop of 0.1000 in accuracy is real (95% interval +0.07")


def test_one_sample_of_many_is_chance_and_it_says_how_many_would_tell():
    flags = np.ones(360, bool)
    worse = flags.copy()
    worse[0] = False
    found = compare(right(flags), right(worse), "classification")
    assert not found.real and found.p == 1.0 and found.needed >= 6 * 360
    assert "may be chance" in found.in_words() and "samples would tell" in found.in_words()


def test_models_that_agree_everywhere_may_differ_on_what_was_not_seen():
    found = compare(right(np.ones(100, bool)), right(np.ones(100, bool)), "classification")
    assert not found.real and found.interval.low < 0 < found.interval.high
    assert found.in_words().startswith("no sample is answered better by one")


def test_chance_is_called_real_seldom():
    random = np.random.default_rng(0)
    calls = 0
    for _ in range(200):
        calls += compare(right(random.random(300) < 0.8), right(random.random(300) < 0.8), "classification").real
    assert calls <= 200 * 0.08


def test_regressions_are_compared_by_their_errors():
    truth = np.linspace(0.0, 10.0, 200)
    noise = np.random.default_rng(0).normal(size=200)

    def model(size):
        return evaluate([np.array([v]) for v in truth + size * noise], samples(*truth), "regression", ())

    found = compare(model(0.1), model(1.0), "regression")
    assert found.real and found.test == "Wilcoxon" and found.only_first == 200 and found.agreement is None
    assert not compare(model(0.1), model(0.1), "regression").real


def test_other_samples_are_not_compared():
    with pytest.raises(EvaluationError, match="not measured on the same samples"):
        compare(answers([0, 1], [0, 1]), answers([1, 0], [0, 1]), "classification")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_a_comparison_turned_round_says_the_opposite(pairs):
    one, other = right([a for a, _ in pairs]), right([b for _, b in pairs])
    there, back = compare(one, other, "classification"), compare(other, one, "classification")
    assert there.drop == -back.drop and there.p == back.p
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)


def test_what_the_second_spoils_comes_first():
    first, second = answers([0, 0, 1], [1, 0, 1]), answers([0, 0, 1], [0, 1, 1])
    assert changed(first, second, ["no", "yes"]) == [(1, "no", "yes"), (0, "yes", "no")]


def test_slices_are_sorted_by_how_bad_they_are_and_numbers_are_cut_at_quartiles():
    flags = np.ones(40, bool)
    flags[30:] = False
    found = slices(right(flags), [float(i) for i in range(40)], "classification")
    assert found[0].name == "> 29.25" and found[0].value == 0.0 and found[-1].value == 1.0
    assert sum(s.samples for s in found) == 40
    named = slices(right(flags), ["a"] * 20 + [None] * 20, "classification")
    assert [(s.name, s.value) for s in named] == [("missing", 0.5), ("a", 1.0)]


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A table, a bundle that knows it, and one that learnt from shuffled labels."""
    folder = tmp_path_factory.mktemp("flowers")
    x, y = load_iris(return_X_y=True)
    table = folder / "iris.csv"
    rows = [["a", "b", "c", "d", "y"], *([*row, k] for row, k in zip(x, y))]
    table.write_text("\n".join(",".join(map(str, row)) for row in rows))
    shuffled = np.random.default_rng(0).permutation(y)
    bundles = []
    for name, labels in (("good", y), ("bad", shuffled)):
        saved = folder / f"{name}.joblib"
        joblib.dump(LogisticRegression(max_iter=1000).fit(x, labels), saved)
        asked = ExportPlan(
            str(saved), "generic-cpu", data=str(table), label="y", format="onnx", trust=True, output=str(folder / name)
        )
        bundles.append(export(asked).bundle)
    return bundles[0], bundles[1], table


def test_the_command_says_whether_a_drop_is_real(flowers, tmp_path):
    good, bad, data = map(str, flowers)
    words = ["--data", data, "--label", "y", "--split", "all"]
    done = edgekit("compare", good, bad, *words, "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["real"] is True and said["drop"] > 0.2 and said["interval"][0] > 0
    done = edgekit("compare", good, bad, *words, "--max-drop", "0.01", cwd=tmp_path)
    assert done.returncode == 3 and "0.01 is allowed" in done.stderr and "Traceback" not in done.stderr
    assert "is real" in done.stdout and "second says" in done.stdout
    done = edgekit("compare", good, good, *words, cwd=tmp_path)
    assert done.returncode == 0 and "no sample is answered better" in done.stdout


def test_eval_gives_interval_classes_and_slices(flowers, tmp_path):
    good, _, data = map(str, flowers)
    words = ["--data", data, "--label", "y", "--split", "all"]
    done = edgekit("eval", good, *words, "--slice", "a", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    low, high = said["intervals"]["accuracy"]
    assert low <= said["metrics"]["accuracy"] <= high
    assert sum(c["samples"] for c in said["classes"]) == sum(c["samples"] for c in said["slices"]) == 150
    assert len(said["slices"]) == 4, "a column of many numbers is cut at its quartiles"
    done = edgekit("eval", good, *words, "--slice", "altitude", cwd=tmp_path)
    assert done.returncode == 2 and "no column 'altitude': it has a, b, c, d" in done.stderr
