"""Alarms of drift: one when it stays, one when it is gone, none for what comes and goes."""

from edgekit_runtime.agent.drifting import Drifting

A, B = "a" * 64, "b" * 64
OVER = "psi 0.31 over 0.12"


def said(*drifts, before=None, digest=A):
    return (before or Drifting()).take([{"digest": digest, "drift": d} for d in drifts])


def test_one_window_over_the_limit_is_no_alarm_two_are_one_and_more_are_no_more():
    assert said({"inputs.age": OVER}, {"inputs.age": ""}, {"inputs.age": OVER})[1] == []
    state, sentences = said(*[{"inputs.age": OVER, "inputs.size": ""}] * 10)
    assert sentences == ["drift in 2 windows: inputs.age (psi 0.31 over 0.12)"]
    assert state.alarmed == {"inputs.age"}


def test_it_is_over_after_three_windows_without_and_may_come_again():
    state, _ = said(*[{"x": OVER}] * 2)
    # what hovers at the limit says nothing
    state, sentences = said({"x": ""}, {"x": ""}, {"x": OVER}, {"x": ""}, {"x": ""}, before=state)
    assert sentences == [] and state.alarmed == {"x"}
    state, sentences = said({"x": ""}, before=state)
    assert sentences == ["no drift any more: x"] and not state.alarmed
    assert len(said(*[{"x": OVER}] * 2, before=state)[1]) == 1


def test_windows_that_nobody_could_judge_change_nothing():
    state, sentences = said({"x": OVER}, {}, None, {"y": ""}, {"x": OVER})
    assert sentences == ["drift in 2 windows: x (psi 0.31 over 0.12)"]
    assert said({}, None, {"y": ""}, before=state) == (state, [])


def test_another_bundle_begins_anew():
    state, _ = said(*[{"x": OVER}] * 2)
    state, sentences = said({"x": OVER}, before=state, digest=B)
    assert sentences == [] and state.digest == B and not state.alarmed
    assert len(said({"x": OVER}, before=state, digest=B)[1]) == 1


def test_many_numbers_are_one_sentence():
    _, (sentence,) = said(*[{f"inputs.{i}": OVER for i in range(9)}] * 2)
    assert sentence.count("psi") == 5 and sentence.endswith("and 4 more")
