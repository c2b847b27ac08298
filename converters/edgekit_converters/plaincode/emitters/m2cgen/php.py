"""PHP 8: functions in a namespace."""

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
from edgekit_converters.plaincode.emitters.m2cgen.names import pascal


class Php(Dialect):
    """Functions in a namespace."""

    name, title, package = "php", "PHP", ("php", "Php")
    reserved = words(
        "abstract and array as break callable case catch class clone const continue declare default die do echo else "
        "elseif empty enddeclare endfor endforeach endif endswitch endwhile eval exit extends final finally fn for "
        "foreach function global goto if implements include include_once instanceof insteadof interface isset list "
        "match namespace new or print private protected public readonly require require_once return static switch "
        "throw trait try unset use var while xor yield self parent true false null int float bool string void never "
        "mixed object iterable abs exp log sqrt tanh pow fdiv pack unpack count array_map array_values "
        "array_merge single"
    )
    not_finite = ("NAN", "INF")
    single = "single({})"
    quotient = "fdiv({}, {})"  # `/` throws where it divides by 0
    escape = "braces"
    types: ClassVar[Mapping[str, str]] = {CLASS: "int", CLASSES: "array", NUMBER: "float", VECTOR: "array"}
    row = "array_map(fn($v) => $v === null ? NAN : (float) $v, array_values($row))"

    def variable(self, name: str) -> str:
        return f"${name}"

    def join(self, parts: Sequence[str]) -> str:
        return f"array_merge({', '.join(parts)})"

    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        given = ", ".join(f"{'array' if p.vector else 'float'} ${p.name}" for p in parameters)
        return f"function {name}({given}): {'array' if vector else 'float'} {{"

    def public(self, name: str, kind: str) -> str:
        return f"function {name}(array $row): {self.types[kind]} {{"

    def file(self, prefix: str) -> str:
        return f"{prefix}.php"

    def check(self, count: int) -> Sequence[str]:
        return [
            f"if (count($row) !== {count}) {{",
            f'  throw new \\InvalidArgumentException("a row has {count} values");',
            "}",
        ]

    def whole(self, text: str) -> str:
        return f"(int) {text}"

    def wholes(self, texts: Sequence[str]) -> str:
        return f"[{', '.join(texts)}]"

    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        return f"const {name} = {nested(rows, '[', ']')};\n"

    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        single = 'function single(float $value): float {\n  return unpack("g", pack("g", $value))[1];\n}\n'
        texts = [*([tables] if tables else []), methods, *(text for _, text in functions), single]
        return f"<?php\n{comment}declare(strict_types=1);\n\nnamespace {pascal(prefix)};\n\n" + "\n".join(texts)
