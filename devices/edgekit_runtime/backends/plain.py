"""Models that are plain compiled code: a shared library per machine, called by ctypes.

Such a library says of itself what it takes and gives. It exports two names:

``const char edgekit_description[]``
    JSON: ``{"abi": 1, "input": {"name", "dtype", "width"}, "answers": [{"name", "dtype", "width", "parts"}]}``, with a
    dtype of ``float32``, ``float64``, ``int32`` or, for texts, ``string`` (UTF-8, width 0); `parts` are the names and
    widths of the outputs that an answer is cut into, for the one answer that the bundle uses, else empty.
``int edgekit_run(int answer, const void *rows, size_t count, void *out)``
    Answers for `count` rows that lie one after the other; 0 where it went well.

Loading one runs its code: `edgekit_runtime.native.may_run` decides about that, before anything comes here.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from edgekit_runtime.backends.base import Backend, FileTensor, Model, Session, check_threads, missing
from edgekit_runtime.errors import BackendError, MissingRequirement
from edgekit_runtime.native import machine

ABI = 1
_ELF = b"\x7fELF"
_OUT = ("float32", "float64", "int32")


@dataclass(frozen=True)
class Entry:
    """One thing that a library answers.

    Attributes:
        name: Method, as the source calls it.
        dtype: numpy dtype name.
        width: Numbers in it.
        parts: Name and width of each output that it is cut into, where the bundle uses it.
    """

    name: str
    dtype: str
    width: int
    parts: tuple[tuple[str, int], ...] = ()


class _Library:
    """A shared library out of memory, mapped as long as it is in use.

    The loader knows libraries by their path, so that the path must stay taken until the library is given back.
    """

    def __init__(self, content: Model) -> None:
        data = bytes(content)
        try:
            whole = _segments_end(data) <= len(data)
        except struct.error:
            whole = False
        if not whole:  # the loader would crash on a library that is cut off
            raise BackendError("this is not a whole shared library for this Linux")
        self._file = _in_memory(data)
        try:
            self.code = ctypes.CDLL(self._file[1])
        except OSError as error:
            _give_back(0, *self._file)
            raise BackendError(f"this machine does not load the library ({str(error)[:200]})") from error
        self._end = weakref.finalize(self, _give_back, self.code._handle, *self._file)

    def close(self) -> None:
        self._end()


def _segments_end(data: bytes) -> int:
    """Where the last byte lies that a loader maps (System V ABI, chapters 4 and 5).

    Raises:
        struct.error: The headers are not there, or of another word size or byte order than this Python's.
    """
    wide = struct.calcsize("P") == 8
    order = 1 if sys.byteorder == "little" else 2
    if data[:6] != bytes([*_ELF, 2 if wide else 1, order]):
        raise struct.error("not a library of this word size")
    (start,) = struct.unpack_from("Q" if wide else "I", data, 32 if wide else 28)
    size, count = struct.unpack_from("HH", data, 54 if wide else 42)
    ends = [start + size * count]
    for place in range(start, ends[0], size or 1):
        numbers = struct.unpack_from("=IIQQQQ" if wide else "=IIIII", data, place)
        offset, length = (numbers[2], numbers[5]) if wide else (numbers[1], numbers[4])
        ends.append(offset + length)
    return int(max(ends))


def _in_memory(data: bytes) -> tuple[int, str]:
    """(file descriptor or -1, path) of a file that holds `data` and that nobody else can change meanwhile."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("edgekit", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(data)
        return descriptor, f"/proc/self/fd/{descriptor}"
    descriptor, path = tempfile.mkstemp(prefix="edgekit-", suffix=".so")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    return -1, path


def _give_back(handle: int, descriptor: int, path: str) -> None:
    if handle:
        import _ctypes

        _ctypes.dlclose(handle)
    if descriptor >= 0:
        os.close(descriptor)
    else:
        Path(path).unlink()


class PlainSession(Session):
    """A loaded library; `outputs` are the parts of its main answer, `answer` gives any of `entries`."""

    placement = "CPU"

    def __init__(self, model: Model, threads: Optional[int]) -> None:
        check_threads(threads)
        self._library: Optional[_Library] = _Library(model)
        try:
            self._run = self._library.code.edgekit_run
            text = ctypes.c_char.in_dll(self._library.code, "edgekit_description")
            described = json.loads(ctypes.string_at(ctypes.addressof(text)))
            self.entries, self._input = _described(described)
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            self._library.close()
            raise BackendError(
                f"the library does not say what it takes and gives ({error})", "export it again"
            ) from error
        self._run.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        self._run.restype = ctypes.c_int
        self.inputs = (self._input,)
        self._place, self._main = next((i, e) for i, e in enumerate(self.entries) if e.parts)
        self.outputs = tuple(FileTensor(name, (-1, width), self._main.dtype) for name, width in self._main.parts)
        self._cuts = np.cumsum([width for _, width in self._main.parts])[:-1].tolist()

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Answers for rows, (count, width); or texts, (count,)."""
        if len(feeds) != 1:
            raise BackendError(f"the library takes one input, not {len(feeds)}")
        found = self._call(self._place, self._main, self._rows(feeds[0]))
        return [np.ascontiguousarray(p) for p in np.split(found, self._cuts, axis=1)] if self._cuts else [found]

    def answer(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Any one answer of the library, (count, width).

        Raises:
            BackendError: It has none of that name, or the rows do not fit.
        """
        for place, entry in enumerate(self.entries):
            if entry.name == name:
                return self._call(place, entry, self._rows(rows))
        raise BackendError(
            f"the library has no answer {name!r:.60}", f"it has {', '.join(e.name for e in self.entries)}"
        )

    def _rows(self, feed: np.ndarray) -> Any:
        if self._input.dtype == "string":
            return _texts(feed)
        width = self._input.shape[1]
        if feed.ndim != 2 or feed.shape[1] != width or feed.dtype.name != self._input.dtype:
            raise BackendError(f"the library takes {self._input.dtype} rows of {width}, not {feed.dtype} {feed.shape}")
        return np.ascontiguousarray(feed)

    def _call(self, place: int, entry: Entry, rows: Any) -> np.ndarray:
        if self._library is None:
            raise BackendError("the model was closed already")
        out = np.empty((len(rows), entry.width), entry.dtype)
        start = rows.ctypes.data if isinstance(rows, np.ndarray) else ctypes.cast(rows, ctypes.c_void_p)
        if self._run(place, start, len(rows), out.ctypes.data):
            raise BackendError(f"the library does not answer {entry.name}", "export it again")
        return out

    def close(self) -> None:
        """Give the library back."""
        if self._library is not None:
            self._library.close()
            self._library = None


def _texts(feed: np.ndarray) -> Any:
    values = [v if isinstance(v, bytes) else str(v).encode("utf-8", "replace") for v in np.asarray(feed).reshape(-1)]
    return (ctypes.c_char_p * len(values))(*(v.split(b"\0", 1)[0] for v in values))


def _described(data: Mapping[str, Any]) -> tuple[tuple[Entry, ...], FileTensor]:
    if data["abi"] != ABI:
        raise ValueError(f"it has interface {data['abi']}, this runtime calls {ABI}")
    taken = data["input"]
    entries = tuple(
        Entry(e["name"], e["dtype"], int(e["width"]), tuple((str(n), int(w)) for n, w in e["parts"]))
        for e in data["answers"]
    )
    wrong = [
        e.name
        for e in entries
        if e.dtype not in _OUT or e.width < 1 or (e.parts and sum(w for _, w in e.parts) != e.width)
    ]
    if wrong or not any(e.parts for e in entries) or taken["dtype"] not in ("float32", "float64", "string"):
        raise ValueError(f"it gives {wrong or entries} for {taken['dtype']}")
    shape = (-1,) if taken["dtype"] == "string" else (-1, int(taken["width"]))
    return entries, FileTensor(taken["name"], shape, taken["dtype"])


class Plain(Backend):
    """Compiled plain code."""

    name = "plain"
    package = "ctypes"
    extra = "plain"
    formats = ("c",)
    native = True

    def version(self) -> Optional[str]:
        """Version of the interface between libraries and this runtime; None where there are no Linux libraries."""
        return str(ABI) if sys.platform == "linux" else None

    def open(self, model: Model, *, threads: Optional[int] = None) -> PlainSession:
        """Load a build for this machine. One thread whatever is asked for."""
        if self.version() is None:
            raise missing(self)
        return PlainSession(model, threads)

    def probe_model(self) -> bytes:
        """``2 * x`` compiled for this machine.

        Raises:
            MissingRequirement: It comes for common machines alone.
        """
        probe = Path(__file__).parent / "probes" / f"double-{machine()}.so"
        if not probe.is_file():
            raise MissingRequirement(
                f"there is no probe of compiled code for {machine()}",
                "run the self-test of a bundle with a build for it",
            )
        return probe.read_bytes()


BACKEND = Plain()
