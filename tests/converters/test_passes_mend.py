"""Equalisation, bias correction, ends kept in float, and the order of the ladder: what each promises."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.files import open_model
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes import apply_recipe
from edgekit_converters.passes.equalise_onnx import equalise_onnx
from edgekit_converters.passes.equalise_tflite import equalise_tflite
from edgekit_converters.passes.ladder import rungs
from edgekit_converters.passes.onnx_file import prepare
from edgekit_converters.passes.outline import outline
from edgekit_converters.passes.tflite_file import TfliteFile, inline
from edgekit_converters.recipe import Converted, PassContext
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.sensitivity import layer_errors, output_sqnr
from edgekit_converters.source import SourceRequest
from edgekit_converters.tap import open_tap
from edgekit_runtime.manifest import Binding

from ..dense import weights
from ..models import LIMITS, calibration

SHAPE = (1, 3, 12, 12)
ONNX = TargetLimits(("onnx",))


def network(path, nodes, constants, ends: dict[str, tuple[int, ...]]) -> Converted:
    """An ONNX file that takes ``x`` of `SHAPE` and gives `ends`."""
    onnx_nodes = [
        helper.make_node(op, inputs, [output], output, **attributes) for op, inputs, output, attributes in nodes
    ]
    take = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    give = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()]
    stored = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()]
    graph = helper.make_graph(onnx_nodes, "net", [take], give, stored)
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(made)
    onnx.save(made, str(path))
    outputs = tuple(Binding(name, name, shape) for name, shape in ends.items())
    return Converted(path, "onnx", "fp32", (Binding("x", "x", SHAPE),), outputs)


def chain(path, factors=1.0, between: str = "Relu") -> Converted:
    """conv → `between` → depthwise → Relu → conv, whose first channels are out of proportion by `factors`."""
    first, middle = weights(0, 8, 3, 3, 3), weights(1, 8, 1, 3, 3)
    first = first * np.reshape(factors, (-1, 1, 1, 1))
    middle = middle / np.reshape(factors, (-1, 1, 1, 1))
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        ("Conv", ["x", "a", "ab"], "c1", same),
        (between, ["c1"], "r1", {}),
        ("Conv", ["r1", "d", "db"], "c2", {**same, "group": 8}),
        ("Relu", ["c2"], "r2", {}),
        ("Conv", ["r2", "e", "eb"], "y", same),
    ]
    constants = {
        "a": first,
        "ab": np.linspace(-0.3, 0.5, 8) * np.reshape(factors, -1),
        "d": middle,
        "db": np.linspace(0.1, 0.4, 8),
        "e": weights(2, 4, 8, 3, 3),
        "eb": np.zeros(4),
    }
    return network(path, nodes, constants, {"y": (1, 4, 12, 12)})


def context(folder, count: int = 16, limits=ONNX, seed: int = 1) -> PassContext:
    generator = np.random.default_rng(seed)
    samples = [{"x": generator.normal(size=SHAPE).astype(np.float32)} for _ in range(count)]
    return PassContext(limits, folder, lambda: samples)


def answers(path, count: int = 6) -> np.ndarray:
    session = open_model(path, "onnx")
    generator = np.random.default_rng(9)
    made = [np.array(session.run([generator.normal(size=SHAPE).astype(np.float32)])[0]) for _ in range(count)]
    session.close()
    return np.stack(made)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(1e-2, 1e2), min_size=8, max_size=8))
def test_equalising_changes_the_weights_and_not_one_bit_of_the_answers(tmp_path, factors):
    model = chain(tmp_path / "net.onnx", np.array(factors))
    path = prepare(model.path, tmp_path, ONNX)
    before = answers(path)
    weights_before = path.read_bytes()
    try:
        assert equalise_onnx(path, path) > 0
    except ConversionError as error:
        assert "even already" in str(error)
        return
    assert path.read_bytes() != weights_before
    assert np.array_equal(answers(path), before)


def test_equalising_a_tflite_file_changes_not_one_bit_either(tflite_file, tmp_path):
    source = load_source(SourceRequest(str(tflite_file)))
    model = conversion("tflite", "tflite")(source, tmp_path, LIMITS)
    file = TfliteFile(model.path)
    first = next(o for o in file.graph.operators if file.op(o) == "CONV_2D")
    for index in (int(i) for i in first.inputs[1:]):
        loud = file.constant(index)
        loud[2] *= 4096
        file.set_constant(index, loud)
    file.save(tmp_path / "loud.tflite")
    assert equalise_tflite(tmp_path / "loud.tflite", tmp_path / "even.tflite") > 0
    loud, even = (open_tap(tmp_path / f"{name}.tflite", "tflite") for name in ("loud", "even"))
    binding, last = model.inputs[0], loud.steps[-1].outputs[0]
    for sample in calibration(3, tuple(abs(e) for e in binding.shape), binding.name):
        assert np.array_equal(loud.run(sample)[last], even.run(sample)[last])
    weights_now = np.abs(TfliteFile(tmp_path / "even.tflite").constant(int(first.inputs[1])))
    assert weights_now[2].max() < 400 * weights_now[0].max(), "4096 was shared out among the two layers"


def test_a_channel_out_of_proportion_is_repaired(tmp_path):
    factors = np.ones(8)
    factors[3] = 1000.0
    model = chain(tmp_path / "net.onnx", factors)
    quality, dead = {}, {}
    for even in (False, True):
        made = apply_recipe([{"pass": "onnx-int8", "equalise": even}], model, context(tmp_path))
        quality[even] = output_sqnr(model, made, context(tmp_path, seed=2).samples())
        dead[even] = max(e.dead for e in layer_errors(model, made, context(tmp_path, seed=2).samples()))
    assert dead[False] > 0.5 and dead[True] == 0
    assert quality[True] > 25 and quality[True] > quality[False] + 10


def test_where_an_activation_minds_the_scale_equalising_says_what_is_in_the_way(tmp_path):
    nodes = [("Conv", ["x", "a"], "c", {}), ("Sigmoid", ["c"], "s", {}), ("Conv", ["s", "b"], "y", {})]
    constants = {"a": weights(0, 8, 3, 3, 3), "b": weights(1, 4, 8, 3, 3)}
    model = network(tmp_path / "net.onnx", nodes, constants, {"y": (1, 4, 8, 8)})
    with pytest.raises(ConversionError, match=r"can be equalised \(in the way: Sigmoid\).*leave equalise out"):
        apply_recipe([{"pass": "onnx-int8", "equalise": True}], model, context(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def shift(model: Converted, made: Converted) -> float:
    """Largest mean difference of an output channel, in units of its spread."""
    given, found = answers(model.path, 24), answers(made.path, 24)
    axes = (0, 1, 3, 4)
    return float(np.max(np.abs((found - given).mean(axes)) / given.std(axes)))


def test_correcting_biases_takes_back_the_mean_shift(tmp_path):
    model = chain(tmp_path / "net.onnx")
    moved = {}
    for correct in (False, True):
        recipe = [{"pass": "onnx-int8", "per_channel": False, "correct_biases": correct}]
        moved[correct] = shift(model, apply_recipe(recipe, model, context(tmp_path, 32)))
    assert moved[True] < moved[False] / 2


def test_correcting_biases_of_tflite_takes_back_the_mean_shift(tflite_file, tmp_path):
    source = load_source(SourceRequest(str(tflite_file)))
    model = conversion("tflite", "tflite")(source, tmp_path, LIMITS)
    info = source.inputs[0]
    samples = calibration(48, tuple(1 if e == -1 else e for e in info.shape), info.name)
    means = {}
    for correct in (False, True):
        recipe = [{"pass": "tflite-int8", "correct_biases": correct}]
        made = apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, lambda: samples))
        sums = []
        for path, bindings in ((model.path, model), (made.path, made)):
            session = open_model(path, "tflite")
            sums.append(np.mean([session.run(list(s.values()))[0] for s in samples], axis=0))
            session.close()
            assert bindings.outputs[0].dtype == "float32"
        means[correct] = float(np.abs(sums[1] - sums[0]).mean())
    assert means[True] < means[False]


def test_one_broken_sample_does_not_move_the_biases(tmp_path):
    model = chain(tmp_path / "net.onnx")
    samples = list(context(tmp_path, 32).samples())
    broken = [*samples[:-1], {name: value * 1e4 for name, value in samples[-1].items()}]
    moved = []
    for some in (samples, broken):
        # ranges by percentile clip the broken one, which would shift the mean of everything
        recipe = [{"pass": "onnx-int8", "method": "percentile", "percentile": 90.0}]
        made = apply_recipe(recipe, model, PassContext(LIMITS, tmp_path, lambda some=some: some))
        moved.append(output_sqnr(model, made, samples[:8]))
    assert moved[1] > moved[0] - 3


def test_constants_behind_the_flatbuffer_are_taken_inside(tflite_file, tmp_path):
    """ai-edge-quantizer leaves them there, where the schema's own reader and older interpreters do not look."""
    source = load_source(SourceRequest(str(tflite_file)))
    model = conversion("tflite", "tflite")(source, tmp_path, LIMITS)
    file = TfliteFile(model.path)
    largest = max((b for b in file.model.buffers if b.data is not None), key=lambda b: len(b.data))
    weight = bytes(bytearray(largest.data))
    largest.data, largest.offset, largest.size = None, 1, 1  # the head becomes as long as with the real ones
    largest.offset, largest.size = -(-len(file.content()) // 16) * 16, len(weight)
    (tmp_path / "outside.tflite").write_bytes(file.content().ljust(largest.offset, b"\0") + weight)
    inline(tmp_path / "outside.tflite")
    buffers = TfliteFile(tmp_path / "outside.tflite").model.buffers
    assert not any(b.offset or b.size for b in buffers)
    assert weight in [bytes(bytearray(b.data)) for b in buffers if b.data is not None]
    sample = calibration(1, tuple(1 if e == -1 else e for e in source.inputs[0].shape), source.inputs[0].name)[0]
    answers_of = []
    for path in (model.path, tmp_path / "outside.tflite"):
        session = open_model(path, "tflite")
        answers_of.append(session.run(list(sample.values()))[0])
        session.close()
    assert np.array_equal(*answers_of)


def test_a_layer_that_is_left_in_float_keeps_its_weights_on_the_interpreter(tmp_path):
    """onnxruntime would round them with one scale for all channels, between whole numbers on both sides."""
    factors = np.ones(8)
    factors[3] = 1e-3  # loud in the middle layer's weights
    model = chain(tmp_path / "net.onnx", factors)
    middle = outline(model).weighted[1]
    quality = []
    for exclude in ([], [middle]):
        made = apply_recipe([{"pass": "onnx-int8", "exclude": exclude}], model, context(tmp_path, 16))
        quality.append(output_sqnr(model, made, context(tmp_path, seed=2).samples()))
    assert quality[1] > quality[0] - 1


def detector(path) -> Converted:
    """A head that joins boxes in 0..640 with scores in 0..1, as YOLO's exports do."""
    constants = {
        "a": weights(0, 16, 3, 3, 3), "b": weights(1, 4, 16, 1, 1), "s": weights(2, 6, 16, 1, 1), "size": [640.0],
        "ab": np.zeros(16), "bb": np.zeros(4), "sb": np.zeros(6),
    }  # fmt: skip
    nodes = [
        ("Conv", ["x", "a", "ab"], "c", {"pads": [1, 1, 1, 1]}),
        ("Relu", ["c"], "r", {}),
        ("Conv", ["r", "b", "bb"], "box", {}),
        ("Sigmoid", ["box"], "unit", {}),
        ("Mul", ["unit", "size"], "pixels", {}),
        ("Conv", ["r", "s", "sb"], "logits", {}),
        ("Sigmoid", ["logits"], "scores", {}),
        ("Concat", ["pixels", "scores"], "y", {"axis": 1}),
    ]
    return network(path, nodes, constants, {"y": (1, 10, 12, 12)})


def test_boxes_and_scores_that_share_a_scale_collapse_and_ends_in_float_repair_them(tmp_path):
    model = detector(tmp_path / "net.onnx")
    shape = outline(model)
    assert shape.joins and set(shape.tail) == {"unit", "pixels", "scores", "y"}
    scores = {}
    for name, exclude in (("plain", ()), ("ends", shape.tail)):
        recipe = [{"pass": "onnx-int8", "exclude": list(exclude)}]
        made = apply_recipe(recipe, model, context(tmp_path))
        given, found = (answers(p)[:, 0, 4:] for p in (model.path, made.path))
        scores[name] = float(np.abs(given - found).max())
    assert scores["plain"] > 0.3 and scores["ends"] < 0.05
    offered = [r for r in rungs(model, ONNX, context(tmp_path)) if r.name == "int8, ends in float"]
    assert offered and set(offered[0].recipe[0]["exclude"]) == set(shape.tail)


def test_the_ladder_begins_with_what_costs_nothing_and_every_rung_is_plain_data(tmp_path):
    factors = np.ones(8)
    factors[3] = 300.0
    model = chain(tmp_path / "net.onnx", factors)
    limits = replace(ONNX, precisions=("int8", "fp16", "fp32"))
    climbed = list(rungs(model, limits, context(tmp_path)))
    names = [r.name for r in climbed]
    assert names[0] == "int8" and names[-1] == "fp16" and len(set(names)) == len(names)
    assert "int8, equalised" in names
    costs = [r.cost for r in climbed]
    assert costs == sorted(costs, key=("none", "some latency", "latency, some size", "size").index)
    for rung in climbed:
        made = apply_recipe(rung.recipe, model, context(tmp_path))
        assert made.path.exists() and [e["pass"] for e in made.recipe] == [e["pass"] for e in rung.recipe]
    assert [r.recipe for r in rungs(model, limits, context(tmp_path))] == [r.recipe for r in climbed]
    assert {p.name for p in tmp_path.iterdir()} == {"net.onnx", "onnx-int8.onnx", "onnx-fp16.onnx"}


def test_a_rung_is_worked_out_only_when_it_is_reached(tmp_path):
    def samples():
        raise AssertionError("nobody asked for samples yet")

    limits = replace(ONNX, precisions=("int8",))
    first = next(rungs(chain(tmp_path / "net.onnx"), limits, PassContext(limits, tmp_path, samples)))
    assert first.recipe == ({"pass": "onnx-int8"},)


def test_targets_get_what_they_can_run(tmp_path):
    model = chain(tmp_path / "net.onnx")
    no_samples = list(rungs(model, ONNX, PassContext(ONNX, tmp_path)))
    assert no_samples == []
    signed = replace(ONNX, signed_activations=True, precisions=("int8", "w8a16"))
    climbed = list(itertools.islice(rungs(model, signed, context(tmp_path, limits=signed)), 3))
    assert all(r.recipe[0]["signed_activations"] for r in climbed)
    assert list(rungs(replace(model, precision="int8"), ONNX, context(tmp_path))) == []


def test_bad_samples_end_the_climb_in_words(tmp_path):
    model = chain(tmp_path / "net.onnx")
    climb = rungs(model, ONNX, PassContext(ONNX, tmp_path, lambda: []))
    assert next(climb).name == "int8"
    with pytest.raises(UsageError, match="samples"):
        next(climb)
