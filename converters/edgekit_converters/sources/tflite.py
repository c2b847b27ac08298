"""TFLite files as sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit_converters.errors import SourceError
from edgekit_converters.files import bind, open_model, versions
from edgekit_converters.isolated import Worker
from edgekit_converters.limits import TargetLimits
from edgekit_converters.quiet import quiet
from edgekit_converters.recipe import Converted
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.filemodel import FileSource
from edgekit_converters.sources.onnx import converted_onnx, fit_limits
from edgekit_runtime.manifest import Binding

_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D")


class TfliteKind(SourceKind):
    """``.tflite`` files."""

    name = "tflite"
    extra = "quantize"

    def claims(self, request: SourceRequest) -> bool:
        """By suffix."""
        return request.model.lower().endswith(".tflite")

    def load(self, request: SourceRequest) -> Source:
        """Open the file."""
        path = Path(request.model)
        if not path.is_file():
            raise SourceError(f"there is no file {path}")
        return FileSource(path, "tflite")

    def conversions(self) -> Mapping[str, Conversion]:
        """TFLite stays, or becomes ONNX by tf2onnx."""
        return {"tflite": to_tflite, "onnx": to_onnx}


def converted_tflite(
    path: Path,
    source: Source,
    precision: str = "fp32",
    transpose: dict[str, tuple[int, ...]] | None = None,
) -> Converted:
    """Describe a written TFLite file as a conversion of a source."""
    session = open_model(path, "tflite")
    result = Converted(
        path,
        "tflite",
        precision,
        bind(source.inputs, session.inputs, transpose=transpose),
        bind(source.outputs, session.outputs),
        tools=versions("ai-edge-litert"),
    )
    session.close()
    return result


def precision_of(path: Path) -> str:
    """What numbers a file computes with: ``int8``, ``w8a16``, ``dynamic``, ``fp16`` or ``fp32``.

    Decided by what its convolutions and matrix products take and give: whole numbers throughout is static
    quantization, whole-number weights between floats is dynamic, float16 tensors are weights kept in half.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # without a delegate: XNNPACK would hide the operations that it takes over
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet():
        interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    kinds = {d["index"]: np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()}
    scaled = {d["index"] for d in interpreter.get_tensor_details() if d["quantization_parameters"]["scales"].size}
    found = set()
    for operation in interpreter._get_ops_details():
        if operation["op_name"] not in _PRODUCTS:
            continue
        data = 2 if operation["op_name"] == "TRANSPOSE_CONV" else 0
        taken, weight = operation["inputs"][data], operation["inputs"][1]
        if weight not in scaled:
            continue
        found.add({"int8": "int8", "uint8": "int8", "int16": "w8a16"}.get(kinds.get(taken, ""), "dynamic"))
    for precision in ("int8", "w8a16", "dynamic"):
        if precision in found:
            return precision
    ends = [d for d in (*interpreter.get_input_details(), *interpreter.get_output_details()) if d["index"] in scaled]
    return "int8" if ends else "fp16" if "float16" in kinds.values() else "fp32"


def to_tflite(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """Take the file as it is."""
    assert isinstance(source, FileSource)  # noqa: S101 - this row of the table makes them
    target = folder / "tflite-float.tflite"
    target.write_bytes(source.content)
    return converted_tflite(target, source, precision_of(target))


def to_onnx(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By tf2onnx, in a child process (it needs TensorFlow)."""
    assert isinstance(source, FileSource)  # noqa: S101 - as above
    target = folder / "onnx-float.onnx"
    with Worker("tensorflow", "tensorflow") as worker:
        worker.call(
            "edgekit_converters.sources.keras_child:tflite_to_onnx",
            path=str(source.path),
            target=str(target),
            opset=min(limits.max_opset, 18),
        )
    fit_limits(target, limits)
    result = converted_onnx(target, source, precision_of(source.path))
    # an ONNX file has whole numbers at its ends without saying what they stand for: the TFLite file knows
    return replace(
        result,
        inputs=_with_scales(result.inputs, source.bindings[0]),
        outputs=_with_scales(result.outputs, source.bindings[1]),
    )


def _with_scales(found: tuple[Binding, ...], known: tuple[Binding, ...]) -> tuple[Binding, ...]:
    return tuple(
        replace(f, scale=k.scale, zero_point=k.zero_point) if f.dtype == k.dtype else f
        for f, k in zip(found, known, strict=True)
    )


KIND = TfliteKind()
