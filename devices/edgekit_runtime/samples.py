"""Raw samples as files: how golden samples are stored in a bundle and read back."""

from __future__ import annotations

import ast
import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgekit_runtime.errors import SpecificationError

MAX_ARRAY_BYTES = 2**30
"""Arrays in an archive that would be larger are refused before they are unpacked (decompression bombs)."""

_MAX_HEADER = 10_000
_PICTURES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"BM": ".bmp"}


def array_bytes(array: np.ndarray) -> bytes:
    """An array as ``.npy`` content, never pickled.

    Raises:
        SpecificationError: An array of objects, as of strings of varying length.
    """
    buffer = io.BytesIO()
    try:
        np.save(buffer, np.ascontiguousarray(array).reshape(np.shape(array)), allow_pickle=False)
    except ValueError as error:
        raise SpecificationError(f"an array of {array.dtype} cannot be stored") from error
    return buffer.getvalue()


def array_from(content: bytes, where: str) -> np.ndarray:
    """Read ``.npy`` content; nothing in it is executed, and no more memory is taken than it has bytes.

    Raises:
        SpecificationError: Not a plain array, or truncated.
    """
    try:
        start, shape, order, dtype = _header(content)
        count = math.prod(shape)
        if count * dtype.itemsize != len(content) - start:
            raise ValueError(f"{shape} of {dtype} does not have its size")
        flat = np.frombuffer(content, dtype, offset=start) if count and dtype.itemsize else np.empty(count, dtype)
        return flat.reshape(shape, order=order).copy()
    # what ast.literal_eval and numpy raise for a header that is not one
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise SpecificationError(f"{where} is not a numpy array file ({_short(error)})") from error


def _header(content: bytes) -> tuple[int, tuple[int, ...], Literal["C", "F"], np.dtype]:
    """Where the values start, their shape, order and type (numpy's own reader tries repairs that can crash Python)."""
    if content[:6] != b"\x93NUMPY" or content[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError("it does not begin as one")
    wide = 2 if content[6] == 1 else 4
    start = 8 + wide + int.from_bytes(content[8 : 8 + wide], "little")
    if start > min(len(content), _MAX_HEADER):
        raise ValueError("its header is truncated or too long")
    header = ast.literal_eval(content[8 + wide : start].decode("ascii"))
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header does not say what it holds")
    shape, descr = header["shape"], header["descr"]
    if not isinstance(shape, tuple) or any(type(extent) is not int or extent < 0 for extent in shape):
        raise ValueError(f"its shape is {shape!r:.60}")
    if not isinstance(descr, str) or np.dtype(descr).hasobject:
        raise ValueError("it does not hold plain values")
    return start, shape, "F" if header["fortran_order"] is True else "C", np.dtype(descr)


def _archive_from(content: bytes, where: str) -> dict[str, np.ndarray]:
    """Arrays of a ``.npz`` as ``numpy.savez`` and ``numpy.savez_compressed`` write it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if sum(i.file_size for i in infos) > MAX_ARRAY_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_ARRAY_BYTES:,} bytes")
            if any(i.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for i in infos):
                raise ValueError("it is packed in an unusual way")
            # read() stops at the stated size, whatever the packed data would give
            return {i.filename.replace(".npy", ""): array_from(archive.read(i), where) for i in infos}
    # RuntimeError: a password is wanted
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError, struct.error) as error:
        raise SpecificationError(f"{where} is not a numpy archive ({_short(error)})") from error


def encode_raw(kind: str, raw: Any) -> tuple[str, bytes]:
    """A raw sample as (file suffix, content): pictures and sound as their own bytes, rows as JSON, arrays as ``.npy``.

    Args:
        kind: Kind of the specification: ``image``, ``audio``, ``table``, ``text`` or ``tensor``.
        raw: What the specification's first step takes; for pictures and sound also a path.

    Raises:
        SpecificationError: The sample cannot be stored, or its file cannot be read.
    """
    if isinstance(raw, (str, os.PathLike)) and kind in ("image", "audio"):
        try:
            raw = Path(raw).read_bytes()
        except (OSError, ValueError) as error:
            raise SpecificationError(f"cannot read the sample {os.fspath(raw)} ({_short(error)})") from error
    if isinstance(raw, (bytes, bytearray)):
        content = bytes(raw)
        if kind == "audio":
            return ".wav", content
        suffix = next((s for magic, s in _PICTURES.items() if content.startswith(magic)), ".bin")
        return suffix, content
    if isinstance(raw, np.ndarray):
        return ".npy", array_bytes(raw)
    if kind == "tensor" and isinstance(raw, Mapping):
        return ".npz", _archive_bytes(raw)
    if kind == "text" and isinstance(raw, str):
        return ".txt", raw.encode()
    try:
        return ".json", json.dumps(_plain(raw), sort_keys=True).encode()
    except TypeError as error:
        raise SpecificationError(
            f"a sample of type {type(raw).__name__} cannot be stored as a {kind} sample"
        ) from error


def _archive_bytes(arrays: Mapping[str, Any]) -> bytes:
    """A ``.npz`` without dates, so that the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, value in sorted(arrays.items()):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), array_bytes(np.asarray(value)))
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def decode_raw(name: str, content: bytes) -> Any:
    """The raw sample that a file of that name holds: arrays, rows and text by suffix, else the bytes themselves.

    Raises:
        SpecificationError: The content is not what the name says.
    """
    suffix = Path(name).suffix.lower()
    if suffix == ".npy":
        return array_from(content, name)
    if suffix == ".npz":
        return _archive_from(content, name)
    if suffix in (".json", ".txt"):
        try:
            text = content.decode("utf-8")
            return json.loads(text) if suffix == ".json" else text
        except (ValueError, RecursionError) as error:
            raise SpecificationError(f"{name} is not valid {suffix[1:]} ({_short(error)})") from error
    return content


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
