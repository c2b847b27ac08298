"""Dart: a library of functions."""

from __future__ import annotations

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
from edgekit_converters.plaincode.emitters.m2cgen.names import camel


class Dart(Dialect):
    """A library of functions."""

    name, title, package = "dart", "Dart", ("dart", "Dart")
    reserved = words(
        "abstract as assert async await base break case catch class const continue covariant default deferred do "
        "double dynamic else enum export extends extension external factory false final finally for get hide if "
        "implements import in int interface is late library mixin new null num of on operator part required rethrow "
        "return sealed set show static super switch sync this throw true try typedef var void when while with yield "
        "exp log pow sqrt tanh String List ArgumentError"
    )
    not_finite = ("double.nan", "double.infinity")
    single = "_single({})"
    escape = "braces"
    types: ClassVar[Mapping[str, str]] = {CLASS: "int", CLASSES: "List<int>", NUMBER: "double", VECTOR: "List<double>"}

    def internal(self, name: str) -> str:
        return f"_{name}"

    def join(self, parts: Sequence[str]) -> str:
        return f"[{', '.join(f'...{p}' for p in parts)}]"

    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        given = ", ".join(f"{'List<double>' if p.vector else 'double'} {p.name}" for p in parameters)
        return f"{'List<double>' if vector else 'double'} {name}({given}) {{"

    def public(self, name: str, kind: str) -> str:
        return f"{self.types[kind]} {name}(List<double> row) {{"

    def file(self, prefix: str) -> str:
        return f"{prefix}.dart"

    def check(self, count: int) -> Sequence[str]:
        return [f"if (row.length != {count}) {{", f'  throw ArgumentError("a row has {count} values");', "}"]

    def whole(self, text: str) -> str:
        return f"{text}.toInt()"

    def wholes(self, texts: Sequence[str]) -> str:
        return f"[{', '.join(texts)}]"

    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        return f"const {camel(name.lower())} = {nested(rows, '[', ']')};\n"

    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        single = (
            "final _cell = Float32List(1);\n\n"
            "double _single(double value) {\n  _cell[0] = value;\n  return _cell[0];\n}\n"
        )
        body = "\n".join([*([tables] if tables else []), methods, *(text for _, text in functions)])
        if re.search(r"\btanh\(", body):
            body += "\n" + self.shipped("tanh.dart")
        imports = "import 'dart:math';\n" if re.search(r"\b(exp|log|pow|sqrt)\(", body) else ""
        if "_single(" in body:
            imports += "import 'dart:typed_data';\n"
            body += "\n" + single
        return comment + imports + ("\n" if imports else "") + body
