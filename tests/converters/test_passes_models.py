"""Quantization passes on models that are hard in one way each: old files, dense ones, transposed ends, real ones."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.files import open_model
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes import apply_recipe, recipe_for
from edgekit_converters.recipe import Converted, PassContext
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.source import SourceRequest
from edgekit_runtime.manifest import Binding

from ..dense import ONNX_WIDTH as WIDTH
from ..dense import dense_onnx, weights

LIMITS = TargetLimits(("onnx", "tflite"))


def signal_to_noise(reference: np.ndarray, found: np.ndarray) -> float:
    """In decibels."""
    noise = float(np.square(reference - found, dtype=np.float64).sum())
    return float(10 * np.log10(np.square(reference, dtype=np.float64).sum() / max(noise, 1e-30)))


def conv_graph() -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, global pooling, dense; opset 17."""
    constants = {
        "k": weights(0, 16, 3, 3, 3), "scale": np.linspace(0.5, 2, 16), "shift": np.linspace(-1, 1, 16),
        "mean": np.linspace(-0.2, 0.2, 16), "var": np.linspace(0.5, 2, 16), "w": weights(1, 16, 10),
        "b": np.linspace(-1, 1, 10),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def written(graph: onnx.ModelProto, path, shape) -> Converted:
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))
    session = open_model(path, "onnx")
    out = session.outputs[0]
    session.close()
    return Converted(path, "onnx", "fp32", (Binding("x", "x", shape),), (Binding("y", out.name, out.shape),))


def run(path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])


def pictures(count: int, seed: int, *shape: int) -> np.ndarray:
    """Smooth random fields: neighbouring values are alike, as in pictures."""
    noise = np.random.default_rng(seed).normal(size=(count, *shape))
    return (np.cumsum(noise, -1) / np.sqrt(shape[-1])).astype(np.float32)


def samples_of(x: np.ndarray, name: str = "x"):
    return lambda: ({name: row[None]} for row in x)


def operators(path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


@pytest.mark.parametrize("rows", [False, True], ids=["vector biases", "row biases"])
@pytest.mark.parametrize(
    ("precision", "ratio", "decibels"), [("int8", 2.7, 25), ("dynamic", 2.7, 30), ("fp16", 1.8, 50)]
)
def test_dense_weights_shrink_and_answers_stay(tmp_path, rows, precision, ratio, decibels):
    model = written(dense_onnx(rows), tmp_path / "old.onnx", (1, WIDTH))
    x = pictures(48, 1, WIDTH)
    made = apply_recipe(recipe_for(precision, "onnx", LIMITS), model, PassContext(LIMITS, tmp_path, samples_of(x[:32])))
    assert made.path.stat().st_size < model.path.stat().st_size / ratio
    assert signal_to_noise(run(model.path, x[32:]), run(made.path, x[32:])) > decibels
    assert made.inputs == model.inputs and made.outputs == model.outputs
    assert set(made.tools) == {"onnx", "onnxruntime"}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["old.onnx", made.path.name])


def test_products_with_small_weights_need_no_samples(tmp_path):
    model = written(dense_onnx(True), tmp_path / "old.onnx", (1, WIDTH))
    x, sizes, decibels = pictures(16, 1, WIDTH), {}, {}
    for precision in ("w8", "w4"):
        made = apply_recipe(recipe_for(precision, "onnx", LIMITS), model, PassContext(LIMITS, tmp_path))
        assert operators(made.path)["MatMulNBits"] == 3 and not operators(made.path)["Gemm"]
        sizes[precision] = made.path.stat().st_size
        decibels[precision] = signal_to_noise(run(model.path, x), run(made.path, x))
    assert sizes["w4"] < sizes["w8"] < model.path.stat().st_size / 2
    assert decibels["w8"] > 35 and decibels["w8"] > decibels["w4"] > 12
    kept = [{"pass": "onnx-w4", "exclude": ["dense1"]}]
    made = apply_recipe(kept, model, PassContext(LIMITS, tmp_path))
    assert operators(made.path)["MatMulNBits"] == 2 and operators(made.path)["Gemm"] == 1


def test_small_weights_are_refused_where_there_is_no_product_or_no_runtime_for_them(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "k"], ["y"], "conv")]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 8, 8]), ("y", [1, 4, 6, 6]))
    ]
    stored = [numpy_helper.from_array(weights(0, 4, 3, 3, 3), "k")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], stored)
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    model = written(made, tmp_path / "net.onnx", (1, 3, 8, 8))
    with pytest.raises(ConversionError, match="no matrix product"):
        apply_recipe([{"pass": "onnx-w4"}], model, PassContext(LIMITS, tmp_path))
    with pytest.raises(UsageError, match="TensorRT does not know"):
        recipe_for("w4", "onnx", replace(LIMITS, signed_activations=True))
    with pytest.raises(UsageError, match="block must be a power of two"):
        apply_recipe([{"pass": "onnx-w4", "block": 24}], model, PassContext(LIMITS, tmp_path))


def test_only_operator_sets_in_use_are_asked_for(tmp_path):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    x = pictures(16, 2, 3, 12, 12)
    for precision in ("int8", "fp16"):
        recipe = recipe_for(precision, "onnx", LIMITS)
        made = onnx.load(str(apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, samples_of(x))).path))
        assert [o.domain for o in made.opset_import] == [""]
        assert made.opset_import[0].version <= LIMITS.max_opset and made.ir_version <= LIMITS.max_ir


def test_batch_normalization_is_folded_before_quantization(tmp_path):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    x = pictures(48, 2, 3, 12, 12)
    recipe = recipe_for("int8", "onnx", LIMITS)
    made = apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, samples_of(x[:32])))
    kinds = operators(made.path)
    assert not kinds["BatchNormalization"] and kinds["QuantizeLinear"] and kinds["DequantizeLinear"]
    assert signal_to_noise(run(model.path, x[32:]), run(made.path, x[32:])) > 25


@pytest.mark.parametrize("method", ["minmax", "average", "percentile", "mse", "entropy"])
def test_every_way_to_find_ranges(tmp_path, method):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    x = pictures(48, 2, 3, 12, 12)
    recipe = [{"pass": "onnx-int8", "method": method}]
    made = apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, samples_of(x[:32])))
    assert signal_to_noise(run(model.path, x[32:]), run(made.path, x[32:])) > 12
    assert made.recipe[0].get("method", "minmax") == method


def test_a_percentile_keeps_an_outlier_from_spoiling_the_ranges(tmp_path):
    model = written(dense_onnx(False), tmp_path / "old.onnx", (1, WIDTH))
    x = pictures(64, 1, WIDTH)
    x[5, 7] = 500.0
    quality = {}
    for method in ("minmax", "percentile"):
        recipe = [{"pass": "onnx-int8", "method": method} | ({"percentile": 99.5} if method == "percentile" else {})]
        made = apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, samples_of(x[:40])))
        quality[method] = signal_to_noise(run(model.path, x[40:]), run(made.path, x[40:]))
    assert quality["percentile"] > quality["minmax"] + 6


def test_excluded_nodes_stay_float(tmp_path):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    context = PassContext(LIMITS, tmp_path, samples_of(pictures(8, 2, 3, 12, 12)))
    made = apply_recipe([{"pass": "onnx-int8", "exclude": ["head"]}], model, context)
    weights_now = {t.name: t.data_type for t in onnx.load(str(made.path)).graph.initializer}
    assert weights_now["w"] == TensorProto.FLOAT and TensorProto.INT8 in weights_now.values()
    with pytest.raises(ConversionError, match="no node 'haed'"):
        apply_recipe([{"pass": "onnx-int8", "exclude": ["haed"]}], model, context)


def test_samples_are_transposed_as_the_binding_says(tmp_path):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    x = pictures(8, 2, 3, 12, 12)
    straight = apply_recipe([{"pass": "onnx-int8"}], model, PassContext(LIMITS, tmp_path, samples_of(x)))
    expected = straight.path.read_bytes()
    turned = replace(model, inputs=(replace(model.inputs[0], transpose=(0, 3, 1, 2)),))
    made = apply_recipe(
        [{"pass": "onnx-int8"}], turned, PassContext(LIMITS, tmp_path, samples_of(x.transpose(0, 2, 3, 1)))
    )
    assert made.path.read_bytes() == expected and made.inputs == turned.inputs


def test_bad_samples_are_named(tmp_path):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    good = pictures(3, 2, 3, 12, 12)

    def refused(samples, match, error=ConversionError):
        with pytest.raises(error, match=match):
            apply_recipe([{"pass": "onnx-int8"}], model, PassContext(LIMITS, tmp_path, lambda: samples))
        assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]

    refused([], "is empty.*--calibration-data", UsageError)
    refused([{"x": good[:1]}, {"x": good[:1, :, :5]}], r"sample 1 has shape \(1, 3, 5, 12\)")
    refused([{"x": good[0]}], "sample 0 has 3 axes")
    refused([{"picture": good[:1]}], "sample 0 has nothing for input 'x'.*picture")
    refused([{"x": good[:1]}, {"x": np.full_like(good[:1], np.inf)}], "sample 1 holds NaN or infinity")


def test_progress_is_told(tmp_path):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    told: list[tuple[int, int]] = []
    samples = [{"x": row[None]} for row in pictures(5, 2, 3, 12, 12)]
    context = PassContext(LIMITS, tmp_path, lambda: samples, lambda done, total: told.append((done, total)))
    apply_recipe([{"pass": "onnx-int8"}], model, context)
    assert told == [(n, 5) for n in range(1, 6)]


def test_a_result_never_replaces_its_own_input(tmp_path):
    model = written(conv_graph(), tmp_path / "onnx-int8.onnx", (1, 3, 12, 12))
    before = model.path.read_bytes()
    context = PassContext(LIMITS, tmp_path, samples_of(pictures(4, 2, 3, 12, 12)))
    made = apply_recipe([{"pass": "onnx-int8"}], model, context)
    assert made.path != model.path and model.path.read_bytes() == before


def test_a_target_of_old_opsets_is_told_so(tmp_path):
    model = written(dense_onnx(False), tmp_path / "old.onnx", (1, WIDTH))
    old = replace(LIMITS, max_opset=12)
    with pytest.raises(ConversionError, match="needs ONNX opset 13, the target takes 12"):
        apply_recipe(
            recipe_for("int8", "onnx", old), model, PassContext(old, tmp_path, samples_of(pictures(4, 1, WIDTH)))
        )


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        ([{"pass": "onnx-int9"}], "no pass 'onnx-int9'"),
        ([{}], "no pass ''"),
        ([{"pass": "onnx-int8", "perchannel": True}], "no setting 'perchannel'.*per_channel"),
        (
            [{"pass": "onnx-int8", "method": "best"}],
            "method must be one of minmax, average, percentile, mse, entropy, not 'best'",
        ),
        ([{"pass": "onnx-int8", "per_channel": "yes"}], "per_channel must be true or false"),
        ([{"pass": "onnx-int8", "percentile": 3}], "percentile must be above 50"),
        ([{"pass": "tflite-int8", "exclude": ["("]}], "not a regular expression"),
        ([{"pass": "tflite-fp16"}], "works on tflite models, this one is onnx"),
    ],
)
def test_a_wrong_recipe_is_bad_usage(tmp_path, recipe, match):
    model = written(conv_graph(), tmp_path / "net.onnx", (1, 3, 12, 12))
    with pytest.raises(UsageError, match=match):
        apply_recipe(recipe, model, PassContext(LIMITS, tmp_path))


def test_a_classic_model_says_in_words_that_there_is_nothing_to_quantize(tmp_path):
    x, y = load_iris(return_X_y=True)
    forest = RandomForestClassifier(3, random_state=0).fit(x, y)
    model = _classic(forest, x, tmp_path)
    for precision in ("int8", "w8a16"):
        recipe = recipe_for(precision, "onnx", LIMITS)
        with pytest.raises(ConversionError, match="nothing to quantize in a model of TreeEnsembleClassifier"):
            apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, samples_of(x.astype(np.float32), "X")))


def test_a_network_with_whole_numbers_between_its_layers_has_its_biases_corrected(tmp_path):
    """scikit-learn's perceptron looks its label up by an index that it computes."""
    x, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        perceptron = MLPClassifier((8,), max_iter=200, random_state=0).fit(x, y)
    model = _classic(perceptron, x, tmp_path)
    made = apply_recipe(
        [{"pass": "onnx-int8"}], model, PassContext(LIMITS, tmp_path, samples_of(x.astype(np.float32), "X"))
    )
    assert made.precision == "int8" and made.path.exists()


def _classic(model, x, folder) -> Converted:
    proto = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}, target_opset=17)
    onnx.save(proto, str(folder / "classic.onnx"))
    outputs = (Binding("label", "label", (-1,), "int64"), Binding("probabilities", "probabilities", (-1, 3)))
    return Converted(folder / "classic.onnx", "onnx", "fp32", (Binding("X", "X", (-1, x.shape[1])),), outputs)


def test_precisions_that_do_not_exist_for_a_format_or_target():
    with pytest.raises(UsageError, match="cannot become auto: they can become int8, w8a16, dynamic, fp16"):
        recipe_for("auto", "onnx", LIMITS)
    with pytest.raises(UsageError, match="whole numbers at both ends"):
        recipe_for("fp16", "tflite", replace(LIMITS, integer_io=True))
    assert recipe_for("fp32", "tflite", LIMITS) == ()


def _real(assets, name: str, folder):
    source = load_source(SourceRequest(str(assets / "models" / name)))
    return source, conversion("tflite", "tflite")(source, folder, LIMITS)


@pytest.mark.parametrize(("precision", "decibels"), [("int8", 25), ("w8a16", 35)])
def test_a_real_tflite_file_of_2020_is_quantized(assets, tmp_path, precision, decibels):
    """MLPerf Tiny's keyword net: no signature, and operator codes in the old, narrow field."""
    source, model = _real(assets, "kws_ref/kws_ref_model_float32.tflite", tmp_path)
    x = pictures(24, 3, 49, 10, 1)[:, :, ::-1] * 10
    name = source.inputs[0].name
    recipe = recipe_for(precision, "tflite", LIMITS)
    made = apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, samples_of(x[:16], name)))
    assert [b.dtype for b in (*made.inputs, *made.outputs)] == ["float32", "float32"]
    assert signal_to_noise(_answers(model.path, x[16:]), _answers(made.path, x[16:])) > decibels
    assert json.loads(json.dumps(made.recipe)) == list(made.recipe)
    assert {"ai-edge-quantizer", "ai-edge-litert"} <= set(made.tools)


def test_weights_that_are_quantized_already_are_not_cast_to_halves(assets, tmp_path):
    """The same file again: its convolutions' weights are int8 (dynamic range), though its ends and name say float."""
    _, model = _real(assets, "kws_ref/kws_ref_model_float32.tflite", tmp_path)
    with pytest.raises(ConversionError, match="5 weights of the model are quantized already"):
        apply_recipe(recipe_for("fp16", "tflite", LIMITS), model, PassContext(LIMITS, tmp_path))


def test_a_real_convolutional_net_in_halves(assets, tmp_path):
    _, model = _real(assets, "vww_96/vww_96_float.tflite", tmp_path)
    made = apply_recipe(recipe_for("fp16", "tflite", LIMITS), model, PassContext(LIMITS, tmp_path))
    assert made.path.stat().st_size < model.path.stat().st_size / 1.8
    x = (pictures(8, 4, 96, 96, 3) + 1) / 2
    expected, found = (_answers(file, x) for file in (model.path, made.path))
    assert np.ptp(expected[:, 0]) > 0.01 and signal_to_noise(expected, found) > 45


def test_a_real_convolutional_net_shrinks(assets, tmp_path):
    """Visual wake words: int8 below 1/2.7 of float, whole numbers at both ends for an accelerator."""
    limits = replace(LIMITS, integer_io=True, dense_per_channel=False)
    source, model = _real(assets, "vww_96/vww_96_float.tflite", tmp_path)
    x = (pictures(12, 4, 96, 96, 3) + 1) / 2
    recipe = recipe_for("int8", "tflite", limits)
    made = apply_recipe(recipe, model, PassContext(limits, tmp_path, samples_of(x, source.inputs[0].name)))
    assert made.path.stat().st_size < model.path.stat().st_size / 2.7
    assert [b.dtype for b in (*made.inputs, *made.outputs)] == ["int8", "int8"]
    assert all(b.scale > 0 for b in (*made.inputs, *made.outputs))
    assert _dense_scales(made.path) == [1]
    free = apply_recipe(
        [{"pass": "tflite-int8"}], model, PassContext(limits, tmp_path, samples_of(x, source.inputs[0].name))
    )
    assert _dense_scales(free.path) == [2]


def _answers(path, x: np.ndarray) -> np.ndarray:
    session = open_model(path, "tflite")
    found = np.concatenate([session.run([np.ascontiguousarray(row[None])])[0].copy() for row in x])
    session.close()
    return found


def _dense_scales(path) -> list[int]:
    """How many weight scales each dense layer has."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    return [
        len(graph.tensors[operator.inputs[1]].quantization.scale)
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
    ]
