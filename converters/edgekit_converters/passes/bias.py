"""Bias correction: rounding weights and inputs shifts the mean of what a layer gives; its bias takes that back.

Nagel et al. 2019, arXiv 1906.04721, section 4.2: ``b' = b - E[y_quantized - y_float]`` for each output channel, before
the activation. The expectation is taken over samples (the paper's empirical variant), each layer on the float model's
own tensors rounded as the quantized file does, so all layers are measured in one go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.alone import CUT, cut_onnx, cut_wires
from edgekit_converters.passes.tflite_file import TfliteFile
from edgekit_converters.tap import OnnxTap, Steps, TfliteTap, open_tap, steps_of

_WEIGHTED = {"Conv": 1, "Gemm": 1, "MatMul": -1}
"""ONNX operators with weights, and the axis of their outputs that are channels."""
_TFLITE_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


_ENOUGH = 64
"""Samples whose means are taken: a mean over places and samples is settled long before ranges are."""
_GROUPS = 8
"""That these are put into."""


def _some(feeds: Sequence[Mapping[str, np.ndarray]]) -> list[Mapping[str, np.ndarray]]:
    """`_ENOUGH` of the samples, spread over all."""
    return [feeds[i] for i in np.unique(np.linspace(0, len(feeds) - 1, min(_ENOUGH, len(feeds))).astype(int))]


class _Shift:
    """Mean of a difference, channel by channel: the median over groups, so that one broken sample moves nothing."""

    def __init__(self) -> None:
        self._groups: dict[int, tuple[np.ndarray, int]] = {}

    def add(self, group: int, quantized: np.ndarray, floating: np.ndarray, axis: int) -> None:
        rows = np.moveaxis(quantized.astype(np.float64) - floating, axis, -1).reshape(-1, floating.shape[axis])
        total, count = self._groups.get(group, (0.0, 0))
        self._groups[group] = (total + rows.sum(0), count + len(rows))

    def mean(self) -> np.ndarray:
        if not self._groups:
            return np.zeros(0)
        return np.asarray(np.median([total / count for total, count in self._groups.values()], axis=0))


class _Means:
    """Running means of tensors by name, each over its samples alone."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._count = 0

    def add(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._count += 1
        for name, values in tensors.items():
            self._sums[name] = self._sums[name] + values if name in self._sums else values.astype(np.float64)

    def result(self) -> dict[str, np.ndarray]:
        return {name: (total / self._count).astype(np.float32) for name, total in self._sums.items()}


def correct_onnx(floating: Path, quantized: Path, feeds: Sequence[Mapping[str, np.ndarray]]) -> int:
    """Correct the biases of a QDQ file in place.

    Args:
        floating: The float file it was made of, as prepared.
        quantized: The file.
        feeds: Samples by the files' names.

    Returns:
        How many layers were corrected; those without a bias are left alone.
    """
    import onnx
    from onnx import numpy_helper

    given = OnnxTap(floating)
    apart = cut_onnx(quantized, {n for s in given.steps for n in s.outputs} | set(feeds[0]))
    before = {step.name: step.outputs[0] for step in given.steps if step.op in _WEIGHTED}
    model = onnx.load(str(quantized))
    nodes = [n for n in model.graph.node if n.name in before and len(n.input) > 2 and n.input[2]]
    shifts = {node.name: _Shift() for node in nodes}
    for number, feed in enumerate(_some(feeds)):
        floats = given.run(feed)
        wholes = apart.run(floats, rounded=False)
        for node in nodes:
            name = node.output[0].removesuffix("_QuantizeLinear_Input")
            shifts[node.name].add(number % _GROUPS, wholes[name], floats[before[node.name]], _WEIGHTED[node.op_type])
    constants = {t.name: t for t in model.graph.initializer}
    makers = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    corrected = 0
    for node in nodes:
        shift, maker = shifts[node.name].mean(), makers.get(node.input[2])
        stored = constants.get(maker.input[0] if maker is not None else node.input[2])
        if stored is None or np.prod(stored.dims) != shift.size:
            continue
        values = numpy_helper.to_array(stored)
        steps = np.float64(1) if maker is None else numpy_helper.to_array(constants[maker.input[1]]).astype(np.float64)
        stored.CopyFrom(numpy_helper.from_array(_moved(values, shift, steps), stored.name))
        corrected += 1
    onnx.save(model, str(quantized))
    return corrected


def _moved(values: np.ndarray, shift: np.ndarray, steps: Any) -> np.ndarray:
    """Biases less the shift, in their own steps and type."""
    moved = values.reshape(-1) - shift / steps
    if values.dtype.kind == "i":
        limits = np.iinfo(values.dtype)
        moved = np.clip(np.rint(moved), limits.min, limits.max)
    return np.asarray(moved, values.dtype).reshape(values.shape)


def correct_tflite(floating: Path, quantized: Path, feeds: Sequence[Mapping[str, np.ndarray]]) -> int:
    """Correct the biases of a statically quantized file in place.

    Activations are fused into TFLite's layers, and clip the shift away; so the sums before them are computed by float
    layers without activation, once with the float weights and once with the quantized ones.

    Args:
        floating: The float file it was made of, as prepared.
        quantized: The file.
        feeds: Samples by the float file's names.

    Returns:
        How many layers were corrected; those without a bias are left alone.
    """
    whole, twin = TfliteFile(quantized), TfliteFile(floating)
    if len(twin.model.subgraphs) != 1:
        return 0
    real = {  # weights that are whole numbers in the float file already lose nothing
        twin.name(o.outputs[0])
        for o in twin.graph.operators
        if twin.op(o) in _TFLITE_WEIGHTED and twin.constant(int(o.inputs[1])) is not None
    }
    layers = {name: layer for name, layer in _quantized_layers(whole).items() if name in real}
    if not layers:
        return 0
    given = TfliteTap(floating.read_bytes())
    steps = open_tap(quantized, "tflite").scales
    sums, rounded = _bare_layers(TfliteFile(floating), {}), _bare_layers(twin, layers)
    shifts = {name: _Shift() for name in layers}
    some = _some(feeds)
    for group in range(min(_GROUPS, len(some))):
        exact, coarse = _Means(), _Means()
        for feed in some[group::_GROUPS]:
            floats = given.run(feed)
            exact.add({name: floats[name.removeprefix(CUT)] for name in sums.inputs})
            coarse.add({name: _as_stored(name.removeprefix(CUT), floats, steps) for name in rounded.inputs})
        # without activations the layers are linear: the mean of what they give is what they give for the mean
        expected, found = sums.run(exact.result()), rounded.run(coarse.result())
        for name, shift in shifts.items():
            shift.add(group, found[name], expected[name], -1)
    for name, layer in layers.items():
        whole.set_constant(layer["bias"], _moved(layer["stored"], shifts[name].mean(), layer["bias_scale"]))
    whole.save(quantized)
    return len(layers)


def _as_stored(name: str, floats: Mapping[str, np.ndarray], steps: Mapping[str, Steps]) -> np.ndarray:
    """A float tensor rounded as the quantized file holds it, an input by the step that its first operator makes."""
    found = steps.get(name) or steps.get(f"{name}_quantized")
    return floats[name] if found is None else found.nearest(floats[name])


def _quantized_layers(file: TfliteFile) -> dict[str, dict[str, Any]]:
    """Output tensor to the real weights, the bias tensor and its steps, of all layers that compute in whole numbers."""
    layers = {}
    for operator in file.graph.operators:
        if file.op(operator) not in _TFLITE_WEIGHTED or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        weight, bias = (file.graph.tensors[i] for i in operator.inputs[1:3])
        values, stored = file.stored(operator.inputs[1]), file.stored(operator.inputs[2])
        scales = [t.quantization.scale if t.quantization is not None else None for t in (weight, bias)]
        if values is None or stored is None or any(s is None or not len(s) for s in scales):
            continue
        zero = weight.quantization.zeroPoint
        steps = steps_of(scales[0], 0 if zero is None else zero, values.dtype, weight.quantization.quantizedDimension)
        layers[file.name(operator.outputs[0])] = {
            "weight": steps.values(values),
            "bias": int(operator.inputs[2]),
            "stored": stored,
            "bias_scale": np.asarray(scales[1], np.float64),
            "bias_value": (stored * np.asarray(scales[1], np.float64)).astype(np.float32),
        }
    return layers


class _Bare:
    """Float layers without activations, each on an input of its own."""

    def __init__(self, content: bytes, inputs: list[str]) -> None:
        self._tap, self.inputs = TfliteTap(content), inputs

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._tap.run(arrays)


def _bare_layers(file: TfliteFile, weights: Mapping[str, Mapping[str, Any]]) -> _Bare:
    """A float file's layers with their wires cut, without activations, with other weights where given."""
    from ai_edge_litert import schema_py_generated as schema

    graph = file.graph
    cut_wires(file, {file.name(i) for o in graph.operators for i in o.outputs})
    graph.operators = [o for o in graph.operators if file.op(o) in _TFLITE_WEIGHTED]  # the others are not linear
    for operator in graph.operators:
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        if (layer := weights.get(file.name(operator.outputs[0]))) is not None:
            file.set_constant(int(operator.inputs[1]), layer["weight"])
            file.set_constant(int(operator.inputs[2]), layer["bias_value"])
    read = {int(i) for o in graph.operators for i in o.inputs}
    graph.inputs = [i for i in graph.inputs if int(i) in read]
    graph.outputs = [int(i) for o in graph.operators for i in o.outputs]
    return _Bare(file.content(), [file.name(i) for i in graph.inputs])
