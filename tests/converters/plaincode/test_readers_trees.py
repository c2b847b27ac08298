"""Every class of tree model, read and run in numpy, says what its library says: to the bit where that is promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import ensemble as se
from sklearn import tree as stree
from sklearn.linear_model import LogisticRegression

from edgekit_converters.plaincode import ir, reader, reference
from edgekit_converters.plaincode.adversarial import adversarial_rows
from tests.converters.plaincode.treedata import agree, data, features

CLASSIFIERS = {
    "tree": lambda: stree.DecisionTreeClassifier(random_state=0),
    "extra tree": lambda: stree.ExtraTreeClassifier(random_state=0),
    "forest": lambda: se.RandomForestClassifier(12, random_state=0),
    "extra trees": lambda: se.ExtraTreesClassifier(12, random_state=0),
    "boosting": lambda: se.GradientBoostingClassifier(n_estimators=8, random_state=0),
    "histograms": lambda: se.HistGradientBoostingClassifier(max_iter=4, max_leaf_nodes=9, random_state=0),
    "adaboost": lambda: se.AdaBoostClassifier(n_estimators=8, random_state=0),
    "deep adaboost": lambda: se.AdaBoostClassifier(stree.DecisionTreeClassifier(max_depth=3), n_estimators=8),
}
REGRESSORS = {
    "tree": lambda: stree.DecisionTreeRegressor(random_state=0),
    "extra tree": lambda: stree.ExtraTreeRegressor(random_state=0),
    "forest": lambda: se.RandomForestRegressor(12, random_state=0),
    "extra trees": lambda: se.ExtraTreesRegressor(12, random_state=0),
    "boosting": lambda: se.GradientBoostingRegressor(random_state=0),
    "huber": lambda: se.GradientBoostingRegressor(loss="huber", n_estimators=20, random_state=0),
    "quantile": lambda: se.GradientBoostingRegressor(loss="quantile", n_estimators=20, random_state=0),
    "from nothing": lambda: se.GradientBoostingRegressor(init="zero", n_estimators=20, random_state=0),
    "histograms": lambda: se.HistGradientBoostingRegressor(max_iter=20, random_state=0),
    "poisson": lambda: se.HistGradientBoostingRegressor(max_iter=20, loss="poisson", random_state=0),
    "adaboost": lambda: se.AdaBoostRegressor(n_estimators=15, random_state=0),
}
TAKES_MISSING = ("tree", "extra tree", "forest", "extra trees", "histograms")


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("place", ["cancer", "digits", "gaps"])
def test_classifiers(name: str, place: str) -> None:
    if place == "gaps" and name not in TAKES_MISSING:
        place = "cancer"
    x, y = data(place)
    named = np.array(["benign", "malignant"])[y] if place != "digits" else y
    program = agree(CLASSIFIERS[name]().fit(x, named), x, infinite=name == "histograms")
    assert "predict" in program.exact
    assert program.features[0].missing == (name in TAKES_MISSING)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str) -> None:
    x, y = data("diabetes")
    program = agree(REGRESSORS[name]().fit(x, y), x, infinite=name in ("histograms", "poisson"))
    assert ("predict" in program.exact) == (name != "poisson")


@pytest.mark.parametrize("place", ["occupancy", "gas"])
def test_sensor_data(place: str, assets: Any) -> None:
    x, y = data(place)
    agree(se.RandomForestClassifier(10, random_state=0).fit(x, y), x)
    agree(se.HistGradientBoostingClassifier(max_iter=5).fit(x, y), x, infinite=True)


def test_exponential_loss_and_a_model_to_begin_with() -> None:
    x, y = data("cancer")
    boosting = se.GradientBoostingClassifier(n_estimators=10, loss="exponential", random_state=0)
    assert "decision_function" in agree(boosting.fit(x, y), x).exact
    boosting.set_params(init=se.RandomForestClassifier(4, random_state=0))
    program = agree(boosting.fit(x, y), x)
    assert not program.exact, "the sum begins with the other model's answer, so it is rounded in another order"
    assert not program.features[0].missing, "a forest takes NaN, the boosting around it does not"


def test_several_outputs() -> None:
    x, y = data("cancer")
    both = np.stack([y, (x[:, 0] > 12) * 1 + (x[:, 0] > 16)], axis=1)
    for model in (se.RandomForestClassifier(8, random_state=0), stree.DecisionTreeClassifier(random_state=0)):
        program = agree(model.fit(x, both), x)
        assert [len(a.labels) for a in program.methods["predict"]] == [2, 3]
        assert [a.register.width for a in program.methods["predict_proba"]] == [2, 3]
    program = agree(se.ExtraTreesRegressor(8, random_state=0).fit(x, x[:, :3] * 2), x)
    assert len(program.methods["predict"]) == 3


@pytest.mark.parametrize("place", ["cancer", "gaps"])
@pytest.mark.parametrize("more", [{}, {"max_features": 0.5, "contamination": 0.1}, {"max_samples": 1}])
def test_isolation_forest(place: str, more: dict[str, Any]) -> None:
    x, _ = data(place)
    agree(se.IsolationForest(n_estimators=20, random_state=0, **more).fit(x), x, infinite=True)


def test_adaboost_of_other_members() -> None:
    x, y = data("cancer")
    member = se.RandomForestClassifier(3, max_depth=2, random_state=0)
    program = agree(se.AdaBoostClassifier(member, n_estimators=4).fit(x, y), x)
    assert not program.features[0].missing
    digits, digit = data("digits")
    agree(se.AdaBoostClassifier(member, n_estimators=3).fit(digits, digit), digits)
    rows, target = data("diabetes")
    agree(se.AdaBoostRegressor(se.GradientBoostingRegressor(n_estimators=3), n_estimators=4).fit(rows, target), rows)


def test_histogram_categories_by_number_and_by_name() -> None:
    x, y = data("codes")
    x = x.copy()
    x[:, 1] = x[:, 1] * 1.5 - 3  # categories are any numbers
    agree(se.HistGradientBoostingClassifier(max_iter=8, categorical_features=[0, 1, 2]).fit(x, y), x)
    letters = np.array([f"k{i:02}" for i in range(40)], object)
    named = x.astype(object)
    named[:, 2] = [np.nan if np.isnan(v) else letters[int(v)] for v in x[:, 2]]
    model = se.HistGradientBoostingClassifier(max_iter=8, categorical_features=[0, 2]).fit(named, y)
    program = reader.read_model(model, features(30))
    known = program.features[2].categories
    assert program.features[2].kind == ir.CATEGORY
    assert known == tuple(sorted(letters))
    rows = adversarial_rows(program, x, 300, 1)
    assert (rows[:, 2] == -1).any(), "an unseen category is tried"
    said = rows.astype(object)
    said[:, 2] = ["never seen" if v == -1 else np.nan if np.isnan(v) else known[int(v)] for v in rows[:, 2]]
    assert np.array_equal(reference.run(program, rows)["decision_function"][0][:, 0], model.decision_function(said))
    # The caller's own order of codes, with one more that the model never saw.
    order = ("other", *reversed(known))
    turned = features(30)
    turned[2] = ir.Feature("kind", ir.CATEGORY, order, missing=True)
    codes = rows.copy()
    codes[:, 2] = [order.index(s) if s in order else 0 if s == "never seen" else np.nan for s in said[:, 2]]
    program = reader.read_model(model, turned)
    assert np.array_equal(reference.run(program, codes)["decision_function"][0][:, 0], model.decision_function(said))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_models(draw: st.DataObject) -> None:
    random = np.random.default_rng(draw.draw(st.integers(0, 2**32 - 1), "seed"))
    columns, rows = draw.draw(st.integers(1, 5), "columns"), draw.draw(st.integers(8, 120), "rows")
    scale = 10.0 ** draw.draw(st.integers(-30, 30), "scale")
    x = np.round(random.normal(size=(rows, columns)), draw.draw(st.integers(0, 12), "digits")) * scale
    kind = draw.draw(st.sampled_from(["forest", "extra", "histograms", "boosting", "isolation", "ada"]), "kind")
    if kind not in ("boosting", "ada"):
        x[random.random(x.shape) < draw.draw(st.sampled_from([0.0, 0.2, 0.6]), "missing")] = np.nan
    y = random.normal(size=rows)
    depth = draw.draw(st.sampled_from([1, 3, None]), "depth")
    model = {
        "forest": lambda: se.RandomForestRegressor(4, max_depth=depth, random_state=0),
        "extra": lambda: se.ExtraTreesRegressor(4, max_depth=depth, random_state=0),
        "histograms": lambda: se.HistGradientBoostingRegressor(max_iter=4, max_depth=depth, min_samples_leaf=3),
        "boosting": lambda: se.GradientBoostingRegressor(n_estimators=4, max_depth=depth, random_state=0),
        "isolation": lambda: se.IsolationForest(n_estimators=4, random_state=0),
        "ada": lambda: se.AdaBoostRegressor(n_estimators=4, random_state=0),
    }[kind]().fit(x, y)
    agree(model, x, infinite=kind in ("histograms", "isolation"), count=120)


def test_infinity_passes_a_split_between_missing_and_not() -> None:
    import lightgbm

    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2))
    x[::2, 0] = np.nan
    y = np.isnan(x[:, 0]) + 0.01 * x[:, 1]
    for model in (
        se.HistGradientBoostingRegressor(max_iter=4),
        lightgbm.LGBMRegressor(n_estimators=4, verbose=-1),
    ):
        program = agree(model.fit(x, y), x, infinite=True)
        assert any(program.of_kind(ir.Clip))
    (trees,) = agree(se.RandomForestRegressor(5, random_state=0).fit(x, y), x).of_kind(ir.Trees)
    assert trees.threshold.max() == np.finfo(np.float32).max


def test_a_chain_ten_thousand_deep_is_read_without_recursion() -> None:
    from edgekit_converters.plaincode.readers.forest import Tree, add_trees

    depth = 10_000
    inner = np.arange(depth)
    tree = Tree(
        left=np.concatenate([np.where(inner + 1 < depth, inner + 1, depth), np.full(depth + 1, -1)]),
        right=np.concatenate([inner + depth + 1, np.full(depth + 1, -1)]),
        feature=np.zeros(2 * depth + 1, np.int64),
        threshold=np.concatenate([-inner.astype(float), np.zeros(depth + 1)]),
        missing_left=np.zeros(2 * depth + 1, bool),
        values=np.arange(2.0 * depth + 1),
    )
    builder = ir.Builder(features(1))
    total = add_trees(builder, builder.row, [tree], [0.0])
    program = builder.program({"predict": ir.Answer(total)}, "chain")
    rows = np.array([[1.0], [-depth + 1.0], [-depth + 1.5], [-5.5], [np.nan]])
    assert reference.run(program, rows)["predict"][0][:, 0].tolist() == [
        depth + 1, depth, 2 * depth, depth + 7, depth + 1,
    ]  # fmt: skip
    wild = adversarial_rows(program, rows[:4], 50, 0)
    assert np.isfinite(wild).all()


def test_adversarial_rows_meet_thresholds_and_are_the_same_for_a_seed() -> None:
    x, y = data("gaps")
    program = reader.read_model(se.RandomForestClassifier(5, random_state=0).fit(x, y), features(30))
    rows = adversarial_rows(program, x, 400, 3, infinite=[0])
    assert rows.shape == (400, 30)
    assert np.array_equal(rows, adversarial_rows(program, x, 400, 3, infinite=[0]), equal_nan=True)
    (trees,) = program.of_kind(ir.Trees)
    real = {c: set(x[:, c].tolist()) for c in range(30)}
    met = sum(
        value in set(trees.threshold[trees.feature == column].tolist()) and value not in real[column]
        for row in rows
        for column, value in enumerate(row.tolist())
    )
    assert met > 20
    assert np.isinf(rows[:, 0]).any()
    assert not np.isinf(rows[:, 1:]).any()
    refusing = reader.read_model(se.GradientBoostingClassifier(n_estimators=3).fit(*data("cancer")), features(30))
    assert np.isfinite(adversarial_rows(refusing, data("cancer")[0], 200, 0)).all()


@pytest.mark.parametrize(
    "kind",
    [stree.DecisionTreeClassifier, se.RandomForestRegressor, se.IsolationForest, se.GradientBoostingClassifier,
     se.HistGradientBoostingRegressor, se.AdaBoostClassifier, se.AdaBoostRegressor],
)  # fmt: skip
def test_unfitted_models_are_refused_in_one_sentence(kind: Any) -> None:
    with pytest.raises(Exception, match=f"the {kind.__name__} has no .*not fitted") as caught:
        reader.read_model(kind(), features(3))
    assert type(caught.value).__name__ == "ConversionError"


def test_other_columns_subclasses_and_unknown_classes_are_refused() -> None:
    x, y = data("cancer")
    model = se.RandomForestClassifier(3, random_state=0).fit(x, y)
    with pytest.raises(Exception, match="trained with 30 features, but gets 7"):
        reader.read_model(model, features(7))

    class Mine(se.RandomForestClassifier):
        pass

    with pytest.raises(Exception, match="class Mine of .* cannot be turned into plain code"):
        reader.read_model(Mine(3).fit(x, y), features(30))
    with pytest.raises(Exception, match="begins with gives no probabilities|cannot be turned"):
        odd = se.GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(x[:, :2], y)
        odd.init_ = stree.DecisionTreeRegressor().fit(x[:, :2], y)
        reader.read_model(odd, features(2))


def test_thresholds_and_leaves_that_are_no_numbers_are_refused() -> None:
    x, y = data("diabetes")
    model = se.HistGradientBoostingRegressor(max_iter=2).fit(x, y)
    nodes = model._predictors[0][0].nodes
    saved = nodes.copy()
    nodes["num_threshold"][nodes["is_leaf"] == 0] = np.nan
    with pytest.raises(Exception, match="has the threshold nan"):
        reader.read_model(model, features(10))
    nodes[:] = saved
    nodes["value"] = np.inf
    with pytest.raises(Exception, match="not a finite number"):
        reader.read_model(model, features(10))
    nodes[:] = saved
    nodes["left"][0] = 0
    with pytest.raises(Exception, match="circle|same one"):
        reader.read_model(model, features(10))
    nodes[:] = saved
    nodes["left"][0] = 10**6
    with pytest.raises(Exception, match="leads nowhere"):
        reader.read_model(model, features(10))
    nodes[:] = saved
    nodes["feature_idx"][0] = 99
    with pytest.raises(Exception, match="feature 99"):
        reader.read_model(model, features(10))
