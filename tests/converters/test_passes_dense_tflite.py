"""Quantization passes on a dense TFLite net written by hand, as old as they come: no signature, narrow op codes."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit_converters.files import open_model
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes import apply_recipe, recipe_for
from edgekit_converters.recipe import Converted, PassContext
from edgekit_runtime.manifest import Binding

from ..dense import LAYERS, dense_tflite
from ..dense import TFLITE_WIDTH as WIDTH

LIMITS = TargetLimits(("tflite",))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Converted:
    path = tmp_path_factory.mktemp("dense") / "dense.tflite"
    path.write_bytes(dense_tflite())
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


def test_a_recipe_with_settings_replays_to_the_same_bytes(model, tmp_path):
    recipe = [{"pass": "tflite-int8", "method": "average"}]
    first = apply_recipe(recipe, model, _context(tmp_path))
    expected = first.path.read_bytes()
    assert apply_recipe(first.recipe, model, _context(tmp_path)).path.read_bytes() == expected


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_ranges_do_not_depend_on_the_order_of_samples(model, method, tmp_path):
    files = []
    for samples in (_inputs(12, 1), _inputs(12, 1)[::-1]):
        context = PassContext(LIMITS, tmp_path, lambda samples=samples: ({"x": x} for x in samples))
        files.append(apply_recipe([{"pass": "tflite-int8", "method": method}], model, context).path.read_bytes())
    assert files[0] == files[1]


def test_a_broken_sample_does_not_spoil_ranges_by_percentile(model, tmp_path):
    samples = _inputs(500, 1)
    samples[7, 0, 5] = 500.0  # and all that follows from it: 0.2 % of every layer's values
    context = PassContext(LIMITS, tmp_path, lambda: ({"x": x} for x in samples))
    quality = {}
    for method in ("minmax", "percentile"):
        recipe = [{"pass": "tflite-int8", "method": method, "percentile": 99.5}]
        quality[method] = _quality(model, apply_recipe(recipe, model, context))
    assert quality["percentile"] > quality["minmax"] + 10


def test_weights_alone_need_no_samples_and_shrink_the_file(model, tmp_path):
    size, quality = {}, {}
    for precision in ("w8", "w4"):
        made = apply_recipe(recipe_for(precision, "tflite", LIMITS), model, PassContext(LIMITS, tmp_path))
        size[precision], quality[precision] = made.path.stat().st_size, _quality(model, made)
    whole = model.path.stat().st_size
    assert size["w8"] < whole / 3 and size["w4"] < whole / 5
    assert quality["w8"] > 35 and quality["w8"] > quality["w4"] > 12
