"""TFLite files before and after ai-edge-quantizer: what it expects of them, and where their ends went."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.files import open_model
from edgekit_converters.recipe import Converted
from edgekit_runtime.backends import FileTensor
from edgekit_runtime.manifest import Binding

_KEY = "serving_default"


def prepare(path: Path, target: Path) -> Path:
    """The file itself, or a copy that the quantizer understands.

    It calibrates by signature, which old files do not have; and it reads the wide operator code only, where files of
    before 2020 have the narrow (deprecated) one: it would take every operator for an ADD and quantize nonsense.

    Args:
        path: The float model.
        target: Where the copy goes if one is needed.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(path.read_bytes())
    changed = not model.signatureDefs
    for code in model.operatorCodes:
        wide = max(code.builtinCode, code.deprecatedBuiltinCode)
        changed |= wide != code.builtinCode
        code.builtinCode = wide
    if not changed:
        return path
    if not model.signatureDefs:
        model.signatureDefs = [_signature(schema, model.subgraphs[0])]
    target.write_bytes(_packed(model))
    return target


def unpacked(content: bytes) -> Any:
    """A file as flatbuffer objects (schema.ModelT), every constant in the buffer that it belongs to.

    ai-edge-quantizer puts constants behind the flatbuffer (``Buffer.offset``), where the generated reader does not
    look: written again, such a file would point beyond its end.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers or ():
        if buffer.offset > 1:  # 0 and 1 mean that the data is inside
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def inline(path: Path) -> None:
    """Write a file again with its constants inside, where older readers look for them."""
    path.write_bytes(_packed(unpacked(path.read_bytes())))


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _signature(schema: Any, graph: Any) -> Any:
    """A signature whose arguments are called as the tensors are."""
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = _KEY, 0
    sides = []
    for indices in (graph.inputs, graph.outputs):
        entries = []
        for index in indices:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = graph.tensors[index].name, index
            entries.append(entry)
        sides.append(entries)
    signature.inputs, signature.outputs = sides
    return signature


def arguments(path: Path) -> tuple[str, dict[str, str]]:
    """(key, tensor name to argument name) of a file's first signature."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    key = next(iter(interpreter.get_signature_list()))
    details = interpreter.get_signature_runner(key).get_input_details()
    return key, {str(d["name"]): argument for argument, d in details.items()}


def operators(path: Path) -> Counter[str]:
    """How often each built-in operator occurs in a file, all subgraphs together."""
    from ai_edge_litert import schema_py_generated as schema

    names = _names(schema.BuiltinOperator)
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    found: Counter[str] = Counter()
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for place in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(place).OpcodeIndex())
            found[names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")] += 1
    return found


def quantized_weights(path: Path) -> int:
    """How many constant tensors of a file hold whole numbers that stand for reals."""
    model = unpacked(path.read_bytes())
    return sum(
        t.quantization is not None
        and t.quantization.scale is not None
        and len(t.quantization.scale) > 0
        and model.buffers[t.buffer].data is not None
        for graph in model.subgraphs
        for t in graph.tensors
    )


def rebound(model: Converted, path: Path) -> Converted:
    """The model with `path` as its file: the quantizer may rename the ends and change their type, not their order."""
    before, after = open_model(model.path, "tflite"), open_model(path, "tflite")
    try:
        return replace(
            model,
            path=path,
            inputs=_rebound(model.inputs, before.inputs, after.inputs),
            outputs=_rebound(model.outputs, before.outputs, after.outputs),
        )
    finally:
        before.close()
        after.close()


def _rebound(
    bindings: tuple[Binding, ...], before: tuple[FileTensor, ...], after: tuple[FileTensor, ...]
) -> tuple[Binding, ...]:
    now = {old.name: new for old, new in zip(before, after, strict=True)}
    return tuple(
        replace(
            b,
            name=now[b.name].name,
            dtype=now[b.name].dtype,
            scale=now[b.name].scale,
            zero_point=now[b.name].zero_point,
        )
        for b in bindings
    )


class TfliteFile:
    """A TFLite file's main graph, to be changed and written again.

    Attributes:
        model: The file as flatbuffer objects (schema.ModelT).
        graph: Its first sub-graph.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self.model = unpacked(path.read_bytes())
        self.graph = self.model.subgraphs[0]
        self._ops = _names(schema.BuiltinOperator)
        self._activations = _names(schema.ActivationFunctionType)
        kinds = schema.TensorType
        self._numpy: dict[int, Any] = {
            kinds.FLOAT32: np.float32,
            kinds.INT8: np.int8,
            kinds.INT16: np.int16,
            kinds.INT32: np.int32,
            kinds.INT64: np.int64,
        }

    def op(self, operator: Any) -> str:
        """An operator's type, as ``CONV_2D``."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return self._ops.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")

    def name(self, index: int) -> str:
        """A tensor's name."""
        return str(self.graph.tensors[index].name.decode())

    def activation(self, operator: Any) -> str:
        """What is fused into an operator: ``NONE``, ``RELU``, ``RELU6`` and so on."""
        return self._activations[getattr(operator.builtinOptions, "fusedActivationFunction", 0)]

    def constant(self, index: int) -> np.ndarray | None:
        """A float32 constant's values, None for anything else."""
        found = self.stored(index)
        return found if found is not None and found.dtype == np.float32 else None

    def stored(self, index: int) -> np.ndarray | None:
        """A constant as it is stored, None for what is computed or of a rarer type."""
        tensor = self.graph.tensors[index]
        data, kind = self.model.buffers[tensor.buffer].data, self._numpy.get(tensor.type)
        if data is None or kind is None:
            return None
        return np.frombuffer(bytes(data), kind).reshape(tensor.shape).copy()

    def set_constant(self, index: int, values: np.ndarray) -> None:
        """Give a constant other values of the same shape, in a buffer of its own where it shared one."""
        tensor = self.graph.tensors[index]
        data = np.frombuffer(np.ascontiguousarray(values, self._numpy[tensor.type]).tobytes(), np.uint8)
        if sum(t.buffer == tensor.buffer for g in self.model.subgraphs for t in g.tensors) > 1:
            self.model.buffers.append(self._schema.BufferT())
            tensor.buffer = len(self.model.buffers) - 1
        self.model.buffers[tensor.buffer].data = data

    def content(self) -> bytes:
        """The file."""
        return _packed(self.model)

    def save(self, path: Path) -> None:
        """Write the file."""
        path.write_bytes(self.content())


def _names(table: Any) -> dict[int, str]:
    """Number to name of the constants of a class."""
    return {value: name for name, value in vars(table).items() if isinstance(value, int)}
