"""Frozen graphs as QDQ ONNX: whole-number weights in the file, biases in int32, nothing left between for a kernel."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.files import versions
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.onnx_file import tidy
from edgekit_converters.recipe import Converted
from edgekit_converters.source import Source


def export(source: Source, frozen: Any, folder: Path, limits: TargetLimits) -> Converted:
    """See `qat.to_onnx`."""
    import onnx

    from edgekit_converters.sources.torch import TorchSource
    from edgekit_converters.sources.torch import to_onnx as lower

    assert isinstance(source, TorchSource)  # noqa: S101 - only they have a module to train
    names = [i.name for i in source.inputs]
    free = source.inputs[0].shape[0] == -1
    bare = TorchSource(source.name, source.sha256, _exportable(frozen), source.examples, free, names)
    bare.outputs = source.outputs
    converted = lower(bare, folder, limits)
    target = folder / "onnx-qat-int8.onnx"
    model = onnx.load(str(converted.path))
    fold(model, biases=not _any_signed(frozen))
    onnx.save(model, str(target))
    tidy(target, limits)
    entry = {"pass": "qat", "precision": "int8"}
    tools = {**converted.tools, **versions("torch", "onnx", "onnxscript")}
    return replace(converted, path=target, precision="int8", recipe=(*converted.recipe, entry), tools=tools)


def _any_signed(frozen: Any) -> bool:
    """Whether activations are signed; TensorRT, which wants that, quantizes biases itself."""
    from edgekit_converters.slim.fake_quant import FrozenQuantizer
    from edgekit_converters.slim.qat_graph import quantizers

    return any(q.lowest < 0 for _, q in quantizers(frozen, FrozenQuantizer))


def _exportable(frozen: Any) -> Any:
    """The graph as it is exported: without rectifiers whose clipping the rounding behind them does anyway."""
    from edgekit_converters.slim.fake_quant import ExportQuantizer, FrozenQuantizer
    from edgekit_converters.slim.qat_graph import RECTIFIERS, quantizers, tidied

    graph = copy.deepcopy(frozen)
    for node, quantizer in list(quantizers(graph, FrozenQuantizer)):
        steps = (quantizer.scale, quantizer.zero_point, quantizer.lowest, quantizer.low, quantizer.high)
        graph.set_submodule(node.target, ExportQuantizer(*steps))
        rectifier = node.args[0]
        if rectifier.target not in RECTIFIERS or len(rectifier.users) != 1 or quantizer.zero_point != quantizer.lowest:
            continue
        low, high = 0.0, float("inf")
        if "hardtanh" in str(rectifier.target):
            low, high = (float(a) for a in (*rectifier.args[1:], -1.0, 1.0)[:2])
        # half a step of slack: what lies above the last step is rounded to it
        if low == 0.0 and quantizer.high <= high + quantizer.scale / 2:
            node.replace_input_with(rectifier, rectifier.args[0])
    tidied(graph)
    return graph


def fold(model: Any, biases: bool) -> None:
    """Store quantized weights as whole numbers, and biases of int8 layers as int32.

    Args:
        model: ``onnx.ModelProto``, changed in place.
        biases: Whether biases are quantized too.
    """
    from onnx import numpy_helper

    graph = model.graph
    values = {t.name: t for t in graph.initializer}
    makers = {o: n for n in graph.node for o in n.output}
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        values[node.output[0]] = node.attribute[0].t
    for node in [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in values]:
        weight, scale, zero = (numpy_helper.to_array(values[name]) for name in node.input)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)] if scale.ndim else []
        whole = np.rint(weight / scale.reshape(shape)) + zero.reshape(shape)
        ends = np.iinfo(zero.dtype)
        stored = numpy_helper.from_array(np.clip(whole, ends.min, ends.max).astype(zero.dtype), node.output[0])
        graph.initializer.append(stored)
        values[node.output[0]] = stored
        _own_zeros(graph, node.output[0], zero)
        graph.node.remove(node)
    for node in [n for n in graph.node if n.op_type in ("Conv", "Gemm") and len(n.input) > 2] if biases else []:
        given, weights = makers.get(node.input[0]), makers.get(node.input[1])
        if not _dequantizes(given) or not _dequantizes(weights) or node.input[2] not in values:
            continue
        steps = _value(values, given, 1) * _value(values, weights, 1).reshape(-1)
        bias = numpy_helper.to_array(values[node.input[2]])
        if bias.ndim == 1 and steps.size in (1, bias.size):
            _whole_bias(graph, node, bias, np.broadcast_to(steps, bias.shape))
    _drop_unused(graph)


def _own_zeros(graph: Any, weight: str, zero: np.ndarray) -> None:
    """Zero points of its own for a weight: onnxruntime's conversion to unsigned weights stumbles over shared ones."""
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(zero, f"{weight}_zero"))
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == weight:
            node.input[2] = f"{weight}_zero"


def _dequantizes(node: Any) -> bool:
    return node is not None and node.op_type == "DequantizeLinear"


def _value(values: Any, node: Any, place: int) -> np.ndarray:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(values[node.input[place]]))


def _whole_bias(graph: Any, node: Any, bias: np.ndarray, steps: np.ndarray) -> None:
    from onnx import helper, numpy_helper

    whole = np.clip(np.rint(bias.astype(np.float64) / steps), -(2**31), 2**31 - 1).astype(np.int32)
    name = f"{node.output[0]}_bias"
    graph.initializer.extend(
        numpy_helper.from_array(array, f"{name}_{part}")
        for part, array in (("whole", whole), ("step", steps.astype(np.float32)), ("zero", np.zeros_like(whole)))
    )
    inputs = [f"{name}_{part}" for part in ("whole", "step", "zero")]
    made = helper.make_node("DequantizeLinear", inputs, [name], f"{name}_dequantize", axis=0)
    graph.node.insert(list(graph.node).index(node), made)
    node.input[2] = name


def _drop_unused(graph: Any) -> None:
    used = {name for n in graph.node for name in n.input} | {o.name for o in graph.output}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
