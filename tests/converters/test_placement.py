"""Where operators run: predictions against really compiled files, operator tables, and damaged files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit_converters.errors import ConversionError, SourceError, UsageError
from edgekit_converters.placement import OpPlacement, Placement, integer_kernels
from edgekit_converters.placement.edgetpu import UNIT, op_table, predict
from edgekit_converters.placement.edgetpu_compiled import compiled_placement, read_compiled
from edgekit_converters.placement.edgetpu_compiler import compile_and_compare, parse_log
from edgekit_converters.placement.edgetpu_limits import LIMITS
from edgekit_converters.placement.tensorrt import check, tables
from edgekit_converters.placement.xnnpack import measure

# names alone, so that collecting needs no assets; `test_every_pair_is_tried` holds them to the list
PAIRS = (
    "LibrEdgeTPU__bright_128x128",
    "LibrEdgeTPU__dense_256",
    "LibrEdgeTPU__looming_64x64_3x3",
    "bodypix__bodypix_mobilenet_v1_075_480_352_16_quant_decoder",
    "edgetpu__deeplabv3_mnv2_pascal_quant",
    "edgetpu__mobilenet_v2_1.0_224_inat_bird_quant",
    "test_data__deeplabv3_mnv2_dm05_pascal_quant",
    "test_data__keras_lstm_mnist_ptq",
    "test_data__mobilenet_v1_0.25_128_quant",
    "test_data__mobilenet_v1_1.0_224_quant_embedding_extractor",
    "test_data__posenet_mobilenet_v1_075_353_481_16_quant_decoder",
)
DEEPLAB, BIRD, LOOMING, DENSE = PAIRS[6], PAIRS[5], PAIRS[2], PAIRS[1]


def pair(assets: Path, name: str) -> tuple[Path, Path]:
    folder = assets / "coral_pairs"
    return folder / f"{name}.tflite", folder / f"{name}_edgetpu.tflite"


def test_every_pair_is_tried(assets):
    listed = json.loads((assets / "coral_pairs/LIST.json").read_text())
    assert sorted(PAIRS) == sorted(row["name"] for row in listed)


@pytest.mark.parametrize("name", PAIRS)
def test_the_prediction_is_what_the_compiler_did(assets, name):
    source, compiled = pair(assets, name)
    predicted, found = predict(source), compiled_placement(compiled, source)
    assert found.origin == "compiled" and predicted.origin == "predicted"
    assert [(o.index, o.op, o.unit) for o in predicted.ops] == [(o.index, o.op, o.unit) for o in found.ops]
    assert all(bool(o.reason) == (o.unit == "CPU") for o in (*predicted.ops, *found.ops))
    for what in ("cached", "streamed"):
        assert abs(predicted.bytes[what] - found.bytes[what]) <= 0.1 * found.bytes[what], what


def test_a_compiled_file_names_its_runtime_and_what_stayed(assets):
    source, compiled = pair(assets, DEEPLAB)
    facts = read_compiled(compiled)
    assert facts.min_runtime == 12 and facts.cached == 766_720 and facts.streamed == 0
    assert [kind for kind, _ in facts.on_cpu][:2] == ["RESIZE_BILINEAR", "QUANTIZE"] and len(facts.on_cpu) == 8
    assert read_compiled(pair(assets, BIRD)[1]).cycles > 0
    alone = compiled_placement(compiled)
    assert alone.accelerated == 1 and len(alone.ops) == 9
    with pytest.raises(SourceError, match="not made from"):
        compiled_placement(compiled, pair(assets, BIRD)[0])
    with pytest.raises(SourceError, match="is not compiled"):
        read_compiled(source)
    with pytest.raises(SourceError, match="compiled for the Edge TPU already"):
        predict(compiled)


def test_behind_an_operator_on_the_cpu_nothing_returns(assets):
    found = predict(pair(assets, DEEPLAB)[0])
    reasons = {o.index: o.reason for o in found.ops if o.reason}
    assert min(reasons) == 64 and "33" in reasons[64]
    assert "RESIZE_BILINEAR (number 64)" in reasons[67] and "one subgraph" in reasons[67]
    assert found.in_words() == "64 of 72 ops on the Edge TPU (predicted)"


def changed(path: Path, target: Path, change) -> Path:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))
    return target


def _newer(model, graph):
    for code in model.operatorCodes:
        code.version += 10


def _float(model, graph):
    for tensor in graph.tensors:
        tensor.type = 0


def _batch(model, graph):
    for tensor in graph.tensors:
        if tensor.shape is not None and len(tensor.shape) == 4 and tensor.shape[0] == 1:
            tensor.shape = np.array([2, *tensor.shape[1:]], np.int32)


def _open(model, graph):
    graph.tensors[graph.inputs[0]].shapeSignature = np.array([1, -1, -1, 1], np.int32)


def _fused(model, graph):
    for op in graph.operators:
        if type(op.builtinOptions).__name__ == "Pool2DOptionsT":
            op.builtinOptions.fusedActivationFunction = 1


@pytest.mark.parametrize(
    ("change", "said", "first"),
    [
        (_newer, "newer than the compiler reads", 0),
        (_float, "unsupported data type", 0),
        (_batch, "batch of 2", 0),
        (_open, "not fixed", 0),
        (_fused, "fused activation", 6),
    ],
)
def test_what_the_compiler_refuses_is_named(assets, tmp_path, change, said, first):
    found = predict(changed(pair(assets, LOOMING)[0], tmp_path / "a.tflite", change))
    left = [o for o in found.ops if o.unit == "CPU"]
    assert left[0].index == first and said in left[0].reason and len(left) == len(found.ops) - first


def test_the_tables_name_source_date_and_limits_that_there_are():
    assert op_table()["source"] and op_table()["date"] and tables()["source"] and tables()["date"]
    used = {name for row in op_table()["ops"].values() for name in row.get("limits", ())}
    assert used == set(LIMITS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_in_one_sentence(assets, tmp_path, data):
    compiled = data.draw(st.booleans())
    content = bytearray(pair(assets, DENSE)[compiled].read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 12))):
        if content:
            content[data.draw(st.integers(0, min(len(content), 4000) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    try:
        found = compiled_placement(path) if compiled else predict(path)
    except SourceError as error:
        assert "\n" not in str(error) and path.name in str(error)
    else:
        assert 0 <= found.offload <= 1


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 64])
def test_what_is_no_tflite_file_is_refused(tmp_path, content):
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    for read in (predict, read_compiled, measure):
        with pytest.raises(SourceError, match=r"bad\.tflite"):
            read(path)
    with pytest.raises(SourceError, match="cannot read"):
        predict(tmp_path / "none.tflite")


# -- the compiler ------------------------------------------------------------------------------------------------------

LOG = """Edge TPU Compiler version 16.0.384591198
Model compiled successfully in 100 ms.

Input model: a.tflite
On-chip memory used for caching model parameters: 4.49MiB
On-chip memory remaining for caching model parameters: 3.01MiB
Off-chip memory used for streaming uncached model parameters: 512.00B

Operator                       Count      Status

CONV_2D                        {conv}          Mapped to Edge TPU
CONV_2D                        1          More than one subgraph is not supported
DEQUANTIZE                     1          Operation is working on an unsupported data type
"""


def test_the_compilers_log_is_read():
    log = parse_log(LOG.format(conv=7))
    assert log.version == "16.0.384591198" and log.mapped == {"CONV_2D": 7}
    assert log.counts["CONV_2D", "More than one subgraph is not supported"] == 1
    assert log.bytes == {"cached": round(4.49 * 2**20), "streamed": 512}
    assert parse_log("nonsense").counts == {}


def stand_in(folder: Path, script: str) -> None:
    """A program on PATH that says it is the compiler, and is not."""
    program = folder / "edgetpu_compiler"
    program.write_text(f"#!/bin/sh\n# stand-in for the Edge TPU compiler, which no package index has\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_what_the_compiler_wrote_is_held_against_the_prediction(assets, tmp_path, monkeypatch):
    source, compiled = pair(assets, DEEPLAB)
    (tmp_path / "log").write_text(LOG.format(conv=7))
    stand_in(tmp_path, f'cp "{compiled}" "$3/{source.stem}_edgetpu.tflite"; cat "{tmp_path}/log"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = compile_and_compare(source)
    assert found.origin == "compiled" and found.accelerated == 64 and found.bytes["cached"] == 766_720
    said = " ".join(found.notes)
    assert "agrees on every operator" in said and "16.0.384591198" in said and "counts 7" in said
    stand_in(tmp_path, "echo 'Internal compiler error. Aborting!' >&2; exit 1")
    with pytest.raises(ConversionError, match="Internal compiler error"):
        compile_and_compare(source)


# -- TensorRT ----------------------------------------------------------------------------------------------------------


def onnx_of(path: Path, nodes: list, constants: list = (), opset: int = 17, **domains: int) -> Path:
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(constants))
    imports = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(d.replace("_", "."), v) for d, v in domains.items()),
    ]
    save(helper.make_model(graph, opset_imports=imports), str(path))
    return path


def reason(path: Path, version: str = "10.3") -> str:
    return next((o.reason for o in check(path, version).ops if o.reason), "")


@pytest.mark.parametrize(
    ("kind", "version", "said"),
    [
        ("Relu", "8.5", ""),
        ("LayerNormalization", "8.5", "from 8.6 on"),
        ("LayerNormalization", "8.6", ""),
        ("Hardmax", "8.6", "from 9.2 on"),
        ("STFT", "10.3", "from 10.5 on"),
        ("STFT", "10.15", ""),
        ("QLinearConv", "10.15", "QDQ only"),
        ("DynamicQuantizeLinear", "10.3", "QDQ only"),
        ("MatMulInteger", "8.5", "QDQ only"),
        ("Unique", "10.15", "does not have this operator"),
    ],
)
def test_operators_are_held_against_the_versions_table(tmp_path, kind, version, said):
    from onnx import helper

    path = onnx_of(tmp_path / "a.onnx", [helper.make_node(kind, ["x"], ["y"])])
    found = reason(path, version)
    assert said in found and bool(said) == bool(found)


def quantized(path: Path, kind: str, zero: list[int] | None) -> Path:
    from onnx import TensorProto, helper

    constants = [helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])]
    if zero is not None:
        constants.append(helper.make_tensor("z", getattr(TensorProto, kind), [len(zero)], zero))
    inputs = ["x", "s", *(["z"] if zero is not None else [])]
    return onnx_of(path, [helper.make_node("QuantizeLinear", inputs, ["y"])], constants)


@pytest.mark.parametrize(
    ("kind", "zero", "said"),
    [("INT8", [0, 0], ""), ("INT8", [0, 3], "symmetric"), ("UINT8", [128], "signed"), ("INT8", None, "uint8")],
)
def test_quantization_must_be_signed_and_symmetric(tmp_path, kind, zero, said):
    found = reason(quantized(tmp_path / "a.onnx", kind, zero))
    assert said in found and bool(said) == bool(found)


def test_restrictions_opset_and_foreign_domains(tmp_path):
    from onnx import helper

    node = helper.make_node
    resize = node("Resize", ["x", "", "", "n"], ["y"], mode="cubic")
    assert "cubic" in reason(onnx_of(tmp_path / "a.onnx", [resize]))
    pool = node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])
    assert "indices" in reason(onnx_of(tmp_path / "b.onnx", [pool]))
    relu = node("Relu", ["x"], ["y"])
    assert "opset 19" in reason(onnx_of(tmp_path / "c.onnx", [relu], opset=19), "8.6")
    assert reason(onnx_of(tmp_path / "c.onnx", [relu], opset=19)) == ""
    foreign = node("Gelu", ["x"], ["y"], domain="com.microsoft")
    assert "com.microsoft" in reason(onnx_of(tmp_path / "d.onnx", [foreign], com_microsoft=1))
    with pytest.raises(UsageError, match="no operator table"):
        check(tmp_path / "c.onnx", "7.1")
    for content in (b"", b"not onnx", b"\x08\x07" * 50):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(SourceError, match=r"bad\.onnx"):
            check(tmp_path / "bad.onnx")
    with pytest.raises(SourceError, match="cannot read"):
        check(tmp_path / "none.onnx")


# -- XNNPACK and gates -------------------------------------------------------------------------------------------------


def test_xnnpack_is_asked_not_guessed(assets):
    found = measure(pair(assets, BIRD)[0])
    assert found.origin == "measured here" and found.accelerated > 60
    assert {o.op for o in found.ops if o.unit == "XNNPACK"} >= {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD"}
    assert "SOFTMAX" in {o.op for o in found.ops if o.unit == "CPU"}  # quantized: XNNPACK has none
    with pytest.raises(SourceError, match="PosenetDecoderOp"):
        measure(pair(assets, PAIRS[10])[0])


def in_integers(folder: Path, dynamic: bool = False) -> Path:
    """Convolution, pooling and product in integers, with an Erf between them that has no integer kernel."""
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    draw = np.random.default_rng(0).normal
    weights = [
        numpy_helper.from_array(draw(size=s).astype(np.float32), n) for n, s in (("w", (4, 3, 3, 3)), ("m", (100, 5)))
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["a"]),
        onnx.helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2]),
        onnx.helper.make_node("Erf", ["b"], ["c"]),
        onnx.helper.make_node("Flatten", ["c"], ["d"]),
        onnx.helper.make_node("MatMul", ["d", "m"], ["y"]),
    ]
    ends = [[onnx.helper.make_tensor_value_info(n, 1, s)] for n, s in (("x", [1, 3, 8, 8]), ("y", [1, 5]))]
    graph = onnx.helper.make_graph(nodes, "g", *ends, weights)
    source, made = folder / "float.onnx", folder / "made.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), source)

    class Samples(CalibrationDataReader):
        left = 3

        def get_next(self):
            self.left -= 1
            return {"x": draw(size=(1, 3, 8, 8)).astype(np.float32)} if self.left else None

    if dynamic:
        quantize_dynamic(source, made)
    else:
        quantize_static(source, made, Samples(), activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)
    return made


def test_onnxruntime_is_asked_which_operators_compute_with_integers(tmp_path):
    ops = integer_kernels.measure(in_integers(tmp_path))
    units = {}
    for op in ops.ops:
        units.setdefault(op.unit, []).append(op.op)
    assert {"QLinearConv", "QLinearMatMul"} <= set(units[ops.unit]) and any("MaxPool" in op for op in units[ops.unit])
    assert {"Erf", "QuantizeLinear", "DequantizeLinear"} <= set(units["CPU"])
    assert "Conv" not in units["CPU"] and 0 < ops.offload < 1 and "first Erf" in ops.broken(None, True)
    dynamic = integer_kernels.measure(in_integers(tmp_path, dynamic=True))
    assert {o.op for o in dynamic.ops if o.unit == dynamic.unit} == {"ConvInteger", "DynamicQuantizeMatMul"}
    plain = integer_kernels.measure(tmp_path / "float.onnx")
    assert plain.accelerated == 0 and {o.reason for o in plain.ops} == {"computes in float"}
    for content in (b"", b"not onnx"):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(SourceError, match=r"refuses bad\.onnx"):
            integer_kernels.measure(tmp_path / "bad.onnx")


def test_gates():
    ops = [OpPlacement(0, "QUANTIZE", "CPU", "float"), OpPlacement(1, "CONV_2D", UNIT), OpPlacement(2, "ADD", UNIT)]
    good = Placement(UNIT, tuple(ops))
    assert good.offload == pytest.approx(2 / 3) and not good.broken(0.6, True)
    assert "66.7%" in good.broken(0.7)
    bad = Placement(UNIT, (*ops, OpPlacement(3, "ARG_MAX", "CPU", "there is none")))
    assert "ARG_MAX (number 3: there is none)" in bad.broken(None, True) and not bad.broken()
    assert Placement(UNIT, ()).broken(0.1) and Placement(UNIT, ()).broken(None, True)
