"""Which operators of an ONNX file onnxruntime's CPU provider computes with integers, after it has optimized the graph.

A quantized file in QDQ form holds float operators between DequantizeLinear and QuantizeLinear. onnxruntime fuses those
that it has an integer kernel for (QLinearConv, QLinearMatMul, MatMulInteger, ...) while it loads the file; what it does
not fuse runs in float, with the conversions on top. So the file is loaded, and the graph that would run is looked at.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError
from edgekit_converters.placement.placement import CPU, OpPlacement, Placement
from edgekit_converters.quiet import quiet
from edgekit_runtime.backends.onnx import unwanted_optimizers

UNIT = "integer kernels"

# github.com/microsoft/onnxruntime, docs/OperatorKernels.md (CPU provider), and ONNX's own; seen with 1.2x, 2026-11-25
_INTEGER = {
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
    "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QGemm", "QAttention",
    "QLinearAdd", "QLinearMul", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearConcat", "QLinearLeakyRelu",
    "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere", "QLinearReduceMean",
}  # fmt: skip
_TO_INTEGER = {n for n in _INTEGER if n.startswith("QLinear")} | {"QuantizeLinear", "DynamicQuantizeLinear"}
# these move or compare values, of whatever type they are
_MOVES = {
    "MaxPool", "NhwcMaxPool", "Reshape", "Transpose", "Concat", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather",
    "Pad", "Split", "Resize", "Identity", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Relu", "Clip", "Max",
    "Min",
}  # fmt: skip
_CONVERSIONS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def measure(path: Path) -> Placement:
    """Load an ONNX file as onnxruntime would run it and see which of its operators compute with integers.

    Rows are the operators of the optimized graph: fused ones count once.

    Raises:
        SourceError: It cannot be read, or onnxruntime refuses it.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        optimized = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized)
        # so that a model of gigabytes is not one message, which protobuf would not write
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        try:
            with quiet():
                onnxruntime.InferenceSession(
                    str(path),
                    options,
                    providers=["CPUExecutionProvider"],
                    disabled_optimizers=unwanted_optimizers(["CPUExecutionProvider"]),
                )
            graph = onnx.load(str(optimized), load_external_data=False).graph
        except Exception as error:  # onnxruntime's errors are classes of their own, of no common base but this
            raise SourceError(f"onnxruntime refuses {path.name} ({' '.join(str(error).split())[:200]})") from error
    notes = (
        "Operators as onnxruntime runs them, after its graph optimization here; another version, or the board's "
        "processor, may fuse otherwise.",
    )
    return Placement(UNIT, tuple(_rows(graph)), "measured here", {}, notes)


def _rows(graph: Any) -> list[OpPlacement]:
    """Where each operator of the graph, which is in the order of execution, runs."""
    integers: set[str] = set()
    rows = []
    for index, node in enumerate(graph.node):
        moved = node.op_type in _MOVES and bool(node.input) and node.input[0] in integers
        if node.op_type in _TO_INTEGER or moved:
            integers.update(node.output)
        if node.op_type in _INTEGER or moved:
            rows.append(OpPlacement(index, node.op_type, UNIT))
        elif node.op_type in _CONVERSIONS:
            rows.append(OpPlacement(index, node.op_type, CPU, "converts between float and integers"))
        else:
            rows.append(OpPlacement(index, node.op_type, CPU, "computes in float"))
    return rows
