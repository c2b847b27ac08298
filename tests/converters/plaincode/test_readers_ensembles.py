"""Votes, stacks and bags of scikit-learn, read into programs that answer as they do."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn import (
    discriminant_analysis,
    ensemble,
    linear_model,
    naive_bayes,
    neighbors,
    svm,
    tree,
)

from edgekit_converters.plaincode import ir

from .agreement import agrees
from .tables import CANCER, CANCER_Y, DIABETES, DIABETES_Y, DIGITS, DIGITS_Y, IRIS, NAMES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")


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
        discriminant_analysis.LinearDiscriminantAnalysis(), 6, max_samples=20, random_state=1
    ).fit(DIGITS[:, 10:30] / 16, DIGITS_Y)  # fmt: skip
    assert min(len(e.classes_) for e in model.estimators_) < 10
    agrees(model, DIGITS[:, 10:30] / 16, left_out=("decision_function",))  # the source's own fails: widths differ
