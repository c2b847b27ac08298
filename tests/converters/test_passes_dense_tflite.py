"""Quantization passes on a dense TFLite net written by hand, as old as they come: no signature, narrow op codes."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit_converters.files import open_model
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes import apply_recipe, recipe_for
from edgekit_converters.recipe import Converted, PassContext
from edgekit_runtime.manifest import Binding

LIMITS = TargetLimits(("tflite",))
WIDTH, LAYERS = 128, 3


def _dense_net() -> bytes:
    """Three dense layers with ReLU; the outputs of each have magnitudes from 0.02 to 2."""
    generator = np.random.default_rng(0)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.buffers = 3, "dense", [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode, code.builtinCode, code.version = schema.BuiltinOperator.FULLY_CONNECTED, 0, 1
    model.operatorCodes, graph.tensors, graph.operators = [code], [], []

    def tensor(name: str, shape: list[int], values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, schema.TensorType.FLOAT32, 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    now = tensor("x", [1, WIDTH])
    graph.inputs = [now]
    for layer in range(LAYERS):
        spread = np.geomspace(0.02, 2, WIDTH)[:, None]
        weights = tensor(f"w{layer}", [WIDTH, WIDTH], generator.normal(size=(WIDTH, WIDTH)) * spread / np.sqrt(WIDTH))
        bias = tensor(f"b{layer}", [WIDTH], np.linspace(-0.01, 0.01, WIDTH))
        operator, options = schema.OperatorT(), schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        operator.opcodeIndex, operator.inputs = 0, [now, weights, bias]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.FullyConnectedOptions, options
        now = tensor(f"layer{layer}", [1, WIDTH])
        operator.outputs = [now]
        graph.operators.append(operator)
    graph.outputs, graph.name, model.subgraphs = [now], "main", [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Converted:
    path = tmp_path_factory.mktemp("dense") / "dense.tflite"
    path.write_bytes(_dense_net())
    shape = (1, WIDTH)
    return Converted(path, "tflite", "fp32", (Binding("x", "x", shape),), (Binding("y", f"layer{LAYERS - 1}", shape),))


def _inputs(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 1, WIDTH)).astype(np.float32)


def _context(folder) -> PassContext:
    return PassContext(LIMITS, folder, lambda: ({"x": x} for x in _inputs(40, 1)))


def _quality(model: Converted, made: Converted) -> float:
    """Signal to noise in decibels on inputs that were not calibrated with."""
    answers = []
    for path in (model.path, made.path):
        session = open_model(path, "tflite")
        answers.append(np.stack([session.run([x])[0].copy() for x in _inputs(16, 2)]).astype(np.float64))
        session.close()
    return float(10 * np.log10(np.square(answers[0]).sum() / np.square(answers[0] - answers[1]).sum()))


@pytest.mark.parametrize(
    ("precision", "ratio", "decibels"),
    [("int8", 2.7, 28), ("dynamic", 2.7, 30), ("w8a16", 2.7, 35), ("fp16", 1.8, 50)],
)
def test_dense_weights_shrink_and_answers_stay(model, tmp_path, precision, ratio, decibels):
    before = model.path.read_bytes()
    made = apply_recipe(recipe_for(precision, "tflite", LIMITS), model, _context(tmp_path))
    assert model.path.read_bytes() == before
    assert made.path.stat().st_size < len(before) / ratio
    assert _quality(model, made) > decibels
    assert [(b.tensor, b.dtype, b.scale) for b in (*made.inputs, *made.outputs)] == [
        ("x", "float32", 0.0),
        ("y", "float32", 0.0),
    ]
    assert [p.name for p in tmp_path.iterdir()] == [made.path.name]


def test_scales_per_channel_beat_one_scale(model, tmp_path):
    quality = {}
    for per_channel in (True, False):
        recipe = [{"pass": "tflite-int8", "dense_per_channel": per_channel}]
        quality[per_channel] = _quality(model, apply_recipe(recipe, model, _context(tmp_path)))
    assert quality[True] > quality[False] > 20


def test_excluded_layers_stay_float(model, tmp_path):
    recipe = [{"pass": "tflite-int8", "exclude": ["layer1"]}]
    made = apply_recipe(recipe, model, _context(tmp_path))
    file = schema.ModelT.InitFromPackedBuf(made.path.read_bytes(), 0)
    kinds = {t.name.decode(): t.type for t in file.subgraphs[0].tensors}
    assert kinds["w1"] == schema.TensorType.FLOAT32
    assert kinds["w0"] == kinds["w2"] == schema.TensorType.INT8


@pytest.mark.parametrize("method", ["minmax", "average"])
def test_a_recipe_replays_to_the_same_bytes(model, tmp_path, method):
    recipe = [{"pass": "tflite-int8", "method": method}]
    first = apply_recipe(recipe, model, _context(tmp_path))
    expected = first.path.read_bytes()
    assert apply_recipe(first.recipe, model, _context(tmp_path)).path.read_bytes() == expected


def test_ranges_by_minmax_do_not_depend_on_the_order_of_samples(model, tmp_path):
    files = []
    for samples in (_inputs(12, 1), _inputs(12, 1)[::-1]):
        context = PassContext(LIMITS, tmp_path, lambda samples=samples: ({"x": x} for x in samples))
        files.append(apply_recipe([{"pass": "tflite-int8"}], model, context).path.read_bytes())
    assert files[0] == files[1]
