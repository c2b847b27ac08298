"""What a compiled ``_edgetpu.tflite`` says of itself: operators left on the CPU, and its package.

The custom operator's options hold a package, a flatbuffer with the identifier ``DWN1`` whose schema is public
(google-coral/libedgetpu, executable/executable.fbs): the oldest runtime that takes it, and executables. That of type
PARAMETER_CACHING holds what is kept in SRAM, the others what is streamed at every inference.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from edgekit_converters.errors import SourceError
from edgekit_converters.placement.edgetpu import CUSTOM_OP, UNIT, place
from edgekit_converters.placement.placement import CPU, OpPlacement, Placement
from edgekit_converters.placement.tflite_graph import Graph, read_graph

_MARK = b"DWN1"
_CACHING = 1
# places of fields in executable.fbs
_MIN_RUNTIME, _MULTI = 0, 1
_SCRATCH, _PARAMETERS, _TYPE, _CYCLES = 4, 6, 13, 16


@dataclass(frozen=True)
class CompiledFile:
    """What a compiled file says.

    Attributes:
        on_cpu: Operators that stayed on the CPU: kind and names of the tensors they make, in order.
        min_runtime: Oldest Edge TPU runtime that takes it.
        cached: Bytes of parameters kept in SRAM.
        streamed: Bytes of parameters streamed at every inference.
        scratch: Bytes of scratch memory on the host.
        cycles: The compiler's estimate of cycles per inference, 0 where it gives none (newer compilers).
    """

    on_cpu: tuple[tuple[str, tuple[str, ...]], ...]
    min_runtime: int
    cached: int
    streamed: int
    scratch: int
    cycles: int


def read_compiled(path: Path) -> CompiledFile:
    """Read a compiled file.

    Raises:
        SourceError: It cannot be read, is damaged, or is not compiled for the Edge TPU.
    """
    return _compiled(path, read_graph(path))


def _compiled(path: Path, graph: Graph) -> CompiledFile:
    packages = [op.custom for op in graph.operators if op.kind == CUSTOM_OP]
    if not packages:
        raise SourceError(f"{path.name} is not compiled for the Edge TPU", f"run edgetpu_compiler -s {path.name}")
    try:
        read = [_package(package) for package in packages]
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise SourceError(f"{path.name} is damaged: the package of its Edge TPU operator cannot be read",
                          "compile it again") from error  # fmt: skip
    on_cpu = tuple(
        (op.kind, tuple(graph.tensors[i].name for i in op.outputs)) for op in graph.operators if op.kind != CUSTOM_OP
    )
    return CompiledFile(
        on_cpu,
        max(r[0] for r in read),
        *(sum(r[place] for r in read) for place in range(1, 5)),
    )


def compiled_placement(compiled: Path, source: Path | None = None) -> Placement:
    """The placement that a compiled file has.

    Args:
        compiled: The ``_edgetpu.tflite``.
        source: The file that it was made from; with it there is a row for each of the source's operators, without it
            the mapped ones are one row, being one operator now.

    Raises:
        SourceError: One of them cannot be read, or they are not a pair.
    """
    graph = read_graph(compiled)
    facts = _compiled(compiled, graph)
    notes = (f"It needs Edge TPU runtime {facts.min_runtime} or newer.",)
    held = {"cached": facts.cached, "streamed": facts.streamed}
    if source is None:
        rows = tuple(
            OpPlacement(n, op.kind, UNIT if op.kind == CUSTOM_OP else CPU, "" if op.kind == CUSTOM_OP else _LEFT)
            for n, op in enumerate(graph.operators)
        )
        return Placement(UNIT, rows, "compiled", held, notes)
    before = read_graph(source)
    reasons = {row.index: row.reason for row in place(before)}
    left = list(facts.on_cpu)
    found = []
    for index, op in enumerate(before.operators):
        key = (op.kind, tuple(before.tensors[i].name for i in op.outputs))
        stayed = key in left
        if stayed:
            left.remove(key)
        found.append(OpPlacement(index, op.kind, CPU if stayed else UNIT, (reasons[index] or _LEFT) if stayed else ""))
    if left:
        raise SourceError(f"{compiled.name} was not made from {source.name}: that has no {left[0][0]} {left[0][1][:1]}")
    return Placement(UNIT, tuple(found), "compiled", held, notes)


_LEFT = "the compiler left it on the CPU"


def _package(custom: bytes) -> tuple[int, int, int, int, int]:
    """(min runtime, cached, streamed, scratch, cycles) of a package within an operator's options."""
    start = custom.find(_MARK) - 4
    if start < 0:
        raise ValueError("no package")
    package = _Table(custom[start:])
    multi = _Table(package.vector(_MULTI))
    cached = streamed = scratch = cycles = 0
    for content in multi.strings(0):
        executable = _Table(content)
        size = len(executable.vector(_PARAMETERS))
        if executable.number(_TYPE, "<h") == _CACHING:
            cached += size
        else:
            streamed += size
        scratch += executable.number(_SCRATCH, "<i")
        cycles += executable.number(_CYCLES, "<q")
    return package.number(_MIN_RUNTIME, "<i"), cached, streamed, scratch, cycles


class _Table:
    """The root table of a flatbuffer, read without generated code; every access is checked by `struct`."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        (self._at,) = struct.unpack_from("<I", content, 0)
        (back,) = struct.unpack_from("<i", content, self._at)
        self._fields = self._at - back
        if self._fields < 0:
            raise ValueError("a table before its buffer")

    def _field(self, number: int) -> int:
        (size,) = struct.unpack_from("<H", self._content, self._fields)
        place = 4 + 2 * number
        if place + 2 > size:
            return 0
        (offset,) = struct.unpack_from("<H", self._content, self._fields + place)
        return self._at + int(offset) if offset else 0

    def number(self, field: int, kind: str) -> int:
        at = self._field(field)
        return int(struct.unpack_from(kind, self._content, at)[0]) if at else 0

    def _span(self, at: int) -> tuple[int, int]:
        """Start and length of the vector that the offset at `at` points to."""
        (offset,) = struct.unpack_from("<I", self._content, at)
        (length,) = struct.unpack_from("<I", self._content, at + offset)
        return at + offset + 4, length

    def vector(self, field: int) -> bytes:
        at = self._field(field)
        if not at:
            return b""
        start, length = self._span(at)
        if start + length > len(self._content):
            raise ValueError("a vector beyond its buffer")
        return self._content[start : start + length]

    def strings(self, field: int) -> list[bytes]:
        at = self._field(field)
        if not at:
            return []
        start, length = self._span(at)
        found = []
        for number in range(length):
            begin, size = self._span(start + 4 * number)
            if begin + size > len(self._content):
                raise ValueError("a string beyond its buffer")
            found.append(self._content[begin : begin + size])
        return found
