"""Numbers and tables as C."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_A_LINE = 16
_SMALLEST = -(2**31)
_LITERAL = 4080
_ESCAPED = [f"\\{b:03o}" for b in range(256)]


def unsigned_type(largest: int) -> str:
    """The smallest unsigned type that holds a number."""
    return "uint8_t" if largest < 2**8 else "uint16_t" if largest < 2**16 else "uint32_t"


def literal(value: float, kind: str) -> str:
    """A number of the C type `kind`: the shortest digits that read back to the same bits."""
    if kind == "double":
        return repr(float(value))
    if kind == "float":
        text = str(np.float32(value))
        return f"{text}f" if set(text) & set(".e") else f"{text}.0f"
    return "INT32_MIN" if value == _SMALLEST else str(int(value))


def table(kind: str, name: str, values: Iterable[float], a_line: int = _A_LINE) -> str:
    """A constant array."""
    if kind in ("float", "double"):
        texts: Sequence[str] = [literal(v, kind) for v in values]
    else:
        texts = list(map(str, np.asarray(values).tolist()))
    lines = [", ".join(texts[i : i + a_line]) for i in range(0, len(texts), a_line)]
    body = ",\n    ".join(lines)
    return f"static const {kind} {name}[{len(texts)}] = {{\n    {body}\n}};\n"


def words(values: np.ndarray, bits: int) -> np.ndarray:
    """Fields of `bits` bits (at most 32), one after the other, lowest first, in uint32 words; one word more at the end.

    The word more lets two words be read wherever a field begins.
    """
    count = math.ceil(len(values) * bits / 32) + 1
    result = np.zeros(count + 1, np.uint64)
    begin = np.arange(len(values), dtype=np.int64) * bits
    shifted = values.astype(np.uint64) << (begin & 31).astype(np.uint64)
    np.bitwise_or.at(result, begin >> 5, shifted & np.uint64(0xFFFFFFFF))
    np.bitwise_or.at(result, (begin >> 5) + 1, shifted >> np.uint64(32))
    return result[:count]


def byte_rows(name: str, values: np.ndarray, bits: int) -> tuple[str, int]:
    """The same fields as bytes in string literals, which compilers read many times faster than lists of numbers.

    Each literal has less than the 4,095 characters that C99 asks compilers to take, its closing zero and four bytes
    more than its fields fill, so that five bytes can be read wherever a field begins.

    Returns:
        The table; log2 of how many fields a row has.
    """
    row_bits = (_LITERAL * 8 // bits).bit_length() - 1
    count = 2**row_bits
    size = math.ceil(count * bits / 8) + 4
    texts = []
    for begin in range(0, len(values), count):
        data = words(values[begin : begin + count], bits).astype("<u4").tobytes()[:size]
        texts.append("".join(map(_ESCAPED.__getitem__, data)))
    body = ",\n".join(f'"{t}"' for t in texts)
    return f"static const unsigned char {name}[{len(texts)}][{size + 1}] = {{\n{body}\n}};\n", row_bits


def fields(values: np.ndarray) -> int:
    """Bits that hold the largest of some numbers, at least 1."""
    return max(1, int(np.max(values, initial=0)).bit_length())


def lines(*parts: Any) -> str:
    """Parts that are not empty, one after the other."""
    return "".join(p if p.endswith("\n") else p + "\n" for p in parts if p)
