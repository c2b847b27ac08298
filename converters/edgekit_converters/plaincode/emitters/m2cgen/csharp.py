"""C#: a static class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from edgekit_converters.plaincode.emitters.m2cgen.dialect import (
    CLASS,
    CLASSES,
    NUMBER,
    VECTOR,
    Dialect,
    indented,
    words,
)
from edgekit_converters.plaincode.emitters.m2cgen.names import camel, pascal


class CSharp(Dialect):
    """A static class."""

    name, title, package = "csharp", "C#", ("c_sharp", "CSharp")
    reserved = words(
        "abstract as base bool break byte case catch char checked class const continue decimal default delegate do "
        "double else enum event explicit extern false finally fixed float for foreach goto if implicit in int "
        "interface internal is lock long namespace new null object operator out override params private protected "
        "public readonly ref return sbyte sealed short sizeof stackalloc static string struct switch this throw true "
        "try typeof uint ulong unchecked unsafe ushort using virtual void volatile while System Math Exp Log Pow Sqrt "
        "Abs Tanh Joined"
    )
    not_finite = ("double.NaN", "double.PositiveInfinity")
    single = "(double)(float)({})"
    types: ClassVar[Mapping[str, str]] = {CLASS: "int", CLASSES: "int[]", NUMBER: "double", VECTOR: "double[]"}

    def join(self, parts: Sequence[str]) -> str:
        return f"Joined({', '.join(parts)})"

    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        given = ", ".join(f"{'double[]' if p.vector else 'double'} {p.name}" for p in parameters)
        return f"private static {'double[]' if vector else 'double'} {name}({given}) {{"

    def public(self, name: str, kind: str) -> str:
        return f"public static {self.types[kind]} {name}(double[] row) {{"

    def method(self, name: str) -> str:
        return pascal(camel(name))

    def file(self, prefix: str) -> str:
        return f"{pascal(prefix)}.cs"

    def check(self, count: int) -> Sequence[str]:
        return [
            f"if (row.Length != {count}) {{",
            f'  throw new System.ArgumentException("a row has {count} values");',
            "}",
        ]

    def whole(self, text: str) -> str:
        return f"(int){text}"

    def wholes(self, texts: Sequence[str]) -> str:
        return f"new int[] {{{', '.join(texts)}}}"

    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        kind, name = "string" if text else "double", pascal(camel(name.lower()))
        lists = [f"new {kind}[] {{{', '.join(row)}}}" for row in rows]
        if len(lists) == 1:
            return f"public static readonly {kind}[] {name} = {lists[0]};\n"
        return f"public static readonly {kind}[][] {name} = {{{', '.join(lists)}}};\n"

    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        joined = (
            "private static double[] Joined(params double[][] parts) {\n"
            "  var all = new System.Collections.Generic.List<double>();\n"
            "  foreach (var part in parts) {\n    all.AddRange(part);\n  }\n  return all.ToArray();\n}\n"
        )
        body = "\n".join([*([tables] if tables else []), methods, *(text for _, text in functions), joined])
        return f"{comment}using static System.Math;\n\npublic static class {pascal(prefix)} {{\n{indented(body)}}}\n"
