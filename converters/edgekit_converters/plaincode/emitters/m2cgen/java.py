"""Java: static methods in nested classes, each with as many numbers as a class file holds."""

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
    nested,
    words,
)
from edgekit_converters.plaincode.emitters.m2cgen.names import pascal


class Java(Dialect):
    """Static methods in nested classes, each with as many numbers as a class file holds."""

    name, title, package = "java", "Java", ("java", "Java")
    reserved = words(
        "abstract assert boolean break byte case catch char class const continue default do double else enum extends "
        "final finally float for goto if implements import instanceof int interface long native new package private "
        "protected public return short static strictfp super switch synchronized this throw throws transient try void "
        "volatile while true false null Math Double String Object System IllegalArgumentException"
    )
    not_finite = ("Double.NaN", "Double.POSITIVE_INFINITY")
    single = "(double) (float) ({})"
    numbers_per_part = 9000
    types: ClassVar[Mapping[str, str]] = {CLASS: "int", CLASSES: "int[]", NUMBER: "double", VECTOR: "double[]"}

    def called(self, name: str, part: int) -> str:
        return f"Part{part}.{name}"

    def join(self, parts: Sequence[str]) -> str:
        return f"Joined.of({', '.join(parts)})"

    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        given = ", ".join(f"{'double[]' if p.vector else 'double'} {p.name}" for p in parameters)
        return f"static {'double[]' if vector else 'double'} {name}({given}) {{"

    def public(self, name: str, kind: str) -> str:
        return f"public static {self.types[kind]} {name}(double[] row) {{"

    def file(self, prefix: str) -> str:
        return f"{pascal(prefix)}.java"

    def check(self, count: int) -> Sequence[str]:
        message = f'throw new IllegalArgumentException("a row has {count} values, not " + row.length);'
        return [f"if (row.length != {count}) {{", f"  {message}", "}"]

    def whole(self, text: str) -> str:
        return f"(int) {text}"

    def wholes(self, texts: Sequence[str]) -> str:
        return f"new int[] {{{', '.join(texts)}}}"

    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        kind = f"{'String' if text else 'double'}{'[]' * (1 if len(rows) == 1 else 2)}"
        return f"public static final {kind} {name} = {nested(rows, '{', '}')};\n"

    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        inner = [
            "private static final class Joined {\n  static double[] of(double[]... parts) {\n    int size = 0;\n"
            "    for (double[] part : parts) size += part.length;\n    double[] all = new double[size];\n"
            "    int at = 0;\n    for (double[] part : parts) {\n"
            "      System.arraycopy(part, 0, all, at, part.length);\n      at += part.length;\n    }\n"
            "    return all;\n  }\n}\n"
        ]
        for part in sorted({place for place, _ in functions}):
            body = "\n".join(text for place, text in functions if place == part)
            inner.append(f"private static final class Part{part} {{\n{indented(body)}}}\n")
        name = pascal(prefix)
        body = "\n".join([f"private {name}() {{}}\n", *([tables] if tables else []), methods, *inner])
        return f"{comment}public final class {name} {{\n{indented(body)}}}\n"
