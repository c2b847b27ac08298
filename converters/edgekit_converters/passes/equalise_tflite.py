"""Cross-layer equalisation of TFLite files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.passes.equalise import Layer, equalise, find_links
from edgekit_converters.passes.tflite_file import TfliteFile
from edgekit_converters.tap import Step

_COMMUTE = ("RELU", "LEAKY_RELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "PAD", "SQUEEZE")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_HOMOGENEOUS = ("NONE", "RELU")


def equalise_tflite(path: Path, target: Path) -> int:
    """Equalise a float file.

    Args:
        path: The file.
        target: Where the result goes.

    Returns:
        How many channels were scaled.

    Raises:
        ConversionError: Nothing can be equalised.
    """
    file = TfliteFile(path)
    uses = Counter(int(i) for operator in file.graph.operators for i in operator.inputs)
    layers, stored = [], []
    for operator in file.graph.operators:
        op = file.op(operator)
        free = op in _WEIGHTED and all(i < 0 or uses[int(i)] == 1 for i in operator.inputs[1:])
        weight = file.constant(int(operator.inputs[1])) if free else None
        if weight is None:
            continue
        inward = _inward(op, weight, file.graph.tensors[operator.inputs[0]].shape[-1])
        bias = file.constant(int(operator.inputs[2])) if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None
        activation = file.activation(operator)
        block = "" if activation in _HOMOGENEOUS else activation
        layers.append(Layer(file.name(operator.outputs[0]), file.name(operator.inputs[0]), inward, bias, block))
        stored.append((op, operator, weight.shape))
    steps = [
        Step(file.op(o), "", tuple(file.name(i) for i in o.inputs if i >= 0), tuple(file.name(i) for i in o.outputs))
        for o in file.graph.operators
    ]
    blocked = {s.outputs[0] for s, o in zip(steps, file.graph.operators, strict=True) if _clips(file, o)}
    links, blocks = find_links(
        layers,
        steps,
        [file.name(i) for i in file.graph.outputs],
        lambda step: step.op in _COMMUTE and step.outputs[0] not in blocked,
    )
    scaled = equalise(links, blocks)
    for layer, (op, operator, shape) in zip(layers, stored, strict=True):
        file.set_constant(int(operator.inputs[1]), _outward(op, layer.weight, shape))
        if layer.bias is not None:
            file.set_constant(int(operator.inputs[2]), layer.bias)
    file.save(target)
    return scaled


def _clips(file: TfliteFile, operator: Any) -> bool:
    return file.activation(operator) not in _HOMOGENEOUS


def _inward(op: str, weight: np.ndarray, inputs: int) -> np.ndarray:
    """To groups x outputs of a group x inputs of a group x kernel."""
    if op == "FULLY_CONNECTED":
        return weight[None, :, :, None].copy()
    if op == "DEPTHWISE_CONV_2D":  # 1, height, width, inputs x multiplier
        return weight.reshape(-1, inputs, weight.shape[-1] // inputs).transpose(1, 2, 0)[:, :, None].copy()
    outputs, *kernel, share = weight.shape
    grouped = weight.reshape(outputs, int(np.prod(kernel)), share).transpose(0, 2, 1)
    return grouped.reshape(inputs // share, -1, share, int(np.prod(kernel))).copy()


def _outward(op: str, weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Back to how it is stored."""
    if op == "FULLY_CONNECTED":
        return weight.reshape(shape)
    if op == "DEPTHWISE_CONV_2D":
        return weight[:, :, 0].transpose(2, 0, 1).reshape(shape)
    return weight.reshape(shape[0], shape[-1], -1).transpose(0, 2, 1).reshape(shape)
