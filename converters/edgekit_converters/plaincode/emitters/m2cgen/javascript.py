"""JavaScript: a module for browsers and Node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit_converters.plaincode.emitters.m2cgen.dialect import (
    Dialect,
    nested,
    words,
)


class JavaScript(Dialect):
    """A module for browsers and Node."""

    name, title, package = "javascript", "JavaScript", ("javascript", "Javascript")
    reserved = words(
        "await break case catch class const continue debugger default delete do else enum export extends false finally "
        "for function if implements import in instanceof interface let new null package private protected public "
        "return static super switch this throw true try typeof undefined var void while with yield eval arguments "
        "Math Number Array Object NaN Infinity RangeError"
    )
    not_finite = ("NaN", "Infinity")
    single = "Math.fround({})"
    row = "Array.from(row, (v) => (v === null ? NaN : Number(v)))"

    def join(self, parts: Sequence[str]) -> str:
        return f"[].concat({', '.join(parts)})"

    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        return f"function {name}({', '.join(p.name for p in parameters)}) {{"

    def public(self, name: str, kind: str) -> str:
        return f"export function {name}(row) {{"

    def file(self, prefix: str) -> str:
        return f"{prefix}.mjs"

    def check(self, count: int) -> Sequence[str]:
        return [f"if (row.length !== {count}) {{", f'  throw new RangeError("a row has {count} values");', "}"]

    def wholes(self, texts: Sequence[str]) -> str:
        return f"[{', '.join(texts)}]"

    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        return f"export const {name} = {nested(rows, '[', ']')};\n"

    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        return "\n".join([comment, *([tables] if tables else []), methods, *(text for _, text in functions)])
