"""Which operators of an ONNX file TensorRT takes, from the published operator tables of its ONNX parser.

Quantized models must be QDQ, signed and symmetric: TensorRT has no integer operators of ONNX's (QLinearConv, ...), no
dynamic quantization, and no zero points. Nothing here has run TensorRT, which comes with JetPack only; the board's own
parser has the last word when it builds the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError, UsageError
from edgekit_converters.placement.placement import CPU, OpPlacement, Placement

UNIT = "TensorRT"
_OURS = ("", "ai.onnx")
_QUANTIZED = ("QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantize", "QGemm", "DynamicQuantizeMatMul")
_COORDINATES = (b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners")
_INT8 = 3  # TensorProto.INT8
_RECURRENT = ("LSTM", "GRU", "RNN")


@cache
def tables() -> dict[str, Any]:
    """The data file: ``tables`` by version, ``since`` by operator, ``unsupported``, ``source``."""
    found: dict[str, Any] = json.loads(files(__package__).joinpath("tensorrt.json").read_text("utf-8"))
    return found


def check(path: Path, version: str = "10.3") -> Placement:
    """Hold an ONNX file against one version's operator table.

    Args:
        path: The ONNX file; weights beside it are not read.
        version: TensorRT version that there is a table for.

    Raises:
        SourceError: It cannot be read or is no ONNX model.
        UsageError: There is no table for the version.
    """
    known = tables()["tables"]
    if version not in known:
        raise UsageError(f"there is no operator table for TensorRT {version!r:.20}", f"there are {', '.join(known)}")
    model = _load(path)
    opset = max((o.version for o in model.opset_import if o.domain in _OURS), default=0)
    constants = {i.name: i for i in model.graph.initializer}
    constants |= {n.output[0]: _value(n) for n in model.graph.node if n.op_type == "Constant" and n.output}
    newer = f"opset {opset} is newer than TensorRT {version} reads (up to {known[version]['opset']})"
    too_new = newer if opset > known[version]["opset"] else ""
    rows = []
    for index, node in enumerate(model.graph.node):
        why = too_new or _against(node, version, constants, model.functions)
        rows.append(OpPlacement(index, node.op_type, CPU if why else UNIT, why))
    notes = (f"Checked against the operator table of TensorRT {version}; no TensorRT has seen the model.",)
    return Placement(UNIT, tuple(rows), "predicted", {}, notes)


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except OSError as error:
        raise SourceError(f"cannot read {path} ({error.strerror or error})") from error
    except (DecodeError, ValueError, UnicodeDecodeError) as error:
        raise SourceError(f"{path.name} is not an ONNX model, or damaged") from error
    if not model.opset_import or not model.graph.node:
        raise SourceError(f"{path.name} is not an ONNX model: it has no operators or no opset")
    return model


def _value(node: Any) -> Any:
    return next((a.t for a in node.attribute if a.name == "value"), None)


def _attribute(node: Any, name: str) -> Any:
    return next((a for a in node.attribute if a.name == name), None)


def _nested(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from graph.node


def _against(node: Any, version: str, constants: Mapping[str, Any], functions: Any) -> str:
    kind = node.op_type
    if kind.startswith(_QUANTIZED):
        return "TensorRT takes quantized models as QDQ only, not with integer operators or dynamic quantization"
    if node.domain not in _OURS:
        if any(f.name == kind and f.domain == node.domain for f in functions):
            return ""  # its parser unfolds functions that the model brings
        return f"TensorRT does not have operators of {node.domain}"
    since = tables()["since"].get(kind)
    if since is None:
        return f"TensorRT {version} does not have this operator"
    if _number(since) > _number(version):
        return f"TensorRT has this operator from {since} on, not in {version}"
    if kind in ("QuantizeLinear", "DequantizeLinear"):
        return _asymmetric(node, constants)
    for place in tables()["constant_inputs"].get(kind, {}).get("8.5", ()):
        if len(node.input) > place and node.input[place] and node.input[place] not in constants:
            return f"its input {place} must be constant"
    if why := _restricted(node):
        return why
    for inner in _nested(node):
        if why := _against(inner, version, constants, functions):
            return f"it holds {inner.op_type}: {why}"
    return ""


def _asymmetric(node: Any, constants: Mapping[str, Any]) -> str:
    """What is against a Q or DQ: unsigned, or a zero point."""
    if len(node.input) < 3 or not node.input[2]:
        kind = _attribute(node, "output_dtype")
        if node.op_type == "QuantizeLinear" and (kind is None or kind.i == 0):
            return "without a zero point it makes uint8, TensorRT takes signed int8 only"
        return ""
    zero = constants.get(node.input[2])
    if zero is None:
        return "its zero point is not constant"
    if zero.data_type == 2:  # TensorProto.UINT8
        return "it is uint8, TensorRT takes signed, symmetric quantization only"
    if zero.data_type != _INT8:
        return "" if node.op_type == "DequantizeLinear" and zero.data_type == 6 else "it is not int8"
    values = zero.raw_data if zero.raw_data else bytes(v & 0xFF for v in zero.int32_data)
    return "its zero point is not 0, TensorRT takes symmetric quantization only" if any(values) else ""


def _restricted(node: Any) -> str:
    """Restrictions that the tables put on attributes and outputs."""
    kind = node.op_type
    if kind == "MaxPool" and len(node.output) > 1 and node.output[1]:
        return "its second output (indices) is not supported"
    if kind in ("AveragePool", "MaxPool", "LpPool"):
        shape = _attribute(node, "kernel_shape")
        if shape is not None and kind != "LpPool" and len(shape.ints) not in (2, 3):
            return "only pooling over two or three axes is supported"
        dilations = _attribute(node, "dilations")
        if dilations is not None and any(d != 1 for d in dilations.ints):
            return "dilated pooling is not supported"
    if kind == "Resize":
        mode, transform = _attribute(node, "mode"), _attribute(node, "coordinate_transformation_mode")
        if mode is not None and mode.s not in (b"nearest", b"linear"):
            return f"resizing by {mode.s.decode(errors='replace')} is not supported"
        if transform is not None and transform.s not in _COORDINATES:
            return f"resizing with {transform.s.decode(errors='replace')} is not supported"
        antialias = _attribute(node, "antialias")
        if antialias is not None and antialias.i:
            return "resizing with antialiasing is not supported"
    if kind == "LayerNormalization" and sum(bool(o) for o in node.output) > 1:
        return "only its first output is supported"
    if kind in _RECURRENT:
        layout = _attribute(node, "layout")
        if layout is not None and layout.i:
            return "only layout 0 is supported"
    return ""


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
