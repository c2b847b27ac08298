"""Every layer of a quantized file run on the float file's tensors, so that each shows its own error only.

The wires between the layers are cut: what a layer takes becomes an input of the file. One run then gives all layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit_converters.passes.tflite_file import TfliteFile
from edgekit_converters.recipe import Converted
from edgekit_converters.tap import OnnxTap, Steps, Tap, TfliteTap

CUT = "edgekit-cut/"
"""Before the name of a tensor: the input that stands for it."""


class Alone:
    """A quantized file with its wires cut.

    Args:
        tap: It.
        wires: Name of the float tensor to the name and the steps (None for float) of the input that stands for it.
        codes: Float tensor name to the steps its layer's output is rounded to after the run (ONNX); the others are
            read as they are stored.
    """

    def __init__(self, tap: Tap, wires: Mapping[str, tuple[str, Steps | None]], codes: Mapping[str, Steps]) -> None:
        self._tap, self._wires, self._codes = tap, wires, codes

    def run(self, floats: Mapping[str, np.ndarray], rounded: bool = True) -> dict[str, np.ndarray]:
        """The float file's tensors to what each layer of the quantized file makes of them, in reals.

        Args:
            floats: By name.
            rounded: Whether outputs are rounded where the file does so after the layer (ONNX).
        """
        arrays = {}
        for name, (stand_in, steps) in self._wires.items():
            value = floats[name]
            arrays[stand_in] = value if steps is None else steps.codes(value).astype(_stored(steps))
        found = self._tap.run(arrays)
        values = {}
        for step in self._tap.steps:
            if step.op in ("QuantizeLinear", "DequantizeLinear"):  # they read the cut wire, not their layer
                continue
            for name in step.outputs:
                if name not in found:
                    continue
                value, steps = found[name], self._tap.scales.get(name)
                plain = name.removesuffix("_QuantizeLinear_Input")
                if steps is not None:
                    values[name] = steps.values(value)
                elif value.dtype.kind == "f":
                    steps = self._codes.get(plain) if rounded else None
                    values[plain] = value if steps is None else steps.nearest(value)
        return values


def _stored(steps: Steps) -> np.dtype:
    for name in ("int8", "uint8", "int16", "uint16", "int32"):
        limits = np.iinfo(name)
        if (limits.min, limits.max) == (steps.lowest, steps.highest):
            return np.dtype(name)
    return np.dtype("int64")


def open_alone(quantized: Converted, given: Tap, codes: Mapping[str, str]) -> Alone | None:
    """Cut a quantized file's wires where the float file has the same tensor; None for files with several graphs.

    Args:
        quantized: The file.
        given: The float file.
        codes: Float tensor name to the tensor that holds it in whole numbers, where that has another name.
    """
    known = {name for step in given.steps for name in step.outputs}
    known |= {binding.name for binding in quantized.inputs}
    if quantized.format == "onnx":
        return cut_onnx(quantized.path, known, codes)
    return _cut_tflite(quantized.path, known)


def cut_onnx(path: Path, known: set[str], codes: Mapping[str, str] | None = None) -> Alone:
    """Cut a QDQ file's wires.

    Args:
        path: The file.
        known: Names of the float file's tensors.
        codes: Float tensor name to the tensor that holds it in whole numbers.
    """
    import onnx

    model = onnx.load(str(path))
    kinds = {v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    produced = {o for n in model.graph.node if n.op_type != "DequantizeLinear" for o in n.output}
    wires: dict[str, tuple[str, Steps | None]] = {i.name: (i.name, None) for i in model.graph.input}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            plain = name.removesuffix("_QuantizeLinear_Input")
            if name not in produced or plain not in known:
                continue
            if plain not in wires:
                wires[plain] = (CUT + plain, None)
                tensor = onnx.TypeProto.Tensor(elem_type=kinds.get(name) or onnx.TensorProto.FLOAT)
                model.graph.input.append(onnx.ValueInfoProto(name=CUT + plain, type=onnx.TypeProto(tensor_type=tensor)))
            node.input[place] = CUT + plain
    tap = OnnxTap(model)
    rounded = {name: tap.scales[stored] for name, stored in (codes or {}).items() if stored in tap.scales}
    return Alone(tap, wires, rounded)


def _cut_tflite(path: Path, known: set[str]) -> Alone | None:
    file = TfliteFile(path)
    if len(file.model.subgraphs) != 1:
        return None
    names = {index: file.name(index) for index in range(len(file.graph.tensors))}
    stand_ins = cut_wires(file, known)
    tap = TfliteTap(file.content())
    wires = {names[i]: (names[i], tap.scales.get(names[i])) for i in file.graph.inputs if i in names}
    wires |= {names[i]: (CUT + names[i], tap.scales.get(CUT + names[i])) for i in stand_ins}
    return Alone(tap, wires, {})


def cut_wires(file: TfliteFile, known: set[str]) -> list[int]:
    """Let every operator read graph inputs, called `CUT` + name, in the place of what others computed.

    Args:
        file: Changed in place.
        known: Names of the tensors whose wires are cut.

    Returns:
        The tensors that were replaced, in the order of the new inputs.
    """
    graph = file.graph
    produced = {index for operator in graph.operators for index in operator.outputs}
    stand_ins: dict[int, int] = {}
    for operator in graph.operators:
        operator.inputs = list(operator.inputs)
        for place, index in enumerate(operator.inputs):
            if index not in produced or file.name(index) not in known:
                continue
            if index not in stand_ins:
                made = copy.copy(graph.tensors[index])
                made.name, made.buffer = (CUT + file.name(index)).encode(), 0
                graph.tensors.append(made)
                stand_ins[index] = len(graph.tensors) - 1
            operator.inputs[place] = stand_ins[index]
    graph.inputs = [*graph.inputs, *stand_ins.values()]
    file.model.signatureDefs = None
    return list(stand_ins)
