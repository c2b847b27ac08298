"""gRPC messages to the REST form with binary tensors and back, sans-I/O: bytes stay bytes, no array is made."""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from edgekit_runtime.serve.grpc_schema import message
from edgekit_runtime.serve.http import Refused, Reply, too_large

LENGTH_HEADER = "inference-header-content-length"

# datatype to the field of InferTensorContents that holds it, and the code of `array` that narrows it
_TYPED = {
    "BOOL": ("bool_contents", "B"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}


def model_path(name: str, version: str, action: str = "") -> str:
    """Path of a model in the REST form."""
    tail = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(name, safe='')}{tail}" + (f"/{action}" if action else "")


def infer_request(request: Any, limit: int) -> tuple[bytes, int]:
    """A ModelInferRequest as a REST body.

    Args:
        request: The message.
        limit: Most bytes of tensors.

    Returns:
        The body, and how many bytes of JSON begin it. All outputs are asked for as bytes.

    Raises:
        Refused: 400, the message contradicts itself; 413, its tensors have more bytes than the limit.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Refused(400, f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs")
    entries, tail, size = [], [], 0
    for number, given in enumerate(request.inputs):
        if raw:
            if given.HasField("contents"):
                raise Refused(400, f"input {given.name[:80]!r} has both contents and raw_input_contents")
            content = raw[number]
        else:
            content = _typed_bytes(given, limit)
        size += len(content)
        if size > limit:
            raise too_large(limit)
        tail.append(content)
        parameters = {**_parameters(given.parameters), "binary_data_size": len(content)}
        entries.append(
            {"name": given.name, "datatype": given.datatype, "shape": list(given.shape), "parameters": parameters}
        )
    head: dict[str, Any] = {
        "parameters": {**_parameters(request.parameters), "binary_data_output": True},
        "inputs": entries,
    }
    if request.id:
        head["id"] = request.id
    if request.outputs:
        head["outputs"] = [
            {"name": o.name, "parameters": {**_parameters(o.parameters), "binary_data": True}} for o in request.outputs
        ]
    text = json.dumps(head).encode()
    return b"".join((text, *tail)), len(text)


def infer_response(reply: Reply) -> Any:
    """The answer to such a body as a ModelInferResponse; its tensors are in ``raw_output_contents``."""
    lengths = [v for n, v in reply.headers if n.lower() == LENGTH_HEADER]
    place = int(lengths[0]) if lengths else len(reply.body)
    said = json.loads(reply.body[:place])
    answer = message("ModelInferResponse")(
        model_name=said["model_name"], model_version=said.get("model_version", ""), id=said.get("id", "")
    )
    for entry in said["outputs"]:
        answer.outputs.add(name=entry["name"], datatype=entry["datatype"], shape=entry["shape"])
        size = entry["parameters"]["binary_data_size"]
        answer.raw_output_contents.append(reply.body[place : place + size])
        place += size
    return answer


def _typed_bytes(given: Any, limit: int) -> bytes:
    field, code = _TYPED.get(given.datatype, ("", ""))
    if not field:  # FP16 has no field, by the protocol
        raise Refused(
            400,
            f"input {given.name[:80]!r} of type {given.datatype[:20]!r} has no typed contents",
            "use raw_input_contents",
        )
    filled = [f.name for f, _ in given.contents.ListFields() if f.name != field]
    if filled:
        raise Refused(400, f"input {given.name[:80]!r} is {given.datatype}, but its contents are in {filled[0]}")
    values = getattr(given.contents, field)
    if len(values) * (array(code).itemsize if code else 4) > limit:
        raise too_large(limit)
    if not code:
        return b"".join(part for text in values for part in (struct.pack("<I", len(text)), text))
    try:
        packed = array(code, values)
    except OverflowError as error:
        raise Refused(400, f"the contents of input {given.name[:80]!r} do not fit {given.datatype}") from error
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in given.items():
        kind = value.WhichOneof("parameter_choice")
        if kind:
            found[name] = getattr(value, kind)
    return found
