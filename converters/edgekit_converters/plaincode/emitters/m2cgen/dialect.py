"""What m2cgen's interpreters do not say of each language: modules, classes, float32, joined vectors, checks, names."""

from __future__ import annotations

import importlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.m2cgen.names import camel, text_literal

CLASS, CLASSES, NUMBER, VECTOR = "class", "classes", "number", "vector"


def kind_of(answers: Sequence[ir.Answer]) -> str:
    """What a method gives: a class, several, a number or a vector; empty where classes and numbers are mixed."""
    labelled = [bool(a.labels) for a in answers]
    if any(labelled):
        return "" if not all(labelled) else CLASS if len(answers) == 1 else CLASSES
    return NUMBER if sum(a.register.width for a in answers) == 1 else VECTOR


class Dialect(ABC):
    """One language. Words in braces are filled in.

    Attributes:
        name: What people type.
        title: What it is called in print.
        package: m2cgen's package for it, and the beginning of its classes' names.
        reserved: Words that no prefix and no method can be there.
        not_finite: How NaN and infinity are said.
        single: A number rounded to float32.
        product: Around a product, where a compiler may fuse it with a sum.
        quotient: In place of ``left / right``, where that is an error for 0.
        numbers_per_part: Of a class, where a class can hold only so many.
        types: Answers of each kind.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    package: ClassVar[tuple[str, str]]
    reserved: ClassVar[frozenset[str]]
    not_finite: ClassVar[tuple[str, str]]
    single: ClassVar[str]
    product: ClassVar[str] = ""
    quotient: ClassVar[str] = ""
    numbers_per_part: ClassVar[int] = 0
    types: ClassVar[Mapping[str, str]] = {}
    comment: ClassVar[str] = "//"
    escape: ClassVar[str] = "utf16"

    def interpreter(self) -> type:
        """m2cgen's class that writes expressions."""
        module = importlib.import_module(f"m2cgen.interpreters.{self.package[0]}.interpreter")
        found: type = getattr(module, f"{self.package[1]}Interpreter")
        return found

    def generator(self) -> Any:
        """m2cgen's object that writes statements."""
        module = importlib.import_module(f"m2cgen.interpreters.{self.package[0]}.code_generator")
        return getattr(module, f"{self.package[1]}CodeGenerator")(indent=2)

    def shipped(self, name: str) -> str:
        """A helper function that m2cgen brings in the language itself."""
        module = importlib.import_module(f"m2cgen.interpreters.{self.package[0]}")
        return (Path(str(module.__file__)).parent / name).read_text("utf-8")

    def number(self, value: float) -> str:
        """A float64 literal."""
        if math.isfinite(value):
            return self.finite(value)
        return (
            self.not_finite[0] if math.isnan(value) else self.not_finite[1] if value > 0 else f"-{self.not_finite[1]}"
        )

    def finite(self, value: float) -> str:
        return repr(value)

    def variable(self, name: str) -> str:
        return name

    def called(self, name: str, part: int) -> str:
        """How a function of a part of the file is called."""
        return name

    def internal(self, name: str) -> str:
        """A function's name that callers do not see."""
        return name

    def argument(self, text: str, vector: bool) -> str:
        return text

    @abstractmethod
    def join(self, parts: Sequence[str]) -> str:
        """Several vectors as one."""

    @abstractmethod
    def signature(self, name: str, parameters: Sequence[Any], vector: bool) -> str:
        """The first line of a function that callers do not see."""

    @abstractmethod
    def public(self, name: str, kind: str) -> str:
        """The first line of a method."""

    def method(self, name: str) -> str:
        """A method's name as the language writes names."""
        return camel(name)

    @abstractmethod
    def file(self, prefix: str) -> str:
        """The file's name."""

    @abstractmethod
    def check(self, count: int) -> Sequence[str]:
        """Lines that refuse a row that is too short or too long."""

    row = "row"
    """The row as numbers."""

    def result(self, kind: str, parts: Sequence[str]) -> str:
        """A method's answer, of registers' variables."""
        if kind in {CLASS, NUMBER}:
            value = f"{parts[0]}[0]"
            return self.whole(value) if kind == CLASS else value
        if kind == CLASSES:
            return self.wholes([self.whole(f"{p}[0]") for p in parts])
        return self.join(parts) if len(parts) > 1 else parts[0]

    def whole(self, text: str) -> str:
        return text

    @abstractmethod
    def wholes(self, texts: Sequence[str]) -> str:
        """Several classes as one answer."""

    @abstractmethod
    def table(self, name: str, rows: Sequence[Sequence[str]], text: bool) -> str:
        """Labels of a method: of one answer, or of several."""

    def text(self, value: str) -> str:
        """A string literal."""
        return text_literal(value, self.escape)

    @abstractmethod
    def module(self, prefix: str, comment: str, tables: str, methods: str, functions: Sequence[tuple[int, str]]) -> str:
        """The whole file."""


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def indented(text: str) -> str:
    """Two spaces deeper."""
    return re.sub(r"(?m)^(?=.)", "  ", text)


def nested(rows: Sequence[Sequence[str]], opens: str, closes: str) -> str:
    """A list, or a list of lists."""
    lists = [f"{opens}{', '.join(row)}{closes}" for row in rows]
    return lists[0] if len(lists) == 1 else f"{opens}{', '.join(lists)}{closes}"
