"""What all tests of readers ask: does the program answer as the model that it was read from?"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.plaincode import reference
from edgekit_converters.plaincode.features import features_of, numbers_of
from edgekit_converters.plaincode.ir import Program
from edgekit_converters.plaincode.reader import read_model

METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")


def agrees(model: Any, rows: Any, exact: tuple[str, ...] = (), left_out: tuple[str, ...] = ()) -> Program:
    """Read a fitted model and hold every method that it has against the program's, row by row.

    Args:
        model: Fitted.
        rows: As the model takes them.
        exact: Methods that must be claimed, and be, equal to the bit.
        left_out: Methods that the model has and the program rightly has not.
    """
    program = read_model(model, features_of(model))
    assert set(program.methods) == {m for m in METHODS if hasattr(model, m)} - set(left_out)
    assert program.exact == frozenset(exact)
    found = reference.run(program, numbers_of(program.features, rows))
    for method, answers in found.items():
        wanted = _outputs(getattr(model, method)(rows), len(answers))
        for answer, expected in zip(answers, wanted, strict=True):
            _same(method, answer, expected, method in program.exact)
    return program


def _outputs(value: Any, count: int) -> list[np.ndarray]:
    if isinstance(value, list):
        return [np.asarray(v) for v in value]
    value = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    return [value] if count == 1 else list(value.T)


def _same(method: str, answer: np.ndarray, expected: np.ndarray, exact: bool) -> None:
    assert answer.size == expected.size, f"{method}: {answer.shape} for {expected.shape}"
    answer = answer.reshape(expected.shape)
    if exact or expected.dtype.kind in "OUSbiu":
        both_missing = np.isnan(answer) & np.isnan(expected) if expected.dtype.kind == "f" else False
        different = (answer != expected) & ~np.asarray(both_missing)
        assert not different.any(), f"{method}: {different.sum()} of {different.size} differ"
    else:
        np.testing.assert_allclose(answer, expected, rtol=1e-6, atol=1e-6, err_msg=method)
