"""Texts to words as BERT's basic tokenizer cuts them (Devlin et al., 2018), by tables of our own.

Gives what `tokenizers` gives, whatever Unicode this Python knows.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache
from typing import Callable

from edgekit_runtime.specification import wordpiece_tables as tables

_KEPT = 20_000  # characters that are remembered: enough for any language, not for an attacker
_HEX = r"([0-9a-f]+)(?:-([0-9a-f]+))?"


def _ranges(table: str) -> list[tuple[int, int]]:
    return [(int(a, 16), int(b or a, 16)) for a, b in re.findall(_HEX, table)]


def _among(table: str) -> Callable[[int], bool]:
    """Whether a character is in one of a table's ranges."""
    firsts, lasts = zip(*_ranges(table))

    def inside(code: int) -> bool:
        at = bisect_right(firsts, code) - 1
        return at >= 0 and code <= lasts[at]

    return inside


@cache
def _small() -> Mapping[int, int]:
    """Capitals that have one small letter, and which."""
    found = {}
    for first, last, step, distance in re.findall(_HEX + r"(?:/(\d))?([+-][0-9a-f]+)", tables.LOWER):
        for code in range(int(first, 16), int(last or first, 16) + 1, int(step or 1)):
            found[code] = code + int(distance, 16)
    return found


@cache
def _active() -> re.Pattern[str]:
    """Runs of characters that canonical decomposition takes apart or moves; all others stay as they are."""
    return re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in _ranges(tables.ACTIVE)) + "]+")


class _Replaced(dict[int, str]):
    """A table for `str.translate` that is made as characters come."""

    def __init__(self, replace: Callable[[int], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        found = self._replace(code)
        if len(self) < _KEPT:
            self[code] = found
        return found


def _cleaning(clean: bool, split_cjk: bool) -> _Replaced:
    removed, blank, cjk = _among(tables.REMOVED), _among(tables.BLANK), _among(tables.CJK)

    def replace(code: int) -> str:
        if clean and removed(code):
            return ""
        if clean and blank(code):
            return " "
        return f" {chr(code)} " if split_cjk and cjk(code) else chr(code)

    return _Replaced(replace)


def _splitting(strip_accents: bool, lowercase: bool) -> _Replaced:
    mark, space, punctuation, small = (
        _among(tables.MARKS), _among(tables.SPACE), _among(tables.PUNCTUATION), _small(),
    )  # fmt: skip

    def apart(code: int) -> str:
        return " " if space(code) else f" {chr(code)} " if punctuation(code) else chr(code)

    def replace(code: int) -> str:
        if strip_accents and mark(code):
            return ""
        if lowercase and code == 0x130:  # the only capital that becomes two characters: i with a dot above
            return "i\u0307"
        return apart(small.get(code, code) if lowercase else code)

    return _Replaced(replace)


class Words:
    """The basic tokenizer; settings as in step ``wordpiece``."""

    def __init__(self, *, lowercase: bool, strip_accents: bool, split_cjk: bool, clean: bool) -> None:
        self._cleaned = _cleaning(clean, split_cjk)
        self._split = _splitting(strip_accents, lowercase)
        self._decompose = strip_accents

    def __call__(self, text: str) -> list[str]:
        """The words of a text, punctuation apart."""
        text = text.translate(self._cleaned)
        if self._decompose and not text.isascii():
            text = _active().sub(lambda run: unicodedata.normalize("NFD", run[0]), text)
        # spaces alone: str.split() without an argument knows some that BERT does not
        return [word for word in text.translate(self._split).split(" ") if word]
