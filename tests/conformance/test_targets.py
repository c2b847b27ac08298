"""What every target must hold: its words fit together, and an export for it keeps its accuracy."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit.targets import load_target, resolve_target, target_names
from edgekit_converters.passes import precision_name, recipe_for
from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.backends import backend

from ..digits import plan

DEVICE = tomllib.loads((Path(__file__).parents[2] / "devices/pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", target_names())
def test_a_targets_words_fit_together(name):
    target = load_target(name)
    assert target.name == name and target.title
    assert resolve_target(name.upper().replace("-", "_")).target is target
    assert target.limits.formats and set(target.limits.formats) == set(target.backends)
    for format, names in target.backends.items():
        assert names and all(format in backend(b).formats for b in names)
    assert target.limits.precisions and all(precision_name(p) == p != "auto" for p in target.limits.precisions)
    for format in target.limits.formats:
        for precision in target.limits.precisions:
            recipe_for(precision, format, target.limits)  # there is a way there
    assert target.extra in DEVICE["optional-dependencies"]
    assert target.python and all(re.fullmatch(r"3\.\d+", version) for version in target.python)
    assert all(int(version.split(".")[1]) >= 9 for version in target.python), "edgekit-runtime needs 3.9"
    assert all(note.endswith(".") for note in target.notes)


@pytest.mark.parametrize("target", [t for t in target_names() if {"onnx", "tflite"} & {*load_target(t).limits.formats}])
def test_every_target_gets_a_bundle_that_holds_its_accuracy(target, trained, tmp_path):
    result = export(plan(trained, tmp_path / "a", target=target, max_drop=0.02))
    assert result.choice.held and result.source.metrics["accuracy"] > 0.95
    limits = load_target(target).limits
    with Bundle.open(result.bundle) as bundle:
        manifest = bundle.manifest
        variant = manifest.variant()
        bundle.verify()
    assert variant.format in limits.formats and variant.precision == limits.precisions[0]
    assert variant.metrics["accuracy"] >= result.source.metrics["accuracy"] - 0.02
    assert len(manifest.golden.samples) == 8 and manifest.golden.expected
    static = variant.precision in ("int8", "w8a16")
    assert {d.role for d in manifest.data} == {"evaluation", "reference", *(["calibration"] if static else [])}
    assert all(len(q.edges) == 33 for q in manifest.monitoring.outputs.values())
    for calibration in (d for d in manifest.data if d.role == "calibration"):
        assert len(calibration.classes) == 10 and "training split" in calibration.origin
    if limits.integer_io:
        assert variant.inputs[0].dtype == variant.outputs[0].dtype == "int8"
    with np.load(trained / "digits.npz") as arrays, Runtime.open(result.bundle) as model:
        right = [model(x)[0].index == y for x, y in zip(arrays["x_test"][:50], arrays["y_test"][:50], strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.tool("cc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc", "arm-none-eabi-gcc")
@pytest.mark.parametrize("target", [t for t in target_names() if {"onnx", "c"} & {*load_target(t).limits.formats}])
def test_every_target_that_runs_classic_models_gets_one_that_is_equal(target, classic_models, tmp_path):
    x, y = load_iris(return_X_y=True)
    np.savez(tmp_path / "iris.npz", x_train=x[::2], y_train=y[::2], x_test=x[1::2], y_test=y[1::2])
    asked = ExportPlan(
        str(classic_models["sklearn"]), target, str(tmp_path / "a"), str(tmp_path / "iris.npz"), trust=True
    )
    result = export(asked)
    variant = result.manifest.variant()
    assert variant.format == next(f for f in load_target(target).limits.formats if f in ("c", "onnx"))
    assert result.variants[0].drop == 0 and result.choice.held
    if variant.format == "c":
        proof = variant.fidelity
        assert proof["rows"] > 1000 and proof["flips"] == 0
        assert variant.precision != "fp64" or proof["bit_equal_rows"] == proof["rows"]
