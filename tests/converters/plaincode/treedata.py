"""Real data in small portions, and the comparison of a source model with its program."""

from __future__ import annotations

import csv
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.plaincode import ir, reader, reference
from edgekit_converters.plaincode.adversarial import adversarial_rows

RELATIVE = 1e-6


def features(count: int) -> list[ir.Feature]:
    return [ir.Feature(f"x{i}") for i in range(count)]


@functools.cache
def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) float64 and (rows,) targets; ``gaps`` is breast_cancer with one value in ten missing,
    ``codes`` the same with three columns of category codes that matter."""
    from sklearn import datasets

    random = np.random.default_rng(7)
    if name in ("gaps", "codes"):
        x, y = datasets.load_breast_cancer(return_X_y=True)
        x = x.copy()
        if name == "codes":
            x = np.round(x * 3)
            x[:, :3] = random.integers(0, 40, (len(x), 3))
            y = ((x[:, 0] * 7 % 12 > 5) ^ (x[:, 2] > 25)).astype(int)
        x[random.random(x.shape) < (0.05 if name == "codes" else 0.1)] = np.nan
        return x, y
    if name == "occupancy":
        with (_assets() / "data" / "occupancy" / "datatest.txt").open() as f:
            lines = list(csv.reader(f))[1:]
        table = np.array([line[2:] for line in lines[::3]], np.float64)
        return table[:, :-1], table[:, -1].astype(int)
    if name == "gas":
        with (_assets() / "data" / "gas_drift" / "batch1.dat").open() as f:
            lines = list(csv.reader(f))
        return np.array([line[2:] for line in lines], np.float64), np.array([line[0] for line in lines])
    loaded = {
        "digits": datasets.load_digits,
        "cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
    }[name]
    x, y = loaded(return_X_y=True)
    return (x[::3], y[::3]) if name == "digits" else (x, y)


def _assets() -> Path:
    return Path(os.environ["EDGEKIT_ASSETS"])


def answers(model: Any, method: str, rows: np.ndarray) -> Any:
    """What the source says; ``output_margin`` and ``raw_score`` are arguments of its ``predict``."""
    if type(model).__name__ == "Booster" and type(model).__module__.startswith("xgboost"):
        import xgboost

        matrix = xgboost.DMatrix(rows, feature_types=model.feature_types)
        return model.predict(matrix, output_margin=method == "output_margin")
    if method in ("output_margin", "raw_score"):
        return model.predict(rows, **{method: True})
    return getattr(model, method)(rows)


def agree(model: Any, x: np.ndarray, *, source: Any = None, infinite: bool = False, count: int = 300) -> ir.Program:
    """Assert that a model's program says what it says, on real rows and on ones that hug its thresholds.

    Args:
        model: Fitted.
        x: Rows.
        source: What is read in place of the model: its file.
        infinite: Whether the source takes infinite values.
        count: Adversarial rows.
    """
    program = reader.read_model(model if source is None else source, features(x.shape[1]))
    wild = adversarial_rows(program, x, count, 5, infinite=range(x.shape[1]) if infinite else ())
    rows = np.concatenate([x[-150:], wild])
    found = reference.run(program, rows)
    assert program.exact <= set(program.methods)
    for method, got in found.items():
        want = answers(model, method, rows)
        want = np.concatenate(
            [np.asarray(w).reshape(len(rows), -1) for w in (want if isinstance(want, list) else [want])], 1
        )
        ours = np.concatenate([g.reshape(len(rows), -1) for g in got], axis=1)
        assert ours.shape == want.shape, method
        if method in program.exact or ours.dtype.kind in "US":
            differ = np.flatnonzero((ours != want).any(axis=1))
            assert not len(differ), f"{method}: row {differ[0]}: {ours[differ[0]]} for {want[differ[0]]}"
        else:
            np.testing.assert_allclose(ours.astype(float), want.astype(float), RELATIVE, RELATIVE, err_msg=method)
    return program
