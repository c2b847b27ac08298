"""Dynamic int8 for ONNX: weights only, activations quantized as they come. For transformers."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit_converters.files import versions
from edgekit_converters.passes.onnx_file import all_nodes, check_names, prepare, tidy
from edgekit_converters.passes.outcome import new_file, recorded
from edgekit_converters.passes.refusals import refusals, refuse_convolutional, require
from edgekit_converters.recipe import Converted, Pass, PassContext

_GAINS = ("MatMul", "Gemm", "Attention")
_LOSES = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class OnnxDynamic(Pass):
    """int8 weights of matrix products; convolutions stay float: dynamic ones are slower than that.

    Attributes:
        per_channel: Whether each output channel of a weight has its own scale.
        exclude: Names of nodes that stay float.
    """

    name = "onnx-dynamic"
    format = "onnx"
    per_channel: bool = True
    exclude: tuple[str, ...] = ()

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply.

        Raises:
            ConversionError: Convolutions dominate the model, or the quantizer refused.
        """
        require("onnx", "onnxruntime")
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        kinds = [node.op_type for node in all_nodes(onnx.load(str(model.path), load_external_data=False))]
        refuse_convolutional(sum(k in _GAINS for k in kinds), sum(k in _LOSES for k in kinds))
        target = new_file(context, model, "onnx-dynamic.onnx")
        with (
            refusals("onnxruntime's quantizer"),
            tempfile.TemporaryDirectory(prefix="onnx-dynamic-", dir=context.folder) as work,
        ):
            written = Path(work) / "quantized.onnx"
            prepared = prepare(model.path, Path(work), context.limits)
            check_names(prepared, self.exclude)
            quantize_dynamic(
                str(prepared),
                str(written),
                op_types_to_quantize=[*_GAINS, "Gather"],  # tables of vectors: no faster, a quarter of the size
                per_channel=self.per_channel,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(self.exclude),
            )
            _one_zero_point(written)
            tidy(written, context.limits)
            written.replace(target)
        return recorded(self, replace(model, path=target, precision="dynamic"), versions("onnx", "onnxruntime"))


def _one_zero_point(path: Path) -> None:
    """Weights whose zero points are 0 in every channel get a single one.

    onnxruntime corrects each output by its channel's zero point otherwise: some 2 % of a MiniLM's time at 16 tokens.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        points = tensors.get(node.input[3]) if node.op_type == "MatMulInteger" and len(node.input) > 3 else None
        if points is not None and points.dims and not numpy_helper.to_array(points).any():
            points.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(points).reshape(-1)[0], points.name))
    onnx.save(model, str(path))
