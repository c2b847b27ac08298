"""ONNX files before and after a quantizer: made easy for it, and cleaned of what it leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgekit_converters.errors import ConversionError
from edgekit_converters.limits import TargetLimits

PER_CHANNEL_OPSET = 13
"""First opset whose DequantizeLinear knows an axis."""
_PER_CHANNEL_IR = 7
_STANDARD = ("", "ai.onnx")
_NO_NUMBERS = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Concat")
"""Standard operators that scikit-learn's models have around their own."""


def opset(model: Any) -> int:
    """Version of the standard operators a model (onnx.ModelProto) uses; 0 for none."""
    return max((o.version for o in model.opset_import if o.domain in _STANDARD), default=0)


def constants_only(model: Any) -> None:
    """Take initializers off the graph's inputs, where IR versions up to 3 list them.

    An input may be fed another value, so quantizers and optimizers would not touch such weights.
    """
    names = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in names]
    if len(kept) == len(model.graph.input):
        return
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)


def refuse_without_layers(path: Path) -> None:
    """Refuse a model whose operators are all of another domain, as scikit-learn's and the tree libraries' are.

    Raises:
        ConversionError: There is no standard operator; names what there is.
    """
    import onnx

    nodes = list(all_nodes(onnx.load(str(path), load_external_data=False)))
    if nodes and not any(node.domain in _STANDARD and node.op_type not in _NO_NUMBERS for node in nodes):
        kinds = ", ".join(sorted({node.op_type for node in nodes if node.domain not in _STANDARD})) or "no layers"
        raise ConversionError(
            f"there is nothing to quantize in a model of {kinds}",
            "use --quantize fp32, or give the scikit-learn, XGBoost or LightGBM file itself, which becomes plain code",
        )


def prepare(path: Path, folder: Path, limits: TargetLimits) -> Path:
    """A copy that a quantizer takes: constants folded, Conv+BatchNorm fused, shapes inferred, opset ≥ 13.

    Args:
        path: The float model.
        folder: Where the copy goes.
        limits: The target's highest opset holds.

    Raises:
        ConversionError: The target takes no opset with per-channel quantization.
    """
    import onnx
    from onnx import version_converter

    model = onnx.load(str(path))
    constants_only(model)
    if opset(model) < PER_CHANNEL_OPSET:
        if limits.max_opset < PER_CHANNEL_OPSET:
            raise ConversionError(
                f"quantization per channel needs ONNX opset {PER_CHANNEL_OPSET}, the target takes {limits.max_opset}",
                "use --quantize fp32 or another --format",
            )
        model = version_converter.convert_version(model, PER_CHANNEL_OPSET)
    given, target = folder / "given.onnx", folder / "prepared.onnx"
    onnx.save(model, str(given))
    _optimize(given, target)
    prepared = onnx.load(str(target))
    _flat_biases(prepared)
    onnx.save(prepared, str(target))
    return target


def _optimize(given: Path, target: Path) -> None:
    """Prepare by onnxruntime, with symbolic shapes where those can be told and without where not."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given, target = given.absolute(), target.absolute()
    try:
        with contextlib.chdir(target.parent):  # where it fails it leaves what it had, as large as the model
            quant_pre_process(str(given), str(target))
    except Exception:  # symbolic inference raises bare Exception on operators it does not know; plain inference remains
        quant_pre_process(str(given), str(target), skip_symbolic_shape=True)


def _flat_biases(model: Any) -> None:
    """Gemm biases of shape (1, N) become (N): broadcast to the same, and the quantizer fails on the others."""
    from onnx import numpy_helper

    biases = {n.input[2] for n in model.graph.node if n.op_type == "Gemm" and len(n.input) > 2}
    others = {name for n in model.graph.node if n.op_type != "Gemm" for name in n.input}
    for tensor in model.graph.initializer:
        if tensor.name in biases - others and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).reshape(-1), tensor.name))
            for value in (*model.graph.value_info, *model.graph.input):
                if value.name == tensor.name:
                    del value.type.tensor_type.shape.dim[0]


def tidy(path: Path, limits: TargetLimits) -> None:
    """Write a quantized file again without what would make an older runtime refuse it.

    onnxruntime's optimizer lists every operator set of its own build as needed (``ai.onnx.ml`` 5, training, …);
    only those in use stay. The IR version becomes one that the target reads.

    Raises:
        ConversionError: The result needs a newer opset than the target takes.
    """
    import onnx

    model = onnx.load(str(path))
    used = {node.domain for node in all_nodes(model)}
    used |= {"" if domain in _STANDARD else domain for domain in used}
    kept = [o for o in model.opset_import if ("" if o.domain in _STANDARD else o.domain) in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    if opset(model) > limits.max_opset:
        raise ConversionError(
            f"the quantized model needs ONNX opset {opset(model)}, the target takes up to {limits.max_opset}",
            "use --quantize fp32",
        )
    lowest = _PER_CHANNEL_IR if opset(model) >= PER_CHANNEL_OPSET else model.ir_version
    model.ir_version = min(max(model.ir_version, lowest), limits.max_ir)
    onnx.save(model, str(path))


def check_names(path: Path, names: Iterable[str]) -> None:
    """Whether a file has nodes of those names.

    Raises:
        ConversionError: It lacks one; names it.
    """
    import onnx

    unknown = set(names) - {node.name for node in all_nodes(onnx.load(str(path), load_external_data=False))}
    if unknown:
        raise ConversionError(
            f"the model has no node {min(unknown)!r:.80} to keep in float",
            "take the names from the model as the quantizer sees it, after Conv+BatchNorm fusion",
        )


def all_nodes(model: Any) -> Iterator[Any]:
    """Every node of a model, those of functions and of the bodies of If, Loop and Scan included."""
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)


def _nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g.node)
            for graph in attribute.graphs:
                yield from _nodes(graph.node)
