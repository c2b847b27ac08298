"""Universal Binary JSON (draft 12), as XGBoost writes it, read from untrusted bytes.

Numbers are big-endian. Arrays of one numeric type become numpy arrays without a copy per element, which is what makes
large models quick to read. Nesting is bounded, and every length is checked against what is left of the bytes.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgekit_converters.errors import SourceError

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_WHOLE = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}
_DEEPEST = 64


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise SourceError("the UBJSON ends in the middle of a value", "copy the model file again")
        self.at += count
        return self.data[self.at - count : self.at]

    def marker(self) -> bytes:
        found = self.take(1)
        while found == b"N":
            found = self.take(1)
        return found

    def peek(self, marker: bytes) -> bool:
        """Whether `marker` is next; steps over it then."""
        if self.data[self.at : self.at + 1] == marker:
            self.at += 1
            return True
        return False

    def length(self) -> int:
        kind = self.marker()
        if kind not in _WHOLE:
            raise SourceError(f"the UBJSON has a length of type {kind!r}", "it is damaged: copy it again")
        form = _WHOLE[kind]
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        return self.take(self.length()).decode("utf-8", "replace")

    def header(self) -> tuple[bytes, int]:
        """Type and count of a container, empty and -1 where they are not said."""
        kind = self.take(1) if self.peek(b"$") else b""
        if self.peek(b"#"):
            return kind, self.length()
        if kind:
            raise SourceError("the UBJSON has a type without a count", "it is damaged: copy it again")
        return kind, -1

    def value(self, kind: bytes, depth: int) -> Any:
        if depth > _DEEPEST:
            raise SourceError(f"the UBJSON is nested more than {_DEEPEST} deep", "it is no model file")
        if kind in _NUMBERS:
            form = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(form.itemsize), form)[0].item()
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in (b"S", b"H"):
            return self.text()
        if kind == b"C":
            return self.take(1).decode("latin-1")
        if kind == b"[":
            return self.array(depth)
        if kind == b"{":
            return self.table(depth)
        raise SourceError(f"the UBJSON has an unknown type {kind!r} at byte {self.at}", "it is damaged: copy it again")

    def array(self, depth: int) -> Any:
        kind, count = self.header()
        if kind in _NUMBERS:
            form = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(count * form.itemsize), form).astype(form.newbyteorder("="))
        if count > len(self.data) - self.at or (kind in _CONSTANTS and count):
            raise SourceError("the UBJSON has an array longer than the file", "it is damaged: copy it again")
        found: list[Any] = []
        while len(found) < count if count >= 0 else not self.peek(b"]"):
            found.append(self.value(kind or self.marker(), depth + 1))
        return found

    def table(self, depth: int) -> dict[str, Any]:
        kind, count = self.header()
        found: dict[str, Any] = {}
        read = 0
        while read < count if count >= 0 else not self.peek(b"}"):
            name = self.text()
            found[name] = self.value(kind or self.marker(), depth + 1)
            read += 1
        return found


def parse(data: bytes) -> Any:
    """The value.

    Raises:
        SourceError: It is damaged, or nested too deep.
    """
    reader = _Reader(data)
    return reader.value(reader.marker(), 0)
