"""Open Inference Protocol v2, sans-I/O: bytes of an ``/infer`` request to arrays, and arrays to bytes of its answer.

The REST form with the binary tensor extension, as Triton's clients use it: JSON first, its length in the header
``Inference-Header-Content-Length``, then the tensors' little-endian bytes in the order of the inputs. BYTES elements
have their length before them in four bytes. Sources: the KServe "Open Inference Protocol" and Triton's
"extension_binary_data" documents.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import numpy as np

from edgekit_runtime.serve.datatypes import DATATYPES
from edgekit_runtime.serve.http import Refused, Reply, dump_json
from edgekit_runtime.serve.numbers import MAX_RANK, flatten, load_with_spans, to_array

_DTYPES = {v: k for k, v in DATATYPES.items()}
_MAX_VALUES = 2**40  # numpy cannot make a shape of zero values whose other axes overflow
LENGTH_HEADER = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Wanted:
    """One output that the request asks for.

    Attributes:
        name: Its name.
        binary: Whether its values shall follow the JSON as bytes.
    """

    name: str
    binary: bool


@dataclass(frozen=True)
class InferRequest:
    """A decoded request.

    Attributes:
        inputs: Name to array, in the request's order; texts are arrays of `str` objects.
        outputs: Outputs asked for; empty for all.
        binary: Whether outputs that are not listed shall be binary.
        id: What the client calls the request; None for nothing.
        timeout: Seconds from its arrival after which nobody waits for the answer; None for no limit.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: tuple[Wanted, ...] = ()
    binary: bool = False
    id: Optional[str] = None
    timeout: Optional[float] = None


@dataclass
class _Tail:
    """The bytes behind the JSON, handed out in order."""

    content: memoryview
    place: int = field(default=0)

    def take(self, size: int, name: str) -> memoryview:
        if size > len(self.content) - self.place:
            raise Refused(400, f"input {name!r} states {size} bytes of binary data, but the body ends before")
        self.place += size
        return self.content[self.place - size : self.place]


def decode_request(body: Union[bytes, memoryview], header_length: Optional[int]) -> InferRequest:
    """An ``/infer`` body, decompressed, to arrays.

    Args:
        body: JSON, and binary tensors behind it.
        header_length: Bytes of JSON; None where it is all JSON.

    Raises:
        Refused: 400, with what is wrong.
    """
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise Refused(400, f"{LENGTH_HEADER} is {length}, but the body has {len(body)} bytes")
    tail = _Tail(memoryview(body)[length:])
    head, spans = load_with_spans(bytes(body[:length]))
    if not isinstance(head, dict):
        raise Refused(400, "the request is not a JSON object")
    parameters = _object(head, "parameters", "the request")
    inputs: dict[str, np.ndarray] = {}
    for entry in _entries(head, "inputs"):
        name = _name(entry, "an input")
        if name in inputs:
            raise Refused(400, f"input {name!r} is given twice")
        inputs[name] = _tensor(entry, name, tail, spans)
    if not inputs:
        raise Refused(400, "the request has no inputs")
    if tail.place != len(tail.content):
        raise Refused(400, f"{len(tail.content) - tail.place} bytes of binary data belong to no input")
    binary = _flag(parameters, "binary_data_output", False)
    outputs = tuple(_wanted(entry, binary) for entry in _entries(head, "outputs"))
    if len({o.name for o in outputs}) != len(outputs):
        raise Refused(400, "an output is asked for twice")
    return InferRequest(inputs, outputs, binary, _id(head), _timeout(parameters))


def encode_reply(
    model: str,
    version: str,
    request: InferRequest,
    outputs: Mapping[str, np.ndarray],
    dtypes: Mapping[str, str],
) -> Reply:
    """The answer to a request.

    Args:
        model: Name of the model.
        version: Its version.
        request: What was asked.
        outputs: All outputs of the model, name to array.
        dtypes: Their types, as the manifest says them.

    Raises:
        Refused: 400 where an output is asked for that is not there; 422 where JSON cannot say a value.
    """
    wanted = request.outputs or tuple(Wanted(n, request.binary) for n in outputs)
    entries, tail = [], []
    for want in wanted:
        if want.name not in outputs:
            raise Refused(400, f"the model has no output {want.name[:80]!r}", f"it gives {', '.join(outputs)}")
        array, dtype = outputs[want.name], dtypes[want.name]
        entry: dict[str, Any] = {"name": want.name, "datatype": DATATYPES[dtype], "shape": list(array.shape)}
        if want.binary:
            content = tensor_bytes(array, dtype)
            entry["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
        else:
            entry["data"] = json_values(array, dtype)
        entries.append(entry)
    said: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if request.id is not None:
        said["id"] = request.id
    head = dump_json(said)
    if not tail:
        return Reply(200, head, "application/json")
    return Reply(200, b"".join((head, *tail)), "application/octet-stream", ((LENGTH_HEADER, str(len(head))),))


def tensor_bytes(array: np.ndarray, dtype: str) -> bytes:
    """An array as the binary tensor extension has it."""
    if dtype != "string":
        return np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
    texts = [t if isinstance(t, bytes) else str(t).encode("utf-8", "surrogateescape") for t in array.ravel().tolist()]
    return b"".join(part for text in texts for part in (struct.pack("<I", len(text)), text))


def json_values(array: np.ndarray, dtype: str) -> list[Any]:
    """An array as a flat list for JSON."""
    values: list[Any] = array.ravel().tolist()
    if dtype == "string":
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
    return values


def _tensor(entry: Mapping[str, Any], name: str, tail: _Tail, spans: Mapping[str, np.ndarray]) -> np.ndarray:
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or any(type(e) is not int or e < 0 for e in shape):
        raise Refused(400, f"the shape of input {name!r} is not a list of whole numbers")
    if math.prod(e or 1 for e in shape) > _MAX_VALUES:
        raise Refused(400, f"the shape of input {name!r} is larger than any tensor")
    dtype = _DTYPES.get(str(entry.get("datatype")))
    if dtype is None:
        raise Refused(400, f"the datatype of input {name!r} is not one of {', '.join(_DTYPES)}")
    count = math.prod(shape)
    parameters = _object(entry, "parameters", f"input {name!r}")
    if "shared_memory_region" in parameters:
        raise Refused(400, f"input {name!r} is in shared memory, which is not offered here", "send its data")
    size = parameters.get("binary_data_size")
    if size is None:
        return _listed(entry, name, spans, dtype, count).reshape(shape)
    if "data" in entry:
        raise Refused(400, f"input {name!r} has both data and binary_data_size")
    if type(size) is not int or size < 0:
        raise Refused(400, f"binary_data_size of input {name!r} is not a whole number")
    content = tail.take(size, name)
    if dtype == "string":
        return _texts(content, count, name).reshape(shape)
    kind = np.dtype(dtype).newbyteorder("<")
    if size != count * kind.itemsize:
        raise Refused(400, f"input {name!r} has {size} bytes; its shape {shape} takes {count * kind.itemsize}")
    return np.frombuffer(content, kind).astype(dtype, copy=False).reshape(shape)


def _listed(entry: Mapping[str, Any], name: str, spans: Mapping[str, np.ndarray], dtype: str, count: int) -> np.ndarray:
    data = entry.get("data")
    if isinstance(data, str) and data in spans:
        array = to_array(spans[data], dtype, name)
    elif isinstance(data, list):
        array = to_array(flatten(data)[1], dtype, name)
    else:
        raise Refused(400, f"input {name!r} has no list of data")
    if array.size != count:
        raise Refused(400, f"input {name!r} has {array.size} values; its shape takes {count}")
    return array


def _texts(content: memoryview, count: int, name: str) -> np.ndarray:
    found: list[str] = []
    place = 0
    while place < len(content):
        if len(content) - place < 4:
            raise Refused(400, f"the BYTES of input {name!r} are truncated")
        (size,) = struct.unpack_from("<I", content, place)
        place += 4
        if size > len(content) - place:
            raise Refused(400, f"the BYTES of input {name!r} are truncated")
        try:
            found.append(str(content[place : place + size], "utf-8"))
        except UnicodeDecodeError as error:
            raise Refused(400, f"the BYTES of input {name!r} are not UTF-8 text") from error
        place += size
    if len(found) != count:
        raise Refused(400, f"input {name!r} has {len(found)} texts; its shape takes {count}")
    texts = np.empty(count, object)
    texts[:] = found
    return texts


def _entries(head: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = head.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise Refused(400, f"{key} is not a list of objects")
    return entries


def _object(entry: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = entry.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(400, f"the {key} of {where} are not an object")
    return value


def _name(entry: Mapping[str, Any], what: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise Refused(400, f"{what} has no name")
    return name


def _flag(parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise Refused(400, f"{key} is neither true nor false")
    return value


def _wanted(entry: Mapping[str, Any], binary: bool) -> Wanted:
    name = _name(entry, "an output")
    parameters = _object(entry, "parameters", f"output {name!r}")
    for key in ("classification", "shared_memory_region"):
        if parameters.get(key):
            raise Refused(400, f"output {name[:80]!r} asks for {key}, which is not offered here")
    return Wanted(name, _flag(parameters, "binary_data", binary))


def _id(head: Mapping[str, Any]) -> Optional[str]:
    value = head.get("id")
    if value is not None and not isinstance(value, str):
        raise Refused(400, "the id is not a text")
    return value


def _timeout(parameters: Mapping[str, Any]) -> Optional[float]:
    value = parameters.get("timeout")
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise Refused(400, "timeout is not a whole number of microseconds")
    return value / 1e6 if value else None
