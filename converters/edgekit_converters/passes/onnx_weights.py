"""Weights of matrix products in 4 or 8 bits, arithmetic in float, for ONNX: for what is bound by memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgekit_converters.errors import ConversionError
from edgekit_converters.files import versions
from edgekit_converters.passes.onnx_file import all_nodes, check_names, prepare, tidy
from edgekit_converters.passes.outcome import new_file, recorded
from edgekit_converters.passes.refusals import refusals, require
from edgekit_converters.recipe import Converted, Pass, PassContext


@dataclass(frozen=True)
class _Weights(Pass):
    """Shared by the two passes below; no samples are needed.

    The products become onnxruntime's ``MatMulNBits`` (domain ``com.microsoft``), which reads blocks of weights as it
    multiplies; other runtimes do not know it. Convolutions and embeddings stay as they are.

    Attributes:
        bits: Of a weight.
        block: How many weights in a row of the matrix share a scale and a zero point; a power of two from 16 on.
        exclude: Names of nodes that stay float.
    """

    format = "onnx"
    bits: ClassVar[int]
    block: int = 32
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.block < 16 or self.block & (self.block - 1):
            raise ValueError(f"block must be a power of two of at least 16, not {self.block}")

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply.

        Raises:
            ConversionError: The model has no matrix product with constant weights, or the quantizer refused.
        """
        require("onnx", "onnxruntime")
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

        target = new_file(context, model, f"{self.name}.onnx")
        with (
            refusals("onnxruntime's weight quantizer"),
            tempfile.TemporaryDirectory(prefix=f"{self.name}-", dir=context.folder) as work,
        ):
            prepared, written = prepare(model.path, Path(work), context.limits), Path(work) / "written.onnx"
            check_names(prepared, self.exclude)
            loaded = onnx.load(str(prepared))
            _products_apart(loaded, self.exclude)
            config = DefaultWeightOnlyQuantConfig(block_size=self.block, is_symmetric=False, bits=self.bits)
            worker = MatMulNBitsQuantizer(loaded, nodes_to_exclude=list(self.exclude), algo_config=config)
            worker.process()
            worker.model.save_model_to_file(str(written))
            if not any(n.op_type == "MatMulNBits" for n in all_nodes(onnx.load(str(written)))):
                raise ConversionError(
                    "the model has no matrix product whose weights could be stored in fewer bits",
                    "use --quantize int8 with calibration data",
                )
            tidy(written, context.limits)
            written.replace(target)
        precision = self.name.partition("-")[2]
        return recorded(self, replace(model, path=target, precision=precision), versions("onnx", "onnxruntime"))


def _products_apart(model: Any, exclude: tuple[str, ...]) -> None:
    """``Gemm`` with constant weights as ``MatMul`` and ``Add``: the quantizer knows no other products."""
    import onnx
    from onnx import numpy_helper

    constants = {t.name: t for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        attributes = {a.name: a for a in node.attribute}
        plain = all(attributes[n].f == 1 for n in ("alpha", "beta") if n in attributes)
        turned = "transA" in attributes and attributes["transA"].i
        if node.op_type != "Gemm" or node.name in exclude or not plain or turned or node.input[1] not in constants:
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        if "transB" in attributes and attributes["transB"].i:
            weight = weight.T
        name = f"{node.name or node.output[0]}_weight"
        model.graph.initializer.append(numpy_helper.from_array(weight.copy(), name))
        biased = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.output[0]}_product" if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], name], [product], node.name))
        if biased:
            added = onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], f"{node.name}_bias")
            nodes.append(added)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


@dataclass(frozen=True)
class OnnxW4(_Weights):
    """Weights of matrix products in 4 bits, arithmetic in float: an eighth of their size; no samples are needed.

    The products become ``MatMulNBits`` of onnxruntime's own domain, which other runtimes do not know.

    Attributes:
        block: How many weights in a row of the matrix share a scale and a zero point; a power of two from 16 on.
        exclude: Names of nodes that stay float.
    """

    name = "onnx-w4"
    bits = 4


@dataclass(frozen=True)
class OnnxW8(_Weights):
    """Weights of matrix products in 8 bits, arithmetic in float: a quarter of their size, hardly any loss.

    The products become ``MatMulNBits`` of onnxruntime's own domain, which other runtimes do not know. No samples
    are needed.

    Attributes:
        block: How many weights in a row of the matrix share a scale and a zero point; a power of two from 16 on.
        exclude: Names of nodes that stay float.
    """

    name = "onnx-w8"
    bits = 8
