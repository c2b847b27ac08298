"""Classic models on microcontrollers: their size, and exact instruction counts that are never called time."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edgekit.instructions import count
from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit_runtime.errors import EdgekitError, UsageError

from .conftest import edgekit

pytestmark = pytest.mark.tool("cc", "arm-none-eabi-gcc", "qemu-system-arm")

X, Y = load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cancer")
    joblib.dump(RandomForestClassifier(10, random_state=0).fit(X[::2], Y[::2]), folder / "forest.joblib")
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), folder / "linear.joblib")
    np.savez(folder / "rows.npz", x_test=X[1::2], y_test=Y[1::2])
    return folder


def bundle(folder: Path, output: Path, target: str, model: str = "forest", **changes) -> Path:
    return export(ExportPlan(str(folder / f"{model}.joblib"), target, str(output), str(folder / "rows.npz"), trust=True,
                             **changes)).bundle  # fmt: skip


def test_a_bundle_for_a_cortex_m4_is_benchmarked_in_instructions(folder, tmp_path):
    path = bundle(folder, tmp_path / "a", "cortex-m4")
    said = edgekit("benchmark", str(path), cwd=tmp_path)
    assert said.returncode == 0 and "instructions, not time" in said.stdout and " ms" not in said.stdout, said.stderr
    found = json.loads(edgekit("benchmark", str(path), "--json", cwd=tmp_path).stdout)
    assert found["processor"] == "cortex-m4" and found["rows"] == 8 and found["variant"] == "c-int32"
    assert 200 < found["instructions"] < 20_000 and 1000 < found["flash_bytes"] < 20_000 and found["largest"] < 1e-6
    assert count(path).instructions == found["instructions"], "a count is the same each time"


def test_whole_numbers_cost_a_cortex_m3_less_than_doubles(folder, tmp_path):
    """It has no floating point at all: every sum of doubles is a call."""
    fixed, exact = (
        count(bundle(folder, tmp_path / leaves, "cortex-m3", leaves=leaves)) for leaves in ("fixed", "exact")
    )
    assert (fixed.variant, exact.variant) == ("c-int32", "c-fp64")
    assert exact.largest == 0 and exact.instructions > 1.2 * fixed.instructions


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m7"])
def test_a_pipeline_with_mathematics_runs_there_too(folder, tmp_path, target):
    found = count(bundle(folder, tmp_path / "a", target, "linear"))
    assert found.variant == "c-fp64" and found.largest < 1e-9 and found.processor == target


def test_what_cannot_be_counted_is_said(folder, tmp_path):
    with pytest.raises(EdgekitError, match="qemu has no board here for cortex-m33"):
        count(bundle(folder, tmp_path / "a", "cortex-m33"))
    with pytest.raises(UsageError, match="was made for no Cortex-M.*--target cortex-m4"):
        count(bundle(folder, tmp_path / "b", "generic-c"))
