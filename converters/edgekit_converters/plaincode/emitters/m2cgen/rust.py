"""Rust: a module of functions over slices."""

from __future__ import annotations

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


class Rust(Dialect):
    """A module of functions over slices."""

    name, title, package = "rust", "Rust", ("rust", "Rust")
    reserved = words(
        "as break const continue crate else enum extern false fn for if impl in let loop match mod move mut pub ref "
        "return self Self static struct super trait true type unsafe use where while async await dyn abstract become "
        "box do final macro override priv typeof unsized virtual yield try gen f64 f32 usize str vec"
    )
    not_finite = ("f64::NAN", "f64::INFINITY")
    single = "(({}) as f32 as f64)"
    escape = "braces"
    types: ClassVar[Mapping[str, str]] = {CLASS: "usize", CLASSES: "Vec<usize>", NUMBER: "f64", VECTOR: "Vec<f64>"}

    def finite(self, value: float) -> str:
        return f"{value!r}_f64"

    def argument(self, text: str, vector: bool) -> str:
        return f"&{text}" if vector else text

    def join(self, parts: Sequence[str]) -> str:
        return f"[{', '.join(f'&{p}[..]' for p in parts)}].concat()"

    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        given = ", ".join(f"{p.name}: {'&[f64]' if p.vector else 'f64'}" for p in parameters)
        return f"fn {name}({given}) -> {'Vec<f64>' if vector else 'f64'} {{"

    def public(self, name: str, kind: str) -> str:
        return f"pub fn {name}(row: &[f64]) -> {self.types[kind]} {{"

    def method(self, name: str) -> str:
        return name

    def file(self, prefix: str) -> str:
        return f"{prefix}.rs"

    def check(self, count: int) -> Sequence[str]:
        return [f'assert_eq!(row.len(), {count}, "a row has {count} values");']

    def whole(self, text: str) -> str:
        return f"{text} as usize"

    def wholes(self, texts: Sequence[str]) -> str:
        return f"vec![{', '.join(texts)}]"

    def result(self, kind: str, parts: Sequence[str]) -> str:
        return self.join(parts) if kind == VECTOR else super().result(kind, parts)

    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        kind = "&str" if text else "f64"
        kind = f"&[{kind}]" if len(rows) == 1 else f"&[&[{kind}]]"
        return f"pub const {name}: {kind} = {nested(rows, '&[', ']')};\n"

    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        allowed = "#![allow(dead_code, non_snake_case, unused_parens, unused_variables, clippy::all)]\n"
        body = "\n".join([allowed, *([tables] if tables else []), methods, *(text for _, text in functions)])
        return comment + body
