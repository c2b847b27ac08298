"""Look inside a converted model: what each operation gives, and the first one at fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit_converters.quiet import quiet
from edgekit_converters.tap import Step, open_tap

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
    if format not in ("onnx", "tflite"):
        return []
    with quiet():
        tap = open_tap(path, format)
        values = tap.run(arrays)
    return [
        Operation(_title(step), step.inputs, {o: values[o] for o in step.outputs if o in values}) for step in tap.steps
    ]


def _title(step: Step) -> str:
    return f"{step.op} {step.name!r}" if step.name else step.op


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
