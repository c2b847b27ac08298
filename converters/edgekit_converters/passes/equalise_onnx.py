"""Cross-layer equalisation of ONNX files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.passes.equalise import Layer, equalise, find_links
from edgekit_converters.tap import Step

_COMMUTE = (
    "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Reshape",
    "Identity", "Dropout", "Squeeze",
)  # fmt: skip


def equalise_onnx(path: Path, target: Path) -> int:
    """Equalise a float file as `prepare` leaves it (Conv+BatchNorm fused).

    Args:
        path: The file.
        target: Where the result goes.

    Returns:
        How many channels were scaled.

    Raises:
        ConversionError: Nothing can be equalised.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    constants = {t.name: t for t in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    layers, stored = [], []
    for node in model.graph.node:
        free = [n for n in node.input[1:] if n] and all(n in constants and uses[n] == 1 for n in node.input[1:] if n)
        if not free or (shape := _shape(node, constants[node.input[1]])) is None:
            continue
        weight = shape.inward(numpy_helper.to_array(constants[node.input[1]]).copy())
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(constants[node.input[2]]).copy().reshape(-1)
            if bias.size != weight.shape[0] * weight.shape[1]:
                continue
        layers.append(Layer(node.output[0], node.input[0], weight, bias))
        stored.append((node, shape))
    steps = [Step(n.op_type, n.name, tuple(n.input), tuple(n.output)) for n in model.graph.node]
    links, blocks = find_links(layers, steps, [o.name for o in model.graph.output], lambda step: step.op in _COMMUTE)
    scaled = equalise(links, blocks)
    for layer, (node, shape) in zip(layers, stored, strict=True):
        weight = constants[node.input[1]]
        weight.CopyFrom(numpy_helper.from_array(shape.outward(layer.weight), weight.name))
        if layer.bias is not None:
            bias = constants[node.input[2]]
            values = layer.bias.reshape(tuple(bias.dims))
            bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, str(target))
    return scaled


class _Shape:
    """Between a node's weights as stored and groups x outputs x inputs x kernel."""

    def __init__(self, groups: int, flipped: bool, dims: tuple[int, ...]) -> None:
        self._groups, self._flipped, self._dims = groups, flipped, dims

    def inward(self, stored: np.ndarray) -> np.ndarray:
        if self._flipped:
            stored = stored.T
        outputs, inputs = stored.shape[:2]
        return np.ascontiguousarray(stored.reshape(self._groups, outputs // self._groups, inputs, -1))

    def outward(self, weight: np.ndarray) -> np.ndarray:
        flat = weight.reshape(self._dims[::-1] if self._flipped else self._dims)
        return np.ascontiguousarray(flat.T if self._flipped else flat)


def _shape(node: Any, weight: Any) -> _Shape | None:
    attributes = {a.name: a for a in node.attribute}
    dims = tuple(weight.dims)
    if weight.data_type != 1:  # float32
        return None
    if node.op_type == "Conv":
        return _Shape(attributes["group"].i if "group" in attributes else 1, False, dims)
    if node.op_type == "Gemm" and len(dims) == 2:
        plain = all(attributes[n].f == 1 for n in ("alpha", "beta") if n in attributes)
        if plain and not ("transA" in attributes and attributes["transA"].i):
            return _Shape(1, not ("transB" in attributes and attributes["transB"].i), dims)
    if node.op_type == "MatMul" and len(dims) == 2 and len(node.input) == 2:
        return _Shape(1, True, dims)
    return None
