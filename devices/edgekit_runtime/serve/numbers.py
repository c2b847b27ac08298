"""Lists of JSON to arrays: strict, and without numpy's guesses (one long word among 10,000 would take gigabytes)."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from array import array
from itertools import chain
from typing import Any, Optional, Union

import numpy as np

from edgekit_runtime.serve.http import Refused, load_json

# array.array refuses what does not fit its type: text for a number, a fraction for a whole number, 256 for a byte
_CODES = {
    "float16": "f",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
}
_MIN_SPAN = 512
_SHORT = 6  # digits
_MARK = secrets.token_hex(16)
"""Stands for a span of whole numbers in the JSON; nobody can send it, since nobody knows it."""
# An unescaped quote before and after: this can only be a key. Inside a text both would have a backslash.
_DATA = re.compile(rb'(?<!\\)"data"\s*:\s*\[')
_WHOLE = b"-0123456789,"
_BLANK = b" \t\r\n"
_NO_NUMBER = re.compile(rb"-(?![0-9])")


MAX_RANK = 32
"""Axes that numpy's arrays had up to its second version; no model has as many."""


def flatten(data: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Nested lists as (shape, values in row order).

    Raises:
        Refused: 400, the rows differ in length, or there are more axes than a tensor has.
    """
    if not isinstance(data, list):
        return (), [data]
    shape, level = [len(data)], data
    while level and isinstance(level[0], list):
        if not all(type(row) is list for row in level) or len(set(map(len, level))) != 1:
            raise Refused(400, "the nested lists of the data differ in length")
        shape.append(len(level[0]))
        if len(shape) > MAX_RANK:
            raise Refused(400, f"the data has more than {MAX_RANK} axes")
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def to_array(values: Union[list[Any], np.ndarray], dtype: str, name: str) -> np.ndarray:
    """A flat list of JSON values as a one-dimensional array.

    Args:
        values: Numbers, truth values or texts; or whole numbers that `spans` has read already.
        dtype: Name of the type, as the manifest says it.
        name: Whose data it is, for the error.

    Raises:
        Refused: 400, a value is not of that type or does not fit it.
    """
    try:
        if isinstance(values, np.ndarray):
            return _narrowed(values, dtype)
        if dtype == "string":
            texts = np.empty(len(values), object)
            texts[:] = [_text(v) for v in values]
            return texts
        if dtype == "bool":
            if not all(type(v) in (bool, int) and v in (0, 1) for v in values):
                raise TypeError("not a truth value")
            return np.array(values, np.bool_)
        if dtype == "uint8":  # as strict as array, and twice as fast
            return np.frombuffer(bytes(values), np.uint8)
        return np.frombuffer(array(_CODES[dtype], values), _CODES[dtype]).astype(dtype, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(400, f"the data of {name!r} is not {dtype} ({' '.join(str(error).split())[:100]})") from error


def _text(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True).decode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise ValueError("b64 does not hold UTF-8 text") from error
    if not isinstance(value, str):
        raise TypeError("not a text")
    value.encode("utf-8")  # a lone surrogate is no text
    return value


def _narrowed(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "string":
        raise TypeError("not a text")
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        if values.size and not (limits.min <= int(values.min()) and int(values.max()) <= limits.max):
            raise OverflowError("a value does not fit")
    elif kind.kind == "b" and values.size and not (int(values.min()) >= 0 and int(values.max()) <= 1):
        raise TypeError("not a truth value")
    return values.astype(kind, copy=False)


def load_with_spans(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """JSON to plain data, with long flat ``"data"`` lists of whole numbers read by numpy.

    Several times as fast as the standard library for a picture, and faster than orjson (benchmarks/serving.py).

    Returns:
        The data, in which a text stands for each such list, and the lists by that text.

    Raises:
        Refused: 400, not JSON.
    """
    found: dict[str, np.ndarray] = {}
    parts, done = [], 0
    place = 0
    while (place := content.find(b'"data"', place)) >= 0:  # twice as fast as the expression alone
        match = _DATA.match(content, place)
        place += 1
        if match is None:
            continue
        start = match.end()
        end = content.find(b"]", start)
        if end - start < _MIN_SPAN:
            continue
        numbers = _whole_numbers(content[start:end])
        if numbers is None:
            continue
        mark = f"{_MARK}{len(found)}"
        found[mark] = numbers
        parts += [content[done : start - 1], b'"', mark.encode(), b'"']
        place = done = end + 1
    if not found:
        return load_json(content), found
    return load_json(b"".join((*parts, content[done:]))), found


def _whole_numbers(span: bytes) -> Optional[np.ndarray]:
    """The span as int64 if it holds nothing but whole numbers between commas; None for the slow way."""
    found = _short_numbers(np.frombuffer(span.strip(_BLANK), np.uint8))
    return _long_numbers(span) if found is None else found


def _short_numbers(text: np.ndarray) -> Optional[np.ndarray]:
    """Digits between commas as int64, digit by digit for all numbers at once; None where there is anything else.

    Pixels have one to three digits: that is faster than numpy's own reading of text (benchmarks/serving.py).
    """
    digits = text - np.uint8(48)  # a comma becomes 252, a blank 240
    commas = np.flatnonzero(text == 44)
    if not commas.size or commas[-1] + 1 == text.size:
        return None
    spaced = int(text[commas[0] + 1] == 32)  # as json.dumps writes them, or none at all
    if spaced and (text[commas + 1] != 32).any():
        return None
    if np.count_nonzero(digits > 9) != commas.size * (1 + spaced):
        return None
    last = np.append(commas, text.size)
    lengths = np.empty(last.size, np.int64)
    lengths[0] = last[0]
    np.subtract(last[1:], last[:-1], out=lengths[1:])
    lengths[1:] -= 1 + spaced
    last -= 1
    most = int(lengths.max())
    if lengths.min() < 1 or most > _SHORT:
        return None
    values: np.ndarray = digits[last].astype(np.int64)
    for place in range(1, most):
        last -= 1
        there = lengths > place
        digit = digits.take(last, mode="clip")  # before the first number there is nothing, which `there` leaves out
        digit *= there
        if ((digit == 0) & (lengths == place + 1)).any():  # a zero in front is not JSON
            return None
        values += digit * np.int64(10**place)
    return values


def _long_numbers(span: bytes) -> Optional[np.ndarray]:
    """As `_whole_numbers`, for numbers of any length and sign."""
    # numpy takes a lone minus or blank for 0, so both are looked for here
    tight = span.translate(None, _BLANK)
    if (
        tight.translate(None, _WHOLE)
        or b",," in tight
        or tight[:1] == b","
        or (b"-" in span and _NO_NUMBER.search(span))
    ):
        return None
    last = span[span.rfind(b",") + 1 :].strip()
    if not last.lstrip(b"-").isdigit() or len(last) > 19:
        return None
    try:
        numbers = np.fromstring(span.decode("ascii"), np.int64, sep=",")
    except ValueError:
        return None
    # numpy stops at the first thing it cannot read, so one value for each comma (and the last, above) is the whole span
    if numbers.size != span.count(b",") + 1:
        return None
    limits = np.iinfo(np.int64)  # what numpy makes of a number that is too large
    if numbers.max() == limits.max or numbers.min() == limits.min:
        return None
    return numbers
