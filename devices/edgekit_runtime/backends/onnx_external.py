"""ONNX files may name other files (external data); a file in a bundle must not.

onnxruntime reads them relative to the working directory where a model came as bytes, and old versions follow absolute
paths too: a hostile model could give away any file of the device through its outputs. There is no switch against it, so
the protobuf is walked here. Field numbers: onnx/onnx.proto of ONNX 1.23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Union

from edgekit_runtime.errors import BackendError

# message -> field number -> message in that field, for every way to a TensorProto
_WAYS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA = 13
_FIXED = {1: 8, 5: 4}


def refuse_external_data(content: bytes) -> None:
    """Refuse a model that takes tensors from outside its own bytes.

    Raises:
        BackendError: It does, or it is not an ONNX file at all.
    """
    if b"location" not in content:  # the key that every entry of external data must have
        return
    to_do = [("model", 0, len(content))]
    try:
        while to_do:
            message, start, end = to_do.pop()
            ways = _WAYS[message]
            for number, begin, stop in _fields(content, start, end):
                if message == "tensor" and number == _EXTERNAL_DATA:
                    raise BackendError(
                        "the model takes weights from another file, which models in a bundle must not",
                        "save it as one file: onnx.save(model, path, save_as_external_data=False)",
                    )
                if number in ways and begin >= 0:
                    to_do.append((ways[number], begin, stop))
    except (IndexError, ValueError) as error:
        raise BackendError("the model is not a valid ONNX file") from error


def _fields(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number and, for those with a length, where the content begins and stops; else -1, -1."""
    while at < end:
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 2:
            size, at = _varint(content, at)
            yield key >> 3, at, at + size
            at += size
        elif kind == 0:
            _, at = _varint(content, at)
            yield key >> 3, -1, -1
        elif kind in _FIXED:
            at += _FIXED[kind]
            yield key >> 3, -1, -1
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field ends beyond its message")


def _varint(content: Union[bytes, memoryview], at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number of more than ten bytes")
