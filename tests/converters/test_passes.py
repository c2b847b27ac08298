"""What single passes do for single targets, what they refuse, and the words people use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.fidelity import compare, random_feeds
from edgekit_converters.passes import apply_recipe, format_name, precision_name, recipe_for
from edgekit_converters.recipe import PassContext
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.source import SourceRequest

from ..models import LIMITS, calibration


@pytest.fixture(scope="session")
def floats(onnx_file, tflite_file, tmp_path_factory):
    """Format to (source, float model)."""
    made = {}
    for format, path in (("onnx", onnx_file), ("tflite", tflite_file)):
        source = load_source(SourceRequest(str(path)))
        made[format] = (source, conversion(format, format)(source, tmp_path_factory.mktemp(format), LIMITS))
    return made


def context(source, folder, limits=LIMITS, count=12):
    info = source.inputs[0]
    shape = tuple(1 if e == -1 else e for e in info.shape)
    return PassContext(limits, folder, lambda: calibration(count, shape, info.name))


def test_tensorrt_gets_signed_symmetric_qdq(floats, tmp_path):
    import onnx
    from onnx import numpy_helper

    source, model = floats["onnx"]
    limits = replace(LIMITS, signed_activations=True)
    made = apply_recipe(recipe_for("int8", "onnx", limits), model, context(source, tmp_path, limits))
    graph = onnx.load(str(made.path)).graph
    kinds = {n.op_type for n in graph.node}
    assert "QuantizeLinear" in kinds and not kinds & {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
    zero_points = {n.input[2] for n in graph.node if n.op_type == "QuantizeLinear"}
    for tensor in graph.initializer:
        if tensor.name in zero_points:
            value = numpy_helper.to_array(tensor)
            assert value.dtype == np.int8 and not value.any()


@pytest.mark.parametrize(("highest", "domain"), [(20, "com.microsoft"), (21, "")])
def test_sixteen_bit_activations_stay_below_the_targets_opset(floats, highest, domain, tmp_path):
    """ONNX has them from opset 21 on; before that they are operators of onnxruntime's own."""
    import onnx

    source, model = floats["onnx"]
    limits = replace(LIMITS, max_opset=highest)
    made = apply_recipe(recipe_for("w8a16", "onnx", limits), model, context(source, tmp_path, limits))
    loaded = onnx.load(str(made.path))
    assert {n.domain for n in loaded.graph.node if n.op_type == "QuantizeLinear"} == {domain}
    assert (
        max(o.version for o in loaded.opset_import if o.domain == "") <= highest and loaded.ir_version <= limits.max_ir
    )
    zero_points = {n.input[2] for n in loaded.graph.node if n.op_type == "QuantizeLinear"}
    kinds = {t.data_type for t in loaded.graph.initializer if t.name in zero_points}
    assert onnx.TensorProto.UINT16 in kinds
    feeds = random_feeds(source.inputs, 6, 3)
    fine = compare(source, made, feeds, strict=False).mean_abs
    coarse = apply_recipe(recipe_for("int8", "onnx", LIMITS), model, context(source, tmp_path))
    assert fine < compare(source, coarse, feeds, strict=False).mean_abs
    assert made.path.stat().st_size < model.path.stat().st_size / 2


def test_tensorrt_gets_no_sixteen_bit_activations():
    with pytest.raises(UsageError, match="TensorRT has no 16-bit activations: use --quantize int8 or fp16"):
        recipe_for("w8a16", "onnx", replace(LIMITS, signed_activations=True))


def test_the_edge_tpu_gets_whole_numbers_at_both_ends(floats, tmp_path):
    source, model = floats["tflite"]
    limits = replace(LIMITS, integer_io=True)
    made = apply_recipe(recipe_for("int8", "tflite", limits), model, context(source, tmp_path, limits))
    for binding in (*made.inputs, *made.outputs):
        assert binding.dtype == "int8" and binding.scale > 0
    assert compare(source, made, random_feeds(source.inputs, 6, 3), strict=False).relative < 0.1


def test_a_calibration_sample_with_nan_is_named(floats, tmp_path):
    source, model = floats["onnx"]
    samples = calibration(3, (1, 3, 16, 16), source.inputs[0].name)
    samples[2][source.inputs[0].name][0, 0, 0, 0] = np.nan
    with pytest.raises(ConversionError, match="sample 2 holds NaN"):
        apply_recipe(recipe_for("int8", "onnx", LIMITS), model, PassContext(LIMITS, tmp_path, lambda: samples))


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_dynamic_is_refused_where_it_would_be_slower(floats, format, tmp_path):
    source, model = floats[format]
    with pytest.raises(ConversionError, match="slow.*2 convolutions, 1 matrix product"):
        apply_recipe(recipe_for("dynamic", format, LIMITS), model, context(source, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "name"), [("half", "fp16"), ("8", "int8"), ("INT8=True", "int8"), ("w8a8", "int8"), ("16", "fp16")]
)
def test_the_spellings_people_know(word, name):
    assert precision_name(word) == name


def test_mistyped_precisions_and_formats_get_the_closest():
    assert format_name("litert") == "tflite" and format_name("engine") == "onnx"
    with pytest.raises(UsageError, match="did you mean int8"):
        precision_name("int88")
    with pytest.raises(UsageError, match="did you mean onnx"):
        format_name("onxx")
