"""Errors layer by layer: planted faults are found where they were planted."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.passes import apply_recipe
from edgekit_converters.recipe import Converted, PassContext
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.sensitivity import EXACT_DB, keep_in_float, layer_errors
from edgekit_converters.source import SourceRequest
from edgekit_runtime.manifest import Binding

from ..dense import weights
from ..models import LIMITS, calibration

CHANNELS = 8


@pytest.fixture(scope="module")
def files(request, tmp_path_factory):
    """Format to (float model, its int8 twin, samples)."""
    made = {}
    for format in ("onnx", "tflite"):
        source, folder = load_source(SourceRequest(str(request.getfixturevalue(f"{format}_file")))), tmp_path_factory
        floating = conversion(format, format)(source, folder.mktemp(format), LIMITS)
        info = source.inputs[0]
        samples = calibration(6, tuple(1 if e == -1 else e for e in info.shape), info.name)
        context = PassContext(LIMITS, folder.mktemp(format), lambda samples=samples: samples)
        made[format] = (floating, apply_recipe([{"pass": f"{format}-int8"}], floating, context), samples)
    return made


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_every_layer_of_a_healthy_model_is_close_and_alone_no_worse(files, format):
    floating, quantized, samples = files[format]
    errors = layer_errors(floating, quantized, samples, alone=True)
    kinds = [e.op for e in errors]
    assert sum("conv" in k.lower() for k in kinds) == 2, "an activation merged into its layer counts as that layer"
    for error in errors:
        assert error.sqnr_db > 20 and error.cosine > 0.99 and error.low <= error.high
        assert error.own_sqnr_db is not None and error.own_sqnr_db > error.sqnr_db - 1
        assert error.saturated == error.dead == 0
    assert [e.index for e in errors] == sorted(e.index for e in errors)
    json.dumps([asdict(e) for e in errors], allow_nan=False)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_file_against_itself_differs_nowhere(files, format):
    floating, _, samples = files[format]
    for error in layer_errors(floating, floating, iter(samples)):
        assert error.sqnr_db == EXACT_DB and error.cosine == pytest.approx(1)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_samples_far_beyond_the_calibrated_ranges_saturate(files, format):
    floating, quantized, samples = files[format]
    loud = [{name: value * 20 for name, value in sample.items()} for sample in samples]
    assert max(e.saturated for e in layer_errors(floating, quantized, loud)) > 0.05


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_layers_are_named_so_that_a_pass_can_keep_them_in_float(files, format, tmp_path):
    floating, quantized, samples = files[format]
    first = next(e for e in layer_errors(floating, quantized, samples) if "conv" in e.op.lower())
    recipe = [{"pass": f"{format}-int8", "exclude": keep_in_float(format, [first.name])}]
    made = apply_recipe(recipe, floating, PassContext(LIMITS, tmp_path, lambda: samples))
    after = {e.name: e for e in layer_errors(floating, made, samples)}
    assert after[first.name].sqnr_db > first.sqnr_db + 3


def two_convolutions(path, factor: float) -> Converted:
    """x → conv (one channel `factor` times the others) → relu → conv."""
    kernel = weights(0, CHANNELS, 3, 3, 3)
    kernel[2] *= factor
    constants = {"a": kernel, "b": weights(1, CHANNELS, CHANNELS, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "b"], ["y"], "second", pads=[1, 1, 1, 1]),
    ]
    shapes = {"x": (1, 3, 8, 8), "y": (1, CHANNELS, 8, 8)}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    stored = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return Converted(path, "onnx", "fp32", (Binding("x", "x", shapes["x"]),), (Binding("y", "y", shapes["y"]),))


def test_a_channel_a_thousand_times_the_others_leaves_them_dead(tmp_path):
    samples = calibration(6, (1, 3, 8, 8), "x")
    dead = {}
    for factor in (1.0, 1000.0):
        model = two_convolutions(tmp_path / f"{factor:g}.onnx", factor)
        made = apply_recipe([{"pass": "onnx-int8"}], model, PassContext(LIMITS, tmp_path, lambda: samples))
        dead[factor] = {e.name: e.dead for e in layer_errors(model, made, samples)}
    assert dead[1.0]["first"] == 0 and dead[1000.0]["first"] >= 0.5


def test_what_cannot_be_compared_is_refused_in_words(files):
    floating, quantized, samples = files["onnx"]
    with pytest.raises(UsageError, match="no sample to compare"):
        layer_errors(floating, quantized, [])
    with pytest.raises(UsageError, match="the tflite file cannot be compared with the onnx file"):
        layer_errors(files["tflite"][0], quantized, samples)
    bad = {name: np.full_like(value, np.nan) for name, value in samples[0].items()}
    with pytest.raises(ConversionError, match="sample 1 holds NaN"):
        layer_errors(floating, quantized, [samples[0], bad])
