"""A model file opened so that every tensor between its operations can be read, sample by sample."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.quiet import quiet


@dataclass(frozen=True)
class Steps:
    """How whole numbers stand for reals: ``(code - zero) * scale``, one pair or one per channel of an axis.

    Attributes:
        scale: Float32, one or one per channel.
        zero: The codes that stand for 0.
        lowest: Smallest code.
        highest: Largest code.
        axis: Which axis the channels are; of no meaning for a single pair.
    """

    scale: np.ndarray
    zero: np.ndarray
    lowest: int
    highest: int
    axis: int = 0

    def values(self, codes: np.ndarray) -> np.ndarray:
        """The reals (float32) that codes stand for."""
        scale, zero = self._spread(codes.ndim)
        values: np.ndarray = (codes.astype(np.float32) - zero) * scale
        return values

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The nearest codes, half to even as XNNPACK and onnxruntime round; clipped to the ends."""
        scale, zero = self._spread(values.ndim)
        codes: np.ndarray = np.clip(np.rint(values / scale) + zero, self.lowest, self.highest)
        return codes

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """The nearest reals there is a code for."""
        return self.values(self.codes(values))

    def ends(self) -> tuple[float, float]:
        """Smallest and largest real of a tensor with one scale."""
        scale, zero = float(self.scale.flat[0]), float(self.zero.flat[0])
        return (self.lowest - zero) * scale, (self.highest - zero) * scale

    def _spread(self, axes: int) -> tuple[np.ndarray, np.ndarray]:
        if self.scale.size == 1:
            return self.scale.reshape(()), self.zero.astype(np.float32).reshape(-1)[:1].reshape(())
        shape = [1] * axes
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero.astype(np.float32).reshape(shape)


def steps_of(scale: Any, zero: Any, dtype: Any, axis: int = 0) -> Steps:
    """Steps with the whole range of a type of whole numbers."""
    limits = np.iinfo(dtype)
    return Steps(np.asarray(scale, np.float32), np.asarray(zero), int(limits.min), int(limits.max), axis)


@dataclass(frozen=True)
class Step:
    """One operation of a file.

    Attributes:
        op: Its type, as ``Conv`` or ``CONV_2D``.
        name: Node name in ONNX, else the name of its first output.
        inputs: Tensor names.
        outputs: Tensor names.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Tap(ABC):
    """An opened file.

    Attributes:
        steps: Its operations in the order of running.
        scales: Tensor name to how its whole numbers are read, where they stand for reals.
    """

    steps: Sequence[Step]
    scales: Mapping[str, Steps]

    @abstractmethod
    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by the file's names to every tensor that could be read, as stored."""


def open_tap(path: Path, format: str) -> Tap:
    """Open a file without any fusion or delegate, so that nothing is optimized away.

    Raises:
        ConversionError: No such look into that format.
    """
    if format not in ("onnx", "tflite"):
        raise ConversionError(f"there is no look into {format} files", "give an ONNX or a TFLite model")
    with quiet():
        return OnnxTap(path) if format == "onnx" else TfliteTap(path.read_bytes())


class OnnxTap(Tap):
    """An ONNX file on onnxruntime.

    Args:
        model: The file, or a model (onnx.ModelProto) that becomes the tap's own.
    """

    def __init__(self, model: Any) -> None:
        import onnx
        import onnxruntime as ort
        from onnx import numpy_helper

        model = onnx.load(str(model)) if isinstance(model, Path) else model
        self.steps = [Step(n.op_type, n.name, tuple(n.input), tuple(n.output)) for n in model.graph.node]
        constants = {t.name: t for t in model.graph.initializer}
        self.scales = {}
        for node in model.graph.node:
            if node.op_type == "QuantizeLinear" and all(name in constants for name in node.input[1:]):
                scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
                axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
                self.scales[node.output[0]] = steps_of(scale, zero, zero.dtype, axis)
        known = {o.name for o in model.graph.output}
        for node in model.graph.node:
            model.graph.output.extend(onnx.ValueInfoProto(name=o) for o in node.output if o and o not in known)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._names = [o.name for o in self._session.get_outputs()]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = zip(self._names, self._session.run(self._names, dict(arrays)), strict=True)
        return {**arrays, **{name: value for name, value in values if isinstance(value, np.ndarray)}}


class TfliteTap(Tap):
    """The main graph of a TFLite file on LiteRT."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._interpreter = Interpreter(
                model_content=content,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
        self._inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
        details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        names = {index: str(d["name"]) for index, d in details.items()}
        self.steps, self._read = [], {str(d["name"]): d["index"] for d in self._inputs.values()}
        for operation in self._interpreter._get_ops_details():
            outputs = tuple(names[i] for i in operation["outputs"] if i in names)
            inputs = tuple(names[i] for i in operation["inputs"] if i in names)
            self.steps.append(Step(str(operation["op_name"]), outputs[0] if outputs else "", inputs, outputs))
            self._read.update({names[i]: i for i in operation["outputs"] if i in names})
        self.scales = {}
        for name, index in self._read.items():
            found = details[index]["quantization_parameters"]
            if len(found["scales"]) and np.dtype(details[index]["dtype"]).kind in "iu":
                self.scales[name] = steps_of(
                    found["scales"], found["zero_points"], details[index]["dtype"], found["quantized_dimension"]
                )

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, detail in self._inputs.items():
            if tuple(detail["shape"]) != arrays[name].shape:
                self._interpreter.resize_tensor_input(detail["index"], arrays[name].shape)
        self._interpreter.allocate_tensors()
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], arrays[name])
        self._interpreter.invoke()
        values = {}
        for name, index in self._read.items():
            try:
                values[name] = np.array(self._interpreter.get_tensor(index))
            except ValueError:  # a tensor without memory of its own, as a variable's handle
                continue
        return values
