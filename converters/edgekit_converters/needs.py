"""What a finished model file needs of the device that runs it: operator versions and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_BYTES = {"FLOAT16": 2, "INT16": 2, "UINT16": 2, "BFLOAT16": 2, "INT8": 1, "UINT8": 1, "BOOL": 1, "INT4": 1,
          "FLOAT64": 8, "INT64": 8, "UINT64": 8, "COMPLEX64": 8, "COMPLEX128": 16}  # fmt: skip
_OTHERS = 4  # float32, int32, uint32


def operator_versions(path: Path) -> dict[str, int]:
    """Highest version of each built-in operator that a TFLite file uses, by name."""
    schema, model = _read(path)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    used = {operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators or ()}
    found: dict[str, int] = {}
    for index in used:
        code = model.operatorCodes[index]
        # files of before 2020 have the narrow, deprecated code alone
        name = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        found[name] = max(found.get(name, 0), code.version)
    return dict(sorted(found.items()))


def memory_bytes(path: Path, format: str) -> int:
    """Bytes that a model needs at least: its file, and for TFLite the activations that live at once.

    Each activation lives from the operator that makes it to the last that reads it; the largest sum of those alive at
    one operator is a lower bound of the interpreter's arena, which planners come close to. Extents that may vary count
    as 1; scratch memory of kernels is not counted. For ONNX it is the file's size alone.
    """
    size = path.stat().st_size
    return size + (_activations(path) if format == "tflite" else 0)


def _activations(path: Path) -> int:
    schema, model = _read(path)
    kinds = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    graph = model.subgraphs[0]
    operators = list(graph.operators or ())
    born = {int(i): 0 for i in graph.inputs}
    last = {int(i): len(operators) for i in graph.outputs}
    for place, operator in enumerate(operators):
        for i in _places(operator.outputs):
            born.setdefault(i, place)
            last[i] = max(last.get(i, place), place)
        for i in _places(operator.inputs):
            last[i] = max(last.get(i, place), place)
    alive = [0] * (len(operators) + 1)
    for i, start in born.items():
        tensor = graph.tensors[i]
        size = _BYTES.get(kinds.get(tensor.type, ""), _OTHERS)
        for extent in tensor.shape if tensor.shape is not None else ():
            size *= max(int(extent), 1)
        for place in range(start, last.get(i, start) + 1):
            alive[place] += size
    return max(alive)


def _places(indices: Any) -> list[int]:
    """Tensor indices; optional inputs that are left out are -1."""
    return [int(i) for i in indices if i >= 0] if indices is not None else []


def _read(path: Path) -> tuple[Any, Any]:
    from ai_edge_litert import schema_py_generated as schema

    return schema, schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
