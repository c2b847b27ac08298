"""ONNX files as sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit_converters.errors import ConversionError, SourceError, UsageError
from edgekit_converters.files import bind, open_model, versions
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.filemodel import FileSource

_STATIC = {"QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}
_LARGEST = 2**31 - 1
"""Bytes of one protobuf message."""
_DYNAMIC = {"DynamicQuantizeLinear", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits"}


class OnnxKind(SourceKind):
    """``.onnx`` files."""

    name = "onnx"
    extra = "quantize"

    def claims(self, request: SourceRequest) -> bool:
        """By suffix."""
        return request.model.lower().endswith(".onnx")

    def load(self, request: SourceRequest) -> Source:
        """Check and open the file; extents that may vary are fixed where the user gave them."""
        path = Path(request.model)
        model = _read(path)
        external = _external_files(path, model)
        content = path.read_bytes()
        if external or request.shapes:
            model = _with_data(path, model)
            _fix_shapes(path, model, request.shapes)
            content = model.SerializeToString()
        return FileSource(path, "onnx", content, external)

    def conversions(self) -> Mapping[str, Conversion]:
        """ONNX stays ONNX."""
        return {"onnx": to_onnx}


def _read(path: Path) -> Any:
    """The parsed model, without its external data.

    Raises:
        SourceError: Not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    try:
        model = onnx.load(str(path), load_external_data=False)
        _external_files(path, model)
        onnx.checker.check_model(str(path))  # by path: it then knows where external data must lie
    except (DecodeError, onnx.checker.ValidationError) as error:
        words = str(error).strip().splitlines() or ["it cannot be parsed"]
        raise SourceError(f"{path.name} is not a valid ONNX model ({words[0][:160]})") from error
    return model


def _external_files(path: Path, model: Any) -> tuple[Path, ...]:
    """Files beside the model that hold its tensors.

    Raises:
        SourceError: One lies outside the model's folder, or is not there.
    """
    from onnx import external_data_helper as helper

    found = []
    for tensor in helper._get_all_tensors(model):
        for entry in tensor.external_data:
            if entry.key != "location":
                continue
            file = path.parent / entry.value
            if Path(entry.value).is_absolute() or path.parent.resolve() not in file.resolve().parents:
                raise SourceError(f"{path.name} refers to data outside its folder ({entry.value[:60]})")
            if not file.is_file():
                raise SourceError(f"{path.name} keeps weights in {entry.value[:60]}, which is not beside it")
            found.append(file)
    return tuple(dict.fromkeys(found))


def _with_data(path: Path, model: Any) -> Any:
    from onnx import external_data_helper as helper

    try:
        helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read the weights beside {path.name} ({str(error)[:120]})") from error
    if model.ByteSize() >= _LARGEST:
        raise SourceError(f"{path.name} is larger than 2 GiB with its weights, more than one ONNX file can hold")
    return model


def _fix_shapes(path: Path, model: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write the user's extents over the free ones of the model's inputs.

    Raises:
        UsageError: No such input, or the file states other extents.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in constants}
    for name, shape in shapes.items():
        value = inputs.get(name) if name else next(iter(inputs.values())) if len(inputs) == 1 else None
        if value is None:
            raise UsageError(f"{path.name} has no input {name!r}", f"its inputs are {', '.join(inputs)}")
        extents = value.type.tensor_type.shape.dim
        have = [e.dim_value if e.HasField("dim_value") else -1 for e in extents]
        if len(have) != len(shape) or any(h not in (-1, w) and w != -1 for h, w in zip(have, shape, strict=True)):
            raise UsageError(f"input {value.name!r} of {path.name} has shape {have}, not {list(shape)}")
        for extent, wanted in zip(extents, shape, strict=True):
            if wanted != -1:
                extent.dim_value = wanted
    if shapes:  # what the file says of later tensors was for the free extents
        del model.graph.value_info[:]
        for value in model.graph.output:
            for extent in value.type.tensor_type.shape.dim:
                if extent.HasField("dim_param"):
                    extent.Clear()


def fit_limits(path: Path, limits: TargetLimits) -> None:
    """Make a file's opset and IR version what a target reads, rewriting it where they are too high.

    Raises:
        ConversionError: Its operations cannot be said in so low an opset; names the versions.
    """
    import onnx
    from onnx import version_converter

    model = onnx.load(str(path))
    opset = opset_of(model)
    if opset > limits.max_opset:
        try:
            model = version_converter.convert_version(model, limits.max_opset)
            onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # the converter raises RuntimeError or its own kinds for operations it cannot lower
            raise ConversionError(
                f"the model uses ONNX opset {opset}, the target takes up to {limits.max_opset}, and it cannot be "
                f"lowered ({' '.join(str(error).split())[:120]})",
                "export the original model again with the lower opset",
            ) from error
    elif model.ir_version <= limits.max_ir:
        return
    model.ir_version = min(model.ir_version, limits.max_ir)
    onnx.save(model, str(path))


def opset_of(model: Any) -> int:
    """Version of the standard operators; 0 for none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def precision_of(model: Any) -> str:
    """What numbers a model computes with: ``int8``, ``dynamic``, ``fp16`` or ``fp32``."""
    from onnx import TensorProto

    operators = {node.op_type for node in model.graph.node}
    if operators & _STATIC:
        return "int8"
    if operators & _DYNAMIC or "DequantizeLinear" in operators:
        return "dynamic"
    kinds = [t.data_type for t in model.graph.initializer if t.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)]
    return "fp16" if kinds.count(TensorProto.FLOAT16) * 2 > len(kinds) else "fp32"


def converted_onnx(path: Path, source: Source, precision: str = "fp32") -> Converted:
    """Describe a written ONNX file as a conversion of a source."""
    session = open_model(path, "onnx")
    result = Converted(
        path,
        "onnx",
        precision,
        bind(source.inputs, session.inputs),
        bind(source.outputs, session.outputs),
        tools=versions("onnx", "onnxruntime"),
    )
    session.close()
    return result


def to_onnx(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """Take the file as it is, in an opset that the target reads."""
    assert isinstance(source, FileSource)  # noqa: S101 - this row of the table makes them
    target = folder / "onnx-float.onnx"
    target.write_bytes(source.content)
    fit_limits(target, limits)
    return converted_onnx(target, source, precision_of(_read(target)))


KIND = OnnxKind()
