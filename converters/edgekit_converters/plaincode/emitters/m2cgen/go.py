"""Go: a package in one file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from edgekit_converters.plaincode.emitters.m2cgen.dialect import (
    CLASS,
    CLASSES,
    NUMBER,
    VECTOR,
    Dialect,
    nested,
    words,
)
from edgekit_converters.plaincode.emitters.m2cgen.names import camel, pascal


class Go(Dialect):
    """A package in one file."""

    name, title, package = "go", "Go", ("go", "Go")
    reserved = words(
        "break case chan const continue default defer else fallthrough for func go goto if import interface map "
        "package range return select struct switch type var main init internal vendor math float64 float32 len append "
        "int string panic"
    )
    not_finite = ("math.NaN()", "math.Inf(1)")
    single = "float64(float32({}))"
    product = "float64({})"  # without it, Go fuses a product and a sum into one rounding on some processors
    escape = "go"
    types: ClassVar[Mapping[str, str]] = {CLASS: "int", CLASSES: "[]int", NUMBER: "float64", VECTOR: "[]float64"}

    def finite(self, value: float) -> str:
        if value == 0 and math.copysign(1, value) < 0:
            return "math.Copysign(0, -1)"  # Go's constants know no -0
        return repr(value)

    def number(self, value: float) -> str:
        return "math.Inf(-1)" if value == -math.inf else super().number(value)

    def join(self, parts: Sequence[str]) -> str:
        return f"joined({', '.join(parts)})"

    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        given = ", ".join(f"{p.name} {'[]float64' if p.vector else 'float64'}" for p in parameters)
        return f"func {name}({given}) {'[]float64' if vector else 'float64'} {{"

    def public(self, name: str, kind: str) -> str:
        return f"func {name}(row []float64) {self.types[kind]} {{"

    def method(self, name: str) -> str:
        return pascal(camel(name))

    def file(self, prefix: str) -> str:
        return f"{prefix}.go"

    def check(self, count: int) -> Sequence[str]:
        return [f"if len(row) != {count} {{", f'  panic("a row has {count} values")', "}"]

    def whole(self, text: str) -> str:
        return f"int({text})"

    def wholes(self, texts: Sequence[str]) -> str:
        return f"[]int{{{', '.join(texts)}}}"

    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        kind = f"{'[]' * (1 if len(rows) == 1 else 2)}{'string' if text else 'float64'}"
        name = pascal(camel(name.lower()))
        return f"var {name} = {kind}{nested(rows, '{', '}')}\n"

    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        body = "\n".join([*([tables] if tables else []), methods, *(text for _, text in functions)])
        if "joined(" in body:
            body += (
                "\nfunc joined(parts ...[]float64) []float64 {\n  var all []float64\n"
                "  for _, part := range parts {\n    all = append(all, part...)\n  }\n  return all\n}\n"
            )
        imports = 'import "math"\n\n' if "math." in body else ""
        return f"{comment}package {prefix}\n\n{imports}" + re.sub(r"(?m)^(?:  )+", _tabs, body)


def _tabs(match: re.Match[str]) -> str:
    return "\t" * (len(match[0]) // 2)
