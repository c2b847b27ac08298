"""What the Edge TPU compiler will map of a TFLite file, predicted from the file alone.

The compiler itself is closed and is not where Python packages come from. Its documented rules: every activation int8 or
uint8, shapes fixed, batch 1, operators and their limits as in ``edgetpu.json``, and one subgraph: behind an operator
that stays on the CPU nothing returns to the Edge TPU. A float model's first ``QUANTIZE`` is the exception, since it
stands before the subgraph and not in it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError
from edgekit_converters.placement.edgetpu_limits import LIMITS
from edgekit_converters.placement.edgetpu_memory import parameter_bytes
from edgekit_converters.placement.placement import CPU, OpPlacement, Placement
from edgekit_converters.placement.tflite_graph import Graph, Operator, read_graph

UNIT = "Edge TPU"
CUSTOM_OP = "edgetpu-custom-op"
_WHOLE = ("INT8", "UINT8")
_LARGE = 2**20  # pixels of an input; 513x513 is seen compiled, a MobileNet at 2048x1024 is not


@cache
def op_table() -> dict[str, Any]:
    """The data file: ``ops`` by name with the highest version and the names of limits, ``source``, ``date``."""
    table: dict[str, Any] = json.loads(files(__package__).joinpath("edgetpu.json").read_text("utf-8"))
    return table


def is_compiled(path: Path) -> bool:
    """Whether a TFLite file is compiled for the Edge TPU.

    Raises:
        SourceError: It cannot be read or is damaged.
    """
    return any(op.kind == CUSTOM_OP for op in read_graph(path).operators)


def predict(path: Path) -> Placement:
    """Predict the mapping of a TFLite file that is not compiled yet.

    Raises:
        SourceError: It cannot be read, is damaged or is compiled already.
    """
    graph = read_graph(path)
    if any(op.kind == CUSTOM_OP for op in graph.operators):
        raise SourceError(f"{path.name} is compiled for the Edge TPU already", "give the file that it was made from")
    placed = place(graph)
    mapped = tuple(op.unit == UNIT for op in placed)
    notes = []
    for number in graph.inputs:
        shape = graph.tensors[number].shape
        if len(shape) == 4 and shape[1] * shape[2] >= _LARGE:
            notes.append(f"An input of {shape[1]}x{shape[2]} is large: the compiler may refuse it.")
    return Placement(UNIT, placed, "predicted", parameter_bytes(graph, mapped) if any(mapped) else {}, tuple(notes))


def place(graph: Graph) -> tuple[OpPlacement, ...]:
    """Where each operator of a graph will run."""
    left: dict[int, str] = {}  # tensors that operators on the CPU make, with the first of those
    batch = [graph.tensors[i].shape[0] for i in graph.inputs if i >= 0 and graph.tensors[i].shape]
    whole = f"the model takes a batch of {max(batch)}, only 1 is supported" if batch and max(batch) > 1 else ""
    rows = []
    for index, op in enumerate(graph.operators):
        why = whole or _against(op, graph)
        behind = next((left[i] for i in op.inputs if i in left), "")  # the first of the chain
        if not why and behind:
            why = f"it is behind {behind}, which runs on the CPU: more than one subgraph is not supported"
        rows.append(OpPlacement(index, op.kind, CPU if why else UNIT, why))
        if why and not _enters(op, graph):
            left.update(dict.fromkeys(op.outputs, behind or f"{op.kind} (number {index})"))
    return tuple(rows)


def _enters(op: Operator, graph: Graph) -> bool:
    """Whether an operator makes whole numbers of a float input of the model."""
    return op.kind == "QUANTIZE" and op.inputs[0] in graph.inputs and graph.tensors[op.inputs[0]].dtype == "FLOAT32"


def _against(op: Operator, graph: Graph) -> str:
    known = op_table()["ops"].get(op.kind)
    if known is None:
        return "the Edge TPU does not have this operator"
    if op.version > known["version"]:
        return f"version {op.version} is newer than the compiler reads (up to {known['version']}): it refuses the file"
    tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
    if not op.inputs or not op.outputs or op.outputs[0] < 0:
        return "it has no input or no output"
    for tensor in tensors:
        if tensor.constant is None and not tensor.static:
            return "a shape is not fixed"
        if tensor.constant is None and not tensor.variable and tensor.dtype not in _WHOLE:
            return f"it works on {tensor.dtype.lower()}, an unsupported data type"
        if tensor.constant is None and any(extent != 1 for extent in tensor.shape[:-3]):
            return f"its tensor of {list(tensor.shape)} has more than three axes longer than 1"
    for name in known.get("limits", ()):
        if why := LIMITS[name](op, graph):
            return why
    return ""
