"""A TFLite file's main subgraph as plain data: what a placement looks at, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError


@dataclass(frozen=True)
class Tensor:
    """A tensor.

    Attributes:
        name: As in the file.
        dtype: As the schema names it (``INT8``).
        shape: Extents.
        static: Whether every extent is fixed, an open batch counted as 1.
        constant: Its bytes, None where it is computed.
        per_channel: Whether it has more than one scale.
        variable: Whether it is a state that the model keeps.
        scale: First scale, 0 without quantization.
        zero_point: First zero point.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    static: bool
    constant: bytes | None
    per_channel: bool
    variable: bool
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        """Number of elements."""
        total = 1
        for extent in self.shape:
            total *= extent
        return total


@dataclass(frozen=True)
class Operator:
    """An operator: kind, version, tensor numbers (-1 for an input that is left out) and options by name."""

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    custom: bytes = b""


@dataclass(frozen=True)
class Graph:
    """A main subgraph: tensors, operators in order, and the numbers of the tensors at its ends."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(path: Path) -> Graph:
    """Read a TFLite file.

    Raises:
        SourceError: It cannot be read, is no TFLite file, is damaged, or has no graph.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path} ({error.strerror or error})") from error
    if content[4:8] != b"TFL3":
        raise SourceError(f"{path.name} is not a TFLite file (its identifier is missing)")
    try:
        return _graph(content)
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, OverflowError, MemoryError,
            RecursionError) as error:  # fmt: skip
        # what the flatbuffer reader stumbles over in a damaged file, which it does not check
        raise SourceError(f"{path.name} is damaged: its parts do not fit together", "fetch or make it again") from error


def _graph(content: bytes) -> Graph:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if not model.subgraphs:
        raise ValueError("no graph")
    graph = model.subgraphs[0]
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    tensors = tuple(_tensor(t, model.buffers, types) for t in graph.tensors)
    operators = []
    for op in graph.operators or ():
        code = model.operatorCodes[op.opcodeIndex]
        # files of before 2020 have the narrow, deprecated code alone
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if kind == "CUSTOM":
            kind = bytes(code.customCode or b"CUSTOM").decode("utf-8", "replace")
        custom = b"" if op.customOptions is None else bytes(bytearray(op.customOptions))
        options = vars(op.builtinOptions) if op.builtinOptions is not None else {}
        operators.append(
            Operator(kind, code.version, _numbers(op.inputs, tensors), _numbers(op.outputs, tensors), options, custom)
        )
    return Graph(tensors, tuple(operators), _numbers(graph.inputs, tensors), _numbers(graph.outputs, tensors))


def _numbers(indices: Any, tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
    found = tuple(int(i) for i in indices) if indices is not None else ()
    if any(not -1 <= i < len(tensors) for i in found):
        raise IndexError("a tensor that there is not")
    return found


def _numbers_of(vector: Any) -> list[float]:
    return [] if vector is None else [float(v) for v in vector]


def _tensor(tensor: Any, buffers: Any, types: Mapping[int, str]) -> Tensor:
    shape = tuple(int(s) for s in tensor.shape) if tensor.shape is not None else ()
    signature = tuple(int(s) for s in tensor.shapeSignature) if tensor.shapeSignature is not None else ()
    data = buffers[tensor.buffer].data
    quantization = tensor.quantization
    scales = _numbers_of(quantization and quantization.scale)
    zeros = _numbers_of(quantization and quantization.zeroPoint)
    return Tensor(
        name=bytes(tensor.name or b"").decode("utf-8", "replace"),
        dtype=types[tensor.type],
        shape=shape,
        # a batch that the converter left open is 1 until somebody resizes the input, which compilers take it for
        static=all(s >= 0 for s in (*shape, *signature[1:])),
        constant=bytes(bytearray(data)) if data is not None and len(data) else None,
        per_channel=len(scales) > 1,
        variable=bool(tensor.isVariable),
        scale=scales[0] if scales else 0.0,
        zero_point=int(zeros[0]) if zeros else 0,
    )
