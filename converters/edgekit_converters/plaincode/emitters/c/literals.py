"""Numbers, strings, comments, names and tables as C source, whatever they hold."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

BYTES = {
    "float": 4, "double": 8, "int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4,
    "int64_t": 8, "uint64_t": 8, "char": 1, "int": 4,
}  # fmt: skip
_TABLE = re.compile(r"^static const (\w+) \w+((?:\[\d+\])+)", re.MULTILINE)
_POOL = re.compile(r"^static const char \*const \w+\[(\d+)\]", re.MULTILINE)


def number(value: Any, ctype: str = "double") -> str:
    """A number that a C compiler reads back to the same bits (`ctype` ``float`` or ``double``)."""
    value = float(value)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    if ctype == "double":
        return repr(value)
    text = str(np.float32(value))
    return f"{text}f" if re.search("[.e]", text) else f"{text}.0f"


def fits_single(values: Any) -> bool:
    """Whether numbers are float32 numbers, NaN included."""
    given = np.asarray(values, np.float64)
    with np.errstate(all="ignore"):
        return bool(np.array_equal(given.astype(np.float32).astype(np.float64), given, equal_nan=True))


def table_type(values: Any) -> str:
    """``float`` where that loses nothing, else ``double``."""
    return "float" if fits_single(values) else "double"


def whole_type(values: Iterable[int]) -> str:
    """The smallest whole-number type that holds them all."""
    low, high = min(values, default=0), max(values, default=0)
    sizes = (8, 16, 32, 64)
    if low >= 0:
        return next(f"uint{s}_t" for s in sizes if high < 1 << s)
    return next(f"int{s}_t" for s in sizes if low >= -(1 << (s - 1)) and high < 1 << (s - 1))


def table(name: str, values: Any, ctype: str = "") -> str:
    """A constant table of numbers, ``float`` where that is exact unless a type is given; nested ones are flattened."""
    flat = np.asarray(values, np.float64).ravel()
    ctype = ctype or table_type(flat)
    return _filled(name, ctype, [number(v, ctype) for v in flat])


def whole_table(name: str, values: Sequence[int], ctype: str = "") -> str:
    """A constant table of whole numbers in the smallest type that holds them."""
    chosen = ctype or whole_type(values)
    mark = "U" if chosen == "uint32_t" else ""
    return _filled(name, chosen, [f"{int(v)}{mark}" for v in values])


def _filled(name: str, ctype: str, items: Sequence[str]) -> str:
    lines = textwrap.wrap(", ".join(items), 110, break_long_words=False, break_on_hyphens=False)
    body = "\n".join(f"    {line}" for line in lines)
    return f"static const {ctype} {name}[{len(items)}] = {{\n{body}\n}};\n"


def table_bytes(source: str) -> int:
    """Bytes of the constant tables that a source holds, pointers counted as four."""
    sizes = dict(BYTES)
    sizes |= {new: BYTES[old] for old, new in re.findall(r"^typedef (u?int\d+_t) (\w+);", source, re.MULTILINE)}
    for body, name in re.findall(r"^typedef struct {\n(.*?)\n} (\w+);", source, re.MULTILINE | re.DOTALL):
        fields = re.findall(r"^ *(\w+) ([\w, ]+);", body, re.MULTILINE)
        widths = [sizes.get(kind, 4) for kind, names in fields for _ in names.split(",")]
        sizes[name] = -(-sum(widths) // max(widths, default=1)) * max(widths, default=1)
    total = sum(4 * int(count) for count in _POOL.findall(source))
    for ctype, counts in _TABLE.findall(source):
        total += sizes.get(ctype, 4) * math.prod(int(c) for c in re.findall(r"\d+", counts))
    return total


def string(text: str) -> str:
    """A string literal whose bytes are the text's UTF-8; every byte that C could take for something else is escaped."""
    raw = text.encode("utf-8", "backslashreplace")
    plain = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in raw)
    return f'"{plain}"'


def comment(text: str, limit: int = 200) -> str:
    """Text that stays inside a comment: one line of ASCII, neither comment marks nor trigraphs in it."""
    plain = "".join(c if " " <= c <= "~" else c.encode("ascii", "backslashreplace").decode() for c in text[:limit])
    plain = plain + "..." if len(text) > limit else plain
    for mark, apart in (("*/", "* /"), ("/*", "/ *"), ("??", "? ?")):
        while mark in plain:
            plain = plain.replace(mark, apart)
    return plain[:-1] + "(backslash)" if plain.endswith("\\") else plain


def identifier(text: str, taken: set[str], before: str) -> str:
    """A macro or enum name ``BEFORE_TEXT`` that is not taken yet; adds it to `taken`."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    stem = f"{before}_{re.sub(r'[^A-Z0-9]+', '_', folded).strip('_')[:40] or 'OTHER'}"
    name, count = stem, 2
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    taken.add(name)
    return name
