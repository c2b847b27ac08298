"""What a float model looks like to whoever chooses a recipe: its operators, and how it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.onnx_file import prepare
from edgekit_converters.recipe import Converted
from edgekit_converters.tap import OnnxTap, Step, open_tap

CONVOLUTIONS = ("Conv", "ConvTranspose", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D")
PRODUCTS = ("MatMul", "Gemm", "Attention", "FULLY_CONNECTED", "BATCH_MATMUL")
_PLAIN_ENDS = (
    "Softmax", "Sigmoid", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Relu", "Cast",
    "SOFTMAX", "LOGISTIC", "RESHAPE", "SQUEEZE", "TRANSPOSE", "RELU", "CAST", "EXPAND_DIMS",
)  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """A model's operations, named as the passes' `exclude` names them.

    Attributes:
        steps: In the order of running; for ONNX as prepared for quantization.
        tail: Names of what lies between the last weighted layers and the outputs, as a detector's decoding of boxes.
        joins: Whether that is more than a softmax or a reshape: several tensors meet in it.
    """

    steps: tuple[Step, ...]
    tail: tuple[str, ...]
    joins: bool

    @property
    def convolutions(self) -> int:
        """How many there are."""
        return sum(step.op in CONVOLUTIONS for step in self.steps)

    @property
    def products(self) -> int:
        """How many matrix products there are."""
        return sum(step.op in PRODUCTS for step in self.steps)

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of the layers with weights."""
        return tuple(step.name for step in self.steps if step.op in (*CONVOLUTIONS, *PRODUCTS))


def outline(model: Converted) -> Outline:
    """Look at a float ONNX or TFLite model."""
    if model.format == "onnx":
        with tempfile.TemporaryDirectory(prefix="edgekit-outline-") as work:
            steps = OnnxTap(prepare(model.path, Path(work), TargetLimits(("onnx",)))).steps
    else:
        steps = open_tap(model.path, model.format).steps
    tail = _tail(steps, [binding.name for binding in model.outputs])
    kinds = [step.op for step in steps if step.name in tail]
    return Outline(tuple(steps), tail, any(kind not in _PLAIN_ENDS for kind in kinds))


def _tail(steps: Sequence[Step], outputs: Sequence[str]) -> tuple[str, ...]:
    makers = {name: step for step in steps for name in step.outputs}
    found: dict[str, Step] = {}
    waiting = [makers[name] for name in outputs if name in makers]
    while waiting:
        step = waiting.pop()
        if step.name in found or step.op in (*CONVOLUTIONS, *PRODUCTS):
            continue
        found[step.name] = step
        waiting += [makers[name] for name in step.inputs if name in makers]
    return tuple(step.name for step in steps if step.name in found)
