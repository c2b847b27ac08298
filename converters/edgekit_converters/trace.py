"""Look inside a converted model: what each operation gives, and the first one at fault."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit_converters.quiet import quiet

Layers = Sequence[tuple[str, np.ndarray]]
"""Layer name to what it gives, in the order of running."""

_SAME = 1e-3
"""Two tensors are one where they differ by less than this share of their largest magnitude."""
_LAYOUTS = {3: ((0, 2, 1),), 4: ((0, 2, 3, 1), (0, 3, 1, 2)), 5: ((0, 2, 3, 4, 1), (0, 4, 1, 2, 3))}


@dataclass(frozen=True)
class Operation:
    """One operation of a model file that was run.

    Attributes:
        name: Type and, where it has one, name: ``Conv 'conv1'``.
        inputs: Names of the tensors it takes.
        outputs: What it gave, by tensor name.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: Mapping[str, np.ndarray]


def trace(path: Path, format: str, arrays: Mapping[str, np.ndarray]) -> list[Operation]:
    """Run a file and keep what every operation gives, nothing optimized away.

    Args:
        path: The file.
        format: ``onnx`` or ``tflite``; any other gives an empty list.
        arrays: The file's inputs by name.
    """
    with quiet():
        if format == "onnx":
            return list(_trace_onnx(path, arrays))
        if format == "tflite":
            return list(_trace_tflite(path, arrays))
    return []


def _trace_onnx(path: Path, arrays: Mapping[str, np.ndarray]) -> Iterator[Operation]:
    import onnx
    import onnxruntime as ort

    model = onnx.load(str(path))
    known = {o.name for o in model.graph.output}
    for node in model.graph.node:
        model.graph.output.extend(onnx.ValueInfoProto(name=o) for o in node.output if o and o not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    values = dict(zip(names, session.run(names, dict(arrays)), strict=True))
    for node in model.graph.node:
        outputs = {o: values[o] for o in node.output if isinstance(values.get(o), np.ndarray)}
        yield Operation(f"{node.op_type} {node.name!r}" if node.name else node.op_type, tuple(node.input), outputs)


def _trace_tflite(path: Path, arrays: Mapping[str, np.ndarray]) -> Iterator[Operation]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # without a delegate, so that what XNNPACK would fuse stays visible
        interpreter = Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
    inputs = interpreter.get_input_details()
    for detail in inputs:
        interpreter.resize_tensor_input(detail["index"], arrays[detail["name"]].shape)
    interpreter.allocate_tensors()
    for detail in inputs:
        interpreter.set_tensor(detail["index"], arrays[detail["name"]])
    interpreter.invoke()
    names = {d["index"]: d["name"] for d in interpreter.get_tensor_details()}
    for operation in interpreter._get_ops_details():
        outputs = {}
        for index in operation["outputs"]:
            try:
                outputs[names[index]] = np.array(interpreter.get_tensor(index))
            except ValueError:  # a tensor without memory of its own, as a variable's handle
                continue
        first = next(iter(outputs), "")
        taken = tuple(names[i] for i in operation["inputs"] if i in names)
        yield Operation(f"{operation['op_name']} {first!r}" if first else operation["op_name"], taken, outputs)


def first_not_finite(operations: Sequence[Operation]) -> str:
    """Name of the first operation that gives NaN or infinity, empty for none."""
    for operation in operations:
        if any(v.dtype.kind == "f" and not np.isfinite(v).all() for v in operation.outputs.values()):
            return operation.name
    return ""


def first_deaf(one: Sequence[Operation], other: Sequence[Operation]) -> str:
    """Name of the first operation that gives the same for two runs although it took different tensors; or empty.

    Shapes are computed from shapes: an operation that gives whole numbers only is no suspect.
    """
    a = {n: v for operation in one for n, v in operation.outputs.items()}
    b = {n: v for operation in other for n, v in operation.outputs.items()}
    for operation in one:
        if not any(v.dtype.kind == "f" or v.dtype.itemsize == 1 for v in operation.outputs.values()):
            continue
        heard = any(n in a and n in b and not np.array_equal(a[n], b[n]) for n in operation.inputs)
        if heard and all(n in b and np.array_equal(v, b[n]) for n, v in operation.outputs.items()):
            return operation.name
    return ""


def first_different(operations: Sequence[Operation], layers: Layers) -> str:
    """Where a file leaves its source, in words: after the last of the source's layers that is found in it; or empty.

    Converters fuse, rename and transpose, so layers are recognised by their values in any usual layout.

    Args:
        operations: The file's, as run.
        layers: The source's, run on the same input.
    """
    if not operations or not layers:
        return ""
    last, name, tensor = -1, "", ""
    for layer, value in layers:
        for number in range(len(operations) - 1, -1, -1):
            found = next((n for n, v in operations[number].outputs.items() if _same(value, v)), None)
            if found is not None:
                if number > last:
                    last, name, tensor = number, layer, found
                break
    if last < 0:
        return f"first at operation {operations[0].name}"
    after = [o.name for o in operations[last + 1 :] if tensor in o.inputs]
    return f"first at operation {after[0]}, after layer {name!r}" if after else f"after layer {name!r}"


def _same(value: np.ndarray, found: np.ndarray) -> bool:
    if value.size != found.size or value.size < 2 or value.dtype.kind != "f" or found.dtype.kind != "f":
        return False
    scale = float(np.abs(value).max())
    if not np.isfinite(scale) or np.ptp(value) == 0 or abs(float(value.mean() - found.mean())) > _SAME * scale:
        return False
    shapes = [value, *(value.transpose(axes) for axes in _LAYOUTS.get(value.ndim, ()))]
    return any(
        float(np.abs(v.reshape(-1) - found.reshape(-1)).max()) <= _SAME * scale
        for v in shapes
        if _bare(v.shape) == _bare(found.shape) or v.ndim != found.ndim
    )


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)
